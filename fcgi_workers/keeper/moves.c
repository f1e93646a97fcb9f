/*
 * moves: wake, start, stop, restart, delete and purge: operations that move
 * a sandbox from rung to rung; and taking them up again after a crash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "../common/maintenance.h"
#include "machine.h"
#include "ops.h"
#include "store.h"

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

int move_engine(struct keeper *k, struct err *e)
{
    if (k->engine_up)
        return 0;
    err_set(e, "engine_unavailable", "Docker does not answer");
    e->retry_after_s = 5;
    return -1;
}

/* Would it start or thaw something that is down, or take it down first? */
static bool move_wakes(const struct request *r, const struct sandbox *sb)
{
    return r->kind == OP_RESTART
        || ((r->kind == OP_WAKE || r->kind == OP_START)
            && !rung_waking(sb->rung));
}

/* wake, start, stop, restart, delete, purge: one sandbox, one event. */
int move_request(struct request *r, struct err *e)
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
    if (move_engine(r->k, e) == -1 || (move_wakes(r, sb)
            && maintenance_check(r->k->s, e) == -1))
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

int move_purge_all(struct request *r, struct err *e)
{
    if (arg_str(r->args, "user") == NULL && arg_str(r->args, "project") == NULL)
        return err_set(e, "bad_request", "user or project is missing");
    if (move_engine(r->k, e) == -1)
        return -1;
    if (ops_intend(r, NULL, purge_all_apply,
            json_object_to_json_string(r->args), e) == -1)
        return -1;
    return purge_all_args(r->op, r->args);
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
