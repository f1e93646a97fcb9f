
/*
 * Who calls a preview, and what that caller may cause while the sandbox
 * sleeps.  A table: the first row that fits decides.
 *
 * What a page does that was loaded before the sleep must not wake: a tab that
 * somebody forgot would keep its sandbox awake for ever.  A visit would have
 * loaded the page anew, and waited.  So a browser's WebSocket (it has an
 * Origin), what a dev client asks for by itself and an EventSource are
 * background.
 *
 * A page may also load itself anew: Next.js does so when its dev server has
 * been away for a while.  Nobody asked for that, which Sec-Fetch-User tells in
 * the browsers that send it.  It gets a page that opens when looked at.
 */


#include "ngx_http_holdfast_module.h"


/* what a request shows */

#define NGX_HTTP_HOLDFAST_IS_CHECKER    0x001
#define NGX_HTTP_HOLDFAST_IS_UNFURLER   0x002
#define NGX_HTTP_HOLDFAST_IS_PING       0x004
#define NGX_HTTP_HOLDFAST_IS_UPGRADE    0x008
#define NGX_HTTP_HOLDFAST_IS_BROWSER    0x010   /* Origin or Sec-Fetch-* */
#define NGX_HTTP_HOLDFAST_HAS_ORIGIN    0x020
#define NGX_HTTP_HOLDFAST_WANTS_EVENTS  0x040
#define NGX_HTTP_HOLDFAST_NAVIGATES     0x080
#define NGX_HTTP_HOLDFAST_BY_ITSELF     0x100   /* the page, not its user */


typedef struct {
    ngx_uint_t                 all;     /* of these bits */
    ngx_http_holdfast_treat_e  treat;
} ngx_http_holdfast_caller_t;


static ngx_uint_t ngx_http_holdfast_traits(ngx_http_request_t *r);
static ngx_uint_t ngx_http_holdfast_agent(ngx_http_request_t *r);
static ngx_uint_t ngx_http_holdfast_by_itself(ngx_http_request_t *r);
static ngx_uint_t ngx_http_holdfast_contains(ngx_table_elt_t *h,
    const char *what);


static const ngx_http_holdfast_caller_t  ngx_http_holdfast_callers[] = {

    { NGX_HTTP_HOLDFAST_IS_CHECKER,
      NGX_HTTP_HOLDFAST_TURN_AWAY },

    { NGX_HTTP_HOLDFAST_IS_UNFURLER,
      NGX_HTTP_HOLDFAST_CARD },

    { NGX_HTTP_HOLDFAST_IS_PING,
      NGX_HTTP_HOLDFAST_BACKGROUND },

    { NGX_HTTP_HOLDFAST_IS_UPGRADE|NGX_HTTP_HOLDFAST_HAS_ORIGIN,
      NGX_HTTP_HOLDFAST_BACKGROUND },

    { NGX_HTTP_HOLDFAST_WANTS_EVENTS|NGX_HTTP_HOLDFAST_IS_BROWSER,
      NGX_HTTP_HOLDFAST_STREAM },

    { NGX_HTTP_HOLDFAST_NAVIGATES|NGX_HTTP_HOLDFAST_BY_ITSELF,
      NGX_HTTP_HOLDFAST_RELOAD },

    { NGX_HTTP_HOLDFAST_NAVIGATES,
      NGX_HTTP_HOLDFAST_PAGE },

    /* the rest: fetch, curl, SDKs, an upgrade without Origin */

    { 0,
      NGX_HTTP_HOLDFAST_HOLD }
};


/*
 * What the caller of a preview may cause.  Found when it is first asked for,
 * which for an awake sandbox is never: it takes a map of user agents.
 */

ngx_uint_t
ngx_http_holdfast_treat(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_uint_t                         traits;
    const ngx_http_holdfast_caller_t  *caller;

    if (!ctx->untreated) {
        return ctx->treat;
    }

    traits = ngx_http_holdfast_traits(r);

    for (caller = ngx_http_holdfast_callers; caller->all; caller++) {
        if ((traits & caller->all) == caller->all) {
            break;
        }
    }

    ctx->untreated = 0;
    ctx->treat = caller->treat;

    return ctx->treat;
}


