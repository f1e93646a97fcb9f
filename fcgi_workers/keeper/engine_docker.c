/*
 * engine_docker: Docker behind engine.h (see engine_docker.h for the files).
 *
 * Every call of engine.h is an engine_op that lives from the call to its
 * completion. Nothing is remembered about containers: the engine is the truth
 * about them, the keeper decides. Must never touch a container without our
 * labels: those are looked at in lists, events and inspects, and a ref only
 * comes from there.
 */
#include "engine_docker.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"

#define STOP_EXTRA_MS   15000   /* over the time that a stop may take */
#define REMOVE_MS       60000
#define AGAIN_MS        100     /* a removal that is under way already */
#define AGAIN_MAX       300

/* ---- operations --------------------------------------------------------- */

struct engine_op *engine_op_new(struct engine *en, size_t size,
    const char *doing,
    const char *ref, engine_done done, void *arg)
{
    struct engine_op *op = calloc(1, size);

    if (op == NULL)
        log_fatal("out of memory for an engine call");
    op->en = en;
    op->doing = doing;
    op->done = done;
    op->arg = arg;
    op->timer.owner = op;
    if (ref != NULL)
        snprintf(op->ref, sizeof(op->ref), "%s", ref);
    op->next = en->ops;
    op->at = &en->ops;
    if (op->next != NULL)
        op->next->at = &op->next;
    en->ops = op;
    return op;
}

void engine_op_free(struct engine_op *op)
{
    loop_timer_clear(op->en->loop, &op->timer);
    *op->at = op->next;
    if (op->next != NULL)
        op->next->at = op->at;
    if (op->fini != NULL)
        op->fini(op);
    free(op);
}

void engine_op_end(struct engine_op *op, const struct err *e,
    const struct engine_result *r)
{
    struct engine_result none = {0};

    if (op->done != NULL) {
        if (e != NULL) {
            none.error = e;
            r = &none;
        }
        op->done(op->arg, r != NULL ? r : &none);
    }
    engine_op_free(op);
}

/* ---- calls -------------------------------------------------------------- */

/* Before the first answer the version is not known: the engine then takes its
 * own for a path without one. */
static void versioned(const struct engine *en, const char *path,
    struct buf *out)
{
    if (en->caps.api[0] != 0)
        buf_printf(out, "/v%s", en->caps.api);
    buf_str(out, path);
}

struct dk_call *engine_call_with(struct engine *en, const struct dk_request *r)
{
    struct dk_request q = *r;
    struct dk_call   *c;
    struct buf        path;

    buf_init(&path, 8192);
    versioned(en, r->path, &path);
    q.path = path.failed ? "/" : path.data;
    c = dk_call(en->http, &q);
    buf_fini(&path);
    return c;
}

struct dk_call *engine_call(struct engine *en, const char *method,
    const char *path,
    const char *body, const char *doing, long deadline_ms, dk_done done,
    void *arg)
{
    struct dk_request r = {
        .method = method, .path = path, .body = body, .doing = doing,
        .deadline_ms = deadline_ms, .max = DK_SMALL, .done = done, .arg = arg
    };

    return engine_call_with(en, &r);
}

