/*
 * archive: see archive.h. The way of one sandbox down and up, and when.
 */
#include "archive_in.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "op.h"
#include "reaper.h"
#include "stop.h"
#include "store.h"
#include "workspace.h"

#define LOOK_MS  60000          /* for those that are due, at most so late */
#define AGAIN_MS 600000         /* after a pack that failed */
#define DUE_MAX  64             /* at one look */

/* ---- down ---------------------------------------------------------------- */

static void archive_failed(struct sandbox *sb, const struct err *e)
{
    sb->archive_again_ms = loop_now_ms(sb->k->loop) + AGAIN_MS;
    sandbox_why(sb, e);
    machine_event(sb, EV_FAILED);
}

static void archive_packed(struct sandbox *sb, const struct err *e)
{
    if (e != NULL)
        archive_failed(sb, e);
    else
        machine_defer(sb, ACT_ARCHIVE);         /* once that is committed */
}

static void archive_cleared(void *arg, const struct err *e, int64_t freed)
{
    struct sandbox *sb = arg;

    if (e != NULL)              /* whoever unpacks or purges tries again */
        log_warn("sandbox=%s %s", sb->id, e->msg);
    log_info("sandbox=%s archived: %" PRId64 " bytes for %" PRId64, sb->id,
        archive_bytes(sb), freed);
    sb->set_aside = false;
    sandbox_why(sb, NULL);
    machine_event(sb, EV_DONE);
}

static void archive_removed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL) {     /* it is used again, or removed later */
        log_warn("sandbox=%s remove: %s", sb->id, r->error->msg);
    } else {
        sandbox_text(&sb->engine_ref, NULL);
        sandbox_text(&sb->spec_hash, NULL);
    }
    sb->pid = 0;
    store_dirty(sb);
    workspace_clear(sb, archive_cleared, sb);
}

static void archive_set_aside(void *arg, const struct err *e, int64_t freed)
{
    struct engine_result none = { 0 };
    struct sandbox      *sb = arg;
    struct err           ours;
    int                  at = archive_dir(sb);

    (void) freed;
    if (e == NULL && (at == -1 || (renameat(at, "home", at, "home.packed")
            == -1 && errno != ENOENT) || fsync(at) == -1)) {
        err_errno(&ours, "set the packed workspace aside");
        e = &ours;
    }
    if (at != -1)
        close(at);
    if (e != NULL && archive_has_home(sb)) {
        sb->set_aside = false;
        archive_ref_set(sb, NULL);      /* `home` still counts */
        archive_failed(sb, e);
        machine_defer(sb, ACT_UNPACKED);
        return;
    }
    stop_unplug(sb);
    live_drop(sb);
    if (sb->engine_ref == NULL)
        archive_removed(sb, &none);
    else
        engine_remove(sb->k->engine, sb->engine_ref, archive_removed, sb);
}

/* Does anybody need it, whom a pack would keep waiting? */
static bool pack_unwanted(const struct sandbox *sb)
{
    const struct op *op;

    if (links_wanted(sb))
        return true;
    for (op = sb->queue; op != NULL; op = op->next) {
        if (op->kind != OP_ARCHIVE && op->kind != OP_STOP
            && op->kind != OP_FREEZE)
            return true;
    }
    return false;
}

static bool unpack_unwanted(const struct sandbox *sb)
{
    const struct op *op;

    for (op = sb->queue; op != NULL; op = op->next) {
        if (op->kind == OP_STOP || op->kind == OP_DELETE
            || op->kind == OP_PURGE || op->kind == OP_ARCHIVE)
            return true;
    }
    return false;
}

void archive_begin(struct sandbox *sb)
{
    struct err e;

    if (sb->job != NULL || sb->set_aside)
        return;                 /* told twice after a restart */
    if (sb->archive_ref != NULL) {
        sb->set_aside = true;
        workspace_clear(sb, archive_set_aside, sb);
    } else if (pack_unwanted(sb)) {
        err_set(&e, "conflict", "it is needed: it is not archived");
        archive_failed(sb, &e);
    } else if (workspace_room(sb->k, &e) == -1) {
        archive_failed(sb, &e);
    } else {
        archive_job_new(sb, true, archive_packed);
    }
}

void archive_look(struct sandbox *sb)
{
    struct job *j = sb->job;
    struct err  e;

    if (j == NULL || j->given_up)
        return;
    if (j->packs ? !pack_unwanted(sb) : sb->rung != RUNG_UNPACKING
        || !unpack_unwanted(sb))
        return;
    j->given_up = true;
    if (j->pid > 0) {
        kill(j->pid, SIGKILL);
    } else if (!j->running) {
        err_set(&e, "conflict", "it is needed otherwise");
        archive_job_over(j, &e);
    }
}

/* ---- up ------------------------------------------------------------------ */

static void archive_unpacked(struct sandbox *sb, const struct err *e)
{
    struct op *op;

    if (e != NULL) {
        sandbox_why(sb, e);
        machine_event(sb, EV_FAILED);
        return;
    }
    archive_ref_set(sb, NULL);
    for (op = sb->queue; op != NULL; op = op->next)
        op->fired = false;      /* what it wants begins only now */
    machine_event(sb, EV_DONE);
}

static void archive_chain(struct sandbox *sb, const struct err *e)
{
    void (*done)(struct sandbox *, const struct err *) = sb->fetched;

    if (e == NULL) {
        archive_ref_set(sb, NULL);
        machine_defer(sb, ACT_UNPACKED);
    }
    sb->fetched = NULL;
    done(sb, e);
}

void archive_unpack(struct sandbox *sb)
{
    if (sb->job != NULL)
        return;
    if (archive_has_home(sb) || sb->archive_ref == NULL)
        archive_unpacked(sb, NULL);     /* it was, before the keeper died */
    else
        archive_job_new(sb, false, archive_unpacked);
}

void archive_fetch(struct sandbox *sb,
    void (*done)(struct sandbox *sb, const struct err *e))
{
    sb->fetched = done;
    if (archive_has_home(sb))
        archive_chain(sb, NULL);
    else
        archive_job_new(sb, false, archive_chain);
}

void archive_drop(struct sandbox *sb)
{
    char path[PATH_MAX];

    archive_path(sb, ARCHIVE_ENDING, path);
    if (unlink(path) == -1 && errno != ENOENT)
        log_warn("sandbox=%s its old archive: %s", sb->id, strerror(errno));
    if (sb->archive_ref != NULL)
        archive_ref_set(sb, NULL);
}

/* ---- those that are due -------------------------------------------------- */

struct dues {
    int64_t now;
    int     left;               /* more wait for the next look */
};

static void archive_due(struct sandbox *sb, void *arg)
{
    struct dues *d = arg;

    if (d->left == 0 || sb->rung != RUNG_STOPPED || sb->job != NULL
        || sb->erased
        || sb->stopped_ms + sb->k->s->archive_s * 1000 > d->now
        || sb->archive_again_ms > loop_now_ms(sb->k->loop)
        || !reaper_may_push(sb))
        return;
    d->left--;
    machine_event(sb, EV_ARCHIVE);
}

void archive_tick(struct timer *t)
{
    struct archives *a = t->owner;
    struct dues      d = { clock_wall_ms(), DUE_MAX };
    int64_t          next;

    next = a->k->s->archive_s * 1000 / 4;
    if (a->jobs == NULL)        /* else there is enough to do */
        sandbox_each(a->k, archive_due, &d);
    loop_timer_set(a->k->loop, t, next < 1000 ? 1000
        : next > LOOK_MS ? LOOK_MS : next);
}
