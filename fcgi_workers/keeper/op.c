/*
 * op: see op.h.
 *
 * Owns the table of kinds and what each one answers. Does not know who waits.
 */
#include "op.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/buf.h"
#include "../common/clock.h"
#include "../common/log.h"
#include "../common/render.h"
#include "store.h"

#define ANSWER_MAX (1024 * 1024)

/* `answers`: what the body is when it went well. */
enum op_body { BODY_NONE, BODY_ROW, BODY_WAKE, BODY_PURGE, BODY_SET };

static const struct op_kind_row {
    const char  *name;
    int          status;
    enum op_body body;
    bool         audited;
} op_kinds[OP_KIND_COUNT] = {
    [OP_CREATE]         = { "create", 201, BODY_ROW, true },
    [OP_WAKE]           = { "wake", 200, BODY_WAKE, true },
    [OP_START]          = { "start", 200, BODY_ROW, true },
    [OP_STOP]           = { "stop", 200, BODY_ROW, true },
    [OP_FREEZE]         = { "freeze", 200, BODY_ROW, true },
    [OP_ARCHIVE]        = { "archive", 200, BODY_ROW, true },
    [OP_RESTART]        = { "restart", 200, BODY_ROW, true },
    [OP_DELETE]         = { "delete", 204, BODY_NONE, true },
    [OP_PURGE]          = { "purge", 200, BODY_PURGE, true },
    [OP_PURGE_EXTERNAL] = { "purge_external", 200, BODY_SET, true },
    [OP_KEEPALIVE]      = { "keepalive", 200, BODY_SET, true },
    [OP_PATCH]          = { "patch", 200, BODY_ROW, true },
    [OP_ENV]            = { "env", 204, BODY_NONE, true },
    [OP_PORTS]          = { "ports", 200, BODY_SET, false },
    [OP_METRICS]        = { "metrics", 200, BODY_SET, false },
    [OP_STATUS]         = { "status", 200, BODY_SET, false },
    [OP_LEASE]          = { "lease", 201, BODY_SET, true },
    [OP_UNLEASE]        = { "unlease", 204, BODY_NONE, true },
    [OP_LEASES]         = { "leases", 200, BODY_SET, false },
    [OP_IDLE]           = { "idle", 200, BODY_SET, false },
    [OP_READY]          = { "ready", 200, BODY_SET, false },
    [OP_ANSWER]         = { "answer", 200, BODY_SET, false },
    [OP_SHARE]          = { "share", 201, BODY_SET, true },
    [OP_UNSHARE]        = { "unshare", 204, BODY_NONE, true },
    [OP_TICKET]         = { "ticket", 201, BODY_SET, true },
};

const char *op_kind_name(enum op_kind kind)
{
    return op_kinds[kind].name;
}

int op_kind_of(const char *name, enum op_kind *kind)
{
    int i;

    for (i = 0; i < OP_KIND_COUNT; i++) {
        if (strcmp(op_kinds[i].name, name) == 0) {
            *kind = (enum op_kind) i;
            return 0;
        }
    }
    return -1;
}

struct op *op_new(struct keeper *k, enum op_kind kind, const char *tenant)
{
    struct op *op = calloc(1, sizeof(*op));

    if (op == NULL)
        log_fatal("out of memory");
    op->k = k;
    op->kind = kind;
    op->began_ms = loop_now_ms(k->loop);
    sandbox_text(&op->tenant, tenant);
    return op;
}

void op_free(struct op *op)
{
    if (op == NULL)
        return;
    free(op->tenant);
    free(op->actor);
    free(op->remote);
    free(op->request_id);
    free(op->answer);
    free(op->ext_value);
    json_object_put(op->args);
    free(op);
}

void op_end(struct op *op, const struct err *e)
{
    struct op *up = op->parent;

    if (op->ended)
        return;
    op->ended = true;
    if (e != NULL)
        op->error = *e;
    if (op_kinds[op->kind].audited && !op->question)
        store_audit(op->k, op->tenant, op->actor, op_kind_name(op->kind),
            op->sandbox_id[0] != '\0' ? op->sandbox_id : NULL, op->remote,
            op->request_id, e != NULL ? e->code : "ok");
    store_ending(op->k, op);
    if (up == NULL)
        return;
    up->freed_bytes += op->freed_bytes;
    up->purged += e == NULL;
    if (e != NULL)
        up->error = *e;
    if (--up->children == 0)
        op_end(up, up->error.code != NULL ? &up->error : NULL);
}

/* ---- answers ------------------------------------------------------------- */

static void op_body_row(struct keeper *k, struct buf *b, const char *id,
    bool v1)
{
    struct row r;
    struct err e;

    if (store_row_of(k, id, &r, &e) != 1)
        return;
    if (v1)
        render_v1(b, &r, k->s);
    else
        render_base(b, &r, k->s);
    row_fini(&r);
}

char *op_row_text(struct keeper *k, const char *id, bool v1)
{
    struct buf b;

    buf_init(&b, ANSWER_MAX);
    op_body_row(k, &b, id, v1);
    if (b.failed || b.data == NULL) {
        buf_fini(&b);
        return NULL;
    }
    return b.data;              /* the caller's now */
}

static void op_body(struct op *op, struct buf *b)
{
    switch (op_kinds[op->kind].body) {
    case BODY_NONE:
    case BODY_SET:
        break;
    case BODY_ROW:
        op_body_row(op->k, b, op->sandbox_id, op->v1);
        break;
    case BODY_WAKE:
        if (op->v1) {
            op_body_row(op->k, b, op->sandbox_id, true);
            break;
        }
        buf_printf(b, "{\"id\":\"%s\",\"status\":\"running\","
            "\"wake_duration_ms\":%" PRId64 "}", op->sandbox_id,
            loop_now_ms(op->k->loop) - op->began_ms);
        break;
    case BODY_PURGE:
        buf_printf(b, "{\"purged\":true,\"freed_bytes\":%" PRId64 "}",
            op->freed_bytes);
        break;
    }
    if (op->kind == OP_PURGE_EXTERNAL)
        buf_printf(b, "{\"purged_count\":%" PRId64 ",\"freed_bytes\":%"
            PRId64 "}", op->purged, op->freed_bytes);
}

/* {"status","code","message",…}, as in the reply of ops.sock. */
static void op_body_error(struct buf *b, const struct err *e)
{
    buf_printf(b, "{\"status\":%d,\"code\":\"%s\",\"message\":",
        err_lookup(e->code)->status, e->code);
    render_string(b, e->msg, strlen(e->msg));
    if (e->field[0] != '\0') {
        buf_str(b, ",\"field\":");
        render_string(b, e->field, strlen(e->field));
    }
    if (e->hint[0] != '\0') {
        buf_str(b, ",\"hint\":");
        render_string(b, e->hint, strlen(e->hint));
    }
    if (e->retry_after_s > 0)
        buf_printf(b, ",\"retry_after\":%d", e->retry_after_s);
    buf_str(b, "}");
}

void op_render(struct op *op)
{
    struct buf b;

    buf_init(&b, ANSWER_MAX);
    if (op->error.code != NULL) {
        op->http_status = err_lookup(op->error.code)->status;
        free(op->answer);
        op->answer = NULL;
        op_body_error(&b, &op->error);
    } else {
        op->http_status = op->want_status != 0 ? op->want_status
            : op_kinds[op->kind].status;
        if (op->answer == NULL)
            op_body(op, &b);
    }
    if (b.data != NULL && !b.failed) {
        free(op->answer);
        op->answer = b.data;
    } else {
        buf_fini(&b);
    }
}
