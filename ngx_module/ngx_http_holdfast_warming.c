
/*
 * What those see for whom a sandbox is not there yet: the warming page of a
 * navigation, the page of one that nobody asked for, the state that these ask
 * for, the card of an unfurler, the stream of an EventSource.
 *
 * The page does not reload on a clock: it asks /.holdfast/state, which is held
 * like any other request and answered the moment the port answers.
 */


#include "ngx_http_holdfast_module.h"


static ngx_int_t ngx_http_holdfast_finish(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t status, const char *type,
    ngx_str_t *body);


#define NGX_HTTP_HOLDFAST_PAGE_HEAD                                          \
    "<!doctype html><html lang=en><meta charset=utf-8>"                      \
    "<meta name=viewport content=\"width=device-width\">"                    \
    "<meta name=robots content=noindex>"                                     \
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;"         \
    "margin:30vh auto 0;padding:0 1.5em;color:#222}"                         \
    "p{color:#777}@media(prefers-color-scheme:dark)"                         \
    "{body{background:#181818;color:#ddd}}</style>"

#define NGX_HTTP_HOLDFAST_PAGE_LOOK                                          \
    "var h=document.getElementById('h'),"                                    \
    "p=document.getElementById('p');function look(){"                        \
    "fetch('/.holdfast/state',{cache:'no-store',"                            \
    "headers:{accept:'application/json'}})"                                  \
    ".then(function(r){return r.json()}).then(function(s){"                  \
    "if(s.state==='awake'){location.reload();return}"                        \
    "if(s.state==='waking'){setTimeout(look,200);return}"                    \
    "h.textContent=s.state==='closed'?'Nothing listens on port '+s.port:"    \
    "'It did not wake up';p.textContent=s.message||(s.error&&s.error.message)"\
    "||'';setTimeout(look,1000*(s.retry_after_s||5))})"                      \
    ".catch(function(){setTimeout(look,2000)})}"


static const char  ngx_http_holdfast_warming_page[] =
    NGX_HTTP_HOLDFAST_PAGE_HEAD
    "<noscript><meta http-equiv=refresh content=3></noscript>"
    "<title>Waking up</title>"
    "<h1 id=h>Waking up&hellip;</h1>"
    "<p id=p>This sandbox was asleep. The page opens by itself.</p>"
    "<script>(function(){" NGX_HTTP_HOLDFAST_PAGE_LOOK "look()})()</script>\n";


/*
 * Of a page that loaded itself anew: it wakes when somebody comes back to it.
 * Its stream ends when the sandbox is awake for another reason.  The focus that
 * a tab in front gets with its new page is nobody's coming back.
 */

static const char  ngx_http_holdfast_asleep_page[] =
    NGX_HTTP_HOLDFAST_PAGE_HEAD
    "<title>Asleep</title>"
    "<h1 id=h>Asleep</h1>"
    "<p id=p>This page was left open. It <a href=\"\">opens again</a> as soon "
    "as you are back.</p>"
    "<script>(function(){" NGX_HTTP_HOLDFAST_PAGE_LOOK
    "var began=Date.now(),s=new EventSource(location.href),"
    "on='pointermove pointerdown keydown wheel touchstart'.split(' ');"
    "s.onerror=function(){s.close();"
    "setTimeout(function(){location.reload()},"
    "Date.now()-began<1000?5000:0)};"
    "function back(e){if(document.hidden"
    "||e.type==='focus'&&Date.now()-began<2000){return}s.close();"
    "on.forEach(function(e){removeEventListener(e,back)});"
    "removeEventListener('focus',back);"
    "document.removeEventListener('visibilitychange',back);"
    "document.title=h.textContent='Waking up';p.textContent='';look()}"
    "on.forEach(function(e){addEventListener(e,back)});"
    "addEventListener('focus',back);"
    "document.addEventListener('visibilitychange',back)})()</script>\n";


static const char  ngx_http_holdfast_card_page[] =
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=robots content=noindex>"
    "<title>Preview</title>"
    "<meta property=\"og:title\" content=\"Preview\">"
    "<meta property=\"og:description\" content=\"A live preview. It sleeps "
    "now and wakes when you open the link.\">"
    "<meta property=\"og:type\" content=\"website\">"
    "<h1>Preview</h1><p>It sleeps now and wakes when you open the link.</p>\n";


