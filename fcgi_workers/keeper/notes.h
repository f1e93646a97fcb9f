/*
 * notes: what outsiders hear of a sandbox's life, as events (docs/events.md).
 *
 * Called where something happens; store.c puts it into the outbox in the same
 * transaction.
 */
#ifndef HF_KEEPER_NOTES_H
#define HF_KEEPER_NOTES_H

#include "sandbox.h"

/* The rung has changed from `from`, or a creation began. */
void note_moved(struct sandbox *sb, enum rung from);
/* Its row goes with this turn: the last event there is. */
void note_purged(struct sandbox *sb);
/* The guest tells other ports than before, or it has just come to run. What
 * opens and closes all the time is told once a second. */
void note_ports(struct sandbox *sb);

#endif
