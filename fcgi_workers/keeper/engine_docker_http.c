/*
 * engine_docker_http: see engine_docker_http.h.
 *
 * libcurl tells which sockets to watch (on_socket) and when to look again
 * (on_timer). It forbids new calls from within its callbacks: those only
 * store, and what has come or ended is told after each of its turns (collect),
 * where a reader or a completion may make and cancel calls.
 *
 * A call leaves in the turn after the one it is made in, hence the eventfd: at
 * the end of a turn the keeper commits, and nothing may be done of what is not
 * yet on disk.
 */
#include "engine_docker_http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/log.h"

#define CONNECTIONS_MAX 1024   /* pulls hold theirs for long */
#define CONNECTIONS_KEPT 16
#define CONNECT_MS      5000
#define PATH_MAX_LEN    8192
#define STREAM_TURN_MAX (8 * 1024 * 1024)   /* of a stream, in one turn */

struct dk_http {
    struct loop    *loop;
    CURLM          *multi;
    char           *socket;
    struct timer    timer;      /* libcurl's */
    struct watch    kick;       /* eventfd: `fresh` or `over` has calls */
    struct dk_call *calls;      /* all that are under way, but */
    struct dk_call *streams;    /* those that hand on what comes */
    struct dk_call *fresh;      /* made in this turn, not yet sent */
    struct dk_call *over;       /* ended with `code`, to be told */
};

struct dk_call {
    struct dk_http    *http;
    struct dk_call    *next, **at, *self;
    CURLcode           code;            /* while it is in `over` */
    CURL              *easy;
    struct curl_slist *headers;
    struct dk_request  req;     /* path and body are not kept */
    struct buf         out;
    bool               begun, told, ended, too_large;
    char               api[16];
};

struct socket_watch {
    struct watch    watch;
    struct dk_http *http;
};

/* ---- calls -------------------------------------------------------------- */

static void call_link(struct dk_call **list, struct dk_call *c)
{
    c->next = *list;
    c->at = list;
    if (c->next != NULL)
        c->next->at = &c->next;
    *list = c;
}

static void call_unlink(struct dk_call *c)
{
    *c->at = c->next;
    if (c->next != NULL)
        c->next->at = c->at;
}

/* The first of a list, in no list then; unlinking it once more is well. */
static struct dk_call *call_pop(struct dk_call **list)
{
    struct dk_call *c = *list;

    if (c == NULL)
        return NULL;
    *list = c->next;
    if (c->next != NULL)
        c->next->at = list;
    c->next = NULL;
    c->at = &c->self;
    return c;
}

static void call_over(struct dk_call *c, CURLcode code)
{
    c->code = code;
    call_unlink(c);
    call_link(&c->http->over, c);
}

static void call_free(struct dk_call *c)
{
    call_unlink(c);
    if (c->easy != NULL) {
        curl_multi_remove_handle(c->http->multi, c->easy);
        curl_easy_cleanup(c->easy);
    }
    curl_slist_free_all(c->headers);
    buf_fini(&c->out);
    free(c);
}

void dk_cancel(struct dk_call *c)
{
    call_free(c);
}

static void describe(const struct dk_call *c, struct err *e)
{
    const char *doing = c->req.doing;
    CURLcode    code = c->code;

    if (c->too_large)
        err_set(e, "internal", "the engine's answer is too large: cannot %s",
            doing);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        err_set(e, "timeout", "the engine took too long to %s", doing);
    else if (code == CURLE_OUT_OF_MEMORY || c->out.failed)
        err_set(e, "internal", "out of memory: cannot %s", doing);
    else
        err_set(e, "engine_unavailable",
            "the Docker Engine does not answer: cannot %s", doing);
    log_debug("engine: cannot %s: %s", doing, curl_easy_strerror(code));
}

/* Hands on what a stream has got. False: its reader has had enough. `begun`
 * and `bytes` must not cancel the call (see the header). */
static bool stream_tell(struct dk_call *c)
{
    bool more;

    if (!c->begun)
        return true;
    if (!c->told) {
        c->told = true;
        if (c->req.begun != NULL)
            c->req.begun(c->req.arg);
    }
    if (c->out.len == 0)
        return true;
    more = c->req.bytes(c->req.arg, c->out.data, c->out.len);
    buf_reset(&c->out);
    return more;
}

