
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
