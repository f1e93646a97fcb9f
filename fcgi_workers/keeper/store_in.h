/*
 * store_in: what store.c shares with the files that write a table of their own
 * (store_rows.c, leases.c, account.c). For nobody else.
 */
#ifndef HF_KEEPER_STORE_IN_H
#define HF_KEEPER_STORE_IN_H

#include <sqlite3.h>

#include "store.h"

enum store_stmt {
    ST_BEGIN, ST_COMMIT, ST_META, ST_META_GET, ST_SAVE, ST_ERASE, ST_NOTE,
    ST_NOTED, ST_COPIED,
    ST_AUDIT, ST_OP_END, ST_OP_INSERT, ST_INSERT, ST_REATTACH, ST_UPDATE,
    ST_ENV, ST_ENV_GET, ST_ROW, ST_ROWS, ST_KEY, ST_PROJECT, ST_EXT_USER,
    ST_EXT_PROJECT, ST_ANSWER, ST_ANSWER_IDEM, ST_OPS_OPEN, ST_KNEW,
    ST_OP_KNOWN, ST_PRUNE, ST_OP_DONE, ST_SHARE_INSERT, ST_SHARE_COUNT,
    ST_SHARE_CHECK, ST_SHARE_USE, ST_SHARE_DELETE, ST_SHARES_END,
    ST_SHARE_EPOCH, ST_SHARE_PRUNE, ST_LEASE, ST_LEASE_TIDY, ST_LEASE_DROP,
    ST_LEASES, ST_LEASE_ENDS, ST_USAGE, ST_USAGE_PRUNE,
    ST_COUNT
};

struct note {                   /* an outbox row or an audit row to be */
    struct note *next;
    bool         is_audit;
    int          ends;
    int64_t      at_ms, number;
    char        *tenant, *sandbox, *type, *data;
    char        *actor, *remote, *request_id;
};

struct store {
    struct keeper  *k;
    sqlite3        *db;
    sqlite3_stmt   *stmt[ST_COUNT];
    struct sandbox *dirty, *gone;
    struct op      *ending, **ending_end;
    struct op      *ended, **ended_end;
    struct note    *notes, **notes_end;
    uint64_t        generation, epoch;  /* as stored */
    bool            begun;
    bool            broken;     /* the transaction is gone: fail the turn */
    bool            reserve;    /* db/reserve is there */
    int64_t         noted, copied, removed;     /* numbers in the outbox */
    int64_t         longest_us, commits;
};

int  st_begin(struct store *st, struct err *e);
int  st_run(struct store *st, sqlite3_stmt *s, const char *doing,
    struct err *e);
void st_text(sqlite3_stmt *s, int n, const char *text);
void st_when(sqlite3_stmt *s, int n, int64_t ms);

#endif
