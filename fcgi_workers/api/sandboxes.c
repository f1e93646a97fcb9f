/*
 * sandboxes: the routes about one sandbox. Reads come from SQLite, changes go
 * to the keeper; nothing is decided here about what a sandbox may do next.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/render.h"
#include "body.h"
#include "operations.h"

#define PATCH_TRIES 5

static const char *const create_query[] = { "wait", NULL };
static const char *const delete_query[] = { "keep_workspace", NULL };

/* ---- create ------------------------------------------------------------ */

static int create_wait(const struct request *r, struct err *e)
{
    const char *wait;

    if (!r->v1)
        return 0;
    if (query_only(&r->query, create_query, e) == -1)
        return -1;
    wait = query_get(&r->query, "wait");
    if (wait == NULL)
        return 0;
    if (strcmp(wait, "setup") != 0 && strcmp(wait, "services") != 0)
        return err_field(e, "invalid_field", "wait",
            "query parameter wait must be setup or services");
    return err_field(e, "not_implemented", "wait",
        "waiting for setup or services is not there yet");
}

int api_create(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = "create", .idem = true };
    struct json_object *args, *id;
    int                 rc;

    (void) route;
    if (create_wait(r, e) == -1
        || body_create(r->body.data, r->body.len,
            r->v1 ? BODY_V1 : BODY_BASE, a->s, &args, e) == -1)
        return -1;
    if (json_object_object_get_ex(args, "id", &id))
        o.sandbox = json_object_get_string(id);
    o.args = args;
    rc = operations_run(a, r, &o, e);
    json_object_put(args);
    return rc;
}

int api_by_key(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = "create" };
    struct json_object *args, *given;
    int                 rc;

    (void) route;
    if (!ids_key_ok(r->name, strlen(r->name)))
        return err_field(e, "bad_request", "key",
            "a key is 1 to %d bytes of text", KEY_MAX);
    if (create_wait(r, e) == -1
        || body_create(r->body.data, r->body.len, BODY_V1, a->s, &args, e)
            == -1)
        return -1;
    if (json_object_object_get_ex(args, "key", &given)
        && strcmp(json_object_get_string(given), r->name) != 0)
        rc = err_field(e, "invalid_field", "key",
            "key in the body is not the key in the path");
    else if (json_object_object_get_ex(args, "project", &given))
        rc = err_field(e, "invalid_field", "project",
            "project cannot be given together with a key");
    else {
        json_object_object_add(args, "key", json_object_new_string(r->name));
        json_object_object_add(args, "by_key", json_object_new_boolean(1));
        if (json_object_object_get_ex(args, "id", &given))
            o.sandbox = json_object_get_string(given);
        o.args = args;
        rc = operations_run(a, r, &o, e);
    }
    json_object_put(args);
    return rc;
}

/* ---- get --------------------------------------------------------------- */

#define GET_SQL "SELECT " ROW_COLUMNS " FROM sandboxes WHERE id=? AND tenant=?"

static int get_missing(const struct request *r, const struct row *row,
    struct err *e)
{
    err_set(e, "not_found", "there is no sandbox %s", r->id);
    if (row != NULL && row->rung == RUNG_DELETED)
        snprintf(e->hint, sizeof(e->hint), "its workspace is kept: create it "
            "again with the same id");
    return -1;
}

