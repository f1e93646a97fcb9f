/*
 * lists: many rows at once, in pages or streamed.
 *
 * A cursor is `<created_ms>-<id>` of the last row of a page; the order is
 * (created_ms, id), on the base route newest first. Rows go out as they are
 * read, so that a list of any length takes one buffer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/render.h"
#include "router.h"

#define LIST_LIMIT     100
#define LIST_LIMIT_MAX 1000
#define LIST_FLUSH     49152
#define LIST_BINDS     80

static const char *const list_names[] = {
    "limit", "after", "label.", "state", "deleted", "external_user_id",
    "external_project_id", NULL
};
static const char *const audit_names[] = {
    "limit", "after", "sandbox", NULL
};

struct list {
    struct buf  sql;
    const char *texts[LIST_BINDS];      /* borrowed; NULL: number */
    int64_t     numbers[LIST_BINDS];
    int         n;
    int64_t     limit;                  /* -1: all */
    bool        deleted;
    char        paths[REQUEST_ITEMS_MAX][80];   /* JSON paths of labels */
};

static void list_text(struct list *l, const char *sql, const char *text)
{
    buf_str(&l->sql, sql);
    l->texts[l->n++] = text;
}

static void list_number(struct list *l, const char *sql, int64_t number)
{
    buf_str(&l->sql, sql);
    l->texts[l->n] = NULL;
    l->numbers[l->n++] = number;
}

/* ---- filters ----------------------------------------------------------- */

/* Which rungs read as `state`: asked of row_state itself. */
static int list_state(struct list *l, const char *state, struct err *e)
{
    struct row  row;
    const char *before = " AND (0";
    int         rung, started;

    memset(&row, 0, sizeof(row));
    buf_str(&l->sql, before);
    before = NULL;
    for (rung = 0; rung < RUNG_COUNT; rung++) {
        for (started = 0; started < 2; started++) {
            row.rung = (enum rung) rung;
            row.started_ms = started;
            if (rung_is_gone(row.rung) || strcmp(row_state(&row), state) != 0)
                continue;
            buf_printf(&l->sql, " OR (rung=%d AND ifnull(started_ms,0)%s)",
                rung, started ? "<>0" : "=0");
            before = state;
        }
    }
    buf_str(&l->sql, ")");
    if (before == NULL)
        return err_field(e, "invalid_field", "state", "query parameter state "
            "must be creating, running, frozen, stopped, archived or error");
    return 0;
}

static int list_label(struct list *l, int i, const char *name,
    const char *value, struct err *e)
{
    if (name[0] == '\0' || strlen(name) > 63
        || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
            "0123456789-_./") != strlen(name))
        return err_field(e, "invalid_field", "label", "the name of a label "
            "is 1 to 63 of letters, digits and \"-_./\"");
    snprintf(l->paths[i], sizeof(l->paths[i]), "$.\"%s\"", name);
    list_text(l, " AND json_extract(labels,?)", l->paths[i]);
    list_text(l, "=?", value);
    return 0;
}

static int list_cursor(struct list *l, const char *after, bool v1,
    struct err *e)
{
    const char *dash = strchr(after, '-');
    int64_t     ms;
    char        id[ID_MAX + 1];

    if (dash == NULL
        || ids_number(after, (size_t) (dash - after), 0, INT64_MAX, &ms) == -1
        || ids_fold(dash + 1, strlen(dash + 1), id) == -1)
        return err_field(e, "invalid_field", "after",
            "query parameter after is not a cursor of a list");
    list_number(l, v1 ? " AND (created_ms,id)>(?" : " AND (created_ms,id)<(?",
        ms);
    list_text(l, ",?)", dash + 1);
    return 0;
}

