/*
 * engine_events: the engine's event stream, and whether the engine is there.
 *
 *   probe → stream → (broken) → LOST → wait → probe → stream since the last
 *   event → BACK
 *
 * One stream for the whole life, of containers with our labels only. A ping
 * every ten seconds tells a silent stream from a dead engine. Events of the
 * time without a stream are asked for (`since`), but an engine that was
 * restarted has forgotten them: BACK means "list".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "engine_docker.h"

#define LINE_MAX_LEN (256 * 1024)
#define PING_MS      10000
#define PING_WAIT_MS 8000
#define AGAIN_MIN_MS 50
#define AGAIN_MAX_MS 2000

struct events {
    struct engine  *en;
    struct dk_call *stream;
    struct dk_call *ping;
    struct timer    timer;      /* the next probe, or the next ping */
    struct buf      line;       /* what has come of a line */
    bool            swept, told_lost;
    int64_t         again_ms;
    int64_t         last_ns;    /* time of the newest event seen */
    char            said[256];  /* the last reason logged */
};

static void events_probe(struct timer *t);
static void events_ping(struct timer *t);

static void tell(struct events *ev, enum engine_event what, const char *id,
    const char *ref, int exit_code)
{
    struct engine *en = ev->en;

    if (en->news != NULL)
        en->news(en->news_arg, what, id, ref, exit_code);
}

static void timer_after(struct events *ev, void (*due)(struct timer *),
    int64_t ms)
{
    ev->timer.due = due;
    loop_timer_set(ev->en->loop, &ev->timer, ms);
}

/* ---- one event ---------------------------------------------------------- */

static const struct {
    const char       *action;
    enum engine_event event;
} actions[] = {
    { "die",     ENGINE_DIED },
    { "oom",     ENGINE_OOM },
    { "destroy", ENGINE_REMOVED },
    { "start",   ENGINE_STARTED },
    { "pause",   ENGINE_PAUSED },
    { "unpause", ENGINE_UNPAUSED },
};

static void take_event(struct events *ev, struct json_object *o)
{
    struct json_object *actor = engine_get(o, "Actor");
    struct json_object *attrs = engine_get(actor, "Attributes");
    const char         *action = engine_str(o, "Action");
    const char         *code = engine_str(attrs, "exitCode");
    int64_t             at = engine_int(o, "timeNano");

    if (at > ev->last_ns)
        ev->last_ns = at;
    if (strcmp(engine_str(o, "Type"), "container") != 0
        || !engine_owns(ev->en, attrs))
        return;
    for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
        if (strcmp(action, actions[i].action) == 0)
            tell(ev, actions[i].event, engine_str(attrs, LABEL_ID),
                engine_str(actor, "ID"), (int)strtol(code, NULL, 10));
}

static void take_line(struct events *ev, const char *line, size_t len)
{
    struct json_object *o;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    if (len == 0)
        return;
    o = engine_parse(line, len);
    if (o != NULL)
        take_event(ev, o);
    else
        log_warn("the engine sent an event that makes no sense: left out");
    json_object_put(o);
}

/* A line over the ceiling ends the stream; the next BACK makes up for it. */
static bool stream_bytes(void *arg, const char *data, size_t len)
{
    struct events *ev = arg;
    const char    *nl;
    size_t         n;

    while (len > 0) {
        nl = memchr(data, '\n', len);
        n = nl != NULL ? (size_t)(nl - data) : len;
        buf_add(&ev->line, data, n);
        if (ev->line.failed) {
            log_warn("the engine sent an event that is too large");
            return false;
        }
        if (nl == NULL)
            break;
        if (ev->line.len > 0)
            take_line(ev, ev->line.data, ev->line.len);
        buf_reset(&ev->line);
        data += n + 1;
        len -= n + 1;
    }
    return true;
}

/* ---- the stream --------------------------------------------------------- */