/* Tells, then frees. `done` may do anything with other calls. */
static void call_finish(struct dk_call *c)
{
    struct dk_answer a;
    dk_done          done = c->req.done;
    void            *arg = c->req.arg;
    long             status = 0;

    memset(&a, 0, sizeof(a));
    if (c->req.bytes != NULL && !c->ended)
        c->ended = !stream_tell(c);
    if (c->easy != NULL)
        curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    a.status = (int)status;
    /* A stream that its reader has ended went well. */
    a.transport = c->ended || (c->code == CURLE_OK && status != 0);
    if (!a.transport)
        describe(c, &a.error);
    a.body = c->out.data != NULL ? c->out.data : "";
    a.len = c->out.len;
    memcpy(a.api, c->api, sizeof(a.api));
    c->req.done = NULL;
    done(arg, &a);
    call_free(c);
}

/* ---- libcurl's callbacks ------------------------------------------------ */

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
    struct dk_call *c = arg;
    size_t          len = one * n;

    buf_add(&c->out, data, len);
    c->too_large = c->out.failed;
    return c->out.failed ? 0 : len;
}

/* The empty line after the headers: a stream begins. */
static size_t on_header(char *data, size_t one, size_t n, void *arg)
{
    static const char name[] = "api-version:";
    struct dk_call   *c = arg;
    size_t            len = one * n, i = sizeof(name) - 1, j = 0;
    long              status = 0;

    if (len > i && strncasecmp(data, name, i) == 0) {
        while (i < len && data[i] == ' ')
            i++;
        while (i < len && j < sizeof(c->api) - 1
               && (data[i] == '.' || (data[i] >= '0' && data[i] <= '9')))
            c->api[j++] = data[i++];
        c->api[j] = 0;
    }
    if (len <= 2 && !c->begun && c->req.bytes != NULL) {
        curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
        c->begun = status == 200;
    }
    return len;
}

static void collect(struct dk_http *h);

static void socket_ready(struct watch *w, uint32_t events)
{
    struct socket_watch *s = w->owner;
    struct dk_http      *h = s->http;
    int                  flags = 0, running;

    if (events & EPOLLIN)
        flags |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        flags |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        flags |= CURL_CSELECT_ERR;
    curl_multi_socket_action(h->multi, w->fd, flags, &running);
    collect(h);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
    void *known)
{
    struct dk_http      *h = arg;
    struct socket_watch *s = known;
    uint32_t             events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            loop_remove(h->loop, &s->watch);
        free(s);
        curl_multi_assign(h->multi, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN)
        events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        events |= EPOLLOUT;
    if (s != NULL)
        return loop_change(h->loop, &s->watch, events);
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -1;
    s->http = h;
    s->watch.fd = fd;
    s->watch.owner = s;
    s->watch.ready = socket_ready;
    if (loop_add(h->loop, &s->watch, events) != 0) {
        free(s);
        return -1;
    }
    curl_multi_assign(h->multi, fd, s);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct dk_http *h = arg;

    (void)multi;
    if (ms < 0)
        loop_timer_clear(h->loop, &h->timer);
    else
        loop_timer_set(h->loop, &h->timer, ms);
    return 0;
}

static void timer_due(struct timer *t)
{
    struct dk_http *h = t->owner;
    int             running;

    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(h);
}

static struct dk_call *stream_waiting(struct dk_http *h)
{
    struct dk_call *c;

    for (c = h->streams; c != NULL; c = c->next)
        if (c->begun && (!c->told || c->out.len > 0))
            return c;
    return NULL;
}

static void collect(struct dk_http *h)
{
    struct dk_call *c;
    CURLMsg        *m;
    char           *private;
    int             left;

    while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        call_over((struct dk_call *)(void *)private, m->data.result);
    }
    while ((c = stream_waiting(h)) != NULL) {
        if (!stream_tell(c)) {
            c->ended = true;
            call_over(c, CURLE_OK);
        }
    }
    while ((c = call_pop(&h->over)) != NULL)
        call_finish(c);
}

static void kicked(struct watch *w, uint32_t events)
{
    struct dk_http *h = w->owner;
    struct dk_call *c;
    uint64_t        n;

    (void)events;
    if (read(w->fd, &n, sizeof(n)) < 0)
        log_debug("engine: nothing to do");
    while ((c = call_pop(&h->fresh)) != NULL) {
        call_link(c->req.bytes != NULL ? &h->streams : &h->calls, c);
        if (curl_multi_add_handle(h->multi, c->easy) != CURLM_OK)
            call_over(c, CURLE_OUT_OF_MEMORY);
    }
    while ((c = call_pop(&h->over)) != NULL)
        call_finish(c);
}

