/*
 * part: one child of the parent, kept alive.
 *
 *   stopped ──start──▶ starting ──ready──▶ up
 *      ▲                  │ died             │ died
 *      │                  ▼                  ▼
 *   stopping ◀──stop──  back-off (50 ms, doubled up to 5 s; 50 ms again
 *                         after 10 s up)
 *
 * Every state decides every event: the table is in part.c.
 */
#ifndef HF_PART_H
#define HF_PART_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../common/err.h"
#include "../common/loop.h"
#include "logs.h"

enum part_state {
    PART_STOPPED, PART_STARTING, PART_UP, PART_BACKOFF, PART_STOPPING,
    PART_STATES
};

enum part_event {
    PART_START, PART_READY, PART_DIED, PART_TIMER, PART_STOP, PART_EVENTS
};

struct part {
    /* set by the owner before part_init */
    const char *name;
    int         stop_signal;
    int64_t     drain_ms;       /* between stop_signal and SIGTERM */
    bool        lives_on;       /* its group is not ended with it */
    pid_t     (*spawn)(struct part *p, struct err *e);
    bool      (*ready)(struct part *p);         /* NULL: when spawned */
    void      (*changed)(struct part *p);
    void       *owner;

    /* owned by part.c */
    struct loop      *loop;
    struct log_source log;
    enum part_state   state;
    struct timer      timer;
    pid_t             pid;      /* 0: none */
    bool              again;    /* start once it has stopped */
    int               strikes;  /* signals sent while stopping */
    int               status;   /* as waitpid gave it */
    int               restarts;
    int64_t           backoff_ms;
    int64_t           since_ms, since_wall_ms;
};

void part_init(struct part *p, struct loop *l);
void part_event(struct part *p, enum part_event ev);
void part_restart(struct part *p);      /* stops, then starts */
const char *part_state_name(enum part_state s);

#endif
