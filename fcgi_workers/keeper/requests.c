/*
 * requests: what a packet on ops.sock asks for: reading it, whether it was
 * asked before, and who handles its kind. The first part of ops.h's handlers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/msg.h"
#include "idle.h"
#include "leases.h"
#include "ops.h"
#include "shares.h"
#include "store.h"

/* ---- reading arguments --------------------------------------------------- */

struct json_object *arg_get(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;

    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, name, &v);
    return v;
}

const char *arg_str(struct json_object *o, const char *name)
{
    struct json_object *v = arg_get(o, name);

    return json_object_is_type(v, json_type_string)
        ? json_object_get_string(v) : NULL;
}

int64_t arg_num(struct json_object *o, const char *name, int64_t def)
{
    struct json_object *v = arg_get(o, name);

    return json_object_is_type(v, json_type_int)
        ? json_object_get_int64(v) : def;
}

struct sandbox *request_sandbox(const struct request *r, struct err *e)
{
    struct sandbox *sb = NULL;

    if (r->sandbox != NULL)
        sb = sandbox_find(r->k, r->sandbox);
    if (sb != NULL && strcmp(sb->tenant->name, r->tenant) == 0)
        return sb;
    err_set(e, "not_found", "no sandbox %.*s", ID_MAX,
        r->sandbox != NULL ? r->sandbox : "");
    return NULL;
}

/* ---- requests ------------------------------------------------------------ */

static int request_again(struct request *r, bool *handled, struct err *e)
{
    struct store_answer a;
    int                 rc;

    *handled = false;
    if (r->idem == NULL)
        return 0;
    rc = store_answer_of(r->k, r->tenant, 0, r->idem, &a, e);
    if (rc != 1)
        return rc;
    *handled = true;
    if (r->idem_hash == NULL || strcmp(a.hash, r->idem_hash) != 0) {
        rc = err_set(e, "idempotency_mismatch", "this Idempotency-Key was "
            "used with another body");
    } else if (a.state < 2) {
        rc = err_set(e, "idempotency_in_progress", "the call with this "
            "Idempotency-Key is still running");
        e->retry_after_s = 1;
    } else {
        char *text = ops_answer_text(a.http_status, a.answer, true);

        r->reply = text != NULL ? json_tokener_parse(text) : NULL;
        free(text);
        rc = r->reply != NULL ? 0
            : err_set(e, "internal", "a stored answer cannot be read");
    }
    free(a.answer);
    return rc;
}

/* Parts of it are taken out of `in`, which the caller keeps. */
int request_read(struct keeper *k, struct json_object *in,
    struct request *r, struct err *e)
{
    const char *kind = arg_str(in, "kind"), *shape = arg_str(in, "shape");

    memset(r, 0, sizeof(*r));
    r->k = k;
    r->args = arg_get(in, "args");
    r->tenant = arg_str(in, "tenant");
    r->actor = arg_str(in, "actor");
    r->request_id = arg_str(in, "request_id");
    r->remote = arg_str(in, "remote");
    r->idem = arg_str(in, "idem");
    r->idem_hash = arg_str(in, "idem_hash");
    r->sandbox = arg_str(in, "sandbox");
    r->v1 = shape != NULL && strcmp(shape, "v1") == 0;
    if (kind == NULL || op_kind_of(kind, &r->kind) == -1)
        return err_field(e, "bad_request", "kind", "there is no such kind");
    if (r->tenant == NULL)
        r->tenant = "default";
    if (r->kind == OP_ANSWER)
        r->args = in;
    return 0;
}

/* ---- answer -------------------------------------------------------------- */

static int answer_of_open(struct request *r, struct op *op, struct err *e)
{
    char  text[128];
    char *whole;

    if (strcmp(op->tenant, r->tenant) != 0)
        return err_set(e, "not_found", "no such operation");
    if (op->answer == NULL || !op->question || op->held) {
        snprintf(text, sizeof(text), "{\"pending\":true,\"sandbox\":\"%s\"}",
            op->sandbox_id);
        r->reply = json_tokener_parse(text);
        return 0;
    }
    whole = ops_answer_text(op->http_status, op->answer, false);
    r->reply = whole != NULL ? json_tokener_parse(whole) : NULL;
    free(whole);
    ops_hash_remove(op);
    op_free(op);
    return 0;
}

static int request_answer(struct request *r, struct err *e)
{
    int64_t             number = arg_num(r->args, "op", 0);
    struct op          *op = ops_find(r->k, number);
    struct store_answer a;
    char                pending[128], *text;
    int                 rc;

    if (op != NULL)
        return answer_of_open(r, op, e);
    if (number >= MSG_ROWLESS) {
        err_set(e, "unavailable", "the control plane was restarted "
            "meanwhile: ask again");
        e->retry_after_s = 1;
        return -1;
    }
    rc = store_answer_of(r->k, r->tenant, number, NULL, &a, e);
    if (rc != 1)
        return rc == -1 ? -1
            : err_set(e, "not_found", "no operation %lld",
                (long long) number);
    if (a.state < 2) {
        snprintf(pending, sizeof(pending),
            "{\"pending\":true,\"sandbox\":\"%s\"}", a.sandbox);
        r->reply = json_tokener_parse(pending);
    } else {
        text = ops_answer_text(a.http_status, a.answer, false);
        r->reply = text != NULL ? json_tokener_parse(text) : NULL;
        free(text);
    }
    free(a.answer);
    return r->reply != NULL ? 0
        : err_set(e, "internal", "a stored answer cannot be read");
}

/* ---- who handles it ------------------------------------------------------ */

int request_run(struct request *r, struct err *e)
{
    bool handled;

    if (request_again(r, &handled, e) == -1)
        return -1;
    if (handled)
        return 0;
    switch (r->kind) {
    case OP_CREATE:
        return create_request(r, e);
    case OP_WAKE:
    case OP_START:
    case OP_STOP:
    case OP_FREEZE:
    case OP_ARCHIVE:
    case OP_RESTART:
    case OP_DELETE:
    case OP_PURGE:
        return move_request(r, e);
    case OP_PURGE_EXTERNAL:
        return move_purge_all(r, e);
    case OP_KEEPALIVE:
    case OP_PATCH:
    case OP_ENV:
        return change_request(r, e);
    case OP_SHARE:
    case OP_UNSHARE:
    case OP_TICKET:
        return share_request(r, e);
    case OP_LEASE:
    case OP_UNLEASE:
        return lease_request(r, e);
    case OP_LEASES:
        return leases_request(r, e);
    case OP_IDLE:
        return idle_request(r, e);
    case OP_ANSWER:
        return request_answer(r, e);
    default:
        return question_request(r, e);
    }
}
