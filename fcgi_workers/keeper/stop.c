/*
 * stop: see stop.h.
 */
#include "stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/log.h"
#include "admission.h"
#include "archive.h"
#include "guestlink.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "news.h"
#include "peers.h"
#include "reclaim.h"
#include "start.h"
#include "store.h"
#include "workspace.h"

/* The engine gets a little longer than the guest, which is told first. */
#define STOP_GRACE_S  2
#define DRAIN_LOOK_MS 20

/* Before it is frozen, because after that its memory is taken. */
static void stop_measure(struct sandbox *sb)
{
    int64_t bytes = usage_memory(sb);

    if (bytes >= 0)
        sb->need_mb = (bytes >> 20) + 1;
}

void stop_keep_status(struct sandbox *sb)
{
    const struct guest_status *st;
    struct buf                 b;
    unsigned                   i;

    if (sb->live == NULL || !sb->live->has_status)
        return;
    st = &sb->live->status;
    buf_init(&b, 8192);
    buf_str(&b, "{\"ports\":[");
    for (i = 0; i < st->nports; i++)
        buf_printf(&b, "%s{\"port\":%u,\"families\":%u}", i > 0 ? "," : "",
            st->ports[i].port, st->ports[i].families & 3u);
    buf_str(&b, "]");
    buf_printf(&b, ",\"memory_mb\":%" PRId64 "}", sb->need_mb);
    if (!b.failed)
        sandbox_text(&sb->last_status, b.data);
    buf_fini(&b);
    store_dirty(sb);
}

void stop_unplug(struct sandbox *sb)
{
    struct live *live = sb->live;

    if (live != NULL) {
        loop_timer_clear(sb->k->loop, &live->retry);
        guestlink_close(sb);
        live->renewing = false;
        live->has_status = false;
        live->door_gen = live->door_old = 0;
        if (live->netns >= 0)
            close(live->netns);
        live->netns = -1;
    }
    peers_forget(sb->k, sb);    /* a late answer is of another life */
    if (!sb->plugged)
        return;
    sb->plugged = false;
    peers_door_drop(sb->k, sb->id, 0);
    peers_net_drop(sb->k, sandbox_ifnumber(sb));
}

void stop_tidy(struct sandbox *sb)
{
    struct err e;

    stop_keep_status(sb);
    stop_unplug(sb);
    live_drop(sb);
    news_asleep(sb);
    if (sb->error_message == NULL) {
        err_set(&e, "start_failed", "its container ended by itself");
        sandbox_why(sb, &e);
    }
}

/* ---- freeze -------------------------------------------------------------- */

static void stop_frozen(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL)
        log_warn("sandbox=%s freeze: %s", sb->id, r->error->msg);
    machine_event(sb, r->error == NULL ? EV_DONE : EV_FAILED);
    sb->small = false;
    if (r->error == NULL)
        reclaim_begin(sb);
}

void stop_freeze(struct sandbox *sb)
{
    stop_measure(sb);
    stop_keep_status(sb);
    engine_freeze(sb->k->engine, sb->engine_ref, stop_frozen, sb);
}

/* ---- stop ---------------------------------------------------------------- */

static void stop_stopped(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;
    bool            gone;

    gone = r->error != NULL && strcmp(r->error->code, "not_found") == 0;
    if (gone)
        sandbox_text(&sb->engine_ref, NULL);
    if (r->error != NULL && !gone) {
        log_warn("sandbox=%s stop: %s", sb->id, r->error->msg);
        sandbox_why(sb, r->error);
        machine_event(sb, EV_FAILED);
        return;
    }
    stop_unplug(sb);
    live_drop(sb);
    machine_event(sb, EV_DONE);
}

static void stop_now(struct sandbox *sb)
{
    unsigned char ms[4];
    uint32_t      n = (uint32_t) sb->k->s->stop_timeout_s * 1000;

    if (sb->engine_ref == NULL) {
        struct engine_result none = { 0 };

        stop_stopped(sb, &none);
        return;
    }
    ms[0] = (unsigned char) (n & 255);
    ms[1] = (unsigned char) (n >> 8 & 255);
    ms[2] = (unsigned char) (n >> 16 & 255);
    ms[3] = (unsigned char) (n >> 24);
    guestlink_send(sb, GUEST_STOP, ms, sizeof(ms));
    engine_stop(sb->k->engine, sb->engine_ref,
        (int) sb->k->s->stop_timeout_s + STOP_GRACE_S, stop_stopped, sb);
}

