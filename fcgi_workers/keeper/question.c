/*
 * question: ports, metrics, status, ready: answered from memory, or when the
 * engine has said. Writes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/buf.h"
#include "../common/clock.h"
#include "../common/render.h"
#include "admission.h"
#include "figures.h"
#include "links.h"
#include "live.h"
#include "news.h"
#include "ops.h"
#include "peers.h"
#include "store.h"
#include "workspace.h"

#define ANSWER_MAX 65536

/* ---- ports --------------------------------------------------------------- */

static void ports_one(struct buf *b, const struct sandbox *sb, unsigned port,
    unsigned families, bool first)
{
    bool     declared = false;
    unsigned i;

    for (i = 0; i < sb->nports; i++)
        declared |= sb->ports[i] == port;
    buf_printf(b, "%s{\"port\":%u,\"ipv4\":%s,\"ipv6\":%s,\"declared\":%s,"
        "\"preview_url\":\"", first ? "" : ",", port,
        (families & GUEST_PORT_4) != 0 ? "true" : "false",
        (families & GUEST_PORT_6) != 0 ? "true" : "false",
        declared ? "true" : "false");
    render_preview_url(b, sb->k->s, sb->id, port);
    buf_str(b, "\"}");
}

static void ports_live(struct buf *b, const struct sandbox *sb)
{
    const struct guest_status *st = &sb->live->status;
    unsigned                   i;

    for (i = 0; i < st->nports; i++)
        ports_one(b, sb, st->ports[i].port, st->ports[i].families, i == 0);
}

