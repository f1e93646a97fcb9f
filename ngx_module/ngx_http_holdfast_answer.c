
/*
 * What the gate answers itself: errors, in the shape that the client expects.
 *
 *   API, /v1...      {"error":{"code","message","retryable","request_id"}}
 *   API, the rest    {"error":"text"}
 *   preview          the first as JSON, or a small page if the client takes
 *                    text/html
 *
 * Codes, their status and whether trying again may help come from the list
 * that all parts share (common/err.c).
 */


#include "ngx_http_holdfast_module.h"


typedef struct {
    ngx_uint_t   status;
    const char  *code;
    const char  *message;
} ngx_http_holdfast_status_t;


static ngx_int_t ngx_http_holdfast_error(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t status, ngx_uint_t preview,
    const char *code, ngx_uint_t retry_after, ngx_str_t *message);
static ngx_int_t ngx_http_holdfast_error_json(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t v1, const char *code,
    ngx_str_t *message, ngx_str_t *body);
static ngx_int_t ngx_http_holdfast_error_page(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t status, ngx_str_t *message,
    ngx_str_t *body);
static ngx_uint_t ngx_http_holdfast_is_v1(ngx_http_request_t *r);


/* nginx' own errors */

static const ngx_http_holdfast_status_t  ngx_http_holdfast_statuses[] = {
    { 400, "bad_request", "the request is not well-formed" },
    { 401, "unauthorized", "authentication is needed" },
    { 403, "forbidden", "this is not allowed" },
    { 404, "not_found", "there is no such route" },
    { 405, "method_not_allowed", "this method is not allowed here" },
    { 408, "timeout", "the request did not arrive in time" },
    { 411, "length_required", "Content-Length is needed" },
    { 412, "precondition_failed", "a precondition failed" },
    { 413, "too_large", "the body is larger than allowed" },
    { 414, "bad_request", "the URI is longer than allowed" },
    { 415, "unsupported_media_type", "this media type is not supported" },
    { 416, "bad_request", "the range cannot be satisfied" },
    { 429, "rate_limited", "too many requests" },
    { 431, "bad_request", "the headers are larger than allowed" },
    { 500, "internal", "an error inside the gate" },
    { 501, "not_implemented", "this is not implemented" },
    { 502, "bad_gateway", "the control plane did not answer" },
    { 503, "unavailable", "not available now" },
    { 504, "timeout", "the control plane did not answer in time" },
    { 505, "bad_request", "this version of HTTP is not supported" },
    { 507, "disk_full", "the disk is full" },
    { 0, "internal", "an error inside the gate" }
};


static const char  ngx_http_holdfast_page_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=viewport content=\"width=device-width\">"
    "<meta name=robots content=noindex>"
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;"
    "margin:20vh auto 0;padding:0 1.5em;color:#222}"
    "small{color:#777}@media(prefers-color-scheme:dark)"
    "{body{background:#181818;color:#ddd}}</style><title>";


/*
 * Answers and ends the request: the caller returns what this returns, and
 * does not look at the request again.
 */

ngx_int_t
ngx_http_holdfast_fail(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    const char *code, ngx_uint_t retry_after, const char *fmt, ...)
{
    u_char                  buf[NGX_MAX_ERROR_STR];
    va_list                 args;
    ngx_int_t               rc;
    ngx_str_t               message;
    const struct err_code  *known;

    va_start(args, fmt);
    message.data = buf;
    message.len = ngx_vslprintf(buf, buf + sizeof(buf), fmt, args) - buf;
    va_end(args);

    known = err_lookup(code);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "holdfast answers %d %s: %V", known->status, known->code,
                   &message);

    ngx_http_holdfast_drop_sockets(ctx);
    ngx_http_holdfast_leave(ctx);

    ctx->answered = 1;
    r->err_status = 0;

    rc = ngx_http_holdfast_error(r, ctx, known->status,
                                 ctx->mode == NGX_HTTP_HOLDFAST_PREVIEW,
                                 known->code, retry_after, &message);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* The content handler of "holdfast_error": an error of nginx' own. */

ngx_int_t
ngx_http_holdfast_error_handler(ngx_http_request_t *r)
{
    ngx_str_t                          message;
    ngx_uint_t                         status;
    ngx_http_holdfast_ctx_t           *ctx;
    ngx_http_holdfast_loc_conf_t      *hlcf;
    const ngx_http_holdfast_status_t  *known;

    ctx = ngx_http_holdfast_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_holdfast_module);

    status = r->err_status ? r->err_status : NGX_HTTP_NOT_FOUND;

    for (known = ngx_http_holdfast_statuses; known->status; known++) {
        if (known->status == status) {
            break;
        }
    }

    message.data = (u_char *) known->message;
    message.len = ngx_strlen(known->message);

    return ngx_http_holdfast_error(r, ctx, status, hlcf->error_preview,
                                   known->code, 0, &message);
}


