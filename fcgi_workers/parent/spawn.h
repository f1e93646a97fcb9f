/*
 * spawn: fork and execve of one part, with exactly the descriptors, limits and
 * privileges that it is meant to have.
 */
#ifndef HF_SPAWN_H
#define HF_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "../common/err.h"
#include "privs.h"

#define SPAWN_ARGS_MAX 24
#define SPAWN_FDS_MAX  4

#define SPAWN_SETTINGS_FD 9     /* the roles read it as /proc/self/fd/9 */
#define SPAWN_MARKER_FD   10

struct spawn {
    const char *program;        /* absolute; /proc/self/exe for roles */
    const char *args[SPAWN_ARGS_MAX + 1];       /* borrowed; ended by NULL */
    int         fds[SPAWN_FDS_MAX];     /* become 3, 4, … in the child */
    int         nfds;
    int         out;            /* standard output and error */
    int         settings;       /* becomes 9; -1: none */
    int         marker;         /* becomes 10; -1: none */
    int         death_signal;   /* when the parent dies; 0: lives on */
    struct privs privs;
};

void spawn_init(struct spawn *sp, const char *program);
void spawn_arg(struct spawn *sp, const char *arg);

/* The child leads a process group of its own (a session when it lives on), so
 * that all of it can be ended. Its pid, or -1. A program that cannot be run is
 * told on `out` and exits with 111. */
pid_t spawn_run(const struct spawn *sp, struct err *e);

#endif
