/*
 * store: the keeper's side of SQLite, the one writer.
 *
 * A turn has one transaction, begun at its first write. store_commit writes
 * what was marked, commits, and says whether anything may leave. See core.h.
 */
#ifndef HF_KEEPER_STORE_H
#define HF_KEEPER_STORE_H

#include <json-c/json.h>

#include "../common/row.h"
#include "core.h"
#include "sandbox.h"

struct op;

int  store_open(struct keeper *k, struct err *e);
void store_close(struct keeper *k);

/* ---- at the start -------------------------------------------------------- */
typedef int (*store_row)(void *arg, const struct row *r, const char *hash,
    const char *archive_ref, int64_t ws_epoch);
int store_each_row(struct store *st, store_row fn, void *arg, struct err *e);

/* ---- marks: cheap, any number of times a turn ---------------------------- */
void store_dirty(struct sandbox *sb);
/* The op ends with this turn: its answer is rendered from the row as the turn
 * leaves it. Takes part in the commit; store_next_ended gives it back. */
void store_ending(struct keeper *k, struct op *op);
struct op *store_next_ended(struct keeper *k);
/* Sandboxes whose rows are gone since the last commit, to be freed. */
struct sandbox *store_next_gone(struct keeper *k);
/* An event of a sandbox's life, for the outbox. Data is the text of a JSON
 * object, `ends` one of OUTBOX_* (common/outbox.h). */
void store_note(struct sandbox *sb, const char *type, const char *data,
    int ends);
/* Events up to `number` are in their streams. */
void store_copied(struct keeper *k, int64_t number);
/* How many may still have to be copied. */
int64_t store_uncopied(const struct keeper *k);
/* Who did what. `result` is "ok" or an error code. */
void store_audit(struct keeper *k, const char *tenant, const char *actor,
    const char *action, const char *sandbox, const char *remote,
    const char *request_id, const char *result);

/* Writes all marks and commits. 1: something was committed; 0: there was
 * nothing to do; -1: nothing of this turn is stored, see *e. */
int store_commit(struct keeper *k, struct err *e);

/* ---- a full disk --------------------------------------------------------- */
/* Some megabytes are kept in a file beside the database. When a commit fails
 * for want of room they are given up, so that what happens to sandboxes can
 * still be stored; what callers add is refused until they are there again. */
bool store_give_reserve(struct keeper *k);      /* was there any? */
/* May a caller add something? 0, or -1 with "disk_full". */
int  store_may_grow(struct keeper *k, struct err *e);
/* A failed turn: ops that ended by a write of that turn have failed. */
void store_refuse_endings(struct keeper *k, const struct err *e);
/* A failed turn had nothing to keep: numbers that it took are free again. */
void store_forget_unused(struct keeper *k);

/* ---- written at once, into the turn's transaction ------------------------ */
/* Intent of an operation; gives it its number. */
int store_op_insert(struct keeper *k, struct op *op, const char *idem_key,
    const char *idem_hash, const char *args, struct err *e);
int store_insert(struct keeper *k, const struct row *r, const char *env,
    struct err *e);
/* A kept workspace gets a new sandbox around it: same uid and address. */
int store_reattach(struct keeper *k, const struct row *r, const char *env,
    struct err *e);
/* What patch, keepalive and TTL may change. */
int store_update(struct keeper *k, const struct row *r, struct err *e);
int store_update_env(struct keeper *k, const char *id, const char *env,
    struct err *e);

/* ---- reading, this turn's writes included -------------------------------- */
/* 1 found (row_fini it), 0 not, -1. */
int store_row_of(struct keeper *k, const char *id, struct row *r,
    struct err *e);
int store_find_key(struct keeper *k, const char *tenant, const char *key,
    char id[ID_MAX + 1], struct err *e);
int store_find_project(struct keeper *k, const char *tenant,
    const char *project, const char *user, char id[ID_MAX + 1],
    struct err *e);
/* Calls fn with every id of a tenant's external user or project. */
int store_find_external(struct keeper *k, const char *tenant,
    const char *column, const char *value,
    void (*fn)(void *arg, const char *id), void *arg, struct err *e);
/* The sealed env opened: JSON text, malloced; "{}" when there is none. */
int store_env_of(struct keeper *k, const char *id, char **env, struct err *e);

struct store_answer {
    int64_t number;
    int     state, http_status;
    char   *answer;             /* malloced or NULL */
    char    sandbox[ID_MAX + 1];
    char    hash[72];
};
/* By number (and tenant), or by idempotency key. 1 found, 0 not, -1. */
int store_answer_of(struct keeper *k, const char *tenant, int64_t number,
    const char *idem_key, struct store_answer *out, struct err *e);

struct store_open_op {
    int64_t     number;
    const char *tenant, *kind, *sandbox, *shape, *actor, *request_id;
    char       *args;           /* opened, or NULL */
};
int store_each_open_op(struct keeper *k,
    void (*fn)(void *arg, const struct store_open_op *o), void *arg,
    struct err *e);

/* ---- shares (store_shares.c) --------------------------------------------- */
struct share {                  /* borrowed */
    char        id[ID_ULID_LEN + 1];
    const char *sandbox, *label, *actor;
    int64_t     port, max_uses; /* 0: any, no limit */
    int64_t     made_ms, expires_ms;
};
int store_share_insert(struct keeper *k, const struct share *share,
    struct err *e);
int store_share_count(struct keeper *k, const char *sandbox, int64_t now_ms,
    int64_t *out, struct err *e);
/* 1 it is there and not over, 0 not, -1. */
int store_share_check(struct keeper *k, const char *sandbox,
    const char *share, int64_t now_ms, struct err *e);
/* Counts one use: 1; 0: none was left. */
int store_share_use(struct keeper *k, const char *sandbox, const char *share,
    int64_t number, struct err *e);
/* 1 it was there, 0 not, -1. */
int store_share_delete(struct keeper *k, const char *sandbox,
    const char *share, struct err *e);
int store_shares_end(struct keeper *k, const char *sandbox, struct err *e);
int store_share_epoch(struct keeper *k, const char *sandbox, int64_t epoch,
    struct err *e);
void store_share_prune(struct keeper *k);
/* The answer of a call that has an Idempotency-Key and is over at once. */
int store_op_done(struct keeper *k, const char *tenant, const char *kind,
    const char *sandbox, const char *idem_key, const char *idem_hash,
    const char *actor, const char *request_id, int status,
    const char *answer, struct err *e);

/* Was a sandbox with this id ever ours? (audit knows) */
bool store_knew(struct keeper *k, const char *id);
bool store_op_known(struct keeper *k, int64_t number);
/* Forgets answers older than a day, some at a time. */
void store_prune(struct keeper *k);

/* Microseconds of the longest commit and how many there were. */
void store_figures(const struct keeper *k, int64_t *longest_us,
    int64_t *commits);

#endif
