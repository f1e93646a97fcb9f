/*
 * usage: what a sandbox has used so far, read from the host's own files.
 *
 * CPU from its control group (v1 and v2), bytes from the host's end of its
 * network interface. Two samples make a rate. Nothing inside can forge them.
 */
#ifndef HF_KEEPER_USAGE_H
#define HF_KEEPER_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox;
struct err;

struct usage {
    int64_t at_us;              /* monotonic; 0: never taken */
    int64_t cpu_us;
    int64_t net_bytes;          /* both ways */
};

struct usage_rate {
    int64_t cpu_percent;        /* of one core */
    int64_t net_bytes_s;
};

/* -1 and *e when a file cannot be read: then nothing is known. */
int  usage_take(const struct sandbox *sb, struct usage *out, struct err *e);
/* Bytes of memory that it needs: without what is only cached and old. -1:
 * not known. */
int64_t usage_memory(const struct sandbox *sb);
void usage_rate(const struct usage *from, const struct usage *to,
    struct usage_rate *out);
/* More than the settings allow a sandbox that is to fall asleep? */
bool usage_cpu_busy(const struct sandbox *sb, const struct usage_rate *r);
bool usage_net_busy(const struct sandbox *sb, const struct usage_rate *r);

/* The path of a file of its control group: `v1` names the controller for v1.
 * -1: not found. */
int  usage_cgroup(int pid, const char *v1, const char *file1,
    const char *file2, bool *is_v2, char *out, size_t size);
/* The folder of one controller in the text of /proc/<pid>/cgroup. Pure. */
int  usage_cgroup_find(const char *text, const char *v1, bool *is_v2,
    char *out, size_t size);

#endif