/* As they were when it went to sleep. */
static void ports_kept(struct buf *b, const struct sandbox *sb)
{
    struct json_object *all = sb->last_status == NULL ? NULL
        : json_tokener_parse(sb->last_status);
    struct json_object *list = arg_get(all, "ports"), *one;
    size_t              i, n = 0;

    if (json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    for (i = 0; i < n; i++) {
        one = json_object_array_get_idx(list, i);
        ports_one(b, sb, (unsigned) arg_num(one, "port", 0),
            (unsigned) arg_num(one, "families", 0), i == 0);
    }
    json_object_put(all);
}

static void ask_ports(struct buf *b, const struct sandbox *sb)
{
    bool live = sb->rung == RUNG_RUNNING && sb->live != NULL
        && sb->live->has_status;

    buf_printf(b, "{\"id\":\"%s\",\"asleep\":%s,\"ports\":[", sb->id,
        sb->rung == RUNG_RUNNING ? "false" : "true");
    if (live)
        ports_live(b, sb);
    else
        ports_kept(b, sb);
    buf_str(b, "]}");
}

/* ---- status -------------------------------------------------------------- */

static const char *service_word(unsigned state)
{
    static const char *const words[] = { "none", "starting", "ready",
        "backoff", "exited", "failed" };

    return state < sizeof(words) / sizeof(words[0]) ? words[state] : "none";
}

static void ask_status(struct buf *b, const struct sandbox *sb)
{
    const struct guest_status *st;
    unsigned                   i;

    buf_printf(b, "{\"id\":\"%s\",\"rung\":\"%s\",\"generation\":%" PRIu64
        ",\"pid\":%d,\"queued\":%s", sb->id, rung_name(sb->rung),
        sb->generation, (int) sb->pid, sb->queue != NULL ? "true" : "false");
    if (sb->live != NULL && sb->live->has_status) {
        st = &sb->live->status;
        buf_printf(b, ",\"execs\":%u,\"services\":[", st->execs);
        for (i = 0; i < st->nservices; i++)
            buf_printf(b, "%s{\"state\":\"%s\",\"starts\":%u,"
                "\"exit_code\":%d,\"exit_signal\":%u}", i > 0 ? "," : "",
                service_word(st->services[i].state), st->services[i].starts,
                st->services[i].exit_code, st->services[i].exit_signal);
        buf_str(b, "]");
    }
    buf_str(b, "}");
}

/* ---- metrics ------------------------------------------------------------- */

static void ask_figures(struct buf *b, struct keeper *k)
{
    struct buf text;
    int64_t    longest_us, commits;
    size_t     gates, asks;
    int        i;

    buf_init(&text, ANSWER_MAX / 2);
    figures_render(k, &text);
    store_figures(k, &longest_us, &commits);
    links_figures(k, &gates, &asks);
    buf_printf(b, "{\"events_waiting\":%" PRId64 ",\"sandboxes\":{",
        store_uncopied(k));
    for (i = 0; i < RUNG_COUNT; i++)
        buf_printf(b, "%s\"%s\":%zu", i > 0 ? "," : "",
            rung_name((enum rung) i), sandbox_count_rung(k, (enum rung) i));
    buf_printf(b, "},\"starting\":%zu,\"waiting\":%zu,\"gates\":%zu,"
        "\"held_asks\":%zu,\"commits\":%" PRId64 ",\"commit_longest_us\":%"
        PRId64 ",\"generation\":%" PRIu64 ",\"uptime_s\":%" PRId64,
        admission_starting(k), admission_waiting(k), gates, asks, commits,
        longest_us, k->generation,
        (loop_now_ms(k->loop) - k->began_ms) / 1000);
    buf_str(b, ",\"text\":");
    render_string(b, text.data != NULL ? text.data : "", text.len);
    buf_str(b, "}");
    buf_fini(&text);
}

static void stats_come(void *arg, const struct engine_result *r)
{
    struct op *op = arg;
    char       text[320];

    if (r->error == NULL) {
        snprintf(text, sizeof(text), "{\"id\":\"%s\",\"asleep\":false,"
            "\"cpu_ms\":%" PRId64 ",\"memory_bytes\":%" PRId64
            ",\"memory_limit_bytes\":%" PRId64 ",\"pids\":%" PRId64
            ",\"swap_bytes\":%" PRId64 "}", op->sandbox_id, r->stats->cpu_ms,
            r->stats->memory_bytes, r->stats->memory_limit, r->stats->pids,
            r->stats->swap_bytes);
        sandbox_text(&op->answer, text);
    }
    op_end(op, r->error);
}

static void stats_ask(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct err      e;

    if (sb != NULL && sb->engine_ref != NULL) {
        engine_stats(op->k->engine, sb->engine_ref, stats_come, op);
        return;
    }
    err_set(&e, "not_found", "no sandbox %s", op->sandbox_id);
    op_end(op, &e);
}

/* ---- ready --------------------------------------------------------------- */

static void ready_part(struct buf *b, const char *name, bool ok,
    const char *why)
{
    buf_printf(b, ",\"%s\":", name);
    if (ok)
        buf_str(b, "true");
    else
        render_string(b, why, strlen(why));
}

static void ask_ready(struct buf *b, struct keeper *k)
{
    struct err e;
    bool       room = workspace_room(k, &e) == 0;

    buf_str(b, "{\"keeper\":true");
    ready_part(b, "docker", k->engine_up && k->engine_seen,
        "does not answer");
    ready_part(b, "redis", !k->s->run_redis || news_up(k),
        "does not answer");
    ready_part(b, "disk", room, room ? "" : e.msg);
    ready_part(b, "door", peers_up(k, "doorctl"), "is not there");
    ready_part(b, "net", peers_up(k, "net"), "is not there");
    buf_printf(b, ",\"memory_available_mb\":%" PRId64 ",\"sandboxes\":%zu}",
        admission_memory_mb(), sandbox_count(k));
}

/* ---- the door to all of them --------------------------------------------- */

int question_request(struct request *r, struct err *e)
{
    struct sandbox *sb = NULL;
    struct buf      b;

    if (r->kind != OP_READY && (r->sandbox != NULL || r->kind != OP_METRICS)) {
        sb = request_sandbox(r, e);
        if (sb == NULL)
            return -1;
        if (rung_is_gone(sb->rung))
            return err_set(e, "not_found", "no sandbox %s", sb->id);
    }
    if (r->kind == OP_METRICS && sb != NULL && rung_awake(sb->rung)
        && sb->engine_ref != NULL) {
        ops_ask(r, sb);
        r->op->apply = stats_ask;
        return 0;
    }
    buf_init(&b, ANSWER_MAX);
    if (r->kind == OP_PORTS)
        ask_ports(&b, sb);
    else if (r->kind == OP_STATUS)
        ask_status(&b, sb);
    else if (r->kind == OP_READY)
        ask_ready(&b, r->k);
    else if (sb != NULL)
        buf_printf(&b, "{\"id\":\"%s\",\"asleep\":true}", sb->id);
    else
        ask_figures(&b, r->k);
    if (b.failed) {
        buf_fini(&b);
        return err_set(e, "internal", "out of memory");
    }
    ops_now(r, sb, NULL, 200, b.data);
    return 0;
}
