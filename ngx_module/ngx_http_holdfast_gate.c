
/*
 * The gate: one handler, in PRECONTENT.
 *
 *   parse    what the request is about: host or path
 *   access   may the caller: Origin, Host, token, scope, rate
 *   look up  the route; one that is not known is asked for, without waking
 *   enter    awake: counted in flight, and given a socket inside
 *   hold     not awake: a caller that may wake waits for the keeper's answer
 *
 * A request that waits comes in here again from the top each time, so every
 * step looks at what is known now.  What it has already been through is in its
 * ctx.  Nothing is kept of a caller that may not enter.
 */


#include "ngx_http_holdfast_module.h"


static ngx_int_t ngx_http_holdfast_begin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_parse_preview(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_uint_t ngx_http_holdfast_one_host(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_parse_guest(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_op(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_second(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_pass(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_verdict(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
static ngx_int_t ngx_http_holdfast_asleep(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
static ngx_int_t ngx_http_holdfast_wait(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t how, uint64_t generation);
static void ngx_http_holdfast_read_headers(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_cleanup(void *data);


ngx_int_t
ngx_http_holdfast_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_holdfast_ctx_t       *ctx;
    ngx_http_holdfast_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_holdfast_module);

    if (hlcf->mode == NGX_HTTP_HOLDFAST_OFF || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_holdfast_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->answered) {

        /* an error page of ours that led here again */

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->mode = hlcf->mode;

    if (ctx->mode == NGX_HTTP_HOLDFAST_OP) {
        return ngx_http_holdfast_op(r, ctx);
    }

    if (!ctx->checked) {
        rc = ngx_http_holdfast_begin(r, ctx);

        if (rc != NGX_OK) {
            return rc;
        }

        ctx->checked = 1;
    }

    if (ctx->mode == NGX_HTTP_HOLDFAST_API
        || ctx->mode == NGX_HTTP_HOLDFAST_OPEN)
    {
        return NGX_DECLINED;
    }

    if (ctx->passed) {
        rc = ngx_http_holdfast_second(r, ctx);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_http_holdfast_pass(r, ctx);
}


ngx_http_holdfast_ctx_t *
ngx_http_holdfast_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_holdfast_module);

    if (ctx) {
        return ctx;
    }

    /* r->ctx is zeroed by an internal redirect, the pool is not */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_holdfast_cleanup) {
            ctx = cln->data;
            ngx_http_set_ctx(r, ctx, ngx_http_holdfast_module);
            return ctx;
        }
    }

    return NULL;
}


ngx_http_holdfast_ctx_t *
ngx_http_holdfast_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ngx_http_holdfast_find_ctx(r);

    if (ctx) {
        return ctx;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_holdfast_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, offsetof(ngx_http_holdfast_ctx_t, key));

    ctx->request = r;
    ctx->fd = -1;
    ctx->args = r->args;

    ngx_http_holdfast_read_headers(r, ctx);

    cln->handler = ngx_http_holdfast_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_holdfast_module);

    return ctx;
}


/* The headers that every request is asked for, in one walk over them. */

static void
ngx_http_holdfast_read_headers(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_uint_t         i;
    ngx_list_part_t   *part;
    ngx_table_elt_t   *h, *id, *activity, **found;

    id = NULL;
    activity = NULL;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0) {
            continue;
        }

        if (h[i].key.len == 12
            && ngx_strncasecmp(h[i].key.data, (u_char *) "x-request-id", 12)
               == 0)
        {
            found = &id;

        } else if (h[i].key.len == 17
                   && ngx_strncasecmp(h[i].key.data,
                                      (u_char *) "x-holdfast-ticket", 17)
                      == 0)
        {
            found = &ctx->ticket_header;

        } else if (h[i].key.len == 18
                   && ngx_strncasecmp(h[i].key.data,
                                      (u_char *) "x-sandbox-activity", 18)
                      == 0)
        {
            found = &activity;

        } else {
            continue;
        }

        if (*found == NULL) {
            *found = &h[i];
        }
    }

    ngx_http_holdfast_request_id(r, ctx, id);

    ctx->inactive = activity && activity->value.len == 4
                    && ngx_strncasecmp(activity->value.data,
                                       (u_char *) "none", 4)
                       == 0;
}


static void
ngx_http_holdfast_cleanup(void *data)
{
    ngx_http_holdfast_ctx_t  *ctx = data;

    ngx_http_holdfast_unhold(ctx);
    ngx_http_holdfast_drop_sockets(ctx);
    ngx_http_holdfast_leave(ctx);
}


static ngx_int_t
ngx_http_holdfast_begin(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->mode == NGX_HTTP_HOLDFAST_PREVIEW) {

        rc = ngx_http_holdfast_parse_preview(r, ctx);

    } else if (ctx->mode == NGX_HTTP_HOLDFAST_OPEN) {

        rc = ngx_http_holdfast_open(r, ctx);

    } else {
        rc = ngx_http_holdfast_access(r, ctx);

        if (rc == NGX_OK && ctx->mode == NGX_HTTP_HOLDFAST_GUEST) {
            rc = ngx_http_holdfast_parse_guest(r, ctx);
        }
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ctx->fresh = ngx_http_holdfast_has_body(r)
                 || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD
                                   |NGX_HTTP_OPTIONS));

    return NGX_OK;
}


