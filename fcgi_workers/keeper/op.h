/*
 * op: one operation, from its intent to its answer.
 *
 * An operation waits in its sandbox's queue, the head is worked on
 * (machine.c). When it ends, its answer is rendered from the row as that turn
 * leaves it, stored, and only then told to whoever holds it. Operations of our
 * own (number 0: a lifetime that is over, one of many purges) have no row and
 * no answer.
 */
#ifndef HF_KEEPER_OP_H
#define HF_KEEPER_OP_H

#include <json-c/json.h>

#include "../common/err.h"
#include "core.h"
#include "sandbox.h"

enum op_kind {
    OP_CREATE, OP_WAKE, OP_START, OP_STOP, OP_FREEZE, OP_ARCHIVE, OP_RESTART,
    OP_DELETE,
    OP_PURGE, OP_PURGE_EXTERNAL, OP_KEEPALIVE, OP_PATCH, OP_ENV, OP_PORTS,
    OP_METRICS, OP_STATUS, OP_LEASE, OP_UNLEASE, OP_LEASES, OP_IDLE, OP_SHARE,
    OP_UNSHARE, OP_TICKET, OP_READY, OP_ANSWER, OP_KIND_COUNT
};

#define OP_LINKS_MAX 128        /* gates that may wait for one operation */

struct op {
    struct keeper  *k;
    struct op      *next;               /* in the sandbox's queue */
    struct op      *next_ending, *next_hash, *next_fresh;
    struct sandbox *sb;                 /* NULL once it is gone */
    struct op      *parent;             /* of one of many purges */
    int64_t         number;
    enum op_kind    kind;
    bool            v1, fired, ended, question;
    bool            held;               /* ended, not to be told yet */
    uint8_t         phase;              /* restart: 0 stops, 1 starts */
    char            sandbox_id[ID_MAX + 1];
    char           *tenant, *actor, *remote, *request_id;
    int64_t         began_ms;           /* monotonic */
    int             want_status;        /* when it goes well; 0: the kind's */
    int             http_status;
    struct err      error;              /* code NULL: it went well */
    char           *answer;             /* JSON, or NULL */
    int64_t         freed_bytes;
    int64_t         children, purged;   /* purge_external */
    struct op      *sub;
    bool            ext_is_user;
    char           *ext_value;
    uint64_t        links[OP_LINKS_MAX / 64];   /* who waits, by slot */
    /* What of it is only done after the commit of its intent. */
    void          (*apply)(struct op *op);
    /* It wrote its row in the turn in which it ended: if that turn cannot be
     * stored, it has failed; else this is done. */
    void          (*after)(struct op *op);
    struct json_object *args;           /* of a patch that waits; owned */
    struct ops_conn *conn;              /* that waits for its number */
};

const char *op_kind_name(enum op_kind kind);
int op_kind_of(const char *name, enum op_kind *kind);

struct op *op_new(struct keeper *k, enum op_kind kind, const char *tenant);
void op_free(struct op *op);

/* Ends it with success, or with a copy of *e. Counted once. */
void op_end(struct op *op, const struct err *e);
/* Fills http_status and answer, from the row within this transaction. */
void op_render(struct op *op);

/* The body of an answer for a row in the shape that the caller knows.
 * malloced; NULL when it cannot be read. */
char *op_row_text(struct keeper *k, const char *id, bool v1);

#endif