static ngx_uint_t
ngx_http_holdfast_traits(ngx_http_request_t *r)
{
    ngx_uint_t        traits;
    ngx_table_elt_t  *accept, *protocol, *mode;

    traits = ngx_http_holdfast_agent(r);

    accept = ngx_http_holdfast_header(r, "accept", 6);
    protocol = ngx_http_holdfast_header(r, "sec-websocket-protocol", 22);
    mode = ngx_http_holdfast_header(r, "sec-fetch-mode", 14);

    if (ngx_http_holdfast_header(r, "origin", 6)) {
        traits |= NGX_HTTP_HOLDFAST_HAS_ORIGIN|NGX_HTTP_HOLDFAST_IS_BROWSER;
    }

    if (mode || ngx_http_holdfast_header(r, "sec-fetch-site", 14)) {
        traits |= NGX_HTTP_HOLDFAST_IS_BROWSER;
    }

    if (ngx_http_holdfast_is_upgrade(r)) {
        traits |= NGX_HTTP_HOLDFAST_IS_UPGRADE;
    }

    if (ngx_http_holdfast_contains(accept, "text/x-vite-ping")
        || ngx_http_holdfast_contains(protocol, "vite-ping")
        || ngx_http_holdfast_contains(protocol, "vite-hmr")
        || (r->uri.len > 10
            && ngx_strncmp(r->uri.data, "/__nextjs_", 10) == 0))
    {
        traits |= NGX_HTTP_HOLDFAST_IS_PING;
    }

    /* a browser does so for a page that it has, or for a bookmark */

    if (r->uri.len == 12
        && ngx_strncmp(r->uri.data, "/favicon.ico", 12) == 0
        && (mode || ngx_http_holdfast_header(r, "referer", 7)))
    {
        traits |= NGX_HTTP_HOLDFAST_IS_PING;
    }

    if (ngx_http_holdfast_contains(accept, "text/event-stream")) {
        traits |= NGX_HTTP_HOLDFAST_WANTS_EVENTS;
    }

    if (r->method == NGX_HTTP_GET
        && (mode ? ngx_http_holdfast_contains(mode, "navigate")
                 : ngx_http_holdfast_contains(accept, "text/html")))
    {
        traits |= NGX_HTTP_HOLDFAST_NAVIGATES;
    }

    if (ngx_http_holdfast_by_itself(r)) {
        traits |= NGX_HTTP_HOLDFAST_BY_ITSELF;
    }

    return traits;
}


/* Safari tells the site, but never the user: it cannot be asked. */

static ngx_uint_t
ngx_http_holdfast_by_itself(ngx_http_request_t *r)
{
    ngx_table_elt_t  *site, *agent;

    site = ngx_http_holdfast_header(r, "sec-fetch-site", 14);
    agent = r->headers_in.user_agent;

    return ngx_http_holdfast_contains(site, "same-origin")
           && ngx_http_holdfast_header(r, "sec-fetch-user", 14) == NULL
           && (ngx_http_holdfast_contains(agent, "Chrome/")
               || ngx_http_holdfast_contains(agent, "Firefox/"));
}


/* "holdfast_caller" says it, from a map of user agents. */

static ngx_uint_t
ngx_http_holdfast_agent(ngx_http_request_t *r)
{
    ngx_str_t                      value;
    ngx_http_holdfast_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_holdfast_module);

    if (hlcf->caller == NULL
        || ngx_http_complex_value(r, hlcf->caller, &value) != NGX_OK)
    {
        return 0;
    }

    if (value.len == 7 && ngx_strncmp(value.data, "checker", 7) == 0) {
        return NGX_HTTP_HOLDFAST_IS_CHECKER;
    }

    if (value.len == 8 && ngx_strncmp(value.data, "unfurler", 8) == 0) {
        return NGX_HTTP_HOLDFAST_IS_UNFURLER;
    }

    return 0;
}


/* The first header of this name (in lower case). */

ngx_table_elt_t *
ngx_http_holdfast_header(ngx_http_request_t *r, const char *name, size_t len)
{
    return ngx_http_holdfast_find_header(&r->headers_in.headers, name, len);
}


ngx_table_elt_t *
ngx_http_holdfast_find_header(ngx_list_t *headers, const char *name,
    size_t len)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    part = &headers->part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (header[i].hash && header[i].key.len == len
            && ngx_strncasecmp(header[i].key.data, (u_char *) name, len) == 0)
        {
            return &header[i];
        }
    }
}


ngx_uint_t
ngx_http_holdfast_is_upgrade(ngx_http_request_t *r)
{
    return ngx_http_holdfast_contains(r->headers_in.upgrade, "websocket");
}


static ngx_uint_t
ngx_http_holdfast_contains(ngx_table_elt_t *h, const char *what)
{
    if (h == NULL) {
        return 0;
    }

    return ngx_strlcasestrn(h->value.data, h->value.data + h->value.len,
                            (u_char *) what, ngx_strlen(what) - 1)
           != NULL;
}
