/*
 * start: see start.h. The chain itself; what a running guest tells is in
 * running.c.
 *
 * Owns struct live. Writes no row: only the machine does, by its events.
 */
#include "start_in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "account.h"
#include "admission.h"
#include "archive.h"
#include "guestlink.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "peers.h"
#include "reclaim.h"
#include "stop.h"
#include "store.h"
#include "workspace.h"

#define DIAL_MIN_MS 2
#define DIAL_MAX_MS 50

static void start_texts(struct sandbox *sb);
static void start_workspace(struct sandbox *sb);
static void start_create(struct sandbox *sb);
static void start_container(struct sandbox *sb);
static void start_net(struct sandbox *sb);
static void start_door(struct sandbox *sb);
static void start_dial(struct sandbox *sb);
static void start_found(struct sandbox *sb);

/* ---- struct live --------------------------------------------------------- */

static void live_overdue(struct timer *t)
{
    struct live *live = t->owner;
    struct err   e;

    err_set(&e, "start_failed", "it was not ready within %lld s",
        (long long) live->sb->k->s->start_timeout_s);
    start_abort(live->sb, &e);
}

static void live_retry(struct timer *t)
{
    struct live *live = t->owner;

    start_dial(live->sb);
}

static void live_ports(struct timer *t)
{
    struct live *live = t->owner;

    links_settle(live->sb);
}

struct live *live_of(struct sandbox *sb)
{
    struct live *live = sb->live;

    if (live != NULL)
        return live;
    live = calloc(1, sizeof(*live));
    if (live == NULL)
        log_fatal("out of memory");
    live->sb = sb;
    live->netns = -1;
    live->deadline.owner = live->retry.owner = live;
    live->deadline.due = live_overdue;
    live->retry.due = live_retry;
    live->ports.owner = live;
    live->ports.due = live_ports;
    sb->live = live;
    return live;
}

static void live_free_texts(struct live *live)
{
    free(live->image.entrypoint);
    free(live->image.volumes);
    free(live->image.user);
    memset(&live->image, 0, sizeof(live->image));
    free(live->passwd);
    free(live->group);
    live->passwd = live->group = NULL;
}

void live_drop(struct sandbox *sb)
{
    struct live *live = sb->live;

    if (live == NULL)
        return;
    admission_forget(sb);
    guestlink_close(sb);
    loop_timer_clear(sb->k->loop, &live->deadline);
    loop_timer_clear(sb->k->loop, &live->retry);
    loop_timer_clear(sb->k->loop, &live->ports);
    loop_timer_clear(sb->k->loop, &live->freeze);
    loop_timer_clear(sb->k->loop, &live->drain);
    reclaim_end(sb);
    account_forget(sb);
    loop_timer_clear(sb->k->loop, &live->tell);
    links_park_forget(sb);
    if (live->netns >= 0)
        close(live->netns);
    live_free_texts(live);
    sb->live = NULL;
    free(live);
}

/* ---- the ends of a chain ------------------------------------------------- */

static void start_over(struct sandbox *sb)
{
    struct live *live = sb->live;

    loop_timer_clear(sb->k->loop, &live->deadline);
    loop_timer_clear(sb->k->loop, &live->retry);
    live->step = STEP_NONE;
    live->retry_ms = 0;
    live->tries = 0;
    live->aborted = false;
    live->fault.code = NULL;
    admission_leave(sb);
}

/* When one that was found running has begun; 0: long ago, or nobody knows. */
static int64_t start_began(const struct sandbox *sb)
{
    int64_t now = loop_now_ms(sb->k->loop);
    int64_t age = clock_wall_ms() - sb->started_ms;

    return sb->started_ms > 0 && age >= 0 && age < now ? now - age : 0;
}

void start_done(struct sandbox *sb)
{
    enum live_mode mode = sb->live->mode;

    start_over(sb);
    live_free_texts(sb->live);
    if (mode == MODE_ADOPT) {
        sb->unproven = false;
        sb->booted_mono_ms = start_began(sb);
        if (sb->rung == RUNG_RUNNING)
            account_begin(sb, false);
        machine_look(sb);
    } else {
        machine_event(sb, EV_DONE);
    }
}

static void start_lost(struct sandbox *sb)
{
    struct err     why = sb->live->fault;
    enum live_mode mode = sb->live->mode;
    bool           refused = sb->live->refused;

    log_warn("sandbox=%s start failed: %s", sb->id, why.msg);
    start_over(sb);
    live_free_texts(sb->live);
    sandbox_why(sb, &why);
    if (mode == MODE_ADOPT) {
        sb->unproven = false;
        machine_event(sb, EV_DIED);
    } else {
        machine_event(sb, refused ? EV_REFUSED : EV_FAILED);
    }
}

