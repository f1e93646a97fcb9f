/*
 * worker: one api process. Accepts on descriptor 3 until SIGTERM, then ends
 * the request it has and returns.
 */
#ifndef HF_API_WORKER_H
#define HF_API_WORKER_H

#include "../common/settings.h"
#include "counters.h"

#define WORKER_LISTEN_FD   3
#define WORKER_WATCHDOG_RC 112

/* Returns the exit status of the process. */
int worker_main(const struct settings *s, struct counters *c);

#endif
