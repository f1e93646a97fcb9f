/*
 * maintenance: the operator's switch: nothing new is made or woken.
 *
 * It is a file in data_dir, so it outlives restarts and needs no part to run;
 * whoever has to know looks when it matters.
 */
#ifndef HF_MAINTENANCE_H
#define HF_MAINTENANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "settings.h"

/* Since when in *since_ms, unless it is NULL. */
bool maintenance_on(const struct settings *s, int64_t *since_ms);
/* Stored when it returns 0. Turning on what is on changes nothing. */
int  maintenance_set(const struct settings *s, bool on, struct err *e);
/* 0, or -1 and what callers are told. */
int  maintenance_check(const struct settings *s, struct err *e);

#endif
