
/*
 * Long-lived connections that carry nothing but heartbeats.
 *
 * An upgraded connection or an event stream would block parks as long as it is
 * open, and a forgotten tab would keep its sandbox awake for ever.  So such a
 * connection is watched: after quiet_after without a byte that means anything
 * it no longer counts as active but as quiet, which does not block a park.
 * The first such byte makes it active again; if the sandbox sleeps by then,
 * the byte is already in the socket inside, and the keeper is asked to wake
 * what will read it.
 *
 * Watched by standing in for recv() of both connections, which is where bytes
 * are seen whatever nginx does with them.  The place is left again before the
 * connection to the app is kept.
 *
 * A heartbeat is a chunk of at most 125 bytes (a control frame's payload), as
 * long as one of the two before it in its direction, that comes when the last
 * two let expect it (a fifth more or less), and not more often than once a
 * second: a held key repeats faster than that.
 *
 * When the sandbox is to be stopped, who speaks WebSocket is told so with a
 * close frame of our own (1001, going away), put between two frames of the
 * app: a page then knows that it was no fault, and may come back.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_BEAT_LEN  125
#define NGX_HTTP_HOLDFAST_BEAT_MIN  900

/* so long the app may take to end the frame that it has begun */
#define NGX_HTTP_HOLDFAST_BYE_MAX   1000
#define NGX_HTTP_HOLDFAST_BYE_LOOK  20


typedef struct {
    ngx_recv_pt                original;
    size_t                     len[2];      /* of the chunks before */
    ngx_msec_t                 period;
    ngx_msec_t                 last;
} ngx_http_holdfast_way_t;


struct ngx_http_holdfast_quiet_s {
    ngx_queue_t                queue;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_connection_t          *client;
    ngx_connection_t          *peer;
    ngx_http_holdfast_way_t    up;          /* from the client */
    ngx_http_holdfast_way_t    down;
    ngx_event_t                timer;
    ngx_msec_t                 active;      /* when it last was */
    ngx_msec_t                 after;
    ngx_http_holdfast_websocket_t frames;      /* of the app */
    ngx_event_t                bye;
    ngx_msec_t                 bye_until;
    unsigned                   websocket:1;
    unsigned                   leaving:1;
    unsigned                   quiet:1;
    unsigned                   waking:1;
    unsigned                   asked:1;
};


static ngx_int_t ngx_http_holdfast_quiet_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_quiet_begin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ssize_t ngx_http_holdfast_quiet_recv_client(ngx_connection_t *c,
    u_char *buf, size_t size);
static ssize_t ngx_http_holdfast_quiet_recv_peer(ngx_connection_t *c,
    u_char *buf, size_t size);
static ngx_uint_t ngx_http_holdfast_quiet_beat(ngx_http_holdfast_way_t *way,
    size_t len);
static void ngx_http_holdfast_quiet_rouse(ngx_http_holdfast_quiet_t *quiet,
    ngx_uint_t ask);
static void ngx_http_holdfast_quiet_ask(ngx_http_holdfast_quiet_t *quiet,
    ngx_uint_t how);
