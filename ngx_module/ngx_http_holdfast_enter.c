
/*
 * Inside a sandbox: a request is counted as in flight, looks at the state once
 * more, gets a socket in the sandbox, and in the end leaves again.
 *
 * Who has entered keeps the sandbox from being parked.  So nothing enters that
 * is not allowed to, and whatever ends a request leaves exactly once.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_CONNECT  2000


static ngx_int_t ngx_http_holdfast_app_origin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_connected(ngx_event_t *ev);


/* NGX_OK: look again, inside or out. */

ngx_int_t
ngx_http_holdfast_enter(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route)
{
    ctx->entry = ngx_http_holdfast_table_enter(route, (u_char *) ctx->name.id,
                                               ctx->name.id_len,
                                               !ctx->inactive);
    if (ctx->entry == NULL) {

        /* it has changed since */

        if (++ctx->rounds >= NGX_HTTP_HOLDFAST_ROUNDS) {
            return ngx_http_holdfast_fail(r, ctx, "unavailable", 1,
                                          "the sandbox does not settle");
        }

        return NGX_OK;
    }

    if (!ctx->inactive) {
        ngx_http_holdfast_activity_mark(ctx->entry);
    }

    if (ctx->generation != route->generation) {
        ctx->attempts = 0;      /* those were of another start */
    }

    ctx->generation = route->generation;

    if (ctx->mode == NGX_HTTP_HOLDFAST_PREVIEW) {
        ctx->family = route->v6 ? DOOR_INET6 : DOOR_INET;

        ctx->host.data = ngx_pnalloc(r->pool, route->host_len);
        if (ctx->host.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->host.len = route->host_len;
        ngx_memcpy(ctx->host.data, route->host, route->host_len);

        if (ngx_http_holdfast_is_upgrade(r)
            && ngx_http_holdfast_app_origin(r, ctx) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * A dev server that is told another Host takes a WebSocket from that origin
 * only.  So an upgrade from the preview's own page gets an Origin that fits;
 * that of any other page stays what it is, and the app may refuse it.
 */

static ngx_int_t
ngx_http_holdfast_app_origin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    u_char           *p;
    size_t            scheme;
    ngx_str_t         host, *own, *origin;
    ngx_table_elt_t  *h;

    h = ngx_http_holdfast_header(r, "origin", 6);

    if (h == NULL || ctx->host.len == 0
        || (ctx->host.len == 6
            && ngx_strncmp(ctx->host.data, "public", 6) == 0)
        || r->headers_in.host == NULL)
    {
        return NGX_OK;
    }

    origin = &h->value;
    own = &r->headers_in.host->value;

    /* https:// may have ended before us */

    if (origin->len > 7
        && ngx_strncasecmp(origin->data, (u_char *) "http://", 7) == 0)
    {
        scheme = 7;

    } else if (origin->len > 8
               && ngx_strncasecmp(origin->data, (u_char *) "https://", 8) == 0)
    {
        scheme = 8;

    } else {
        return NGX_OK;
    }

    if (origin->len - scheme != own->len
        || ngx_strncasecmp(origin->data + scheme, own->data, own->len) != 0)
    {
        return NGX_OK;
    }

    if (ngx_http_holdfast_app_host(r, ctx, &host) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, 7 + host.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    origin->data = p;
    p = ngx_cpymem(p, "http://", 7);
    origin->len = ngx_cpymem(p, host.data, host.len) - origin->data;

    return NGX_OK;
}


/*
 * Inside: a socket, and for a request that must not be sent twice a connection
 * before anything else.  NGX_DECLINED: on to the upstream.  NGX_ABORT: refused,
 * and not inside any more.
 */

ngx_int_t
ngx_http_holdfast_socket(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    int                err;
    socklen_t          len;
    ngx_int_t          rc;
    ngx_connection_t  *c;

    if (ctx->connection) {

        /* connecting */

        c = ctx->connection;
        err = 0;
        len = sizeof(int);

        if (c->write->timedout
            || getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1
            || err)
        {
            goto refused;
        }

        ngx_del_timer(c->write);

        return NGX_DECLINED;
    }

    if (ctx->door_error) {
        err = ctx->door_error;
        ctx->door_error = 0;

        if (err == NGX_ENOENT) {
            goto refused;
        }

        ngx_log_error(NGX_LOG_ERR, r->connection->log, err,
                      "the door gives no socket for sandbox %s",
                      ctx->name.id);

        ngx_http_holdfast_leave(ctx);

        return ngx_http_holdfast_fail(r, ctx, "unavailable", 1,
                                      "the sandbox cannot be reached now");
    }

    if (ctx->fd == -1 && !ctx->fresh && ngx_http_holdfast_door_has(ctx)) {

        /* taken in peer.get, unless there is a kept connection */

        return NGX_DECLINED;
    }

    if (ctx->fd == -1) {
        ctx->fd = ngx_http_holdfast_door_take(ctx);
    }

    if (ctx->fd == -1) {
        return ngx_http_holdfast_door_ask(ctx);
    }

    if (!ctx->fresh) {
        return NGX_DECLINED;
    }

    rc = ngx_http_holdfast_connect(ctx, r->connection->log, &c);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {
        goto refused;
    }

    ctx->connection = c;

    if (rc == NGX_OK) {
        return NGX_DECLINED;
    }

    c->data = ctx;
    c->read->handler = ngx_http_holdfast_connected;
    c->write->handler = ngx_http_holdfast_connected;
    ngx_add_timer(c->write, NGX_HTTP_HOLDFAST_CONNECT);

    ngx_http_holdfast_suspend(r);

    return NGX_AGAIN;

refused:

    ngx_http_holdfast_count(refused);
    ngx_http_holdfast_drop_sockets(ctx);
    ngx_http_holdfast_leave(ctx);

    ctx->refused = 1;

    return NGX_ABORT;
}


static void
ngx_http_holdfast_connected(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_holdfast_ctx_t  *ctx;

    c = ev->data;
    ctx = c->data;

    /* once: the phases go on, or the connection is closed */

    c->read->handler = ngx_http_empty_handler;
    c->write->handler = ngx_http_empty_handler;

    ngx_http_holdfast_resume(ctx);
}


void
ngx_http_holdfast_leave(ngx_http_holdfast_ctx_t *ctx)
{
    if (ctx->entry == NULL) {
        return;
    }

    if (ngx_http_holdfast_quiet_end(ctx)) {
        ngx_http_holdfast_table_part(ctx->entry);

    } else {
        if (!ctx->inactive) {
            ngx_http_holdfast_activity_mark(ctx->entry);
        }

        ngx_http_holdfast_table_leave(ctx->entry, !ctx->inactive);
    }

    ctx->entry = NULL;
}


void
ngx_http_holdfast_drop_sockets(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_holdfast_door_cancel(ctx);

    if (ctx->connection) {
        ngx_close_connection(ctx->connection);
        ctx->connection = NULL;
    }

    ngx_http_holdfast_door_give(ctx);
}
