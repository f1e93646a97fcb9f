/*
 * operations: see operations.h.
 *
 * What the keeper can answer at once is written at once. What takes time gets
 * a number, and the gate holds the caller until the operation has ended; then
 * operations_answer is asked for the same request with HOLDFAST_OP.
 */
#include "operations.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/crypt.h"
#include "../common/msg.h"
#include "../common/render.h"

/* ---- asking ------------------------------------------------------------ */

static void ask_text(struct buf *b, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_str(b, name);
    render_string(b, value, strlen(value));
}

/* The key belongs to the route as it is in the table, not to the path's
 * spelling. */
static void ask_idem(struct buf *b, const struct request *r)
{
    char idem[REQUEST_IDEM_MAX + 128], hash[65];

    if (r->id[0] != '\0')       /* what belongs to a sandbox */
        snprintf(idem, sizeof(idem), "%s /v1/sandboxes/%s/%.16s %s",
            r->method, r->id, r->path.segments[r->path.n - 1], r->idem_key);
    else
        snprintf(idem, sizeof(idem), "%s %s %s", r->method,
            r->v1 ? "/v1/sandboxes" : "/sandbox", r->idem_key);
    crypt_sha256_hex(r->body.data != NULL ? r->body.data : "", r->body.len,
        hash);
    ask_text(b, ",\"idem\":", idem);
    ask_text(b, ",\"idem_hash\":", hash);
}

