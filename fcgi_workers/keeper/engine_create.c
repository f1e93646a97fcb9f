/*
 * engine_create: making a container, and leaving none behind.
 *
 * Every attempt carries a mark of its own as a label. A create that was not
 * answered in time may still be carried out: `tidy` then looks for a container
 * of that name and mark, several times over the next minutes, and removes it
 * by its id. One of the same name that is there before (an earlier keeper's,
 * or one that is just being removed) goes first, if its labels are ours.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/ids.h"
#include "../common/log.h"
#include "engine_docker.h"
#include "engine_spec.h"

#define CREATE_MS   30000
#define TRIES_MAX   20
#define AGAIN_MS    100
#define MARK_MAX    64

/* ---- tidying after a late create ---------------------------------------- */

static const long tidy_after_ms[] = { 0, 2000, 15000, 60000, 300000 };

struct tidy {
    struct engine_op op;        /* ref: the name; tries: of the table above */
    char             mark[MARK_MAX];
};

static void tidy_look(struct timer *t);

static void tidy_later(struct tidy *t)
{
    if ((size_t)++t->op.tries >= sizeof(tidy_after_ms)
        / sizeof(*tidy_after_ms))
    {
        engine_op_free(&t->op);
        return;
    }
    loop_timer_set(t->op.en->loop, &t->op.timer,
        tidy_after_ms[t->op.tries]);
}

static void tidy_removed(void *arg, const struct engine_result *r)
{
    struct tidy *t = arg;

    if (r->error != NULL)
        tidy_later(t);
    else
        engine_op_free(&t->op);
}

static void got_tidy(void *arg, const struct dk_answer *a)
{
    struct tidy        *t = arg;
    struct json_object *o, *labels;
    char                id[80] = "";

    o = a->transport && a->status == 200
        ? engine_json(a, json_type_object, t->op.doing, &t->op.error) : NULL;
    labels = engine_get(engine_get(o, "Config"), "Labels");
    if (engine_owns(t->op.en, labels)
        && strcmp(engine_str(labels, LABEL_MARK), t->mark) == 0)
        snprintf(id, sizeof(id), "%s", engine_str(o, "Id"));
    json_object_put(o);
    if (id[0] == 0) {
        tidy_later(t);
        return;
    }
    log_warn("the engine made a container after its time was over: removed");
    engine_remove(t->op.en, id, tidy_removed, t);
}

static void tidy_look(struct timer *timer)
{
    struct tidy *t = timer->owner;
    char         path[128];

    snprintf(path, sizeof(path), "/containers/%s/json", t->op.ref);
    engine_call(t->op.en, "GET", path, NULL, t->op.doing, DK_CALL_MS,
        got_tidy, t);
}

static void tidy_begin(struct engine *en, const char *name, const char *mark)
{
    struct tidy *t;

    t = (void *)engine_op_new(en, sizeof(*t), "look for a late container",
        name, NULL, NULL);
    snprintf(t->mark, sizeof(t->mark), "%s", mark);
    t->op.timer.due = tidy_look;
    loop_timer_set(en->loop, &t->op.timer, tidy_after_ms[0]);
}

/* ---- create ------------------------------------------------------------- */

struct create {
    struct engine_op op;        /* ref: the name */
    char             mark[MARK_MAX];
    struct buf       body;
};

static void create_send(struct create *c);

static void create_fini(struct engine_op *op)
{
    buf_fini(&((struct create *)(void *)op)->body);
}

static void create_again(struct timer *t)
{
    create_send(t->owner);
}

static void cleared(void *arg, const struct engine_result *r)
{
    struct create *c = arg;

    if (r->error != NULL) {
        engine_op_end(&c->op, r->error, NULL);
        return;
    }
    create_send(c);
}

/* The name is taken. Ours: it goes. Gone by now: once more. Somebody else's:
 * that is an error to be told. */
