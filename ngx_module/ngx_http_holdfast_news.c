
/*
 * News: Redis says which stream has grown.
 *
 * One connection per worker, subscribed to hf:news (redis/KEYS.md).  Nothing
 * here is needed for correctness: streams are looked at once a second anyway,
 * news only make it sooner.  So what goes wrong is a lost connection, made
 * again after a second.
 */


#include "ngx_http_holdfast_module.h"
#include "resp.h"


#define NGX_HTTP_HOLDFAST_NEWS_AGAIN  1000
#define NGX_HTTP_HOLDFAST_NEWS_IN     8192

/* reads per event: other connections of the worker want their turn */
#define NGX_HTTP_HOLDFAST_NEWS_READS  16


typedef struct {
    ngx_connection_t       *connection;
    ngx_addr_t             *addr;
    ngx_event_t             retry;
    ngx_log_t              *log;
    size_t                  len;
    u_char                  in[NGX_HTTP_HOLDFAST_NEWS_IN];
    unsigned                complained:1;
} ngx_http_holdfast_news_t;


static void ngx_http_holdfast_news_connect(ngx_event_t *ev);
static void ngx_http_holdfast_news_lost(const char *why);
static void ngx_http_holdfast_news_read(ngx_event_t *ev);
static void ngx_http_holdfast_news_write(ngx_event_t *ev);
static ngx_int_t ngx_http_holdfast_news_take(void);


static ngx_http_holdfast_news_t  *ngx_http_holdfast_news;


ngx_int_t
ngx_http_holdfast_news_init(ngx_cycle_t *cycle)
{
    ngx_connection_t               *dummy;
    ngx_http_holdfast_news_t       *news;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    if (hmcf->redis.sockaddr == NULL || hmcf->streams.len == 0) {
        return NGX_OK;
    }

    news = ngx_pcalloc(cycle->pool, sizeof(ngx_http_holdfast_news_t));
    if (news == NULL) {
        return NGX_ERROR;
    }

    /* what the event module says about a timer needs a connection's fd */

    dummy = ngx_pcalloc(cycle->pool, sizeof(ngx_connection_t));
    if (dummy == NULL) {
        return NGX_ERROR;
    }

    dummy->fd = (ngx_socket_t) -1;

    news->addr = &hmcf->redis;
    news->log = cycle->log;

    news->retry.handler = ngx_http_holdfast_news_connect;
    news->retry.data = dummy;
    news->retry.log = cycle->log;
    news->retry.cancelable = 1;

    ngx_http_holdfast_news = news;

    ngx_http_holdfast_news_connect(&news->retry);

    return NGX_OK;
}


void
ngx_http_holdfast_news_exit(ngx_cycle_t *cycle)
{
    ngx_http_holdfast_news_t  *news;

    news = ngx_http_holdfast_news;

    if (news == NULL) {
        return;
    }

    if (news->retry.timer_set) {
        ngx_del_timer(&news->retry);
    }

    if (news->connection) {
        ngx_close_connection(news->connection);
        news->connection = NULL;
    }

    ngx_http_holdfast_news = NULL;
}


static void
ngx_http_holdfast_news_connect(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_http_holdfast_news_t  *news;

    static u_char  subscribe[] = "*2" CRLF "$9" CRLF "SUBSCRIBE" CRLF
                                 "$7" CRLF "hf:news" CRLF;

    news = ngx_http_holdfast_news;

    news->len = 0;

    c = ngx_http_holdfast_dial(news->addr, SOCK_STREAM, news->log);

    if (c == NULL) {
        ngx_http_holdfast_news_lost("cannot be reached");
        return;
    }

    c->data = news;
    c->read->handler = ngx_http_holdfast_news_read;
    c->write->handler = ngx_http_holdfast_news_write;

    news->connection = c;

    /* an empty socket takes so little at once */

    if (c->send(c, subscribe, sizeof(subscribe) - 1)
        != (ssize_t) sizeof(subscribe) - 1)
    {
        ngx_http_holdfast_news_lost("takes nothing");
    }
}


static void
ngx_http_holdfast_news_lost(const char *why)
{
    ngx_http_holdfast_news_t  *news;

    news = ngx_http_holdfast_news;

    if (!news->complained) {
        ngx_log_error(NGX_LOG_WARN, news->log, 0,
                      "redis at \"%V\" %s, events come up to a second later "
                      "meanwhile", &news->addr->name, why);
        news->complained = 1;
    }

    if (news->connection) {
        ngx_close_connection(news->connection);
        news->connection = NULL;
    }

    if (!ngx_exiting) {
        ngx_add_timer(&news->retry, NGX_HTTP_HOLDFAST_NEWS_AGAIN);
    }
}


static void
ngx_http_holdfast_news_write(ngx_event_t *ev)
{
    (void) ngx_handle_write_event(ev, 0);
}


static void
ngx_http_holdfast_news_read(ngx_event_t *ev)
{
    ssize_t                    n;
    ngx_uint_t                 i;
    ngx_connection_t          *c;
    ngx_http_holdfast_news_t  *news;

    c = ev->data;
    news = c->data;

    for (i = 0; i < NGX_HTTP_HOLDFAST_NEWS_READS; i++) {

        n = c->recv(c, news->in + news->len,
                    NGX_HTTP_HOLDFAST_NEWS_IN - news->len);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_holdfast_news_lost("closed the connection");
            return;
        }

        news->len += n;

        if (ngx_http_holdfast_news_take() != NGX_OK) {
            ngx_http_holdfast_news_lost("speaks another protocol");
            return;
        }
    }

    if (ev->ready) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_http_holdfast_news_lost("cannot be watched");
    }
}


/* All whole messages in the buffer: the name of a stream up to a space. */

static ngx_int_t
ngx_http_holdfast_news_take(void)
{
    long                       n;
    u_char                    *p, *last, *space;
    ngx_str_t                  name;
    struct resp_push           push;
    ngx_http_holdfast_news_t  *news;

    news = ngx_http_holdfast_news;

    p = news->in;
    last = news->in + news->len;

    for ( ;; ) {

        n = resp_push_take((char *) p, last - p, &push);

        if (n < 0) {
            return NGX_ERROR;
        }

        if (n == 0) {
            break;
        }

        if (push.kind_len == 9) {

            if (news->complained) {
                ngx_log_error(NGX_LOG_NOTICE, news->log, 0, "redis is back");
                news->complained = 0;
            }

        } else {
            name.data = (u_char *) push.text;
            name.len = push.text_len;

            space = ngx_strlchr(name.data, name.data + name.len, ' ');

            if (space) {
                name.len = space - name.data;
            }

            ngx_http_holdfast_stream_news(&name);
        }

        p += n;
    }

    news->len = last - p;

    if (news->len == NGX_HTTP_HOLDFAST_NEWS_IN) {
        return NGX_ERROR;
    }

    ngx_memmove(news->in, p, news->len);

    return NGX_OK;
}
