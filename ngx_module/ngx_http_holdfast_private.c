
/*
 * Who may enter a private preview, by what _ticket found in the request.
 *
 * A ticket whose epoch is the route's is checked here alone.  An older one may
 * be of a share that was revoked: the keeper is asked, and a cookie is then
 * made anew.  To turn a share's link into a cookie is a use of it: the keeper
 * counts.  Nothing in here wakes a sandbox.
 */


#include "ngx_http_holdfast_module.h"


/* of ngx_http_holdfast_look(), worst first */

typedef enum {
    NGX_HTTP_HOLDFAST_NONE = 0,         /* there is none */
    NGX_HTTP_HOLDFAST_BAD,
    NGX_HTTP_HOLDFAST_EXPIRED,
    NGX_HTTP_HOLDFAST_ELSEWHERE,        /* opens another port */
    NGX_HTTP_HOLDFAST_LINK,             /* has to become a cookie first */
    NGX_HTTP_HOLDFAST_REVOKED,
    NGX_HTTP_HOLDFAST_USED,
    NGX_HTTP_HOLDFAST_LATER,            /* the keeper cannot say now */
    NGX_HTTP_HOLDFAST_GOOD
} ngx_http_holdfast_look_e;


typedef struct {
    const char                *code;
    const char                *text;
} ngx_http_holdfast_denial_t;


