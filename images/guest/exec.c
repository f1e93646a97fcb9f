/*
 * exec: see exec.h. Owns the running commands: their shims, pipes, output.
 *
 * An exec ends with the answer's last byte, not with the command (answer.c
 * makes it). One whose client is gone lives until its tree is dead.
 */
#include "exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bounds.h"
#include "exec_in.h"
#include "guest.h"
#include "keeper.h"
#include "linger.h"
#include "loop.h"
#include "ports.h"
#include "request.h"

static struct {
    struct exec *all;
    uint32_t     running;
    int64_t      output_ms;
    bool         any_output;
} execs;

static void finish(struct exec *e);


/* ---- life ---------------------------------------------------------------- */

uint32_t exec_count(void)
{
    return execs.running;
}


uint32_t exec_output_ago_ms(void)
{
    int64_t ago = loop_now_ms() - execs.output_ms;

    if (!execs.any_output)
        return UINT32_MAX;
    return ago < UINT32_MAX ? (uint32_t) ago : UINT32_MAX - 1;
}


static void set_running(struct exec *e, bool running)
{
    if (e->running == running)
        return;
    e->running = running;
    execs.running += running ? 1u : ~0u;
    loop_tick(running ? 1 : -1);
    keeper_changed();
    ports_wake();
}


void exec_free(struct exec *e)
{
    int i;

    set_running(e, false);
    loop_close(&e->shim);
    loop_close(&e->input);
    for (i = OUT; i <= ERR; i++) {
        loop_close(&e->stream[i].w);
        bytes_free(&e->stream[i].kept);
    }
    loop_timer_clear(&e->timer);
    loop_timer_clear(&e->comment);
    bytes_free(&e->body);
    bytes_free(&e->text);
    if (e->prev != NULL)
        e->prev->next = e->next;
    else
        execs.all = e->next;
    if (e->next != NULL)
        e->next->prev = e->prev;
    free(e);
}


static struct exec *exec_new(struct conn *c)
{
    struct exec *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return NULL;
    e->conn = c;
    e->v1 = conn_head(c)->route == HTTP_EXEC_V1;
    e->events = e->v1 && conn_head(c)->event_stream;
    e->shim.fd = e->input.fd = -1;
    e->stream[OUT].w.fd = e->stream[ERR].w.fd = -1;
    e->next = execs.all;
    if (e->next != NULL)
        e->next->prev = e;
    execs.all = e;
    return e;
}


/* The shim kills the tree and tells when it is gone. */
static void exec_kill(struct exec *e)
{
    if (e->killing || e->shim.fd < 0)
        return;
    e->killing = true;
    loop_close(&e->input);
    shim_kill(e->shim.fd);
    loop_timer(&e->timer, EXEC_KILL_MS);
}


static void on_time(struct timer *t)
{
    struct exec *e = t->owner;

    if (!e->killing) {
        e->timed_out = true;
        exec_kill(e);
        return;
    }
    e->status = SIGKILL;        /* unkillable for now: the shim goes on */
    finish(e);
}


/* ---- output -------------------------------------------------------------- */

static void take_output(struct exec *e, int which, const char *p, size_t n)
{
    struct stream *s = &e->stream[which];

    execs.output_ms = loop_now_ms();
    execs.any_output = true;
    if (n > s->limit - s->seen) {
        n = s->limit - s->seen;
        s->cut = true;
    }
    if (n == 0 || e->conn == NULL)
        return;
    s->seen += n;
    if (e->events)
        events_pass(e, which, p, n);
    else if (bytes_add(&s->kept, p, n, s->limit) != 0) {
        s->limit = s->seen - n;         /* no memory left for it */
        s->seen = s->limit;
        s->cut = true;
    }
}


/* Reads once. 0: there may be more, -1: not now, or no more. */
static int read_stream(struct exec *e, int which)
{
    struct stream *s = &e->stream[which];
    char buf[EXEC_STREAM_READ];
    size_t most = sizeof(buf);
    ssize_t n;

    if (s->ended && s->left < most)
        most = s->left;
    if (s->w.fd < 0 || most == 0)
        return -1;
    n = read(s->w.fd, buf, most);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    if (n <= 0) {
        loop_close(&s->w);
        s->left = 0;
        return -1;
    }
    if (s->ended)
        s->left -= (size_t) n;
    take_output(e, which, buf, (size_t) n);
    return 0;
}


static bool full(const struct exec *e)
{
    return e->events && e->conn != NULL
        && conn_unsent(e->conn) >= EXEC_STREAM_HIGH;
}


static void rest_streams(struct exec *e)
{
    int i;

    for (i = OUT; i <= ERR; i++)
        if (e->stream[i].w.fd >= 0)
            loop_watch(&e->stream[i].w, full(e) ? 0 : EPOLLIN);
}


