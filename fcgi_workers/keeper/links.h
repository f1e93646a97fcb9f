/*
 * links: the lines to and from nginx' workers (docs/interfaces.md, 1).
 *
 * A gate that asks about a sandbox is answered when what it wants is there, or
 * cannot come. Lines are kept back until the turn is committed (links_flush).
 */
#ifndef HF_KEEPER_LINKS_H
#define HF_KEEPER_LINKS_H

#include "../common/err.h"
#include "op.h"
#include "sandbox.h"

int  links_open(struct keeper *k, int listen_fd, struct err *e);
void links_close(struct keeper *k);

/* Tells all gates how the sandbox stands now. */
void links_broadcast(struct sandbox *sb);
/* It is about to be stopped: WebSockets into it are closed with 1001. */
void links_closing(const struct sandbox *sb);
/* Answers whoever can be answered now. */
void links_settle(struct sandbox *sb);
/* Does a gate wait for this sandbox to be awake? */
bool links_wanted(const struct sandbox *sb);
/* Its wake failed: all that wait are told why. */
void links_failed(struct sandbox *sb);
/* It has left the rung running: who is still there will ask anew. An ask that
 * stayed, for a port that had not opened, would wake it for nobody. */
void links_asleep(struct sandbox *sb);
/* The guest says other ports are open. */
void links_ports(struct sandbox *sb);
/* It is gone: whoever waits is told, nobody waits any more. */
void links_forget(struct sandbox *sb);

/* What gates know of its policy: only line->policy counts. */
void link_policy(const struct sandbox *sb, struct line *line);

void links_op_done(struct op *op);
/* Who may enter, at once: tickets of an older epoch have to be asked about.
 * A generation that says the same follows when the rest is ready. */
void links_access(struct sandbox *sb);
/* Answers a T line. */
void links_share_said(struct keeper *k, int slot, uint64_t number,
    enum line_said said);
void links_flush(struct keeper *k);

/* How many gates have greeted, and how many asks are waiting. */
void links_figures(const struct keeper *k, size_t *gates, size_t *asks);

/* Asks every gate to park generation g (GATE: PARK). `told` comes once: LINE_OK
 * when every gate has parked it, LINE_BUSY or LINE_STALE when one has not;
 * for busy, idle_ms is the shortest that was said. A gate that does not answer
 * within a second counts as busy. -1: not now (a young keeper, a gate just
 * lost, another vote of this sandbox): nothing is asked, told is not called. */
typedef void (*park_told)(struct sandbox *sb, enum line_park how,
    int64_t idle_ms);
int links_park(struct sandbox *sb, int64_t min_idle_ms, park_told told);

/* Of a route that was told to be asleep: is anything in flight still? LINE_BUSY
 * with idle_ms PARK_SILENT: a gate did not say. -1: not asked. */
#define PARK_SILENT (-1)
int links_drain(struct sandbox *sb, park_told told);
/* No `told` any more. */
void links_park_forget(struct sandbox *sb);

#endif
