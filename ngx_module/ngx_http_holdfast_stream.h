
/*
 * One client of an event stream, between what opens streams (_stream) and what
 * sends them (_reader).
 */


#ifndef _NGX_HTTP_HOLDFAST_STREAM_H_INCLUDED_
#define _NGX_HTTP_HOLDFAST_STREAM_H_INCLUDED_


typedef struct {
    ngx_rbtree_node_t            node;          /* key: tag of the tenant */
    ngx_uint_t                   n;
} ngx_http_holdfast_readers_t;


typedef struct {
    ngx_queue_t                  queue;         /* of its tail */
    ngx_http_request_t          *request;
    ngx_http_holdfast_tail_t    *tail;
    ngx_http_holdfast_readers_t *readers;       /* of its tenant */
    uint64_t                     next;          /* event to be sent */
    off_t                        start;         /* of what is on its way */
    off_t                        place;         /* of next; -1: not known */
    ngx_msec_t                   until;
    ngx_msec_t                   spoke;
    ngx_buf_t                    buf;
    ngx_chain_t                  out;
    u_char                       text[64];
    unsigned                     busy:1;        /* buf is not sent yet */
    unsigned                     range:1;       /* buf is of the file */
} ngx_http_holdfast_reader_t;


/* _stream: the handler of a reader's cleanup, by which it is found */
void ngx_http_holdfast_stream_cleanup(void *data);

/* _reader */
ngx_int_t ngx_http_holdfast_reader_text(ngx_http_holdfast_reader_t *reader,
    u_char *text, size_t len);
ngx_int_t ngx_http_holdfast_reader_ping(ngx_http_holdfast_reader_t *reader);
void ngx_http_holdfast_reader_feed(ngx_http_holdfast_reader_t *reader);
void ngx_http_holdfast_reader_end(ngx_http_holdfast_reader_t *reader,
    ngx_int_t rc);
void ngx_http_holdfast_reader_write(ngx_http_request_t *r);


#endif /* _NGX_HTTP_HOLDFAST_STREAM_H_INCLUDED_ */