static void on_stream(struct watch *w, uint32_t events)
{
    struct exec *e = w->owner;
    int i;

    (void) events;
    for (i = 0; i < 4 && !full(e); i++)
        if (read_stream(e, w == &e->stream[OUT].w ? OUT : ERR) != 0)
            break;
    rest_streams(e);
}


/* The command has ended; what it wrote before is still to be passed on. Then
 * the pipes go to linger. */
static void drain(struct exec *e)
{
    struct stream *s;
    int i;

    for (i = OUT; i <= ERR; i++) {
        s = &e->stream[i];
        while (!full(e) && read_stream(e, i) == 0)
            /* void */;
        if (s->left > 0 && s->w.fd >= 0)
            return;             /* full: goes on when there is room */
    }
    for (i = OUT; i <= ERR; i++) {
        s = &e->stream[i];
        if (s->w.fd >= 0 && !e->killing) {
            loop_unwatch(&s->w);
            linger(s->w.fd);
            s->w.fd = -1;
        }
        loop_close(&s->w);
    }
    if (e->conn == NULL)
        exec_free(e);
    else if (e->events)
        events_end(e);
    else
        answer_begin(e);
}


static void finish(struct exec *e)
{
    int i, n;

    e->duration_ms = loop_now_ms() - e->started_ms;
    loop_timer_clear(&e->timer);
    loop_close(&e->shim);
    loop_close(&e->input);
    bytes_free(&e->body);
    set_running(e, false);
    for (i = OUT; i <= ERR; i++) {
        n = 0;
        if (e->stream[i].w.fd >= 0)
            ioctl(e->stream[i].w.fd, FIONREAD, &n);
        e->stream[i].left = (size_t) n;
        e->stream[i].ended = true;
        loop_unwatch(&e->stream[i].w);
    }
    drain(e);
}


/* ---- the client ---------------------------------------------------------- */

static void on_room(void *arg)
{
    struct exec *e = arg;

    if (e->npieces > 0)
        answer_more(e);
    else if (e->stream[OUT].ended)
        drain(e);
    else
        rest_streams(e);
}


static void on_gone(void *arg)
{
    struct exec *e = arg;

    e->conn = NULL;
    if (e->shim.fd < 0) {
        exec_free(e);           /* it was only about the answer */
        return;
    }
    exec_kill(e);
    rest_streams(e);
}


static const struct conn_owner owner = { on_room, on_gone };


/* ---- the command --------------------------------------------------------- */

static void on_input(struct watch *w, uint32_t events)
{
    struct exec *e = w->owner;
    ssize_t n;

    if (e->stdin_left > 0 && !(events & EPOLLERR)) {
        n = write(w->fd, e->stdin_at, e->stdin_left);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0) {
            e->stdin_at += n;
            e->stdin_left -= (size_t) n;
            if (e->stdin_left > 0)
                return;
        }
    }
    loop_close(w);              /* all sent, or nobody reads it any more */
    bytes_free(&e->body);
}


/* Output is read when SHIM_STARTED has come: `start` is the first event. */
static void take_pipes(struct exec *e, const int fds[3])
{
    int i;

    for (i = OUT; i <= ERR; i++) {
        e->stream[i].w = (struct watch) {
            .fd = fds[i], .ready = on_stream, .owner = e
        };
    }
    e->input = (struct watch) {
        .fd = fds[IN], .ready = on_input, .owner = e
    };
    if (fds[IN] >= 0)
        loop_watch(&e->input, EPOLLOUT);
    else
        bytes_free(&e->body);
}


static void refuse_exec(struct exec *e, const struct refusal *why)
{
    if (e->conn != NULL)
        conn_refuse(e->conn, why);
    e->conn = NULL;
    exec_free(e);
}


static void refuse_busy(struct exec *e, const char *message)
{
    struct refusal why;

    refuse(&why, 503, "queue_full", NULL, message);
    why.retry_after_s = 1;
    refuse_exec(e, &why);
}


/* What a shell would say, in the place where it would say it. */
static void not_executed(struct exec *e, int error)
{
    static const char start[] = "holdfast: cannot execute: ";
    const char *text = strerror(error);

    e->code = error == ENOENT ? 127 : 126;
    if (e->events && e->conn != NULL)
        events_begin(e, 0);
    take_output(e, ERR, start, sizeof(start) - 1);
    take_output(e, ERR, text, strlen(text));
    take_output(e, ERR, "\n", 1);
    finish(e);
}


static void on_failed(struct exec *e, const struct shim_msg *m)
{
    struct refusal why;

    loop_close(&e->shim);
    switch (m->stage) {
    case STAGE_EXEC:
        not_executed(e, m->error);
        return;
    case STAGE_CWD:
        refuse(&why, 400, "invalid_field", "cwd",
               m->error == ENOENT ? "cwd does not exist"
               : m->error == ENOTDIR ? "cwd is not a directory"
               : "cwd cannot be entered");
        break;
    case STAGE_IDS:
        refuse(&why, 500, "internal", NULL,
               "the command could not be given its user");
        break;
    default:
        refuse_busy(e, "no process or pipe is left in this sandbox");
        return;
    }
    refuse_exec(e, &why);
}