ngx_uint_t
ngx_http_holdfast_has_body(ngx_http_request_t *r)
{
    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return 1;
    }

#if (NGX_HTTP_V2)
    if (r->stream && !r->stream->in_closed) {
        return 1;
    }
#endif

    return 0;
}


static ngx_int_t
ngx_http_holdfast_parse_preview(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    int                             rc;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    rc = ngx_http_holdfast_host_parse((char *) r->headers_in.server.data,
                                      r->headers_in.server.len,
                                      (char *) hmcf->domain.data,
                                      hmcf->domain.len, &ctx->name);

    if (rc != NGX_HTTP_HOLDFAST_NAME_OK) {

        ctx->name.id_len = 0;

        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                   rc == NGX_HTTP_HOLDFAST_NAME_RESERVED
                   ? "this host name is reserved"
                   : "no preview has this host name: it is "
                     "s-<id>-<port>.preview.%V or <port>-<id>.%V, "
                     "ports 1024 to 65535",
                   &hmcf->domain, &hmcf->domain);
    }

    if (!ngx_http_holdfast_one_host(r)) {
        ctx->name.id_len = 0;
        return ngx_http_holdfast_fail(r, ctx, "bad_request", 0,
                                      "the request names two hosts");
    }

    if (ngx_http_holdfast_ticket_take(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->family = DOOR_INET;

    if (r->uri.len >= 11
        && ngx_strncmp(r->uri.data, "/.holdfast/", 11) == 0)
    {
        /* paths of ours */

        if (r->uri.len == 16
            && ngx_strncmp(r->uri.data + 11, "state", 5) == 0)
        {
            ctx->state_page = 1;
            ctx->treat = NGX_HTTP_HOLDFAST_HOLD;
            return NGX_OK;
        }

        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                      "there is no such page");
    }

    ctx->untreated = 1;

    return NGX_OK;
}


/*
 * "GET http://a/ HTTP/1.1" with "Host: b" goes to a, and an app would be told
 * b.  nginx has checked both, and taken the port from neither.
 */

static ngx_uint_t
ngx_http_holdfast_one_host(ngx_http_request_t *r)
{
    size_t      i;
    ngx_str_t  *host, *server;

    if (r->headers_in.host == NULL) {
        return 1;
    }

    host = &r->headers_in.host->value;
    server = &r->headers_in.server;

    if (host->len == server->len
        && ngx_memcmp(host->data, server->data, server->len) == 0)
    {
        return 1;
    }

    if (host->len < server->len
        || ngx_strncasecmp(host->data, server->data, server->len) != 0)
    {
        return 0;
    }

    i = server->len;

    if (i < host->len && host->data[i] == '.') {
        i++;
    }

    if (i == host->len) {
        return 1;
    }

    return host->data[i] == ':' && host->len - i <= sizeof(":65535") - 1
           && (host->len == i + 1
               || ngx_atoi(host->data + i + 1, host->len - i - 1)
                  != NGX_ERROR);
}


static ngx_int_t
ngx_http_holdfast_parse_guest(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    int         rc;
    ngx_uint_t  i;

    rc = ngx_http_holdfast_path_parse((char *) r->uri.data, r->uri.len,
                                      &ctx->name);

    if (rc == NGX_HTTP_HOLDFAST_NAME_UNKNOWN) {
        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                      "no such route");
    }

    if (rc != NGX_HTTP_HOLDFAST_NAME_OK) {
        return ngx_http_holdfast_fail(r, ctx, "invalid_field", 0,
                                      "id must be 1 to 40 of a-z and 0-9");
    }

    if (r->method != NGX_HTTP_POST) {
        (void) ngx_http_holdfast_add_header(r, "Allow", "POST, OPTIONS");
        return ngx_http_holdfast_fail(r, ctx, "method_not_allowed", 0,
                                      "use POST");
    }

    if (ctx->token->read_only) {
        return ngx_http_holdfast_fail(r, ctx, "forbidden", 0,
                                      "scope ro may only read");
    }

    if (ctx->token->nids) {

        for (i = 0; i < ctx->token->nids; i++) {
            if (ctx->token->ids[i].len == ctx->name.id_len
                && ngx_strncmp(ctx->token->ids[i].data, ctx->name.id,
                               ctx->name.id_len) == 0)
            {
                break;
            }
        }

        if (i == ctx->token->nids) {
            return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                          "no sandbox %s", ctx->name.id);
        }
    }

    ctx->family = DOOR_UNIX;
    ctx->treat = NGX_HTTP_HOLDFAST_HOLD;

    return NGX_OK;
}


