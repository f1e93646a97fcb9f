
/*
 * The tickets of a request for a preview (common/ticket.h), and the keys that
 * they are signed with.  Who may enter by one is in _private.
 *
 *   query    hf_ticket=...: a visit becomes a cookie and a redirect to the same
 *            path without it; what cannot follow one (a WebSocket, an
 *            EventSource, a fetch) enters
 *   header   X-Holdfast-Ticket
 *   cookie   __Host-hf_ticket over TLS, hf_ticket without
 *
 * All of them are taken out of the request before anything else is done: the
 * app, the access log and nginx' own error log never see one.
 */


#include "ngx_http_holdfast_module.h"

#include <openssl/crypto.h>


static ngx_uint_t ngx_http_holdfast_mentions(ngx_str_t *s, const char *name);
static ngx_int_t ngx_http_holdfast_take_cookies(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_join_cookies(ngx_http_request_t *r,
    ngx_str_t *all);


char *
ngx_http_holdfast_ticket_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    int              rc;
    char             buf[TICKET_KEYS_TEXT];
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_str_t       *value, name;
    ngx_file_info_t  fi;

    if (hmcf->keys_set) {
        return "is duplicate";
    }

    hmcf->keys_set = 1;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    name = value[1];

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    hmcf->keys = ngx_pcalloc(cf->pool, sizeof(struct ticket_keys));
    if (hmcf->keys == NULL) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot open ticket keys \"%V\"", &name);
        return NGX_CONF_ERROR;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)
        || (fi.st_mode & (S_IRWXG|S_IRWXO)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "ticket keys \"%V\" must be a file that only its "
                           "owner may read (0600)", &name);
        (void) ngx_close_file(fd);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));
    (void) ngx_close_file(fd);

    rc = -1;

    if (n > 0 && n < (ssize_t) sizeof(buf)) {
        rc = ticket_keys_parse(buf, (size_t) n, hmcf->keys);
    }

    OPENSSL_cleanse(buf, sizeof(buf));

    if (rc != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "ticket keys \"%V\" must hold lines of previous, "
                           "current or next and 64 hexadecimal digits",
                           &name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* Takes what may be a ticket out of a request for a preview. */

ngx_int_t
ngx_http_holdfast_ticket_take(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    if (ctx->ticket_header) {
        ctx->tickets[ctx->ntickets++] = ctx->ticket_header->value;
    }

    if (ngx_http_holdfast_take_query(r, ctx, NGX_HTTP_HOLDFAST_NAME)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_holdfast_take_cookies(r, ctx);
}


static ngx_uint_t
ngx_http_holdfast_mentions(ngx_str_t *s, const char *name)
{
    size_t  n;

    n = ngx_strlen(name);

    return s->len > n
           && ngx_strlcasestrn(s->data, s->data + s->len, (u_char *) name,
                               n - 1)
              != NULL;
}


/* ctx->link is what was found; the query, the URI and the line lose it. */

ngx_int_t
ngx_http_holdfast_take_query(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, const char *name)
{
    size_t                n, len;
    u_char               *p, *out, *args;
    struct ticket_found   found;

    if (!ngx_http_holdfast_mentions(&r->args, name)) {
        return NGX_OK;
    }

    out = ngx_pnalloc(r->pool, r->args.len);
    if (out == NULL) {
        return NGX_ERROR;
    }

    len = ticket_cut((char *) r->args.data, r->args.len, '&', name,
                     (char *) out, &found, 1, &n);

    if (n == 0) {
        return NGX_OK;
    }

    ctx->link.data = (u_char *) found.p;
    ctx->link.len = found.len;

    r->args.data = out;
    r->args.len = len;
    ctx->args = r->args;

    /* the URI that goes to the app */

    args = ngx_strlchr(r->unparsed_uri.data,
                       r->unparsed_uri.data + r->unparsed_uri.len, '?');

    n = args ? (size_t) (args - r->unparsed_uri.data) : r->unparsed_uri.len;

    p = ngx_pnalloc(r->pool, n + 1 + len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    args = ngx_cpymem(p, r->unparsed_uri.data, n);

    if (len) {
        *args++ = '?';
        args = ngx_cpymem(args, out, len);
    }

    r->unparsed_uri.data = p;
    r->unparsed_uri.len = args - p;

    /* the line that error logs quote */

    p = ngx_pnalloc(r->pool, r->method_name.len + 1 + r->unparsed_uri.len + 1
                             + r->http_protocol.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    r->request_line.len = ngx_sprintf(p, "%V %V %V", &r->method_name,
                                      &r->unparsed_uri, &r->http_protocol)
                          - p;
    r->request_line.data = p;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_take_cookies(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    char                 *first, *second;
    size_t                i, n, len;
    ngx_str_t             all;
    struct ticket_found   found[2][NGX_HTTP_HOLDFAST_TICKETS];
    size_t                nfound[2];

    if (ngx_http_holdfast_join_cookies(r, &all) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->cookie = all;

    if (!ngx_http_holdfast_mentions(&all, NGX_HTTP_HOLDFAST_NAME)) {
        return NGX_OK;
    }

    first = ngx_pnalloc(r->pool, 2 * all.len);
    if (first == NULL) {
        return NGX_ERROR;
    }

    second = first + all.len;

    len = ticket_cut((char *) all.data, all.len, ';',
                     NGX_HTTP_HOLDFAST_HOST_NAME, first, found[0],
                     NGX_HTTP_HOLDFAST_TICKETS, &nfound[0]);

    ctx->cookie.len = ticket_cut(first, len, ';', NGX_HTTP_HOLDFAST_NAME,
                                 second, found[1], NGX_HTTP_HOLDFAST_TICKETS,
                                 &nfound[1]);
    ctx->cookie.data = (u_char *) second;

    /* neither form counts where a browser would not have made it */

    i = ngx_http_holdfast_is_tls(r) ? 0 : 1;

    for (n = 0;
         n < nfound[i] && ctx->ntickets < NGX_HTTP_HOLDFAST_TICKETS;
         n++)
    {
        ctx->tickets[ctx->ntickets].data = (u_char *) found[i][n].p;
        ctx->tickets[ctx->ntickets].len = found[i][n].len;
        ctx->cookies |= 1 << ctx->ntickets++;
    }

    return NGX_OK;
}


/* HTTP/2 may send one header for each. */

static ngx_int_t
ngx_http_holdfast_join_cookies(ngx_http_request_t *r, ngx_str_t *all)
{
    size_t             len;
    u_char            *p;
    ngx_uint_t         i;
    ngx_table_elt_t  **h;

    ngx_str_null(all);

    h = r->headers_in.cookies.elts;

    if (r->headers_in.cookies.nelts == 0) {
        return NGX_OK;
    }

    if (r->headers_in.cookies.nelts == 1) {
        *all = h[0]->value;
        return NGX_OK;
    }

    for (len = 0, i = 0; i < r->headers_in.cookies.nelts; i++) {
        len += h[i]->value.len + 2;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    all->data = p;

    for (i = 0; i < r->headers_in.cookies.nelts; i++) {

        if (i) {
            *p++ = ';';
            *p++ = ' ';
        }

        p = ngx_cpymem(p, h[i]->value.data, h[i]->value.len);
    }

    all->len = p - all->data;

    return NGX_OK;
}


/* TLS may end in front of us: then the settings say so. */

ngx_uint_t
ngx_http_holdfast_is_tls(ngx_http_request_t *r)
{
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

#if (NGX_HTTP_SSL)

    if (r->connection->ssl) {
        return 1;
    }

#endif

    return hmcf->secure_cookie ? 1 : 0;
}
