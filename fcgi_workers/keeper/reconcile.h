/*
 * reconcile: rows against containers, at the start, when the engine comes
 * back, and by its event stream in between.
 */
#ifndef HF_KEEPER_RECONCILE_H
#define HF_KEEPER_RECONCILE_H

#include "core.h"

int  reconcile_open(struct keeper *k, struct err *e);
void reconcile_close(struct keeper *k);

/* The engine's event stream (engine_news). */
void reconcile_news(void *arg, enum engine_event ev, const char *id,
    const char *ref, int exit_code);

#endif
