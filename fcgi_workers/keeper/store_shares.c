/*
 * store_shares: shares in SQLite (store.h), within the turn's transaction.
 * Owns nothing.
 */
#include "store_in.h"

#include "../common/clock.h"
#include "../common/db.h"

int store_op_done(struct keeper *k, const char *tenant, const char *kind,
    const char *sandbox, const char *idem_key, const char *idem_hash,
    const char *actor, const char *request_id, int status,
    const char *answer, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_OP_DONE];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, tenant);
    st_text(s, 2, kind);
    st_text(s, 3, sandbox);
    st_text(s, 4, idem_key);
    st_text(s, 5, idem_hash);
    st_text(s, 6, actor);
    st_text(s, 7, request_id);
    sqlite3_bind_int(s, 8, status);
    st_text(s, 9, answer);
    sqlite3_bind_int64(s, 10, clock_wall_ms());
    return st_run(st, s, "storing an answer", e);
}

int store_share_insert(struct keeper *k, const struct share *share,
    struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARE_INSERT];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, share->id);
    st_text(s, 2, share->sandbox);
    st_when(s, 3, share->port);
    st_text(s, 4, share->label);
    sqlite3_bind_int64(s, 5, share->max_uses);
    st_text(s, 6, share->actor);
    sqlite3_bind_int64(s, 7, share->made_ms);
    sqlite3_bind_int64(s, 8, share->expires_ms);
    return st_run(st, s, "storing a share", e);
}

/* A number that one row gives: 1, or 0 when there is none. */
static int share_number(struct store *st, sqlite3_stmt *s, int64_t *out,
    struct err *e)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : db_error(st->db, "reading a share", e);
}

int store_share_count(struct keeper *k, const char *sandbox, int64_t now_ms,
    int64_t *out, struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_SHARE_COUNT];

    st_text(s, 1, sandbox);
    sqlite3_bind_int64(s, 2, now_ms);
    return share_number(k->store, s, out, e) == 1 ? 0 : -1;
}

int store_share_check(struct keeper *k, const char *sandbox,
    const char *share, int64_t now_ms, struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_SHARE_CHECK];
    int64_t       one;

    st_text(s, 1, share);
    st_text(s, 2, sandbox);
    sqlite3_bind_int64(s, 3, now_ms);
    return share_number(k->store, s, &one, e);
}

/* The same number twice is one use: its gate has asked again, because the
 * link was lost before it got an answer. */
int store_share_use(struct keeper *k, const char *sandbox, const char *share,
    int64_t number, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARE_USE];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, share);
    st_text(s, 2, sandbox);
    sqlite3_bind_int64(s, 3, number);
    if (st_run(st, s, "counting a use", e) == -1)
        return -1;
    return sqlite3_changes(st->db) > 0;
}

int store_share_delete(struct keeper *k, const char *sandbox,
    const char *share, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARE_DELETE];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, share);
    st_text(s, 2, sandbox);
    if (st_run(st, s, "revoking a share", e) == -1)
        return -1;
    return sqlite3_changes(st->db) > 0;
}

int store_shares_end(struct keeper *k, const char *sandbox, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARES_END];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, sandbox);
    return st_run(st, s, "ending shares", e);
}

int store_share_epoch(struct keeper *k, const char *sandbox, int64_t epoch,
    struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARE_EPOCH];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, sandbox);
    sqlite3_bind_int64(s, 2, epoch);
    return st_run(st, s, "raising a share epoch", e);
}

void store_share_prune(struct keeper *k)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_SHARE_PRUNE];
    struct err    e;

    if (st_begin(st, &e) == -1)
        return;
    sqlite3_bind_int64(s, 1, clock_wall_ms());
    st_run(st, s, "forgetting shares that are over", &e);
}
