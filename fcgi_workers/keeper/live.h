/*
 * live: what the keeper holds of a sandbox that is awake or on its way there,
 * or that is being taken down. Belongs to start.c and stop.c.
 */
#ifndef HF_KEEPER_LIVE_H
#define HF_KEEPER_LIVE_H

#include "../../images/guest/proto.h"
#include "../common/err.h"
#include "sandbox.h"
#include "usage.h"

enum step {             /* of the chain of start.c, in its order */
    STEP_NONE, STEP_QUEUE, STEP_IMAGE, STEP_TEXTS, STEP_WORKSPACE,
    STEP_CREATE, STEP_START, STEP_NET, STEP_DOOR, STEP_DIAL, STEP_HELLO,
    STEP_BOOT, STEP_CLEAN
};

enum live_mode { MODE_START, MODE_ADOPT, MODE_THAW };

struct guestlink;
struct reclaim;

struct live {
    struct sandbox     *sb;
    struct guestlink   *guest;
    int                 netns;          /* descriptor, or -1 */
    enum step           step;
    enum live_mode      mode;
    bool                busy;           /* a call is out: wait for its end */
    bool                aborted;        /* somebody wants it down */
    bool                refused;        /* by admission */
    bool                renewing;
    bool                stale;          /* gates could not be told the newest */
    struct op          *held;           /* are told when gates know */
    bool                frozen;         /* adopted so: not dialled */
    bool                queued;         /* in the queue of admission.c */
    bool                granted;        /* holds one of starts_at_once */
    bool                parking;        /* the gates are asked */
    bool                counting;       /* account.c's timer is set */
    bool                has_status;
    int                 tries;
    int                 freeze_tries;   /* of a caller's; 0: none wants it */
    uint64_t            door_gen, door_old;     /* handles at the door */
    struct err          fault;          /* ends the chain at the next stop */
    struct timer        deadline, retry;
    struct timer        drain;          /* of a stop: look again */
    int64_t             drain_until_ms;
    struct timer        ports;          /* gates wait for one to open */
    struct timer        tell;           /* ports, when it was too early */
    int64_t             told_mono_ms;
    uint16_t            told_ports[GUEST_PORTS_MAX];
    uint16_t            told_nports;
    bool                told_known;
    int64_t             retry_ms;
    struct engine_image image;          /* its texts are ours */
    char               *passwd, *group; /* of the image */
    struct live        *next_queued;
    int64_t             reserved_mb;    /* by admission.c, until settle */
    struct timer        settle;
    int64_t             asked_ms;
    struct guest_status status;
    int64_t             status_mono_ms;
    int64_t             freed_bytes;
    /* reaper.c's: what it had used, and the question to the gates */
    struct usage        usage;
    int64_t             pressed_ms;     /* until then less idle will do */
    uint64_t            park_gen;
    struct timer        freeze;
    /* account.c's: what is in the books already */
    struct usage        counted;
    int64_t             counted_ms;     /* monotonic */
    struct timer        count;
    struct reclaim     *reclaim;        /* its memory is being given back */
};

/* Makes it when it is not there. */
struct live *live_of(struct sandbox *sb);
/* Closes whatever it holds and frees it. */
void live_drop(struct sandbox *sb);

#endif
