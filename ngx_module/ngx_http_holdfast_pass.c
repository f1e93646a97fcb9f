
/*
 * Tickets at the API: for what a browser opens without headers, an EventSource,
 * a WebSocket, a download.
 *
 *   query         ticket=...
 *   subprotocol   holdfast.ticket.<ticket>, beside the one that is spoken
 *
 * Both are taken out of every call, whatever comes of it, so that no worker,
 * guest or log sees one.  They count where there is no Authorization, for GET
 * and HEAD, on the paths of the table below, and for nothing else: the caller
 * is then the sandbox's tenant, with this one sandbox in its scope.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_PROTOCOL  "holdfast.ticket."


typedef struct {
    const char  *path;                  /* below the sandbox; "*": a segment */
    unsigned     allow;
} ngx_http_holdfast_pass_t;


static ngx_int_t ngx_http_holdfast_take_protocol(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static unsigned ngx_http_holdfast_pass_allow(ngx_str_t *uri);
static ngx_uint_t ngx_http_holdfast_pass_fits(const char *pattern, u_char *p,
    u_char *last);
static ngx_int_t ngx_http_holdfast_pass_check(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, unsigned allow);
static ngx_int_t ngx_http_holdfast_pass_token(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, uint64_t tag);


static const ngx_http_holdfast_pass_t  ngx_http_holdfast_passes[] = {
    { "events",             TICKET_EVENTS },
    { "tasks/*/events",     TICKET_EVENTS },
    { "processes/*/events", TICKET_EVENTS },
    { "terminal",           TICKET_TERMINAL },
    { "files",              TICKET_FILES },
    { "files/content",      TICKET_FILES },
    { "files/archive",      TICKET_FILES },
    { "files/watch",        TICKET_FILES },
    { "archive",            TICKET_FILES },
    { "export",             TICKET_FILES },
    { NULL, 0 }
};


/* Before anything may fail: what is logged then has no ticket any more. */

ngx_int_t
ngx_http_holdfast_pass_take(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    if (ctx->pass_taken) {
        return NGX_OK;
    }

    ctx->pass_taken = 1;

    if (ngx_http_holdfast_take_query(r, ctx, "ticket") != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_holdfast_take_protocol(r, ctx);
}


/* The header as it goes on; the first ticket in it. */

static ngx_int_t
ngx_http_holdfast_take_protocol(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    size_t            n;
    u_char           *p, *end, *last, *out, *q;
    ngx_table_elt_t  *h;

    n = sizeof(NGX_HTTP_HOLDFAST_PROTOCOL) - 1;

    h = ngx_http_holdfast_header(r, "sec-websocket-protocol", 22);

    if (h == NULL || h->value.len <= n
        || ngx_strlcasestrn(h->value.data, h->value.data + h->value.len,
                            (u_char *) NGX_HTTP_HOLDFAST_PROTOCOL, n - 1)
           == NULL)
    {
        return NGX_OK;
    }

    out = ngx_pnalloc(r->pool, 2 * h->value.len + 1);
    if (out == NULL) {
        return NGX_ERROR;
    }

    q = out;
    last = h->value.data + h->value.len;

    for (p = h->value.data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, ',');

        if (end == NULL) {
            end = last;
        }

        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }

        if ((size_t) (end - p) > n
            && ngx_strncasecmp(p, (u_char *) NGX_HTTP_HOLDFAST_PROTOCOL, n)
               == 0)
        {
            if (ctx->link.len == 0) {
                ctx->link.data = p + n;
                ctx->link.len = end - p - n;

                while (ctx->link.len
                       && ctx->link.data[ctx->link.len - 1] == ' ')
                {
                    ctx->link.len--;
                }
            }

            continue;
        }

        if (q != out) {
            *q++ = ',';
            *q++ = ' ';
        }

        q = ngx_cpymem(q, p, end - p);
    }

    *q = '\0';

    h->value.data = out;
    h->value.len = q - out;

    return NGX_OK;
}


/* NGX_OK: ctx->token is the caller's.  NGX_DECLINED: there is no ticket. */

ngx_int_t
ngx_http_holdfast_pass_enter(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    char      key[TICKET_KEY_LEN + 1];
    unsigned  allow;

    if (ctx->link.len == 0 || r->headers_in.authorization
        || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)))
    {
        return NGX_DECLINED;
    }

    allow = ngx_http_holdfast_pass_allow(&r->uri);

    if (allow == 0
        || ngx_http_holdfast_path_parse((char *) r->uri.data, r->uri.len,
                                        &ctx->name)
           != NGX_HTTP_HOLDFAST_NAME_OK)
    {
        return NGX_DECLINED;
    }

    /* nothing is asked for a text that has not even the form */

    if (ticket_parse((char *) ctx->link.data, ctx->link.len, &ctx->ticket, key)
        != 0
        || ngx_strcmp(ctx->ticket.id, ctx->name.id) != 0)
    {
        return ngx_http_holdfast_fail(r, ctx, "unauthorized", 0,
                                      "the ticket is not one for this");
    }

    return ngx_http_holdfast_pass_check(r, ctx, allow);
}