static ngx_uint_t ngx_http_holdfast_quiet_is_closed(
    ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_quiet_timer(ngx_event_t *ev);
static void ngx_http_holdfast_quiet_bye(ngx_event_t *ev);


static ngx_queue_t                   ngx_http_holdfast_quiets;
static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_http_holdfast_quiet_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_holdfast_quiet_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_quiet_filter(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_str_t                *type;
    ngx_http_holdfast_ctx_t  *ctx;

    rc = ngx_http_next_header_filter(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r != r->main
        || r->upstream == NULL || r->upstream->peer.connection == NULL)
    {
        return rc;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_holdfast_module);

    if (ctx == NULL || ctx->entry == NULL || ctx->quiet) {
        return rc;
    }

    type = &r->headers_out.content_type;

    if (r->headers_out.status != NGX_HTTP_SWITCHING_PROTOCOLS
        && !(type->len >= 17
             && ngx_strncasecmp(type->data, (u_char *) "text/event-stream", 17)
                == 0))
    {
        return rc;
    }

    if (ngx_http_holdfast_quiet_begin(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    return rc;
}


static ngx_int_t
ngx_http_holdfast_quiet_begin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_holdfast_quiet_t      *quiet;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    if (ngx_http_holdfast_quiet_is_closed(ctx)) {

        /* since this caller was let in */

        return NGX_ERROR;
    }

    quiet = ngx_pcalloc(r->pool, sizeof(ngx_http_holdfast_quiet_t));
    if (quiet == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_quiets.next == NULL) {
        ngx_queue_init(&ngx_http_holdfast_quiets);
    }

    quiet->ctx = ctx;
    quiet->after = hmcf->quiet_after;
    quiet->active = ngx_current_msec;

    quiet->peer = r->upstream->peer.connection;
    quiet->down.original = quiet->peer->recv;
    quiet->down.last = ngx_current_msec;
    quiet->peer->recv = ngx_http_holdfast_quiet_recv_peer;

    if (r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS) {
        quiet->client = r->connection;
        quiet->up.original = quiet->client->recv;
        quiet->up.last = ngx_current_msec;
        quiet->client->recv = ngx_http_holdfast_quiet_recv_client;
        quiet->websocket = ngx_http_holdfast_is_upgrade(r);

        /* what came along with the header */

        ngx_http_holdfast_websocket_read(&quiet->frames,
                      r->upstream->buffer.pos,
                      r->upstream->buffer.last - r->upstream->buffer.pos);
    }

    quiet->timer.handler = ngx_http_holdfast_quiet_timer;
    quiet->timer.data = quiet;
    quiet->timer.log = r->connection->log;
    quiet->timer.cancelable = 1;
    ngx_add_timer(&quiet->timer, quiet->after);

    quiet->bye.handler = ngx_http_holdfast_quiet_bye;
    quiet->bye.data = quiet;
    quiet->bye.log = r->connection->log;
    quiet->bye.cancelable = 1;

    ngx_queue_insert_tail(&ngx_http_holdfast_quiets, &quiet->queue);

    ctx->quiet = quiet;

    return NGX_OK;
}


/* The connection to the app is given back, or the request ends. */

void
ngx_http_holdfast_quiet_release(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_holdfast_quiet_t  *quiet;

    quiet = ctx->quiet;

    if (quiet == NULL || quiet->peer == NULL) {
        return;
    }

    quiet->peer->recv = quiet->down.original;
    quiet->peer = NULL;

    if (quiet->client) {
        quiet->client->recv = quiet->up.original;
        quiet->client = NULL;
    }
}


/* 1: it was quiet, and is not counted as active. */

ngx_uint_t
ngx_http_holdfast_quiet_end(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_holdfast_quiet_t  *quiet;

    quiet = ctx->quiet;

    if (quiet == NULL) {
        return 0;
    }

    ngx_http_holdfast_quiet_release(ctx);

    if (quiet->timer.timer_set) {
        ngx_del_timer(&quiet->timer);
    }

    if (quiet->bye.timer_set) {
        ngx_del_timer(&quiet->bye);
    }

    ngx_queue_remove(&quiet->queue);
    ctx->quiet = NULL;

    return quiet->quiet;
}


static ssize_t
ngx_http_holdfast_quiet_recv_client(ngx_connection_t *c, u_char *buf,
    size_t size)
{
    ssize_t                     n;
    ngx_http_request_t         *r;
    ngx_http_holdfast_ctx_t    *ctx;
    ngx_http_holdfast_quiet_t  *quiet;

    r = c->data;
    ctx = ngx_http_get_module_ctx(r, ngx_http_holdfast_module);
    quiet = ctx->quiet;

    n = quiet->up.original(c, buf, size);

    if (n > 0 && !ngx_http_holdfast_quiet_beat(&quiet->up, n)) {
        ngx_http_holdfast_quiet_rouse(quiet, 1);
    }

    return n;
}


static ssize_t
ngx_http_holdfast_quiet_recv_peer(ngx_connection_t *c, u_char *buf,
    size_t size)
{
    ssize_t                     n;
    ngx_http_request_t         *r;
    ngx_http_holdfast_ctx_t    *ctx;
    ngx_http_holdfast_quiet_t  *quiet;

    r = c->data;
    ctx = ngx_http_get_module_ctx(r, ngx_http_holdfast_module);
    quiet = ctx->quiet;

    n = quiet->down.original(c, buf, size);

    if (n > 0 && quiet->websocket) {
        ngx_http_holdfast_websocket_read(&quiet->frames, buf, n);
    }

    /* what sleeps does not send: these bytes were sent before */

    if (n > 0 && !ngx_http_holdfast_quiet_beat(&quiet->down, n)) {
        ngx_http_holdfast_quiet_rouse(quiet, 0);
    }

    return n;
}


static ngx_uint_t
ngx_http_holdfast_quiet_beat(ngx_http_holdfast_way_t *way, size_t len)
{
    ngx_msec_t  period, off;
    ngx_uint_t  beat;

    period = ngx_current_msec - way->last;
    off = period > way->period ? period - way->period : way->period - period;

    beat = len <= NGX_HTTP_HOLDFAST_BEAT_LEN
           && (len == way->len[0] || len == way->len[1])
           && period >= NGX_HTTP_HOLDFAST_BEAT_MIN
           && off <= way->period / 5;

    way->len[1] = way->len[0];
    way->len[0] = len;
    way->period = period;
    way->last = ngx_current_msec;

    return beat;
}


static void
ngx_http_holdfast_quiet_rouse(ngx_http_holdfast_quiet_t *quiet, ngx_uint_t ask)
{
    quiet->active = ngx_current_msec;

    if (!quiet->quiet) {

        if (!quiet->ctx->inactive) {
            ngx_http_holdfast_table_stamp(quiet->ctx->entry);
            ngx_http_holdfast_activity_mark(quiet->ctx->entry);
        }

        return;
    }

    if (ngx_http_holdfast_table_rouse(quiet->ctx->entry)) {
        quiet->quiet = 0;
        quiet->waking = 0;
        ngx_add_timer(&quiet->timer, quiet->after);
        return;
    }

    if (ask && !quiet->waking) {
        quiet->waking = 1;
        quiet->asked = 0;
        ngx_http_holdfast_quiet_ask(quiet, LINE_WAKE);
    }
}


static void
ngx_http_holdfast_quiet_ask(ngx_http_holdfast_quiet_t *quiet, ngx_uint_t how)
{
    struct line                line;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_route_t  route;

    ctx = quiet->ctx;

    ngx_http_holdfast_table_read((u_char *) ctx->name.id, ctx->name.id_len,
                                 ctx->name.port, &route);

    ngx_memzero(&line, sizeof(struct line));

    line.type = 'W';
    line.up = 1;
    line.id.p = ctx->name.id;
    line.id.len = ctx->name.id_len;
    line.port = ctx->name.port;
    line.how = how;
    line.gen = route.ask;

    if (ngx_http_holdfast_link_ask(&line) != NGX_OK) {
        return;
    }

    ngx_http_holdfast_count(asks);

    if (how == LINE_WAKE) {
        quiet->asked = 1;
        ngx_http_holdfast_count(wakes);
    }
}


static void
ngx_http_holdfast_quiet_timer(ngx_event_t *ev)
{
    ngx_msec_t                  silent;
    ngx_http_holdfast_quiet_t  *quiet;

    quiet = ev->data;

    silent = ngx_current_msec - quiet->active;

    if (silent < quiet->after) {
        ngx_add_timer(ev, quiet->after - silent);
        return;
    }

    quiet->quiet = 1;
    ngx_http_holdfast_table_hush(quiet->ctx->entry);
}


/* all: the link is there again, and what was asked before is lost. */

void
ngx_http_holdfast_quiet_ask_again(ngx_uint_t all)
{
    ngx_queue_t                *q;
    ngx_http_holdfast_quiet_t  *quiet;

    if (ngx_http_holdfast_quiets.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_holdfast_quiets);
         q != ngx_queue_sentinel(&ngx_http_holdfast_quiets);
         q = ngx_queue_next(q))
    {
        quiet = ngx_queue_data(q, ngx_http_holdfast_quiet_t, queue);

        if (quiet->waking && (all || !quiet->asked)) {
            quiet->asked = 0;
            ngx_http_holdfast_quiet_ask(quiet, LINE_WAKE);
        }
    }
}


/* What the keeper said of id: awake, or that the wake came to nothing. */

void
ngx_http_holdfast_quiet_told(const u_char *id, size_t len, ngx_uint_t awake)
{
    ngx_queue_t                *q;
    ngx_http_holdfast_ctx_t    *ctx;
    ngx_http_holdfast_quiet_t  *quiet;

    if (ngx_http_holdfast_quiets.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_holdfast_quiets);
         q != ngx_queue_sentinel(&ngx_http_holdfast_quiets);
         q = ngx_queue_next(q))
    {
        quiet = ngx_queue_data(q, ngx_http_holdfast_quiet_t, queue);
        ctx = quiet->ctx;

        if (!quiet->waking || ctx->name.id_len != len
            || ngx_memcmp(ctx->name.id, id, len) != 0)
        {
            continue;
        }

        quiet->waking = 0;

        if (awake) {
            ngx_http_holdfast_quiet_rouse(quiet, 0);
        }
    }
}


