/*
 * start_in: what start.c and running.c share. For nobody else.
 */
#ifndef HF_KEEPER_START_IN_H
#define HF_KEEPER_START_IN_H

#include "start.h"

/* The chain is through: EV_DONE, or proven. */
void start_done(struct sandbox *sb);
/* It went wrong and no call is out. */
void start_fault(struct sandbox *sb, const struct err *e);
void start_dial_later(struct sandbox *sb);

#endif
