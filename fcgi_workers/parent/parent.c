/*
 * parent: binds the sockets, starts the parts, keeps them alive (parent.h).
 *
 * Signals: SIGTERM, SIGINT stop (again: faster); SIGHUP reads the settings
 * anew; SIGUSR1 opens the logs again; SIGCHLD is a part's end. Must never
 * block, but for `nginx -t` at a reload, and never exit because a part fails.
 */
#include "parent.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/files.h"
#include "../common/log.h"
#include "../common/loop.h"
#include "logs.h"
#include "notify.h"
#include "orphans.h"
#include "parts.h"
#include "pidfile.h"
#include "status.h"

#define PARENT_TICK_MS 5000

struct parent {
    struct loop       *loop;
    struct settings    s;       /* in force */
    struct parts       parts;
    struct status_head head;
    struct timer       tick;
    struct timer       watchdog;
    int                stopping_at;     /* part that is being stopped */
    bool               stopping;
    bool               ready_said;
};

static struct parent *parent;   /* parts call back without an argument */

/* ---- status ------------------------------------------------------------- */

static bool parent_all_up(void)
{
    int i;

    for (i = 0; i < PARTS_COUNT; i++) {
        if (parent->parts.enabled[i]
            && parent->parts.part[i].state != PART_UP)
        {
            return false;
        }
    }
    return true;
}

static void parent_write_status(void)
{
    struct err e;

    if (status_write(&parent->parts, &parent->head, &e) != 0)
        log_warn("%s", e.msg);
}

static void parent_say_ready(void)
{
    if (parent->ready_said || parent->stopping || !parent_all_up())
        return;
    parent->ready_said = true;
    snprintf(parent->head.state, sizeof(parent->head.state), "ready");
    notify_send("READY=1\nSTATUS=all parts are up");
    log_info("all parts are up");
}

/* ---- stopping ----------------------------------------------------------- */

/* Docker is left alone: sandboxes outlive the control plane. */
static void parent_stop_next(void)
{
    struct part *p;

    while (parent->stopping_at > PARTS_DOCKER) {
        p = &parent->parts.part[parent->stopping_at];
        if (parent->parts.enabled[parent->stopping_at]
            && p->state != PART_STOPPED)
        {
            if (p->state != PART_STOPPING)
                part_event(p, PART_STOP);
            if (p->state != PART_STOPPED)
                return;         /* its end brings us here again */
        }
        parent->stopping_at--;
    }
    loop_stop(parent->loop);
}

static void parent_stop(void)
{
    struct part *p;

    if (parent->stopping) {     /* somebody is in a hurry */
        p = &parent->parts.part[parent->stopping_at];
        if (p->state == PART_STOPPING)
            part_event(p, PART_TIMER);
        return;
    }
    log_info("stopping");
    notify_send("STOPPING=1");
    parent->stopping = true;
    parent->stopping_at = PARTS_NGINX;
    snprintf(parent->head.state, sizeof(parent->head.state), "stopping");
    parent_stop_next();
}

static void parent_part_changed(struct part *p)
{
    if (p->state == PART_UP)
        log_info("%s is up, pid %d", p->name, (int)p->pid);
    parent_say_ready();
    parent_write_status();
    if (parent->stopping && p->state == PART_STOPPED
        && p == &parent->parts.part[parent->stopping_at])
    {
        parent_stop_next();
    }
}

static void parent_reap(void)
{
    struct part *p;
    pid_t        pid;
    int          status;

    for (;;) {
        pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        p = parts_by_pid(&parent->parts, pid);
        if (p == NULL)
            continue;           /* as process 1 of a container: a stray */
        p->status = status;
        part_event(p, PART_DIED);
    }
}

/* ---- reloading ---------------------------------------------------------- */

/* What parts hold open or have written into the database cannot change under
 * them. */
static const char *parent_unchangeable(const struct settings *a,
    const struct settings *b)
{
#define TEXT(name) if (strcmp(a->name, b->name) != 0) return #name
#define SAME(name) if (a->name != b->name) return #name
    TEXT(data_dir);
    TEXT(run_dir);
    TEXT(log_dir);
    TEXT(lib_dir);
    TEXT(stack);
    TEXT(api_user);
    TEXT(gate_user);
    TEXT(redis_user);
    TEXT(nginx_program);
    TEXT(redis_program);
    TEXT(dockerd_program);
    TEXT(docker_socket);
    TEXT(docker_data_dir);
    TEXT(addr_range);
    SAME(uid_base);
    SAME(run_nginx);
    SAME(run_redis);
    SAME(run_docker);
    SAME(nofile);
    SAME(smtp_out);
    SAME(conns_max);
#undef TEXT
#undef SAME
    return NULL;
}

static int parent_check_new(const struct settings *s, struct err *e)
{
    const char *name = parent_unchangeable(&parent->s, s);

    if (name != NULL)
        return err_set(e, "invalid_field", "%s: %s has changed, which takes "
            "a restart", s->file, name);
    if (parts_check(s, e) != 0)
        return -1;
    return parts_try_nginx(&parent->parts, s, e);
}

/* The keeper and the api workers read the settings when they start, and are
 * made to be started anew at any time; door and net have none that change. */
