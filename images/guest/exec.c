/*
 * exec: see exec.h. Owns the running commands: their shims, pipes, output.
 *
 * An exec ends with the answer's last byte, not with the command: what was
 * printed is turned into JSON piece by piece as the client takes it. One
 * whose client is gone lives until its tree is dead.
 */
#include "exec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "json.h"
#include "keeper.h"
#include "limits.h"
#include "linger.h"
#include "loop.h"
#include "ports.h"
#include "request.h"

enum { IN, OUT, ERR };

struct stream {                 /* stdout or stderr */
    struct watch w;
    struct bytes kept;          /* JSON: all of it; events: a cut character */
    size_t       limit, seen;   /* bytes that are passed on, were passed on */
    size_t       left;          /* in the pipe when the command had ended */
    bool         ended, cut;
};

enum piece_form { PLAIN, TEXT, BASE64 };

struct piece {                  /* of a JSON answer */
    enum piece_form form;
    const char     *p;
    size_t          n;
};

struct exec {
    struct conn  *conn;         /* NULL: the client is gone */
    bool          v1, events;
    struct watch  shim, input;
    struct stream stream[3];    /* OUT and ERR */
    struct bytes  body;         /* the request; its stdin is sent from it */
    const char   *stdin_at;
    size_t        stdin_left;
    struct timer  timer;        /* time-out, then the kill's own */
    struct timer  comment;
    int64_t       started_ms, duration_ms, timeout_ms;
    bool          running, killing, timed_out;
    int           status;       /* as of waitpid */
    int           code;         /* 126, 127: it could not be executed */
    struct bytes  text;         /* of the answer: what is not output */
    struct piece  pieces[7];
    size_t        npieces, at;
    struct exec  *next, *prev;
};

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


static void exec_free(struct exec *e)
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


/* ---- the JSON answer ----------------------------------------------------- */

