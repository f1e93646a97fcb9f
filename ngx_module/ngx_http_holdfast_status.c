
/*
 * Variables.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_VAR_ID           0
#define NGX_HTTP_HOLDFAST_VAR_STATE        1
#define NGX_HTTP_HOLDFAST_VAR_HOLD_MS      2
#define NGX_HTTP_HOLDFAST_VAR_TENANT       3
#define NGX_HTTP_HOLDFAST_VAR_KEY          4
#define NGX_HTTP_HOLDFAST_VAR_SCOPE        5
#define NGX_HTTP_HOLDFAST_VAR_REQUEST      6
#define NGX_HTTP_HOLDFAST_VAR_OP           7
#define NGX_HTTP_HOLDFAST_VAR_HOST         8
#define NGX_HTTP_HOLDFAST_VAR_ORIGIN       9
#define NGX_HTTP_HOLDFAST_VAR_METHOD       10
#define NGX_HTTP_HOLDFAST_VAR_ARGS         11
#define NGX_HTTP_HOLDFAST_VAR_COOKIE       12
#define NGX_HTTP_HOLDFAST_VAR_PATH         13
#define NGX_HTTP_HOLDFAST_VAR_APP_ORIGIN   14


static ngx_int_t ngx_http_holdfast_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_holdfast_as_sent(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_holdfast_state_name(ngx_http_holdfast_ctx_t *ctx,
    ngx_str_t *name);
static ngx_int_t ngx_http_holdfast_app_host(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *host);
static ngx_int_t ngx_http_holdfast_app_origin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *origin);


static ngx_http_variable_t  ngx_http_holdfast_vars[] = {

    { ngx_string("holdfast_id"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_state"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_STATE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_hold_ms"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_HOLD_MS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_tenant"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_TENANT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_key"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_KEY, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_scope"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_SCOPE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_request_id"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_REQUEST, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_op"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_OP, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_host"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_HOST, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_origin"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_ORIGIN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_method"), NULL, ngx_http_holdfast_as_sent,
      NGX_HTTP_HOLDFAST_VAR_METHOD, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_path"), NULL, ngx_http_holdfast_as_sent,
      NGX_HTTP_HOLDFAST_VAR_PATH, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_args"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_ARGS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_cookie"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_COOKIE, NGX_HTTP_VAR_NOCACHEABLE, 0 },
    { ngx_string("holdfast_app_origin"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_APP_ORIGIN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_holdfast_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_holdfast_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                   *p;
    ngx_str_t                 value;
    ngx_http_holdfast_ctx_t  *ctx;

    ngx_str_null(&value);

    if (data == NGX_HTTP_HOLDFAST_VAR_REQUEST) {

        /* every answer has one, also what never comes to the gate */

        ctx = ngx_http_holdfast_get_ctx(r->main);

    } else {
        ctx = ngx_http_holdfast_find_ctx(r->main);
    }

    if (ctx == NULL) {

        if (data == NGX_HTTP_HOLDFAST_VAR_ARGS) {
            value = r->main->args;
        }

        goto done;
    }

    switch (data) {

    case NGX_HTTP_HOLDFAST_VAR_ID:
        value.data = (u_char *) ctx->name.id;
        value.len = ctx->name.id_len;
        break;

    case NGX_HTTP_HOLDFAST_VAR_STATE:
        ngx_http_holdfast_state_name(ctx, &value);
        break;

    case NGX_HTTP_HOLDFAST_VAR_HOLD_MS:
        p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "%M", ctx->held_ms) - p;
        break;

    case NGX_HTTP_HOLDFAST_VAR_TENANT:
        if (ctx->token) {
            value = ctx->token->tenant;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_KEY:
        if (ctx->token) {
            value = ctx->token->name;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_SCOPE:
        if (ctx->token) {
            value = ctx->token->scope;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_REQUEST:
        value = ctx->request_id;
        break;

    case NGX_HTTP_HOLDFAST_VAR_OP:
        if (ctx->op) {
            p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
            if (p == NULL) {
                return NGX_ERROR;
            }

            value.data = p;
            value.len = ngx_sprintf(p, "%uL", ctx->op) - p;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_HOST:
        if (ngx_http_holdfast_app_host(r, ctx, &value) != NGX_OK) {
            return NGX_ERROR;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_ORIGIN:
        if (ctx->origin) {
            value = *ctx->origin;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_ARGS:
        value = ctx->args;
        break;

    case NGX_HTTP_HOLDFAST_VAR_COOKIE:
        value = ctx->cookie;
        break;

    case NGX_HTTP_HOLDFAST_VAR_APP_ORIGIN:
        if (ngx_http_holdfast_app_origin(r, ctx, &value) != NGX_OK) {
            return NGX_ERROR;
        }
        break;
    }

done:

    v->data = value.data;
    v->len = value.len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


/*
 * Method and path of the request line, whatever internal redirects and error
 * pages have made of them.
 */

static ngx_int_t
ngx_http_holdfast_as_sent(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char      end;
    ngx_str_t  *from;

    r = r->main;

    if (data == NGX_HTTP_HOLDFAST_VAR_PATH) {
        from = &r->unparsed_uri;
        end = '?';

    } else {
        from = &r->request_line;
        end = ' ';
    }

    v->data = from->data;
    v->len = 0;

    while (v->len < from->len && from->data[v->len] != end) {
        v->len++;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = (v->len == 0);

    return NGX_OK;
}


/* Host as the sandbox's policy has it. */

static ngx_int_t
ngx_http_holdfast_app_host(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_str_t *host)
{
    u_char  *p;

    if (ctx->host.len == 6 && ngx_strncmp(ctx->host.data, "public", 6) == 0) {
        *host = r->headers_in.host ? r->headers_in.host->value
                                   : r->headers_in.server;

    } else if (ctx->host.len == 9
               && ngx_strncmp(ctx->host.data, "localhost", 9) == 0)
    {
        p = ngx_pnalloc(r->pool, sizeof("localhost:65535"));
        if (p == NULL) {
            return NGX_ERROR;
        }

        host->data = p;
        host->len = ngx_sprintf(p, "localhost:%ui",
                                (ngx_uint_t) ctx->name.port) - p;

    } else {
        *host = ctx->host;
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
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *origin)
{
    u_char           *p;
    size_t            scheme;
    ngx_str_t         host, *own;
    ngx_table_elt_t  *h;

    h = ngx_http_holdfast_header(r, "origin", 6);

    if (h == NULL) {
        return NGX_OK;
    }

    *origin = h->value;

    if (ctx->host.len == 0
        || (ctx->host.len == 6
            && ngx_strncmp(ctx->host.data, "public", 6) == 0)
        || r->headers_in.host == NULL
        || !ngx_http_holdfast_is_upgrade(r))
    {
        return NGX_OK;
    }

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


static void
ngx_http_holdfast_state_name(ngx_http_holdfast_ctx_t *ctx, ngx_str_t *name)
{
    ngx_http_holdfast_route_t  route;

    if (ctx->name.id_len == 0) {
        return;
    }

    if (ctx->entry) {
        ngx_str_set(name, "awake");
        return;
    }

    ngx_http_holdfast_table_read((u_char *) ctx->name.id, ctx->name.id_len, 0,
                                 &route);

    switch (route.state) {

    case NGX_HTTP_HOLDFAST_AWAKE:
        ngx_str_set(name, "awake");
        break;

    case NGX_HTTP_HOLDFAST_PARKED:
        ngx_str_set(name, "asleep");
        break;

    case NGX_HTTP_HOLDFAST_GONE:
        ngx_str_set(name, "gone");
        break;

    default:
        ngx_str_set(name, "unknown");
    }
}


/* The caller's, if it is [A-Za-z0-9-]{8,64}, else a new one. */

void
ngx_http_holdfast_request_id(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    long              bits;
    u_char            ch, *p;
    size_t            i;
    ngx_table_elt_t  *h;

    static const char  digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

    h = ngx_http_holdfast_header(r, "x-request-id", 12);

    if (h && h->value.len >= 8 && h->value.len <= 64) {

        for (i = 0; i < h->value.len; i++) {

            ch = h->value.data[i];

            if (!((ch >= '0' && ch <= '9') || ch == '-'
                  || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')))
            {
                break;
            }
        }

        if (i == h->value.len) {
            ctx->request_id = h->value;
            return;
        }
    }

    p = ngx_pnalloc(r->pool, 26);
    if (p == NULL) {
        ngx_str_set(&ctx->request_id, "00000000");
        return;
    }

    ctx->request_id.data = p;
    ctx->request_id.len = 26;

    for (i = 0, bits = 0; i < 26; i++) {

        /* 31 random bits are six digits */

        if (i % 6 == 0) {
            bits = ngx_random();
        }

        *p++ = digits[bits & 31];
        bits >>= 5;
    }
}
