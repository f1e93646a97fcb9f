
/*
 * The link: lines to and from the keeper, one unix stream per worker.
 *
 * A lost link costs nothing but time: routes that are awake serve on, waiting
 * requests wait, and after the next greeting everything that is still waited
 * for is asked again.  Made again after 50 ms, then twice as long, to 1 s.
 * What cannot be written is kept, up to 64 KiB; beyond that the keeper does
 * not read, and the link is dropped.  Asks stop at 48 KiB and go on when that
 * is written: after an outage there may be more of them than fit.  A line that
 * the parser refuses drops it, too: two ends that disagree about the protocol
 * must not guess.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_LINK_OUT    65536
#define NGX_HTTP_HOLDFAST_LINK_ASKS   49152
#define NGX_HTTP_HOLDFAST_LINK_IN     8192
#define NGX_HTTP_HOLDFAST_LINK_MIN    50
#define NGX_HTTP_HOLDFAST_LINK_MAX    1000

/* reads per event: other connections of the worker want their turn */
#define NGX_HTTP_HOLDFAST_LINK_READS  16

/* a keeper that accepts and never greets */
#define NGX_HTTP_HOLDFAST_LINK_GREET  5000


typedef struct {
    ngx_connection_t       *connection;
    ngx_addr_t             *addr;
    ngx_event_t             retry;
    ngx_msec_t              delay;
    ngx_log_t              *log;
    u_char                 *out;
    size_t                  out_len;
    size_t                  in_len;
    u_char                  in[NGX_HTTP_HOLDFAST_LINK_IN];
    unsigned                greeted:1;
    unsigned                more:1;         /* asks that found no room */
    unsigned                complained:1;
} ngx_http_holdfast_link_t;


static void ngx_http_holdfast_link_connect(ngx_event_t *ev);
static void ngx_http_holdfast_link_lost(const char *why);
static void ngx_http_holdfast_link_read(ngx_event_t *ev);
static void ngx_http_holdfast_link_write(ngx_event_t *ev);
static ngx_int_t ngx_http_holdfast_link_flush(void);
static ngx_int_t ngx_http_holdfast_link_lines(void);
static ngx_int_t ngx_http_holdfast_link_line(const struct line *line);
static ngx_int_t ngx_http_holdfast_link_put(const struct line *line);


static ngx_http_holdfast_link_t  *ngx_http_holdfast_link;


ngx_int_t
ngx_http_holdfast_link_init(ngx_cycle_t *cycle)
{
    ngx_connection_t               *dummy;
    ngx_http_holdfast_link_t       *link;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    link = ngx_pcalloc(cycle->pool, sizeof(ngx_http_holdfast_link_t));
    if (link == NULL) {
        return NGX_ERROR;
    }

    link->out = ngx_palloc(cycle->pool, NGX_HTTP_HOLDFAST_LINK_OUT);
    if (link->out == NULL) {
        return NGX_ERROR;
    }

    /* what the event module says about a timer needs a connection's fd */

    dummy = ngx_pcalloc(cycle->pool, sizeof(ngx_connection_t));
    if (dummy == NULL) {
        return NGX_ERROR;
    }

    dummy->fd = (ngx_socket_t) -1;

    link->addr = &hmcf->keeper;
    link->log = cycle->log;
    link->delay = NGX_HTTP_HOLDFAST_LINK_MIN;

    link->retry.handler = ngx_http_holdfast_link_connect;
    link->retry.data = dummy;
    link->retry.log = cycle->log;
    link->retry.cancelable = 1;

    ngx_http_holdfast_link = link;

    ngx_http_holdfast_link_connect(&link->retry);

    return NGX_OK;
}


void
ngx_http_holdfast_link_exit(ngx_cycle_t *cycle)
{
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    if (link == NULL) {
        return;
    }

    if (link->retry.timer_set) {
        ngx_del_timer(&link->retry);
    }

    if (link->connection) {
        ngx_close_connection(link->connection);
        link->connection = NULL;
    }

    ngx_http_holdfast_link = NULL;
}


ngx_uint_t
ngx_http_holdfast_link_up(void)
{
    return ngx_http_holdfast_link && ngx_http_holdfast_link->greeted;
}


/*
 * A connection to a unix socket, or NULL: local sockets connect at once or
 * not at all.  Says nothing; the caller knows how often it has tried.
 */

ngx_connection_t *
ngx_http_holdfast_dial(ngx_addr_t *addr, int type, ngx_log_t *log)
{
    ngx_socket_t       s;
    ngx_connection_t  *c;

    s = socket(AF_UNIX, type|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (s == (ngx_socket_t) -1) {
        return NULL;
    }

    if (connect(s, addr->sockaddr, addr->socklen) == -1) {
        (void) ngx_close_socket(s);
        return NULL;
    }

    c = ngx_get_connection(s, log);

    if (c == NULL) {
        (void) ngx_close_socket(s);
        return NULL;
    }

    c->recv = ngx_recv;
    c->send = ngx_send;
    c->log = log;
    c->log_error = NGX_ERROR_ERR;
    c->read->log = log;
    c->write->log = log;
    c->write->ready = 1;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_close_connection(c);
        return NULL;
    }

    return c;
}


