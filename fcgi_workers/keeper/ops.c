/*
 * ops: see ops.h. The socket, replies in order, and operations that are open.
 *
 * Owns the connections of api workers, the hash of open operations, and the
 * list of those that came in this turn. What a kind does is elsewhere.
 */
#include "ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/log.h"
#include "../common/msg.h"
#include "links.h"
#include "machine.h"
#include "store.h"

#define CONNS_MAX      256
#define REQUESTS_TURN  64               /* of one connection in one turn */
#define OPS_HASH       1024
#define QUESTION_FIRST (1LL << 52)      /* never the number of a row */
#define QUESTION_KEPT_MS 60000
#define REPLY_MAX      (2 * 1024 * 1024)

struct reply {
    struct reply *next;
    char         *text;                 /* NULL: not yet known */
    struct op    *op;                   /* gives the text when committed */
};

struct ops_conn {
    struct keeper *k;
    struct watch   watch;
    int            slot;
    bool           blocked;
    struct reply  *replies, **replies_end;
};

struct ops {
    struct keeper   *k;
    struct watch     listen;
    struct ops_conn *conn[CONNS_MAX];
    struct op       *hash[OPS_HASH];
    struct op       *fresh, **fresh_end;
    int64_t          questions;
    struct timer     sweep;             /* forgets questions not fetched */
};

/* ---- open operations ----------------------------------------------------- */

static void ops_hash_add(struct op *op)
{
    struct op **at = &op->k->ops->hash[op->number % OPS_HASH];

    op->next_hash = *at;
    *at = op;
}

static void ops_hash_remove(struct op *op)
{
    struct op **at = &op->k->ops->hash[op->number % OPS_HASH];

    while (*at != NULL && *at != op)
        at = &(*at)->next_hash;
    if (*at == op)
        *at = op->next_hash;
}

static struct op *ops_find(struct keeper *k, int64_t number)
{
    struct op *op;

    if (number <= 0)
        return NULL;
    op = k->ops->hash[number % OPS_HASH];
    while (op != NULL && op->number != number)
        op = op->next_hash;
    return op;
}

struct op *ops_find_open(struct keeper *k, int64_t number)
{
    struct op *op = ops_find(k, number);

    return op != NULL && (!op->question || op->answer == NULL) ? op : NULL;
}

bool ops_known(struct keeper *k, int64_t number)
{
    return ops_find(k, number) != NULL || store_op_known(k, number);
}

void ops_link_gone(struct keeper *k, int slot)
{
    struct op *op;
    int        i;

    if (k->ops == NULL)
        return;
    for (i = 0; i < OPS_HASH; i++) {
        for (op = k->ops->hash[i]; op != NULL; op = op->next_hash)
            op->links[slot / 64] &= ~(1ULL << (slot % 64));
    }
}

/* A question that nobody fetched: its asker has gone away. */
static void ops_sweep(struct timer *t)
{
    struct keeper *k = t->owner;
    struct op    **at, *op;
    bool           any = false;
    int            i;

    for (i = 0; i < OPS_HASH; i++) {
        at = &k->ops->hash[i];
        while ((op = *at) != NULL) {
            any |= op->question;
            if (op->question && op->answer != NULL && loop_now_ms(k->loop)
                - op->began_ms > QUESTION_KEPT_MS) {
                *at = op->next_hash;
                op_free(op);
            } else {
                at = &op->next_hash;
            }
        }
    }
    if (any)
        loop_timer_set(k->loop, &k->ops->sweep, QUESTION_KEPT_MS);
}

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

/* ---- replies ------------------------------------------------------------- */

static char *reply_error(const struct err *e)
{
    struct op   op;
    struct buf  b;

    memset(&op, 0, sizeof(op));
    op.error = *e;
    op_render(&op);
    buf_init(&b, REPLY_MAX);
    buf_printf(&b, "{\"error\":%s}", op.answer);
    free(op.answer);
    return b.data;
}

static char *reply_answer(int status, const char *answer, bool replayed)
{
    struct buf b;

    buf_init(&b, REPLY_MAX);
    if (status >= 400) {
        buf_printf(&b, "{\"error\":%s",
            answer != NULL ? answer : "{\"status\":500}");
    } else {
        buf_printf(&b, "{\"status\":%d", status);
        if (answer != NULL) {
            buf_str(&b, ",\"answer\":");
            buf_str(&b, answer);
        }
    }
    buf_str(&b, replayed ? ",\"replayed\":true}" : "}");
    if (b.failed) {
        buf_fini(&b);
        return NULL;
    }
    return b.data;
}