static ngx_uint_t ngx_http_holdfast_is_visit(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
static ngx_uint_t ngx_http_holdfast_look(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route,
    ngx_str_t *text, struct ticket *t);
static ngx_int_t ngx_http_holdfast_exchange(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
static ngx_int_t ngx_http_holdfast_present(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
static ngx_uint_t ngx_http_holdfast_said(ngx_http_holdfast_ctx_t *ctx);
static ngx_int_t ngx_http_holdfast_denied(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t look);
static ngx_int_t ngx_http_holdfast_set_cookie(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
static ngx_int_t ngx_http_holdfast_redirect(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);


static const ngx_http_holdfast_denial_t  ngx_http_holdfast_denials[] = {

    { "unauthorized",                                   /* NONE */
      "this preview is private; open it with a link that was shared with you, "
      "or send a ticket in the header X-Holdfast-Ticket" },

    { "unauthorized",                                   /* BAD */
      "this preview is private, and the link or ticket is not one for it" },

    { "unauthorized",                                   /* EXPIRED */
      "this preview is private, and the link or ticket has expired" },

    { "forbidden",                                      /* ELSEWHERE */
      "the link or ticket does not open this port" },

    { "unauthorized",                                   /* LINK */
      "a link with max_uses has to be opened once, which makes it a cookie" },

    { "forbidden",                                      /* REVOKED */
      "the link was revoked or has expired" },

    { "forbidden",                                      /* USED */
      "the link was used as often as it may be" },

    { "unavailable",                                    /* LATER */
      "the link cannot be looked up now" }
};


/*
 * The sandbox is private, or the URL has a ticket in it.  NGX_OK: the caller
 * may enter.
 */

ngx_int_t
ngx_http_holdfast_private(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route)
{
    if (ctx->link.len && ngx_http_holdfast_is_visit(r, ctx)) {

        if (!(route->flags & NGX_HTTP_HOLDFAST_PRIVATE)) {
            return ngx_http_holdfast_redirect(r, ctx);
        }

        return ngx_http_holdfast_exchange(r, ctx, route);
    }

    if (!(route->flags & NGX_HTTP_HOLDFAST_PRIVATE)) {
        return NGX_OK;
    }

    return ngx_http_holdfast_present(r, ctx, route);
}


/* Who follows a redirect, with the cookie that it sets. */

static ngx_uint_t
ngx_http_holdfast_is_visit(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    ngx_table_elt_t  *mode, *accept;

    if (r->method != NGX_HTTP_GET || ngx_http_holdfast_is_upgrade(r)
        || ngx_http_holdfast_treat(r, ctx) == NGX_HTTP_HOLDFAST_TURN_AWAY)
    {
        return 0;
    }

    mode = ngx_http_holdfast_header(r, "sec-fetch-mode", 14);

    if (mode) {
        return mode->value.len == 8
               && ngx_strncmp(mode->value.data, "navigate", 8) == 0;
    }

    accept = ngx_http_holdfast_header(r, "accept", 6);

    return accept == NULL
           || ngx_strlcasestrn(accept->value.data,
                               accept->value.data + accept->value.len,
                               (u_char *) "text/event-stream", 17 - 1)
              == NULL;
}


/* Without the keeper: what a text says, here and now. */

static ngx_uint_t
ngx_http_holdfast_look(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_http_holdfast_route_t *route, ngx_str_t *text, struct ticket *t)
{
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    if (hmcf->keys == NULL) {
        return NGX_HTTP_HOLDFAST_BAD;
    }

    switch (ticket_check((char *) text->data, text->len, hmcf->keys,
                         route->tenant, ngx_time(), t))
    {
    case TICKET_OK:
        break;

    case TICKET_EXPIRED:
        return NGX_HTTP_HOLDFAST_EXPIRED;

    default:
        return NGX_HTTP_HOLDFAST_BAD;
    }

    if (ngx_strcmp(t->id, ctx->name.id) != 0) {
        return NGX_HTTP_HOLDFAST_BAD;
    }

    if (!ticket_opens(t, ctx->name.port)) {
        return NGX_HTTP_HOLDFAST_ELSEWHERE;
    }

    return NGX_HTTP_HOLDFAST_GOOD;
}


/*
 * A visit by a link: a cookie, and the same URL without the ticket.  Who has a
 * cookie already does not use the link up, and who comes with one that is void
 * is judged by the cookie when the redirect is followed.
 */

static ngx_int_t
ngx_http_holdfast_exchange(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route)
{
    ngx_uint_t     i, look, other;
    struct ticket  t;

    look = ngx_http_holdfast_look(r, ctx, route, &ctx->link, &ctx->ticket);
    other = 0;

    for (i = 0; i < ctx->ntickets; i++) {

        if (ngx_http_holdfast_look(r, ctx, route, &ctx->tickets[i], &t)
            != NGX_HTTP_HOLDFAST_GOOD
            || t.kind != 't')
        {
            continue;
        }

        if (look != NGX_HTTP_HOLDFAST_GOOD
            || (t.epoch == route->share_epoch
                && ngx_strcmp(t.share, ctx->ticket.share) == 0
                && t.expires_s >= ctx->ticket.expires_s))
        {
            return ngx_http_holdfast_redirect(r, ctx);
        }

        other = 1;
    }

    if (look != NGX_HTTP_HOLDFAST_GOOD) {
        return ngx_http_holdfast_denied(r, ctx, look);
    }

    if (ngx_http_holdfast_treat(r, ctx) == NGX_HTTP_HOLDFAST_CARD) {

        /* a link in a chat is looked at by machines first */

        return ngx_http_holdfast_card(r, ctx);
    }

    if (ctx->ticket.share[0] || ctx->ticket.epoch != route->share_epoch) {

        if (!ctx->share_answered) {
            return ngx_http_holdfast_question(r, ctx, route, 0, 1);
        }

        look = ngx_http_holdfast_said(ctx);

        if (look != NGX_HTTP_HOLDFAST_GOOD && !other) {
            return ngx_http_holdfast_denied(r, ctx, look);
        }
    }

    if (look == NGX_HTTP_HOLDFAST_GOOD
        && ngx_http_holdfast_set_cookie(r, ctx, route) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_holdfast_redirect(r, ctx);
}


/* Any ticket that the request has. */

static ngx_int_t
ngx_http_holdfast_present(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route)
{
    ngx_uint_t      i, n, look, worst;
    ngx_str_t      *text;

    worst = NGX_HTTP_HOLDFAST_NONE;
    n = ctx->ntickets + (ctx->link.len ? 1 : 0);

    for (i = 0; i < n; i++) {

        text = i < ctx->ntickets ? &ctx->tickets[i] : &ctx->link;

        look = ngx_http_holdfast_look(r, ctx, route, text, &ctx->ticket);

        if (look == NGX_HTTP_HOLDFAST_GOOD && ctx->ticket.kind != 't') {
            look = NGX_HTTP_HOLDFAST_LINK;
        }

        if (look == NGX_HTTP_HOLDFAST_GOOD
            && ctx->ticket.epoch != route->share_epoch)
        {
            if (!ctx->share_answered || ctx->share_index != i
                || ctx->share_epoch != route->share_epoch)
            {
                if (!(ctx->void_tickets & (1 << i))) {
                    return ngx_http_holdfast_question(r, ctx, route, i, 0);
                }

                look = NGX_HTTP_HOLDFAST_REVOKED;

            } else {
                look = ngx_http_holdfast_said(ctx);
            }

            if (look == NGX_HTTP_HOLDFAST_REVOKED) {
                ctx->void_tickets |= 1 << i;
            }

            if (look == NGX_HTTP_HOLDFAST_GOOD && (ctx->cookies & (1 << i))
                && !ctx->cookie_set)
            {
                /* so that the next request need not ask */

                if (ngx_http_holdfast_set_cookie(r, ctx, route) != NGX_OK) {
                    return NGX_HTTP_INTERNAL_SERVER_ERROR;
                }
            }
        }

        if (look == NGX_HTTP_HOLDFAST_GOOD) {
            ctx->share_epoch = route->share_epoch;
            return NGX_OK;
        }

        worst = ngx_max(worst, look);
    }

    ngx_memzero(&ctx->ticket, sizeof(struct ticket));

    return ngx_http_holdfast_denied(r, ctx, worst);
}


/* Of ctx->ticket; the answer is about ticket i and the epoch of now. */

ngx_int_t
ngx_http_holdfast_question(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route,
    ngx_uint_t i, ngx_uint_t use)
{
    ngx_int_t  rc;

    ctx->rounds++;

    ctx->share_answered = 0;
    ctx->share_index = i;
    ctx->share_use = use;
    ctx->share_epoch = route->share_epoch;
    ctx->share_number = (uint64_t) ngx_random() << 31 | ngx_random();

    rc = ngx_http_holdfast_hold_share(r, ctx);

    if (rc == NGX_BUSY) {
        return ngx_http_holdfast_fail(r, ctx, "queue_full", 2,
                                      "too many requests wait already");
    }

    return rc == NGX_ERROR ? NGX_HTTP_INTERNAL_SERVER_ERROR : rc;
}


static ngx_uint_t
ngx_http_holdfast_said(ngx_http_holdfast_ctx_t *ctx)
{
    switch (ctx->share_said) {

    case LINE_SHARE_OK:
        return NGX_HTTP_HOLDFAST_GOOD;

    case LINE_SHARE_GONE:
        return NGX_HTTP_HOLDFAST_REVOKED;

    case LINE_SHARE_USED:
        return NGX_HTTP_HOLDFAST_USED;

    default:
        return NGX_HTTP_HOLDFAST_LATER;
    }
}


static ngx_int_t
ngx_http_holdfast_denied(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t look)
{
    const ngx_http_holdfast_denial_t  *denial;

    ngx_http_holdfast_count(denied);

    denial = &ngx_http_holdfast_denials[look];

    /* the URL may still have a ticket in it that opens something */

    if (ngx_http_holdfast_add_header(r, "Referrer-Policy", "no-referrer")
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (denial->code[0] == 'u' && look != NGX_HTTP_HOLDFAST_LATER
        && ngx_http_holdfast_add_header(r, "WWW-Authenticate",
                                        "Holdfast-Ticket realm=\"preview\"")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_holdfast_fail(r, ctx, denial->code, 0, "%s",
                                  denial->text);
}


/*
 * ctx->ticket as a cookie of this one host.  Over TLS it also goes with a
 * preview that stands in an iframe of another site, but of that site alone.
 */

static ngx_int_t
ngx_http_holdfast_set_cookie(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route)
{
    char                            text[TICKET_MAX + 1];
    u_char                          value[TICKET_MAX + 192];
    struct ticket                   t;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    t = ctx->ticket;
    t.kind = 't';
    t.epoch = route->share_epoch;

    if (ticket_sign(&t, &hmcf->keys->key[TICKET_CURRENT], route->tenant, text)
        == 0)
    {
        return NGX_ERROR;
    }

    *ngx_sprintf(value, "%s=%s; Path=/; Max-Age=%L; HttpOnly; %s",
                 ngx_http_holdfast_is_tls(r) ? NGX_HTTP_HOLDFAST_HOST_NAME
                                             : NGX_HTTP_HOLDFAST_NAME,
                 text, t.expires_s - ngx_time(),
                 ngx_http_holdfast_is_tls(r)
                 ? "Secure; SameSite=None; Partitioned" : "SameSite=Lax")
        = '\0';

    ctx->cookie_set = 1;

    return ngx_http_holdfast_add_header(r, "Set-Cookie", (char *) value);
}


/*
 * To the same URL without the ticket.  Two slashes in front, or one and a
 * backslash, would be another host's name.
 */

static ngx_int_t
ngx_http_holdfast_redirect(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    u_char     *p, *last, *to;
    ngx_int_t   rc;
    ngx_str_t   body;

    p = r->unparsed_uri.data;
    last = p + r->unparsed_uri.len;

    while (p < last && (*p == '/' || *p == '\\')) {
        p++;
    }

    to = ngx_pnalloc(r->pool, last - p + 2);
    if (to == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    to[0] = '/';
    *ngx_cpymem(to + 1, p, last - p) = '\0';

    if (ngx_http_holdfast_add_header(r, "Location", (char *) to) != NGX_OK
        || ngx_http_holdfast_add_header(r, "Cache-Control", "no-store")
           != NGX_OK
        || ngx_http_holdfast_add_header(r, "Referrer-Policy", "no-referrer")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->answered = 1;
    ngx_str_null(&body);

    rc = ngx_http_holdfast_send(r, NGX_HTTP_MOVED_TEMPORARILY, "text/plain",
                                &body);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}
