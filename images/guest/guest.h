/*
 * guest: what the keeper told us, and what follows from it for every process:
 * ids, environment, directory, shell.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot.h"
#include "shim.h"

enum guest_phase { PHASE_WAITING, PHASE_BOOTED, PHASE_STOPPING };

struct guest {
    enum guest_phase phase;
    struct boot      boot;
    struct boot      env;       /* of the last ENV frame, if one came */
    struct strings   base;      /* image, defaults, boot env: ready to use */
};

extern struct guest guest;

/* Takes ids for good and starts what BOOT names. 0, or -1 with a sentence. */
int  guest_boot(const uint8_t *body, size_t n, char why[96]);
int  guest_env(const uint8_t *body, size_t n, char why[96]);

/* SIGTERM to all, SIGKILL after that time, then the end of PID 1. */
void guest_stop(int64_t ms);
/* PID 1 calls it when it has reaped: with nobody left, a stop is over. */
void guest_childless(void);

/* A command with ids, home and directory filled in. */
void guest_command(struct command *c);
/* The base environment with `over` laid over it, into an empty *out. The
 * strings stay where they are. -1: too many, or no memory. */
int  guest_environ(const struct strings *over, struct strings *out);
/* A shell that is there, or NULL. */
const char *guest_shell(void);

#endif
