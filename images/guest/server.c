/*
 * server: see server.h. Owns all HTTP connections and their buffers.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exec.h"
#include "json.h"
#include "loop.h"
#include "outside.h"

enum conn_state {
    CONN_HEAD,                  /* reads a request head, or waits for one */
    CONN_BODY,
    CONN_BUSY,                  /* somebody is making the answer */
    CONN_FLUSH,                 /* the answer is whole, not yet sent */
    CONN_DRAIN                  /* refused; reads on until the end */
};

struct conn {
    struct watch       w;
    struct timer       timer;
    enum conn_state    state;
    struct bytes       in, body, out;
    size_t             scanned;
    struct http_head   head;
    struct http_body   decoder;
    bool               chunked;         /* the answer */
    const struct conn_owner *owner;
    void              *arg;
    struct conn       *next, *prev;
};

static struct {
    struct watch listener;
    struct conn *conns;
    int          nconns, nbusy;
} server;

static void conn_ready(struct watch *w, uint32_t events);
static void conn_late(struct timer *t);


/* ---- a connection -------------------------------------------------------- */

static void conn_free(struct conn *c)
{
    loop_close(&c->w);
    loop_timer_clear(&c->timer);
    if (c->state == CONN_BODY)
        loop_tick(-1);
    if (c->state == CONN_BUSY || c->state == CONN_FLUSH)
        server.nbusy--;
    bytes_free(&c->in);
    bytes_free(&c->body);
    bytes_free(&c->out);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        server.conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    server.nconns--;
    free(c);
}


static void conn_lost(struct conn *c)
{
    const struct conn_owner *owner = c->owner;
    void *arg = c->arg;

    conn_free(c);
    if (owner != NULL)
        owner->gone(arg);
}


static void set_state(struct conn *c, enum conn_state state)
{
    bool was = c->state == CONN_BUSY || c->state == CONN_FLUSH;
    bool is = state == CONN_BUSY || state == CONN_FLUSH;

    loop_tick((state == CONN_BODY) - (c->state == CONN_BODY));
    server.nbusy += is - was;
    c->state = state;
}


/* What to be woken for, and how long to wait for it. */
static void conn_arm(struct conn *c)
{
    uint32_t events = 0;

    switch (c->state) {
    case CONN_HEAD: case CONN_BODY: case CONN_DRAIN:
        events = EPOLLIN;
        break;
    case CONN_BUSY: case CONN_FLUSH:
        events = EPOLLRDHUP;
        break;
    }
    if (bytes_size(&c->out) > 0) {
        events |= EPOLLOUT;
        if (!c->timer.set)
            loop_timer(&c->timer, HTTP_SEND_MS);
    } else if (c->state == CONN_BUSY) {
        loop_timer_clear(&c->timer);
    }
    loop_watch(&c->w, events);
}


static void conn_next(struct conn *c)
{
    if (!c->head.keepalive) {
        shutdown(c->w.fd, SHUT_WR);
        set_state(c, CONN_DRAIN);
        loop_timer(&c->timer, HTTP_DRAIN_MS);
        return;
    }
    set_state(c, CONN_HEAD);
    c->scanned = 0;
    bytes_free(&c->out);
    if (bytes_size(&c->in) == 0)
        bytes_free(&c->in);
    loop_timer(&c->timer, HTTP_IDLE_MS);
}


