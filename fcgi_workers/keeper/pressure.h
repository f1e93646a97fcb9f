/*
 * pressure: what happens when the machine's memory runs low.
 *
 * Below `memory_low` those that were idle longest go down a rung: frozen ones
 * that still hold memory are stopped, then running ones that have been idle for
 * `pressure_idle_s` are frozen (reaper.h, which asks everybody as ever). Work
 * in flight, leases, keepalives and always_on are never touched.
 */
#ifndef HF_KEEPER_PRESSURE_H
#define HF_KEEPER_PRESSURE_H

#include "core.h"

struct pressure;

int  pressure_open(struct keeper *k, struct err *e);
void pressure_close(struct keeper *k);

/* Somebody needs so much more than there is. Whether there is anybody who
 * could go down, so that waiting makes sense. */
bool pressure_push(struct keeper *k, int64_t missing_mb);

#endif