/* A token for some sandboxes sees those only. `ids` is a+b+c. */
static int list_ids(struct list *l, struct request *r, struct err *e)
{
    const char *p = r->ids;
    size_t      n;

    if (r->scope != SCOPE_IDS)
        return 0;
    buf_str(&l->sql, " AND id IN (''");
    for (; *p != '\0'; p += n + (p[n] == '+')) {
        n = strcspn(p, "+");
        if (n > ID_MAX || strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789")
            != n)
            return err_set(e, "internal", "the scope of the token is bad");
        buf_str(&l->sql, ",'");
        buf_add(&l->sql, p, n);
        buf_str(&l->sql, "'");
    }
    buf_str(&l->sql, ")");
    return 0;
}

static int list_filters(struct list *l, struct request *r, struct err *e)
{
    const char *name, *value;
    int         i;

    for (i = 0; i < r->query.n; i++) {
        name = r->query.items[i].name;
        value = r->query.items[i].value;
        if (l->n > LIST_BINDS - 6)
            return err_set(e, "bad_request", "too many filters");
        if (strcmp(name, "external_user_id") == 0)
            list_text(l, " AND ext_user=?", value);
        else if (strcmp(name, "external_project_id") == 0)
            list_text(l, " AND ext_project=?", value);
        else if (strncmp(name, "label.", 6) == 0) {
            if (list_label(l, i, name + 6, value, e) == -1)
                return -1;
        } else if (strcmp(name, "state") == 0) {
            if (list_state(l, value, e) == -1)
                return -1;
        } else if (strcmp(name, "after") == 0) {
            if (list_cursor(l, value, r->v1, e) == -1)
                return -1;
        }
    }
    return list_ids(l, r, e);
}

static int list_sql(struct list *l, struct request *r, struct err *e)
{
    list_text(l, "SELECT " ROW_COLUMNS " FROM sandboxes WHERE tenant=?",
        r->tenant);
    if (l->deleted)
        buf_printf(&l->sql, " AND rung=%d", RUNG_DELETED);
    else
        buf_printf(&l->sql, " AND rung<%d", RUNG_DELETING);
    if (list_filters(l, r, e) == -1)
        return -1;
    buf_str(&l->sql, r->v1 ? " ORDER BY created_ms,id"
        : " ORDER BY created_ms DESC,id DESC");
    /* One more than asked for says whether there is another page. */
    if (l->limit >= 0)
        list_number(l, " LIMIT ?", l->limit + 1);
    if (l->sql.failed)
        return err_set(e, "bad_request", "too many filters");
    return 0;
}

