/*
 * change: keepalive, patch and env: what changes a row at once.
 *
 * The row is written in the turn's transaction; memory, limits of a running
 * container and the gates follow after the commit.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "ops.h"
#include "reaper.h"
#include "start.h"
#include "store.h"
#include "workspace.h"

static void change_audit(struct op *op)
{
    store_audit(op->k, op->tenant, op->actor, op_kind_name(op->kind),
        op->sandbox_id, op->remote, op->request_id, "ok");
}

/* ---- after the commit ---------------------------------------------------- */

/* Whether gates know something that is no longer so. */
static bool policy_differs(const struct line_policy *a,
    const struct line_policy *b)
{
    return a->is_private != b->is_private || a->wake_any != b->wake_any
        || a->declared_only != b->declared_only || a->freeze_s != b->freeze_s
        || a->share_epoch != b->share_epoch || a->nports != b->nports
        || memcmp(a->ports, b->ports, sizeof(a->ports)) != 0;
}

static void patch_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct line     was, is;
    char           *host = NULL;
    struct row      r;
    struct err      e;
    bool            differs;

    if (sb == NULL)
        return;
    link_policy(sb, &was);
    sandbox_text(&host, sb->host_mode);
    if (store_row_of(op->k, sb->id, &r, &e) == 1) {
        sandbox_configure(sb, &r);
        row_fini(&r);
    }
    link_policy(sb, &is);
    differs = policy_differs(&was.policy, &is.policy)
        || strcmp(host, sb->host_mode) != 0 || start_stale(sb);
    free(host);
    if (was.policy.is_private != is.policy.is_private)
        links_access(sb);
    if (differs && sb->rung == RUNG_RUNNING) {
        start_renew(sb);
        if (op->question && start_renewing(sb))
            start_hold(sb, op);
    } else if (differs && rung_at_rest(sb->rung)) {
        sb->generation = sandbox_next_generation(sb->k);
        store_dirty(sb);
        links_broadcast(sb);
    }
    reaper_changed(sb);
    change_audit(op);
    machine_look(sb);
}

static void env_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct err      e;

    if (sb != NULL && start_send_env(sb, &e) == -1)
        log_warn("sandbox=%s env: %s", sb->id, e.msg);
    change_audit(op);
}

static void keepalive_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct row      r;
    struct err      e;

    if (sb != NULL && store_row_of(op->k, sb->id, &r, &e) == 1) {
        sb->keepalive_ms = r.keepalive_ms;
        row_fini(&r);
        reaper_changed(sb);
    }
    change_audit(op);
}

/* ---- requests ------------------------------------------------------------ */

static int change_keepalive(struct request *r, struct sandbox *sb,
    struct row *row, struct err *e)
{
    int64_t until, now = clock_wall_ms();
    char    text[160], *answer;

    until = arg_num(r->args, "until_ms", now + r->k->s->keepalive_s * 1000);
    row->keepalive_ms = until;
    if (store_update(r->k, row, e) == -1)
        return -1;
    snprintf(text, sizeof(text), "{\"id\":\"%s\",\"keepalive_until\":%" PRId64
        "}", sb->id, until / 1000);
    answer = strdup(text);
    if (answer == NULL)
        return err_set(e, "internal", "out of memory");
    ops_now(r, sb, keepalive_apply, 200, answer);
    return 0;
}