/* /_op/<number>: the api has sent the request here to be held. */

static ngx_int_t
ngx_http_holdfast_op(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    uint64_t    number;
    u_char     *p, *last;

    p = r->uri.data + 5;
    last = r->uri.data + r->uri.len;

    if (r->uri.len <= 5 || r->uri.len > 5 + 18
        || ngx_strncmp(r->uri.data, "/_op/", 5) != 0)
    {
        return NGX_HTTP_NOT_FOUND;
    }

    for (number = 0; p < last; p++) {

        if (*p < '0' || *p > '9') {
            return NGX_HTTP_NOT_FOUND;
        }

        number = number * 10 + (*p - '0');
    }

    if (ctx->op != number) {
        ctx->op = number;
        ctx->op_done = 0;
        ctx->timed_out = 0;
        ctx->deadline = 0;
        ngx_memzero(&ctx->name, sizeof(ngx_http_holdfast_name_t));
    }

    if (ctx->op_done || ctx->timed_out) {

        /* the api says what came of it, or that it goes on (202) */

        return NGX_DECLINED;
    }

    switch (ngx_http_holdfast_hold_op(r, ctx)) {

    case NGX_AGAIN:
        return NGX_AGAIN;

    case NGX_BUSY:

        /* the operation runs on; its number tells the way back to it */

        return NGX_DECLINED;

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/*
 * The named location for 502 and 504.  What was refused before a byte was sent
 * is held; anything else is answered.
 */

static ngx_int_t
ngx_http_holdfast_second(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_uint_t  status;

    status = r->err_status;
    r->err_status = 0;
    ctx->passed = 0;

    ngx_http_holdfast_drop_sockets(ctx);
    ngx_http_holdfast_leave(ctx);

    if (ctx->refused) {
        return NGX_OK;
    }

    if (ctx->again) {
        ctx->again = 0;
        return NGX_OK;
    }

    if (status == NGX_HTTP_GATEWAY_TIME_OUT) {
        return ngx_http_holdfast_fail(r, ctx, "timeout", 0,
                   "sandbox %s did not answer in time", ctx->name.id);
    }

    return ngx_http_holdfast_fail(r, ctx, "bad_gateway", 0,
               "sandbox %s closed the connection before it answered",
               ctx->name.id);
}


static ngx_int_t
ngx_http_holdfast_pass(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_http_holdfast_route_t  route;

    for ( ;; ) {

        if (ctx->entry) {
            rc = ngx_http_holdfast_socket(r, ctx);

            if (rc == NGX_DECLINED) {
                ctx->passed = 1;
            }

            if (rc != NGX_ABORT) {
                return rc;
            }

            /* refused: it has left again */
        }

        ngx_http_holdfast_table_read((u_char *) ctx->name.id,
                                     ctx->name.id_len, ctx->name.port,
                                     &route);

        if (ctx->streaming) {
            return ngx_http_holdfast_stream(r, ctx, &route);
        }

        rc = ngx_http_holdfast_verdict(r, ctx, &route);

        if (rc != NGX_OK) {
            return rc;
        }

        if (route.state == NGX_HTTP_HOLDFAST_ABSENT) {
            return ngx_http_holdfast_wait(r, ctx, LINE_LOOK, route.ask);
        }

        if (route.state == NGX_HTTP_HOLDFAST_GONE) {
            return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                          "no sandbox %s", ctx->name.id);
        }

        rc = ngx_http_holdfast_may_enter(r, ctx, &route);

        if (rc != NGX_OK) {
            return rc;
        }

        if (ctx->refused) {
            ctx->refused = 0;

            if (++ctx->attempts >= NGX_HTTP_HOLDFAST_ATTEMPTS
                || ++ctx->refusals >= NGX_HTTP_HOLDFAST_REFUSALS)
            {
                return ngx_http_holdfast_fail(r, ctx, "bad_gateway", 1,
                           "nothing in sandbox %s takes connections on "
                           "port %ui", ctx->name.id,
                           (ngx_uint_t) ctx->name.port);
            }

            return ngx_http_holdfast_wait(r, ctx, LINE_REFUSED, route.ask);
        }

        if (route.state == NGX_HTTP_HOLDFAST_PARKED) {
            return ngx_http_holdfast_asleep(r, ctx, &route);
        }

        if (ctx->state_page) {

            if (ctx->opened) {
                return ngx_http_holdfast_state(r, ctx, "awake");
            }

            /* "refused", for "wake" would make a new generation each time */

            return ngx_http_holdfast_wait(r, ctx, LINE_REFUSED, route.ask);
        }

        rc = ngx_http_holdfast_enter(r, ctx, &route);

        if (rc != NGX_OK) {
            return rc;
        }
    }
}


/* What came of the waiting, so far as the table does not tell. */

static ngx_int_t
ngx_http_holdfast_verdict(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route)
{
    u_char      *p, list[LINE_PORTS_MAX * 6 + 1];
    ngx_uint_t   i;

    if (ctx->failed) {

        if (ctx->state_page) {
            return ngx_http_holdfast_state(r, ctx, "failed");
        }

        return ngx_http_holdfast_fail(r, ctx,
                   ctx->code.len ? (char *) ctx->code.data : "wake_failed",
                   ctx->retry_after, "%V", &ctx->text);
    }

    if (ctx->gone) {
        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                      "no sandbox %s", ctx->name.id);
    }

    if (ctx->full) {
        return ngx_http_holdfast_fail(r, ctx, "unavailable", 1,
                   "the route table is full of sandboxes in use");
    }

    if (ctx->closed) {

        if (ctx->state_page) {
            return ngx_http_holdfast_state(r, ctx, "closed");
        }

        p = list;

        for (i = 0; i < ctx->nopen; i++) {
            p = ngx_sprintf(p, "%s%ud", i ? ", " : "",
                            (ngx_uint_t) ctx->open[i]);
        }

        *p = '\0';

        return ngx_http_holdfast_fail(r, ctx, "port_closed", 0,
                   ctx->nopen ? "nothing listens on port %ui; open ports: %s"
                              : "nothing listens on port %ui, or on any other",
                   (ngx_uint_t) ctx->name.port, list);
    }

    if (ctx->timed_out) {

        if (ctx->state_page) {
            return ngx_http_holdfast_state(r, ctx, "waking");
        }

        return ngx_http_holdfast_fail(r, ctx, "hold_timeout", 5,
                   !ngx_http_holdfast_link_up()
                   ? "the control plane does not answer"
                   : route->state == NGX_HTTP_HOLDFAST_AWAKE
                     ? "port %ui of the sandbox does not open yet"
                     : "the sandbox is still waking up",
                   (ngx_uint_t) ctx->name.port);
    }

    if (ctx->warm) {
        return ngx_http_holdfast_warming(r, ctx, 0);
    }

    if (ctx->rounds >= NGX_HTTP_HOLDFAST_ROUNDS) {

        if (ctx->state_page) {
            return ngx_http_holdfast_state(r, ctx, "waking");
        }

        return ngx_http_holdfast_fail(r, ctx, "unavailable", 1,
                                      "the sandbox does not settle");
    }

    return NGX_OK;
}


