/*
 * server: HTTP connections on the abstract socket `holdfast`.
 *
 * One request at a time per connection; the next is not read before the
 * answer is out. While a request is being answered its owner is told when
 * there is room for more bytes, or that the client is gone. After conn_end or
 * `gone` the owner must not touch the connection again.
 */
#ifndef GUEST_SERVER_H
#define GUEST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "http.h"
#include "request.h"

struct conn;

struct conn_owner {
    void (*room)(void *arg);
    void (*gone)(void *arg);
};

void server_start(int listener);
bool server_busy(void);         /* an answer is not out yet */

const struct http_head *conn_head(const struct conn *c);
/* The body is the caller's from here on. */
void conn_take_body(struct conn *c, struct bytes *body);
void conn_own(struct conn *c, const struct conn_owner *owner, void *arg);

void conn_refuse(struct conn *c, const struct refusal *why);
/* Begins an answer; length -1: not known (chunked, or until close). */
void conn_begin(struct conn *c, const char *type, int64_t length);
void conn_send(struct conn *c, const char *data, size_t n);
void conn_end(struct conn *c);
size_t conn_unsent(const struct conn *c);

#endif