static void
ngx_http_holdfast_link_connect(ngx_event_t *ev)
{
    u_char                     node[65];
    struct line                hello;
    ngx_connection_t          *c;
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    link->out_len = 0;
    link->in_len = 0;
    link->greeted = 0;
    link->more = 0;

    c = ngx_http_holdfast_dial(link->addr, SOCK_STREAM, link->log);

    if (c == NULL) {
        ngx_http_holdfast_link_lost("cannot be reached");
        return;
    }

    c->data = link;
    c->read->handler = ngx_http_holdfast_link_read;
    c->write->handler = ngx_http_holdfast_link_write;

    link->connection = c;

    ngx_http_holdfast_route_hello(&hello, node);

    if (ngx_http_holdfast_link_put(&hello) != NGX_OK
        || ngx_http_holdfast_link_flush() != NGX_OK)
    {
        ngx_http_holdfast_link_lost("does not take a greeting");
        return;
    }

    ngx_add_timer(c->read, NGX_HTTP_HOLDFAST_LINK_GREET);
}


static void
ngx_http_holdfast_link_lost(const char *why)
{
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    if (!link->complained) {

        /* once per outage, not once per attempt */

        ngx_log_error(NGX_LOG_WARN, link->log, 0,
                      "keeper at \"%V\" %s, requests for sandboxes that are "
                      "not awake wait", &link->addr->name, why);
        link->complained = 1;
    }

    if (link->connection) {
        ngx_close_connection(link->connection);
        link->connection = NULL;
    }

    if (link->greeted) {
        link->greeted = 0;
        link->delay = NGX_HTTP_HOLDFAST_LINK_MIN;
        ngx_http_holdfast_route_unlinked();
        ngx_http_holdfast_unasked();
    }

    if (!link->retry.timer_set) {
        ngx_add_timer(&link->retry, link->delay);
        link->delay = ngx_min(link->delay * 2, NGX_HTTP_HOLDFAST_LINK_MAX);
    }
}


static void
ngx_http_holdfast_link_read(ngx_event_t *ev)
{
    ssize_t                    n;
    ngx_uint_t                 i;
    ngx_connection_t          *c;
    ngx_http_holdfast_link_t  *link;

    c = ev->data;
    link = c->data;

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_http_holdfast_link_lost("does not greet");
        return;
    }

    if (c->close) {
        ngx_http_holdfast_link_lost("is left, this worker shuts down");
        return;
    }

    for (i = 0; i < NGX_HTTP_HOLDFAST_LINK_READS; i++) {

        n = c->recv(c, link->in + link->in_len,
                    NGX_HTTP_HOLDFAST_LINK_IN - link->in_len);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_holdfast_link_lost("closed the link");
            return;
        }

        link->in_len += n;

        if (ngx_http_holdfast_link_lines() != NGX_OK) {
            return;
        }
    }

    if (ev->ready) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_http_holdfast_link_lost("cannot be watched");
    }
}


/* All whole lines in the buffer; NGX_ERROR: the link is gone. */