static void start_cleaned(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;
    struct live    *live = sb->live;

    live->busy = false;
    if (r != NULL && r->error != NULL) {
        log_warn("sandbox=%s its container could not be removed: %s", sb->id,
            r->error->msg);
    } else {
        sandbox_text(&sb->engine_ref, NULL);
        sandbox_text(&sb->spec_hash, NULL);
    }
    sb->pid = 0;
    store_dirty(sb);
    if (live->mode == MODE_START && live->tries == 0 && !live->aborted
        && strcmp(live->fault.code, "start_failed") == 0) {
        log_info("sandbox=%s once more after: %s", sb->id, live->fault.msg);
        live->tries = 1;
        live->fault.code = NULL;
        start_create(sb);
        return;
    }
    start_lost(sb);
}

/* Something went wrong and no call is out: leave nothing behind. */
static void start_failed(struct sandbox *sb)
{
    struct live *live = sb->live;
    enum step    was = live->step;

    loop_timer_clear(sb->k->loop, &live->retry);
    loop_timer_clear(sb->k->loop, &live->deadline);
    live->step = STEP_CLEAN;
    if (live->mode == MODE_THAW) {
        start_lost(sb);         /* the machine stops it next */
        return;
    }
    stop_unplug(sb);
    if (was < STEP_CREATE) {
        live->aborted = true;   /* nothing was begun: no second try */
        start_lost(sb);
    } else if (sb->engine_ref == NULL) {
        start_cleaned(sb, NULL);
    } else {
        live->busy = true;
        engine_remove(sb->k->engine, sb->engine_ref, start_cleaned, sb);
    }
}

void start_fault(struct sandbox *sb, const struct err *e)
{
    if (sb->live->fault.code == NULL)
        sb->live->fault = *e;
    start_failed(sb);
}

/* A call has come back: goes on unless something happened meanwhile. */
static bool start_resumes(struct sandbox *sb, const struct err *e)
{
    struct live *live = sb->live;

    live->busy = false;
    if (live->fault.code == NULL && e == NULL)
        return true;
    if (live->fault.code == NULL)
        live->fault = *e;
    start_failed(sb);
    return false;
}

void start_abort(struct sandbox *sb, const struct err *why)
{
    struct live *live = sb->live;

    if (live == NULL || live->step == STEP_NONE || live->step == STEP_CLEAN)
        return;
    live->aborted = true;
    live->fault = *why;
    if (live->step == STEP_QUEUE)
        admission_leave(sb);
    if (!live->busy)
        start_failed(sb);
}

void start_died_code(struct sandbox *sb, int exit_code, bool oom)
{
    struct live *live = sb->live;

    if (live == NULL || live->step < STEP_START || live->step == STEP_CLEAN
        || live->fault.code != NULL)
        return;
    if (oom)
        err_set(&live->fault, "start_failed", "it ran out of memory while "
            "it was starting (limit %lld MB)", (long long) sb->memory_mb);
    else
        err_set(&live->fault, "start_failed", "its container ended while it "
            "was starting, exit code %d", exit_code);
}

void start_fell(struct sandbox *sb)
{
    struct live *live = sb->live;

    if (live != NULL && live->fault.code != NULL && !live->busy
        && live->step != STEP_NONE && live->step != STEP_CLEAN)
        start_failed(sb);
}

/* ---- the chain ----------------------------------------------------------- */

void start_begin(struct sandbox *sb)
{
    struct live *live = live_of(sb);

    if (live->step != STEP_NONE)
        return;                 /* it is on its way already */
    sb->oom = false;
    live->mode = MODE_START;
    live->tries = 0;
    live->aborted = live->refused = false;
    live->fault.code = NULL;
    live->has_status = false;
    live->step = STEP_QUEUE;
    admission_ask(sb);
}

void start_refused(struct sandbox *sb, const struct err *e)
{
    sb->live->refused = true;
    start_fault(sb, e);
}

static void start_have_image(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;
    struct live    *live = sb->live;

    if (!start_resumes(sb, r->error))
        return;
    live_free_texts(live);
    memcpy(live->image.id, r->image->id, sizeof(live->image.id));
    sandbox_text(&live->image.entrypoint, r->image->entrypoint);
    sandbox_text(&live->image.volumes, r->image->volumes);
    sandbox_text(&live->image.user, r->image->user);
    start_texts(sb);
}

void start_granted(struct sandbox *sb)
{
    sb->live->step = STEP_IMAGE;
    sb->live->busy = true;
    engine_image_ensure(sb->k->engine, sb->image, start_have_image, sb);
}