/* ---- requests in flight end first ---------------------------------------- */

static void stop_drain(struct sandbox *sb);

static void stop_drain_due(struct timer *t)
{
    struct live *live = t->owner;

    stop_drain(live->sb);
}

static void stop_drained(struct sandbox *sb, enum line_park how,
    int64_t idle_ms)
{
    struct live *live = sb->live;

    if (how != LINE_BUSY || idle_ms == PARK_SILENT
        || loop_now_ms(sb->k->loop) >= live->drain_until_ms) {
        stop_now(sb);
        return;
    }
    live->drain.owner = live;
    live->drain.due = stop_drain_due;
    loop_timer_set(sb->k->loop, &live->drain, DRAIN_LOOK_MS);
}

static void stop_drain(struct sandbox *sb)
{
    if (links_drain(sb, stop_drained) == -1)
        stop_now(sb);
}

static void stop_thawed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL)
        log_warn("sandbox=%s thaw before stop: %s", sb->id, r->error->msg);
    stop_now(sb);
}

void stop_begin(struct sandbox *sb, bool thaw_first)
{
    reclaim_end(sb);
    live_of(sb)->drain_until_ms = loop_now_ms(sb->k->loop)
        + sb->k->s->stop_timeout_s * 1000;
    if (!thaw_first)
        stop_measure(sb);
    stop_keep_status(sb);
    news_asleep(sb);
    links_closing(sb);
    if (thaw_first && sb->engine_ref != NULL)
        engine_thaw(sb->k->engine, sb->engine_ref, stop_thawed, sb);
    else if (sb->live->guest == NULL)
        stop_now(sb);           /* nobody can be talking to it */
    else
        stop_drain(sb);
}

/* ---- delete and purge ---------------------------------------------------- */

static void stop_purged(void *arg, const struct err *e, int64_t freed)
{
    struct sandbox *sb = arg;

    live_of(sb)->freed_bytes += freed;
    if (e != NULL) {
        log_warn("sandbox=%s purge: %s", sb->id, e->msg);
        sandbox_why(sb, e);
        machine_event(sb, EV_FAILED);
        return;
    }
    live_of(sb)->freed_bytes += archive_bytes(sb);
    archive_drop(sb);
    machine_event(sb, EV_DONE);
}

static void stop_removed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL) {
        log_warn("sandbox=%s remove: %s", sb->id, r->error->msg);
        sandbox_why(sb, r->error);
        machine_event(sb, EV_FAILED);
        return;
    }
    stop_unplug(sb);
    sandbox_text(&sb->engine_ref, NULL);
    sandbox_text(&sb->spec_hash, NULL);
    sandbox_text(&sb->last_status, NULL);
    sb->pid = 0;
    store_dirty(sb);
    if (sb->rung == RUNG_PURGING) {
        workspace_purge(sb, stop_purged, sb);
        return;
    }
    live_drop(sb);
    machine_event(sb, EV_DONE);
}

void stop_remove(struct sandbox *sb)
{
    struct engine_result none = { 0 };

    live_of(sb);
    loop_timer_clear(sb->k->loop, &sb->expires);
    loop_timer_clear(sb->k->loop, &sb->again);
    guestlink_close(sb);
    news_asleep(sb);
    if (sb->engine_ref == NULL)
        stop_removed(sb, &none);
    else
        engine_remove(sb->k->engine, sb->engine_ref, stop_removed, sb);
}

void stop_purge(struct sandbox *sb)
{
    live_of(sb)->freed_bytes = 0;
    stop_remove(sb);
}

int64_t stop_freed(const struct sandbox *sb)
{
    return sb->live != NULL ? sb->live->freed_bytes : 0;
}

void stop_forget(struct sandbox *sb)
{
    stop_unplug(sb);
    live_drop(sb);
}
