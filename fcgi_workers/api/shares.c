/*
 * shares: the routes of shares and tickets. The keeper signs; a list is read
 * from SQLite, where no ticket is: a link is told once.
 */
#include <string.h>

#include "../common/clock.h"
#include "../common/render.h"
#include "body.h"
#include "operations.h"

#define SHARES_SQL "SELECT s.id,s.port,s.label,s.max_uses,s.uses,s.actor," \
    "s.made_ms,s.expires_ms FROM sandboxes b JOIN shares s" \
    " ON s.sandbox=b.id WHERE b.id=? AND b.tenant=? AND s.expires_ms>?" \
    " ORDER BY s.id"

static const char *const no_query[] = { NULL };

static int share_run(struct api *a, struct request *r,
    const struct route *route, struct json_object *args, struct err *e)
{
    struct operation o = { .kind = route->detail, .sandbox = r->id,
        .args = args, .idem = (route->flags & ROUTE_IDEM) != 0 };
    int              rc = operations_run(a, r, &o, e);

    json_object_put(args);
    return rc;
}

int api_share(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *args;

    if (body_share(r->body.data, r->body.len, a->s, &args, e) == -1)
        return -1;
    return share_run(a, r, route, args, e);
}

int api_ticket(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *args;

    if (body_ticket(r->body.data, r->body.len, &args, e) == -1)
        return -1;
    return share_run(a, r, route, args, e);
}

int api_unshare(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *args = json_object_new_object();

    json_object_object_add(args, "share", json_object_new_string(r->name));
    return share_run(a, r, route, args, e);
}

/* ---- GET --------------------------------------------------------------- */

static void share_text(struct buf *b, const char *name, const char *text)
{
    if (text == NULL)
        return;
    buf_str(b, name);
    render_string(b, text, strlen(text));
}

static void share_row(struct request *r, sqlite3_stmt *s)
{
    struct buf *b = &r->out;

    share_text(b, "{\"id\":", (const char *) sqlite3_column_text(s, 0));
    share_text(b, ",\"sandbox_id\":", r->id);
    if (sqlite3_column_type(s, 1) != SQLITE_NULL)
        buf_printf(b, ",\"port\":%d", sqlite3_column_int(s, 1));
    share_text(b, ",\"label\":", (const char *) sqlite3_column_text(s, 2));
    if (sqlite3_column_int64(s, 3) != 0) {
        buf_str(b, ",\"max_uses\":");
        render_number(b, sqlite3_column_int64(s, 3));
    }
    buf_str(b, ",\"uses\":");
    render_number(b, sqlite3_column_int64(s, 4));
    share_text(b, ",\"created_by\":",
        (const char *) sqlite3_column_text(s, 5));
    buf_str(b, ",\"created_at\":");
    render_time(b, sqlite3_column_int64(s, 6));
    buf_str(b, ",\"expires_at\":");
    render_time(b, sqlite3_column_int64(s, 7));
    buf_str(b, "}");
}

static int shares_known(struct api *a, struct request *r, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, "SELECT rung FROM sandboxes WHERE id=? AND "
            "tenant=?", &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, s, e);
    if (rc == 0 || (rc == 1
            && rung_is_gone((enum rung) sqlite3_column_int(s, 0))))
        rc = err_set(e, "not_found", "there is no sandbox %s", r->id);
    reader_done(&a->reader, s);
    return rc == -1 ? -1 : 0;
}

int api_shares(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    sqlite3_stmt *s;
    int           rc, n = 0;

    (void) route;
    if (query_only(&r->query, no_query, e) == -1
        || shares_known(a, r, e) == -1
        || reader_take(&a->reader, SHARES_SQL, &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, clock_wall_ms());
    answer_json(r, 200);
    buf_str(&r->out, "{\"shares\":[");
    while ((rc = reader_step(&a->reader, s, e)) == 1) {
        buf_str(&r->out, n++ > 0 ? "," : "");
        share_row(r, s);
    }
    buf_str(&r->out, "]}");
    reader_done(&a->reader, s);
    return rc == -1 ? -1 : 0;
}