ngx_int_t
ngx_http_holdfast_warming(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t left_open)
{
    ngx_str_t  body;

    if (left_open) {
        ngx_str_set(&body, ngx_http_holdfast_asleep_page);

    } else {
        ngx_str_set(&body, ngx_http_holdfast_warming_page);
    }

    if (ngx_http_holdfast_add_header(r, "Retry-After", "1") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_holdfast_finish(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE,
                                    "text/html; charset=utf-8", &body);
}


ngx_int_t
ngx_http_holdfast_card(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    ngx_str_t  body;

    ngx_str_set(&body, ngx_http_holdfast_card_page);

    return ngx_http_holdfast_finish(r, ctx, NGX_HTTP_OK,
                                    "text/html; charset=utf-8", &body);
}


/*
 * An empty stream, open as long as the sandbox sleeps: its end is the news,
 * for an EventSource then comes back and finds the app.  Wakes nothing.
 */

ngx_int_t
ngx_http_holdfast_stream(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    out.buf = b;
    out.next = NULL;

    if (!ctx->streaming) {
        ctx->streaming = 1;

        r->headers_out.status = NGX_HTTP_OK;
        ngx_str_set(&r->headers_out.content_type, "text/event-stream");
        r->headers_out.content_type_len = r->headers_out.content_type.len;

        if (ngx_http_holdfast_add_header(r, "Cache-Control", "no-store")
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        rc = ngx_http_send_header(r);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            ngx_http_finalize_request(r, rc);
            return NGX_DONE;
        }

        b->pos = (u_char *) "retry: 1000\n: asleep\n\n";
        b->last = b->pos + sizeof("retry: 1000\n: asleep\n\n") - 1;
        b->memory = 1;
        b->flush = 1;

        if (ngx_http_output_filter(r, &out) == NGX_ERROR) {
            return NGX_ERROR;
        }

        b = ngx_calloc_buf(r->pool);
        if (b == NULL) {
            return NGX_ERROR;
        }

        out.buf = b;
    }

    if (route->state == NGX_HTTP_HOLDFAST_PARKED && !ctx->timed_out
        && ngx_http_holdfast_hold(r, ctx, NGX_HTTP_HOLDFAST_NO_ASK, 0)
           == NGX_AGAIN)
    {
        return NGX_AGAIN;
    }

    b->last_buf = 1;

    ngx_http_finalize_request(r, ngx_http_output_filter(r, &out));

    return NGX_DONE;
}


ngx_int_t
ngx_http_holdfast_state(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    const char *state)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    body;
    ngx_uint_t   i;

    len = sizeof("{\"state\":\"\",\"id\":\"\",\"port\":,\"retry_after_s\":,"
                 "\"message\":,\"open\":[]}\n")
          + ngx_strlen(state) + ctx->name.id_len + 2 * NGX_INT_T_LEN
          + ngx_http_holdfast_json_len(&ctx->text)
          + LINE_PORTS_MAX * sizeof("65535,");

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;

    p = ngx_sprintf(p, "{\"state\":\"%s\",\"id\":\"%s\",\"port\":%ui,"
                    "\"retry_after_s\":%ui,\"message\":",
                    state, ctx->name.id, (ngx_uint_t) ctx->name.port,
                    ctx->retry_after);
    p = ngx_http_holdfast_json(p, &ctx->text);
    p = ngx_sprintf(p, ",\"open\":[");

    for (i = 0; i < ctx->nopen; i++) {
        p = ngx_sprintf(p, "%s%ui", i ? "," : "", (ngx_uint_t) ctx->open[i]);
    }

    p = ngx_sprintf(p, "]}\n");

    body.len = p - body.data;

    return ngx_http_holdfast_finish(r, ctx, NGX_HTTP_OK, "application/json",
                                    &body);
}


static ngx_int_t
ngx_http_holdfast_finish(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t status, const char *type, ngx_str_t *body)
{
    ngx_int_t  rc;

    ngx_http_holdfast_drop_sockets(ctx);
    ngx_http_holdfast_leave(ctx);

    ctx->answered = 1;
    r->err_status = 0;

    if (ngx_http_holdfast_add_header(r, "Cache-Control", "no-store") != NGX_OK
        || ngx_http_holdfast_add_header(r, "X-Robots-Tag", "noindex")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_holdfast_send(r, status, type, body);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}
