
/*
 * Event streams: what /_stream/<folder>/<stream>?from=N answers.
 *
 * The api has checked who asks and redirects here; no worker of its own is
 * held by an open stream.  Each reader has its own place in the log, so a slow
 * one costs nobody: it has one range of the file on its way, and is given the
 * next when that is sent.  One whose place was trimmed is told so ("lagged")
 * and goes on from what is kept.
 *
 * A reader costs its request, one struct and no buffer: ranges are sent
 * from the page cache.  Nothing is allocated while it is open.
 *
 * Events come when Redis says so (_news), and at least once a second.  On a
 * reload every stream ends whole, and its client comes back to the next
 * generation of workers with the id of the last event that it has.
 */


#include "ngx_http_holdfast_module.h"
#include "ngx_http_holdfast_stream.h"
#include <sys/eventfd.h>


#define NGX_HTTP_HOLDFAST_STREAM_TICK   1000
#define NGX_HTTP_HOLDFAST_STREAM_LATEST ((uint64_t) -1)


static ngx_int_t ngx_http_holdfast_stream_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_holdfast_stream_parse(ngx_http_request_t *r,
    ngx_str_t *name, uint64_t *tag, uint64_t *from);
static ngx_http_holdfast_readers_t *ngx_http_holdfast_stream_readers(
    uint64_t tag);
static ngx_int_t ngx_http_holdfast_stream_open(ngx_http_request_t *r,
    ngx_http_holdfast_tail_t *tail, ngx_http_holdfast_readers_t *readers,
    uint64_t from);
static ngx_int_t ngx_http_holdfast_stream_head(ngx_http_request_t *r);
static void ngx_http_holdfast_stream_grown(ngx_http_holdfast_tail_t *tail,
    ngx_uint_t tick);
static void ngx_http_holdfast_stream_all(ngx_uint_t tick);
static void ngx_http_holdfast_stream_tick(ngx_event_t *ev);
static void ngx_http_holdfast_stream_exiting(ngx_event_t *ev);


static ngx_rbtree_t       ngx_http_holdfast_stream_tenants;
static ngx_rbtree_node_t  ngx_http_holdfast_stream_sentinel;
static ngx_uint_t         ngx_http_holdfast_stream_total;
static ngx_event_t        ngx_http_holdfast_stream_timer;
static ngx_connection_t  *ngx_http_holdfast_stream_guard;

static ngx_http_holdfast_main_conf_t  *ngx_http_holdfast_stream_conf;


char *
ngx_http_holdfast_stream_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_holdfast_stream_handler;

    return NGX_CONF_OK;
}


static void
ngx_http_holdfast_stream_close_dir(void *data)
{
    ngx_http_holdfast_main_conf_t *hmcf = data;

    if (hmcf->streams_fd != NGX_INVALID_FILE) {
        (void) ngx_close_file(hmcf->streams_fd);
        hmcf->streams_fd = NGX_INVALID_FILE;
    }
}


/* In the master: workers may not be able to come to the folder. */

