/*
 * reconcile: see reconcile.h.
 *
 * Each row is looked at once per list, against the container with its label.
 * What a row says should be is brought about by the machine's own events; a
 * container without a row is removed only if it was ours (the audit log knows
 * its id), else reported and left alone.
 */
#include "reconcile.h"

#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "inquiry.h"
#include "live.h"
#include "machine.h"
#include "start.h"
#include "stop.h"
#include "store.h"

#define RETRY_MS 1000

struct reconcile {
    struct keeper *k;
    struct timer   again;
    bool           listing, once_more;
    uint64_t       round;
};

static void reconcile_list(struct keeper *k);

/* ---- one sandbox --------------------------------------------------------- */

static void removed_extra(void *arg, const struct engine_result *r)
{
    (void) arg;
    if (r->error != NULL)
        log_warn("a left-over container could not be removed: %s",
            r->error->msg);
}

static void stopped_extra(void *arg, const struct engine_result *r)
{
    (void) arg;
    (void) r;
}

static void why_died(struct sandbox *sb, int exit_code, bool oom)
{
    struct err e;

    if (oom)
        err_set(&e, "start_failed", "it ran out of memory (limit %lld MB)",
            (long long) sb->memory_mb);
    else
        err_set(&e, "start_failed", "its container ended by itself, exit "
            "code %d", exit_code);
    sandbox_why(sb, &e);
}

static void prove_dead(struct sandbox *sb, const struct engine_state *st)
{
    sb->unproven = false;
    if (st != NULL)
        why_died(sb, st->exit_code, st->oom);
    machine_event(sb, EV_DIED);
}

/* It should run. */
static void prove_running(struct sandbox *sb, bool running, bool paused,
    const struct engine_state *st)
{
    if (!running && !paused) {
        prove_dead(sb, st);
    } else if (sb->rung == RUNG_FREEZING) {
        sb->unproven = false;
        machine_event(sb, paused ? EV_DONE : EV_FAILED);
    } else if (paused) {
        sb->unproven = false;
        machine_event(sb, EV_PAUSED);
    } else {
        start_adopt(sb, false);
    }
}

/* It should be frozen. */
static void prove_frozen(struct sandbox *sb, bool running, bool paused,
    const struct engine_state *st)
{
    if (paused) {
        start_adopt(sb, true);
    } else if (running) {
        sb->unproven = false;
        machine_event(sb, EV_UNPAUSED);
    } else {
        prove_dead(sb, st);
    }
}

/* Its keeper died while it was on its way up: that is done again. */
static void prove_rising(struct sandbox *sb, bool running, bool paused)
{
    sb->unproven = false;
    if (sb->reserved <= sb->generation)
        sb->reserved = sandbox_next_generation(sb->k);
    if (sb->rung == RUNG_THAWING) {
        if (!running && !paused)
            machine_event(sb, EV_FAILED);
        else
            machine_defer(sb, paused ? ACT_THAW : ACT_AWAKE_AGAIN);
    } else if (sb->rung == RUNG_STARTING || sb->queue == NULL) {
        machine_defer(sb, ACT_START);
    }                           /* else its create begins it */
}

/* A rung that said something runs, and nobody has looked yet. */
static void reconcile_awake(struct sandbox *sb, const struct engine_state *st)
{
    bool running = st != NULL && strcmp(st->status, "running") == 0;
    bool paused = st != NULL && strcmp(st->status, "paused") == 0;

    switch (sb->rung) {
    case RUNG_CREATING:
    case RUNG_STARTING:
    case RUNG_THAWING:
        prove_rising(sb, running, paused);
        break;
    case RUNG_RUNNING:
    case RUNG_FREEZING:
        prove_running(sb, running, paused, st);
        break;
    case RUNG_FROZEN:
        prove_frozen(sb, running, paused, st);
        break;
    default:
        sb->unproven = false;
        break;
    }
}

static void reconcile_asleep(struct sandbox *sb,
    const struct engine_state *st, bool first)
{
    bool runs = st != NULL && (strcmp(st->status, "running") == 0
        || strcmp(st->status, "paused") == 0);

    switch (sb->rung) {
    case RUNG_STOPPING:
        if (first)
            machine_defer(sb, ACT_STOP);
        break;
    case RUNG_ARCHIVING:
        if (first)
            machine_defer(sb, ACT_ARCHIVE);
        break;
    case RUNG_UNPACKING:
        if (first)
            machine_defer(sb, ACT_UNPACK);
        break;
    case RUNG_DELETING:
        if (first)
            machine_defer(sb, ACT_REMOVE);
        break;
    case RUNG_PURGING:
        if (first)
            machine_defer(sb, ACT_PURGE);
        break;
    case RUNG_STOPPED:
    case RUNG_ERROR:
    case RUNG_ARCHIVED:
        if (runs) {
            log_warn("sandbox=%s is %s, but its container runs: stopped",
                sb->id, rung_name(sb->rung));
            engine_stop(sb->k->engine, st->ref, 1, stopped_extra, NULL);
        } else if (st != NULL && sb->rung == RUNG_ARCHIVED) {
            engine_remove(sb->k->engine, st->ref, removed_extra, NULL);
        }
        break;
    case RUNG_DELETED:
        if (st != NULL)
            engine_remove(sb->k->engine, st->ref, removed_extra, NULL);
        break;
    default:
        break;
    }
}

