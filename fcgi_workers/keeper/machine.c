/*
 * machine: see machine.h. Moves sandboxes by the table, works their queues.
 *
 * Owns the order of things within one sandbox: one operation at a time, one
 * action at a time. Never talks to the engine itself: start.c and stop.c do,
 * and tell EV_DONE or EV_FAILED when they are through.
 */
#include "machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "../common/maintenance.h"
#include "account.h"
#include "admission.h"
#include "archive.h"
#include "figures.h"
#include "links.h"
#include "news.h"
#include "notes.h"
#include "op.h"
#include "ops.h"
#include "reaper.h"
#include "start.h"
#include "stop.h"
#include "store.h"

#define FALL_FORGET_MS 60000    /* so long awake: a death is the first again */
#define FALL_WAIT_MAX  60000
#define LOOK_AGAIN_MS  5000     /* is the maintenance over? */

/* ---- events -------------------------------------------------------------- */

static void machine_times(struct sandbox *sb, enum rung from)
{
    int64_t now = clock_wall_ms();

    if (from == RUNG_RUNNING && sb->rung != RUNG_RUNNING)
        account_end(sb);
    if (sb->rung == RUNG_RUNNING && from != RUNG_RUNNING) {
        account_begin(sb, from != RUNG_THAWING);
        if (from != RUNG_THAWING)
            sb->started_ms = now;
        sb->active_ms = now;
        sb->stopped_ms = 0;
        sb->stopped_by = STOPPED_NOBODY;
        sandbox_why(sb, NULL);
    }
    if (sb->rung == RUNG_STOPPED && from != RUNG_STOPPED
        && from != RUNG_ARCHIVING && from != RUNG_UNPACKING) {
        sb->stopped_ms = now;
        sb->pid = 0;
    }
}

static void machine_route(struct sandbox *sb, enum route route)
{
    switch (route) {
    case ROUTE_KEEP:
        return;
    case ROUTE_AWAKE:
        sb->generation = sb->reserved;
        break;
    case ROUTE_ASLEEP:
    case ROUTE_GONE:
        sb->generation = sandbox_next_generation(sb->k);
        break;
    }
    links_broadcast(sb);
    if (route == ROUTE_ASLEEP)
        links_asleep(sb);
}

void machine_defer(struct sandbox *sb, enum action act)
{
    if (act != ACT_NONE && act != ACT_LATER)
        sb->act = (uint8_t) act;
    if (sb->acting)
        return;
    sb->acting = true;
    sb->next_act = NULL;
    *sb->k->acting_end = sb;
    sb->k->acting_end = &sb->next_act;
}

void machine_event(struct sandbox *sb, enum event ev)
{
    const struct cell *c = &machine_table[sb->rung][ev];
    enum rung          from = sb->rung;

    if (c->act == ACT_LATER || (c->act == ACT_NONE && c->next == from))
        return;
    log_info("sandbox=%s %s: %s -> %s", sb->id, event_name(ev),
        rung_name(from), rung_name(c->next));
    if (c->next != from)
        sandbox_rung(sb, c->next);
    if ((c->act == ACT_START || c->act == ACT_THAW
            || c->act == ACT_AWAKE_AGAIN) && sb->reserved <= sb->generation)
        sb->reserved = sandbox_next_generation(sb->k);
    machine_times(sb, from);
    figures_moved(sb, from);
    machine_route(sb, c->route);
    if (sb->rung != RUNG_RUNNING)
        start_left(sb);
    note_moved(sb, from);
    machine_defer(sb, c->act);
}

/* ---- the queue ----------------------------------------------------------- */

enum reach { REACHED, NOT_YET, TELL, MISSED };

struct goal {
    enum event event;
    bool     (*reached)(const struct sandbox *sb);
};

static bool is_awake(const struct sandbox *sb)
{
    return sb->rung == RUNG_RUNNING;
}

/* What sleeps deeper than that is as good. */
static bool is_frozen(const struct sandbox *sb)
{
    return sb->rung == RUNG_FROZEN || sb->rung == RUNG_STOPPED
        || sb->rung == RUNG_ARCHIVED;
}

static bool is_stopped(const struct sandbox *sb)
{
    return sb->rung == RUNG_STOPPED || sb->rung == RUNG_ARCHIVED;
}

static bool is_deleted(const struct sandbox *sb)
{
    return sb->rung == RUNG_DELETED || sb->erased;
}

static bool is_purged(const struct sandbox *sb)
{
    return sb->erased;
}

static bool is_archived(const struct sandbox *sb)
{
    return sb->rung == RUNG_ARCHIVED;
}

static const struct goal goal_create = { EV_CREATE, is_awake };
static const struct goal goal_awake  = { EV_WANT, is_awake };
static const struct goal goal_freeze = { EV_FREEZE, is_frozen };
static const struct goal goal_stop   = { EV_STOP, is_stopped };
static const struct goal goal_archive = { EV_ARCHIVE, is_archived };
static const struct goal goal_delete = { EV_DELETE, is_deleted };
static const struct goal goal_purge  = { EV_PURGE, is_purged };

