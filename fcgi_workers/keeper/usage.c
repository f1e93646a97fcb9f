/*
 * usage: see usage.h. Small reads of /proc and /sys, which never block.
 */
#include "usage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/err.h"
#include "sandbox.h"

#define CGROUPS "/sys/fs/cgroup"

/* What a file of the kernel says, as text. Its length, or -1. */
static ssize_t read_small(const char *path, char *out, size_t size)
{
    ssize_t n;
    int     fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd == -1)
        return -1;
    n = read(fd, out, size - 1);
    close(fd);
    if (n >= 0)
        out[n] = '\0';
    return n;
}

/* ---- control groups ------------------------------------------------------ */

/* "cpu" in "cpu,cpuacct". */
static bool has_word(const char *list, size_t len, const char *word)
{
    size_t n, w = strlen(word);

    for (;;) {
        n = 0;
        while (n < len && list[n] != ',')
            n++;
        if (n == w && memcmp(list, word, w) == 0)
            return true;
        if (n == len)
            return false;
        list += n + 1;
        len -= n + 1;
    }
}

/* Lines are number:controllers:path; v2 is 0::path. On hosts with both, a
 * controller is where v1 names it. */
int usage_cgroup_find(const char *text, const char *v1, bool *is_v2,
    char *out, size_t size)
{
    const char *line, *end, *list, *path;
    int         n, rc = -1;

    for (line = text; *line != '\0'; line = *end == '\n' ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        list = memchr(line, ':', (size_t) (end - line));
        if (list == NULL)
            continue;
        list++;
        path = memchr(list, ':', (size_t) (end - list));
        if (path == NULL || path[1] != '/'
            || memmem(path, (size_t) (end - path), "/..", 3) != NULL)
            continue;
        if (path == list && rc == -1) {
            n = snprintf(out, size, CGROUPS "%.*s", (int) (end - path - 1),
                path + 1);
            *is_v2 = true;
            rc = n > 0 && (size_t) n < size ? 0 : -1;
        } else if (has_word(list, (size_t) (path - list), v1)) {
            n = snprintf(out, size, CGROUPS "/%.*s%.*s",
                (int) (path - list), list, (int) (end - path - 1), path + 1);
            *is_v2 = false;
            return n > 0 && (size_t) n < size ? 0 : -1;
        }
    }
    return rc;
}

int usage_cgroup(int pid, const char *v1, const char *file1,
    const char *file2, bool *is_v2, char *out, size_t size)
{
    char   path[64], text[8192];
    size_t len;
    int    n;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    if (read_small(path, text, sizeof(text)) <= 0
        || usage_cgroup_find(text, v1, is_v2, out, size) == -1)
        return -1;
    len = strlen(out);
    n = snprintf(out + len, size - len, "/%s", *is_v2 ? file2 : file1);
    return n > 0 && (size_t) n < size - len ? 0 : -1;
}

static int cpu_us(const struct sandbox *sb, int64_t *out)
{
    char        path[PATH_MAX], text[1024];
    const char *at = text;
    bool        v2;

    if (sb->pid <= 0 || usage_cgroup(sb->pid, "cpuacct", "cpuacct.usage",
            "cpu.stat", &v2, path, sizeof(path)) == -1
        || read_small(path, text, sizeof(text)) <= 0)
        return -1;
    if (v2) {
        at = strstr(text, "usage_usec ");
        if (at == NULL)
            return -1;
        at += strlen("usage_usec ");
    }
    errno = 0;
    *out = strtoll(at, NULL, 10) / (v2 ? 1 : 1000);
    return errno == 0 && *out >= 0 ? 0 : -1;
}

/* ---- memory -------------------------------------------------------------- */

static int64_t number_after(const char *text, const char *word)
{
    size_t      len = strlen(word);
    const char *at;

    for (at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, word, len) == 0)
            return strtoll(at + len, NULL, 10);
    }
    return 0;
}

int64_t usage_memory(const struct sandbox *sb)
{
    char    path[PATH_MAX], text[8192];
    bool    v2;
    int64_t all, old;

    if (sb->pid <= 0
        || usage_cgroup(sb->pid, "memory", "memory.usage_in_bytes",
            "memory.current", &v2, path, sizeof(path)) == -1
        || read_small(path, text, sizeof(text)) <= 0)
        return -1;
    all = strtoll(text, NULL, 10);
    if (usage_cgroup(sb->pid, "memory", "memory.stat", "memory.stat", &v2,
            path, sizeof(path)) == -1
        || read_small(path, text, sizeof(text)) <= 0)
        return -1;
    old = number_after(text, v2 ? "inactive_file " : "total_inactive_file ");
    return all > old ? all - old : 0;
}

/* ---- the interface ------------------------------------------------------- */

static int net_bytes(const struct sandbox *sb, int64_t *out)
{
    static const char *const ways[] = { "rx_bytes", "tx_bytes" };
    char                     path[128], text[32];
    size_t                   i;

    *out = 0;
    for (i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "/sys/class/net/hf%s-%u/statistics/%s",
            sb->k->s->stack, sandbox_ifnumber(sb), ways[i]);
        if (read_small(path, text, sizeof(text)) <= 0)
            return -1;
        *out += strtoll(text, NULL, 10);
    }
    return 0;
}

/* ---- samples and rates --------------------------------------------------- */

int usage_take(const struct sandbox *sb, struct usage *out, struct err *e)
{
    struct timespec ts;

    if (cpu_us(sb, &out->cpu_us) == -1)
        return err_set(e, "unavailable", "its use of CPU cannot be read");
    if (net_bytes(sb, &out->net_bytes) == -1)
        return err_set(e, "unavailable", "its use of the network cannot be "
            "read");
    clock_gettime(CLOCK_MONOTONIC, &ts);
    out->at_us = (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    return 0;
}

void usage_rate(const struct usage *from, const struct usage *to,
    struct usage_rate *out)
{
    int64_t us = to->at_us - from->at_us;

    if (us <= 0)
        us = 1;
    out->cpu_percent = (to->cpu_us - from->cpu_us) * 100 / us;
    out->net_bytes_s = (to->net_bytes - from->net_bytes) * 1000000 / us;
}

bool usage_cpu_busy(const struct sandbox *sb, const struct usage_rate *r)
{
    return r->cpu_percent >= sb->k->s->cpu_busy_percent;
}

bool usage_net_busy(const struct sandbox *sb, const struct usage_rate *r)
{
    return r->net_bytes_s >= sb->k->s->net_busy_bytes_s;
}
