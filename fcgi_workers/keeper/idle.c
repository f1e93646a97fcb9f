/*
 * idle: see idle.h.
 *
 * Asks everybody whom the reaper would ask (gates, guest, leases, CPU and
 * network over half a second), and renders what they said. Changes nothing,
 * not even when the reaper looks next.
 */
#include "idle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../common/buf.h"
#include "../common/clock.h"
#include "../common/render.h"
#include "inquiry.h"
#include "leases.h"
#include "live.h"
#include "reaper.h"

#define WINDOW_MS  500
#define ANSWER_MAX 65536

struct idle {
    struct op      *op;
    struct inflight in;
    struct usage    from;
    struct timer    window;
    bool            gates_said, window_over;
};

/* ---- what keeps it awake ------------------------------------------------- */

struct reasons {
    struct buf *b;
    int         n;
    int64_t     now, until;     /* wall clock; INT64_MAX: nobody knows */
};

/* since, until: 0 when not known. An end that is not known ends nothing. */
static void reason(struct reasons *w, const char *class, const char *id,
    int64_t count, int64_t since, int64_t until)
{
    buf_printf(w->b, "%s{\"class\":\"%s\"", w->n++ > 0 ? "," : "", class);
    if (id != NULL)
        buf_printf(w->b, ",\"id\":\"%s\"", id);
    if (count > 0)
        buf_printf(w->b, ",\"count\":%" PRId64, count);
    if (since > 0) {
        buf_str(w->b, ",\"since\":");
        render_time(w->b, since);
    }
    if (until > 0) {
        buf_str(w->b, ",\"until\":");
        render_time(w->b, until);
    }
    buf_str(w->b, "}");
    if (until == 0)
        until = INT64_MAX;
    if (until > w->until)
        w->until = until;
}

static void reason_lease(void *arg, const struct lease *l)
{
    reason(arg, "lease", l->id, 0, l->made_ms, l->until_ms);
}

static void reasons_gate(struct reasons *w, const struct sandbox *sb,
    const struct inflight *in)
{
    int64_t next = reaper_next_s(sb) * 1000;

    if (in->silent)
        reason(w, "unknown", "gate", 0, 0, 0);
    if (in->active > 0)
        reason(w, "http_inflight", NULL, in->active, 0, 0);
    else if (in->idle_ms < next)
        reason(w, "http_recent", NULL, 0, w->now - in->idle_ms,
            w->now - in->idle_ms + next);
}

static void reasons_guest(struct reasons *w, const struct sandbox *sb)
{
    const struct live         *live = sb->live;
    const struct guest_status *st;
    int64_t                    age, next = reaper_next_s(sb) * 1000;

    if (live == NULL || !live->has_status) {
        reason(w, "unknown", "guest", 0, 0, 0);
        return;
    }
    st = &live->status;
    age = loop_now_ms(sb->k->loop) - live->status_mono_ms;
    if (st->execs > 0)
        reason(w, "exec_running", NULL, st->execs, 0, 0);
    if (st->output_ago_ms != UINT32_MAX && st->output_ago_ms + age < next)
        reason(w, "process_output", NULL, 0,
            w->now - st->output_ago_ms - age,
            w->now - st->output_ago_ms - age + next);
    if (st->input_ago_ms != UINT32_MAX && st->input_ago_ms + age < next)
        reason(w, "terminal_input", NULL, 0, w->now - st->input_ago_ms - age,
            w->now - st->input_ago_ms - age + next);
}

static void reasons_usage(struct reasons *w, const struct sandbox *sb,
    const struct usage *from)
{
    struct usage      to;
    struct usage_rate rate;
    struct err        e;

    if (from->at_us == 0 || usage_take(sb, &to, &e) == -1) {
        reason(w, "unknown", "usage", 0, 0, 0);
        return;
    }
    usage_rate(from, &to, &rate);
    if (usage_cpu_busy(sb, &rate))
        reason(w, "cpu_busy", NULL, rate.cpu_percent, 0, 0);
    if (usage_net_busy(sb, &rate))
        reason(w, "net_bytes", NULL, rate.net_bytes_s, 0, 0);
}

static int reasons_all(struct reasons *w, struct sandbox *sb,
    const struct idle *q, struct err *e)
{
    if (sb->always_on)
        reason(w, "always_on", NULL, 0, 0, 0);
    if (sb->keepalive_ms > w->now)
        reason(w, "keepalive", NULL, 0, 0, sb->keepalive_ms);
    if (leases_each(sb, reason_lease, w, e) == -1)
        return -1;
    if (sb->rung != RUNG_RUNNING)
        return 0;
    reasons_gate(w, sb, &q->in);
    reasons_guest(w, sb);
    reasons_usage(w, sb, &q->from);
    return 0;
}

