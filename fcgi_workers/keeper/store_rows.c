/*
 * store_rows: the single-row writes and reads of store.h.
 *
 * Writes go into the turn's transaction and are undone with it. Owns nothing.
 */
#include "store_in.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/db.h"
#include "../common/log.h"
#include "op.h"

#define ANSWERS_KEPT_MS (24 * 3600 * 1000LL)

/* Seals text for one place, so that it opens nowhere else. NULL: NULL. */
static int st_seal(struct store *st, sqlite3_stmt *s, int n, const char *where,
    const char *text, struct err *e)
{
    unsigned char *sealed;
    size_t         len;

    if (text == NULL) {
        sqlite3_bind_null(s, n);
        return 0;
    }
    if (crypt_seal(&st->k->key, where, text, strlen(text), &sealed, &len) != 0)
        return err_set(e, "internal", "cannot seal a secret");
    sqlite3_bind_blob(s, n, sealed, (int) len, SQLITE_TRANSIENT);
    free(sealed);
    return 0;
}

static int st_unseal(struct store *st, sqlite3_stmt *s, int column,
    const char *where, char **text, struct err *e)
{
    unsigned char *plain;
    size_t         len;
    char          *own;

    *text = NULL;
    if (sqlite3_column_type(s, column) == SQLITE_NULL)
        return 0;
    if (crypt_open(&st->k->key, where, sqlite3_column_blob(s, column),
            (size_t) sqlite3_column_bytes(s, column), &plain, &len) != 0)
        return err_set(e, "internal", "a stored secret does not open: is "
            "this the key that it was sealed with?");
    own = malloc(len + 1);
    if (own != NULL) {
        memcpy(own, plain, len);
        own[len] = '\0';
    }
    OPENSSL_cleanse(plain, len);
    free(plain);
    if (own == NULL)
        return err_set(e, "internal", "out of memory");
    *text = own;
    return 0;
}

static void env_context(char out[80], const char *id)
{
    snprintf(out, 80, "sandboxes.env.%s", id);
}

/* ---- operations ---------------------------------------------------------- */

int store_op_insert(struct keeper *k, struct op *op, const char *idem_key,
    const char *idem_hash, const char *args, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_OP_INSERT];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, op->tenant);
    st_text(s, 2, op_kind_name(op->kind));
    st_text(s, 3, op->sandbox_id[0] != '\0' ? op->sandbox_id : NULL);
    st_text(s, 4, op->v1 ? "v1" : "base");
    st_text(s, 5, idem_key);
    st_text(s, 6, idem_hash);
    if (st_seal(st, s, 7, "ops.args", args, e) == -1)
        return -1;
    st_text(s, 8, op->actor);
    st_text(s, 9, op->request_id);
    sqlite3_bind_int64(s, 10, clock_wall_ms());
    if (st_run(st, s, "storing an operation", e) == -1)
        return -1;
    op->number = sqlite3_last_insert_rowid(st->db);
    return 0;
}

static void answer_take(sqlite3_stmt *s, struct store_answer *out)
{
    const char *text;

    memset(out, 0, sizeof(*out));
    out->number = sqlite3_column_int64(s, 0);
    out->state = sqlite3_column_int(s, 1);
    out->http_status = sqlite3_column_int(s, 2);
    text = (const char *) sqlite3_column_text(s, 3);
    out->answer = text != NULL ? strdup(text) : NULL;
    text = (const char *) sqlite3_column_text(s, 4);
    snprintf(out->sandbox, sizeof(out->sandbox), "%s", text ? text : "");
    text = (const char *) sqlite3_column_text(s, 5);
    snprintf(out->hash, sizeof(out->hash), "%s", text ? text : "");
}

/* Steps a reading statement once; resets it unless there is a row. */
static int st_first(struct store *st, sqlite3_stmt *s, struct err *e)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return 1;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return rc == SQLITE_DONE ? 0 : db_error(st->db, "reading", e);
}