static ngx_int_t
ngx_http_holdfast_link_lines(void)
{
    u_char                    *p, *nl, *last;
    struct line                line;
    ngx_connection_t          *c;
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;
    c = link->connection;

    p = link->in;
    last = link->in + link->in_len;

    for ( ;; ) {

        nl = ngx_strlchr(p, last, LF);

        if (nl == NULL) {
            break;
        }

        if (line_parse((char *) p, nl - p, 0, &line) != 0) {
            ngx_log_error(NGX_LOG_ERR, link->log, 0,
                          "keeper sent a line that is not one: \"%*s\"",
                          ngx_min((size_t) (nl - p), 80), p);
            ngx_http_holdfast_link_lost("speaks another protocol");
            return NGX_ERROR;
        }

        if (ngx_http_holdfast_link_line(&line) != NGX_OK
            || link->connection != c)
        {
            return NGX_ERROR;
        }

        p = nl + 1;
    }

    link->in_len = last - p;

    if (link->in_len >= LINE_MAX_LEN) {
        ngx_http_holdfast_link_lost("sent a line without an end");
        return NGX_ERROR;
    }

    ngx_memmove(link->in, p, link->in_len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_link_line(const struct line *line)
{
    ngx_uint_t                 rc;
    struct line                out;
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    if (!link->greeted) {

        if (line->type != 'H' || line->proto != LINE_PROTO
            || ngx_http_holdfast_route_greeted(line, link->log) != NGX_OK)
        {
            ngx_http_holdfast_link_lost("greets in a way that is refused");
            return NGX_ERROR;
        }

        if (link->complained) {
            ngx_log_error(NGX_LOG_NOTICE, link->log, 0, "keeper is back");
        }

        link->greeted = 1;
        link->complained = 0;
        link->delay = NGX_HTTP_HOLDFAST_LINK_MIN;

        ngx_del_timer(link->connection->read);
        ngx_http_holdfast_ask_again();
        ngx_http_holdfast_quiet_ask_again(1);
        ngx_http_holdfast_quiet_closed(NULL, 0);

        return link->greeted ? NGX_OK : NGX_ERROR;
    }

    switch (line->type) {

    case 'A':
    case 'R':
        rc = ngx_http_holdfast_route_apply(line);

        if (rc == NGX_HTTP_HOLDFAST_APPLIED && line->state != LINE_AWAKE) {
            ngx_http_holdfast_door_forget((u_char *) line->id.p,
                                          line->id.len);
        }

        /*
         * A broadcast that it is asleep: it is being stopped, for a park ends
         * without one.  Those who wait for the end of what is in flight would
         * wait for these in vain.
         */

        if (line->state == LINE_GONE
            || (line->type == 'R' && line->state == LINE_ASLEEP
                && rc == NGX_HTTP_HOLDFAST_APPLIED))
        {
            ngx_http_holdfast_quiet_close((u_char *) line->id.p,
                                          line->id.len);
        }

        if (line->state <= LINE_ASLEEP && line->policy.is_private) {
            ngx_http_holdfast_quiet_closed((u_char *) line->id.p,
                                           line->id.len);
        }

        ngx_http_holdfast_quiet_told((u_char *) line->id.p, line->id.len,
                                     line->state == LINE_AWAKE);

        if (line->type == 'A' && line->state == LINE_FAILED) {
            ngx_http_holdfast_count(failed);
        }

        if (line->type == 'A' || rc == NGX_HTTP_HOLDFAST_APPLIED) {
            ngx_http_holdfast_answered(line, rc);
        }

        return NGX_OK;

    case 'P':
        ngx_http_holdfast_route_park(line, &out);

        if (out.park == LINE_OK) {
            ngx_http_holdfast_door_forget((u_char *) line->id.p,
                                          line->id.len);
        }

        return ngx_http_holdfast_link_send(&out);

    case 'I':
        ngx_http_holdfast_route_inflight(line, &out);
        return ngx_http_holdfast_link_send(&out);

    case 'O':
        ngx_http_holdfast_op_answered(line);
        return NGX_OK;

    case 'T':
        ngx_http_holdfast_share_answered(line);
        return NGX_OK;

    case 'S':
        ngx_http_holdfast_route_epoch(line);
        ngx_http_holdfast_quiet_closed((u_char *) line->id.p, line->id.len);
        return NGX_OK;

    default:
        ngx_http_holdfast_link_lost("greets twice");
        return NGX_ERROR;
    }
}


/* An ask; NGX_AGAIN: there is no room, it is asked again when there is. */

ngx_int_t
ngx_http_holdfast_link_ask(const struct line *line)
{
    if (!ngx_http_holdfast_link_up()) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_link->out_len > NGX_HTTP_HOLDFAST_LINK_ASKS) {
        ngx_http_holdfast_link->more = 1;
        return NGX_AGAIN;
    }

    return ngx_http_holdfast_link_send(line);
}


/* NGX_ERROR: there is no link, now; what was to be said is asked again. */

ngx_int_t
ngx_http_holdfast_link_send(const struct line *line)
{
    if (!ngx_http_holdfast_link_up()) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_link_put(line) != NGX_OK) {
        ngx_http_holdfast_link_lost("does not read");
        return NGX_ERROR;
    }

    /* lines of one turn of the loop leave together */

    if (ngx_http_holdfast_link->connection->write->ready
        && !ngx_http_holdfast_link->connection->write->posted)
    {
        ngx_post_event(ngx_http_holdfast_link->connection->write,
                       &ngx_posted_events);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_link_put(const struct line *line)
{
    size_t                     len;
    char                       text[LINE_MAX_LEN];
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    len = line_write(line, text);

    if (len == 0) {
        ngx_log_error(NGX_LOG_ALERT, link->log, 0,
                      "a line of type '%c' to the keeper does not fit",
                      line->type);
        return NGX_ERROR;
    }

    if (link->out_len + len > NGX_HTTP_HOLDFAST_LINK_OUT) {
        return NGX_ERROR;
    }

    ngx_memcpy(link->out + link->out_len, text, len);
    link->out_len += len;

    return NGX_OK;
}


static void
ngx_http_holdfast_link_write(ngx_event_t *ev)
{
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;

    if (ngx_http_holdfast_link_flush() != NGX_OK) {
        ngx_http_holdfast_link_lost("does not take lines");
        return;
    }

    if (link->greeted && link->more && link->out_len == 0) {
        link->more = 0;
        ngx_http_holdfast_ask_again();
        ngx_http_holdfast_quiet_ask_again(0);
    }
}


static ngx_int_t
ngx_http_holdfast_link_flush(void)
{
    ssize_t                    n;
    ngx_connection_t          *c;
    ngx_http_holdfast_link_t  *link;

    link = ngx_http_holdfast_link;
    c = link->connection;

    while (link->out_len) {

        n = c->send(c, link->out, link->out_len);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        link->out_len -= n;
        ngx_memmove(link->out, link->out + n, link->out_len);
    }

    return ngx_handle_write_event(c->write, 0);
}