static void conn_free(struct ops_conn *c)
{
    struct reply *r;

    while ((r = c->replies) != NULL) {
        c->replies = r->next;
        if (r->op != NULL)
            r->op->conn = NULL;
        free(r->text);
        free(r);
    }
    loop_remove(c->k->loop, &c->watch);
    close(c->watch.fd);
    c->k->ops->conn[c->slot] = NULL;
    free(c);
}

static struct reply *reply_new(struct ops_conn *c)
{
    struct reply *r = calloc(1, sizeof(*r));

    if (r == NULL)
        log_fatal("out of memory");
    *c->replies_end = r;
    c->replies_end = &r->next;
    return r;
}

/* -1: the connection is of no use any more. */
static int conn_flush(struct ops_conn *c)
{
    struct reply *r;

    while ((r = c->replies) != NULL && r->text != NULL) {
        if (msg_send_text(c->watch.fd, r->text, strlen(r->text)) == -1) {
            if (errno != EAGAIN)
                return -1;
            if (!c->blocked)
                loop_change(c->k->loop, &c->watch, EPOLLIN | EPOLLOUT);
            c->blocked = true;
            return 0;
        }
        c->replies = r->next;
        if (c->replies == NULL)
            c->replies_end = &c->replies;
        free(r->text);
        free(r);
    }
    if (c->blocked) {
        c->blocked = false;
        loop_change(c->k->loop, &c->watch, EPOLLIN);
    }
    return 0;
}

void ops_flush(struct keeper *k)
{
    int i;

    for (i = 0; i < CONNS_MAX; i++) {
        if (k->ops->conn[i] != NULL && k->ops->conn[i]->replies != NULL
            && conn_flush(k->ops->conn[i]) == -1)
            conn_free(k->ops->conn[i]);
    }
}

/* ---- intents ------------------------------------------------------------- */

static struct op *request_op(struct request *r, struct sandbox *sb)
{
    struct op *op = op_new(r->k, r->kind, r->tenant);

    op->v1 = r->v1;
    sandbox_text(&op->actor, r->actor);
    sandbox_text(&op->remote, r->remote);
    sandbox_text(&op->request_id, r->request_id);
    if (sb != NULL)
        snprintf(op->sandbox_id, sizeof(op->sandbox_id), "%s", sb->id);
    else if (r->sandbox != NULL)
        snprintf(op->sandbox_id, sizeof(op->sandbox_id), "%s", r->sandbox);
    op->sb = sb;
    r->op = op;
    return op;
}

static void ops_fresh(struct op *op)
{
    struct ops *ops = op->k->ops;

    op->next_fresh = NULL;
    *ops->fresh_end = op;
    ops->fresh_end = &op->next_fresh;
}

int ops_intend(struct request *r, struct sandbox *sb,
    void (*apply)(struct op *op), const char *args, struct err *e)
{
    struct op *op = request_op(r, sb);

    op->apply = apply;
    if (store_op_insert(r->k, op, r->idem, r->idem_hash, args, e) == -1) {
        op_free(op);
        r->op = NULL;
        return -1;
    }
    ops_hash_add(op);
    ops_fresh(op);
    return 0;
}

void ops_now(struct request *r, struct sandbox *sb,
    void (*apply)(struct op *op), int status, char *answer)
{
    struct op *op = request_op(r, sb);

    op->apply = apply;
    op->http_status = status;
    op->answer = answer;
    ops_fresh(op);
}

int64_t ops_question_number(struct keeper *k)
{
    return QUESTION_FIRST + ++k->ops->questions;
}

void ops_ask(struct request *r, struct sandbox *sb)
{
    struct op *op = request_op(r, sb);

    op->question = true;
    op->number = ops_question_number(r->k);
    ops_hash_add(op);
    ops_fresh(op);
    if (r->k->ops->sweep.slot == 0)
        loop_timer_set(r->k->loop, &r->k->ops->sweep, QUESTION_KEPT_MS);
}

/* ---- after the commit ---------------------------------------------------- */

/* The reply to what was stored: its number, or the answer if that is all. */
static void ops_tell(struct op *op)
{
    struct reply *r;
    char          text[48];

    if (op->conn == NULL)
        return;
    for (r = op->conn->replies; r != NULL && r->op != op; r = r->next)
        continue;
    op->conn = NULL;
    if (r == NULL)
        return;
    r->op = NULL;
    if (op->number == 0) {
        r->text = reply_answer(op->http_status, op->answer, false);
        return;
    }
    snprintf(text, sizeof(text), "{\"op\":%lld}", (long long) op->number);
    sandbox_text(&r->text, text);
}

