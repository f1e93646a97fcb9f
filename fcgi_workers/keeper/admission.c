/*
 * admission: see admission.h. Owns the queue of starts.
 */
#include "admission.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "../common/maintenance.h"
#include "live.h"
#include "pressure.h"
#include "start.h"
#include "store.h"
#include "usage.h"
#include "workspace.h"

#define START_MB  64            /* of one that never slept */
#define SETTLE_MS 10000         /* then its memory shows in MemAvailable */
#define AGAIN_MS  200

struct admission {
    struct live  *head, **tail;
    size_t        waiting, starting;
    int64_t       reserved_mb;  /* by those that are starting or settling */
    struct timer  next;         /* grants come from the loop, one way only */
};

int64_t admission_memory_mb(void)
{
    FILE   *f = fopen("/proc/meminfo", "re");
    char    line[128];
    int64_t kb = -1;

    if (f == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &kb) == 1)
            break;
    }
    fclose(f);
    return kb < 0 ? -1 : kb / 1024;
}

/* How much is missing for so much more; 0: there is room. */
static int64_t memory_missing(const struct keeper *k, int64_t need_mb)
{
    int64_t have = admission_memory_mb();
    int64_t need = need_mb + k->admission->reserved_mb
        + k->s->memory_reserve;

    if (have < 0)
        return 0;               /* no such file: nothing to judge by */
    return have < need ? need - have : 0;
}

static int memory_refused(const struct keeper *k, int64_t need_mb,
    struct err *e)
{
    err_set(e, "low_memory", "the machine has %" PRId64 " MB of memory left, "
        "this needs %" PRId64 " MB; %" PRId64 " MB are kept for those that "
        "are starting and %" PRId64 " MB stay reserved",
        admission_memory_mb(), need_mb, k->admission->reserved_mb,
        k->s->memory_reserve);
    e->retry_after_s = 30;
    return -1;
}

/* What it needed when it last slept. */
static int64_t memory_need(const struct sandbox *sb)
{
    int64_t mb = sb->need_mb > 0 ? sb->need_mb : START_MB;

    return mb < sb->memory_mb ? mb : sb->memory_mb;
}

static void memory_reserve(struct live *live, int64_t mb)
{
    live->sb->k->admission->reserved_mb += mb - live->reserved_mb;
    live->reserved_mb = mb;
}

static void memory_settled(struct timer *t)
{
    memory_reserve(t->owner, 0);
}

static void memory_settle(struct live *live)
{
    live->settle.owner = live;
    live->settle.due = memory_settled;
    loop_timer_set(live->sb->k->loop, &live->settle, SETTLE_MS);
}

static int quota(struct err *e, int64_t have, int64_t more, int64_t max,
    const char *what)
{
    if (max == 0 || have + more <= max)
        return 0;
    return err_set(e, "quota_exceeded", "this tenant may have %" PRId64
        " %s and has %" PRId64, max, what, have);
}

int admission_create(struct keeper *k, const struct tenant *t,
    int64_t memory_mb, int64_t disk_mb, struct err *e)
{
    const struct settings *s = k->s;
    int64_t                missing;

    if (maintenance_check(s, e) == -1)
        return -1;
    if ((int64_t) sandbox_count(k) >= s->sandboxes_max) {
        err_set(e, "queue_full", "this machine holds %" PRId64 " sandboxes, "
            "which is all that it may", s->sandboxes_max);
        e->retry_after_s = 60;
        return -1;
    }
    if (quota(e, t->count, 1, s->tenant_sandboxes_max, "sandboxes") == -1
        || quota(e, t->disk_mb, disk_mb, s->tenant_disk_max, "MB of disk")
            == -1
        || quota(e, t->awake, 1, s->tenant_awake_max, "awake sandboxes") == -1
        || quota(e, t->awake_mb, memory_mb, s->tenant_memory_max,
            "MB of memory in awake sandboxes") == -1)
        return -1;
    if (workspace_room(k, e) == -1 || store_may_grow(k, e) == -1)
        return -1;
    if ((int64_t) k->admission->waiting >= s->starts_queue) {
        err_set(e, "queue_full", "%zu starts are waiting already",
            k->admission->waiting);
        e->retry_after_s = 5;
        return -1;
    }
    if (memory_mb > START_MB)
        memory_mb = START_MB;
    missing = memory_missing(k, memory_mb);
    if (missing == 0 || pressure_push(k, missing))
        return 0;               /* the queue waits for it */
    return memory_refused(k, memory_mb, e);
}

