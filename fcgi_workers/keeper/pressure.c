/*
 * pressure: see pressure.h. Owns the timer of looking at MemAvailable.
 */
#include "pressure.h"

#include <stdlib.h>

#include "../common/log.h"
#include "admission.h"
#include "live.h"
#include "reaper.h"
#include "usage.h"

#define LOOK_MS  1000
#define AT_ONCE  4              /* that are on their way down */
#define MEASURE  32             /* whose memory is read at one look */
#define SMALL_MB 8              /* not worth losing its processes for */

struct pressure {
    struct keeper *k;
    struct timer   look;
    bool           low;
};

struct oldest {
    struct sandbox *sb;
    int64_t         coming_mb;  /* from those on their way down */
    int             down;       /* how many these are */
    bool            open;       /* somebody may go down a little later */
};

static int64_t memory_mb(const struct sandbox *sb)
{
    int64_t bytes = usage_memory(sb);

    return bytes > 0 ? bytes / (1 << 20) : 0;
}

static void on_the_way(struct sandbox *sb, void *arg)
{
    struct oldest *o = arg;

    if (sb->rung == RUNG_STOPPING || sb->rung == RUNG_FREEZING) {
        o->down++;
        if (sb->rung == RUNG_STOPPING)
            o->coming_mb += memory_mb(sb);
    } else if (sb->rung == RUNG_FROZEN) {
        o->open |= sb->unproven
            || (sb->live != NULL && sb->live->reclaim != NULL);
    }
}

static void oldest_frozen(struct sandbox *sb, void *arg)
{
    struct oldest *o = arg;

    if (sb->rung == RUNG_FROZEN && !sb->small && reaper_may_push(sb)
        && (sb->live == NULL || sb->live->reclaim == NULL)
        && (o->sb == NULL || sb->active_ms < o->sb->active_ms))
        o->sb = sb;
}

bool pressure_push(struct keeper *k, int64_t missing_mb)
{
    struct oldest o = { 0 };
    int64_t       mb;
    int           i, n;

    sandbox_each(k, on_the_way, &o);
    missing_mb -= o.coming_mb;
    n = o.down;
    for (i = 0; i < MEASURE && n < AT_ONCE && missing_mb > 0; i++) {
        o.sb = NULL;
        sandbox_each(k, oldest_frozen, &o);
        if (o.sb == NULL)
            break;
        mb = memory_mb(o.sb);
        if (mb < SMALL_MB) {
            o.sb->small = true;
            continue;
        }
        log_info("sandbox=%s memory is low: stopped", o.sb->id);
        reaper_push_frozen(o.sb);
        missing_mb -= mb;
        n++;
    }
    if (missing_mb > 0 && n < AT_ONCE && reaper_push_running(k))
        n++;
    return n > 0 || o.open;
}

static void pressure_due(struct timer *t)
{
    struct pressure *p = t->owner;
    int64_t          have = admission_memory_mb();
    int64_t          least = p->k->s->memory_low;
    bool             low = have >= 0 && have < least;

    if (low != p->low) {
        p->low = low;
        log_warn("%lld MB of memory are available, memory_low is %lld MB%s",
            (long long) have, (long long) least,
            low ? ": what is idle goes down" : "");
    }
    if (low)
        pressure_push(p->k, least - have);
    loop_timer_set(p->k->loop, t, LOOK_MS);
}

int pressure_open(struct keeper *k, struct err *e)
{
    struct pressure *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return err_set(e, "internal", "out of memory");
    p->k = k;
    p->look.owner = p;
    p->look.due = pressure_due;
    k->pressure = p;
    if (k->s->memory_low > 0)
        loop_timer_set(k->loop, &p->look, LOOK_MS);
    return 0;
}

void pressure_close(struct keeper *k)
{
    if (k->pressure == NULL)
        return;
    loop_timer_clear(k->loop, &k->pressure->look);
    free(k->pressure);
    k->pressure = NULL;
}
