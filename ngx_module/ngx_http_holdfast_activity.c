
/*
 * Activity: tells Redis when to look at a sandbox again.
 *
 * Each worker keeps the numbers of the entries that it stamped since it last
 * told, and every five seconds sends them as
 *
 *     ZADD hf:sleep GT <moment> <id> ...
 *
 * with the moment, in ms since the epoch, at which the next rung would be due:
 * stamp + the seconds that the route's policy says.  No traffic, no timer.
 *
 * Nothing here is needed for correctness.  The score only says when to look;
 * whether a sandbox may sleep is said by the stamps in shared memory (PARK).
 * So whatever finds no room, no connection or no answer is dropped: GT makes
 * repeats harmless, and what is missing makes the keeper look too early, find
 * the sandbox busy, and correct the score.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_ACTIVITY_EVERY  5000
#define NGX_HTTP_HOLDFAST_ACTIVITY_WAIT   5000

/* entries remembered by a worker; entries in one command */
#define NGX_HTTP_HOLDFAST_ACTIVITY_MARKS  4096
#define NGX_HTTP_HOLDFAST_ACTIVITY_BATCH  512

/* "$20\r\n" + digits + "\r\n$40\r\n" + id + "\r\n" */
#define NGX_HTTP_HOLDFAST_ACTIVITY_PAIR                                      \
    (5 + NGX_INT64_LEN + 2 + 5 + NGX_HTTP_HOLDFAST_ID_MAX + 2)

#define NGX_HTTP_HOLDFAST_ACTIVITY_HEAD   64
#define NGX_HTTP_HOLDFAST_ACTIVITY_OUT                                       \
    (NGX_HTTP_HOLDFAST_ACTIVITY_HEAD                                         \
     + NGX_HTTP_HOLDFAST_ACTIVITY_BATCH * NGX_HTTP_HOLDFAST_ACTIVITY_PAIR)


typedef struct {
    ngx_connection_t       *connection;
    ngx_addr_t             *addr;
    ngx_event_t             timer;
    ngx_log_t              *log;
    ngx_uint_t              n;
    u_char                 *out;            /* to be sent; its end */
    u_char                 *last;
    u_char                  first;          /* byte of the reply */
    unsigned                begun:1;        /* that byte has come */
    unsigned                waiting:1;      /* for a reply */
    unsigned                complained:1;
    uint32_t                marks[NGX_HTTP_HOLDFAST_ACTIVITY_MARKS];
    u_char                  buf[NGX_HTTP_HOLDFAST_ACTIVITY_OUT];
} ngx_http_holdfast_activity_t;


static void ngx_http_holdfast_activity_push(ngx_event_t *ev);
static ngx_uint_t ngx_http_holdfast_activity_batch(
    ngx_http_holdfast_activity_t *act);
static void ngx_http_holdfast_activity_later(
    ngx_http_holdfast_activity_t *act);
static void ngx_http_holdfast_activity_lost(ngx_http_holdfast_activity_t *act,
    const char *why);
static void ngx_http_holdfast_activity_read(ngx_event_t *ev);
static void ngx_http_holdfast_activity_write(ngx_event_t *ev);


static ngx_http_holdfast_activity_t  *ngx_http_holdfast_activity;


ngx_int_t
ngx_http_holdfast_activity_init(ngx_cycle_t *cycle)
{
    ngx_connection_t               *dummy;
    ngx_http_holdfast_activity_t   *act;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    if (hmcf->redis.sockaddr == NULL) {
        return NGX_OK;
    }

    act = ngx_pcalloc(cycle->pool, sizeof(ngx_http_holdfast_activity_t));
    if (act == NULL) {
        return NGX_ERROR;
    }

    dummy = ngx_pcalloc(cycle->pool, sizeof(ngx_connection_t));
    if (dummy == NULL) {
        return NGX_ERROR;
    }

    dummy->fd = (ngx_socket_t) -1;

    act->addr = &hmcf->redis;
    act->log = cycle->log;

    act->timer.handler = ngx_http_holdfast_activity_push;
    act->timer.data = dummy;
    act->timer.log = cycle->log;
    act->timer.cancelable = 1;

    ngx_http_holdfast_activity = act;

    return NGX_OK;
}


void
ngx_http_holdfast_activity_exit(ngx_cycle_t *cycle)
{
    ngx_http_holdfast_activity_t  *act;

    act = ngx_http_holdfast_activity;

    if (act == NULL) {
        return;
    }

    if (act->timer.timer_set) {
        ngx_del_timer(&act->timer);
    }

    if (act->connection) {
        ngx_close_connection(act->connection);
        act->connection = NULL;
    }

    ngx_http_holdfast_activity = NULL;
}


/*
 * Called by whoever stamps an entry, without the lock: a lost race for the
 * flag makes the entry be told twice, or once by another worker.
 */

void
ngx_http_holdfast_activity_mark(ngx_http_holdfast_entry_t *e)
{
    ngx_http_holdfast_activity_t  *act;

    act = ngx_http_holdfast_activity;

    if (act == NULL
        || e->dirty
        || act->n == NGX_HTTP_HOLDFAST_ACTIVITY_MARKS)
    {
        return;
    }

    e->dirty = 1;
    act->marks[act->n++] = ngx_http_holdfast_table_number(e);

    ngx_http_holdfast_activity_later(act);
}


static void
ngx_http_holdfast_activity_later(ngx_http_holdfast_activity_t *act)
{
    if (act->n && !act->waiting && !act->timer.timer_set && !ngx_exiting) {
        ngx_add_timer(&act->timer, NGX_HTTP_HOLDFAST_ACTIVITY_EVERY);
    }
}


