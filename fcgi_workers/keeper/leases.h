/*
 * leases: a caller's promises that it still needs a sandbox awake.
 *
 * Each has an id, a reason and an end. While one lasts, its sandbox neither
 * freezes nor stops by itself; it wakes nothing, and a caller's own freeze or
 * stop is obeyed. In memory is only when the last one ends (sandbox.lease_ms).
 */
#ifndef HF_KEEPER_LEASES_H
#define HF_KEEPER_LEASES_H

#include "../common/buf.h"
#include "ops.h"

int  leases_open(struct keeper *k, struct err *e);      /* reads all */

int  lease_request(struct request *r, struct err *e);   /* lease, unlease */
int  leases_request(struct request *r, struct err *e);  /* the list */

/* Calls fn with every lease of the sandbox that lasts. */
struct lease {
    const char *id, *reason;    /* borrowed */
    int64_t     until_ms, made_ms;
};
int  leases_each(struct sandbox *sb, void (*fn)(void *arg,
    const struct lease *l), void *arg, struct err *e);

#endif
