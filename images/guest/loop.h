/*
 * loop: epoll, timers, the end of a turn, and a clock that stands still while
 * the sandbox is frozen.
 *
 * CLOCK_MONOTONIC runs on while a cgroup is frozen. So the loop has its own
 * clock: it advances by what a turn took, but by no more than the turn was
 * asked to wait plus some slack. While loop_tick is on (something is being
 * timed that must not count frozen time) no turn waits longer than TICK_MS.
 */
#ifndef GUEST_LOOP_H
#define GUEST_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {                  /* owned by the caller */
    int    fd;
    void (*ready)(struct watch *w, uint32_t events);
    void  *owner;
    uint32_t events;
    bool   added;
};

struct timer {                  /* owned by the caller, zeroed at first */
    void  (*due)(struct timer *t);
    void   *owner;
    int64_t at_ms;
    bool    set;
    struct timer *next, *prev;
};

int  loop_init(void);
/* Adds, changes, or (events 0) rests a watch: it then tells of nothing, not
 * of hang-ups either. */
int  loop_watch(struct watch *w, uint32_t events);
void loop_unwatch(struct watch *w);             /* does not close */
void loop_close(struct watch *w);               /* does; fd is then -1 */

void loop_timer(struct timer *t, int64_t in_ms);
void loop_timer_clear(struct timer *t);
void loop_tick(int by);         /* +1, -1 */

int64_t loop_now_ms(void);      /* the clock above, as of this turn */

void loop_turn(void);           /* one turn; called for ever by main */

#endif