static void st_done(sqlite3_stmt *s)
{
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

int store_answer_of(struct keeper *k, const char *tenant, int64_t number,
    const char *idem_key, struct store_answer *out, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s;
    int           rc;

    s = st->stmt[idem_key != NULL ? ST_ANSWER_IDEM : ST_ANSWER];
    st_text(s, 1, tenant);
    if (idem_key != NULL)
        st_text(s, 2, idem_key);
    else
        sqlite3_bind_int64(s, 2, number);
    rc = st_first(st, s, e);
    if (rc == 1) {
        answer_take(s, out);
        st_done(s);
    }
    return rc;
}

int store_each_open_op(struct keeper *k,
    void (*fn)(void *arg, const struct store_open_op *o), void *arg,
    struct err *e)
{
    struct store        *st = k->store;
    sqlite3_stmt        *s = st->stmt[ST_OPS_OPEN];
    struct store_open_op o;
    int                  rc;

    while ((rc = st_first(st, s, e)) == 1) {
        memset(&o, 0, sizeof(o));
        o.number = sqlite3_column_int64(s, 0);
        o.tenant = (const char *) sqlite3_column_text(s, 1);
        o.kind = (const char *) sqlite3_column_text(s, 2);
        o.sandbox = (const char *) sqlite3_column_text(s, 3);
        o.shape = (const char *) sqlite3_column_text(s, 4);
        o.actor = (const char *) sqlite3_column_text(s, 5);
        o.request_id = (const char *) sqlite3_column_text(s, 6);
        if (st_unseal(st, s, 7, "ops.args", &o.args, e) == -1)
            log_warn("operation %lld: %s", (long long) o.number, e->msg);
        fn(arg, &o);
        free(o.args);
    }
    return rc;
}

void store_prune(struct keeper *k)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_PRUNE];
    struct err    e;

    if (st_begin(st, &e) == -1)
        return;
    sqlite3_bind_int64(s, 1, clock_wall_ms() - ANSWERS_KEPT_MS);
    st_run(st, s, "forgetting old operations", &e);
}

/* ---- sandboxes: writing -------------------------------------------------- */

/* What st_insert and st_reattach have in common, from place n on. */
static int bind_config(struct store *st, sqlite3_stmt *s, int n,
    const struct row *r, const char *env, struct err *e)
{
    char where[80];

    st_text(s, n++, r->key);
    st_text(s, n++, r->project_id);
    st_text(s, n++, r->project_user);
    st_text(s, n++, r->ext_user);
    st_text(s, n++, r->ext_project);
    st_text(s, n++, r->ext_workspace);
    st_text(s, n++, r->image);
    st_text(s, n++, r->template_name);
    st_text(s, n++, r->git_remote_url);
    st_text(s, n++, r->ports);
    st_text(s, n++, r->labels);
    st_text(s, n++, r->services);
    st_text(s, n++, r->setup);
    env_context(where, r->id);
    if (st_seal(st, s, n++, where, env, e) == -1)
        return -1;
    st_text(s, n++, r->visibility);
    st_text(s, n++, r->idle_policy);
    st_text(s, n++, r->wake_on);
    st_text(s, n++, r->ports_policy);
    st_text(s, n++, r->host_header);
    sqlite3_bind_int64(s, n++, r->memory_mb);
    sqlite3_bind_int64(s, n++, r->cpus_milli);
    sqlite3_bind_int64(s, n++, r->pids);
    sqlite3_bind_int64(s, n++, r->disk_mb);
    sqlite3_bind_int64(s, n++, r->idle_s);
    sqlite3_bind_int64(s, n++, r->freeze_s);
    sqlite3_bind_int64(s, n++, r->ttl_s);
    return 0;
}

int store_insert(struct keeper *k, const struct row *r, const char *env,
    struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_INSERT];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, r->id);
    st_text(s, 2, r->tenant);
    sqlite3_bind_int(s, 3, (int) r->rung);
    sqlite3_bind_int64(s, 4, r->generation);
    if (bind_config(st, s, 5, r, env, e) == -1)
        return -1;
    st_text(s, 31, r->node);
    st_text(s, 32, r->engine);
    sqlite3_bind_int64(s, 33, r->uid);
    sqlite3_bind_int64(s, 34, r->addr);
    sqlite3_bind_int64(s, 35, r->created_ms);
    st_when(s, 36, r->expires_ms);
    return st_run(st, s, "storing a new sandbox", e);
}

int store_reattach(struct keeper *k, const struct row *r, const char *env,
    struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_REATTACH];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, r->id);
    sqlite3_bind_int(s, 2, (int) r->rung);
    sqlite3_bind_int64(s, 3, r->generation);
    if (bind_config(st, s, 4, r, env, e) == -1)
        return -1;
    sqlite3_bind_int64(s, 30, r->created_ms);
    st_when(s, 31, r->expires_ms);
    if (st_run(st, s, "storing a sandbox anew", e) == -1)
        return -1;
    return store_shares_end(k, r->id, e);
}

int store_update(struct keeper *k, const struct row *r, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_UPDATE];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, r->id);
    st_text(s, 2, r->labels);
    st_text(s, 3, r->visibility);
    st_text(s, 4, r->idle_policy);
    st_text(s, 5, r->wake_on);
    st_text(s, 6, r->ports_policy);
    st_text(s, 7, r->host_header);
    st_text(s, 8, r->ports);
    sqlite3_bind_int64(s, 9, r->memory_mb);
    sqlite3_bind_int64(s, 10, r->cpus_milli);
    sqlite3_bind_int64(s, 11, r->pids);
    sqlite3_bind_int64(s, 12, r->disk_mb);
    sqlite3_bind_int64(s, 13, r->idle_s);
    sqlite3_bind_int64(s, 14, r->freeze_s);
    sqlite3_bind_int64(s, 15, r->ttl_s);
    st_when(s, 16, r->expires_ms);
    st_when(s, 17, r->keepalive_ms);
    sqlite3_bind_int64(s, 18, clock_wall_ms());
    return st_run(st, s, "storing a change", e);
}

