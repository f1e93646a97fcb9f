/*
 * counters: see counters.h.
 */
#include "counters.h"

#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>

static const int64_t bucket_us[COUNTERS_BUCKETS] = {
    500, 1000, 2000, 5000, 10000, 25000, 100000, 500000, 1000000, 5000000
};
static const char *const bucket_names[COUNTERS_BUCKETS] = {
    "0.0005", "0.001", "0.002", "0.005", "0.01", "0.025", "0.1", "0.5", "1",
    "5"
};

struct counters *counters_new(void)
{
    void *p = mmap(NULL, sizeof(struct counters), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;  /* zeroed: no atomic needs more */
}

void counters_answer(struct counters *c, int status, int64_t us)
{
    int i = 0;

    if (c == NULL)
        return;
    if (status >= 100 && status < 600)
        atomic_fetch_add(&c->answers[status / 100], 1);
    while (i < COUNTERS_BUCKETS && us > bucket_us[i])
        i++;
    atomic_fetch_add(&c->us_below[i], 1);
    atomic_fetch_add(&c->us_sum, (uint_fast64_t) (us > 0 ? us : 0));
}

static void counters_one(struct buf *out, const char *name,
    const char *what, const char *node, uint64_t n)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n"
        "%s{node=\"%s\"} %" PRIu64 "\n", name, what, name, name, node, n);
}

void counters_render(const struct counters *c, const char *node,
    struct buf *out)
{
    uint64_t sum = 0;
    int      i;

    if (c == NULL)
        return;
    buf_str(out, "# HELP holdfast_api_answers_total Answers of the api "
        "workers by class of status.\n"
        "# TYPE holdfast_api_answers_total counter\n");
    for (i = 2; i < 6; i++)
        buf_printf(out, "holdfast_api_answers_total{node=\"%s\",class=\"%dxx"
            "\"} %" PRIu64 "\n", node, i,
            (uint64_t) atomic_load(&c->answers[i]));
    buf_str(out, "# HELP holdfast_api_seconds Time a worker spent on a "
        "request.\n# TYPE holdfast_api_seconds histogram\n");
    for (i = 0; i < COUNTERS_BUCKETS; i++) {
        sum += atomic_load(&c->us_below[i]);
        buf_printf(out, "holdfast_api_seconds_bucket{node=\"%s\",le=\"%s\"} "
            "%" PRIu64 "\n", node, bucket_names[i], sum);
    }
    sum += atomic_load(&c->us_below[COUNTERS_BUCKETS]);
    buf_printf(out, "holdfast_api_seconds_bucket{node=\"%s\",le=\"+Inf\"} %"
        PRIu64 "\nholdfast_api_seconds_sum{node=\"%s\"} %.6f\n"
        "holdfast_api_seconds_count{node=\"%s\"} %" PRIu64 "\n", node, sum,
        node, (double) atomic_load(&c->us_sum) / 1e6, node, sum);
    counters_one(out, "holdfast_api_keeper_away_total",
        "Times that the keeper did not answer a worker.", node,
        atomic_load(&c->keeper_away));
    counters_one(out, "holdfast_api_workers_started_total",
        "Worker processes started.", node, atomic_load(&c->workers_started));
    counters_one(out, "holdfast_api_workers_died_total",
        "Worker processes that ended by themselves or by a signal.", node,
        atomic_load(&c->workers_died));
    counters_one(out, "holdfast_api_watchdog_total",
        "Workers ended because a request took too long.", node,
        atomic_load(&c->watchdog));
}