/* The row of r->id; the caller gives *s back, also after -1. */
static int get_row(struct api *a, struct request *r, struct row *row,
    sqlite3_stmt **s, struct err *e)
{
    int rc;

    *s = NULL;
    if (reader_take(&a->reader, GET_SQL, s, e) == -1)
        return -1;
    sqlite3_bind_text(*s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(*s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, *s, e);
    if (rc == -1)
        return -1;
    if (rc == 0)
        return get_missing(r, NULL, e);
    if (row_borrow(row, *s) == -1)
        return err_set(e, "internal", "the row of %s is damaged", r->id);
    if (rung_is_gone(row->rung))
        return get_missing(r, row, e);
    return 0;
}

int api_get(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    sqlite3_stmt *s;
    struct row    row;
    char          tag[32];
    int           rc;

    (void) route;
    rc = get_row(a, r, &row, &s, e);
    if (rc == 0) {
        answer_json(r, 200);
        if (r->v1) {
            snprintf(tag, sizeof(tag), "\"%" PRId64 "\"", row.version);
            answer_header(r, "ETag", tag);
            render_v1(&r->out, &row, a->s);
        } else {
            render_live(&r->out, &row, a->s);
        }
    }
    reader_done(&a->reader, s);
    return rc;
}

/* ---- patch ------------------------------------------------------------- */

/* `"7"`; `*` is any version. *out 0: no condition. */
static int patch_condition(const struct request *r, int64_t *out,
    struct err *e)
{
    const char *tag = r->if_match;
    size_t      len;

    *out = 0;
    if (tag == NULL || strcmp(tag, "*") == 0)
        return 0;
    len = strlen(tag);
    if (len < 3 || tag[0] != '"' || tag[len - 1] != '"'
        || ids_number(tag + 1, len - 2, 1, INT64_MAX, out) == -1)
        return err_field(e, "precondition_failed", "If-Match",
            "If-Match is not an ETag that was given out");
    return 0;
}

/* Labels are merged with those that are there, for the version that was
 * read: a change in between makes the keeper refuse, and we read again. */
static int patch_labels(struct api *a, struct request *r,
    struct json_object *args, struct json_object *patch, struct err *e)
{
    struct json_object *all = NULL;
    sqlite3_stmt       *s;
    struct row          row;
    int                 rc;

    rc = get_row(a, r, &row, &s, e);
    if (rc == 0) {
        all = json_tokener_parse(row.labels);
        if (!json_object_is_type(all, json_type_object)) {
            json_object_put(all);
            all = json_object_new_object();
        }
        json_object_object_foreach(patch, name, v) {
            if (v == NULL)
                json_object_object_del(all, name);
            else
                json_object_object_add(all, name, json_object_get(v));
        }
        json_object_object_add(args, "labels", all);
        if (json_object_object_get(args, "if_match") == NULL)
            json_object_object_add(args, "if_match",
                json_object_new_int64(row.version));
        if (json_object_object_length(all) > 64)
            rc = err_field(e, "invalid_field", "labels",
                "labels must have at most 64 labels");
    }
    reader_done(&a->reader, s);
    return rc;
}

static int patch_once(struct api *a, struct request *r,
    struct json_object *args, int64_t condition, struct err *e)
{
    struct operation    o = { .kind = "patch", .sandbox = r->id };
    struct json_object *labels, *send;
    int                 rc = 0;

    send = json_object_new_object();
    json_object_object_foreach(args, name, v) {
        json_object_object_add(send, name, json_object_get(v));
    }
    if (condition != 0)
        json_object_object_add(send, "if_match",
            json_object_new_int64(condition));
    if (json_object_object_get_ex(args, "labels", &labels))
        rc = patch_labels(a, r, send, labels, e);
    o.args = send;
    if (rc == 0)
        rc = operations_run(a, r, &o, e);
    json_object_put(send);
    return rc;
}

int api_patch(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *args;
    int64_t             condition;
    int                 i, rc = -1;

    (void) route;
    if (body_patch(r->body.data, r->body.len, a->s, &args, e) == -1)
        return -1;
    if (patch_condition(r, &condition, e) == 0) {
        for (i = 0; i < PATCH_TRIES; i++) {
            rc = patch_once(a, r, args, condition, e);
            if (rc == 0 || condition != 0 || e->code == NULL
                || strcmp(e->code, "precondition_failed") != 0)
                break;
        }
    }
    json_object_put(args);
    return rc;
}

/* ---- the rest ---------------------------------------------------------- */

int api_env(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = route->detail, .sandbox = r->id };
    struct json_object *args;
    int                 rc;

    if (body_env(r->body.data, r->body.len, a->s, &args, e) == -1)
        return -1;
    o.args = args;
    rc = operations_run(a, r, &o, e);
    json_object_put(args);
    return rc;
}

int api_keepalive(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = route->detail, .sandbox = r->id };
    struct json_object *args;
    int                 rc;

    if (body_keepalive(r->body.data, r->body.len, &args, e) == -1)
        return -1;
    o.args = args;
    rc = operations_run(a, r, &o, e);
    json_object_put(args);
    return rc;
}

int api_op(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation o = { .kind = route->detail, .sandbox = r->id };

    return operations_run(a, r, &o, e);
}

/* A purge of what is not there is well for the keeper, as the base route has
 * it; here it is 404, like anything else about another tenant's sandbox. */
static int delete_known(struct api *a, struct request *r, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, "SELECT 1 FROM sandboxes WHERE id=? AND "
            "tenant=?", &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, s, e);
    if (rc == 0)
        rc = get_missing(r, NULL, e);
    reader_done(&a->reader, s);
    return rc == -1 ? -1 : 0;
}

int api_delete_v1(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation o = { .kind = route->detail, .sandbox = r->id };
    bool             keep;

    if (query_only(&r->query, delete_query, e) == -1
        || query_flag(&r->query, "keep_workspace", &keep, e) == -1
        || delete_known(a, r, e) == -1)
        return -1;
    if (keep)
        o.kind = "delete";
    return operations_run(a, r, &o, e);
}

int api_purge_external(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = "purge_external" };
    struct json_object *args;
    int                 rc;

    if (!ids_key_ok(r->name, strlen(r->name)))
        return err_field(e, "bad_request", route->detail,
            "an external id is 1 to %d bytes of text", KEY_MAX);
    args = json_object_new_object();
    json_object_object_add(args, route->detail,
        json_object_new_string(r->name));
    o.args = args;
    rc = operations_run(a, r, &o, e);
    json_object_put(args);
    return rc;
}
