/*
 * outbox: tells tasks what was committed, and hears what it has copied
 * (common/outbox.h). While nobody listens events wait in the table.
 */
#ifndef HF_KEEPER_OUTBOX_H
#define HF_KEEPER_OUTBOX_H

#include "../common/outbox.h"
#include "core.h"

int  outbox_open(struct keeper *k, int fd, struct err *e);
void outbox_close(struct keeper *k);

/* Event `number` is committed. Said by outbox_flush, once a turn. */
void outbox_tell(struct keeper *k, int64_t number);
void outbox_flush(struct keeper *k);

#endif
