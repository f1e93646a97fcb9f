/*
 * reaper: see reaper.h.
 *
 *   due (Redis) → kept? → the guest: execs, output, input → CPU and network of
 *   a short window → PARK at every gate → EV_FREEZE or EV_STOP
 *
 * Each step that says no gives the moment of the next look, as a plain ZADD.
 * Owns the timer of looking; nothing is polled: the set itself says when its
 * first member is due. What it remembers of a sandbox is in struct live.
 */
#include "reaper.h"

#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "news.h"
#include "op.h"
#include "start.h"

#define LOOK_MIN_MS   1000
#define LOOK_MAX_MS   60000
#define BATCH_MS      100       /* when more were due than were given */
#define AGAIN_MS      2000      /* it is in the middle of something */
#define UNKNOWN_MS    5000      /* something could not be asked */
#define WINDOW_MIN_MS 1000      /* of CPU and network */
#define WINDOW_MAX_MS 5000
#define PARK_TRIES_MS 500
#define PARK_TRIES    10

struct reaper {
    struct keeper *k;
    struct timer   look;
    bool           asking;      /* Redis, and it has not answered yet */
};

/* ---- when ---------------------------------------------------------------- */

static bool may_freeze(const struct sandbox *sb)
{
    return sb->freeze_s > 0 && sb->freeze_s < sb->idle_s
        && sb->k->caps.freeze;
}

int64_t reaper_next_s(const struct sandbox *sb)
{
    return may_freeze(sb) ? sb->freeze_s : sb->idle_s;
}

int64_t reaper_due_ms(const struct sandbox *sb)
{
    if (sb->rung == RUNG_FROZEN)
        return sb->active_ms + sb->idle_s * 1000;
    return clock_wall_ms() + reaper_next_s(sb) * 1000;
}

int64_t reaper_kept_until(const struct sandbox *sb)
{
    int64_t until = sb->keepalive_ms > sb->lease_ms ? sb->keepalive_ms
        : sb->lease_ms;

    return until > clock_wall_ms() ? until : 0;
}

static void look_in(struct sandbox *sb, int64_t ms)
{
    news_look(sb, clock_wall_ms() + (ms < LOOK_MIN_MS ? LOOK_MIN_MS : ms));
}

static void look_later(struct sandbox *sb)
{
    int64_t ms = reaper_next_s(sb) * 1000;

    look_in(sb, ms < LOOK_MAX_MS ? ms : LOOK_MAX_MS);
}

void reaper_changed(struct sandbox *sb)
{
    if (sb->rung == RUNG_RUNNING || sb->rung == RUNG_FROZEN)
        news_look(sb, reaper_due_ms(sb));
}

/* ---- the last step: park, then act --------------------------------------- */

/* Is there a reason that is newer than the question to the gates? */
static bool wanted_since(const struct sandbox *sb)
{
    return sb->queue != NULL || sb->acting || links_wanted(sb)
        || sb->always_on || reaper_kept_until(sb) != 0;
}

static void park_refused(struct sandbox *sb, enum line_park how,
    int64_t idle_ms)
{
    int64_t min_idle = reaper_next_s(sb) * 1000;

    if (how == LINE_BUSY && idle_ms >= 0 && idle_ms < min_idle)
        look_in(sb, min_idle - idle_ms);
    else
        look_later(sb);
}

static void act_sleep(struct sandbox *sb, int64_t idle_ms)
{
    sb->active_ms = clock_wall_ms() - idle_ms;
    if (may_freeze(sb)) {
        machine_event(sb, EV_FREEZE);
        news_look(sb, sb->active_ms + sb->idle_s * 1000);
        return;
    }
    sb->stopped_by = STOPPED_IDLE;
    machine_event(sb, EV_STOP);
}

static void reaper_parked(struct sandbox *sb, enum line_park how,
    int64_t idle_ms)
{
    struct live *live = sb->live;

    if (live == NULL || !live->parking)
        return;
    live->parking = false;
    if (sb->rung != RUNG_RUNNING || start_renewing(sb)
        || sb->generation != live->park_gen)
        return;                 /* it moved on, and was looked at by that */
    if (how != LINE_OK) {
        park_refused(sb, how, idle_ms);
        return;
    }
    if (wanted_since(sb)) {
        start_renew(sb);        /* a park ends its generation for ever */
        look_later(sb);
        machine_look(sb);
        return;
    }
    act_sleep(sb, reaper_next_s(sb) * 1000);
}