static void kick(struct dk_http *h)
{
    uint64_t one = 1;

    if (write(h->kick.fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        log_fatal("cannot wake the loop for a call to the engine");
}

/* ---- making calls ------------------------------------------------------- */

static bool set_request(struct dk_call *c, const struct dk_request *r)
{
    char  url[PATH_MAX_LEN];
    int   n = snprintf(url, sizeof(url), "http://docker%s", r->path);
    CURL *q = c->easy;
    bool  ok = n > 0 && (size_t)n < sizeof(url);

    ok = ok && !curl_easy_setopt(q, CURLOPT_URL, url)
        && !curl_easy_setopt(q, CURLOPT_CUSTOMREQUEST, r->method);
    if (ok && strcmp(r->method, "POST") == 0) {
        c->headers = curl_slist_append(NULL, "Content-Type: application/json");
        ok = c->headers != NULL
            && !curl_easy_setopt(q, CURLOPT_HTTPHEADER, c->headers)
            && !curl_easy_setopt(q, CURLOPT_POST, 1L)
            && !curl_easy_setopt(q, CURLOPT_COPYPOSTFIELDS,
                r->body != NULL ? r->body : "");
    }
    return ok;
}

static bool set_limits(struct dk_call *c, const struct dk_request *r)
{
    CURL *q = c->easy;

    if (r->stall_s > 0
        && (curl_easy_setopt(q, CURLOPT_LOW_SPEED_LIMIT, 1L)
            || curl_easy_setopt(q, CURLOPT_LOW_SPEED_TIME, r->stall_s)))
        return false;
    return !curl_easy_setopt(q, CURLOPT_TIMEOUT_MS, r->deadline_ms)
        && !curl_easy_setopt(q, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS)
        && !curl_easy_setopt(q, CURLOPT_NOSIGNAL, 1L)
        && !curl_easy_setopt(q, CURLOPT_PROTOCOLS_STR, "http")
        && !curl_easy_setopt(q, CURLOPT_NOPROXY, "*")
        && !curl_easy_setopt(q, CURLOPT_UNIX_SOCKET_PATH, c->http->socket);
}

static bool set_callbacks(struct dk_call *c)
{
    CURL *q = c->easy;

    return !curl_easy_setopt(q, CURLOPT_WRITEFUNCTION, on_body)
        && !curl_easy_setopt(q, CURLOPT_WRITEDATA, c)
        && !curl_easy_setopt(q, CURLOPT_HEADERFUNCTION, on_header)
        && !curl_easy_setopt(q, CURLOPT_HEADERDATA, c)
        && !curl_easy_setopt(q, CURLOPT_PRIVATE, c);
}

struct dk_call *dk_call(struct dk_http *h, const struct dk_request *r)
{
    struct dk_call *c = calloc(1, sizeof(*c));

    if (c == NULL)
        log_fatal("out of memory for a call to the engine");
    c->http = h;
    c->code = CURLE_OUT_OF_MEMORY;
    c->req = *r;
    c->req.path = c->req.body = NULL;
    buf_init(&c->out, r->bytes != NULL ? STREAM_TURN_MAX : r->max);
    c->easy = curl_easy_init();
    kick(h);
    if (c->easy != NULL && set_request(c, r) && set_limits(c, r)
        && set_callbacks(c))
        call_link(&h->fresh, c);
    else
        call_link(&h->over, c);
    return c;
}

/* ---- life --------------------------------------------------------------- */

struct dk_http *dk_http_new(struct loop *l, const char *socket)
{
    struct dk_http *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->loop = l;
    h->socket = strdup(socket);
    h->multi = curl_multi_init();
    h->timer.owner = h->kick.owner = h;
    h->timer.due = timer_due;
    h->kick.ready = kicked;
    h->kick.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->kick.fd < 0 || loop_add(l, &h->kick, EPOLLIN) != 0
        || h->socket == NULL || h->multi == NULL
        || curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket)
        || curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h)
        || curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer)
        || curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h)
        || curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
            (long)CONNECTIONS_MAX)
        || curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS,
            (long)CONNECTIONS_KEPT))
    {
        dk_http_free(h);
        return NULL;
    }
    return h;
}

void dk_http_free(struct dk_http *h)
{
    struct dk_call *c;

    if (h == NULL)
        return;
    while ((c = call_pop(&h->calls)) != NULL || (c = call_pop(&h->streams))
           || (c = call_pop(&h->fresh)) || (c = call_pop(&h->over)))
        call_free(c);
    if (h->multi != NULL)
        curl_multi_cleanup(h->multi);
    loop_timer_clear(h->loop, &h->timer);
    loop_remove(h->loop, &h->kick);
    if (h->kick.fd >= 0)
        close(h->kick.fd);
    free(h->socket);
    free(h);
}