static void on_shim(struct watch *w, uint32_t events)
{
    struct exec *e = w->owner;
    struct shim_msg m = { 0 };
    int fds[3];

    (void) events;
    while (shim_receive(w->fd, &m, fds) == 1) {
        switch (m.kind) {
        case SHIM_PIPES:
            take_pipes(e, fds);
            break;
        case SHIM_STARTED:
            if (e->events && e->conn != NULL)
                events_begin(e, m.pid);
            rest_streams(e);
            break;
        case SHIM_FAILED:
            on_failed(e, &m);
            return;
        default:                /* ended, or the shim itself was killed */
            e->status = m.kind == SHIM_ENDED ? m.status : SIGKILL;
            finish(e);
            return;
        }
    }
}


static int start(struct exec *e, struct request *r)
{
    char *line[] = { NULL, (char *) "-c", r->line, NULL };
    struct strings env = { 0 };
    struct command c;
    int fd;

    guest_command(&c);
    c.argv = r->argv.v;
    if (r->line != NULL) {
        line[0] = (char *) guest_shell();
        c.argv = line;
    }
    if (r->cwd != NULL) {
        c.cwd = r->cwd;
        c.cwd_must = true;
    }
    c.input = r->has_input;
    if (guest_environ(&r->env, &env) != 0)
        return -1;
    c.env = env.v;
    fd = shim_start(&c);
    strings_free(&env);
    if (fd < 0)
        return -1;
    e->shim = (struct watch) { .fd = fd, .ready = on_shim, .owner = e };
    return loop_watch(&e->shim, EPOLLIN);
}


/* 0, or -1 with the refusal filled. */
static int check(struct conn *c, struct bytes *body, struct request *r,
    struct refusal *why)
{
    bool v1 = conn_head(c)->route == HTTP_EXEC_V1;

    memset(r, 0, sizeof(*r));
    if (guest.phase != PHASE_BOOTED) {
        refuse(why, 503, "unavailable", NULL,
               guest.phase == PHASE_WAITING ? "the sandbox is starting"
               : "the sandbox is stopping");
        why->retry_after_s = 1;
        return -1;
    }
    if (request_parse(body->data + body->off, bytes_size(body), v1, r, why)
        != 0)
    {
        return -1;
    }
    if (r->line != NULL && guest_shell() == NULL)
        return refuse(why, 422, "no_shell", "cmd", "this image has no shell: "
                      "give cmd as an array of strings");
    if (execs.running < EXECS_MAX)
        return 0;
    refuse(why, 503, "queue_full", NULL, "64 commands run already");
    why->retry_after_s = 1;
    return -1;
}


/* The keeper's settings, where it sent some. */
static int64_t longest(int64_t asked_ms)
{
    int64_t most = guest.boot.exec_s != 0 ? (int64_t) guest.boot.exec_s * 1000
        : EXEC_TIMEOUT_MAX_MS;

    return asked_ms > 0 && asked_ms < most ? asked_ms : most;
}

static size_t kept(void)
{
    size_t n = (size_t) guest.boot.output_kb << 10;

    if (n == 0)
        return EXEC_OUTPUT;
    return n < EXEC_OUTPUT_MAX ? n : EXEC_OUTPUT_MAX;
}


void exec_request(struct conn *c)
{
    struct bytes body;
    struct request r;
    struct refusal why;
    struct exec *e = NULL;
    int i;

    conn_take_body(c, &body);
    if (check(c, &body, &r, &why) != 0) {
        conn_refuse(c, &why);
        goto done;
    }
    e = exec_new(c);
    if (e == NULL) {
        refuse(&why, 503, "queue_full", NULL, "out of memory");
        conn_refuse(c, &why);
        goto done;
    }
    e->body = body;
    memset(&body, 0, sizeof(body));
    e->stdin_at = r.input;
    e->stdin_left = r.ninput;
    e->timeout_ms = longest(r.timeout_ms);
    for (i = OUT; i <= ERR; i++)
        e->stream[i].limit = r.max_output > 0 ? (size_t) r.max_output
            : e->events ? SIZE_MAX : kept();
    e->timer.due = on_time;
    e->comment.due = events_comment;
    e->timer.owner = e->comment.owner = e;
    e->started_ms = loop_now_ms();
    conn_own(c, &owner, e);
    set_running(e, true);
    if (start(e, &r) != 0)
        refuse_busy(e, "no process is left in this sandbox");
    else
        loop_timer(&e->timer, e->timeout_ms);

done:

    request_free(&r);
    bytes_free(&body);
}