static const struct goal *machine_goal(const struct op *op)
{
    switch (op->kind) {
    case OP_CREATE:
        return op->phase == 0 ? &goal_create : &goal_purge;
    case OP_FREEZE:
        return &goal_freeze;
    case OP_STOP:
        return &goal_stop;
    case OP_RESTART:
        return op->phase == 0 ? &goal_stop : &goal_awake;
    case OP_ARCHIVE:
        return op->phase == 0 ? &goal_stop : &goal_archive;
    case OP_DELETE:
        return &goal_delete;
    case OP_PURGE:
        return &goal_purge;
    default:
        return &goal_awake;
    }
}

static enum reach machine_reach(struct sandbox *sb, struct op *op)
{
    const struct goal *g = machine_goal(op);

    if (g->reached(sb) && !sb->unproven)
        return REACHED;
    if (sb->erased)
        return MISSED;
    if (sb->unproven)
        return NOT_YET;         /* reconcile looks at it first */
    if (op->kind == OP_FREEZE && reaper_freezing(sb))
        return NOT_YET;         /* the gates are asked */
    if (sb->acting)
        return NOT_YET;         /* the commit that it waits for is to come */
    if (rung_at_rest(sb->rung)
        || (sb->rung == RUNG_CREATING && op->kind == OP_CREATE
            && !op->fired && op->phase == 0))
        return op->fired ? MISSED : TELL;
    return NOT_YET;
}

static void machine_pop(struct sandbox *sb, const struct err *e)
{
    struct op *op = sb->queue;

    sb->queue = op->next;
    if (sb->queue == NULL)
        sb->queue_end = &sb->queue;
    op->next = NULL;
    op->sb = NULL;
    op_end(op, e);
}

void machine_refuse(struct sandbox *sb, const struct err *e)
{
    if (sb->queue != NULL)
        machine_pop(sb, e);
}

static void machine_missed(struct sandbox *sb, struct op *op)
{
    bool       starts = machine_goal(op) != &goal_archive;
    struct err e;

    if (op->kind == OP_CREATE && op->phase == 0 && !sb->erased
        && sb->ws_epoch == 0) {
        /* It leaves nothing behind: the purge is part of its failure. */
        op->phase = 1;
        op->fired = false;
        return;
    }
    if (sb->error_code == NULL && sb->error_message == NULL
        && (sb->erased || sb->rung == RUNG_DELETED))
        err_set(&e, "not_found", "no sandbox %s", sb->id);
    else
        sandbox_error(sb, &e);
    machine_pop(sb, &e);
    /* Those that waited for the same start have had their try, too. */
    for (op = starts ? sb->queue : NULL;
        op != NULL && machine_goal(op) == &goal_awake;
        op = op->next)
        op->fired = true;
}

static void machine_reached(struct sandbox *sb, struct op *op)
{
    struct err e;

    if (op->kind == OP_CREATE && op->phase == 1) {
        sandbox_error(sb, &e);
        machine_pop(sb, &e);
    } else if ((op->kind == OP_RESTART || op->kind == OP_ARCHIVE)
        && op->phase == 0) {
        op->phase = 1;
        op->fired = false;
    } else {
        if ((op->kind == OP_STOP || op->kind == OP_ARCHIVE)
            && sb->stopped_by != STOPPED_CALLER) {
            sb->stopped_by = STOPPED_CALLER;
            store_dirty(sb);
        }
        if (op->kind == OP_PURGE)
            op->freed_bytes = stop_freed(sb);
        machine_pop(sb, NULL);
    }
}

/* Nobody asked by an operation: do gates wait, or should it always run? */
static void machine_idle(struct sandbox *sb)
{
    if (sb->unproven || sb->acting || sb->erased || !rung_at_rest(sb->rung)
        || sb->rung == RUNG_RUNNING || sb->rung == RUNG_DELETED)
        return;
    if (links_wanted(sb)) {
        machine_event(sb, EV_WANT);
        return;
    }
    if (!sb->always_on || sb->stopped_by != STOPPED_NOBODY
        || sb->again.slot != 0)
        return;
    if (maintenance_on(sb->k->s, NULL))
        loop_timer_set(sb->k->loop, &sb->again, LOOK_AGAIN_MS);
    else
        machine_event(sb, EV_WANT);
}

void machine_look(struct sandbox *sb)
{
    struct op *op;

    archive_look(sb);
    while ((op = sb->queue) != NULL) {
        switch (machine_reach(sb, op)) {
        case REACHED:
            machine_reached(sb, op);
            break;
        case MISSED:
            machine_missed(sb, op);
            break;
        case TELL:
            op->fired = true;
            if (op->kind == OP_STOP || op->kind == OP_ARCHIVE)
                sb->stopped_by = STOPPED_CALLER;
            if (op->kind == OP_FREEZE && sb->rung == RUNG_RUNNING)
                reaper_freeze(sb);
            else
                machine_event(sb, machine_goal(op)->event);
            break;
        case NOT_YET:
            links_settle(sb);
            return;
        }
    }
    links_settle(sb);
    machine_idle(sb);
}

