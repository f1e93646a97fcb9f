/*
 * dockerd: a Docker Engine of our own.
 *
 * It lives on when the parent dies or is stopped, and is found again by its
 * pid file and command line: sandboxes keep running while the control plane
 * restarts. `holdfastd stop --engine` ends it.
 */
#ifndef HF_DOCKERD_H
#define HF_DOCKERD_H

#include <sys/types.h>

#include "../common/err.h"
#include "../common/settings.h"

/* Its pid, or 0. */
pid_t dockerd_running(const struct settings *s);

/* Writes its configuration and starts it; the pid, or -1. */
pid_t dockerd_spawn(const struct settings *s, struct err *e);

/* Ends it with all its containers; returns before it has ended. Blocks for up
 * to some seconds. */
int dockerd_stop(const struct settings *s, pid_t pid, struct err *e);

#endif