static void ask_render(struct buf *b, const struct request *r,
    const struct operation *o)
{
    ask_text(b, "{\"kind\":", o->kind);
    ask_text(b, ",\"tenant\":", r->tenant != NULL ? r->tenant : "default");
    ask_text(b, ",\"actor\":", r->actor != NULL ? r->actor : "-");
    ask_text(b, ",\"request_id\":", r->request_id);
    ask_text(b, ",\"remote\":", r->remote != NULL ? r->remote : "-");
    ask_text(b, ",\"sandbox\":", o->sandbox);
    if (o->idem && r->idem_key != NULL)
        ask_idem(b, r);
    ask_text(b, ",\"shape\":", r->v1 ? "v1" : "base");
    buf_str(b, ",\"args\":");
    buf_str(b, o->args == NULL ? "{}" : json_object_to_json_string_ext(
        o->args, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    buf_str(b, "}");
}

int operations_ask(struct api *a, struct request *r,
    const struct operation *o, struct json_object **reply, struct err *e)
{
    struct buf b;
    int        rc;

    buf_init(&b, OPS_REPLY_MAX + (size_t) a->s->body_max_kb * 1024 * 6);
    ask_render(&b, r, o);
    if (b.failed)
        rc = err_set(e, "unavailable", "out of memory");
    else
        rc = ops_client_ask(&a->ops, b.data, b.len, reply, e);
    buf_fini(&b);
    if (rc == -1 && a->counters != NULL)
        atomic_fetch_add(&a->counters->keeper_away, 1);
    return rc;
}

/* ---- replies ----------------------------------------------------------- */

static const char *reply_text(struct json_object *o, const char *name)
{
    struct json_object *v = json_object_object_get(o, name);

    return json_object_is_type(v, json_type_string)
        ? json_object_get_string(v) : NULL;
}

static int64_t reply_int(struct json_object *o, const char *name)
{
    struct json_object *v = json_object_object_get(o, name);

    return json_object_is_type(v, json_type_int)
        ? json_object_get_int64(v) : 0;
}

static int reply_error(struct json_object *error, struct err *e)
{
    const char *code = reply_text(error, "code");
    const char *message = reply_text(error, "message");
    const char *field = reply_text(error, "field");
    const char *hint = reply_text(error, "hint");
    int64_t     seconds = reply_int(error, "retry_after");

    err_field(e, code != NULL ? code : "internal", field != NULL ? field : "",
        "%s", message != NULL ? message : "the keeper gave no reason");
    if (hint != NULL)
        snprintf(e->hint, sizeof(e->hint), "%s", hint);
    e->retry_after_s = seconds > 0 && seconds <= 86400 ? (int) seconds : 0;
    return -1;
}

static void reply_pending(struct request *r, int64_t op, const char *sandbox)
{
    char place[64];

    snprintf(place, sizeof(place), "/v1/operations/%" PRId64, op);
    answer_header(r, "Location", place);
    answer_json(r, 202);
    buf_printf(&r->out, "{\"operation\":%" PRId64, op);
    if (sandbox != NULL && sandbox[0] != '\0') {
        buf_str(&r->out, ",\"id\":");
        render_string(&r->out, sandbox, strlen(sandbox));
        buf_str(&r->out, ",\"sandbox\":");
        render_string(&r->out, sandbox, strlen(sandbox));
    }
    buf_printf(&r->out, ",\"location\":\"%s\"}", place);
}

static void reply_headers(struct request *r, struct json_object *reply)
{
    struct json_object *headers = json_object_object_get(reply, "headers");

    if (!json_object_is_type(headers, json_type_object))
        return;
    json_object_object_foreach(headers, name, v) {
        if (json_object_is_type(v, json_type_string)
            && strpbrk(name, ":\r\n ") == NULL)
            answer_header(r, name, json_object_get_string(v));
    }
}

/* Where a new sandbox is, and which version of it was seen. */
static void reply_row_headers(struct request *r, int status,
    struct json_object *row)
{
    char        text[96];
    const char *id = reply_text(row, "id");

    if (status == 201 && id != NULL && r->id[0] == '\0') {
        snprintf(text, sizeof(text), "%s/%s",
            r->v1 ? "/v1/sandboxes" : "/sandbox", id);
        answer_header(r, "Location", text);
    }
    if (r->v1 && reply_int(row, "version") > 0) {
        snprintf(text, sizeof(text), "\"%" PRId64 "\"",
            reply_int(row, "version"));
        answer_header(r, "ETag", text);
    }
}

/* DELETE on /v1 purges and answers without a body. */
static bool reply_is_delete(const struct request *r,
    struct json_object *answer)
{
    return r->v1 && r->path.n == 3
        && strcmp(r->path.segments[1], "sandboxes") == 0
        && json_object_object_get(answer, "purged") != NULL;
}

static int reply_answer(struct request *r, struct json_object *reply,
    struct err *e)
{
    struct json_object *answer = json_object_object_get(reply, "answer");
    int64_t             status = reply_int(reply, "status");

    if (status < 200 || status > 599)
        return err_set(e, "internal", "the keeper's reply is not understood");
    reply_headers(r, reply);
    if (status >= 400 && json_object_is_type(answer, json_type_object))
        return reply_error(answer, e);
    if (answer == NULL || reply_is_delete(r, answer)) {
        r->status = answer == NULL ? (int) status : 204;
        return 0;
    }
    reply_row_headers(r, (int) status, answer);
    answer_json(r, (int) status);
    buf_str(&r->out, json_object_to_json_string_ext(answer,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    return 0;
}

/* Which sandbox an operation is about: its row was there before its number
 * was told. A question has none. */
static void operation_sandbox(struct api *a, int64_t op, char *id)
{
    sqlite3_stmt *s;
    const char   *text;

    id[0] = '\0';
    if (reader_take(&a->reader, "SELECT sandbox FROM ops WHERE number=?", &s,
            NULL) == -1)
        return;
    sqlite3_bind_int64(s, 1, op);
    if (reader_step(&a->reader, s, NULL) == 1) {
        text = (const char *) sqlite3_column_text(s, 0);
        if (text != NULL)
            snprintf(id, ID_MAX + 1, "%s", text);
    }
    reader_done(&a->reader, s);
}

int operations_reply(struct api *a, struct request *r,
    struct json_object *reply, struct err *e)
{
    struct json_object *error = json_object_object_get(reply, "error");
    int64_t             op = reply_int(reply, "op");
    char                text[ID_MAX + 1];

    if (json_object_get_boolean(json_object_object_get(reply, "replayed")))
        answer_header(r, "Idempotency-Replayed", "true");
    if (json_object_is_type(error, json_type_object))
        return reply_error(error, e);
    if (json_object_get_boolean(json_object_object_get(reply, "pending"))) {
        reply_pending(r, r->op, reply_text(reply, "sandbox"));
        return 0;
    }
    if (op <= 0)
        return reply_answer(r, reply, e);
    if (r->respond_async && op < MSG_ROWLESS) {
        operation_sandbox(a, op, text);
        answer_header(r, "Preference-Applied", "respond-async");
        reply_pending(r, op, text);
        return 0;
    }
    snprintf(text, sizeof(text), "/_op/%" PRId64, op);
    answer_header(r, "X-Accel-Redirect", text);
    r->redirected = true;
    r->status = 200;
    return 0;
}

int operations_run(struct api *a, struct request *r,
    const struct operation *o, struct err *e)
{
    struct json_object *reply = NULL;
    int                 rc;

    if (operations_ask(a, r, o, &reply, e) == -1)
        return -1;
    rc = operations_reply(a, r, reply, e);
    json_object_put(reply);
    return rc;
}

int operations_answer(struct api *a, struct request *r, struct err *e)
{
    struct json_object *reply = NULL;
    struct buf          b;
    int                 rc;

    buf_init(&b, 4096);
    buf_printf(&b, "{\"kind\":\"answer\",\"op\":%" PRId64, r->op);
    ask_text(&b, ",\"tenant\":", r->tenant);
    buf_str(&b, "}");
    rc = b.failed ? err_set(e, "unavailable", "out of memory")
        : ops_client_ask(&a->ops, b.data, b.len, &reply, e);
    buf_fini(&b);
    if (rc == -1)
        return -1;
    rc = operations_reply(a, r, reply, e);
    json_object_put(reply);
    if (r->id[0] == '\0')
        operation_sandbox(a, r->op, r->id);
    return rc;
}

/* ---- GET /v1/operations/{number} --------------------------------------- */

#define OPERATION_SQL "SELECT kind,sandbox,state,http_status,answer," \
    "created_ms,ended_ms FROM ops WHERE number=? AND tenant=?"
#define OPERATION_ENDED 2

/* What ended well has its answer beside it; what did not, an error as the
 * caller would have got it. */
static void operation_render(struct request *r, int64_t number,
    sqlite3_stmt *s)
{
    const char *sandbox = (const char *) sqlite3_column_text(s, 1);
    const char *answer = (const char *) sqlite3_column_text(s, 4);
    int         status = sqlite3_column_int(s, 3);
    bool        ended = sqlite3_column_int(s, 2) >= OPERATION_ENDED;

    buf_printf(&r->out, "{\"id\":%" PRId64, number);
    ask_text(&r->out, ",\"kind\":",
        (const char *) sqlite3_column_text(s, 0));
    ask_text(&r->out, ",\"sandbox\":", sandbox);
    ask_text(&r->out, ",\"status\":", !ended ? "running"
        : status < 400 ? "succeeded" : "failed");
    buf_str(&r->out, ",\"created_at\":");
    render_time(&r->out, sqlite3_column_int64(s, 5));
    if (ended) {
        buf_str(&r->out, ",\"ended_at\":");
        render_time(&r->out, sqlite3_column_int64(s, 6));
        buf_printf(&r->out, ",\"http_status\":%d", status);
        if (answer != NULL && answer[0] == '{') {
            buf_str(&r->out, status < 400 ? ",\"answer\":" : ",\"error\":");
            buf_str(&r->out, answer);
        }
    }
    buf_str(&r->out, "}");
}

int api_operation(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    sqlite3_stmt *s;
    const char   *sandbox;
    int64_t       number;
    int           rc;

    (void) route;
    if (ids_number(r->name, strlen(r->name), 1, INT64_MAX, &number) == -1)
        return err_set(e, "bad_request",
            "the number of an operation is a whole number");
    if (reader_take(&a->reader, OPERATION_SQL, &s, e) == -1)
        return -1;
    sqlite3_bind_int64(s, 1, number);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, s, e);
    if (rc == 1) {
        sandbox = (const char *) sqlite3_column_text(s, 1);
        if (!request_may(r, sandbox != NULL ? sandbox : ""))
            rc = 0;
    }
    if (rc == 1) {
        answer_json(r, 200);
        if (sqlite3_column_int(s, 2) < OPERATION_ENDED) {
            answer_json(r, 202);
            answer_header(r, "Retry-After", "1");
        }
        operation_render(r, number, s);
    } else if (rc == 0) {
        rc = err_set(e, "not_found", "there is no operation %" PRId64,
            number);
    }
    reader_done(&a->reader, s);
    return rc == -1 ? -1 : 0;
}
