/*
 * admin: health, readiness, metrics, what this installation is and can, and
 * the routes that are to come.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/maintenance.h"
#include "../common/render.h"
#include "operations.h"

int api_healthz(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    (void) a;
    (void) route;
    (void) e;
    answer_text(r, 200, "ok\n");
    return 0;
}

int api_later(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    (void) a;
    err_set(e, "not_implemented", "%s %s is not there yet", r->method,
        route->path);
    snprintf(e->hint, sizeof(e->hint), "%s", route->detail);
    return -1;
}

/* The name that this machine got at its first start. It goes into labels of
 * metrics as it is, so it must not end one. */
static const char *admin_node(struct api *a)
{
    sqlite3_stmt *s;
    const char   *name;

    if (a->node[0] != '\0')
        return a->node;
    if (reader_take(&a->reader, "SELECT value FROM meta WHERE "
            "name='node_name'", &s, NULL) == 0) {
        if (reader_step(&a->reader, s, NULL) == 1) {
            name = (const char *) sqlite3_column_text(s, 0);
            if (name != NULL && strpbrk(name, "\"\\\n") == NULL)
                snprintf(a->node, sizeof(a->node), "%s", name);
        }
        reader_done(&a->reader, s);
    }
    return a->node[0] != '\0' ? a->node : a->s->node_name;
}

/* ---- readiness --------------------------------------------------------- */

/* What the keeper knows without asking anybody: `ready` is its view of the
 * parts, `metrics` its own figures. The caller puts it. */
static int admin_ask(struct api *a, struct request *r, const char *kind,
    struct json_object **answer, struct err *e)
{
    struct operation    o = { .kind = kind };
    struct json_object *reply, *v;

    if (operations_ask(a, r, &o, &reply, e) == -1)
        return -1;
    if (!json_object_object_get_ex(reply, "answer", &v)
        || !json_object_is_type(v, json_type_object)) {
        json_object_put(reply);
        return err_set(e, "unavailable", "the keeper is not ready");
    }
    *answer = json_object_get(v);
    json_object_put(reply);
    return 0;
}

/* false, or a text that is not "ok": the part is not ready. Numbers are
 * figures. */
static bool admin_part_ok(struct json_object *v)
{
    if (json_object_is_type(v, json_type_boolean))
        return json_object_get_boolean(v);
    if (json_object_is_type(v, json_type_string))
        return strcmp(json_object_get_string(v), "ok") == 0;
    return true;
}

static int admin_database(struct api *a, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, "SELECT 1 FROM meta LIMIT 1", &s, e) == -1)
        return -1;
    rc = reader_step(&a->reader, s, e);
    reader_done(&a->reader, s);
    return rc == -1 ? -1 : 0;
}

int api_readyz(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *parts = NULL;
    struct buf          bad;
    struct err          why;

    (void) route;
    (void) e;
    buf_init(&bad, 4096);
    if (admin_database(a, &why) == -1)
        buf_str(&bad, " database");
    if (admin_ask(a, r, "ready", &parts, &why) == -1) {
        buf_str(&bad, " keeper");
    } else {
        json_object_object_foreach(parts, name, v) {
            if (admin_part_ok(v))
                continue;
            buf_str(&bad, " ");
            buf_str(&bad, name);
        }
    }
    json_object_put(parts);
    if (bad.len == 0) {
        answer_text(r, 200, maintenance_on(a->s, NULL)
            ? "ready, in maintenance: nothing new is made or woken\n"
            : "ready\n");
    } else {
        answer_text(r, 503, "not ready:");
        buf_add(&r->out, bad.data, bad.len);
        buf_str(&r->out, "\n");
        answer_header(r, "Retry-After", "1");
    }
    buf_fini(&bad);
    return 0;
}

/* ---- metrics ----------------------------------------------------------- */

static void metrics_head(struct buf *b, const char *name, const char *type,
    const char *what)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, what, name, type);
}

