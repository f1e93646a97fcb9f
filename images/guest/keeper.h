/*
 * keeper: the connection to the keeper, frames in and out
 * (docs/interfaces.md, 4).
 *
 * One at a time; a new one replaces the old. It may go and come back at any
 * moment. Status is sent when something changed, never queued: there is one
 * frame in the making at most, and it is made when the last one has gone out.
 */
#ifndef GUEST_KEEPER_H
#define GUEST_KEEPER_H

#include <stdbool.h>

void keeper_start(int listener);
bool keeper_connected(void);
void keeper_changed(void);      /* status is to be sent */
void keeper_turn_end(void);

#endif