int store_update_env(struct keeper *k, const char *id, const char *env,
    struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_ENV];
    char          where[80];

    if (st_begin(st, e) == -1)
        return -1;
    env_context(where, id);
    st_text(s, 1, id);
    if (st_seal(st, s, 2, where, env, e) == -1)
        return -1;
    sqlite3_bind_int64(s, 3, clock_wall_ms());
    return st_run(st, s, "storing the env", e);
}

/* ---- sandboxes: reading -------------------------------------------------- */

int store_each_row(struct store *st, store_row fn, void *arg, struct err *e)
{
    sqlite3_stmt *s = st->stmt[ST_ROWS];
    struct row    r;
    int           rc, n = sqlite3_column_count(s);

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (row_borrow(&r, s) == -1
            || fn(arg, &r, (const char *) sqlite3_column_text(s, n - 3),
                (const char *) sqlite3_column_text(s, n - 2),
                sqlite3_column_int64(s, n - 1)) == -1) {
            st_done(s);
            return err_set(e, "internal", "a sandbox's row cannot be read");
        }
    }
    st_done(s);
    return rc == SQLITE_DONE ? 0 : db_error(st->db, "reading", e);
}

int store_row_of(struct keeper *k, const char *id, struct row *r,
    struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_ROW];
    int           rc;

    st_text(s, 1, id);
    rc = st_first(k->store, s, e);
    if (rc != 1)
        return rc;
    if (row_load(r, s) == -1)
        rc = err_set(e, "internal", "a sandbox's row cannot be read");
    st_done(s);
    return rc;
}

static int store_find_id(struct keeper *k, sqlite3_stmt *s,
    char id[ID_MAX + 1], struct err *e)
{
    int rc = st_first(k->store, s, e);

    if (rc == 1) {
        snprintf(id, ID_MAX + 1, "%s",
            (const char *) sqlite3_column_text(s, 0));
        st_done(s);
    }
    return rc;
}

int store_find_key(struct keeper *k, const char *tenant, const char *key,
    char id[ID_MAX + 1], struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_KEY];

    st_text(s, 1, tenant);
    st_text(s, 2, key);
    return store_find_id(k, s, id, e);
}

int store_find_project(struct keeper *k, const char *tenant,
    const char *project, const char *user, char id[ID_MAX + 1],
    struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_PROJECT];

    st_text(s, 1, tenant);
    st_text(s, 2, project);
    st_text(s, 3, user);
    return store_find_id(k, s, id, e);
}

int store_find_external(struct keeper *k, const char *tenant,
    const char *column, const char *value,
    void (*fn)(void *arg, const char *id), void *arg, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    s = k->store->stmt[strcmp(column, "user") == 0 ? ST_EXT_USER
        : ST_EXT_PROJECT];
    st_text(s, 1, tenant);
    st_text(s, 2, value);
    while ((rc = st_first(k->store, s, e)) == 1)
        fn(arg, (const char *) sqlite3_column_text(s, 0));
    return rc;
}

int store_env_of(struct keeper *k, const char *id, char **env, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_ENV_GET];
    char          where[80];
    int           rc;

    st_text(s, 1, id);
    rc = st_first(st, s, e);
    if (rc != 1)
        return rc == 0 ? err_set(e, "not_found", "no sandbox %s", id) : -1;
    env_context(where, id);
    rc = st_unseal(st, s, 0, where, env, e);
    st_done(s);
    if (rc == 0 && *env == NULL) {
        *env = strdup("{}");
        if (*env == NULL)
            rc = err_set(e, "internal", "out of memory");
    }
    return rc;
}

bool store_knew(struct keeper *k, const char *id)
{
    sqlite3_stmt *s = k->store->stmt[ST_KNEW];
    int           rc;

    st_text(s, 1, id);
    rc = st_first(k->store, s, NULL);
    if (rc == 1)
        st_done(s);
    return rc == 1;
}

bool store_op_known(struct keeper *k, int64_t number)
{
    sqlite3_stmt *s = k->store->stmt[ST_OP_KNOWN];
    int           rc;

    sqlite3_bind_int64(s, 1, number);
    rc = st_first(k->store, s, NULL);
    if (rc == 1)
        st_done(s);
    return rc == 1;
}