static int reaper_park(struct sandbox *sb, int64_t min_idle_ms,
    void (*told)(struct sandbox *sb, enum line_park how, int64_t idle_ms))
{
    if (links_park(sb, min_idle_ms, told) == -1)
        return -1;
    sb->live->parking = true;
    sb->live->park_gen = sb->generation;
    return 0;
}

/* ---- a look at one that is due ------------------------------------------- */

static bool guest_busy(struct sandbox *sb)
{
    const struct live         *live = sb->live;
    const struct guest_status *st = &live->status;
    int64_t                    age, ago, next = reaper_next_s(sb) * 1000;

    age = loop_now_ms(sb->k->loop) - live->status_mono_ms;
    ago = st->output_ago_ms < st->input_ago_ms ? st->output_ago_ms
        : st->input_ago_ms;
    if (st->execs > 0) {
        look_later(sb);
        return true;
    }
    if (ago != UINT32_MAX && ago + age < next) {
        look_in(sb, next - ago - age);
        return true;
    }
    return false;
}

/* CPU and network of a window that ends now. The first look begins it. */
static bool usage_busy(struct sandbox *sb)
{
    struct usage     *from = &sb->live->usage, now;
    struct usage_rate rate;
    struct err        e;
    int64_t           window = reaper_next_s(sb) * 1000 / 4, age;

    if (window < WINDOW_MIN_MS)
        window = WINDOW_MIN_MS;
    if (window > WINDOW_MAX_MS)
        window = WINDOW_MAX_MS;
    if (usage_take(sb, &now, &e) == -1) {
        log_warn("sandbox=%s stays awake: %s", sb->id, e.msg);
        from->at_us = 0;
        look_in(sb, LOOK_MAX_MS);
        return true;
    }
    age = (now.at_us - from->at_us) / 1000;
    if (from->at_us == 0 || age > 3 * window || age < window / 2) {
        if (from->at_us == 0 || age > 3 * window)
            *from = now;
        look_in(sb, window);
        return true;
    }
    usage_rate(from, &now, &rate);
    *from = now;
    if (!usage_cpu_busy(sb, &rate) && !usage_net_busy(sb, &rate))
        return false;
    log_debug("sandbox=%s busy: cpu %lld %%, net %lld bytes/s", sb->id,
        (long long) rate.cpu_percent, (long long) rate.net_bytes_s);
    from->at_us = 0;
    look_in(sb, reaper_next_s(sb) * 1000);
    return true;
}

static void look_running(struct sandbox *sb)
{
    if (sb->unproven || sb->acting || sb->queue != NULL || sb->live == NULL
        || sb->live->parking || start_renewing(sb) || links_wanted(sb)) {
        look_in(sb, AGAIN_MS);
    } else if (!sb->live->has_status) {
        look_in(sb, UNKNOWN_MS);
    } else if (!guest_busy(sb) && !usage_busy(sb)) {
        look_in(sb, UNKNOWN_MS);        /* unless all goes as it should */
        if (reaper_park(sb, reaper_next_s(sb) * 1000, reaper_parked) == -1)
            look_in(sb, AGAIN_MS);
    }
}

static void look_frozen(struct sandbox *sb)
{
    int64_t due = reaper_due_ms(sb);

    if (due > clock_wall_ms()) {
        news_look(sb, due);
    } else if (sb->unproven || sb->acting || sb->queue != NULL
        || links_wanted(sb)) {
        look_in(sb, AGAIN_MS);
    } else {
        sb->stopped_by = STOPPED_IDLE;
        machine_event(sb, EV_STOP);
    }
}

static void reaper_look(struct sandbox *sb)
{
    int64_t kept = reaper_kept_until(sb);

    if (sb->rung != RUNG_RUNNING && sb->rung != RUNG_FROZEN) {
        if (rung_at_rest(sb->rung))
            news_asleep(sb);
        else
            look_in(sb, AGAIN_MS);
    } else if (!sb->k->engine_up || !sb->k->engine_seen) {
        look_in(sb, UNKNOWN_MS);
    } else if (sb->always_on) {
        look_in(sb, LOOK_MAX_MS);
    } else if (kept != 0) {
        news_look(sb, kept);
    } else if (sb->rung == RUNG_FROZEN) {
        look_frozen(sb);
    } else {
        look_running(sb);
    }
}

/* ---- asking Redis -------------------------------------------------------- */

