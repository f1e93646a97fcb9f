/*
 * answer: what an exec's client gets: one JSON object, or events.
 *
 * What was printed is turned into JSON piece by piece as the client takes it,
 * so an answer needs little more memory than the output that was kept.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "bounds.h"
#include "exec_in.h"
#include "json.h"


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


void answer_more(struct exec *e)
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


void answer_begin(struct exec *e)
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
    answer_more(e);
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


void events_begin(struct exec *e, int pid)
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
void events_pass(struct exec *e, int which, const char *p, size_t n)
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


void events_end(struct exec *e)
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


void events_comment(struct timer *t)
{
    struct exec *e = t->owner;

    if (e->conn == NULL || conn_unsent(e->conn) > EXEC_STREAM_HIGH)
        return;
    conn_send(e->conn, ":\n\n", 3);
    loop_timer(t, EXEC_COMMENT_MS);
}