static void patch_text(char **field, struct json_object *args,
    const char *name)
{
    struct json_object *v = arg_get(args, name);

    if (v == NULL)
        return;
    sandbox_text(field, json_object_is_type(v, json_type_string)
        ? json_object_get_string(v) : json_object_to_json_string_ext(v,
            JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void patch_fields(struct row *row, struct json_object *a)
{
    struct json_object *cpus = arg_get(a, "cpus");

    patch_text(&row->labels, a, "labels");
    patch_text(&row->visibility, a, "visibility");
    patch_text(&row->idle_policy, a, "idle_policy");
    patch_text(&row->wake_on, a, "wake_on");
    patch_text(&row->ports_policy, a, "ports_policy");
    patch_text(&row->host_header, a, "host_header");
    patch_text(&row->ports, a, "ports");
    row->memory_mb = arg_num(a, "memory_mb", row->memory_mb);
    row->pids = arg_num(a, "pids", row->pids);
    row->disk_mb = arg_num(a, "disk_mb", row->disk_mb);
    row->idle_s = arg_num(a, "idle_s", row->idle_s);
    row->freeze_s = arg_num(a, "freeze_s", row->freeze_s);
    if (cpus != NULL)
        row->cpus_milli = (int64_t) (json_object_get_double(cpus) * 1000.0
            + 0.5);
    if (arg_get(a, "ttl_s") == NULL)
        return;
    row->ttl_s = arg_num(a, "ttl_s", 0);        /* from now on; 0: never */
    row->expires_ms = row->ttl_s == 0 ? 0
        : clock_wall_ms() + row->ttl_s * 1000;
}

static int patch_match(struct json_object *args, const struct row *row,
    struct err *e)
{
    int64_t match = arg_num(args, "if_match", 0);

    return match == 0 || match == row->version ? 0 : err_set(e,
        "precondition_failed", "the sandbox has changed: it has version %"
        PRId64 " now", row->version);
}

/* Does it change what gates know? */
static bool patch_is_told(struct json_object *args)
{
    static const char *const names[] = {
        "visibility", "wake_on", "ports_policy", "host_header", "ports",
        "idle_policy", "idle_s", "freeze_s"
    };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (arg_get(args, names[i]) != NULL)
            return true;
    }
    return false;
}

/* A patch that is waited for: the engine has taken its limits, or gates are
 * to be told. Its row has been free for others since it was asked for. */
static void patch_store(struct op *op)
{
    struct row r;
    struct err e = { 0 };

    if (store_may_grow(op->k, &e) == -1
        || store_row_of(op->k, op->sandbox_id, &r, &e) != 1) {
        if (e.code == NULL)
            err_set(&e, "not_found", "no sandbox %s", op->sandbox_id);
        op_end(op, &e);
        return;
    }
    if (patch_match(op->args, &r, &e) == -1) {
        op_end(op, &e);
        row_fini(&r);
        return;
    }
    patch_fields(&r, op->args);
    if (store_update(op->k, &r, &e) == 0) {
        op->after = patch_apply;
        op_end(op, NULL);
    } else {
        op_end(op, &e);
    }
    row_fini(&r);
}

/* ---- limits of a container that is there --------------------------------- */

static void limits_taken(void *arg, const struct engine_result *r)
{
    struct op *op = arg;

    if (r->error != NULL)
        op_end(op, r->error);
    else
        patch_store(op);
}

static void limits_spec(struct op *op, const struct sandbox *sb,
    struct engine_spec *spec, struct workspace_paths *p)
{
    struct json_object *cpus = arg_get(op->args, "cpus");

    start_spec(sb, spec, p);
    spec->memory_mb = arg_num(op->args, "memory_mb", sb->memory_mb);
    spec->pids = arg_num(op->args, "pids", sb->pids);
    if (cpus != NULL)
        spec->cpus_milli = (int64_t) (json_object_get_double(cpus) * 1000.0
            + 0.5);
}

/* Less than what is in use would have the kernel kill something. */
static void limits_used(void *arg, const struct engine_result *r)
{
    struct op              *op = arg;
    struct sandbox         *sb = sandbox_find(op->k, op->sandbox_id);
    struct workspace_paths  p;
    struct engine_spec      spec;
    struct err              e;

    if (sb == NULL || sb->engine_ref == NULL) {
        err_set(&e, "conflict", "the sandbox was taken down meanwhile");
        op_end(op, &e);
        return;
    }
    limits_spec(op, sb, &spec, &p);
    if (r->error == NULL
        && spec.memory_mb * 1048576 < r->stats->memory_bytes) {
        err_field(&e, "limit_below_use", "memory_mb", "the sandbox uses %"
            PRId64 " MB now", r->stats->memory_bytes / 1048576 + 1);
        op_end(op, &e);
        return;
    }
    engine_update(op->k->engine, sb->engine_ref, &spec, limits_taken, op);
}

static void limits_begin(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);

    if (sb == NULL || sb->engine_ref == NULL)
        patch_store(op);
    else
        engine_stats(op->k->engine, sb->engine_ref, limits_used, op);
}

static bool limits_change(const struct sandbox *sb, const struct row *now,
    const struct row *then)
{
    return (sb->rung == RUNG_RUNNING || sb->rung == RUNG_FROZEN)
        && sb->engine_ref != NULL && (now->memory_mb != then->memory_mb
            || now->cpus_milli != then->cpus_milli
            || now->pids != then->pids);
}

static int change_patch(struct request *r, struct sandbox *sb,
    struct row *row, struct err *e)
{
    struct row was = *row;      /* its numbers */
    bool       limits;
    char      *answer;

    if (patch_match(r->args, row, e) == -1)
        return -1;
    patch_fields(row, r->args);
    limits = limits_change(sb, &was, row);
    if (limits || patch_is_told(r->args)) {
        ops_ask(r, sb);
        r->op->args = json_object_get(r->args);
        r->op->apply = limits ? limits_begin : patch_store;
        return 0;
    }
    if (store_update(r->k, row, e) == -1)
        return -1;
    answer = op_row_text(r->k, sb->id, true);
    if (answer == NULL)
        return err_set(e, "internal", "the row of %s is damaged", sb->id);
    ops_now(r, sb, patch_apply, 200, answer);
    return 0;
}

/* The env is replaced whole; the services' own stays. */
static int change_env(struct request *r, struct sandbox *sb, struct err *e)
{
    struct json_object *secrets, *env = arg_get(r->args, "env");
    char               *text;
    int                 rc;

    if (env == NULL)
        return err_set(e, "bad_request", "env is missing");
    if (store_env_of(r->k, sb->id, &text, e) == -1)
        return -1;
    secrets = json_tokener_parse(text);
    explicit_bzero(text, strlen(text));
    free(text);
    if (!json_object_is_type(secrets, json_type_object)) {
        json_object_put(secrets);
        return err_set(e, "internal", "the stored env is damaged");
    }
    json_object_object_add(secrets, "env", json_object_get(env));
    rc = store_update_env(r->k, sb->id, json_object_to_json_string_ext(
        secrets, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), e);
    json_object_put(secrets);
    if (rc == 0)
        ops_now(r, sb, env_apply, 204, NULL);
    return rc;
}

int change_request(struct request *r, struct err *e)
{
    struct sandbox *sb = request_sandbox(r, e);
    struct row      row;
    int             rc;

    if (sb == NULL)
        return -1;
    if (rung_is_gone(sb->rung))
        return err_set(e, "not_found", "no sandbox %s", sb->id);
    if (store_may_grow(r->k, e) == -1)
        return -1;
    if (r->kind == OP_ENV)
        return change_env(r, sb, e);
    rc = store_row_of(r->k, sb->id, &row, e);
    if (rc != 1)
        return rc == 0 ? err_set(e, "not_found", "no sandbox %s", sb->id)
            : -1;
    rc = r->kind == OP_PATCH ? change_patch(r, sb, &row, e)
        : change_keepalive(r, sb, &row, e);
    row_fini(&row);
    return rc;
}
