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

static void limits_set(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL)
        log_warn("sandbox=%s limits: %s", sb->id, r->error->msg);
}

static void change_limits(struct sandbox *sb)
{
    struct workspace_paths p;
    struct engine_spec     spec;

    if (!rung_awake(sb->rung) || sb->engine_ref == NULL)
        return;
    start_spec(sb, &spec, &p);
    engine_update(sb->k->engine, sb->engine_ref, &spec, limits_set, sb);
}

static void patch_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct line     was, is;
    char           *host = NULL;
    int64_t         memory, cpus, pids;
    struct row      r;
    struct err      e;
    bool            differs;

    if (sb == NULL)
        return;
    link_policy(sb, &was);
    sandbox_text(&host, sb->host_mode);
    memory = sb->memory_mb;
    cpus = sb->cpus_milli;
    pids = sb->pids;
    if (store_row_of(op->k, sb->id, &r, &e) == 1) {
        sandbox_configure(sb, &r);
        row_fini(&r);
    }
    link_policy(sb, &is);
    differs = policy_differs(&was.policy, &is.policy)
        || strcmp(host, sb->host_mode) != 0;
    free(host);
    if (differs && sb->rung == RUNG_RUNNING) {
        start_renew(sb);
    } else if (differs && rung_at_rest(sb->rung)) {
        sb->generation = sandbox_next_generation(sb->k);
        store_dirty(sb);
        links_broadcast(sb);
    }
    if (memory != sb->memory_mb || cpus != sb->cpus_milli || pids != sb->pids)
        change_limits(sb);
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

static int change_patch(struct request *r, struct sandbox *sb,
    struct row *row, struct err *e)
{
    int64_t match = arg_num(r->args, "if_match", 0);
    char   *answer;

    if (match != 0 && match != row->version)
        return err_set(e, "precondition_failed", "the sandbox has changed: it "
            "has version %" PRId64 " now", row->version);
    patch_fields(row, r->args);
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