static void reaper_due(struct keeper *k, const struct news_due *due, int n)
{
    struct reaper  *r = k->reaper;
    struct sandbox *sb;
    int64_t         now = clock_wall_ms(), next = LOOK_MAX_MS;
    int             i;

    if (r == NULL)
        return;
    r->asking = false;
    if (n < 0)
        next = LOOK_MIN_MS;
    for (i = 0; i < n; i++) {
        if (due[i].at_ms > now) {
            next = due[i].at_ms - now;
            break;
        }
        sb = sandbox_find(k, due[i].id);
        if (sb != NULL)
            reaper_look(sb);
        else
            news_forget(k, due[i].id);
    }
    if (i == NEWS_DUE_MAX)
        next = BATCH_MS;
    else if (next < LOOK_MIN_MS)
        next = LOOK_MIN_MS;
    if (r->look.slot == 0
        || r->look.at_ms > loop_now_ms(k->loop) + next)
        loop_timer_set(k->loop, &r->look, next);
}

/* Without Redis the timer rests until it is back. */
static void reaper_tick(struct timer *t)
{
    struct reaper *r = t->owner;

    if (!r->asking && news_ask_due(r->k, reaper_due) == 0)
        r->asking = true;
}

void reaper_wake(struct keeper *k)
{
    if (k->reaper == NULL)
        return;
    k->reaper->asking = false;
    loop_timer_set(k->loop, &k->reaper->look, LOOK_MIN_MS);
}

void reaper_by(struct keeper *k, int64_t wall_ms)
{
    struct reaper *r = k->reaper;
    int64_t        in = wall_ms - clock_wall_ms();

    if (r == NULL || r->asking)
        return;
    if (in < LOOK_MIN_MS)
        in = LOOK_MIN_MS;
    if (in > LOOK_MAX_MS)
        in = LOOK_MAX_MS;
    if (r->look.slot == 0 || r->look.at_ms > loop_now_ms(k->loop) + in)
        loop_timer_set(k->loop, &r->look, in);
}

/* ---- a caller's freeze --------------------------------------------------- */

bool reaper_freezing(const struct sandbox *sb)
{
    return sb->live != NULL && sb->live->freeze_tries > 0;
}

static void freeze_over(struct sandbox *sb, const char *why)
{
    struct err e;

    sb->live->freeze_tries = 0;
    err_set(&e, "conflict", "%s", why);
    e.retry_after_s = 1;
    machine_refuse(sb, &e);
    machine_look(sb);
}

static void freeze_parked(struct sandbox *sb, enum line_park how,
    int64_t idle_ms)
{
    struct live *live = sb->live;

    (void) idle_ms;
    if (live == NULL || live->freeze_tries == 0)
        return;
    live->parking = false;
    if (sb->rung != RUNG_RUNNING) {
        live->freeze_tries = 0;
        return;
    }
    if (how == LINE_OK && !start_renewing(sb) && !links_wanted(sb)
        && sb->generation == live->park_gen) {
        live->freeze_tries = 0;
        sb->active_ms = clock_wall_ms();
        machine_event(sb, EV_FREEZE);
        news_look(sb, sb->active_ms + sb->idle_s * 1000);
        return;
    }
    if (how == LINE_OK)
        start_renew(sb);
    freeze_over(sb, "requests are in flight: it is not frozen");
}

static void freeze_try(struct timer *t)
{
    struct sandbox *sb = t->owner;
    struct live    *live = sb->live;

    if (reaper_park(sb, 0, freeze_parked) == 0)
        return;
    if (++live->freeze_tries > PARK_TRIES)
        freeze_over(sb, "the gates cannot be asked now");
    else
        loop_timer_set(sb->k->loop, &live->freeze, PARK_TRIES_MS);
}

void reaper_freeze(struct sandbox *sb)
{
    struct live *live = live_of(sb);

    if (live->freeze_tries > 0)
        return;
    live->freeze_tries = 1;
    live->freeze.owner = sb;
    live->freeze.due = freeze_try;
    freeze_try(&live->freeze);
}

/* ---- opening ------------------------------------------------------------- */

int reaper_open(struct keeper *k, struct err *e)
{
    struct reaper *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return err_set(e, "internal", "out of memory");
    r->k = k;
    r->look.owner = r;
    r->look.due = reaper_tick;
    k->reaper = r;
    return 0;
}

void reaper_close(struct keeper *k)
{
    if (k->reaper == NULL)
        return;
    loop_timer_clear(k->loop, &k->reaper->look);
    free(k->reaper);
    k->reaper = NULL;
}
