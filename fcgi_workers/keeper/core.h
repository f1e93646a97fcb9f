/*
 * core: what the keeper's files share: one struct that says who there is.
 *
 * Each member belongs to the file it is named after; the others only call that
 * file's functions with the keeper as first argument. One process has one of
 * these, made by keeper.c.
 *
 * How a turn of the loop goes. Callbacks change memory and mark what they
 * changed (store_dirty, op_end, store_note); operations that arrive write their
 * intent at once into the turn's transaction, but change nothing in memory. At
 * the end of the turn everything is committed, and only then does anything
 * leave: replies, lines to gates, calls to the engine. When the commit fails
 * (a full disk), the operations that came in this turn are refused, what was
 * marked stays marked, and nothing leaves until a later commit succeeds.
 */
#ifndef HF_KEEPER_CORE_H
#define HF_KEEPER_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/crypt.h"
#include "../common/loop.h"
#include "../common/settings.h"
#include "engine.h"

struct store;
struct sandboxes;
struct ops;
struct links;
struct peers;
struct admission;
struct news;
struct reconcile;
struct shares;
struct reaper;
struct reclaims;
struct pressure;
struct outbox;
struct archives;
struct sandbox;

struct keeper {
    const struct settings *s;
    struct loop           *loop;
    struct store          *store;
    struct sandboxes      *boxes;
    struct ops            *ops;
    struct links          *links;
    struct peers          *peers;
    struct admission      *admission;
    struct news           *news;
    struct reconcile      *reconcile;
    struct shares         *shares;
    struct reaper         *reaper;
    struct reclaims       *reclaims;
    struct pressure       *pressure;
    struct outbox         *outbox;
    struct archives       *archives;
    struct engine         *engine;
    struct engine_caps     caps;
    struct crypt_key       key;
    char                  *seccomp;     /* text of the profile */
    char                   node[64];
    uint64_t               generation;  /* highest given out */
    uint64_t               epoch;
    struct sandbox        *acting, **acting_end;    /* machine.c's */
    bool                   engine_up;   /* until the opposite is seen */
    bool                   engine_seen; /* it has listed its containers */
    int64_t                account_day; /* the last that was written to */
    int64_t                began_ms;    /* monotonic: start of this process */
};

#endif