void engine_escape(struct buf *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-";

    for (; *text != 0; text++) {
        if (strchr(plain, *text) != NULL)
            buf_add(out, text, 1);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

void engine_filter(const struct engine *en, const char *more, const char *label,
    struct buf *out)
{
    char text[512];

    snprintf(text, sizeof(text), "{%s\"label\":[\"%s\",\"" LABEL_STACK
        "=%s\"]}", more, label, en->stack);
    buf_str(out, "filters=");
    engine_escape(out, text);
}

/* Container ids are 64 hex digits; names of ours are as harmless. */
bool engine_ref_ok(const char *ref)
{
    return ref != NULL && ref[0] != 0 && strlen(ref) < 80
        && strspn(ref, "abcdefghijklmnopqrstuvwxyz0123456789-")
            == strlen(ref);
}

/* ---- looking ------------------------------------------------------------- */

static void got_inspect(void *arg, const struct dk_answer *a)
{
    struct engine_op    *op = arg;
    struct engine_state  st;
    struct engine_result r = { .state = &st, .nstates = 1 };
    struct json_object  *o;
    int                  rc;

    if (!a->transport || a->status != 200) {
        engine_refusal(op->en, a, "internal", op->doing, &op->error);
        engine_op_end(op, &op->error, NULL);
        return;
    }
    o = engine_json(a, json_type_object, op->doing, &op->error);
    if (o == NULL) {
        engine_op_end(op, &op->error, NULL);
        return;
    }
    rc = engine_read_state(op->en, o, &st);
    json_object_put(o);
    if (rc != 0) {
        err_set(&op->error, "not_found",
            "cannot %s: this container is not ours", op->doing);
        engine_op_end(op, &op->error, NULL);
        return;
    }
    engine_op_end(op, NULL, &r);
}

/* ---- calls about one container ------------------------------------------ */

static void container_call(struct engine_op *op, const char *method,
    const char *rest,
    const char *body, long deadline_ms, dk_done done)
{
    char path[256];

    snprintf(path, sizeof(path), "/containers/%s%s",
        engine_ref_ok(op->ref) ? op->ref : "-", rest);
    engine_call(op->en, method, path, body, op->doing, deadline_ms, done, op);
}

void engine_inspect(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "look at the sandbox", ref, done, arg);

    container_call(op, "GET", "/json", NULL, DK_CALL_MS, got_inspect);
}

/* Too late: whatever becomes of this start, the container goes. */
static void got_start(void *arg, const struct dk_answer *a)
{
    struct engine_op *op = arg;

    if (a->transport && (a->status == 204 || a->status == 304)) {
        container_call(op, "GET", "/json", NULL, DK_CALL_MS, got_inspect);
        return;
    }
    engine_refusal(op->en, a, "start_failed", op->doing, &op->error);
    if (!a->transport && strcmp(a->error.code, "timeout") == 0)
        engine_remove(op->en, op->ref, NULL, NULL);
    engine_op_end(op, &op->error, NULL);
}

void engine_start(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "start the sandbox", ref, done, arg);

    container_call(op, "POST", "/start", NULL,
        (long)en->s->start_timeout_s * 1000, got_start);
}

/* 204 done, 304 it was so already. */
static void got_plain(void *arg, const struct dk_answer *a)
{
    struct engine_op *op = arg;

    if (a->transport
        && (a->status == 204 || a->status == 304 || a->status == 200))
    {
        engine_op_end(op, NULL, NULL);
        return;
    }
    engine_refusal(op->en, a, "internal", op->doing, &op->error);
    engine_op_end(op, &op->error, NULL);
}

void engine_stop(struct engine *en, const char *ref, int timeout_s,
    engine_done done, void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op), "stop the sandbox",
        ref, done, arg);
    char              rest[32];

    snprintf(rest, sizeof(rest), "/stop?t=%d", timeout_s < 0 ? 0 : timeout_s);
    container_call(op, "POST", rest, NULL,
        (long)timeout_s * 1000 + STOP_EXTRA_MS, got_plain);
}

/* ---- freeze and thaw ---------------------------------------------------- */

struct pause_op {
    struct engine_op op;
    const char      *want;      /* status it must have in the end */
    struct err       first;     /* what the engine said to the call itself */
};

static void got_pause_state(void *arg, const struct engine_result *r)
{
    struct pause_op *p = arg;

    if (r->error == NULL && strcmp(r->state->status, p->want) == 0)
        engine_op_end(&p->op, NULL, NULL);
    else
        engine_op_end(&p->op, r->error != NULL ? r->error : &p->first, NULL);
}

/* 409 or 500 also when it is so already: look. */
static void got_pause(void *arg, const struct dk_answer *a)
{
    struct pause_op *p = arg;

    if (a->transport && a->status == 204) {
        engine_op_end(&p->op, NULL, NULL);
        return;
    }
    engine_refusal(p->op.en, a, "internal", p->op.doing, &p->first);
    if (a->transport && a->status != 404)
        engine_inspect(p->op.en, p->op.ref, got_pause_state, p);
    else
        engine_op_end(&p->op, &p->first, NULL);
}

static void pause_call(struct engine *en, const char *ref, const char *verb,
    const char *want, const char *doing, engine_done done, void *arg)
{
    struct pause_op *p;

    p = (void *)engine_op_new(en, sizeof(*p), doing, ref, done, arg);
    p->want = want;
    container_call(&p->op, "POST", verb, NULL, DK_CALL_MS, got_pause);
}

void engine_freeze(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    pause_call(en, ref, "/pause", "paused", "freeze the sandbox", done, arg);
}

void engine_thaw(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    pause_call(en, ref, "/unpause", "running", "thaw the sandbox", done, arg);
}

/* ---- remove ------------------------------------------------------------- */

static void remove_again(struct timer *t);

/* 409: somebody, perhaps we, removes it already; it is gone when 404 says
 * so. */
