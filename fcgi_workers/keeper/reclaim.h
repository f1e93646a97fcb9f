/*
 * reclaim: gives the memory of a frozen sandbox back to the machine.
 *
 * Its pages are written out or dropped (control groups: v2 memory.reclaim, v1
 * memory.force_empty); whatever it needs again comes back as it is touched. A
 * child does it, because the kernel takes its time; a few at once, the others
 * wait for their turn. Waking ends it at once, so a wake never waits for it.
 */
#ifndef HF_KEEPER_RECLAIM_H
#define HF_KEEPER_RECLAIM_H

#include "sandbox.h"

struct reclaims;

int  reclaim_open(struct keeper *k, struct err *e);
void reclaim_close(struct keeper *k);

/* It is frozen: begin, or wait for a turn. */
void reclaim_begin(struct sandbox *sb);
/* It is needed again, or its container goes. */
void reclaim_end(struct sandbox *sb);

#endif
