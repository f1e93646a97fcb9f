/* Unit test of common/loop: order within a turn, timers, removal from within
 * callbacks, signals. */
#include "common/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "test.h"

#define TIMERS 500

static struct loop *l;
static int          fired, in_order, turns;
static int64_t      last_at;

static void stop_due(struct timer *t)
{
    (void)t;
    loop_stop(l);
}

static void stop_in(int64_t ms)
{
    struct timer t = { .due = stop_due };

    loop_timer_set(l, &t, ms);
    loop_run(l);
    loop_timer_clear(l, &t);
}

static void count_due(struct timer *t)
{
    fired++;
    in_order = in_order && t->at_ms >= last_at && t->slot == 0;
    last_at = t->at_ms;
}

static void test_heap(void)
{
    static struct timer t[TIMERS];
    int                 i, cleared = 0;

    fired = 0;
    in_order = 1;
    srandom(7);
    for (i = 0; i < TIMERS; i++) {
        t[i].due = count_due;
        loop_timer_set(l, &t[i], random() % 30);
    }
    for (i = 0; i < TIMERS; i += 3) {
        loop_timer_clear(l, &t[i]);
        loop_timer_clear(l, &t[i]);     /* twice does no harm */
        cleared++;
    }
    for (i = 1; i < TIMERS; i += 3)
        loop_timer_set(l, &t[i], random() % 30);
    stop_in(50);
    CHECK(fired == TIMERS - cleared);
    CHECK(in_order);
}

static void again_due(struct timer *t)
{
    fired++;
    loop_timer_set(l, t, 0);
}

/* A timer that sets itself for now must not keep the turn from ending. */
static void test_zero(void)
{
    struct timer t = { .due = again_due };

    fired = 0;
    loop_timer_set(l, &t, 0);
    stop_in(20);
    CHECK(fired > 2 && fired < 40);
    loop_timer_clear(l, &t);
}

static struct watch pair[2];
static int          ready_calls;

static void pair_ready(struct watch *w, uint32_t events)
{
    (void)events;
    ready_calls++;
    loop_remove(l, &pair[0]);
    loop_remove(l, &pair[1]);
    CHECK(!w->added);
}

/* Both are ready in one turn; the first takes both away. */
static void test_remove(void)
{
    int a[2], b[2];

    CHECK(pipe(a) == 0 && pipe(b) == 0);
    memset(pair, 0, sizeof(pair));
    pair[0].fd = a[0];
    pair[1].fd = b[0];
    pair[0].ready = pair[1].ready = pair_ready;
    CHECK(loop_add(l, &pair[0], EPOLLIN) == 0);
    CHECK(loop_add(l, &pair[1], EPOLLIN) == 0);
    CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
    ready_calls = 0;
    stop_in(10);
    CHECK(ready_calls == 1);
    close(a[0]);
    close(a[1]);
    close(b[0]);
    close(b[1]);
}

static void turn_end(void *arg)
{
    (void)arg;
    turns++;
}

static int got_signal;

static void on_signal(int signo, void *arg)
{
    (void)arg;
    got_signal = signo;
    loop_stop(l);
}

int main(void)
{
    int64_t began;

    l = loop_new();
    CHECK(l != NULL);
    test_heap();
    test_zero();
    test_remove();
    loop_on_turn_end(l, turn_end, NULL);
    began = clock_mono_ms();
    stop_in(30);
    CHECK(clock_mono_ms() - began >= 30);
    CHECK(turns >= 2);
    CHECK(loop_handle_signals(l, on_signal, NULL) == 0);
    kill(getpid(), SIGUSR1);
    stop_in(5000);
    CHECK(got_signal == SIGUSR1);
    CHECK(clock_mono_ms() - began < 4000);
    loop_free(l);
    return TEST_END();
}
