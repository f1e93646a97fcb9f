/*
 * machine: what may happen to a sandbox, as a table of rung × event.
 *
 * Every pair is decided (test_machine checks it). A cell says the next rung,
 * what becomes of the route, and what is done once that is on disk. The queue
 * of operations and the gates that wait decide which event is told next;
 * machine_look is the one place that does so.
 */
#ifndef HF_KEEPER_MACHINE_H
#define HF_KEEPER_MACHINE_H

#include "core.h"
#include "sandbox.h"

enum event {
    EV_CREATE,          /* an operation wants it made */
    EV_WANT,            /* somebody needs it awake */
    EV_FREEZE,          /* parked, and to be frozen */
    EV_STOP,            /* parked or told so by a caller: to be stopped */
    EV_ARCHIVE,         /* stopped long enough */
    EV_DELETE, EV_PURGE,
    EV_DONE, EV_FAILED, /* what the rung was doing */
    EV_REFUSED,         /* admission said no to a start */
    EV_DIED,            /* its container ended by itself */
    EV_PAUSED, EV_UNPAUSED,     /* by somebody else's hand */
    EV_COUNT
};

enum action {
    ACT_UNDECIDED,      /* no cell has it */
    ACT_NONE,           /* nothing to do, and nothing lost by it */
    ACT_LATER,          /* whoever asked asks again when this is over */
    ACT_START,          /* the chain of start.c */
    ACT_STARTED, ACT_TELL_FAILED,
    ACT_FREEZE, ACT_THAW, ACT_THAW_STOP, ACT_STOP,
    ACT_AWAKE_AGAIN,    /* it runs: only the route is made anew */
    ACT_FELL,           /* tidy up after a container that died */
    ACT_ARCHIVE, ACT_UNPACK, ACT_UNPACKED,
    ACT_REMOVE, ACT_PURGE, ACT_ERASE,
    ACT_RENEW,          /* in no cell: start_renew */
    ACT_COUNT
};

enum route {            /* what the gates are told */
    ROUTE_KEEP,         /* nothing: the route stays as it was */
    ROUTE_AWAKE,        /* the reserved generation */
    ROUTE_ASLEEP,       /* a new generation, parked */
    ROUTE_GONE
};

struct cell {
    enum rung   next;
    enum action act;
    enum route  route;
};

extern const struct cell machine_table[RUNG_COUNT][EV_COUNT];

const char *event_name(enum event ev);

/* Moves the sandbox; what the cell does is done after the commit. */
void machine_event(struct sandbox *sb, enum event ev);

/* An action outside of the table, after the commit as all of them. */
void machine_defer(struct sandbox *sb, enum action act);

struct op;
/* Puts an operation in the sandbox's queue and looks. */
void machine_enqueue(struct sandbox *sb, struct op *op);
/* The operation at the head of the queue cannot be done now. */
void machine_refuse(struct sandbox *sb, const struct err *e);
/* Ends what is reached, tells the next event if the sandbox is at rest. */
void machine_look(struct sandbox *sb);
/* Sets the timer of ttl_s anew. */
void machine_expiry(struct sandbox *sb);

/* After a commit: runs the actions that it allowed, frees what is gone.
 * Whether there was any. */
bool machine_release(struct keeper *k);

#endif