static void start_have_texts(void *arg, const struct err *e,
    const char *passwd, const char *group)
{
    struct sandbox *sb = arg;
    struct err      ours;

    if (!start_resumes(sb, e))
        return;
    sandbox_text(&sb->live->passwd, passwd != NULL ? passwd : "");
    sandbox_text(&sb->live->group, group != NULL ? group : "");
    if (workspace_texts_put(sb->k, sb->live->image.id, sb->live->passwd,
            sb->live->group, &ours) == -1)
        log_warn("image %s: %s", sb->image, ours.msg);
    start_workspace(sb);
}

static void start_texts(struct sandbox *sb)
{
    struct live *live = sb->live;

    live->step = STEP_TEXTS;
    if (workspace_texts_get(sb->k, live->image.id, &live->passwd,
            &live->group) == 0) {
        start_workspace(sb);
        return;
    }
    live->busy = true;
    engine_image_texts(sb->k->engine, sb->image, start_have_texts, sb);
}

static void start_fetched(struct sandbox *sb, const struct err *e)
{
    if (start_resumes(sb, e))
        start_workspace(sb);
}

static void start_workspace(struct sandbox *sb)
{
    struct err e;

    sb->live->step = STEP_WORKSPACE;
    if (sb->archive_ref != NULL) {      /* kept by a delete */
        sb->live->busy = true;
        archive_fetch(sb, start_fetched);
        return;
    }
    if (workspace_make(sb, sb->live->passwd, sb->live->group, &e) == -1) {
        start_fault(sb, &e);
        return;
    }
    start_create(sb);
}

void start_spec(const struct sandbox *sb, struct engine_spec *spec,
    struct workspace_paths *p)
{
    const struct settings *s = sb->k->s;

    memset(spec, 0, sizeof(*spec));
    workspace_paths(sb, p);
    spec->id = sb->id;
    spec->image = sb->image;
    spec->tenant = sb->tenant->name;
    spec->memory_mb = sb->memory_mb;
    spec->cpus_milli = sb->cpus_milli;
    spec->pids = sb->pids;
    spec->tmp_mb = s->tmp_size;
    spec->nofile = s->sandbox_nofile;
    spec->home = p->home;
    spec->logs = p->logs;
    spec->passwd = p->passwd;
    spec->group = p->group;
    spec->resolv = p->resolv;
    spec->guest = p->guest;
    spec->ca_bundle = s->ca_bundle[0] != '\0' ? s->ca_bundle : NULL;
    spec->seccomp = sb->k->seccomp;
}

static void start_have_container(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error == NULL) {
        sandbox_text(&sb->engine_ref, r->ref);
        store_dirty(sb);
    }
    if (start_resumes(sb, r->error))
        start_container(sb);
}

static void start_make(struct sandbox *sb)
{
    struct workspace_paths p;
    struct engine_spec     spec;
    char                   hash[65];

    start_spec(sb, &spec, &p);
    engine_spec_hash(&spec, hash);
    sandbox_text(&sb->spec_hash, hash);
    sb->live->busy = true;
    engine_create(sb->k->engine, &spec, &sb->live->image,
        start_have_container, sb);
}

static void start_old_removed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (!start_resumes(sb, r->error))
        return;
    sandbox_text(&sb->engine_ref, NULL);
    start_make(sb);
}

/* A container from the same record is used again, any other is made anew. */
static void start_create(struct sandbox *sb)
{
    struct workspace_paths p;
    struct engine_spec     spec;
    char                   hash[65];

    sb->live->step = STEP_CREATE;
    loop_timer_set(sb->k->loop, &sb->live->deadline,
        sb->k->s->start_timeout_s * 1000);
    if (sb->engine_ref == NULL) {
        start_make(sb);
        return;
    }
    start_spec(sb, &spec, &p);
    engine_spec_hash(&spec, hash);
    if (sb->spec_hash != NULL && strcmp(hash, sb->spec_hash) == 0) {
        start_container(sb);
        return;
    }
    sb->live->busy = true;
    engine_remove(sb->k->engine, sb->engine_ref, start_old_removed, sb);
}

static void start_started(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL && strcmp(r->error->code, "not_found") == 0
        && sb->live->fault.code == NULL) {
        /* Pruned by somebody: made again from its record. */
        sb->live->busy = false;
        sandbox_text(&sb->engine_ref, NULL);
        start_create(sb);
        return;
    }
    if (!start_resumes(sb, r->error))
        return;
    sb->pid = r->state->pid;
    start_net(sb);
}

static void start_container(struct sandbox *sb)
{
    sb->live->step = STEP_START;
    sb->live->busy = true;
    engine_start(sb->k->engine, sb->engine_ref, start_started, sb);
}