/*
 * The sandbox is to be stopped, or is gone, and with it who was spoken to.
 * What streams an answer may end it, unless all are to go.
 */

void
ngx_http_holdfast_quiet_close(const u_char *id, size_t len, ngx_uint_t all)
{
    ngx_queue_t                *q, *next;
    ngx_http_holdfast_ctx_t    *ctx;
    ngx_http_holdfast_quiet_t  *quiet;

    if (ngx_http_holdfast_quiets.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_holdfast_quiets);
         q != ngx_queue_sentinel(&ngx_http_holdfast_quiets);
         q = next)
    {
        next = ngx_queue_next(q);

        quiet = ngx_queue_data(q, ngx_http_holdfast_quiet_t, queue);
        ctx = quiet->ctx;

        if (quiet->peer == NULL || ctx->name.id_len != len
            || ngx_memcmp(ctx->name.id, id, len) != 0)
        {
            continue;
        }

        if (quiet->websocket) {

            if (!quiet->leaving) {
                quiet->leaving = 1;
                quiet->bye_until = ngx_current_msec
                                   + NGX_HTTP_HOLDFAST_BYE_MAX;
                ngx_http_holdfast_quiet_bye(&quiet->bye);
            }

        } else if (all || quiet->quiet) {

            /* read as an end by nginx, which closes both sides */

            (void) shutdown(quiet->peer->fd, SHUT_RDWR);
        }
    }
}


