/*
 * create: from checked arguments to a row, a uid, an address, an operation.
 *
 * Owns what a sandbox gets when a caller names nothing, and who may take up an
 * id. Get-or-create needs no lock: one process, one turn at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "admission.h"
#include "links.h"
#include "machine.h"
#include "ops.h"
#include "store.h"

#define SECRETS_MAX (1024 * 1024)

struct draft {                  /* a row in the making; texts are borrowed */
    struct row          row;
    struct json_object *services;       /* without their env */
    struct json_object *secrets;
};

static void draft_fini(struct draft *d)
{
    json_object_put(d->services);
    json_object_put(d->secrets);
}

static char *text_or(struct json_object *args, const char *name,
    const char *def)
{
    const char *s = arg_str(args, name);

    return (char *) (s != NULL ? s : def);
}

static char *json_or(struct json_object *args, const char *name,
    const char *def)
{
    struct json_object *v = arg_get(args, name);

    return (char *) (v == NULL ? def : json_object_to_json_string_ext(v,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* Env values live in one sealed text, apart from what the row shows. */
static void draft_secrets(struct draft *d, struct json_object *args)
{
    struct json_object *all = arg_get(args, "services"), *one, *env, *copy;
    struct json_object *per = json_object_new_object();
    size_t              i, n = 0;

    d->secrets = json_object_new_object();
    d->services = json_object_new_array();
    env = arg_get(args, "env");
    json_object_object_add(d->secrets, "env",
        env != NULL ? json_object_get(env) : json_object_new_object());
    if (json_object_is_type(all, json_type_array))
        n = json_object_array_length(all);
    for (i = 0; i < n; i++) {
        one = json_object_array_get_idx(all, i);
        copy = json_object_new_object();
        json_object_object_foreach(one, name, v) {
            if (strcmp(name, "env") != 0)
                json_object_object_add(copy, name, json_object_get(v));
        }
        env = arg_get(one, "env");
        if (env != NULL && arg_str(one, "name") != NULL)
            json_object_object_add(per, arg_str(one, "name"),
                json_object_get(env));
        json_object_array_add(d->services, copy);
    }
    json_object_object_add(d->secrets, "services", per);
}

static void draft_limits(struct row *r, const struct settings *s,
    struct json_object *args)
{
    struct json_object *cpus = arg_get(args, "cpus");

    r->memory_mb = arg_num(args, "memory_mb", s->memory_default);
    r->cpus_milli = cpus == NULL ? s->cpus_default_milli
        : (int64_t) (json_object_get_double(cpus) * 1000.0 + 0.5);
    r->pids = arg_num(args, "pids", s->pids_default);
    r->disk_mb = arg_num(args, "disk_mb", s->disk_default);
    r->idle_s = arg_num(args, "idle_s", s->idle_s);
    r->freeze_s = arg_num(args, "freeze_s", s->freeze_s);
    r->ttl_s = arg_num(args, "ttl_s", 0);
}

static void draft_make(struct draft *d, struct request *r)
{
    struct json_object *a = r->args;
    struct json_object *external = arg_get(a, "external");
    struct json_object *project = arg_get(a, "project");
    struct row         *row = &d->row;

    memset(d, 0, sizeof(*d));
    draft_secrets(d, a);
    row->rung = RUNG_CREATING;
    row->tenant = (char *) r->tenant;
    row->key = text_or(a, "key", NULL);
    row->project_id = text_or(project, "id", NULL);
    row->project_user = row->project_id == NULL ? NULL
        : text_or(project, "user_id", "");
    row->ext_user = text_or(external, "user_id", NULL);
    row->ext_project = text_or(external, "project_id", NULL);
    row->ext_workspace = text_or(external, "workspace_id", NULL);
    row->image = text_or(a, "image", r->k->s->image);
    row->template_name = text_or(a, "template", NULL);
    row->git_remote_url = text_or(a, "git_remote_url", NULL);
    row->ports = json_or(a, "ports", "[]");
    row->labels = json_or(a, "labels", "{}");
    row->services = (char *) json_object_to_json_string_ext(d->services,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    row->setup = json_or(a, "setup", NULL);
    row->visibility = text_or(a, "visibility", "public");
    row->idle_policy = text_or(a, "idle_policy", "sleep");
    row->wake_on = text_or(a, "wake_on", "visit");
    row->ports_policy = text_or(a, "ports_policy", "any");
    row->host_header = text_or(a, "host_header", "public");
    row->node = r->k->node;
    row->engine = (char *) "docker";
    draft_limits(row, r->k->s, a);
    row->created_ms = row->updated_ms = row->active_ms = clock_wall_ms();
    row->share_epoch = row->created_ms / 1000;
    if (row->ttl_s > 0)
        row->expires_ms = row->created_ms + row->ttl_s * 1000;
}

/* ---- after the commit ---------------------------------------------------- */

static void create_apply(struct op *op)
{
    struct sandbox *sb = op->sb;
    struct row      r;
    struct err      e;

    if (sb->claimed) {
        sb->claimed = false;
        if (store_row_of(op->k, sb->id, &r, &e) == 1) {
            sandbox_configure(sb, &r);
            sb->created_ms = r.created_ms;
            sb->active_ms = r.active_ms;
            row_fini(&r);
        }
        sb->ws_epoch++;
        sb->started_ms = sb->stopped_ms = 0;
        sb->falls = 0;
        sb->stopped_by = STOPPED_NOBODY;
        sandbox_why(sb, NULL);
    }
    machine_enqueue(sb, op);
}

void create_undo(struct sandbox *sb)
{
    if (sb->claimed) {
        sb->claimed = false;
        return;
    }
    if (sb->rung != RUNG_CREATING || sb->queue != NULL)
        return;
    sb->erased = true;
    links_forget(sb);
    sandbox_free(sb);
}

/* ---- the two ways of a new one ------------------------------------------- */

static int create_fresh(struct request *r, struct draft *d, struct err *e)
{
    struct keeper  *k = r->k;
    struct sandbox *sb;
    const char     *secrets;

    if (sandbox_places(k, &d->row.uid, &d->row.addr) == -1)
        return err_set(e, "queue_full", "every uid or address of this machine "
            "is taken");
    d->row.generation = (int64_t) sandbox_next_generation(k);
    secrets = json_object_to_json_string_ext(d->secrets,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (store_insert(k, &d->row, secrets, e) == -1)
        return -1;
    sb = sandbox_add(k, &d->row);
    if (sb == NULL)
        log_fatal("out of memory");
    sb->reserved = sandbox_next_generation(k);
    if (ops_intend(r, sb, create_apply, NULL, e) == -1) {
        create_undo(sb);
        return -1;
    }
    return 0;
}

static int create_again(struct request *r, struct draft *d,
    struct sandbox *sb, struct err *e)
{
    const char *secrets;

    if (sb->claimed)
        return err_set(e, "exists", "sandbox %s is being created", sb->id);
    snprintf(d->row.id, sizeof(d->row.id), "%s", sb->id);
    d->row.generation = (int64_t) sb->generation;
    secrets = json_object_to_json_string_ext(d->secrets,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (store_reattach(r->k, &d->row, secrets, e) == -1
        || ops_intend(r, sb, create_apply, NULL, e) == -1)
        return -1;
    sb->claimed = true;
    return 0;
}

/* ---- who has it already -------------------------------------------------- */

/* The one that a key or a project names. 1 found, 0 none, -1. */
static int create_named(struct request *r, const struct row *row,
    char id[ID_MAX + 1], struct err *e)
{
    int rc = 0;

    if (row->key != NULL)
        rc = store_find_key(r->k, r->tenant, row->key, id, e);
    if (rc == 0 && row->project_id != NULL)
        rc = store_find_project(r->k, r->tenant, row->project_id,
            row->project_user, id, e);
    return rc;
}

static int create_get(struct request *r, struct sandbox *sb, struct err *e)
{
    bool  by_key = json_object_get_boolean(arg_get(r->args, "by_key"));
    bool  project = json_object_get_boolean(arg_get(r->args, "project_key"));
    char *text;

    if (!by_key && !project)
        return err_set(e, "exists", "the key belongs to sandbox %s", sb->id);
    if (rung_is_gone(sb->rung)) {
        err_set(e, "exists", "sandbox %s is being removed", sb->id);
        e->retry_after_s = 1;
        return -1;
    }
    if (by_key || sb->rung == RUNG_CREATING) {
        r->kind = OP_START;     /* waits for it, wakes it */
        if (ops_intend(r, sb, create_apply, NULL, e) == -1)
            return -1;
        r->op->want_status = 200;
        return 0;
    }
    text = op_row_text(r->k, sb->id, r->v1);
    if (text == NULL)
        return err_set(e, "internal", "the row of %s is damaged", sb->id);
    ops_now(r, sb, NULL, 200, text);
    return 0;
}

static int create_taken(struct request *r, struct sandbox *sb, struct err *e)
{
    bool ours = strcmp(sb->tenant->name, r->tenant) == 0;

    if (rung_is_gone(sb->rung) && !ours)
        return err_set(e, "workspace_owner_mismatch", "a workspace with the "
            "id %s is kept for another tenant", sb->id);
    err_field(e, "exists", "id", "sandbox %s exists already", sb->id);
    if (rung_is_gone(sb->rung))
        e->retry_after_s = 1;
    return -1;
}

static int create_named_or_id(struct request *r, struct draft *d,
    struct sandbox **again, struct err *e)
{
    struct sandbox *sb = NULL;
    char            id[ID_MAX + 1];
    const char     *given = arg_str(r->args, "id");
    int             rc = create_named(r, &d->row, id, e);

    *again = NULL;
    if (rc == -1)
        return -1;
    if (rc == 1)
        sb = sandbox_find(r->k, id);
    if (sb != NULL) {
        if (given != NULL && strcmp(given, sb->id) != 0)
            return err_set(e, "conflict", "the key belongs to sandbox %s",
                sb->id);
        if (sb->rung != RUNG_DELETED)
            return create_get(r, sb, e);
        *again = sb;
        return 0;
    }
    if (given == NULL) {
        ids_new(d->row.id);
        return 0;
    }
    snprintf(d->row.id, sizeof(d->row.id), "%s", given);
    sb = sandbox_find(r->k, given);
    if (sb == NULL)
        return 0;
    if (sb->rung != RUNG_DELETED || strcmp(sb->tenant->name, r->tenant) != 0)
        return create_taken(r, sb, e);
    *again = sb;
    return 0;
}

int create_request(struct request *r, struct err *e)
{
    struct sandbox *again;
    struct draft    d;
    int             rc;

    if (!json_object_is_type(r->args, json_type_object))
        return err_set(e, "bad_request", "args must be an object");
    if (move_engine(r->k, e) == -1)
        return -1;
    draft_make(&d, r);
    rc = create_named_or_id(r, &d, &again, e);
    if (rc == 0 && r->op == NULL) {
        rc = admission_create(r->k, tenant_of(r->k, r->tenant),
            d.row.memory_mb, d.row.disk_mb, e);
        if (rc == 0)
            rc = again != NULL ? create_again(r, &d, again, e)
                : create_fresh(r, &d, e);
    }
    draft_fini(&d);
    return rc;
}
