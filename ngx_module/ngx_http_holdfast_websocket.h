
/*
 * Where a WebSocket's frames begin and end (RFC 6455), in one direction.
 *
 * Looks at nothing but headers: what is in a frame, and whether it makes
 * sense, is between the two ends.  Pure, and free of nginx: whoever sends is
 * hostile.
 */


#ifndef _NGX_HTTP_HOLDFAST_FRAMES_H_INCLUDED_
#define _NGX_HTTP_HOLDFAST_FRAMES_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    uint64_t       left;            /* of the payload */
    unsigned char  head[14];
    unsigned       nhead;           /* of a header that is not whole */
    unsigned       ended;           /* a close frame went by */
} ngx_http_holdfast_websocket_t;


void ngx_http_holdfast_websocket_read(ngx_http_holdfast_websocket_t *frames,
    const unsigned char *p, size_t n);

/* 1: all that was read ends with a frame, and another may follow. */
int ngx_http_holdfast_websocket_between(
    const ngx_http_holdfast_websocket_t *frames);


#endif /* _NGX_HTTP_HOLDFAST_FRAMES_H_INCLUDED_ */