struct reconcile_pass {
    struct keeper             *k;
    const struct engine_state **found;  /* sorted by id */
    size_t                     n;
    bool                       first;
};

static int by_id(const void *a, const void *b)
{
    const struct engine_state *const *x = a, *const *y = b;

    return strcmp((*x)->id, (*y)->id);
}

static int id_to_state(const void *key, const void *elem)
{
    const struct engine_state *const *st = elem;

    return strcmp(key, (*st)->id);
}

static void reconcile_one(struct sandbox *sb, void *arg)
{
    struct reconcile_pass            *p = arg;
    const struct engine_state *const *at;
    const struct engine_state        *st = NULL;
    bool                              runs;

    at = p->n == 0 ? NULL
        : bsearch(sb->id, p->found, p->n, sizeof(*p->found), id_to_state);
    if (at != NULL)
        st = *at;
    if (sb->erased || (sb->live != NULL && sb->live->step != STEP_NONE))
        return;                 /* its chain finds out by itself */
    if (st != NULL && (sb->engine_ref == NULL
            || strcmp(sb->engine_ref, st->ref) != 0)) {
        sandbox_text(&sb->engine_ref, st->ref);
        sandbox_text(&sb->spec_hash, st->spec_hash);
        store_dirty(sb);
    } else if (st == NULL && sb->engine_ref != NULL) {
        log_warn("sandbox=%s its container is gone; made again at its next "
            "start", sb->id);
        sandbox_text(&sb->engine_ref, NULL);
        sandbox_text(&sb->spec_hash, NULL);
        store_dirty(sb);
    }
    runs = st != NULL && (strcmp(st->status, "running") == 0
        || strcmp(st->status, "paused") == 0);
    if (sb->unproven)
        reconcile_awake(sb, st);
    else if ((sb->rung == RUNG_RUNNING || sb->rung == RUNG_FROZEN) && !runs)
        prove_dead(sb, st);
    else
        reconcile_asleep(sb, st, p->first);
    machine_look(sb);
}

/* Containers with our label whose row is not there. */
static void reconcile_strays(struct reconcile_pass *p)
{
    size_t i;

    for (i = 0; i < p->n; i++) {
        if (sandbox_find(p->k, p->found[i]->id) != NULL)
            continue;
        if (store_knew(p->k, p->found[i]->id)) {
            log_warn("container of purged sandbox %s: removed",
                p->found[i]->id);
            engine_remove(p->k->engine, p->found[i]->ref, removed_extra,
                NULL);
        } else {
            log_warn("container with label of sandbox %s, which this "
                "database never had: left alone", p->found[i]->id);
        }
    }
}

static void reconcile_listed(void *arg, const struct engine_result *r)
{
    struct keeper         *k = arg;
    struct reconcile      *rc = k->reconcile;
    struct reconcile_pass  p = { .k = k };
    size_t                 i;

    rc->listing = false;
    if (r->error != NULL) {
        if (k->engine_up)
            log_warn("the engine's list: %s", r->error->msg);
        k->engine_up = false;
        loop_timer_set(k->loop, &rc->again, RETRY_MS);
        return;
    }
    k->engine_up = k->engine_seen = true;
    p.first = rc->round++ == 0;
    p.found = calloc(r->nstates + 1, sizeof(*p.found));
    if (p.found == NULL)
        return;
    for (i = 0; i < r->nstates; i++)
        p.found[p.n++] = &r->state[i];
    qsort(p.found, p.n, sizeof(*p.found), by_id);
    sandbox_each(k, reconcile_one, &p);
    reconcile_strays(&p);
    free(p.found);
    log_info("reconciled: %zu sandboxes, %zu containers", sandbox_count(k),
        r->nstates);
    if (rc->once_more) {
        rc->once_more = false;
        reconcile_list(k);
    }
}

static void reconcile_list(struct keeper *k)
{
    if (k->reconcile->listing) {
        k->reconcile->once_more = true;
        return;
    }
    k->reconcile->listing = true;
    engine_list(k->engine, reconcile_listed, k);
}

static void reconcile_again(struct timer *t)
{
    struct reconcile *rc = t->owner;

    reconcile_list(rc->k);
}

/* ---- the event stream ---------------------------------------------------- */

