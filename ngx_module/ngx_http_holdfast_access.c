
/*
 * Who may call the API, and who may enter a sandbox.
 *
 * In this order, and nothing is asked of the keeper before the last step:
 *
 *   path     reads the same before and after decoding
 *   Host     is not a stranger's name that was pointed at us
 *   Origin   is one of the configured, or the call is not a page's
 *   CORS     a preflight of such an origin is answered here
 *   token    its digest is known; or a ticket (_pass)
 *   scope    ro only reads
 *   rate     of the token
 *   tenant   owns the sandbox; another's does not exist
 */


#include "ngx_http_holdfast_module.h"


static ngx_uint_t ngx_http_holdfast_is_events(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_check_path(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_check_host(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_check_origin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_preflight(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_check_token(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_str_t *ngx_http_holdfast_in_list(ngx_array_t *list,
    ngx_str_t *value);


/* Health and figures: for anybody who came by a name of ours. */

ngx_int_t
ngx_http_holdfast_open(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    return ngx_http_holdfast_check_host(r, ctx);
}


ngx_int_t
ngx_http_holdfast_access(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_uint_t                      wait;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    if (ngx_http_holdfast_pass_take(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_holdfast_check_path(r, ctx);

    if (rc == NGX_OK) {
        rc = ngx_http_holdfast_check_host(r, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_holdfast_check_origin(r, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_holdfast_check_token(r, ctx);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->token->read_only
        && !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS)))
    {
        return ngx_http_holdfast_fail(r, ctx, "forbidden", 0,
                                      "scope ro may only read");
    }

    if (hmcf->rate > 0 && !ngx_http_holdfast_is_events(r)) {

        wait = ngx_http_holdfast_table_rate(ctx->token->rate_key, hmcf->rate);

        if (wait) {
            ngx_http_holdfast_count(limited);

            return ngx_http_holdfast_fail(r, ctx, "rate_limited", wait,
                       "more than %i calls a second with this token",
                       hmcf->rate);
        }
    }

    return NGX_OK;
}


/*
 * Event streams are free of the rate: after a reload all of a token's clients
 * come back at once, and a browser that is told 429 does not try again.
 */

static ngx_uint_t
ngx_http_holdfast_is_events(ngx_http_request_t *r)
{
    return (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
           && r->uri.len >= 7
           && ngx_strncmp(r->uri.data + r->uri.len - 7, "/events", 7) == 0;
}


static ngx_int_t
ngx_http_holdfast_check_path(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    size_t   len;
    u_char  *args;

    args = ngx_strlchr(r->unparsed_uri.data,
                       r->unparsed_uri.data + r->unparsed_uri.len, '?');

    len = args ? (size_t) (args - r->unparsed_uri.data) : r->unparsed_uri.len;

    if (len == 0 || r->unparsed_uri.data[0] != '/'
        || ngx_http_holdfast_path_check((char *) r->unparsed_uri.data, len)
           != NGX_HTTP_HOLDFAST_NAME_OK)
    {
        return ngx_http_holdfast_fail(r, ctx, "bad_request", 0,
                   "the path must not have encoded separators, dots or "
                   "control characters, nor . or .. segments");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_check_host(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_str_t                      *host;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    host = &r->headers_in.server;

    if (host->len == 0
        || ngx_http_holdfast_host_is_local((char *) host->data, host->len)
        || ngx_http_holdfast_in_list(hmcf->hosts, host))
    {
        return NGX_OK;
    }

    return ngx_http_holdfast_fail(r, ctx, "host_refused", 0,
               "the API does not answer to this Host; see the setting "
               "api_hosts");
}


static ngx_int_t
ngx_http_holdfast_check_origin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_table_elt_t                *origin, *site;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    origin = ngx_http_holdfast_header(r, "origin", 6);

    if (origin) {
        ctx->origin = ngx_http_holdfast_in_list(hmcf->origins, &origin->value);

        if (ctx->origin == NULL) {
            return ngx_http_holdfast_fail(r, ctx, "origin_refused", 0,
                       "pages of this origin may not call the API; see the "
                       "setting api_origins");
        }

        if (r->method == NGX_HTTP_OPTIONS
            && ngx_http_holdfast_header(r, "access-control-request-method",
                                        29))
        {
            return ngx_http_holdfast_preflight(r, ctx);
        }

        return NGX_OK;
    }

    site = ngx_http_holdfast_header(r, "sec-fetch-site", 14);

    if (site
        && !(site->value.len == 4
             && ngx_strncmp(site->value.data, "none", 4) == 0)
        && !(site->value.len == 11
             && ngx_strncmp(site->value.data, "same-origin", 11) == 0))
    {
        return ngx_http_holdfast_fail(r, ctx, "origin_refused", 0,
                   "a page of another site may not call the API; see the "
                   "setting api_origins");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_preflight(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    if (ngx_http_holdfast_add_header(r, "Access-Control-Allow-Methods",
                                     "GET, HEAD, POST, PUT, PATCH, DELETE")
        != NGX_OK
        || ngx_http_holdfast_add_header(r, "Access-Control-Allow-Headers",
                                        "Authorization, Content-Type, Prefer, "
                                        "Idempotency-Key, If-Match, "
                                        "If-None-Match, Last-Event-ID, "
                                        "X-Request-Id, X-Sandbox-Activity")
           != NGX_OK
        || ngx_http_holdfast_add_header(r, "Access-Control-Max-Age", "600")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->answered = 1;

    return ngx_http_holdfast_no_content(r);
}


static ngx_int_t
ngx_http_holdfast_check_token(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_str_t                       secret;
    ngx_table_elt_t                *h;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    if (hmcf->tokens == NULL) {
        ctx->token = hmcf->nobody;
        return NGX_OK;
    }

    rc = ngx_http_holdfast_pass_enter(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    h = r->headers_in.authorization;

    if (h && h->value.len > 7
        && ngx_strncasecmp(h->value.data, (u_char *) "Bearer ", 7) == 0)
    {
        secret.data = h->value.data + 7;
        secret.len = h->value.len - 7;

        while (secret.len && secret.data[0] == ' ') {
            secret.data++;
            secret.len--;
        }

        ctx->token = ngx_http_holdfast_token_find(hmcf->tokens, &secret);

        if (ctx->token) {
            return NGX_OK;
        }
    }

    ngx_http_holdfast_count(unauthorized);

    if (ngx_http_holdfast_add_header(r, "WWW-Authenticate",
                                     "Bearer realm=\"holdfast\"")
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_holdfast_fail(r, ctx, "unauthorized", 0,
                                  h ? "this token is not known"
                                    : "send \"Authorization: Bearer\" and a "
                                      "token");
}


/* The route is known, and with it whose it is. */

ngx_int_t
ngx_http_holdfast_may_enter(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route)
{
    ngx_int_t  rc;

    if (ctx->mode == NGX_HTTP_HOLDFAST_GUEST) {

        if (ctx->token == NULL || route->tenant != ctx->token->tag) {
            return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                                          "no sandbox %s", ctx->name.id);
        }

        return NGX_OK;
    }

    if ((route->flags & NGX_HTTP_HOLDFAST_PRIVATE) || ctx->link.len) {
        rc = ngx_http_holdfast_private(r, ctx, route);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (route->closed) {
        return ngx_http_holdfast_fail(r, ctx, "not_found", 0,
                   "port %ui is not one that this sandbox declares",
                   (ngx_uint_t) ctx->name.port);
    }

    return NGX_OK;
}


static ngx_str_t *
ngx_http_holdfast_in_list(ngx_array_t *list, ngx_str_t *value)
{
    ngx_str_t   *s;
    ngx_uint_t   i;

    if (list == NULL) {
        return NULL;
    }

    s = list->elts;

    for (i = 0; i < list->nelts; i++) {
        if (s[i].len == value->len
            && ngx_strncasecmp(s[i].data, value->data, value->len) == 0)
        {
            return &s[i];
        }
    }

    return NULL;
}
