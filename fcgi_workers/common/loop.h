/*
 * loop: epoll, timers and the end of a turn. One per process, no threads.
 *
 * Order within a turn: ready descriptors, due timers, then on_turn_end (the
 * keeper commits there and only then lets its output go). A watch or timer may
 * be removed from within any callback, its own included; events already
 * fetched for a removed watch are dropped.
 */
#ifndef HF_LOOP_H
#define HF_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

struct watch {                  /* owned by the caller, zeroed before add */
    int   fd;
    void (*ready)(struct watch *w, uint32_t events);
    void *owner;
    bool  added;
};

struct timer {                  /* owned by the caller, zeroed before set */
    void  (*due)(struct timer *t);
    void   *owner;
    int64_t at_ms;              /* monotonic */
    int     slot;               /* place in the heap + 1; 0: not set */
};

struct loop *loop_new(void);    /* NULL with errno */
void loop_free(struct loop *l);

int  loop_add(struct loop *l, struct watch *w, uint32_t events);
int  loop_change(struct loop *l, struct watch *w, uint32_t events);
void loop_remove(struct loop *l, struct watch *w);      /* does not close */

void loop_timer_set(struct loop *l, struct timer *t, int64_t in_ms);
void loop_timer_clear(struct loop *l, struct timer *t);

void loop_on_turn_end(struct loop *l, void (*fn)(void *), void *arg);

/* Runs until loop_stop; SIGTERM and SIGINT call loop_stop when asked for. */
int  loop_run(struct loop *l);
void loop_stop(struct loop *l);
int  loop_handle_signals(struct loop *l, void (*fn)(int signo, void *),
    void *arg);                 /* signalfd: TERM, INT, HUP, USR1, CHLD */

/* now, as of the start of this turn */
int64_t loop_now_ms(const struct loop *l);

#endif
