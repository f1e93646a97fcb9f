/*
 * copier: brings the keeper's outbox into the streams.
 *
 * A row goes to two streams: its sandbox's and its tenant's. Rows are read
 * from SQLite in order; what was copied is told to the keeper, which removes
 * it. Whatever is killed at whatever moment: a row stays in the table until it
 * is in both streams, and is in neither twice (streams.h).
 */
#ifndef HF_COPIER_H
#define HF_COPIER_H

#include "../common/loop.h"
#include "../common/settings.h"
#include "streams.h"
#include "teller.h"

struct copier;

struct copier *copier_open(struct loop *l, const struct settings *s,
    struct streams *streams, struct teller *teller);
void copier_close(struct copier *c);

#endif
