/*
 * loop: epoll, timers and the end of a turn (see loop.h).
 *
 * Owns the epoll descriptor, the signalfd and the heap of timers; watches and
 * timers themselves belong to their callers. Must never block but in
 * epoll_wait, and never call a watch or timer that was removed.
 *
 * Timers are a binary heap by at_ms; a timer knows its place (slot - 1), so
 * that clearing one is O(log n).
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define LOOP_BATCH 256

struct loop {
    int                epoll;
    bool               stopped;
    bool               running;
    bool               in_timers;
    int64_t            now_ms;
    struct epoll_event events[LOOP_BATCH];
    int                nevents;         /* of this turn */
    int                event;           /* the one being told */
    struct timer     **heap;
    int                ntimers;
    int                cap;
    void             (*turn_end)(void *);
    void              *turn_end_arg;
    struct watch       signals;
    void             (*on_signal)(int, void *);
    void              *on_signal_arg;
};

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->signals.fd = -1;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        free(l);
        return NULL;
    }
    l->now_ms = clock_mono_ms();
    return l;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    if (l->signals.fd >= 0)
        close(l->signals.fd);
    close(l->epoll);
    free(l->heap);
    free(l);
}

static int loop_control(struct loop *l, int what, struct watch *w,
    uint32_t events)
{
    struct epoll_event ev;

    memset(&ev, 0, sizeof(ev));
    ev.events = events;
    ev.data.ptr = w;
    return epoll_ctl(l->epoll, what, w->fd, &ev);
}

int loop_add(struct loop *l, struct watch *w, uint32_t events)
{
    if (loop_control(l, EPOLL_CTL_ADD, w, events) != 0)
        return -1;
    w->added = true;
    return 0;
}

int loop_change(struct loop *l, struct watch *w, uint32_t events)
{
    return loop_control(l, EPOLL_CTL_MOD, w, events);
}

void loop_remove(struct loop *l, struct watch *w)
{
    int i;

    if (!w->added)
        return;
    loop_control(l, EPOLL_CTL_DEL, w, 0);
    w->added = false;
    for (i = l->event + 1; i < l->nevents; i++) {
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
    }
}

/* ---- timers ------------------------------------------------------------- */

static void loop_place(struct loop *l, int i, struct timer *t)
{
    l->heap[i] = t;
    t->slot = i + 1;
}

static void loop_sift_up(struct loop *l, int i)
{
    struct timer *t = l->heap[i];
    int           up;

    while (i > 0) {
        up = (i - 1) / 2;
        if (l->heap[up]->at_ms <= t->at_ms)
            break;
        loop_place(l, i, l->heap[up]);
        i = up;
    }
    loop_place(l, i, t);
}

static void loop_sift_down(struct loop *l, int i)
{
    struct timer *t = l->heap[i];
    int           down;

    for (;;) {
        down = 2 * i + 1;
        if (down >= l->ntimers)
            break;
        if (down + 1 < l->ntimers
            && l->heap[down + 1]->at_ms < l->heap[down]->at_ms)
        {
            down++;
        }
        if (l->heap[down]->at_ms >= t->at_ms)
            break;
        loop_place(l, i, l->heap[down]);
        i = down;
    }
    loop_place(l, i, t);
}

/* Out of memory has no way back here: a timer that is not set is a hang. */
static void loop_grow(struct loop *l)
{
    struct timer **heap;
    int            cap = l->cap == 0 ? 64 : l->cap * 2;

    heap = realloc(l->heap, (size_t)cap * sizeof(*heap));
    if (heap == NULL)
        log_fatal("out of memory for timers");
    l->heap = heap;
    l->cap = cap;
}

void loop_timer_set(struct loop *l, struct timer *t, int64_t in_ms)
{
    loop_timer_clear(l, t);
    if (!l->running)
        l->now_ms = clock_mono_ms();
    if (l->ntimers == l->cap)
        loop_grow(l);
    /* From within due(): not before the next turn, or a turn never ends. */
    if (in_ms < 1 && l->in_timers)
        in_ms = 1;
    t->at_ms = l->now_ms + (in_ms < 0 ? 0 : in_ms);
    l->heap[l->ntimers] = t;
    l->ntimers++;
    loop_sift_up(l, l->ntimers - 1);
}

void loop_timer_clear(struct loop *l, struct timer *t)
{
    struct timer *last;
    int           i = t->slot - 1;

    if (i < 0)
        return;
    t->slot = 0;
    l->ntimers--;
    if (i == l->ntimers)
        return;
    last = l->heap[l->ntimers];
    loop_place(l, i, last);
    loop_sift_up(l, i);
    loop_sift_down(l, last->slot - 1);
}

static void loop_run_timers(struct loop *l)
{
    struct timer *t;

    l->in_timers = true;
    while (l->ntimers > 0 && l->heap[0]->at_ms <= l->now_ms) {
        t = l->heap[0];
        loop_timer_clear(l, t);
        t->due(t);
    }
    l->in_timers = false;
}

static int loop_wait_ms(const struct loop *l)
{
    int64_t wait;

    if (l->ntimers == 0)
        return -1;
    wait = l->heap[0]->at_ms - clock_mono_ms();
    if (wait < 0)
        return 0;
    return wait > 60000 ? 60000 : (int)wait;
}

/* ---- turns -------------------------------------------------------------- */

void loop_on_turn_end(struct loop *l, void (*fn)(void *), void *arg)
{
    l->turn_end = fn;
    l->turn_end_arg = arg;
}

static void loop_run_events(struct loop *l)
{
    struct watch *w;

    for (l->event = 0; l->event < l->nevents; l->event++) {
        w = l->events[l->event].data.ptr;
        if (w != NULL)
            w->ready(w, l->events[l->event].events);
    }
    l->nevents = 0;
}

/* What was asked for before the first turn (a turn's output, say) ends that
 * turn too: hence the call before the first wait. */
int loop_run(struct loop *l)
{
    int n;

    l->stopped = false;
    l->running = true;
    while (!l->stopped) {
        if (l->turn_end != NULL)
            l->turn_end(l->turn_end_arg);
        if (l->stopped)
            break;
        n = epoll_wait(l->epoll, l->events, LOOP_BATCH, loop_wait_ms(l));
        if (n < 0 && errno != EINTR) {
            l->running = false;
            return -1;
        }
        l->now_ms = clock_mono_ms();
        l->nevents = n < 0 ? 0 : n;
        loop_run_events(l);
        loop_run_timers(l);
    }
    if (l->turn_end != NULL)
        l->turn_end(l->turn_end_arg);
    l->running = false;
    return 0;
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

/* ---- signals ------------------------------------------------------------ */

static void loop_signal_ready(struct watch *w, uint32_t events)
{
    struct signalfd_siginfo info;
    struct loop            *l = w->owner;

    (void)events;
    while (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (l->on_signal != NULL)
            l->on_signal((int)info.ssi_signo, l->on_signal_arg);
        else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            loop_stop(l);
    }
}

int loop_handle_signals(struct loop *l, void (*fn)(int signo, void *),
    void *arg)
{
    static const int wanted[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD };
    sigset_t         set;
    size_t           i;

    sigemptyset(&set);
    for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        sigaddset(&set, wanted[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    signal(SIGPIPE, SIG_IGN);
    l->on_signal = fn;
    l->on_signal_arg = arg;
    l->signals.owner = l;
    l->signals.ready = loop_signal_ready;
    l->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (l->signals.fd < 0)
        return -1;
    return loop_add(l, &l->signals, EPOLLIN);
}