static bool ops_begin(struct keeper *k)
{
    struct op *op = k->ops->fresh, *next;
    bool       any = op != NULL;

    k->ops->fresh = NULL;
    k->ops->fresh_end = &k->ops->fresh;
    for (; op != NULL; op = next) {
        next = op->next_fresh;
        ops_tell(op);
        if (op->apply != NULL)
            op->apply(op);
        if (op->number == 0)
            op_free(op);
    }
    return any;
}

bool ops_release(struct keeper *k)
{
    struct op *op;
    bool       any = ops_begin(k);

    while ((op = store_next_ended(k)) != NULL) {
        any = true;
        links_op_done(op);
        if (op->question)
            continue;           /* until it is fetched */
        if (op->number != 0) {
            log_info("op=%lld %s sandbox=%s status=%d took_ms=%lld",
                (long long) op->number, op_kind_name(op->kind),
                op->sandbox_id, op->http_status,
                (long long) (loop_now_ms(k->loop) - op->began_ms));
            ops_hash_remove(op);
        }
        op_free(op);
    }
    return any;
}

void ops_refuse(struct keeper *k, const struct err *e)
{
    struct op    *op = k->ops->fresh, *next;
    struct reply *r;

    k->ops->fresh = NULL;
    k->ops->fresh_end = &k->ops->fresh;
    for (; op != NULL; op = next) {
        next = op->next_fresh;
        if (op->question) {
            ops_fresh(op);      /* owes nothing to the disk */
            continue;
        }
        for (r = op->conn != NULL ? op->conn->replies : NULL;
            r != NULL && r->op != op; r = r->next)
            continue;
        if (r != NULL) {
            r->op = NULL;
            r->text = reply_error(e);
        }
        if (op->number != 0)
            ops_hash_remove(op);
        if (op->kind == OP_CREATE && op->sb != NULL)
            create_undo(op->sb);
        op_free(op);
    }
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
        char *text = reply_answer(a.http_status, a.answer, true);

        r->reply = text != NULL ? json_tokener_parse(text) : NULL;
        free(text);
        rc = r->reply != NULL ? 0
            : err_set(e, "internal", "a stored answer cannot be read");
    }
    free(a.answer);
    return rc;
}

/* Parts of it are taken out of `in`, which the caller keeps. */
static int request_read(struct keeper *k, struct json_object *in,
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

static void wake_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct err      e;

    if (sb != NULL) {
        machine_enqueue(sb, op);
        return;
    }
    err_set(&e, "not_found", "no sandbox %s", op->sandbox_id);
    op_end(op, &e);
}

static int engine_needed(struct keeper *k, struct err *e)
{
    if (k->engine_up)
        return 0;
    err_set(e, "engine_unavailable", "Docker does not answer");
    e->retry_after_s = 5;
    return -1;
}

/* wake, start, stop, restart, delete, purge: one sandbox, one event. */
static int request_move(struct request *r, struct err *e)
{
    struct sandbox *sb = request_sandbox(r, e);
    bool            gone;

    if (sb == NULL && r->kind == OP_PURGE) {
        /* Gone already; another tenant's looks the same. */
        r->reply = json_tokener_parse("{\"status\":200,\"answer\":"
            "{\"purged\":true,\"freed_bytes\":0}}");
        return 0;
    }
    if (sb == NULL)
        return -1;
    gone = sb->rung == RUNG_DELETED || sb->rung == RUNG_PURGING
        || (sb->rung == RUNG_DELETING && r->kind != OP_DELETE);
    if (gone && r->kind != OP_PURGE)
        return err_set(e, "not_found", "no sandbox %s", sb->id);
    if (engine_needed(r->k, e) == -1)
        return -1;
    return ops_intend(r, sb, wake_apply, NULL, e);
}

/* ---- purge of all of an external user or project ------------------------- */

struct purge_all {
    struct op *op;
    int64_t    n;
};

