/*
 * counters: figures of all api workers, in memory that they share.
 *
 * Only ever added to, without a lock; a worker that dies leaves what it had
 * counted. Read by GET /metrics.
 */
#ifndef HF_API_COUNTERS_H
#define HF_API_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "../common/buf.h"

#define COUNTERS_BUCKETS 10

struct counters {
    atomic_uint_fast64_t answers[6];            /* by status / 100 */
    atomic_uint_fast64_t us_below[COUNTERS_BUCKETS + 1];
    atomic_uint_fast64_t us_sum;
    atomic_uint_fast64_t keeper_away;           /* asked in vain */
    atomic_uint_fast64_t workers_started, workers_died, watchdog;
};

struct counters *counters_new(void);    /* shared with children; or NULL */
void counters_answer(struct counters *c, int status, int64_t us);
void counters_render(const struct counters *c, const char *node,
    struct buf *out);

#endif