static void reconcile_died(struct sandbox *sb, int exit_code, bool oom)
{
    if (sb->live != NULL && sb->live->step != STEP_NONE) {
        start_died_code(sb, exit_code, oom);
        start_fell(sb);
        return;
    }
    if (sb->rung == RUNG_RUNNING || sb->rung == RUNG_FROZEN
        || sb->rung == RUNG_FREEZING)
        why_died(sb, exit_code, oom);
    machine_event(sb, EV_DIED);
}

/* News come late: a pause of our own is told of when it may be long over. So
 * one that contradicts us is looked at, and counts if nothing moved since. */
struct doubt {
    struct keeper *k;
    uint64_t       generation;
    enum rung      rung;
    char           id[ID_MAX + 1];
};

/* Requests that were inside when somebody paused it would wait for ever. */
static void paused_gates(void *arg, const struct inflight *in)
{
    struct doubt   *d = arg;
    struct sandbox *sb = sandbox_find(d->k, d->id);

    if (sb != NULL && sb->rung == RUNG_FROZEN && in->active > 0)
        machine_event(sb, EV_WANT);
    free(d);
}

static void doubt_over(void *arg, const struct engine_result *r)
{
    struct doubt   *d = arg;
    struct sandbox *sb = sandbox_find(d->k, d->id);

    if (r->error == NULL && sb != NULL && sb->rung == d->rung
        && sb->generation == d->generation && !sb->unproven) {
        if (sb->rung == RUNG_RUNNING
            && strcmp(r->state->status, "paused") == 0) {
            machine_event(sb, EV_PAUSED);
            if (inquiry_begin(d->k, d->id, paused_gates, d) == 0)
                return;
        } else if (sb->rung == RUNG_FROZEN
            && strcmp(r->state->status, "running") == 0) {
            machine_event(sb, EV_UNPAUSED);
        }
    }
    free(d);
}

static void doubt(struct sandbox *sb)
{
    struct doubt *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return;
    d->k = sb->k;
    d->generation = sb->generation;
    d->rung = sb->rung;
    memcpy(d->id, sb->id, sizeof(d->id));
    engine_inspect(sb->k->engine, sb->engine_ref, doubt_over, d);
}

void reconcile_news(void *arg, enum engine_event ev, const char *id,
    const char *ref, int exit_code)
{
    struct keeper  *k = arg;
    struct sandbox *sb;

    if (ev == ENGINE_LOST) {
        k->engine_up = false;
        log_warn("the engine's event stream broke");
        return;
    }
    if (ev == ENGINE_BACK) {
        k->engine_up = true;
        reconcile_list(k);
        return;
    }
    sb = id != NULL ? sandbox_find(k, id) : NULL;
    if (sb == NULL || sb->engine_ref == NULL || ref == NULL
        || strcmp(sb->engine_ref, ref) != 0)
        return;
    switch (ev) {
    case ENGINE_DIED:
        reconcile_died(sb, exit_code, sb->oom);
        sb->oom = false;
        break;
    case ENGINE_OOM:
        log_warn("sandbox=%s ran out of memory", sb->id);
        sb->oom = true;         /* something in it; perhaps all of it */
        break;
    case ENGINE_REMOVED:
        if (sb->live != NULL && sb->live->step == STEP_CLEAN)
            break;
        if (sb->rung == RUNG_DELETING || sb->rung == RUNG_PURGING)
            break;
        sandbox_text(&sb->engine_ref, NULL);
        sandbox_text(&sb->spec_hash, NULL);
        store_dirty(sb);
        reconcile_died(sb, exit_code, false);
        break;
    case ENGINE_PAUSED:
        if (sb->rung == RUNG_RUNNING)
            doubt(sb);
        break;
    case ENGINE_UNPAUSED:
        if (sb->rung == RUNG_FROZEN)
            doubt(sb);
        break;
    default:
        break;
    }
}

/* ---- opening ------------------------------------------------------------- */

static void have_caps(void *arg, const struct engine_result *r)
{
    struct keeper *k = arg;

    if (r->error == NULL)
        k->caps = *r->caps;
}

int reconcile_open(struct keeper *k, struct err *e)
{
    k->reconcile = calloc(1, sizeof(*k->reconcile));
    if (k->reconcile == NULL)
        return err_set(e, "internal", "out of memory");
    k->reconcile->k = k;
    k->reconcile->again.owner = k->reconcile;
    k->reconcile->again.due = reconcile_again;
    engine_ask_caps(k->engine, have_caps, k);
    reconcile_list(k);
    return 0;
}

void reconcile_close(struct keeper *k)
{
    if (k->reconcile == NULL)
        return;
    loop_timer_clear(k->loop, &k->reconcile->again);
    free(k->reconcile);
    k->reconcile = NULL;
}
