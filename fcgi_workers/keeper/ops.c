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
#include "../common/clock.h"
#include "../common/log.h"
#include "../common/msg.h"
#include "links.h"
#include "store.h"

#define CONNS_MAX      256
#define REQUESTS_TURN  64               /* of one connection in one turn */
#define OPS_HASH       1024
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

void ops_hash_add(struct op *op)
{
    struct op **at = &op->k->ops->hash[op->number % OPS_HASH];

    op->next_hash = *at;
    *at = op;
}

void ops_hash_remove(struct op *op)
{
    struct op **at = &op->k->ops->hash[op->number % OPS_HASH];

    while (*at != NULL && *at != op)
        at = &(*at)->next_hash;
    if (*at == op)
        *at = op->next_hash;
}

struct op *ops_find(struct keeper *k, int64_t number)
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

    return op != NULL && (!op->question || op->held
        || op->answer == NULL) ? op : NULL;
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
            if (op->question && !op->held && op->answer != NULL
                && loop_now_ms(k->loop) - op->began_ms > QUESTION_KEPT_MS) {
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

char *ops_answer_text(int status, const char *answer, bool replayed)
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

void ops_fresh(struct op *op)
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
    return MSG_ROWLESS + ++k->ops->questions;
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
        r->text = ops_answer_text(op->http_status, op->answer, false);
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
        if (op->after != NULL && op->error.code == NULL)
            op->after(op);
        if (!op->held)
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

/* ---- the socket ---------------------------------------------------------- */

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
    } else if (r.op != NULL) {
        reply->op = r.op;
        r.op->conn = c;
    } else {
        err_set(&e, "internal", "nothing was done");
        reply->text = reply_error(&e);
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
    /* Not the numbers of the keeper before: somebody may still wait for one. */
    ops->questions = clock_wall_ms() * 1024;
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
    struct op *op;
    int        i;

    if (k->ops == NULL)
        return;
    for (i = 0; i < CONNS_MAX; i++) {
        if (k->ops->conn[i] != NULL)
            conn_free(k->ops->conn[i]);
    }
    for (i = 0; i < OPS_HASH; i++) {
        while ((op = k->ops->hash[i]) != NULL) {
            k->ops->hash[i] = op->next_hash;
            op_free(op);
        }
    }
    loop_timer_clear(k->loop, &k->ops->sweep);
    loop_remove(k->loop, &k->ops->listen);
    free(k->ops);
    k->ops = NULL;
}