/* The sandbox itself counts as awake by now. */
int admission_wake(struct sandbox *sb, struct err *e)
{
    const struct settings *s = sb->k->s;

    if (quota(e, sb->tenant->awake, 0, s->tenant_awake_max,
            "awake sandboxes") == -1
        || quota(e, sb->tenant->awake_mb, 0, s->tenant_memory_max,
            "MB of memory in awake sandboxes") == -1)
        return -1;
    if (memory_missing(sb->k, memory_need(sb)) > 0)
        return memory_refused(sb->k, memory_need(sb), e);
    return 0;
}

/* What is there still, or comes back from swap, is not needed twice. */
int admission_thaw(struct sandbox *sb, struct err *e)
{
    int64_t bytes = usage_memory(sb), need = memory_need(sb), missing;

    need -= bytes > 0 ? bytes >> 20 : 0;
    missing = need > 0 ? memory_missing(sb->k, need) : 0;
    if (missing > 0) {
        pressure_push(sb->k, missing);
        return memory_refused(sb->k, need, e);
    }
    memory_reserve(live_of(sb), need > 0 ? need : 0);
    memory_settle(sb->live);
    return 0;
}

void admission_forget(struct sandbox *sb)
{
    admission_leave(sb);
    loop_timer_clear(sb->k->loop, &sb->live->settle);
    memory_reserve(sb->live, 0);
}

/* True: sandboxes go to sleep, and it waits for their memory. */
static bool memory_to_come(struct live *live)
{
    struct keeper *k = live->sb->k;
    int64_t        missing = memory_missing(k, memory_need(live->sb));

    return missing > 0
        && loop_now_ms(k->loop) - live->asked_ms < k->s->memory_wait_s * 1000
        && pressure_push(k, missing);
}

/* ---- the queue ----------------------------------------------------------- */

static void admission_next(struct timer *t)
{
    struct keeper    *k = t->owner;
    struct admission *a = k->admission;
    struct live      *live;
    struct err        e;

    while ((int64_t) a->starting < k->s->starts_at_once
        && (live = a->head) != NULL) {
        if (memory_to_come(live)) {
            loop_timer_set(k->loop, &a->next, AGAIN_MS);
            return;
        }
        a->head = live->next_queued;
        if (a->head == NULL)
            a->tail = &a->head;
        live->queued = false;
        a->waiting--;
        if (admission_wake(live->sb, &e) == -1) {
            start_refused(live->sb, &e);
            continue;
        }
        live->granted = true;
        a->starting++;
        loop_timer_clear(k->loop, &live->settle);
        memory_reserve(live, memory_need(live->sb));
        start_granted(live->sb);
    }
}

void admission_ask(struct sandbox *sb)
{
    struct admission *a = sb->k->admission;
    struct live      *live = live_of(sb);
    struct err        e;

    if (live->queued || live->granted)
        return;
    if ((int64_t) a->waiting >= sb->k->s->starts_queue) {
        err_set(&e, "queue_full", "%zu starts are waiting already",
            a->waiting);
        e.retry_after_s = 5;
        start_refused(sb, &e);
        return;
    }
    live->queued = true;
    live->asked_ms = loop_now_ms(sb->k->loop);
    live->next_queued = NULL;
    *a->tail = live;
    a->tail = &live->next_queued;
    a->waiting++;
    admission_next(&a->next);
}

void admission_leave(struct sandbox *sb)
{
    struct admission *a = sb->k->admission;
    struct live      *live = sb->live, **at;

    if (live == NULL)
        return;
    if (live->queued) {
        for (at = &a->head; *at != live; at = &(*at)->next_queued)
            continue;
        *at = live->next_queued;
        if (a->tail == &live->next_queued)
            a->tail = at;
        live->queued = false;
        a->waiting--;
    }
    if (live->granted) {
        live->granted = false;
        a->starting--;
        memory_settle(live);
        loop_timer_set(sb->k->loop, &a->next, 0);
    }
}

int admission_open(struct keeper *k, struct err *e)
{
    k->admission = calloc(1, sizeof(*k->admission));
    if (k->admission == NULL)
        return err_set(e, "internal", "out of memory");
    k->admission->tail = &k->admission->head;
    k->admission->next.owner = k;
    k->admission->next.due = admission_next;
    return 0;
}

void admission_close(struct keeper *k)
{
    if (k->admission == NULL)
        return;
    loop_timer_clear(k->loop, &k->admission->next);
    free(k->admission);
    k->admission = NULL;
}

size_t admission_waiting(const struct keeper *k)
{
    return k->admission->waiting;
}

size_t admission_starting(const struct keeper *k)
{
    return k->admission->starting;
}
