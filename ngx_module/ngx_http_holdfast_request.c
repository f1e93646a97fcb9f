
/*
 * A request as the gate sees it: its ctx, what its headers say, and the name
 * of the sandbox, which is in its host or in its path.
 */


#include "ngx_http_holdfast_module.h"


static void ngx_http_holdfast_read_headers(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_cleanup(void *data);
static ngx_int_t ngx_http_holdfast_parse_preview(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_uint_t ngx_http_holdfast_one_host(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_parse_guest(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);


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


/* What it is about, and may the caller?  Once, whatever it waits for later. */

ngx_int_t
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
