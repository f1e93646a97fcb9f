/*
 * pidfile: at most one of us per run_dir.
 *
 * The lock counts, not the number in the file: it ends with its process, so a
 * file left behind by kill -9 says nothing wrong.
 */
#ifndef HF_PIDFILE_H
#define HF_PIDFILE_H

#include <sys/types.h>

#include "../common/err.h"

/* Locks and writes our pid, until this process ends (a fork does not inherit
 * it). -1 with the holder's pid in the sentence when it is taken. */
int pidfile_take(const char *dir, const char *name, struct err *e);

/* The pid that holds the lock, 0 if nobody does. Never call it in the process
 * that holds it: closing the file would drop the lock. */
pid_t pidfile_holder(const char *dir, const char *name);

#endif