static unsigned
ngx_http_holdfast_pass_allow(ngx_str_t *uri)
{
    u_char                          *p, *last;
    const ngx_http_holdfast_pass_t  *pass;

    p = uri->data;
    last = p + uri->len;

    if (uri->len > 14 && ngx_strncmp(p, "/v1/sandboxes/", 14) == 0) {
        p += 14;

    } else if (uri->len > 9 && ngx_strncmp(p, "/sandbox/", 9) == 0) {
        p += 9;

    } else {
        return 0;
    }

    p = ngx_strlchr(p, last, '/');

    if (p == NULL) {
        return 0;
    }

    for (pass = ngx_http_holdfast_passes; pass->path; pass++) {
        if (ngx_http_holdfast_pass_fits(pass->path, p + 1, last)) {
            return pass->allow;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_holdfast_pass_fits(const char *pattern, u_char *p, u_char *last)
{
    for ( /* void */ ; *pattern; pattern++) {

        if (*pattern != '*') {

            if (p == last || *p++ != (u_char) *pattern) {
                return 0;
            }

            continue;
        }

        if (p == last || *p == '/') {
            return 0;
        }

        while (p < last && *p != '/') {
            p++;
        }
    }

    return p == last;
}


/* The signature is over the tenant, too, which the route knows. */

static ngx_int_t
ngx_http_holdfast_pass_check(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, unsigned allow)
{
    ngx_int_t                       rc;
    ngx_http_holdfast_route_t       route;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    ngx_http_holdfast_table_read((u_char *) ctx->name.id, ctx->name.id_len, 0,
                                 &route);

    if (ctx->gone || route.state == NGX_HTTP_HOLDFAST_GONE) {
        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                      "no sandbox %s", ctx->name.id);
    }

    if (ctx->timed_out || ctx->failed || ctx->full
        || ctx->rounds >= NGX_HTTP_HOLDFAST_ROUNDS)
    {
        return ngx_http_holdfast_fail(r, ctx, "unavailable", 1,
                                      "the ticket cannot be checked now");
    }

    if (route.state == NGX_HTTP_HOLDFAST_ABSENT) {
        ctx->rounds++;
        rc = ngx_http_holdfast_hold(r, ctx, LINE_LOOK, route.ask);
        goto held;
    }

    if (hmcf->keys == NULL
        || ticket_check((char *) ctx->link.data, ctx->link.len, hmcf->keys,
                        route.tenant, ngx_time(), &ctx->ticket)
           != TICKET_OK)
    {
        return ngx_http_holdfast_fail(r, ctx, "unauthorized", 0,
                   "the ticket has expired or is not one for this");
    }

    if (!(ctx->ticket.allow & allow)) {
        return ngx_http_holdfast_fail(r, ctx, "forbidden", 0,
                                      "the ticket does not allow this");
    }

    if (ctx->ticket.epoch != route.share_epoch) {

        if (!ctx->share_answered || ctx->share_epoch != route.share_epoch) {
            rc = ngx_http_holdfast_question(r, ctx, &route, 0, 0);
            goto held;
        }

        if (ctx->share_said != LINE_SHARE_OK) {
            return ngx_http_holdfast_fail(r, ctx,
                       ctx->share_said == LINE_SHARE_GONE ? "unauthorized"
                                                          : "unavailable",
                       0, "the ticket is not one for this sandbox");
        }
    }

    return ngx_http_holdfast_pass_token(r, ctx, route.tenant);

held:

    if (rc == NGX_BUSY) {
        return ngx_http_holdfast_fail(r, ctx, "queue_full", 2,
                                      "too many requests wait already");
    }

    return rc == NGX_ERROR ? NGX_HTTP_INTERNAL_SERVER_ERROR : rc;
}


/* A caller like one with a token of the tenant and of scope ids:<id>. */

static ngx_int_t
ngx_http_holdfast_pass_token(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, uint64_t tag)
{
    u_char                         *p;
    ngx_uint_t                      i;
    ngx_http_holdfast_token_t      *token, *owner;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    owner = NULL;

    for (i = 0; i <= hmcf->tokens->mask && owner == NULL; i++) {
        for (token = hmcf->tokens->buckets[i]; token; token = token->next) {
            if (token->tag == tag) {
                owner = token;
                break;
            }
        }
    }

    if (owner == NULL) {

        /* the tenant has no token any more: nobody acts in its name */

        return ngx_http_holdfast_fail(r, ctx, "unauthorized", 0,
                                      "the ticket's tenant is not known");
    }

    token = ngx_pcalloc(r->pool, sizeof(ngx_http_holdfast_token_t));
    p = ngx_pnalloc(r->pool, 4 + ctx->name.id_len + 1);

    if (token == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    token->tenant = owner->tenant;
    token->tag = tag;
    token->rate_key = owner->rate_key;
    ngx_str_set(&token->name, "ticket");

    token->scope.data = p;
    token->scope.len = ngx_sprintf(p, "ids:%s%Z", ctx->name.id) - p - 1;

    token->ids = ngx_palloc(r->pool, sizeof(ngx_str_t));
    if (token->ids == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    token->nids = 1;
    token->ids->data = p + 4;
    token->ids->len = ctx->name.id_len;

    ctx->token = token;

    return NGX_OK;
}