/* What ends a start also ends the waiting for it. */
void machine_enqueue(struct sandbox *sb, struct op *op)
{
    struct err e;

    op->sb = sb;
    *sb->queue_end = op;
    sb->queue_end = &op->next;
    if ((op->kind == OP_STOP || op->kind == OP_DELETE || op->kind == OP_PURGE)
        && (sb->rung == RUNG_CREATING || sb->rung == RUNG_STARTING)) {
        err_set(&e, "conflict", "it was told to %s while it was starting",
            op_kind_name(op->kind));
        start_abort(sb, &e);
    }
    machine_look(sb);
}

/* ---- lifetimes ----------------------------------------------------------- */

static void machine_expired(struct timer *t)
{
    struct sandbox *sb = t->owner;
    struct op      *op;

    if (rung_is_gone(sb->rung) || sb->erased)
        return;
    if (clock_wall_ms() < sb->expires_ms) {
        machine_expiry(sb);     /* the wall clock was set, or a long wait */
        return;
    }
    op = op_new(sb->k, OP_DELETE, sb->tenant->name);
    snprintf(op->sandbox_id, sizeof(op->sandbox_id), "%s", sb->id);
    sandbox_text(&op->actor, "ttl");
    machine_enqueue(sb, op);
}

void machine_expiry(struct sandbox *sb)
{
    int64_t left = sb->expires_ms - clock_wall_ms();

    loop_timer_clear(sb->k->loop, &sb->expires);
    if (sb->expires_ms == 0 || rung_is_gone(sb->rung))
        return;
    sb->expires.owner = sb;
    sb->expires.due = machine_expired;
    loop_timer_set(sb->k->loop, &sb->expires,
        left < 0 ? 0 : left > 3600000 ? 3600000 : left);
}

/* ---- after the commit ---------------------------------------------------- */

/* Deaths in a row make always_on wait longer, 1 s to a minute. */
static void machine_fell(struct sandbox *sb)
{
    int64_t now = loop_now_ms(sb->k->loop), wait;

    if (sb->booted_mono_ms != 0 && now - sb->booted_mono_ms > FALL_FORGET_MS)
        sb->falls = 0;
    sb->falls++;
    if (!sb->always_on || sb->falls == 1)
        return;
    wait = sb->falls > 7 ? FALL_WAIT_MAX : 1000 << (sb->falls - 2);
    loop_timer_set(sb->k->loop, &sb->again,
        wait > FALL_WAIT_MAX ? FALL_WAIT_MAX : wait);
}

static void machine_erase(struct sandbox *sb)
{
    sb->erased = true;
    note_purged(sb);
    store_dirty(sb);
}

/* Gates whose start was cut short by a caller's stop go on waiting: the stop
 * comes first, then they have it started again. */
static void machine_failed(struct sandbox *sb)
{
    if (sb->error_code != NULL && strcmp(sb->error_code, "conflict") == 0)
        return;
    machine_fell(sb);
    links_failed(sb);
}

static void machine_run(struct sandbox *sb, enum action act)
{
    switch (act) {
    case ACT_START:         start_begin(sb); break;
    case ACT_STARTED:       start_published(sb); break;
    case ACT_TELL_FAILED:
        machine_failed(sb);
        break;
    case ACT_FREEZE:        stop_freeze(sb); break;
    case ACT_THAW:          start_thaw(sb, true); break;
    case ACT_AWAKE_AGAIN:   start_thaw(sb, false); break;
    case ACT_THAW_STOP:     stop_begin(sb, true); break;
    case ACT_STOP:          stop_begin(sb, false); break;
    case ACT_FELL:
        machine_fell(sb);
        stop_tidy(sb);
        break;
    case ACT_ARCHIVE:       archive_begin(sb); break;
    case ACT_UNPACK:        archive_unpack(sb); break;
    case ACT_UNPACKED:
        if (sb->archive_ref == NULL)
            archive_drop(sb);
        break;
    case ACT_REMOVE:        stop_remove(sb); break;
    case ACT_PURGE:         stop_purge(sb); break;
    case ACT_ERASE:         machine_erase(sb); break;
    case ACT_RENEW:         start_renewed(sb); break;
    case ACT_NONE:
    case ACT_LATER:
    case ACT_UNDECIDED:
    case ACT_COUNT:         break;
    }
}

bool machine_release(struct keeper *k)
{
    struct sandbox *list = k->acting, *sb, *next;
    enum action     act;
    bool            any = list != NULL;

    k->acting = NULL;
    k->acting_end = &k->acting;
    for (sb = list; sb != NULL; sb = next) {
        next = sb->next_act;
        sb->acting = false;
        act = (enum action) sb->act;
        sb->act = ACT_UNDECIDED;
        machine_run(sb, act);
        machine_look(sb);
    }
    while ((sb = store_next_gone(k)) != NULL) {
        links_forget(sb);
        stop_forget(sb);
        sandbox_free(sb);
        any = true;
    }
    return any;
}
