/*
 * orphans: what an earlier parent left behind.
 *
 * Every part inherits one descriptor that names our run_dir, the marker. A
 * process that holds it without us having started it is left over from a
 * parent that was killed together with the part's own master.
 */
#ifndef HF_ORPHANS_H
#define HF_ORPHANS_H

#include "../common/err.h"

/* A descriptor (close-on-exec), or -1. */
int orphans_marker(const char *run_dir, struct err *e);

/* Kills them and waits until they are gone. Call it before the first spawn,
 * with the lock held. How many there were, or -1. */
int orphans_end(const char *run_dir, struct err *e);

#endif