static const char *signal_name(int signo)
{
    static const char *const names[] = {
        [SIGHUP] = "SIGHUP", [SIGINT] = "SIGINT", [SIGQUIT] = "SIGQUIT",
        [SIGILL] = "SIGILL", [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT",
        [SIGBUS] = "SIGBUS", [SIGFPE] = "SIGFPE", [SIGKILL] = "SIGKILL",
        [SIGUSR1] = "SIGUSR1", [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
        [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM",
        [SIGXCPU] = "SIGXCPU", [SIGXFSZ] = "SIGXFSZ", [SIGSYS] = "SIGSYS"
    };
    size_t i = (size_t) signo;

    return i < sizeof(names) / sizeof(names[0]) && names[i] != NULL
        ? names[i] : "SIGNAL";
}


/* exit_code, signal, timed_out, truncated and duration_ms, as members. */
static void add_ending(struct exec *e, struct bytes *b)
{
    int signo = e->code == 0 && WIFSIGNALED(e->status)
        ? WTERMSIG(e->status) : 0;

    bytes_text(b, "\"exit_code\":");
    bytes_number(b, e->code != 0 ? e->code
                 : signo != 0 ? 128 + signo : WEXITSTATUS(e->status));
    if (!e->v1)
        return;
    if (signo != 0) {
        bytes_text(b, ",\"signal\":");
        json_quote(b, signal_name(signo));
    }
    bytes_text(b, ",\"timed_out\":");
    bytes_text(b, e->timed_out ? "true" : "false");
    bytes_text(b, ",\"truncated\":");
    bytes_text(b, e->stream[OUT].cut || e->stream[ERR].cut
               ? "true" : "false");
    bytes_text(b, ",\"duration_ms\":");
    bytes_number(b, e->duration_ms);
}


/* The three pieces of `,"name":value`. A cut never splits a character. */
static void add_stream(struct exec *e, const char *open[2],
    const char *close[2], struct stream *s)
{
    const char *p = s->kept.data;
    size_t n = bytes_size(&s->kept), good;
    bool cut, text = true;

    if (n > 0) {
        good = utf8_prefix(p, n, &cut);
        if (s->cut && cut)
            n = good;
        text = good == n || !e->v1;
    }
    e->pieces[e->npieces++] = (struct piece) {
        PLAIN, open[!text], strlen(open[!text])
    };
    e->pieces[e->npieces++] = (struct piece) { text ? TEXT : BASE64, p, n };
    e->pieces[e->npieces++] = (struct piece) {
        PLAIN, close[!text], strlen(close[!text])
    };
}


static size_t piece_length(const struct piece *p)
{
    switch (p->form) {
    case TEXT:
        return json_length(p->p, p->n);
    case BASE64:
        return (p->n + 2) / 3 * 4;
    default:
        return p->n;
    }
}


/* Some of the piece, whole characters, groups of three for base64. */
static void send_some(struct exec *e, struct piece *p)
{
    struct bytes b = { .vital = true };
    size_t n = p->n < 6144 ? p->n : 6144, good;
    bool cut;

    if (p->form == PLAIN) {
        conn_send(e->conn, p->p, n);
    } else if (p->form == BASE64) {
        base64_add(&b, p->p, n);
    } else {
        good = utf8_prefix(p->p, n, &cut);
        if (n < p->n && cut && good > 0)
            n = good;
        json_add(&b, p->p, n);
    }
    if (bytes_size(&b) > 0)
        conn_send(e->conn, b.data, bytes_size(&b));
    bytes_free(&b);
    p->p += n;
    p->n -= n;
}


static void send_answer(struct exec *e)
{
    while (e->at < e->npieces && conn_unsent(e->conn) < EXEC_STREAM_HIGH) {
        if (e->pieces[e->at].n == 0)
            e->at++;
        else
            send_some(e, &e->pieces[e->at]);
    }
    if (e->at == e->npieces) {
        conn_end(e->conn);
        e->conn = NULL;
        exec_free(e);
    }
}


static void begin_answer(struct exec *e)
{
    const char *out[2] = { ",\"stdout\":\"", ",\"stdout\":{\"b64\":\"" };
    const char *err[2] = { "\",\"stderr\":\"", "\",\"stderr\":{\"b64\":\"" };
    const char *mid[2] = { "", "\"}" }, *end[2] = { "\"}\n", "\"}}\n" };
    size_t i, length = 0;

    bytes_text(&e->text, "{");
    add_ending(e, &e->text);
    e->pieces[e->npieces++] = (struct piece) {
        PLAIN, e->text.data, bytes_size(&e->text)
    };
    add_stream(e, out, mid, &e->stream[OUT]);
    if (e->pieces[2].form == BASE64) {  /* its end is "}, not " */
        err[0]++;
        err[1]++;
    }
    add_stream(e, err, end, &e->stream[ERR]);
    for (i = 0; i < e->npieces; i++)
        length += piece_length(&e->pieces[i]);
    conn_begin(e->conn, "application/json", (int64_t) length);
    send_answer(e);
}


/* ---- events -------------------------------------------------------------- */

static void send_event(struct exec *e, const char *name, struct bytes *data)
{
    struct bytes b = { .vital = true };

    bytes_text(&b, "event: ");
    bytes_text(&b, name);
    bytes_text(&b, "\ndata: ");
    bytes_mem(&b, data->data, bytes_size(data));
    bytes_text(&b, "\n\n");
    conn_send(e->conn, b.data, bytes_size(&b));
    bytes_free(&b);
    bytes_free(data);
    loop_timer(&e->comment, EXEC_COMMENT_MS);
}


static void send_started(struct exec *e, int pid)
{
    struct bytes data = { .vital = true };

    conn_begin(e->conn, "text/event-stream", -1);
    bytes_text(&data, "{\"pid\":");
    bytes_number(&data, pid);
    bytes_text(&data, "}");
    send_event(e, "start", &data);
}


static void send_output(struct exec *e, int which, const char *p, size_t n,
    bool text)
{
    struct bytes data = { .vital = true };

    if (n == 0)
        return;
    bytes_text(&data, text ? "{\"data\":\"" : "{\"data\":{\"b64\":\"");
    if (text)
        json_add(&data, p, n);
    else
        base64_add(&data, p, n);
    bytes_text(&data, text ? "\"}" : "\"}}");
    send_event(e, which == OUT ? "stdout" : "stderr", &data);
}


/* A character that is not whole yet is kept for the next time. */
static void pass_on(struct exec *e, int which, const char *p, size_t n)
{
    struct stream *s = &e->stream[which];
    char joined[EXEC_STREAM_READ + 4];
    size_t had = bytes_size(&s->kept), good;
    bool cut;

    if (had > 0) {
        memcpy(joined, s->kept.data, had);
        memcpy(joined + had, p, n);
        p = joined;
        n += had;
        bytes_consume(&s->kept, had);
    }
    good = utf8_prefix(p, n, &cut);
    if (good < n && !cut) {
        send_output(e, which, p, n, false);
        return;
    }
    send_output(e, which, p, good, true);
    if (good < n && bytes_add(&s->kept, p + good, n - good, 8) != 0)
        send_output(e, which, p + good, n - good, false);
}


static void end_events(struct exec *e)
{
    struct bytes data = { .vital = true };
    int i;

    for (i = OUT; i <= ERR; i++)
        send_output(e, i, e->stream[i].kept.data,
                    bytes_size(&e->stream[i].kept), false);
    bytes_text(&data, "{");
    add_ending(e, &data);
    bytes_text(&data, "}");
    send_event(e, "exit", &data);
    conn_end(e->conn);
    e->conn = NULL;
    exec_free(e);
}


static void on_comment(struct timer *t)
{
    struct exec *e = t->owner;

    if (e->conn == NULL || conn_unsent(e->conn) > EXEC_STREAM_HIGH)
        return;
    conn_send(e->conn, ":\n\n", 3);
    loop_timer(t, EXEC_COMMENT_MS);
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
        pass_on(e, which, p, n);
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
        end_events(e);
    else
        begin_answer(e);
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
        send_answer(e);
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


static void take_pipes(struct exec *e, const int fds[3])
{
    int i;

    for (i = OUT; i <= ERR; i++) {
        e->stream[i].w = (struct watch) {
            .fd = fds[i], .ready = on_stream, .owner = e
        };
        if (fds[i] >= 0)
            loop_watch(&e->stream[i].w, EPOLLIN);
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
        send_started(e, 0);
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
    struct shim_msg m;
    int fds[3];

    (void) events;
    while (shim_receive(w->fd, &m, fds) == 1) {
        switch (m.kind) {
        case SHIM_PIPES:
            take_pipes(e, fds);
            break;
        case SHIM_STARTED:
            if (e->events && e->conn != NULL)
                send_started(e, m.pid);
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
    e->timeout_ms = r.timeout_ms;
    for (i = OUT; i <= ERR; i++)
        e->stream[i].limit = r.max_output > 0 ? (size_t) r.max_output
            : e->events ? SIZE_MAX : EXEC_OUTPUT;
    e->timer.due = on_time;
    e->comment.due = on_comment;
    e->timer.owner = e->comment.owner = e;
    e->started_ms = loop_now_ms();
    conn_own(c, &owner, e);
    set_running(e, true);
    if (start(e, &r) != 0)
        refuse_busy(e, "no process is left in this sandbox");
    else if (e->timeout_ms > 0)
        loop_timer(&e->timer, e->timeout_ms);

done:

    request_free(&r);
    bytes_free(&body);
}
