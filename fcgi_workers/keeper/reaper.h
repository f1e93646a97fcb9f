/*
 * reaper: the way down the ladder: who is due, and may it sleep?
 *
 * Redis says when to look (hf:sleep), the gates say whether (links_park). In
 * between everything is asked that knows of work: leases, the guest, CPU and
 * network. What cannot be known counts as work: without Redis, a guest's
 * status or a gate's answer nothing sleeps. See docs/idleness.md.
 */
#ifndef HF_KEEPER_REAPER_H
#define HF_KEEPER_REAPER_H

#include "core.h"
#include "sandbox.h"

struct op;

int  reaper_open(struct keeper *k, struct err *e);
void reaper_close(struct keeper *k);

/* Idle for so long: the next rung down. */
int64_t reaper_next_s(const struct sandbox *sb);
/* The wall-clock moment at which to look at it. */
int64_t reaper_due_ms(const struct sandbox *sb);
/* Until when a keepalive or a lease keeps it from sleeping; 0: none does. */
int64_t reaper_kept_until(const struct sandbox *sb);
/* Its policy or leases changed: look when that counts. */
void reaper_changed(struct sandbox *sb);

/* Redis is back; or something is due at this moment. */
void reaper_wake(struct keeper *k);
void reaper_by(struct keeper *k, int64_t wall_ms);

/* A caller wants it frozen: ends in EV_FREEZE, or machine_refuse. */
void reaper_freeze(struct sandbox *sb);
bool reaper_freezing(const struct sandbox *sb);

#endif
