/*
 * loop: see loop.h. Owns the epoll descriptor and the list of timers. Timers
 * are few (hundreds at most), so the list is simply walked.
 */
#include "loop.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "bounds.h"

#define BATCH 32

static struct {
    int     epoll;
    int     tick;
    int64_t now_ms, real_ms;
    struct timer *timers;
    struct epoll_event batch[BATCH];
    int     nbatch;
} loop;


static int64_t monotonic_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int loop_init(void)
{
    loop.real_ms = monotonic_ms();
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    return loop.epoll < 0 ? -1 : 0;
}


int64_t loop_now_ms(void)
{
    return loop.now_ms;
}


int loop_watch(struct watch *w, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = w };

    if (w->added && events == w->events)
        return 0;
    if (events == 0) {          /* epoll tells of EPOLLHUP unasked */
        loop_unwatch(w);
        return 0;
    }
    if (epoll_ctl(loop.epoll, w->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                  w->fd, &ev) != 0)
    {
        return -1;
    }
    w->added = true;
    w->events = events;
    return 0;
}


void loop_unwatch(struct watch *w)
{
    int i;

    if (!w->added)
        return;
    epoll_ctl(loop.epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->added = false;
    w->events = 0;
    for (i = 0; i < loop.nbatch; i++)
        if (loop.batch[i].data.ptr == w)
            loop.batch[i].data.ptr = NULL;
}


void loop_close(struct watch *w)
{
    loop_unwatch(w);
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}


void loop_timer_clear(struct timer *t)
{
    if (!t->set)
        return;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        loop.timers = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    t->set = false;
}


void loop_timer(struct timer *t, int64_t in_ms)
{
    t->at_ms = loop.now_ms + in_ms;
    if (t->set)
        return;
    t->set = true;
    t->prev = NULL;
    t->next = loop.timers;
    if (t->next != NULL)
        t->next->prev = t;
    loop.timers = t;
}


void loop_tick(int by)
{
    loop.tick += by;
}


static int wait_ms(void)
{
    const struct timer *t;
    int64_t wait = -1;

    for (t = loop.timers; t != NULL; t = t->next)
        if (wait < 0 || t->at_ms - loop.now_ms < wait)
            wait = t->at_ms > loop.now_ms ? t->at_ms - loop.now_ms : 0;
    if (loop.tick > 0 && (wait < 0 || wait > TICK_MS))
        wait = TICK_MS;
    return (int) (wait > 3600000 ? 3600000 : wait);
}


static void advance(int waited)
{
    int64_t real = monotonic_ms(), by = real - loop.real_ms;

    if (waited >= 0 && by > waited + TICK_SLACK_MS)
        by = waited;
    loop.real_ms = real;
    loop.now_ms += by;
}


/* A callback may set and clear any timer, so look from the start each time.
 * What a callback sets anew is due in a later turn. */
static void run_timers(void)
{
    struct timer *t, *due;
    int64_t now = loop.now_ms;

    do {
        due = NULL;
        for (t = loop.timers; t != NULL; t = t->next)
            if (t->at_ms <= now && (due == NULL || t->at_ms < due->at_ms))
                due = t;
        if (due != NULL) {
            loop_timer_clear(due);
            loop.now_ms = now + 1;
            due->due(due);
            loop.now_ms = now;
        }
    } while (due != NULL);
}


void loop_turn(void)
{
    struct watch *w;
    int i, wait = wait_ms();

    loop.nbatch = epoll_wait(loop.epoll, loop.batch, BATCH, wait);
    if (loop.nbatch < 0)
        loop.nbatch = 0;        /* EINTR; anything else shows up again */
    advance(wait);
    for (i = 0; i < loop.nbatch; i++) {
        w = loop.batch[i].data.ptr;
        if (w != NULL)
            w->ready(w, loop.batch[i].events);
    }
    loop.nbatch = 0;
    run_timers();
}