static void start_have_net(void *arg, const struct err *e, int fd)
{
    struct sandbox *sb = arg;

    if (sb->live->netns >= 0)
        close(sb->live->netns);
    sb->live->netns = fd;
    if (start_resumes(sb, e))
        start_door(sb);
}

static void start_net(struct sandbox *sb)
{
    sb->live->step = STEP_NET;
    sb->live->busy = true;
    sb->plugged = true;
    peers_net_make(sb->k, sb->pid, sandbox_ifnumber(sb),
        (uint32_t) sb->addr, start_have_net, sb);
}

static void start_have_door(void *arg, const struct err *e, int fd)
{
    struct sandbox *sb = arg;

    if (fd >= 0)
        close(fd);
    if (!start_resumes(sb, e))
        return;
    if (sb->live->guest != NULL || sb->live->frozen)
        start_done(sb);         /* thawed with its link still there */
    else
        start_dial(sb);
}

static void start_door(struct sandbox *sb)
{
    struct live *live = sb->live;

    live->step = STEP_DOOR;
    live->busy = true;
    if (live->door_old != 0)
        peers_door_drop(sb->k, sb->id, live->door_old);
    live->door_old = live->door_gen;
    live->door_gen = live->mode == MODE_ADOPT ? sb->generation
        : sb->reserved;
    peers_door_add(sb->k, sb->id, live->door_gen, live->netns,
        start_have_door, sb);
}

/* The guest binds its socket within milliseconds; until then it refuses. */
void start_dial_later(struct sandbox *sb)
{
    struct live *live = sb->live;
    int64_t      most = sb->rung == RUNG_RUNNING && !sb->unproven ? 5000
        : DIAL_MAX_MS;

    live->retry_ms = live->retry_ms == 0 ? DIAL_MIN_MS : live->retry_ms * 2;
    if (live->retry_ms > most)
        live->retry_ms = most;
    loop_timer_set(sb->k->loop, &live->retry, live->retry_ms);
}

static void start_have_socket(void *arg, const struct err *e, int fd)
{
    struct sandbox *sb = arg;
    bool            chain = sb->live != NULL && sb->live->step == STEP_DIAL;

    if (sb->live == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    if (chain && !start_resumes(sb, e)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    if (!chain && (sb->rung != RUNG_RUNNING || sb->live->guest != NULL)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    if (fd < 0 || guestlink_open(sb, fd) == -1) {
        start_dial_later(sb);
        return;
    }
    if (chain)
        sb->live->step = STEP_HELLO;
}

static void start_dial(struct sandbox *sb)
{
    struct live *live = sb->live;

    if (live->step != STEP_NONE) {
        live->step = STEP_DIAL;
        live->busy = true;
    }
    peers_dial(sb->k, sb->id, live->door_gen, start_have_socket, sb);
}

static void start_found_pid(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (!start_resumes(sb, r->error))
        return;
    sb->pid = r->state->pid;
    start_net(sb);
}

/* A pid of before is of this boot only if the engine says so now. */
static void start_found(struct sandbox *sb)
{
    sb->live->step = STEP_START;
    sb->live->busy = true;
    engine_inspect(sb->k->engine, sb->engine_ref, start_found_pid, sb);
}

void start_adopt(struct sandbox *sb, bool frozen)
{
    struct live *live = live_of(sb);

    live->mode = MODE_ADOPT;
    live->frozen = frozen;
    live->fault.code = NULL;
    loop_timer_set(sb->k->loop, &live->deadline,
        sb->k->s->start_timeout_s * 1000);
    start_found(sb);
}

static void start_thawed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (!start_resumes(sb, r->error))
        return;
    if (sb->live->netns >= 0)
        start_door(sb);
    else
        start_found(sb);
}

void start_thaw(struct sandbox *sb, bool frozen)
{
    struct live *live = live_of(sb);
    struct err   e;

    live->refused = false;
    live->mode = MODE_THAW;
    live->fault.code = NULL;
    live->step = STEP_START;
    loop_timer_set(sb->k->loop, &live->deadline,
        sb->k->s->start_timeout_s * 1000);
    if (frozen && admission_thaw(sb, &e) == -1) {
        live->refused = true;
        live->fault = e;
        start_lost(sb);         /* it stays frozen */
        return;
    }
    reclaim_end(sb);
    live->frozen = false;
    if (!frozen) {
        start_thawed(sb, &(struct engine_result) { 0 });
        return;
    }
    live->busy = true;
    engine_thaw(sb->k->engine, sb->engine_ref, start_thawed, sb);
}
