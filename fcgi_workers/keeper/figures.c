/*
 * figures: see figures.h. Owns the counts; must never decide anything.
 */
#include "figures.h"

#include <inttypes.h>
#include <string.h>

#include "../common/row.h"
#include "archive.h"

#define BUCKETS 11

enum way { WAY_CREATE, WAY_START, WAY_THAW, WAY_COUNT };
enum result { DONE, FAILED, REFUSED, ENDED, RESULT_COUNT };

static const char *const way_words[WAY_COUNT] = { "create", "start", "thaw" };
static const char *const result_words[RESULT_COUNT] = {
    "done", "failed", "refused", "ended"
};

static const int64_t bucket_ms[BUCKETS] = {
    50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 300000
};
static const char *const bucket_words[BUCKETS] = {
    "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "30", "60", "300"
};

static struct {
    uint64_t wakes[WAY_COUNT][RESULT_COUNT];
    uint64_t below[WAY_COUNT][BUCKETS + 1];
    uint64_t sum_ms[WAY_COUNT];
    uint64_t reached[RUNG_COUNT];
} figures;

/* ---- counting ------------------------------------------------------------ */

/* -1: not on the way up. */
static int way_of(enum rung r)
{
    switch (r) {
    case RUNG_CREATING: return WAY_CREATE;
    case RUNG_STARTING: return WAY_START;
    case RUNG_THAWING:  return WAY_THAW;
    default:            return -1;
    }
}

static enum result result_of(const struct sandbox *sb)
{
    static const char *const refused[] = {
        "low_memory", "queue_full", "quota_exceeded", "maintenance",
        "disk_full"
    };
    size_t i;

    if (sb->error_code == NULL || strcmp(sb->error_code, "conflict") == 0)
        return ENDED;           /* told to stop while it was starting */
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (strcmp(sb->error_code, refused[i]) == 0)
            return REFUSED;
    }
    return FAILED;
}

static void figures_woken(const struct sandbox *sb, int way)
{
    int64_t ms = loop_now_ms(sb->k->loop) - sb->wake_mono_ms;
    int     i = 0;

    if (sb->wake_mono_ms == 0)
        return;                 /* another keeper began it */
    while (i < BUCKETS && ms > bucket_ms[i])
        i++;
    figures.below[way][i]++;
    figures.sum_ms[way] += (uint64_t) (ms > 0 ? ms : 0);
}

void figures_moved(struct sandbox *sb, enum rung from)
{
    int was = way_of(from), is = way_of(sb->rung);

    if (is >= 0 && (was < 0 || from == sb->rung)) {
        sb->wake_mono_ms = loop_now_ms(sb->k->loop);
        return;
    }
    if (from == sb->rung)
        return;
    if (was >= 0 && sb->rung == RUNG_RUNNING) {
        figures.wakes[was][DONE]++;
        figures_woken(sb, was);
    } else if (was >= 0 && is < 0) {
        figures.wakes[was][result_of(sb)]++;
    }
    if (sb->rung < RUNG_COUNT)
        figures.reached[sb->rung]++;
}

/* ---- telling ------------------------------------------------------------- */

static void render_wakes(const char *node, struct buf *b)
{
    int way, result;

    buf_str(b, "# HELP holdfast_wakes_total Ways up that have ended, by what "
        "came of them.\n# TYPE holdfast_wakes_total counter\n");
    for (way = 0; way < WAY_COUNT; way++) {
        for (result = 0; result < RESULT_COUNT; result++)
            buf_printf(b, "holdfast_wakes_total{node=\"%s\",way=\"%s\","
                "result=\"%s\"} %" PRIu64 "\n", node, way_words[way],
                result_words[result], figures.wakes[way][result]);
    }
}

static void render_ready(const char *node, int way, struct buf *b)
{
    uint64_t sum = 0;
    int      i;

    for (i = 0; i < BUCKETS; i++) {
        sum += figures.below[way][i];
        buf_printf(b, "holdfast_ready_seconds_bucket{node=\"%s\",way=\"%s\","
            "le=\"%s\"} %" PRIu64 "\n", node, way_words[way],
            bucket_words[i], sum);
    }
    sum += figures.below[way][BUCKETS];
    buf_printf(b, "holdfast_ready_seconds_bucket{node=\"%s\",way=\"%s\","
        "le=\"+Inf\"} %" PRIu64 "\n"
        "holdfast_ready_seconds_sum{node=\"%s\",way=\"%s\"} %.3f\n"
        "holdfast_ready_seconds_count{node=\"%s\",way=\"%s\"} %" PRIu64 "\n",
        node, way_words[way], sum, node, way_words[way],
        (double) figures.sum_ms[way] / 1000, node, way_words[way], sum);
}

void figures_render(const struct keeper *k, struct buf *b)
{
    const char *node = strpbrk(k->node, "\"\\\n") == NULL ? k->node : "";
    int         i;

    render_wakes(node, b);
    buf_str(b, "# HELP holdfast_ready_seconds From the wish to have it awake "
        "until it was.\n# TYPE holdfast_ready_seconds histogram\n");
    for (i = 0; i < WAY_COUNT; i++)
        render_ready(node, i, b);
    buf_str(b, "# HELP holdfast_moves_total Rungs that sandboxes came to.\n"
        "# TYPE holdfast_moves_total counter\n");
    for (i = 0; i < RUNG_COUNT; i++)
        buf_printf(b, "holdfast_moves_total{node=\"%s\",rung=\"%s\"} %"
            PRIu64 "\n", node, rung_name((enum rung) i), figures.reached[i]);
    buf_printf(b, "# HELP holdfast_archive_bytes What archived workspaces "
        "take on disk.\n# TYPE holdfast_archive_bytes gauge\n"
        "holdfast_archive_bytes{node=\"%s\"} %" PRId64 "\n", node,
        archive_total(k));
}