static void purge_one(void *arg, const char *id)
{
    struct purge_all *all = arg;
    struct sandbox   *sb = sandbox_find(all->op->k, id);
    struct op        *child;

    if (sb == NULL)
        return;
    child = op_new(all->op->k, OP_PURGE, all->op->tenant);
    snprintf(child->sandbox_id, sizeof(child->sandbox_id), "%s", sb->id);
    sandbox_text(&child->actor, all->op->actor);
    sandbox_text(&child->remote, all->op->remote);
    sandbox_text(&child->request_id, all->op->request_id);
    child->parent = all->op;
    all->op->children++;
    child->next_fresh = all->op->sub;
    all->op->sub = child;
}

static void purge_all_apply(struct op *op)
{
    struct purge_all all = { op, 0 };
    struct op       *child, *next;
    struct err       e = { 0 };

    op->children = 1;           /* ours, so that it does not end early */
    store_find_external(op->k, op->tenant, op->ext_is_user ? "user"
        : "project", op->ext_value, purge_one, &all, &e);
    for (child = op->sub; child != NULL; child = next) {
        next = child->next_fresh;
        machine_enqueue(sandbox_find(op->k, child->sandbox_id), child);
    }
    op->sub = NULL;
    if (--op->children == 0)
        op_end(op, e.code != NULL ? &e : NULL);
}

static int purge_all_args(struct op *op, struct json_object *args)
{
    const char *user = arg_str(args, "user");
    const char *project = arg_str(args, "project");

    if (user == NULL && project == NULL)
        return -1;
    op->ext_is_user = user != NULL;
    sandbox_text(&op->ext_value, user != NULL ? user : project);
    return 0;
}

static int request_purge_all(struct request *r, struct err *e)
{
    if (arg_str(r->args, "user") == NULL && arg_str(r->args, "project") == NULL)
        return err_set(e, "bad_request", "user or project is missing");
    if (engine_needed(r->k, e) == -1)
        return -1;
    if (ops_intend(r, NULL, purge_all_apply,
            json_object_to_json_string(r->args), e) == -1)
        return -1;
    return purge_all_args(r->op, r->args);
}

/* ---- answer -------------------------------------------------------------- */

static int answer_of_open(struct request *r, struct op *op, struct err *e)
{
    char  text[128];
    char *whole;

    if (strcmp(op->tenant, r->tenant) != 0)
        return err_set(e, "not_found", "no such operation");
    if (op->answer == NULL || !op->question) {
        snprintf(text, sizeof(text), "{\"pending\":true,\"sandbox\":\"%s\"}",
            op->sandbox_id);
        r->reply = json_tokener_parse(text);
        return 0;
    }
    whole = reply_answer(op->http_status, op->answer, false);
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
        text = reply_answer(a.http_status, a.answer, false);
        r->reply = text != NULL ? json_tokener_parse(text) : NULL;
        free(text);
    }
    free(a.answer);
    return r->reply != NULL ? 0
        : err_set(e, "internal", "a stored answer cannot be read");
}

/* ---- the socket ---------------------------------------------------------- */

static int request_run(struct request *r, struct err *e)
{
    bool handled;

    if (request_again(r, &handled, e) == -1)
        return -1;
    if (handled)
        return 0;
    switch (r->kind) {
    case OP_CREATE:
        return engine_needed(r->k, e) == -1 ? -1 : create_request(r, e);
    case OP_WAKE:
    case OP_START:
    case OP_STOP:
    case OP_RESTART:
    case OP_DELETE:
    case OP_PURGE:
        return request_move(r, e);
    case OP_PURGE_EXTERNAL:
        return request_purge_all(r, e);
    case OP_KEEPALIVE:
    case OP_PATCH:
    case OP_ENV:
        return change_request(r, e);
    case OP_ANSWER:
        return request_answer(r, e);
    default:
        return question_request(r, e);
    }
}