/* A group of `SELECT word, count` as gauges. Words are our own. */
static int metrics_counts(struct api *a, struct buf *b, const char *sql,
    const char *name, const char *label, const char *what, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, sql, &s, e) == -1)
        return -1;
    metrics_head(b, name, "gauge", what);
    while ((rc = reader_step(&a->reader, s, e)) == 1)
        buf_printf(b, "%s{node=\"%s\",%s=\"%s\"} %" PRId64 "\n", name,
            admin_node(a), label, sqlite3_column_type(s, 0)
                == SQLITE_INTEGER
                ? rung_name((enum rung) (sqlite3_column_int(s, 0)
                    % RUNG_COUNT))
                : (const char *) sqlite3_column_text(s, 0),
            (int64_t) sqlite3_column_int64(s, 1));
    reader_done(&a->reader, s);
    return rc;
}

/* Numbers of an object of the keeper as gauges; what it counts comes ready
 * as text. */
static void metrics_figures(struct buf *b, const char *node,
    struct json_object *all)
{
    struct json_object *text = json_object_object_get(all, "text");

    if (json_object_is_type(text, json_type_string))
        buf_str(b, json_object_get_string(text));
    json_object_object_foreach(all, name, v) {
        if (!json_object_is_type(v, json_type_int))
            continue;
        buf_printf(b, "# HELP holdfast_keeper_%s As the keeper sees it now.\n"
            "# TYPE holdfast_keeper_%s gauge\n"
            "holdfast_keeper_%s{node=\"%s\"} %" PRId64 "\n", name, name,
            name, node, json_object_get_int64(v));
    }
}

static void metrics_parts(struct api *a, struct request *r, struct buf *b)
{
    struct json_object *parts = NULL, *figures = NULL;
    struct err          why;
    const char         *node = admin_node(a);

    metrics_head(b, "holdfast_part_up", "gauge",
        "1 when the keeper says that the part works.");
    if (admin_ask(a, r, "ready", &parts, &why) == -1) {
        buf_printf(b, "holdfast_part_up{node=\"%s\",part=\"keeper\"} 0\n",
            node);
        return;
    }
    json_object_object_foreach(parts, name, v) {
        if (json_object_is_type(v, json_type_boolean)
            || json_object_is_type(v, json_type_string))
            buf_printf(b, "holdfast_part_up{node=\"%s\",part=\"%s\"} %d\n",
                node, name, admin_part_ok(v));
    }
    json_object_put(parts);
    if (admin_ask(a, r, "metrics", &figures, &why) == 0) {
        metrics_figures(b, node, figures);
        json_object_put(figures);
    }
}

/* On a listener of its own the gate names no tenant; elsewhere it takes an
 * admin on loopback. */
static bool metrics_allowed(const struct request *r)
{
    if (r->own_listener)
        return true;
    return r->scope == SCOPE_ADMIN && r->remote != NULL
        && (strncmp(r->remote, "127.", 4) == 0
            || strcmp(r->remote, "::1") == 0
            || strncmp(r->remote, "unix:", 5) == 0);
}

int api_metrics(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct buf *b = &r->out;
    struct err  why;

    (void) route;
    if (!metrics_allowed(r))
        return err_set(e, "forbidden",
            "metrics are served on metrics_listen");
    r->status = 200;
    r->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_head(b, "holdfast_info", "gauge", "Version of this machine.");
    buf_printf(b, "holdfast_info{node=\"%s\",version=\"%s\"} 1\n",
        admin_node(a), HOLDFAST_VERSION);
    metrics_head(b, "holdfast_maintenance", "gauge",
        "1 while nothing new is made or woken.");
    buf_printf(b, "holdfast_maintenance{node=\"%s\"} %d\n", admin_node(a),
        maintenance_on(a->s, NULL));
    if (metrics_counts(a, b, "SELECT rung,count(*) FROM sandboxes GROUP BY"
            " rung", "holdfast_sandboxes", "rung", "Sandboxes by rung.",
            &why) == -1
        || metrics_counts(a, b, "SELECT kind,count(*) FROM ops WHERE state<2"
            " GROUP BY kind", "holdfast_operations_open", "kind",
            "Operations that have not ended.", &why) == -1)
        buf_printf(b, "holdfast_part_up{node=\"%s\",part=\"database\"} 0\n",
            admin_node(a));
    metrics_parts(a, r, b);
    counters_render(a->counters, admin_node(a), b);
    return 0;
}

/* ---- info -------------------------------------------------------------- */