/* Parked: who may wake it is held, who may not is told. */

static ngx_int_t
ngx_http_holdfast_asleep(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route)
{
    if (route->wakes == LINE_NOTHING) {
        return ngx_http_holdfast_fail(r, ctx, "asleep", 30,
                                      "the sandbox is not to be woken now");
    }

    switch (ngx_http_holdfast_treat(r, ctx)) {

    case NGX_HTTP_HOLDFAST_TURN_AWAY:
        return ngx_http_holdfast_fail(r, ctx, "asleep", 60,
                   "the sandbox sleeps; a health check does not wake it");

    case NGX_HTTP_HOLDFAST_BACKGROUND:

        if ((route->flags & NGX_HTTP_HOLDFAST_WAKE_ANY)
            && route->wakes == LINE_ONDEMAND)
        {
            break;
        }

        return ngx_http_holdfast_fail(r, ctx, "asleep", 10,
                   "the sandbox sleeps; a page that was left open does not "
                   "wake it, a visit does");

    case NGX_HTTP_HOLDFAST_RELOAD:

        if ((route->flags & NGX_HTTP_HOLDFAST_WAKE_ANY)
            && route->wakes == LINE_ONDEMAND)
        {
            break;
        }

        return ngx_http_holdfast_warming(r, ctx, 1);

    case NGX_HTTP_HOLDFAST_STREAM:
        return ngx_http_holdfast_stream(r, ctx, route);

    case NGX_HTTP_HOLDFAST_CARD:
        return ngx_http_holdfast_card(r, ctx);
    }

    return ngx_http_holdfast_wait(r, ctx, LINE_WAKE, route->ask);
}


static ngx_int_t
ngx_http_holdfast_wait(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t how, uint64_t generation)
{
    ngx_int_t  rc;

    ctx->rounds++;

    rc = ngx_http_holdfast_hold(r, ctx, how, generation);

    if (rc == NGX_BUSY) {
        return ngx_http_holdfast_fail(r, ctx, "queue_full", 2,
                   "too many requests wait for this sandbox already");
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return rc;
}