static void got_holder(void *arg, const struct dk_answer *a)
{
    struct create     *c = arg;
    struct json_object *o = NULL;
    char               id[80] = "";

    if (a->transport && a->status == 404) {
        c->op.timer.due = create_again;
        loop_timer_set(c->op.en->loop, &c->op.timer, AGAIN_MS);
        return;
    }
    if (a->transport && a->status == 200)
        o = engine_json(a, json_type_object, c->op.doing, &c->op.error);
    else
        engine_refusal(c->op.en, a, "internal", c->op.doing, &c->op.error);
    if (o == NULL) {
        engine_op_end(&c->op, &c->op.error, NULL);
        return;
    }
    if (engine_owns(c->op.en, engine_get(engine_get(o, "Config"), "Labels")))
        snprintf(id, sizeof(id), "%s", engine_str(o, "Id"));
    json_object_put(o);
    if (id[0] != 0) {
        engine_remove(c->op.en, id, cleared, c);
        return;
    }
    err_set(&c->op.error, "conflict", "cannot make the sandbox: a container "
        "named %s is there that is not ours", c->op.ref);
    engine_op_end(&c->op, &c->op.error, NULL);
}

static void create_conflict(struct create *c)
{
    char path[128];

    if (++c->op.tries >= TRIES_MAX) {
        err_set(&c->op.error, "conflict", "cannot make the sandbox: another "
            "container of its name does not go away");
        engine_op_end(&c->op, &c->op.error, NULL);
        return;
    }
    snprintf(path, sizeof(path), "/containers/%s/json", c->op.ref);
    engine_call(c->op.en, "GET", path, NULL, c->op.doing, DK_CALL_MS,
        got_holder, c);
}

static void create_made(struct create *c, const struct dk_answer *a)
{
    struct engine_result r = {0};
    struct json_object  *o;

    o = engine_json(a, json_type_object, c->op.doing, &c->op.error);
    r.ref = engine_str(o, "Id");
    if (o != NULL && !engine_ref_ok(r.ref))
        err_set(&c->op.error, "internal",
            "the engine made a container without an id");
    engine_op_end(&c->op, c->op.error.code != NULL ? &c->op.error : NULL, &r);
    json_object_put(o);
}

/* No answer: the engine may still carry it out. */
static void got_create(void *arg, const struct dk_answer *a)
{
    struct create *c = arg;
    bool           no_image = a->transport && a->status == 404;

    if (a->transport && a->status == 201) {
        create_made(c, a);
        return;
    }
    if (a->transport && a->status == 409) {
        create_conflict(c);
        return;
    }
    if (!a->transport)
        tidy_begin(c->op.en, c->op.ref, c->mark);
    engine_refusal(c->op.en, a, "start_failed", c->op.doing, &c->op.error);
    if (no_image)
        c->op.error.code = "image_not_found";
    engine_op_end(&c->op, &c->op.error, NULL);
}

static void create_send(struct create *c)
{
    char path[128];

    snprintf(path, sizeof(path), "/containers/create?name=%s", c->op.ref);
    engine_call(c->op.en, "POST", path, c->body.data, c->op.doing, CREATE_MS,
        got_create, c);
}

static void create_bad(struct timer *t)
{
    struct create *c = t->owner;

    err_set(&c->op.error, "internal", "cannot make the sandbox: its record "
        "is not complete");
    engine_op_end(&c->op, &c->op.error, NULL);
}

void engine_create(struct engine *en, const struct engine_spec *spec,
    const struct engine_image *image, engine_done done, void *arg)
{
    struct spec_context ctx;
    struct create      *c;
    char                name[80];

    snprintf(name, sizeof(name), "%s%.60s", en->name, spec->id);
    c = (void *)engine_op_new(en, sizeof(*c), "make the sandbox", name, done,
        arg);
    c->op.fini = create_fini;
    ids_new(c->mark);
    buf_init(&c->body, 2 * DK_SMALL);
    ctx.stack = en->stack;
    ctx.mark = c->mark;
    ctx.cpus_milli_max = engine_cpus_milli(en);
    if (engine_ref_ok(name)
        && spec_json(spec, image, &ctx, &c->body) == 0)
    {
        create_send(c);
        return;
    }
    c->op.timer.due = create_bad;
    loop_timer_set(en->loop, &c->op.timer, 0);
}