static void got_remove(void *arg, const struct dk_answer *a)
{
    struct engine_op *op = arg;

    if (a->transport && (a->status == 204 || a->status == 404)) {
        engine_op_end(op, NULL, NULL);
        return;
    }
    if (a->transport && a->status == 409 && ++op->tries < AGAIN_MAX) {
        op->timer.due = remove_again;
        loop_timer_set(op->en->loop, &op->timer, AGAIN_MS);
        return;
    }
    engine_refusal(op->en, a, "internal", op->doing, &op->error);
    log_warn("%s (%.12s)", op->error.msg, op->ref);
    engine_op_end(op, &op->error, NULL);
}

static void remove_again(struct timer *t)
{
    container_call(t->owner, "DELETE", "?v=1&force=1", NULL, REMOVE_MS,
        got_remove);
}

void engine_remove(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "remove the sandbox's container", ref, done, arg);

    container_call(op, "DELETE", "?v=1&force=1", NULL, REMOVE_MS, got_remove);
}

/* ---- list --------------------------------------------------------------- */

static size_t read_list(const struct engine *en, struct json_object *list,
    struct engine_state *out)
{
    struct json_object *o, *labels;
    size_t              all = json_object_array_length(list), n = 0;

    for (size_t i = 0; i < all; i++) {
        o = json_object_array_get_idx(list, i);
        labels = engine_get(o, "Labels");
        if (engine_fill_state(en, labels, engine_str(o, "Id"),
            engine_str(o, "State"), &out[n]) == 0)
            n++;
    }
    return n;
}

static void got_list(void *arg, const struct dk_answer *a)
{
    struct engine_op    *op = arg;
    struct engine_result r = {0};
    struct engine_state *states;
    struct json_object  *list;

    if (!a->transport || a->status != 200) {
        engine_refusal(op->en, a, "internal", op->doing, &op->error);
        engine_op_end(op, &op->error, NULL);
        return;
    }
    list = engine_json(a, json_type_array, op->doing, &op->error);
    if (list == NULL) {
        engine_op_end(op, &op->error, NULL);
        return;
    }
    states = calloc(json_object_array_length(list) + 1, sizeof(*states));
    if (states != NULL) {
        r.state = states;
        r.nstates = read_list(op->en, list, states);
    } else {
        err_set(&op->error, "internal", "out of memory: cannot %s",
            op->doing);
    }
    json_object_put(list);
    engine_op_end(op, states == NULL ? &op->error : NULL, &r);
    free(states);
}

void engine_list(struct engine *en, engine_done done, void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "list the containers", NULL, done, arg);
    struct dk_request q = { .method = "GET", .doing = op->doing,
        .deadline_ms = 60000, .max = DK_LARGE, .done = got_list, .arg = op };
    struct buf        path;

    buf_init(&path, 1024);
    buf_str(&path, "/containers/json?all=1&");
    engine_filter(en, "", LABEL_MANAGED "=true", &path);
    q.path = path.data;
    engine_call_with(en, &q);
    buf_fini(&path);
}

/* ---- life --------------------------------------------------------------- */

struct engine *engine_docker_new(struct loop *l, const struct settings *s,
    engine_news news,
    void *arg, struct err *e)
{
    struct engine *en = calloc(1, sizeof(*en));
    const char    *path = s->docker_socket;

    if (en == NULL || curl_global_init(CURL_GLOBAL_NOTHING) != 0) {
        free(en);
        err_set(e, "internal", "out of memory for the engine");
        return NULL;
    }
    if (strncmp(path, "unix://", 7) == 0)
        path += 7;
    en->loop = l;
    en->s = s;
    en->news = news;
    en->news_arg = arg;
    en->stack = s->stack != NULL && s->stack[0] != 0 ? s->stack : "default";
    snprintf(en->name, sizeof(en->name), "hf%.4s-",
        s->stack != NULL ? s->stack : "");
    en->http = dk_http_new(l, path);
    en->events = en->http != NULL ? events_new(en) : NULL;
    if (en->events == NULL) {
        err_set(e, "internal", "out of memory for the engine");
        engine_free(en);
        return NULL;
    }
    return en;
}

void engine_free(struct engine *en)
{
    struct engine_op *op, *next;

    if (en == NULL)
        return;
    events_free(en->events);
    pulls_free(en);
    dk_http_free(en->http);
    for (op = en->ops; op != NULL; op = next) {
        next = op->next;
        engine_op_free(op);
    }
    free(en);
}