/* Sends what it can. -1: the client is gone. */
static int conn_flush(struct conn *c)
{
    ssize_t n;

    while (bytes_size(&c->out) > 0) {
        n = send(c->w.fd, c->out.data + c->out.off, bytes_size(&c->out),
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        bytes_consume(&c->out, (size_t) n);
        loop_timer_clear(&c->timer);
    }
    if (c->state == CONN_FLUSH)
        conn_next(c);
    return 0;
}


/* ---- answers ------------------------------------------------------------- */

const struct http_head *conn_head(const struct conn *c)
{
    return &c->head;
}


void conn_take_body(struct conn *c, struct bytes *body)
{
    *body = c->body;
    memset(&c->body, 0, sizeof(c->body));
}


void conn_own(struct conn *c, const struct conn_owner *owner, void *arg)
{
    c->owner = owner;
    c->arg = arg;
}


size_t conn_unsent(const struct conn *c)
{
    return bytes_size(&c->out);
}


static void head_begin(struct conn *c, int status, const char *type)
{
    bytes_text(&c->out, "HTTP/1.1 ");
    bytes_number(&c->out, status);
    bytes_text(&c->out, " ");
    bytes_text(&c->out, http_reason(status));
    bytes_text(&c->out, "\r\nContent-Type: ");
    bytes_text(&c->out, type);
    bytes_text(&c->out, "\r\nConnection: ");
    bytes_text(&c->out, c->head.keepalive ? "keep-alive" : "close");
}


static void head_length(struct conn *c, int64_t length)
{
    bytes_text(&c->out, "\r\nContent-Length: ");
    bytes_number(&c->out, length);
    bytes_text(&c->out, "\r\n\r\n");
}


void conn_begin(struct conn *c, const char *type, int64_t length)
{
    c->out.vital = true;
    c->chunked = length < 0 && !c->head.http10;
    if (length < 0 && c->head.http10)
        c->head.keepalive = false;
    head_begin(c, 200, type);
    if (length >= 0) {
        head_length(c, length);
    } else {
        bytes_text(&c->out, "\r\nCache-Control: no-store"
                            "\r\nX-Accel-Buffering: no");
        bytes_text(&c->out, c->chunked
                   ? "\r\nTransfer-Encoding: chunked\r\n\r\n" : "\r\n\r\n");
    }
    conn_arm(c);
}


void conn_send(struct conn *c, const char *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char size[10], *p = size + sizeof(size);
    size_t rest = n;

    if (n == 0)
        return;
    if (c->chunked) {
        *--p = '\n';
        *--p = '\r';
        for ( ; rest > 0; rest >>= 4)
            *--p = digits[rest & 15];
        bytes_mem(&c->out, p, (size_t) (size + sizeof(size) - p));
    }
    bytes_mem(&c->out, data, n);
    if (c->chunked)
        bytes_text(&c->out, "\r\n");
    conn_arm(c);
}


/* Sent in the next turn, from the loop: the caller may still be in the
 * middle of something. */
void conn_end(struct conn *c)
{
    if (c->chunked)
        bytes_text(&c->out, "0\r\n\r\n");
    c->chunked = false;
    c->owner = NULL;
    set_state(c, CONN_FLUSH);
    if (bytes_bad(&c->out)) {
        shutdown(c->w.fd, SHUT_RDWR);   /* the loop sees it and frees */
        bytes_free(&c->out);
    }
    conn_arm(c);
}


static void refusal_v1(struct bytes *b, const struct refusal *why,
    const char *request_id)
{
    bytes_text(b, "{\"error\":{\"code\":");
    json_quote(b, why->code);
    bytes_text(b, ",\"message\":");
    json_quote(b, why->message);
    bytes_text(b, ",\"retryable\":");
    bytes_text(b, why->status == 503 ? "true" : "false");
    if (why->field[0] != '\0') {
        bytes_text(b, ",\"field\":");
        json_quote(b, why->field);
    }
    bytes_text(b, ",\"request_id\":");
    json_quote(b, request_id);
    bytes_text(b, "}}\n");
}


void conn_refuse(struct conn *c, const struct refusal *why)
{
    struct bytes b = { .vital = true };

    if (c->head.v1) {
        refusal_v1(&b, why, c->head.request_id);
    } else {
        bytes_text(&b, "{\"error\":");
        json_quote(&b, why->message);
        bytes_text(&b, "}\n");
    }
    c->out.vital = true;
    if (c->state == CONN_HEAD || c->state == CONN_BODY)
        c->head.keepalive = false;      /* the rest of the request is unread */
    head_begin(c, why->status, "application/json");
    if (why->status == 405)
        bytes_text(&c->out, "\r\nAllow: POST");
    if (why->retry_after_s > 0) {
        bytes_text(&c->out, "\r\nRetry-After: ");
        bytes_number(&c->out, why->retry_after_s);
    }
    head_length(c, (int64_t) bytes_size(&b));
    bytes_mem(&c->out, b.data, bytes_size(&b));
    bytes_free(&b);
    conn_end(c);
}


/* ---- requests ------------------------------------------------------------ */

static void refuse_status(struct conn *c, int status)
{
    struct refusal why;

    switch (status) {
    case 404:
        refuse(&why, 404, "not_found", NULL, "no such route in a sandbox");
        break;
    case 405:
        refuse(&why, 405, "method_not_allowed", NULL, "use POST");
        break;
    case 408:
        refuse(&why, 408, "bad_request", NULL,
               "the request did not arrive in 30 s");
        break;
    case 411:
        refuse(&why, 411, "length_required", NULL,
               "the request has no Content-Length");
        break;
    case 413:
        refuse(&why, 413, "too_large", NULL,
               "the body has more than 1 MiB");
        break;
    case 414: case 431:
        refuse(&why, status, "too_large", NULL,
               "the request's head is too large");
        break;
    case 501:
        refuse(&why, 501, "not_implemented", NULL,
               "the only transfer encoding is chunked");
        break;
    case 503:
        refuse(&why, 503, "queue_full", NULL,
               "too much is going on in this sandbox; try again");
        why.retry_after_s = 1;
        break;
    default:
        refuse(&why, status, "bad_request", NULL,
               "this is not a request that we understand");
    }
    conn_refuse(c, &why);
}


/* 1: the head is there, 0: more is needed, -1: answered. */
static int read_head(struct conn *c)
{
    int n = http_head(c->in.data + c->in.off, bytes_size(&c->in), &c->scanned,
                      &c->head);
    int status = 0;

    if (n == 0)
        return 0;
    if (n < 0)
        status = -n;
    else if (c->head.route == HTTP_NOWHERE)
        status = 404;
    else if (!c->head.post)
        status = 405;
    else if (!c->head.chunked && !c->head.has_length)
        status = 411;
    else if (c->head.length > HTTP_BODY_MAX)
        status = 413;
    if (status != 0) {
        refuse_status(c, status);
        return -1;
    }
    bytes_consume(&c->in, (size_t) n);
    c->scanned = 0;
    http_body_init(&c->decoder, &c->head);
    set_state(c, CONN_BODY);
    if (c->head.length > 0
        && bytes_reserve(&c->body, (size_t) c->head.length,
                         HTTP_BODY_MAX) != 0)
    {
        refuse_status(c, 503);
        return -1;
    }
    return 1;
}


static int read_body(struct conn *c)
{
    const char *content;
    size_t taken, n;
    int r;

    for ( ;; ) {
        r = http_body(&c->decoder, c->in.data + c->in.off,
                      bytes_size(&c->in), &taken, &content, &n);
        if (r < 0) {
            refuse_status(c, -r);
            return -1;
        }
        if (bytes_add(&c->body, content, n, HTTP_BODY_MAX) != 0) {
            refuse_status(c, bytes_size(&c->body) + n > HTTP_BODY_MAX
                          ? 413 : 503);
            return -1;
        }
        bytes_consume(&c->in, taken);
        if (r == 1)
            return 1;
        if (taken == 0)
            return 0;
    }
}


static void run_requests(struct conn *c)
{
    if (c->state == CONN_HEAD && bytes_size(&c->in) > 0) {
        if (read_head(c) < 0)
            return;
    }
    if (c->state == CONN_BODY && read_body(c) == 1) {
        loop_timer_clear(&c->timer);
        set_state(c, CONN_BUSY);
        exec_request(c);
    }
}


/* -1: the client is gone, or silly. */
static int conn_read(struct conn *c)
{
    bool fresh = bytes_size(&c->in) == 0 && c->state == CONN_HEAD;
    ssize_t n;

    if (bytes_reserve(&c->in, 4096, HTTP_HEAD_MAX + 4096) != 0)
        return -1;
    n = recv(c->w.fd, c->in.data + c->in.len, c->in.cap - c->in.len,
             MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    c->in.len += (size_t) n;
    if (c->state == CONN_DRAIN) {
        bytes_consume(&c->in, bytes_size(&c->in));
        return 0;
    }
    if (fresh)
        loop_timer(&c->timer, HTTP_REQUEST_MS);
    return 0;
}


static void conn_ready(struct watch *w, uint32_t events)
{
    struct conn *c = w->owner;
    size_t before = bytes_size(&c->out);

    if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
        if (!(events & EPOLLIN)) {      /* else reading finds the end */
            conn_lost(c);
            return;
        }
    }
    if ((events & EPOLLOUT) && conn_flush(c) != 0) {
        conn_lost(c);
        return;
    }
    if ((events & EPOLLIN) && c->state != CONN_BUSY && c->state != CONN_FLUSH
        && conn_read(c) != 0)
    {
        conn_lost(c);
        return;
    }
    run_requests(c);
    conn_arm(c);
    if (c->state == CONN_BUSY && before > bytes_size(&c->out)
        && c->owner != NULL)
    {
        c->owner->room(c->arg);
    }
}


static void conn_late(struct timer *t)
{
    struct conn *c = t->owner;

    if ((c->state == CONN_HEAD && bytes_size(&c->in) > 0)
        || c->state == CONN_BODY)
    {
        refuse_status(c, 408);
        return;
    }
    conn_lost(c);
}


/* ---- accepting ----------------------------------------------------------- */

/* The kept connection that waits longest for a request makes room. */
static bool evict_one(void)
{
    struct conn *c, *oldest = NULL;

    for (c = server.conns; c != NULL; c = c->next) {
        if ((c->state == CONN_HEAD && bytes_size(&c->in) == 0)
            || c->state == CONN_DRAIN)
        {
            if (oldest == NULL || c->timer.at_ms < oldest->timer.at_ms)
                oldest = c;
        }
    }
    if (oldest == NULL)
        return false;
    conn_free(oldest);
    return true;
}


static void refuse_flat(int fd)
{
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
        "Retry-After: 1\r\nContent-Length: 0\r\n\r\n";

    if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* then it only sees the end */
    }
    close(fd);
}


static void conn_new(int fd)
{
    struct conn *c;

    if (server.nconns >= HTTP_CONNS_MAX && !evict_one()) {
        refuse_flat(fd);
        return;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        refuse_flat(fd);
        return;
    }
    c->w = (struct watch) { .fd = fd, .ready = conn_ready, .owner = c };
    c->timer.due = conn_late;
    c->timer.owner = c;
    c->next = server.conns;
    if (c->next != NULL)
        c->next->prev = c;
    server.conns = c;
    server.nconns++;
    if (loop_watch(&c->w, EPOLLIN) != 0) {
        conn_free(c);
        return;
    }
    loop_timer(&c->timer, HTTP_IDLE_MS);
}


static void listener_ready(struct watch *w, uint32_t events)
{
    int fd, i;

    (void) events;
    for (i = 0; i < 16; i++) {
        fd = accept_outside(w->fd);
        if (fd < 0)
            return;
        conn_new(fd);
    }
}


void server_start(int listener)
{
    server.listener = (struct watch) {
        .fd = listener, .ready = listener_ready
    };
    loop_watch(&server.listener, EPOLLIN);
}


bool server_busy(void)
{
    return server.nbusy > 0;
}