static ngx_int_t
ngx_http_holdfast_error(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t status, ngx_uint_t preview, const char *code,
    ngx_uint_t retry_after, ngx_str_t *message)
{
    u_char            seconds[NGX_INT_T_LEN + 1];
    ngx_int_t         rc;
    ngx_str_t         body;
    ngx_table_elt_t  *accept;

    if (retry_after == 0
        && (status == NGX_HTTP_SERVICE_UNAVAILABLE
            || status == NGX_HTTP_TOO_MANY_REQUESTS))
    {
        retry_after = 1;
    }

    if (retry_after) {
        *ngx_sprintf(seconds, "%ui", retry_after) = '\0';

        if (ngx_http_holdfast_add_header(r, "Retry-After", (char *) seconds)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ngx_http_holdfast_add_header(r, "Cache-Control", "no-store")
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (preview) {

        accept = ngx_http_holdfast_header(r, "accept", 6);

        if (accept
            && ngx_strlcasestrn(accept->value.data,
                                accept->value.data + accept->value.len,
                                (u_char *) "text/html", 9 - 1))
        {
            rc = ngx_http_holdfast_error_page(r, ctx, status, message, &body);

            if (rc != NGX_OK) {
                return rc;
            }

            return ngx_http_holdfast_send(r, status,
                                          "text/html; charset=utf-8", &body);
        }
    }

    rc = ngx_http_holdfast_error_json(r, ctx,
                                      preview || ngx_http_holdfast_is_v1(r),
                                      code, message, &body);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_holdfast_send(r, status, "application/json", &body);
}


static ngx_int_t
ngx_http_holdfast_error_json(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t v1, const char *code,
    ngx_str_t *message, ngx_str_t *body)
{
    u_char  *p;
    size_t   len;

    len = sizeof("{\"error\":{\"code\":\"\",\"message\":,\"retryable\":false,"
                 "\"request_id\":\"\"}}" CRLF)
          + ngx_strlen(code) + ngx_http_holdfast_json_len(message)
          + ctx->request_id.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    if (!v1) {
        p = ngx_sprintf(p, "{\"error\":");
        p = ngx_http_holdfast_json(p, message);
        p = ngx_sprintf(p, "}\n");

    } else {
        p = ngx_sprintf(p, "{\"error\":{\"code\":\"%s\",\"message\":", code);
        p = ngx_http_holdfast_json(p, message);
        p = ngx_sprintf(p, ",\"retryable\":%s,\"request_id\":\"%V\"}}\n",
                        err_lookup(code)->retryable ? "true" : "false",
                        &ctx->request_id);
    }

    body->len = p - body->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_error_page(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t status, ngx_str_t *message,
    ngx_str_t *body)
{
    u_char     *p;
    size_t      len;
    uintptr_t   escape;

    escape = ngx_escape_html(NULL, message->data, message->len);

    len = sizeof(ngx_http_holdfast_page_head)
          + sizeof("</title><h1></h1><p></p><p><small></small></p>\n")
          + 2 * NGX_INT_T_LEN + message->len + escape + ctx->request_id.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    p = ngx_cpymem(p, ngx_http_holdfast_page_head,
                   sizeof(ngx_http_holdfast_page_head) - 1);
    p = ngx_sprintf(p, "%ui</title><h1>%ui</h1><p>", status, status);
    p = (u_char *) ngx_escape_html(p, message->data, message->len);
    p = ngx_sprintf(p, "</p><p><small>%V</small></p>\n", &ctx->request_id);

    body->len = p - body->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_holdfast_is_v1(ngx_http_request_t *r)
{
    ngx_str_t  *uri;

    uri = &r->unparsed_uri;

    return uri->len >= 3 && ngx_strncmp(uri->data, "/v1", 3) == 0
           && (uri->len == 3 || uri->data[3] == '/' || uri->data[3] == '?');
}


/* For a content handler to return; body is in memory that lives on. */

ngx_int_t
ngx_http_holdfast_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = body->len ? 1 : 0;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* Answers 204 and ends the request. */

ngx_int_t
ngx_http_holdfast_no_content(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc == NGX_OK) {
        r->headers_out.status = NGX_HTTP_NO_CONTENT;
        r->header_only = 1;
        rc = ngx_http_send_header(r);
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* name is static; value is copied. */

ngx_int_t
ngx_http_holdfast_add_header(ngx_http_request_t *r, const char *name,
    const char *value)
{
    size_t            len;
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    len = ngx_strlen(value);

    h->hash = 0;
    h->value.data = ngx_pnalloc(r->pool, len + 1);
    if (h->value.data == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.len = len;
    ngx_cpystrn(h->value.data, (u_char *) value, len + 1);

    return NGX_OK;
}


/* Longest that the string may get, quotes included. */

size_t
ngx_http_holdfast_json_len(ngx_str_t *s)
{
    return s->len * 6 + 2;
}


/*
 * A JSON string.  What is not UTF-8 becomes U+FFFD, byte by byte: text of the
 * engine or of a sandbox may be in here.
 */

u_char *
ngx_http_holdfast_json(u_char *p, ngx_str_t *s)
{
    u_char    *q, *next, *last;
    uint32_t   ch;

    *p++ = '"';

    last = s->data + s->len;

    for (q = s->data; q < last; q = next) {

        next = q;
        ch = (*q < 0x80) ? *next++ : ngx_utf8_decode(&next, last - q);

        if (ch > 0x10ffff) {
            p = ngx_cpymem(p, "\\ufffd", 6);
            next = q + 1;

        } else if (ch == '"' || ch == '\\') {
            *p++ = '\\';
            *p++ = (u_char) ch;

        } else if (ch < 0x20 || ch == 0x7f) {
            p = ngx_sprintf(p, "\\u%04xD", ch);

        } else {
            p = ngx_cpymem(p, q, next - q);
        }
    }

    *p++ = '"';

    return p;
}
