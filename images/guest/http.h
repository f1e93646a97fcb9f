/*
 * http: HTTP/1.x requests, read piece by piece. Pure, fuzzed.
 *
 * Requests come from nginx, so this is strict: CRLF only, no folded lines,
 * one Content-Length or chunked but not both, everything bounded. A refusal
 * is an HTTP status, after which the connection is not used again.
 */
#ifndef GUEST_HTTP_H
#define GUEST_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

enum http_route { HTTP_NOWHERE, HTTP_EXEC_BASE, HTTP_EXEC_V1 };

struct http_head {              /* holds no pointer into the text */
    enum http_route route;
    bool     v1;                /* errors in the form of /v1 */
    bool     post, http10, keepalive, event_stream, chunked, has_length;
    uint64_t length;
    char     request_id[65];    /* "" if none, or not of our form */
};

/* The request head at the start of the text: bytes it takes, 0 when more is
 * needed, or -status. `*scanned` is 0 at first and then kept between calls
 * on the same, growing text. */
int http_head(const char *text, size_t n, size_t *scanned,
    struct http_head *head);

enum http_chunk {
    HTTP_SIZE, HTTP_DATA, HTTP_DATA_CR, HTTP_DATA_LF, HTTP_TRAILER, HTTP_DONE
};

struct http_body {
    bool            chunked;
    enum http_chunk state;
    uint64_t        left;       /* of the body, or of this chunk */
    size_t          trailers;
    char            line[HTTP_CHUNK_LINE];
    size_t          nline;
};

void http_body_init(struct http_body *b, const struct http_head *head);

/* Takes from the text what belongs to the body. Sets how many bytes were
 * taken, and which of them (one run) are content. 0: go on, 1: the body has
 * ended, or -status. Call it until nothing is taken or it has ended. */
int http_body(struct http_body *b, const char *text, size_t n, size_t *taken,
    const char **content, size_t *ncontent);

const char *http_reason(int status);

#endif