static void list_bind(const struct list *l, sqlite3_stmt *s)
{
    int i;

    for (i = 0; i < l->n; i++) {
        if (l->texts[i] != NULL)
            sqlite3_bind_text(s, i + 1, l->texts[i], -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(s, i + 1, l->numbers[i]);
    }
}

/* ---- rows -------------------------------------------------------------- */

/* Without a limit the head leaves before the last row is read; with one, the
 * rows are few and the cursor may go into the head. */
static int list_rows(struct api *a, struct request *r, struct list *l,
    sqlite3_stmt *s, char *cursor, size_t cursor_max, struct err *e)
{
    struct row  row;
    const char *before = "";
    int64_t     n = 0;
    int         rc;

    cursor[0] = '\0';
    while ((rc = reader_step(&a->reader, s, e)) == 1) {
        if (n == l->limit)
            return 0;
        if (row_borrow(&row, s) == -1)
            continue;           /* damaged: the others are still there */
        buf_str(&r->out, before);
        before = ",";
        if (r->v1)
            render_v1(&r->out, &row, a->s);
        else
            render_base(&r->out, &row, a->s);
        if (++n == l->limit)
            snprintf(cursor, cursor_max, "%" PRId64 "-%s", row.created_ms,
                row.id);
        if (l->limit < 0 && r->out.len > LIST_FLUSH
            && answer_flush(r, false) == -1)
            return err_set(e, "internal", "the caller went away");
    }
    cursor[0] = '\0';           /* there was no row behind the last one */
    return rc;
}

static int list_answer(struct api *a, struct request *r, struct list *l,
    struct err *e)
{
    sqlite3_stmt *s;
    char          cursor[80];
    int           rc;

    if (reader_take(&a->reader, l->sql.data, &s, e) == -1)
        return -1;
    list_bind(l, s);
    answer_json(r, 200);
    buf_str(&r->out, r->v1 ? "{\"sandboxes\":[" : "[");
    rc = list_rows(a, r, l, s, cursor, sizeof(cursor), e);
    reader_done(&a->reader, s);
    if (rc == -1)
        return -1;
    if (!r->v1) {
        buf_str(&r->out, "]");
        if (cursor[0] != '\0')
            answer_header(r, "X-After", cursor);
    } else if (cursor[0] != '\0') {
        buf_printf(&r->out, "],\"after\":\"%s\"}", cursor);
    } else {
        buf_str(&r->out, "],\"after\":null}");
    }
    return 0;
}

int api_list(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    static struct list l;
    int                rc;

    (void) route;
    memset(&l, 0, sizeof(l));
    if (r->v1 && query_only(&r->query, list_names, e) == -1)
        return -1;
    if (query_number(&r->query, "limit", 1, LIST_LIMIT_MAX,
            r->v1 ? LIST_LIMIT : -1, &l.limit, e) == -1
        || query_flag(&r->query, "deleted", &l.deleted, e) == -1)
        return -1;
    buf_init(&l.sql, 65536);
    rc = list_sql(&l, r, e);
    if (rc == 0)
        rc = list_answer(a, r, &l, e);
    buf_fini(&l.sql);
    return rc;
}

/* ---- audit ------------------------------------------------------------- */

#define AUDIT_SQL "SELECT number,at_ms,actor,action,sandbox,remote," \
    "request_id,result FROM audit WHERE tenant=? AND number>?" \
    " AND (?3 IS NULL OR sandbox=?3) ORDER BY number LIMIT ?"

static void audit_row(struct buf *b, sqlite3_stmt *s)
{
    static const char *const names[] = {
        ",\"actor\":", ",\"action\":", ",\"sandbox\":", ",\"remote\":",
        ",\"request_id\":", ",\"result\":"
    };
    const char *text;
    int         i;

    buf_str(b, "{\"id\":");
    render_number(b, sqlite3_column_int64(s, 0));
    buf_str(b, ",\"at\":");
    render_time(b, sqlite3_column_int64(s, 1));
    for (i = 0; i < 6; i++) {
        text = (const char *) sqlite3_column_text(s, i + 2);
        if (text == NULL)
            continue;
        buf_str(b, names[i]);
        render_string(b, text, strlen(text));
    }
    buf_str(b, "}");
}

int api_audit(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    sqlite3_stmt *s;
    const char   *sandbox = query_get(&r->query, "sandbox");
    char          id[ID_MAX + 1];
    int64_t       limit, after, n = 0, last = 0;
    int           rc;

    (void) route;
    if (query_only(&r->query, audit_names, e) == -1
        || query_number(&r->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT,
            &limit, e) == -1
        || query_number(&r->query, "after", 0, INT64_MAX, 0, &after, e)
            == -1)
        return -1;
    if (sandbox != NULL && ids_fold(sandbox, strlen(sandbox), id) == -1)
        return err_field(e, "invalid_field", "sandbox",
            "query parameter sandbox must be the id of a sandbox");
    if (reader_take(&a->reader, AUDIT_SQL, &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, after);
    if (sandbox != NULL)
        sqlite3_bind_text(s, 3, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, limit + 1);
    answer_json(r, 200);
    buf_str(&r->out, "{\"entries\":[");
    while ((rc = reader_step(&a->reader, s, e)) == 1 && n < limit) {
        buf_str(&r->out, n++ > 0 ? "," : "");
        audit_row(&r->out, s);
        last = sqlite3_column_int64(s, 0);
    }
    reader_done(&a->reader, s);
    if (rc == 1)
        buf_printf(&r->out, "],\"after\":\"%" PRId64 "\"}", last);
    else
        buf_str(&r->out, "],\"after\":null}");
    return rc == -1 ? -1 : 0;
}
