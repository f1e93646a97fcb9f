
/*
 * One client of an event stream: what it is sent.
 *
 * It has one range of the log on its way at most, and is given the next when
 * that is sent; what waits meanwhile is in the file.  A range whose log is
 * trimmed under way is cut off with its connection: the client asks again with
 * the last id that it has whole, and is told what is left.
 */


#include "ngx_http_holdfast_module.h"
#include "ngx_http_holdfast_stream.h"


#define NGX_HTTP_HOLDFAST_STREAM_RANGE  262144


static ngx_int_t ngx_http_holdfast_reader_out(
    ngx_http_holdfast_reader_t *reader, ngx_chain_t *out);
static ngx_int_t ngx_http_holdfast_reader_more(
    ngx_http_holdfast_reader_t *reader);


/* NGX_OK: sent; NGX_AGAIN: on its way. */

static ngx_int_t
ngx_http_holdfast_reader_out(ngx_http_holdfast_reader_t *reader,
    ngx_chain_t *out)
{
    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = reader->request;
    c = r->connection;

    rc = ngx_http_output_filter(r, out);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return NGX_ERROR;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->buffered || r->postponed || c->buffered) {

        reader->busy = 1;

        if (!c->write->delayed) {
            ngx_add_timer(c->write, clcf->send_timeout);
        }

        return ngx_handle_write_event(c->write, clcf->send_lowat) == NGX_OK
               ? NGX_AGAIN : NGX_ERROR;
    }

    reader->busy = 0;
    reader->spoke = ngx_current_msec;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_holdfast_reader_text(ngx_http_holdfast_reader_t *reader,
    u_char *text, size_t len)
{
    ngx_buf_t  *b;

    b = &reader->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->pos = text;
    b->last = text + len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = 1;
    b->flush = 1;

    reader->range = 0;
    reader->out.buf = b;
    reader->out.next = NULL;

    return ngx_http_holdfast_reader_out(reader, &reader->out);
}


/* The next events; NGX_DECLINED: there are none. */

static ngx_int_t
ngx_http_holdfast_reader_more(ngx_http_holdfast_reader_t *reader)
{
    off_t                      end;
    u_char                    *p;
    uint64_t                   next;
    ngx_buf_t                 *b;
    ngx_http_holdfast_tail_t  *tail;

    tail = reader->tail;

    if (tail->idx == NGX_INVALID_FILE && reader->next == 0) {
        return NGX_DECLINED;
    }

    if (reader->next < tail->first || reader->next > tail->count) {

        /* trimmed; or of a stream that had this name before */

        reader->next = tail->first;
        reader->place = -1;

        p = ngx_sprintf(reader->text,
                        "event: lagged\ndata: {\"first\":%uL}\n\n",
                        tail->first);

        return ngx_http_holdfast_reader_text(reader, reader->text,
                                             p - reader->text);
    }

    if (reader->next == tail->count) {
        return NGX_DECLINED;
    }

    if (reader->place == -1
        && ngx_http_holdfast_tail_start(tail, reader->next, &reader->place)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    next = reader->next;

    if (ngx_http_holdfast_tail_range(tail, &next, reader->place,
                                     NGX_HTTP_HOLDFAST_STREAM_RANGE, &end)
        != NGX_OK
        || end <= reader->place)
    {
        return NGX_ERROR;
    }

    b = &reader->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    b->in_file = 1;
    b->file = &tail->log;
    b->file_pos = reader->place;
    b->file_last = end;
    b->flush = 1;

    reader->range = 1;
    reader->start = reader->place;
    reader->place = end;
    reader->next = next;
    reader->out.buf = b;
    reader->out.next = NULL;

    return ngx_http_holdfast_reader_out(reader, &reader->out);
}


/* Sends what there is; the request may be gone afterwards. */

void
ngx_http_holdfast_reader_feed(ngx_http_holdfast_reader_t *reader)
{
    ngx_int_t  rc;

    for ( ;; ) {

        if (reader->busy) {
            return;
        }

        rc = ngx_http_holdfast_reader_more(reader);

        if (rc == NGX_ERROR) {
            ngx_http_holdfast_reader_end(reader, NGX_ERROR);
            return;
        }

        if (rc == NGX_DECLINED) {
            break;
        }
    }

    if (reader->tail->ended || reader->tail->gone || ngx_exiting
        || (ngx_msec_int_t) (ngx_current_msec - reader->until) >= 0)
    {
        ngx_http_holdfast_reader_end(reader, NGX_OK);
    }
}


void
ngx_http_holdfast_reader_end(ngx_http_holdfast_reader_t *reader,
    ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = reader->request;

    if (rc == NGX_OK) {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    ngx_http_finalize_request(r, rc);
}


void
ngx_http_holdfast_reader_write(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_event_t                 *wev;
    ngx_connection_t            *c;
    ngx_http_cleanup_t          *cln;
    ngx_http_holdfast_reader_t  *reader;

    c = r->connection;
    wev = c->write;

    for (cln = r->main->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_holdfast_stream_cleanup) {
            break;
        }
    }

    if (cln == NULL) {
        return;
    }

    reader = cln->data;

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "the reader of an event stream takes nothing");
        c->timedout = 1;
        ngx_http_holdfast_reader_end(reader, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (!reader->busy) {
        return;
    }

    if (reader->range
        && (ngx_http_holdfast_tail_look(reader->tail) != NGX_OK
            || reader->start < reader->tail->base))
    {
        /* it was trimmed under way: the client asks again, and is told */

        ngx_http_holdfast_reader_end(reader, NGX_ERROR);
        return;
    }

    rc = ngx_http_holdfast_reader_out(reader, NULL);

    if (rc == NGX_ERROR) {
        ngx_http_holdfast_reader_end(reader, NGX_ERROR);
        return;
    }

    if (rc == NGX_OK) {
        ngx_http_holdfast_reader_feed(reader);
    }
}


/* A comment, if nothing was said for long. */

ngx_int_t
ngx_http_holdfast_reader_ping(ngx_http_holdfast_reader_t *reader)
{
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(reader->request,
                                         ngx_http_holdfast_module);

    if (ngx_current_msec - reader->spoke < hmcf->stream_ping) {
        return NGX_OK;
    }

    return ngx_http_holdfast_reader_text(reader, (u_char *) ":\n\n", 3);
}
