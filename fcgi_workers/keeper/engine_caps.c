/*
 * engine_caps: what this engine is and can do, and the calls about limits:
 * update and stats.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/log.h"
#include "engine_docker.h"
#include "engine_spec.h"

#define API_MAJOR 1
#define API_LEAST 41            /* Docker 20.10 */
#define API_MOST  47            /* the newest that we have read about */

/* ---- caps --------------------------------------------------------------- */

/* "1.41" as the minor number; -1 if it is not of that form. */
static int api_minor(const char *api)
{
    char *end;
    long  major, minor;

    major = strtol(api, &end, 10);
    if (major != API_MAJOR || *end != '.')
        return -1;
    minor = strtol(end + 1, &end, 10);
    return *end == 0 && minor >= 0 && minor < 10000 ? (int)minor : -1;
}

static bool has_option(struct json_object *info, const char *name)
{
    struct json_object *list = engine_get(info, "SecurityOptions");
    const char         *s;
    char                want[32];
    size_t              n = 0;

    snprintf(want, sizeof(want), "name=%s", name);
    if (list != NULL && json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        s = json_object_get_string(json_object_array_get_idx(list, i));
        if (s != NULL && strncmp(s, want, strlen(want)) == 0)
            return true;
    }
    return false;
}

static void fill_caps(struct engine_caps *c, struct json_object *info)
{
    snprintf(c->version, sizeof(c->version), "%s",
        engine_str(info, "ServerVersion"));
    snprintf(c->arch, sizeof(c->arch), "%s",
        engine_str(info, "Architecture"));
    snprintf(c->root_dir, sizeof(c->root_dir), "%s",
        engine_str(info, "DockerRootDir"));
    c->userns_remap = has_option(info, "userns");
    c->rootless = has_option(info, "rootless");
    c->cgroup2 = strcmp(engine_str(info, "CgroupVersion"), "2") == 0;
    c->swap = json_object_get_boolean(engine_get(info, "SwapLimit"));
    c->cpus = (int)engine_int(info, "NCPU");
    c->memory_mb = engine_int(info, "MemTotal") / (1024 * 1024);
    c->answers = c->freeze = c->update = true;
}

static void got_info(void *arg, const struct dk_answer *a)
{
    struct engine_op    *op = arg;
    struct engine       *en = op->en;
    struct engine_result r = { .caps = &en->caps };
    struct json_object  *o = NULL;

    if (!a->transport || a->status != 200)
        engine_refusal(en, a, "engine_unavailable", op->doing, &op->error);
    else
        o = engine_json(a, json_type_object, op->doing, &op->error);
    if (o == NULL) {
        engine_op_end(op, &op->error, NULL);
        return;
    }
    fill_caps(&en->caps, o);
    json_object_put(o);
    if (en->caps.rootless) {
        en->caps.answers = false;
        err_set(&op->error, "engine_unavailable", "this Docker Engine runs "
            "rootless; sandboxes need one that runs as root");
        engine_op_end(op, &op->error, NULL);
        return;
    }
    engine_op_end(op, NULL, &r);
}

static void got_ping(void *arg, const struct dk_answer *a)
{
    struct engine_op *op = arg;
    struct engine    *en = op->en;
    int               minor = api_minor(a->api);

    en->caps.answers = false;
    if (!a->transport || a->status != 200) {
        engine_refusal(en, a, "engine_unavailable", op->doing, &op->error);
        engine_op_end(op, &op->error, NULL);
        return;
    }
    if (minor < API_LEAST) {
        err_set(&op->error, "engine_unavailable", "this Docker Engine speaks "
            "API %s; version %d.%d (Docker 20.10) or newer is needed",
            a->api[0] != 0 ? a->api : "0", API_MAJOR, API_LEAST);
        engine_op_end(op, &op->error, NULL);
        return;
    }
    snprintf(en->caps.api, sizeof(en->caps.api), "%d.%d", API_MAJOR,
        minor < API_MOST ? minor : API_MOST);
    engine_call(en, "GET", "/info", NULL, op->doing, DK_CALL_MS, got_info,
        op);
}