static void conn_request(struct ops_conn *c, const char *text, size_t len)
{
    struct json_object *in = json_tokener_parse(text);
    struct reply       *reply = reply_new(c);
    struct request      r;
    struct err          e = { 0 };
    int                 rc;

    (void) len;
    memset(&r, 0, sizeof(r));
    if (!json_object_is_type(in, json_type_object))
        rc = err_set(&e, "bad_request", "a request must be a JSON object");
    else
        rc = request_read(c->k, in, &r, &e);
    if (rc == 0)
        rc = request_run(&r, &e);
    if (rc == -1) {
        reply->text = reply_error(&e);
    } else if (r.reply != NULL) {
        sandbox_text(&reply->text, json_object_to_json_string_ext(r.reply,
            JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    } else {
        reply->op = r.op;
        r.op->conn = c;
    }
    json_object_put(r.reply);
    json_object_put(in);
}

static void conn_ready(struct watch *w, uint32_t events)
{
    struct ops_conn *c = w->owner;
    char            *text;
    size_t           len;
    int              i, rc;

    (void) events;
    for (i = 0; i < REQUESTS_TURN; i++) {
        rc = msg_recv_text(w->fd, REPLY_MAX
            + (size_t) c->k->s->body_max_kb * 1024 * 6, &text, &len);
        if (rc == 1) {
            conn_request(c, text, len);
            explicit_bzero(text, len);
            free(text);
            continue;
        }
        if (rc == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        conn_free(c);
        return;
    }
}

static void ops_accept(struct watch *w, uint32_t events)
{
    struct ops      *ops = w->owner;
    struct ops_conn *c;
    int              fd, uid, slot;

    (void) events;
    while ((fd = msg_accept(w->fd, &uid)) >= 0) {
        for (slot = 0; slot < CONNS_MAX && ops->conn[slot] != NULL; slot++)
            continue;
        c = slot < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL) {
            log_warn("more than %d api workers: one refused", CONNS_MAX);
            close(fd);
            continue;
        }
        c->k = ops->k;
        c->slot = slot;
        c->replies_end = &c->replies;
        c->watch.fd = fd;
        c->watch.owner = c;
        c->watch.ready = conn_ready;
        if (loop_add(ops->k->loop, &c->watch, EPOLLIN) == -1) {
            close(fd);
            free(c);
            continue;
        }
        ops->conn[slot] = c;
    }
}

int ops_open(struct keeper *k, int listen_fd, struct err *e)
{
    struct ops *ops = calloc(1, sizeof(*ops));

    k->ops = ops;
    if (ops == NULL)
        return err_set(e, "internal", "out of memory");
    ops->k = k;
    ops->fresh_end = &ops->fresh;
    ops->sweep.owner = k;
    ops->sweep.due = ops_sweep;
    ops->listen.fd = listen_fd;
    ops->listen.owner = ops;
    ops->listen.ready = ops_accept;
    if (loop_add(k->loop, &ops->listen, EPOLLIN) == -1)
        return err_errno(e, "listen on ops.sock");
    return 0;
}

void ops_close(struct keeper *k)
{
    int i;

    if (k->ops == NULL)
        return;
    for (i = 0; i < CONNS_MAX; i++) {
        if (k->ops->conn[i] != NULL)
            conn_free(k->ops->conn[i]);
    }
    loop_timer_clear(k->loop, &k->ops->sweep);
    loop_remove(k->loop, &k->ops->listen);
    free(k->ops);
    k->ops = NULL;
}

/* ---- after a crash ------------------------------------------------------- */

static void resume_one(void *arg, const struct store_open_op *o)
{
    struct keeper      *k = arg;
    struct sandbox     *sb = o->sandbox != NULL ? sandbox_find(k, o->sandbox)
        : NULL;
    struct json_object *args;
    struct op          *op;
    struct err          e;
    enum op_kind        kind;

    if (op_kind_of(o->kind, &kind) == -1)
        return;
    op = op_new(k, kind, o->tenant);
    op->number = o->number;
    op->v1 = strcmp(o->shape, "v1") == 0;
    sandbox_text(&op->actor, o->actor);
    sandbox_text(&op->request_id, o->request_id);
    snprintf(op->sandbox_id, sizeof(op->sandbox_id), "%s",
        o->sandbox != NULL ? o->sandbox : "");
    ops_hash_add(op);
    log_info("op=%lld %s sandbox=%s taken up again", (long long) op->number,
        o->kind, op->sandbox_id);
    if (kind == OP_PURGE_EXTERNAL) {
        args = o->args != NULL ? json_tokener_parse(o->args) : NULL;
        op->apply = purge_all_apply;
        if (purge_all_args(op, args) == 0)
            ops_fresh(op);
        else
            op_end(op, NULL);
        json_object_put(args);
    } else if (sb != NULL) {
        op->fired = kind == OP_CREATE && sb->rung != RUNG_CREATING;
        machine_enqueue(sb, op);
    } else if (kind == OP_PURGE || kind == OP_DELETE) {
        op_end(op, NULL);       /* done, but for saying so */
    } else {
        err_set(&e, "unavailable", "it was interrupted");
        op_end(op, &e);
    }
}

int ops_resume(struct keeper *k, struct err *e)
{
    return store_each_open_op(k, resume_one, k, e);
}