static int64_t info_meminfo(const char *name)
{
    FILE   *f = fopen("/proc/meminfo", "re");
    char    line[128];
    size_t  len = strlen(name);
    int64_t kb = 0;

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, len) == 0) {
            kb = strtoll(line + len, NULL, 10);
            break;
        }
    }
    fclose(f);
    return kb / 1024;
}

static void info_limits(struct buf *b, const struct settings *s)
{
    const struct {
        const char *name;
        int64_t     n;
    } all[] = {
        { "memory_default_mb", s->memory_default },
        { "memory_max_mb", s->memory_max },
        { "cpus_default_milli", s->cpus_default_milli },
        { "pids_default", s->pids_default },
        { "disk_default_mb", s->disk_default },
        { "idle_s", s->idle_s },
        { "freeze_s", s->freeze_s },
        { "archive_s", s->archive_s },
        { "keepalive_s", s->keepalive_s },
        { "sandboxes_max", s->sandboxes_max },
        { "tenant_sandboxes_max", s->tenant_sandboxes_max },
        { "tenant_awake_max", s->tenant_awake_max },
        { "body_max_kb", s->body_max_kb },
        { "env_max_kb", s->env_max_kb },
        { "op_hold_max_s", s->op_hold_max_s },
        { "hold_max_s", s->hold_max_s },
        { "exec_timeout_s", s->exec_timeout_s },
        { "exec_output_kb", s->exec_output_kb },
        { "rate_per_s", s->rate_per_s },
    };
    size_t i;

    buf_str(b, ",\"limits\":{");
    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buf_printf(b, "%s\"%s\":%" PRId64, i > 0 ? "," : "", all[i].name,
            all[i].n);
    buf_str(b, "}");
}

/* A feature is there when one of its routes is: the table knows. */
static void info_features(struct buf *b)
{
    static const struct {
        const char *name, *path;
    } all[] = {
        { "files", "/v1/sandboxes/{id}/files" },
        { "processes", "/v1/sandboxes/{id}/processes" },
        { "terminal", "/v1/sandboxes/{id}/terminal" },
        { "tasks", "/v1/sandboxes/{id}/tasks" },
        { "events", "/v1/events" },
        { "shares", "/v1/sandboxes/{id}/shares" },
        { "leases", "/v1/sandboxes/{id}/leases" },
        { "idle", "/v1/sandboxes/{id}/idle" },
        { "freeze", "/v1/sandboxes/{id}/freeze" },
        { "archive", "/v1/sandboxes/{id}/archive" },
        { "usage", "/v1/usage" },
        { "webhooks", "/v1/webhooks" },
        { "snapshots", "/v1/snapshots" },
    };
    const struct route *t;
    bool                there;
    size_t              i;

    buf_str(b, ",\"features\":{\"exec\":true,\"previews\":true");
    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        there = false;
        for (t = routes; t->method != NULL; t++)
            there |= strcmp(t->path, all[i].path) == 0
                && t->answer != api_later;
        buf_printf(b, ",\"%s\":%s", all[i].name, there ? "true" : "false");
    }
    buf_str(b, "}");
}

int api_info(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct json_object *parts = NULL;
    struct buf         *b = &r->out;
    struct err          why;
    int64_t             swap = info_meminfo("SwapTotal:");

    (void) route;
    (void) e;
    answer_json(r, 200);
    buf_str(b, "{\"name\":\"holdfast\",\"version\":\"" HOLDFAST_VERSION "\"");
    buf_str(b, ",\"node\":");
    render_string(b, admin_node(a), strlen(admin_node(a)));
    buf_str(b, ",\"domain\":");
    render_string(b, a->s->domain, strlen(a->s->domain));
    info_limits(b, a->s);
    info_features(b);
    buf_printf(b, ",\"swap\":{\"mode\":\"%s\",\"total_mb\":%" PRId64 "}",
        swap > 0 ? "on" : "off", swap);
    buf_printf(b, ",\"maintenance\":%s,\"parts\":",
        maintenance_on(a->s, NULL) ? "true" : "false");
    if (admin_ask(a, r, "ready", &parts, &why) == 0) {
        buf_str(b, json_object_to_json_string_ext(parts,
            JSON_C_TO_STRING_PLAIN));
        json_object_put(parts);
    } else {
        buf_str(b, "{\"keeper\":false}");
    }
    buf_str(b, "}");
    return 0;
}