/* The ping goes without a version: the one known may be another engine's. */
void engine_probe(struct engine *en, engine_done done, void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "ask the engine what it is", NULL, done, arg);
    struct dk_request q = { .method = "GET", .path = "/_ping",
        .doing = op->doing, .deadline_ms = 5000, .max = 4096,
        .done = got_ping, .arg = op };

    dk_call(en->http, &q);
}

void engine_ask_caps(struct engine *en, engine_done done, void *arg)
{
    engine_probe(en, done, arg);
}

int64_t engine_cpus_milli(const struct engine *en)
{
    long n = en->caps.cpus > 0 ? en->caps.cpus : sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int64_t)n * 1000 : 0;
}

/* ---- limits ------------------------------------------------------------- */

static void got_update(void *arg, const struct dk_answer *a)
{
    struct engine_op *op = arg;

    if (a->transport && a->status == 200) {
        engine_op_end(op, NULL, NULL);
        return;
    }
    engine_refusal(op->en, a, "limit_below_use", op->doing, &op->error);
    engine_op_end(op, &op->error, NULL);
}

void engine_update(struct engine *en, const char *ref,
    const struct engine_spec *spec, engine_done done, void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "change the sandbox's limits", ref, done, arg);
    struct buf        body;
    char              path[128];

    buf_init(&body, 4096);
    spec_limits_json(spec, engine_cpus_milli(en), &body);
    snprintf(path, sizeof(path), "/containers/%s/update",
        engine_ref_ok(ref) ? ref : "-");
    engine_call(en, "POST", path, body.data != NULL ? body.data : "{}",
        op->doing, DK_CALL_MS, got_update, op);
    buf_fini(&body);
}

/* ---- stats -------------------------------------------------------------- */

/* Memory in use is usage less the page cache that can be dropped at once:
 * cgroup v1 and v2 name it differently. */
static void read_stats(struct json_object *o, struct engine_stats *st)
{
    struct json_object *mem = engine_get(o, "memory_stats");
    struct json_object *more = engine_get(mem, "stats");
    struct json_object *cpu = engine_get(engine_get(o, "cpu_stats"),
        "cpu_usage");
    int64_t             cache;

    memset(st, 0, sizeof(*st));
    cache = engine_get(more, "total_inactive_file") != NULL
        ? engine_int(more, "total_inactive_file")
        : engine_int(more, "inactive_file");
    st->cpu_ms = engine_int(cpu, "total_usage") / 1000000;
    st->memory_bytes = engine_int(mem, "usage");
    if (cache > 0 && cache < st->memory_bytes)
        st->memory_bytes -= cache;
    st->memory_limit = engine_int(mem, "limit");
    st->swap_bytes = engine_int(more, "total_swap");
    st->pids = engine_int(engine_get(o, "pids_stats"), "current");
}

static void got_stats(void *arg, const struct dk_answer *a)
{
    struct engine_op    *op = arg;
    struct engine_stats  st;
    struct engine_result r = { .stats = &st };
    struct json_object  *o = NULL;

    if (!a->transport || a->status != 200)
        engine_refusal(op->en, a, "internal", op->doing, &op->error);
    else
        o = engine_json(a, json_type_object, op->doing, &op->error);
    if (o == NULL) {
        engine_op_end(op, &op->error, NULL);
        return;
    }
    read_stats(o, &st);
    json_object_put(o);
    engine_op_end(op, NULL, &r);
}

/* One-shot: without it Docker waits a second for a second sample. */
void engine_stats(struct engine *en, const char *ref, engine_done done,
    void *arg)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "measure the sandbox", ref, done, arg);
    char              path[160];

    snprintf(path, sizeof(path),
        "/containers/%s/stats?stream=false&one-shot=true",
        engine_ref_ok(ref) ? ref : "-");
    engine_call(en, "GET", path, NULL, op->doing, DK_CALL_MS, got_stats, op);
}