static void
ngx_http_holdfast_activity_push(ngx_event_t *ev)
{
    ngx_connection_t              *c;
    ngx_http_holdfast_activity_t  *act;

    act = ngx_http_holdfast_activity;

    if (act->connection == NULL) {

        c = ngx_http_holdfast_dial(act->addr, SOCK_STREAM, act->log);

        if (c == NULL) {
            ngx_http_holdfast_activity_lost(act, "cannot be reached");
            return;
        }

        c->data = act;
        c->read->handler = ngx_http_holdfast_activity_read;
        c->read->cancelable = 1;
        c->write->handler = ngx_http_holdfast_activity_write;

        act->connection = c;
    }

    if (!ngx_http_holdfast_activity_batch(act)) {
        ngx_http_holdfast_activity_later(act);
        return;
    }

    act->waiting = 1;
    act->begun = 0;

    ngx_add_timer(act->connection->read, NGX_HTTP_HOLDFAST_ACTIVITY_WAIT);
    ngx_http_holdfast_activity_write(act->connection->write);
}


/* One command, from the end of the marks; 0: there is nothing to say. */

static ngx_uint_t
ngx_http_holdfast_activity_batch(ngx_http_holdfast_activity_t *act)
{
    u_char                     *p, moment[NGX_INT64_LEN],
                                head[NGX_HTTP_HOLDFAST_ACTIVITY_HEAD];
    size_t                      len;
    int64_t                     now, idle;
    ngx_uint_t                  pairs;
    ngx_time_t                 *tp;
    ngx_http_holdfast_entry_t  *e;

    tp = ngx_timeofday();
    now = (int64_t) tp->sec * 1000 + tp->msec;

    p = act->buf + NGX_HTTP_HOLDFAST_ACTIVITY_HEAD;
    pairs = 0;

    ngx_http_holdfast_table_lock();

    while (act->n && pairs < NGX_HTTP_HOLDFAST_ACTIVITY_BATCH) {

        e = ngx_http_holdfast_table_entry(act->marks[--act->n]);
        e->dirty = 0;

        /* 0 s: the policy is not known, the keeper was not asked yet */

        if (e->state != NGX_HTTP_HOLDFAST_AWAKE || e->next_s == 0
            || e->id_len == 0 || e->id_len > NGX_HTTP_HOLDFAST_ID_MAX)
        {
            continue;
        }

        idle = (int64_t) ((uint64_t) ngx_current_msec - e->stamp);

        len = ngx_sprintf(moment, "%L", now - ngx_max(idle, 0)
                                        + (int64_t) e->next_s * 1000)
              - moment;

        p = ngx_sprintf(p, "$%uz" CRLF "%*s" CRLF "$%ui" CRLF "%*s" CRLF,
                        len, len, moment, (ngx_uint_t) e->id_len,
                        (size_t) e->id_len, e->id);
        pairs++;
    }

    ngx_http_holdfast_table_unlock();

    if (pairs == 0) {
        return 0;
    }

    len = ngx_sprintf(head, "*%ui" CRLF "$4" CRLF "ZADD" CRLF "$8" CRLF
                      "hf:sleep" CRLF "$2" CRLF "GT" CRLF, 3 + 2 * pairs)
          - head;

    act->out = act->buf + NGX_HTTP_HOLDFAST_ACTIVITY_HEAD - len;
    act->last = p;

    ngx_memcpy(act->out, head, len);

    return pairs;
}


static void
ngx_http_holdfast_activity_lost(ngx_http_holdfast_activity_t *act,
    const char *why)
{
    if (!act->complained) {
        ngx_log_error(NGX_LOG_WARN, act->log, 0,
                      "redis at \"%V\" %s, nothing goes to sleep meanwhile",
                      &act->addr->name, why);
        act->complained = 1;
    }

    if (act->connection) {
        ngx_close_connection(act->connection);
        act->connection = NULL;
    }

    act->waiting = 0;

    ngx_http_holdfast_activity_later(act);
}


/* One command is out at a time, and its reply is one line. */

static void
ngx_http_holdfast_activity_read(ngx_event_t *ev)
{
    u_char                         buf[256];
    ssize_t                        n;
    ngx_connection_t              *c;
    ngx_http_holdfast_activity_t  *act;

    c = ev->data;
    act = c->data;

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_http_holdfast_activity_lost(act, "does not answer");
        return;
    }

    for ( ;; ) {

        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_holdfast_activity_lost(act, "closed the connection");
            return;
        }

        if (!act->waiting) {
            ngx_http_holdfast_activity_lost(act, "speaks unasked");
            return;
        }

        if (!act->begun) {
            act->begun = 1;
            act->first = buf[0];
        }

        if (buf[n - 1] != LF) {
            continue;
        }

        ngx_del_timer(ev);
        act->waiting = 0;

        if (act->first != ':') {
            ngx_http_holdfast_activity_lost(act, "refused what it was told");
            return;
        }

        if (act->complained) {
            ngx_log_error(NGX_LOG_NOTICE, act->log, 0, "redis is back");
            act->complained = 0;
        }

        ngx_http_holdfast_activity_later(act);
    }

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_http_holdfast_activity_lost(act, "cannot be watched");
    }
}


static void
ngx_http_holdfast_activity_write(ngx_event_t *ev)
{
    ssize_t                        n;
    ngx_connection_t              *c;
    ngx_http_holdfast_activity_t  *act;

    c = ev->data;
    act = c->data;

    while (act->waiting && act->out < act->last) {

        n = c->send(c, act->out, act->last - act->out);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            ngx_http_holdfast_activity_lost(act, "takes nothing");
            return;
        }

        act->out += n;
    }

    if (ngx_handle_write_event(ev, 0) != NGX_OK) {
        ngx_http_holdfast_activity_lost(act, "cannot be watched");
    }
}
