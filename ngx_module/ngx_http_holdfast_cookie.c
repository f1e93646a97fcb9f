
/*
 * Cookies of an app stay with its host: Domain is taken out of Set-Cookie, or
 * one tenant's app would set cookies for all previews.
 */


#include "ngx_http_holdfast_module.h"


static ngx_int_t ngx_http_holdfast_cookie_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_cookie_strip(ngx_http_request_t *r,
    ngx_str_t *value);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_http_holdfast_cookie_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_holdfast_cookie_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_cookie_filter(ngx_http_request_t *r)
{
    ngx_uint_t                     i;
    ngx_list_part_t               *part;
    ngx_table_elt_t               *h;
    ngx_http_holdfast_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_holdfast_module);

    if (hlcf->mode != NGX_HTTP_HOLDFAST_PREVIEW || r->upstream == NULL) {
        return ngx_http_next_header_filter(r);
    }

    part = &r->headers_out.headers.part;
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

        if (h[i].hash == 0 || h[i].key.len != 10
            || ngx_strncasecmp(h[i].key.data, (u_char *) "Set-Cookie", 10)
               != 0)
        {
            continue;
        }

        if (ngx_http_holdfast_cookie_strip(r, &h[i].value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_holdfast_cookie_strip(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char     *p, *q, *name, *last, *out;
    ngx_uint_t  first;

    last = value->data + value->len;

    if (ngx_strlcasestrn(value->data, last, (u_char *) "domain", 6 - 1)
        == NULL)
    {
        return NGX_OK;
    }

    /* "a=b;c" becomes "a=b; c" */

    out = ngx_pnalloc(r->pool, 2 * value->len);
    if (out == NULL) {
        return NGX_ERROR;
    }

    q = out;
    first = 1;

    for (p = value->data; p < last; /* void */ ) {

        /* one "; name=value", the first is the cookie itself */

        name = p;

        for (p = name + 1; p < last && *p != ';'; p++) { /* void */ }

        if (!first) {

            while (name < p && (*name == ';' || *name == ' ' || *name == '\t'))
            {
                name++;
            }

            if (p - name >= 6
                && ngx_strncasecmp(name, (u_char *) "domain", 6) == 0
                && (p - name == 6 || name[6] == '=' || name[6] == ' '
                    || name[6] == '\t'))
            {
                continue;
            }

            *q++ = ';';

            if (name < p) {
                *q++ = ' ';
            }
        }

        q = ngx_cpymem(q, name, p - name);
        first = 0;
    }

    value->data = out;
    value->len = q - out;

    return NGX_OK;
}
