/*
 * status: how the parts are, in <run_dir>/status.
 *
 * A file of lines, replaced at every change: the parent needs no socket of
 * its own, and it can be read when the parent is gone.
 */
#ifndef HF_STATUS_H
#define HF_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../common/err.h"
#include "../common/settings.h"
#include "parts.h"

struct status_head {
    int  pid;                   /* of the parent that wrote it */
    char state[16];             /* starting, ready, stopping */
    int  reloads;               /* SIGHUPs dealt with */
    char message[256];          /* of the last one: "ok" or what was wrong */
};

int status_write(const struct parts *ps, const struct status_head *h,
    struct err *e);

/* 0, or -1 if there is none. */
int status_read(const char *run_dir, struct status_head *h);

/* The table for people. False if not every part is up. */
bool status_print(const char *run_dir, FILE *out);

#endif