static void lost(struct events *ev, const char *why)
{
    if (ev->stream != NULL)
        dk_cancel(ev->stream);
    ev->stream = NULL;
    if (ev->ping != NULL)
        dk_cancel(ev->ping);
    ev->ping = NULL;
    if (strcmp(ev->said, why) != 0)
        log_warn("the engine is away: %s", why);
    snprintf(ev->said, sizeof(ev->said), "%s", why);
    timer_after(ev, events_probe, ev->again_ms);
    ev->again_ms = ev->again_ms * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS
        : ev->again_ms * 2;
    if (!ev->told_lost) {
        ev->told_lost = true;
        tell(ev, ENGINE_LOST, NULL, NULL, 0);
    }
}

static void stream_begun(void *arg)
{
    struct events *ev = arg;

    if (!ev->swept)
        texts_sweep(ev->en);
    ev->swept = true;
    ev->told_lost = false;
    ev->again_ms = AGAIN_MIN_MS;
    ev->said[0] = 0;
    timer_after(ev, events_ping, PING_MS);
    log_info("the engine answers: Docker %s, API %s", ev->en->caps.version,
        ev->en->caps.api);
    tell(ev, ENGINE_BACK, NULL, NULL, 0);
}

static void stream_done(void *arg, const struct dk_answer *a)
{
    struct events *ev = arg;
    struct err     e;

    ev->stream = NULL;
    if (a->transport && a->status == 200)
        err_set(&e, "engine_unavailable", "its event stream ended");
    else
        engine_refusal(ev->en, a, "engine_unavailable", "follow its events",
            &e);
    lost(ev, e.msg);
}

static void stream_begin(struct events *ev)
{
    struct dk_request r = { .method = "GET", .doing = "follow its events",
        .max = DK_SMALL, .begun = stream_begun, .bytes = stream_bytes,
        .done = stream_done, .arg = ev };
    struct buf        path;

    buf_reset(&ev->line);
    buf_init(&path, 2048);
    buf_str(&path, "/events?");
    if (ev->last_ns > 0)
        buf_printf(&path, "since=%lld.%09lld&",
            (long long)(ev->last_ns + 1) / 1000000000,
            (long long)(ev->last_ns + 1) % 1000000000);
    engine_filter(ev->en, "\"type\":[\"container\"],\"event\":[\"die\","
        "\"oom\",\"destroy\",\"start\",\"pause\",\"unpause\"],",
        LABEL_MANAGED "=true", &path);
    r.path = path.data;
    ev->stream = engine_call_with(ev->en, &r);
    buf_fini(&path);
}

static void probed(void *arg, const struct engine_result *r)
{
    struct events *ev = arg;

    if (r->error != NULL)
        lost(ev, r->error->msg);
    else
        stream_begin(ev);
}

static void events_probe(struct timer *t)
{
    engine_probe(((struct events *)t->owner)->en, probed, t->owner);
}

/* ---- the ping ----------------------------------------------------------- */

static void ping_done(void *arg, const struct dk_answer *a)
{
    struct events *ev = arg;

    ev->ping = NULL;
    if (!a->transport)
        lost(ev, a->error.msg);
    else
        timer_after(ev, events_ping, PING_MS);
}

static void events_ping(struct timer *t)
{
    struct events    *ev = t->owner;
    struct dk_request r = { .method = "GET", .path = "/_ping",
        .doing = "answer a ping", .deadline_ms = PING_WAIT_MS, .max = 4096,
        .done = ping_done, .arg = ev };

    ev->ping = dk_call(ev->en->http, &r);
}

/* ---- life --------------------------------------------------------------- */

struct events *events_new(struct engine *en)
{
    struct events *ev = calloc(1, sizeof(*ev));

    if (ev == NULL)
        return NULL;
    ev->en = en;
    ev->again_ms = AGAIN_MIN_MS;
    ev->timer.owner = ev;
    buf_init(&ev->line, LINE_MAX_LEN);
    timer_after(ev, events_probe, 0);
    return ev;
}

/* Its calls end with dk_http_free. */
void events_free(struct events *ev)
{
    if (ev == NULL)
        return;
    loop_timer_clear(ev->en->loop, &ev->timer);
    buf_fini(&ev->line);
    free(ev);
}
