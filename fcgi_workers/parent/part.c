/*
 * part: one child of the parent, kept alive (see part.h).
 *
 * Owns the state and the timer. Must never wait: everything comes as an event.
 */
#include "part.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "../common/clock.h"
#include "../common/log.h"

#define PART_BACKOFF_MIN_MS 50
#define PART_BACKOFF_MAX_MS 5000
#define PART_SETTLED_MS     10000
#define PART_POLL_MS        20
#define PART_START_MAX_MS   60000
#define PART_TERM_MS        5000

static void part_timer_due(struct timer *t)
{
    part_event(t->owner, PART_TIMER);
}

void part_init(struct part *p, struct loop *l)
{
    p->loop = l;
    p->backoff_ms = PART_BACKOFF_MIN_MS;
    p->timer.due = part_timer_due;
    p->timer.owner = p;
    p->since_wall_ms = clock_wall_ms();
}

static void part_enter(struct part *p, enum part_state state)
{
    p->state = state;
    p->since_ms = clock_mono_ms();
    p->since_wall_ms = clock_wall_ms();
    p->changed(p);
}

static void part_go_up(struct part *p)
{
    loop_timer_set(p->loop, &p->timer, PART_SETTLED_MS);
    part_enter(p, PART_UP);
}

static void part_wait_backoff(struct part *p)
{
    loop_timer_set(p->loop, &p->timer, p->backoff_ms);
    p->backoff_ms *= 2;
    if (p->backoff_ms > PART_BACKOFF_MAX_MS)
        p->backoff_ms = PART_BACKOFF_MAX_MS;
    p->restarts++;
    part_enter(p, PART_BACKOFF);
}

/* ---- what an event does ------------------------------------------------- */

static void part_ignore(struct part *p)
{
    (void)p;
}

static void part_do_start(struct part *p)
{
    struct err e;
    pid_t      pid = p->spawn(p, &e);

    if (pid < 0) {
        log_error("%s cannot be started: %s", p->name, e.msg);
        part_wait_backoff(p);
        return;
    }
    p->pid = pid;
    p->status = 0;
    if (p->ready == NULL) {
        part_go_up(p);
        return;
    }
    loop_timer_set(p->loop, &p->timer, PART_POLL_MS);
    part_enter(p, PART_STARTING);
}

static void part_poll(struct part *p)
{
    if (p->ready(p)) {
        part_event(p, PART_READY);
        return;
    }
    if (clock_mono_ms() - p->since_ms > PART_START_MAX_MS) {
        log_error("%s has not come up in %d s, killed", p->name,
            PART_START_MAX_MS / 1000);
        kill(p->pid, SIGKILL);  /* its end comes as PART_DIED */
        return;
    }
    loop_timer_set(p->loop, &p->timer, PART_POLL_MS);
}

static void part_settled(struct part *p)
{
    p->backoff_ms = PART_BACKOFF_MIN_MS;
}

/* The rest of its group goes with it: nginx' workers would keep the ports,
 * api workers the socket. While a member is left the kernel does not give the
 * number away, so it is this group or none. */
static void part_bury(struct part *p)
{
    if (!p->lives_on)
        kill(-p->pid, SIGKILL);
    p->pid = 0;
}

static void part_died(struct part *p)
{
    if (WIFSIGNALED(p->status))
        log_warn("%s pid %d died of signal %d (%s), next start in %lld ms",
            p->name, (int)p->pid, WTERMSIG(p->status),
            strsignal(WTERMSIG(p->status)), (long long)p->backoff_ms);
    else
        log_warn("%s pid %d exited with %d, next start in %lld ms", p->name,
            (int)p->pid, WEXITSTATUS(p->status), (long long)p->backoff_ms);
    part_bury(p);
    part_wait_backoff(p);
}

static void part_do_stop(struct part *p)
{
    p->again = false;
    p->strikes = 0;
    kill(p->pid, p->stop_signal);
    loop_timer_set(p->loop, &p->timer, p->drain_ms);
    part_enter(p, PART_STOPPING);
}

/* It was asked, then told; now it is made to. */
static void part_strike(struct part *p)
{
    p->strikes++;
    if (p->strikes == 1) {
        kill(p->pid, SIGTERM);
    } else {
        log_warn("%s pid %d does not end, killed", p->name, (int)p->pid);
        kill(p->pid, SIGKILL);
    }
    loop_timer_set(p->loop, &p->timer, PART_TERM_MS);
}

static void part_stopped(struct part *p)
{
    loop_timer_clear(p->loop, &p->timer);
    part_bury(p);
    part_enter(p, PART_STOPPED);
    if (p->again) {
        p->again = false;
        p->restarts++;
        part_do_start(p);
    }
}

static void part_give_up(struct part *p)
{
    loop_timer_clear(p->loop, &p->timer);
    part_enter(p, PART_STOPPED);
}

static void part_start_again(struct part *p)
{
    p->again = true;
}

static void part_not_again(struct part *p)
{
    p->again = false;
}

/* Told at once to an owner that waits for it. */
static void part_is_stopped(struct part *p)
{
    p->changed(p);
}

typedef void (*part_handler)(struct part *p);

static const part_handler part_table[PART_STATES][PART_EVENTS] = {
    [PART_STOPPED] = {
        [PART_START] = part_do_start,   [PART_READY] = part_ignore,
        [PART_DIED] = part_ignore,      [PART_TIMER] = part_ignore,
        [PART_STOP] = part_is_stopped,
    },
    [PART_STARTING] = {
        [PART_START] = part_ignore,     [PART_READY] = part_go_up,
        [PART_DIED] = part_died,        [PART_TIMER] = part_poll,
        [PART_STOP] = part_do_stop,
    },
    [PART_UP] = {
        [PART_START] = part_ignore,     [PART_READY] = part_ignore,
        [PART_DIED] = part_died,        [PART_TIMER] = part_settled,
        [PART_STOP] = part_do_stop,
    },
    [PART_BACKOFF] = {
        [PART_START] = part_ignore,     [PART_READY] = part_ignore,
        [PART_DIED] = part_ignore,      [PART_TIMER] = part_do_start,
        [PART_STOP] = part_give_up,
    },
    [PART_STOPPING] = {
        [PART_START] = part_start_again, [PART_READY] = part_ignore,
        [PART_DIED] = part_stopped,     [PART_TIMER] = part_strike,
        [PART_STOP] = part_not_again,
    },
};

void part_event(struct part *p, enum part_event ev)
{
    part_table[p->state][ev](p);
}

void part_restart(struct part *p)
{
    part_event(p, PART_STOP);
    part_event(p, PART_START);
}

const char *part_state_name(enum part_state s)
{
    static const char *const names[PART_STATES] = {
        "stopped", "starting", "up", "back-off", "stopping"
    };

    return names[s];
}
