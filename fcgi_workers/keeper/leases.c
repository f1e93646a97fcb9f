/*
 * leases: see leases.h. Writes its rows in the turn's transaction; memory
 * follows after the commit.
 */
#include "leases.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/db.h"
#include "../common/ids.h"
#include "../common/render.h"
#include "machine.h"
#include "reaper.h"
#include "store_in.h"

#define ANSWER_MAX (256 * 1024)

static void st_over(sqlite3_stmt *s)
{
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

/* ---- reading ------------------------------------------------------------- */

int leases_open(struct keeper *k, struct err *e)
{
    struct store   *st = k->store;
    sqlite3_stmt   *s = st->stmt[ST_LEASE_ENDS];
    struct sandbox *sb;
    int             rc;

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        sb = sandbox_find(k, (const char *) sqlite3_column_text(s, 0));
        if (sb != NULL)
            sb->lease_ms = sqlite3_column_int64(s, 1);
    }
    if (rc != SQLITE_DONE)
        db_error(st->db, "reading leases", e);
    st_over(s);
    return rc == SQLITE_DONE ? 0 : -1;
}

int leases_each(struct sandbox *sb, void (*fn)(void *arg,
    const struct lease *l), void *arg, struct err *e)
{
    struct store *st = sb->k->store;
    sqlite3_stmt *s = st->stmt[ST_LEASES];
    struct lease  l;
    int           rc;

    st_text(s, 1, sb->id);
    sqlite3_bind_int64(s, 2, clock_wall_ms());
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        l.id = (const char *) sqlite3_column_text(s, 0);
        l.reason = (const char *) sqlite3_column_text(s, 1);
        l.until_ms = sqlite3_column_int64(s, 2);
        l.made_ms = sqlite3_column_int64(s, 3);
        fn(arg, &l);
    }
    if (rc != SQLITE_DONE)
        db_error(st->db, "reading leases", e);
    st_over(s);
    return rc == SQLITE_DONE ? 0 : -1;
}

/* ---- rendering ----------------------------------------------------------- */

static void lease_render(struct buf *b, const struct sandbox *sb,
    const struct lease *l)
{
    buf_printf(b, "{\"id\":\"%s\",\"sandbox_id\":\"%s\",\"reason\":", l->id,
        sb->id);
    render_string(b, l->reason, strlen(l->reason));
    buf_str(b, ",\"created_at\":");
    render_time(b, l->made_ms);
    buf_str(b, ",\"expires_at\":");
    render_time(b, l->until_ms);
    buf_str(b, "}");
}

struct lease_list {
    struct sandbox *sb;
    struct buf      b;
    int             n;
};

static void list_one(void *arg, const struct lease *l)
{
    struct lease_list *list = arg;

    if (list->n++ > 0)
        buf_str(&list->b, ",");
    lease_render(&list->b, list->sb, l);
}

/* The sandbox of the request, if it is there. */
static struct sandbox *lease_sandbox(struct request *r, struct err *e)
{
    struct sandbox *sb = request_sandbox(r, e);

    if (sb != NULL && rung_is_gone(sb->rung)) {
        err_set(e, "not_found", "no sandbox %s", sb->id);
        return NULL;
    }
    return sb;
}

int leases_request(struct request *r, struct err *e)
{
    struct lease_list list = { .sb = lease_sandbox(r, e) };

    if (list.sb == NULL)
        return -1;
    buf_init(&list.b, ANSWER_MAX);
    buf_str(&list.b, "{\"leases\":[");
    if (leases_each(list.sb, list_one, &list, e) == -1) {
        buf_fini(&list.b);
        return -1;
    }
    buf_str(&list.b, "]}");
    if (list.b.failed) {
        buf_fini(&list.b);
        return err_set(e, "internal", "out of memory");
    }
    ops_now(r, list.sb, NULL, 200, list.b.data);
    return 0;
}

/* ---- taking and giving back ---------------------------------------------- */

static void last_of(void *arg, const struct lease *l)
{
    int64_t *last = arg;

    if (l->until_ms > *last)
        *last = l->until_ms;
}

static void lease_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct err      e;
    int64_t         last = 0;

    if (sb != NULL && leases_each(sb, last_of, &last, &e) == 0) {
        sb->lease_ms = last;
        reaper_changed(sb);
    }
    store_audit(op->k, op->tenant, op->actor, op_kind_name(op->kind),
        op->sandbox_id, op->remote, op->request_id, "ok");
}

static void count_one(void *arg, const struct lease *l)
{
    int64_t *n = arg;

    (void) l;
    (*n)++;
}

static int lease_store(struct keeper *k, const struct sandbox *sb,
    const struct lease *l, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_LEASE_TIDY];

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, sb->id);
    sqlite3_bind_int64(s, 2, l->made_ms);
    if (st_run(st, s, "forgetting old leases", e) == -1)
        return -1;
    s = st->stmt[ST_LEASE];
    st_text(s, 1, l->id);
    st_text(s, 2, sb->id);
    st_text(s, 3, l->reason);
    sqlite3_bind_int64(s, 4, l->until_ms);
    sqlite3_bind_int64(s, 5, l->made_ms);
    return st_run(st, s, "storing a lease", e);
}

static int lease_take(struct request *r, struct sandbox *sb, struct err *e)
{
    struct lease l = { .reason = arg_str(r->args, "reason") };
    char         id[ID_ULID_LEN + 1];
    struct buf   b;
    int64_t      n = 0;

    if (store_may_grow(r->k, e) == -1
        || leases_each(sb, count_one, &n, e) == -1)
        return -1;
    if (n >= r->k->s->leases_max)
        return err_set(e, "quota_exceeded", "it has %" PRId64 " leases, as "
            "many as it may have (leases_max)", n);
    ids_new(id);
    l.id = id;
    l.made_ms = clock_wall_ms();
    l.until_ms = l.made_ms + arg_num(r->args, "ttl_s", 0) * 1000;
    if (l.reason == NULL)
        l.reason = "";
    if (lease_store(r->k, sb, &l, e) == -1)
        return -1;
    buf_init(&b, ANSWER_MAX);
    lease_render(&b, sb, &l);
    if (b.failed) {
        buf_fini(&b);
        return err_set(e, "internal", "out of memory");
    }
    ops_now(r, sb, lease_apply, 201, b.data);
    return 0;
}

static int lease_give(struct request *r, struct sandbox *sb, struct err *e)
{
    struct store *st = r->k->store;
    sqlite3_stmt *s = st->stmt[ST_LEASE_DROP];
    const char   *id = arg_str(r->args, "lease");

    if (st_begin(st, e) == -1)
        return -1;
    st_text(s, 1, id != NULL ? id : "");
    st_text(s, 2, sb->id);
    if (st_run(st, s, "giving a lease back", e) == -1)
        return -1;
    if (sqlite3_changes(st->db) == 0)
        return err_set(e, "not_found", "sandbox %s has no such lease",
            sb->id);
    ops_now(r, sb, lease_apply, 204, NULL);
    return 0;
}

int lease_request(struct request *r, struct err *e)
{
    struct sandbox *sb = lease_sandbox(r, e);

    if (sb == NULL)
        return -1;
    return r->kind == OP_LEASE ? lease_take(r, sb, e) : lease_give(r, sb, e);
}
