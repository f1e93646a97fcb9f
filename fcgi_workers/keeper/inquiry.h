/*
 * inquiry: I lines: what is in flight for a sandbox, asked of every gate.
 */
#ifndef HF_KEEPER_INQUIRY_H
#define HF_KEEPER_INQUIRY_H

#include "links.h"

struct inflight {               /* of all tables */
    int64_t active, quiet;
    int64_t idle_ms;            /* since the last activity, the shortest */
    bool    silent;             /* a gate did not answer */
};

/* `done` comes once, from the loop. -1: out of memory. */
int  inquiry_begin(struct keeper *k, const char *id,
    void (*done)(void *arg, const struct inflight *in), void *arg);
/* The keeper ends: nobody is told any more. */
void inquiry_close(struct keeper *k);

#endif
