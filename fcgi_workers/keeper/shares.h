/*
 * shares: links and tickets that open private previews.
 *
 * A share is a row; its link is a ticket (common/ticket.h) that is told once.
 * Revoking one removes the row and raises the sandbox's share epoch: gates
 * that hear of it (line S) ask about every ticket of an older epoch (line T).
 */
#ifndef HF_KEEPER_SHARES_H
#define HF_KEEPER_SHARES_H

#include "../common/line.h"
#include "ops.h"

struct link;

int  shares_open(struct keeper *k, struct err *e);
void shares_close(struct keeper *k);

/* The kinds share, unshare and ticket. */
int  share_request(struct request *r, struct err *e);

/* A T line of a gate. */
void shares_heard(struct keeper *k, int slot, const struct line *in);
/* After the commit: what was found out is said. */
void shares_flush(struct keeper *k);
/* The commit failed: no use was counted. */
void shares_refuse(struct keeper *k);

#endif