/* ---- the answer ---------------------------------------------------------- */

/* When the next rung is due if nothing else happens. */
static int64_t idle_due(const struct sandbox *sb, const struct idle *q,
    const struct reasons *w)
{
    int64_t next = reaper_next_s(sb) * 1000, idle = w->now - sb->active_ms;

    if (sb->rung == RUNG_FROZEN)
        return w->until > reaper_due_ms(sb) ? w->until : reaper_due_ms(sb);
    if (sb->rung != RUNG_RUNNING)
        return INT64_MAX;
    if (q->in.idle_ms < idle)
        idle = q->in.idle_ms;
    if (idle > next)
        idle = next;            /* at the next look */
    return w->until > w->now + next - idle ? w->until : w->now + next - idle;
}

static void idle_time(struct buf *b, const char *name, int64_t at)
{
    buf_printf(b, ",\"%s\":", name);
    if (at == INT64_MAX)
        buf_str(b, "null");
    else
        render_time(b, at);
}

static int idle_render(struct idle *q, struct sandbox *sb, struct buf *b,
    struct err *e)
{
    struct buf     because;
    struct reasons w = { .b = &because, .now = clock_wall_ms() };
    bool           runs = sb->rung == RUNG_RUNNING;
    int64_t        due;

    buf_init(&because, ANSWER_MAX);
    if (reasons_all(&w, sb, q, e) == -1) {
        buf_fini(&because);
        return -1;
    }
    due = idle_due(sb, q, &w);
    buf_printf(b, "{\"id\":\"%s\",\"state\":\"%s\",\"rung\":\"%s\","
        "\"because\":[%s]", sb->id, w.n > 0 ? "busy" : "idle",
        rung_name(sb->rung), because.data != NULL ? because.data : "");
    idle_time(b, "sleeps_at", runs ? due : INT64_MAX);
    idle_time(b, "stops_at", sb->rung == RUNG_FROZEN ? due : INT64_MAX);
    buf_str(b, ",\"ignored\":[");
    if (runs && q->in.quiet > 0)
        buf_printf(b, "{\"class\":\"websocket_quiet\",\"count\":%" PRId64
            "}", q->in.quiet);
    buf_str(b, "]}");
    if (because.failed)
        b->failed = true;
    buf_fini(&because);
    return 0;
}

static void idle_answer(struct idle *q)
{
    struct op      *op = q->op;
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct buf      b;
    struct err      e;
    int             rc;

    buf_init(&b, ANSWER_MAX);
    if (sb == NULL || rung_is_gone(sb->rung))
        rc = err_set(&e, "not_found", "no sandbox %s", op->sandbox_id);
    else
        rc = idle_render(q, sb, &b, &e);
    if (rc == 0 && b.failed)
        rc = err_set(&e, "internal", "out of memory");
    if (rc == 0)
        op->answer = b.data;
    else
        buf_fini(&b);
    op_end(op, rc == 0 ? NULL : &e);
    free(q);
}

static void idle_gates(void *arg, const struct inflight *in)
{
    struct idle *q = arg;

    q->in = *in;
    q->gates_said = true;
    if (q->window_over)
        idle_answer(q);
}

static void idle_window(struct timer *t)
{
    struct idle *q = t->owner;

    q->window_over = true;
    if (q->gates_said)
        idle_answer(q);
}

static void idle_ask(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct idle    *q = calloc(1, sizeof(*q));
    struct err      e;
    bool            runs = sb != NULL && sb->rung == RUNG_RUNNING;

    if (q == NULL || inquiry_begin(op->k, op->sandbox_id, idle_gates, q)
        == -1) {
        free(q);
        err_set(&e, "internal", "out of memory");
        op_end(op, &e);
        return;
    }
    q->op = op;
    if (runs && usage_take(sb, &q->from, &e) == -1)
        q->from.at_us = 0;
    q->window.owner = q;
    q->window.due = idle_window;
    loop_timer_set(op->k->loop, &q->window, runs ? WINDOW_MS : 0);
}

int idle_request(struct request *r, struct err *e)
{
    struct sandbox *sb = request_sandbox(r, e);

    if (sb == NULL)
        return -1;
    if (rung_is_gone(sb->rung))
        return err_set(e, "not_found", "no sandbox %s", sb->id);
    ops_ask(r, sb);
    r->op->apply = idle_ask;
    return 0;
}
