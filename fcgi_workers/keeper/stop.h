/*
 * stop: everything on the way down: freeze, stop, remove, purge, tidy up.
 *
 * Each ends with EV_DONE or EV_FAILED. Interfaces and door handles go with the
 * container: a kept handle would pin a namespace that is dead.
 */
#ifndef HF_KEEPER_STOP_H
#define HF_KEEPER_STOP_H

#include "sandbox.h"

void stop_freeze(struct sandbox *sb);
void stop_begin(struct sandbox *sb, bool thaw_first);
void stop_remove(struct sandbox *sb);           /* the container */
void stop_purge(struct sandbox *sb);            /* and the workspace */
/* After a container died by itself. */
void stop_tidy(struct sandbox *sb);
/* Drops the network, the door's handle and the guest's connection. */
void stop_unplug(struct sandbox *sb);
/* Bytes that the last purge freed. */
int64_t stop_freed(const struct sandbox *sb);
/* Frees what memory is left of a sandbox that is gone. */
void stop_forget(struct sandbox *sb);

/* Ports that are open now, as JSON for last_status. */
void stop_keep_status(struct sandbox *sb);

#endif