static int parent_take_new(struct err *e)
{
    struct parts *ps = &parent->parts;
    int           i;

    logs_open(parent->loop, ps->s, false, e);
    for (i = 0; i < PARTS_COUNT; i++)
        ps->part[i].drain_ms = ps->s->drain_s * 1000;
    if (parts_publish(ps, e) != 0 || parts_write_nginx(ps, e) != 0)
        return -1;
    if (ps->enabled[PARTS_NGINX] && ps->part[PARTS_NGINX].pid != 0)
        kill(ps->part[PARTS_NGINX].pid, SIGHUP);
    part_restart(&ps->part[PARTS_TASKS]);
    part_restart(&ps->part[PARTS_KEEPER]);
    part_restart(&ps->part[PARTS_API]);
    return 0;
}

static void parent_reload(void)
{
    struct settings s, old;
    struct err      e;
    const char     *file = parent->s.file;
    int             rc;

    if (parent->stopping)
        return;
    notify_send("RELOADING=1");
    rc = settings_load(&s, file[0] == '/' ? file : NULL, &e);
    if (rc == 0 && parent_check_new(&s, &e) != 0) {
        settings_fini(&s);
        rc = -1;
    }
    if (rc == 0) {
        old = parent->s;
        parent->s = s;
        settings_fini(&old);
        rc = parent_take_new(&e);
    }
    parent->head.reloads++;
    snprintf(parent->head.message, sizeof(parent->head.message), "%s",
        rc == 0 ? "ok" : e.msg);
    if (rc == 0)
        log_info("settings read anew from %s", parent->s.file);
    else
        log_error("the settings in force stay: %s", e.msg);
    notify_send("READY=1");
    parent_write_status();
}

/* ---- the rest ----------------------------------------------------------- */

static void parent_reopen_nginx(void)
{
    struct part *p = &parent->parts.part[PARTS_NGINX];

    if (p->state == PART_UP)
        kill(p->pid, SIGUSR1);
}

static void parent_tick_due(struct timer *t)
{
    bool moved = logs_rotate("access.log");

    if (logs_rotate("nginx-error.log") || moved)
        parent_reopen_nginx();
    logs_rotate_held("dockerd.log");
    loop_timer_set(parent->loop, t, PARENT_TICK_MS);
}

static void parent_watchdog_due(struct timer *t)
{
    notify_send("WATCHDOG=1");
    loop_timer_set(parent->loop, t, notify_watchdog_ms());
}

static void parent_signal(int signo, void *arg)
{
    (void)arg;
    switch (signo) {
    case SIGCHLD:
        parent_reap();
        break;
    case SIGHUP:
        parent_reload();
        break;
    case SIGUSR1:
        logs_reopen();
        parent_reopen_nginx();
        break;
    default:
        parent_stop();
    }
}

static int parent_set_up(bool console, struct err *e)
{
    struct parts *ps = &parent->parts;
    int           i, orphans;

    ps->s = &parent->s;
    if (logs_open(parent->loop, &parent->s, console, e) != 0)
        return -1;
    orphans = orphans_end(parent->s.run_dir, e);
    if (orphans < 0 || parts_prepare(ps, parent->loop, e) != 0)
        return -1;
    if (orphans > 0)
        log_warn("ended %d processes left over from an earlier start",
            orphans);
    for (i = 0; i < PARTS_COUNT; i++)
        ps->part[i].changed = parent_part_changed;
    parent->head.pid = (int)getpid();
    snprintf(parent->head.state, sizeof(parent->head.state), "starting");
    snprintf(parent->head.message, sizeof(parent->head.message), "-");
    parent->tick.due = parent_tick_due;
    parent->watchdog.due = parent_watchdog_due;
    return 0;
}

static int parent_run(void)
{
    int i;

    for (i = 0; i < PARTS_COUNT; i++) {
        if (parent->parts.enabled[i])
            part_event(&parent->parts.part[i], PART_START);
    }
    loop_timer_set(parent->loop, &parent->tick, PARENT_TICK_MS);
    if (notify_watchdog_ms() > 0)
        loop_timer_set(parent->loop, &parent->watchdog,
            notify_watchdog_ms());
    if (loop_run(parent->loop) != 0) {
        log_error("the parent's loop failed: %s", strerror(errno));
        return 111;
    }
    log_info("stopped");
    return 0;
}

int parent_main(struct settings *s, bool console)
{
    static struct parent self;
    struct err           e;
    char                 path[PATH_MAX];
    int                  rc;

    /* What our starter left open is no business of the parts. */
    close_range(3, UINT_MAX, 0);
    parent = &self;
    self.s = *s;
    memset(s, 0, sizeof(*s));
    if (parts_check(&self.s, &e) != 0
        || files_own_dir(self.s.run_dir, 0755, 0, 0, &e) != 0
        || files_mkdir(self.s.log_dir, 0750, &e) != 0
        || pidfile_take(self.s.run_dir, "holdfastd.pid", &e) != 0)
    {
        log_fatal("%s", e.msg);
    }
    self.loop = loop_new();
    if (self.loop == NULL
        || loop_handle_signals(self.loop, parent_signal, NULL) != 0)
    {
        log_fatal("no event loop: %s", strerror(errno));
    }
    atexit(logs_drain);
    notify_open();
    if (parent_set_up(console, &e) != 0)
        log_fatal("%s", e.msg);
    log_info("starting, settings from %s", self.s.file);
    rc = parent_run();
    snprintf(path, sizeof(path), "%s/status", self.s.run_dir);
    unlink(path);
    parts_unlink(&self.parts);
    return rc;
}