ngx_int_t
ngx_http_holdfast_stream_module(ngx_cycle_t *cycle)
{
    ngx_pool_cleanup_t             *cln;
    ngx_http_holdfast_main_conf_t  *hmcf;

    if (cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return NGX_OK;
    }

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    if (hmcf == NULL || hmcf->zone == NULL || hmcf->streams.len == 0) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_holdfast_stream_close_dir;
    cln->data = hmcf;

    hmcf->streams_fd = open((char *) hmcf->streams.data,
                            O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (hmcf->streams_fd == NGX_INVALID_FILE) {

        /* nothing else depends on it: the others are served */

        ngx_log_error(NGX_LOG_ERR, cycle->log, ngx_errno,
                      "there will be no event streams: cannot open \"%V\"",
                      &hmcf->streams);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_holdfast_stream_init(ngx_cycle_t *cycle)
{
    int                             fd;
    ngx_connection_t               *c;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    ngx_http_holdfast_stream_conf = hmcf;
    ngx_http_holdfast_tail_init(hmcf->streams_fd, cycle->log);

    ngx_rbtree_init(&ngx_http_holdfast_stream_tenants,
                    &ngx_http_holdfast_stream_sentinel,
                    ngx_rbtree_insert_value);

    /*
     * A connection that is idle: the one that nginx tells first when the
     * worker is to shut down.  Behind it is a descriptor without events.
     */

    fd = eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK);
    if (fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "eventfd() failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->log = cycle->log;
    c->read->log = cycle->log;
    c->write->log = cycle->log;
    c->idle = 1;
    c->read->handler = ngx_http_holdfast_stream_exiting;

    ngx_http_holdfast_stream_guard = c;

    ngx_http_holdfast_stream_timer.handler = ngx_http_holdfast_stream_tick;
    ngx_http_holdfast_stream_timer.log = cycle->log;
    ngx_http_holdfast_stream_timer.data = c;
    ngx_http_holdfast_stream_timer.cancelable = 1;

    return NGX_OK;
}


void
ngx_http_holdfast_stream_exit(ngx_cycle_t *cycle)
{
    ngx_connection_t  *c;

    if (ngx_http_holdfast_stream_timer.timer_set) {
        ngx_del_timer(&ngx_http_holdfast_stream_timer);
    }

    c = ngx_http_holdfast_stream_guard;

    if (c) {
        ngx_http_holdfast_stream_guard = NULL;
        ngx_close_connection(c);
    }
}


/* ?from= is of the api: a number, or "latest". */

static ngx_int_t
ngx_http_holdfast_stream_parse(ngx_http_request_t *r, ngx_str_t *name,
    uint64_t *tag, uint64_t *from)
{
    size_t     i;
    off_t      n;
    u_char     ch;
    ngx_str_t  arg;

    static ngx_str_t  prefix = ngx_string("/_stream/");

    if (r->uri.len <= prefix.len + 17
        || r->uri.len - prefix.len > NGX_HTTP_HOLDFAST_STREAM_NAME
        || ngx_strncmp(r->uri.data, prefix.data, prefix.len) != 0)
    {
        return NGX_ERROR;
    }

    name->data = r->uri.data + prefix.len;
    name->len = r->uri.len - prefix.len;

    *tag = 0;

    for (i = 0; i < name->len; i++) {

        ch = name->data[i];

        if (i == 16) {

            if (ch != '/') {
                return NGX_ERROR;
            }

            continue;
        }

        if (i > 16) {

            if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9') && ch != '-')
            {
                return NGX_ERROR;
            }

            continue;
        }

        if (ch >= '0' && ch <= '9') {
            *tag = *tag << 4 | (uint64_t) (ch - '0');

        } else if (ch >= 'a' && ch <= 'f') {
            *tag = *tag << 4 | (uint64_t) (ch - 'a' + 10);

        } else {
            return NGX_ERROR;
        }
    }

    *from = 0;

    if (ngx_http_arg(r, (u_char *) "from", 4, &arg) != NGX_OK) {
        return NGX_OK;
    }

    if (arg.len == 6 && ngx_strncmp(arg.data, "latest", 6) == 0) {
        *from = NGX_HTTP_HOLDFAST_STREAM_LATEST;
        return NGX_OK;
    }

    n = ngx_atoof(arg.data, arg.len);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    *from = (uint64_t) n;

    return NGX_OK;
}


/* The count of a tenant's readers; NULL: no memory. */

static ngx_http_holdfast_readers_t *
ngx_http_holdfast_stream_readers(uint64_t tag)
{
    ngx_rbtree_key_t              key;
    ngx_rbtree_node_t            *node, *sentinel;
    ngx_http_holdfast_readers_t  *readers;

    key = (ngx_rbtree_key_t) tag;
    node = ngx_http_holdfast_stream_tenants.root;
    sentinel = ngx_http_holdfast_stream_tenants.sentinel;

    while (node != sentinel) {

        if (key == node->key) {
            return (ngx_http_holdfast_readers_t *) node;
        }

        node = (key < node->key) ? node->left : node->right;
    }

    readers = ngx_calloc(sizeof(ngx_http_holdfast_readers_t),
                         ngx_cycle->log);
    if (readers == NULL) {
        return NULL;
    }

    readers->node.key = key;
    ngx_rbtree_insert(&ngx_http_holdfast_stream_tenants, &readers->node);

    return readers;
}


static void
ngx_http_holdfast_stream_leave(ngx_http_holdfast_readers_t *readers)
{
    if (readers->n == 0) {
        ngx_rbtree_delete(&ngx_http_holdfast_stream_tenants, &readers->node);
        ngx_free(readers);
    }
}


static ngx_int_t
ngx_http_holdfast_stream_refuse(ngx_http_request_t *r, const char *why)
{
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ngx_http_holdfast_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    return ngx_http_holdfast_fail(r, ctx, "unavailable", 5, "%s", why);
}


static ngx_int_t
ngx_http_holdfast_stream_handler(ngx_http_request_t *r)
{
    uint64_t                        tag, from;
    ngx_int_t                       rc;
    ngx_str_t                       name;
    ngx_http_holdfast_tail_t       *tail;
    ngx_http_holdfast_readers_t    *readers;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_holdfast_stream_parse(r, &name, &tag, &from) != NGX_OK) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (hmcf->streams_fd == NGX_INVALID_FILE) {
        return ngx_http_holdfast_stream_refuse(r,
                   "event streams are not available now");
    }

    if (ngx_http_holdfast_stream_total >= hmcf->stream_limit.all) {
        return ngx_http_holdfast_stream_refuse(r,
                   "there are too many open event streams");
    }

    readers = ngx_http_holdfast_stream_readers(tag);
    if (readers == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (readers->n >= hmcf->stream_limit.one) {
        return ngx_http_holdfast_stream_refuse(r,
                   "this tenant has too many open event streams");
    }

    tail = ngx_http_holdfast_tail_get(&name);

    if (tail == NULL) {
        ngx_http_holdfast_stream_leave(readers);
        return ngx_http_holdfast_stream_refuse(r,
                   "this event stream cannot be read now");
    }

    rc = ngx_http_holdfast_stream_open(r, tail, readers, from);

    if (rc != NGX_DONE) {
        ngx_http_holdfast_tail_put(tail);
        ngx_http_holdfast_stream_leave(readers);
    }

    return rc;
}


static void
ngx_http_holdfast_stream_count(ngx_int_t n)
{
    ngx_http_holdfast_stream_total += n;
    ngx_http_holdfast_table_slot(NULL)->streams =
                                   (uint32_t) ngx_http_holdfast_stream_total;
}


/* NGX_DONE: the reader owns tail and its place among the readers. */

static ngx_int_t
ngx_http_holdfast_stream_open(ngx_http_request_t *r,
    ngx_http_holdfast_tail_t *tail, ngx_http_holdfast_readers_t *readers,
    uint64_t from)
{
    ngx_int_t                       rc;
    ngx_http_cleanup_t             *cln;
    ngx_http_holdfast_reader_t     *reader;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_holdfast_stream_conf;

    if (from == NGX_HTTP_HOLDFAST_STREAM_LATEST) {
        from = tail->count;

    } else if (tail->ended && from == tail->count && from > 0) {

        /* an EventSource stops at that */

        r->headers_out.status = NGX_HTTP_NO_CONTENT;
        r->header_only = 1;
        return ngx_http_send_header(r);
    }

    rc = ngx_http_holdfast_stream_head(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_holdfast_reader_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    /* what the api's answer was read into is the largest thing left of it */

    if (r->upstream && r->upstream->buffer.start) {
        (void) ngx_pfree(r->pool, r->upstream->buffer.start);
        r->upstream->buffer.start = NULL;
    }

    reader = cln->data;
    ngx_memzero(reader, sizeof(ngx_http_holdfast_reader_t));

    reader->request = r;
    reader->tail = tail;
    reader->readers = readers;
    reader->next = from;
    reader->place = -1;
    reader->spoke = ngx_current_msec;

    /* not all of those that came together leave together */

    reader->until = ngx_current_msec + hmcf->stream_max
                    - ngx_random() % (hmcf->stream_max / 8 + 1);

    cln->handler = ngx_http_holdfast_stream_cleanup;

    ngx_queue_insert_tail(&tail->readers, &reader->queue);
    readers->n++;
    ngx_http_holdfast_stream_count(1);

    if (!ngx_http_holdfast_stream_timer.timer_set) {
        ngx_add_timer(&ngx_http_holdfast_stream_timer,
                      NGX_HTTP_HOLDFAST_STREAM_TICK);
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_holdfast_reader_write;

    r->main->count++;

    rc = ngx_http_holdfast_reader_text(reader, (u_char *) "retry: 1000\n\n",
                                       sizeof("retry: 1000\n\n") - 1);
    if (rc == NGX_ERROR) {
        ngx_http_holdfast_reader_end(reader, NGX_ERROR);
        return NGX_DONE;
    }

    ngx_http_holdfast_reader_feed(reader);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_holdfast_stream_head(ngx_http_request_t *r)
{
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_str_null(&r->headers_out.charset);

    if (ngx_http_holdfast_add_header(r, "Cache-Control", "no-store")
        != NGX_OK
        || ngx_http_holdfast_add_header(r, "X-Accel-Buffering", "no")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_send_header(r);
}


void
ngx_http_holdfast_stream_cleanup(void *data)
{
    ngx_http_holdfast_reader_t *reader = data;

    ngx_queue_remove(&reader->queue);
    ngx_http_holdfast_tail_put(reader->tail);

    reader->readers->n--;
    ngx_http_holdfast_stream_leave(reader->readers);

    ngx_http_holdfast_stream_count(-1);
}


/*
 * Looks at a stream and gives its readers what is new.  Whatever a reader's
 * connection does may end other readers, too: they are taken from a queue that
 * each one can leave at any time.
 */

static void
ngx_http_holdfast_stream_grown(ngx_http_holdfast_tail_t *tail,
    ngx_uint_t tick)
{
    ngx_int_t                    rc;
    ngx_queue_t                 *q, work;
    ngx_connection_t            *c;
    ngx_http_holdfast_reader_t  *reader;

    tail->refs++;

    rc = ngx_http_holdfast_tail_look(tail);

    ngx_queue_init(&work);

    if (!ngx_queue_empty(&tail->readers)) {
        ngx_queue_add(&work, &tail->readers);
        ngx_queue_init(&tail->readers);
    }

    while (!ngx_queue_empty(&work)) {

        q = ngx_queue_head(&work);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&tail->readers, q);

        reader = ngx_queue_data(q, ngx_http_holdfast_reader_t, queue);

        if (reader->busy) {
            continue;
        }

        c = reader->request->connection;
        ngx_http_set_log_request(c->log, reader->request);

        if (rc != NGX_OK
            || (tick && ngx_http_holdfast_reader_ping(reader) == NGX_ERROR))
        {
            ngx_http_holdfast_reader_end(reader, NGX_ERROR);

        } else {
            ngx_http_holdfast_reader_feed(reader);
        }

        ngx_http_run_posted_requests(c);
    }

    ngx_http_holdfast_tail_put(tail);
}


void
ngx_http_holdfast_stream_news(ngx_str_t *name)
{
    ngx_http_holdfast_tail_t  *tail;

    tail = ngx_http_holdfast_tail_named(name);

    if (tail) {
        ngx_http_holdfast_stream_grown(tail, 0);
    }
}


/* The next tail is held, so that it is there when it is its turn. */

static void
ngx_http_holdfast_stream_all(ngx_uint_t tick)
{
    ngx_http_holdfast_tail_t  *tail, *next;

    tail = ngx_http_holdfast_tail_next(NULL);

    while (tail) {
        next = ngx_http_holdfast_tail_next(tail);

        ngx_http_holdfast_stream_grown(tail, tick);
        ngx_http_holdfast_tail_put(tail);

        tail = next;
    }
}


static void
ngx_http_holdfast_stream_tick(ngx_event_t *ev)
{
    ngx_http_holdfast_stream_all(1);

    if (ngx_http_holdfast_stream_total) {
        ngx_add_timer(ev, NGX_HTTP_HOLDFAST_STREAM_TICK);
    }
}


/* The worker is to shut down. */

static void
ngx_http_holdfast_stream_exiting(ngx_event_t *ev)
{
    ngx_http_holdfast_stream_all(0);
}
