
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
#define NGX_HTTP_HOLDFAST_VAR_CONNECTION   14
#define NGX_HTTP_HOLDFAST_VAR_UPGRADE      15
#define NGX_HTTP_HOLDFAST_VAR_LINE         16
#define NGX_HTTP_HOLDFAST_VAR_FIELDS       17


static ngx_int_t ngx_http_holdfast_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_holdfast_as_sent(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static size_t ngx_http_holdfast_until(ngx_str_t *from, u_char end);
static ngx_int_t ngx_http_holdfast_log_line(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_http_holdfast_log_fields(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *value);
static void ngx_http_holdfast_about(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *id);
static void ngx_http_holdfast_state_name(ngx_http_holdfast_ctx_t *ctx,
    ngx_str_t *name);


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
    { ngx_string("holdfast_connection"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_CONNECTION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_upgrade"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_UPGRADE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_line"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_LINE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("holdfast_fields"), NULL, ngx_http_holdfast_variable,
      NGX_HTTP_HOLDFAST_VAR_FIELDS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

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

    if (data == NGX_HTTP_HOLDFAST_VAR_REQUEST
        || data == NGX_HTTP_HOLDFAST_VAR_FIELDS)
    {

        /* every answer has one, also what never comes to the gate */

        ctx = ngx_http_holdfast_get_ctx(r->main);

    } else {
        ctx = ngx_http_holdfast_find_ctx(r->main);
    }

    if (ctx == NULL) {

        if (data == NGX_HTTP_HOLDFAST_VAR_ARGS) {
            value = r->main->args;
        }

        if (data > NGX_HTTP_HOLDFAST_VAR_LINE
            || data < NGX_HTTP_HOLDFAST_VAR_CONNECTION)
        {
            goto done;
        }
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

    case NGX_HTTP_HOLDFAST_VAR_CONNECTION:

        /* a WebSocket keeps its Upgrade on the way to the app */

        if (r->headers_in.upgrade && r->headers_in.upgrade->value.len) {
            ngx_str_set(&value, "upgrade");
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_UPGRADE:

        /* $http_upgrade would compare the names of all headers */

        if (r->headers_in.upgrade) {
            value = r->headers_in.upgrade->value;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_LINE:
        if (ngx_http_holdfast_log_line(r->main, &value) != NGX_OK) {
            return NGX_ERROR;
        }
        break;

    case NGX_HTTP_HOLDFAST_VAR_FIELDS:
        if (ngx_http_holdfast_log_fields(r->main, ctx, &value) != NGX_OK) {
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
    v->len = ngx_http_holdfast_until(from, end);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = (v->len == 0);

    return NGX_OK;
}


static size_t
ngx_http_holdfast_until(ngx_str_t *from, u_char end)
{
    size_t  n;

    for (n = 0; n < from->len && from->data[n] != end; n++) { /* void */ }

    return n;
}


/*
 * What the log says of a request, in one piece each: a variable of its own for
 * every word would cost more than all that the gate does with the request.
 * Method, host and path as the client sent them, without the query.
 */

static ngx_int_t
ngx_http_holdfast_log_line(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char                    *p;
    ngx_str_t                  method, host, path;
    ngx_http_core_srv_conf_t  *cscf;

    method = r->request_line;
    method.len = ngx_http_holdfast_until(&method, ' ');

    if (method.len == 0) {
        ngx_str_set(&method, "-");
    }

    host = r->headers_in.server;

    if (host.len == 0) {
        cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
        host = cscf->server_name;
    }

    path = r->unparsed_uri;
    path.len = ngx_http_holdfast_until(&path, '?');

    if (path.len == 0) {
        ngx_str_set(&path, "-");
    }

    p = ngx_pnalloc(r->pool, method.len + 1 + host.len + path.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;

    p = ngx_cpymem(p, method.data, method.len);
    *p++ = ' ';
    p = ngx_cpymem(p, host.data, host.len);
    p = ngx_cpymem(p, path.data, path.len);

    value->len = p - value->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_log_fields(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   about, state, tenant, key;

    ngx_str_null(&state);
    ngx_str_null(&tenant);
    ngx_str_null(&key);

    ngx_http_holdfast_about(r, ctx, &about);
    ngx_http_holdfast_state_name(ctx, &state);

    if (ctx->token) {
        tenant = ctx->token->tenant;
        key = ctx->token->name;
    }

    p = ngx_pnalloc(r->pool, sizeof("hold= sandbox= state= tenant= key= "
                                    "request=") - 1 + NGX_INT_T_LEN
                             + about.len + state.len + tenant.len + key.len
                             + ctx->request_id.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;

    p = ngx_cpymem(p, "hold=", 5);

    if (ctx->held_ms) {
        p = ngx_sprintf(p, "%M", ctx->held_ms);

    } else {
        *p++ = '0';
    }

    p = ngx_cpymem(p, " sandbox=", 9);
    p = ngx_cpymem(p, about.data, about.len);
    p = ngx_cpymem(p, " state=", 7);
    p = ngx_cpymem(p, state.data, state.len);
    p = ngx_cpymem(p, " tenant=", 8);
    p = ngx_cpymem(p, tenant.data, tenant.len);
    p = ngx_cpymem(p, " key=", 5);
    p = ngx_cpymem(p, key.data, key.len);
    p = ngx_cpymem(p, " request=", 9);
    p = ngx_cpymem(p, ctx->request_id.data, ctx->request_id.len);

    value->len = p - value->data;

    return NGX_OK;
}


/*
 * Which sandbox it is about: the gate knows from the host or path of previews
 * and execs, an api worker tells for the rest.
 */

static void
ngx_http_holdfast_about(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_str_t *id)
{
    ngx_table_elt_t  *h;

    id->data = (u_char *) ctx->name.id;
    id->len = ctx->name.id_len;

    if (id->len || r->upstream == NULL) {
        return;
    }

    h = ngx_http_holdfast_find_header(&r->upstream->headers_in.headers,
                                      "x-holdfast-sandbox", 18);
    if (h) {
        *id = h->value;
    }
}


/* Host as the sandbox's policy has it. */

ngx_int_t
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


/*
 * The caller's, if it is [A-Za-z0-9-]{8,64}, else a new one: 26 digits of five
 * bits, by splitmix64.  It names a request, and keeps nothing secret.
 */

void
ngx_http_holdfast_request_id(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_table_elt_t *h)
{
    u_char    ch, *p;
    size_t    i;
    uint64_t  bits;

    static uint64_t    seed;
    static const char  digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

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

    ctx->request_id.data = ctx->new_id;
    ctx->request_id.len = NGX_HTTP_HOLDFAST_NEW_ID;

    if (seed == 0) {
        seed = ((uint64_t) ngx_random() << 32) ^ (uint64_t) ngx_random()
               ^ ((uint64_t) ngx_pid << 24) ^ (uint64_t) ngx_time();
    }

    p = ctx->new_id;

    while (p < ctx->new_id + NGX_HTTP_HOLDFAST_NEW_ID) {

        seed += 0x9e3779b97f4a7c15;
        bits = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
        bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
        bits ^= bits >> 31;

        /* the last of 13 has four bits */

        for (i = 0; i < NGX_HTTP_HOLDFAST_NEW_ID / 2; i++) {
            *p++ = digits[bits & 31];
            bits >>= 5;
        }
    }
}