/*
 * The sandbox became private, or one of its shares was revoked: who is in by
 * something that may not be good any more has to come in again.  id NULL: the
 * link is there again, and what a route was told meanwhile may be lost.
 */

void
ngx_http_holdfast_quiet_closed(const u_char *id, size_t len)
{
    ngx_queue_t                *q;
    ngx_http_holdfast_ctx_t    *ctx;
    ngx_http_holdfast_route_t   route;
    ngx_http_holdfast_quiet_t  *quiet;

    if (ngx_http_holdfast_quiets.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_holdfast_quiets);
         q != ngx_queue_sentinel(&ngx_http_holdfast_quiets);
         q = ngx_queue_next(q))
    {
        quiet = ngx_queue_data(q, ngx_http_holdfast_quiet_t, queue);
        ctx = quiet->ctx;

        if (quiet->peer == NULL
            || (id && (ctx->name.id_len != len
                       || ngx_memcmp(ctx->name.id, id, len) != 0)))
        {
            continue;
        }

        if (ngx_http_holdfast_quiet_is_closed(ctx)) {
            (void) shutdown(quiet->peer->fd, SHUT_RDWR);
            continue;
        }

        if (id == NULL && ctx->ticket.share[0]) {

            ngx_http_holdfast_table_read((u_char *) ctx->name.id,
                                         ctx->name.id_len, 0, &route);

            if (route.state == NGX_HTTP_HOLDFAST_ABSENT) {
                ngx_http_holdfast_quiet_ask(quiet, LINE_LOOK);
            }
        }
    }
}


static ngx_uint_t
ngx_http_holdfast_quiet_is_closed(ngx_http_holdfast_ctx_t *ctx)
{
    return ctx->mode == NGX_HTTP_HOLDFAST_PREVIEW
           && (ctx->entry->flags & NGX_HTTP_HOLDFAST_PRIVATE)
           && (ctx->ticket.kind == 0
               || (ctx->ticket.share[0]
                   && ctx->entry->share_epoch != ctx->share_epoch));
}


/*
 * Says goodbye as soon as the app's last frame is whole and on its way, and
 * has nginx end the request.
 */

static void
ngx_http_holdfast_quiet_bye(ngx_event_t *ev)
{
    ngx_uint_t                  whole;
    ngx_connection_t           *peer;
    ngx_http_request_t         *r;
    ngx_http_upstream_t        *u;
    ngx_http_holdfast_quiet_t  *quiet;

    static u_char  going_away[] = { 0x88, 0x02, 0x03, 0xe9 };

    quiet = ev->data;
    peer = quiet->peer;

    if (peer == NULL) {
        return;
    }

    r = quiet->ctx->request;
    u = r->upstream;

    whole = u->buffer.pos == u->buffer.last
            && ngx_http_holdfast_websocket_between(&quiet->frames);

    if (!whole && !quiet->frames.ended
        && (ngx_msec_int_t) (quiet->bye_until - ngx_current_msec) > 0)
    {
        ngx_add_timer(ev, NGX_HTTP_HOLDFAST_BYE_LOOK);
        return;
    }

    if (whole
        && quiet->client->send(quiet->client, going_away, sizeof(going_away))
           == (ssize_t) sizeof(going_away))
    {
        /* what the client still says must not make a reset of the close */

        r->lingering_close = 1;

        ngx_http_holdfast_count(goodbyes);
    }

    /* an end, as nginx sees it; nothing is read from the app any more */

    u->buffer.pos = u->buffer.last;
    peer->read->ready = 0;
    peer->read->eof = 1;

    ngx_post_event(peer->read, &ngx_posted_events);

    ngx_http_holdfast_leave(quiet->ctx);
}
