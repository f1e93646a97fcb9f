/*
 * ops_client: a worker's line to the keeper (docs/interfaces.md, 2).
 *
 * One connection per worker, made when first needed and kept. Requests and
 * replies strictly alternate; a connection on which a reply is overdue is
 * closed, for the reply of one request must never be taken for another's.
 */
#ifndef HF_API_OPS_CLIENT_H
#define HF_API_OPS_CLIENT_H

#include <json-c/json.h>
#include <stddef.h>

#include "../common/err.h"

#define OPS_DEADLINE_MS 1000
#define OPS_REPLY_MAX   (4 * 1024 * 1024)

struct ops_client {
    char path[108];
    int  fd;                    /* -1: not connected */
};

void ops_client_init(struct ops_client *c, const char *path);
void ops_client_fini(struct ops_client *c);

/* Sends a request and waits for its reply: an object in *out that the caller
 * puts. -1: "unavailable", the keeper is away or too busy. What was asked for
 * may then have begun all the same: an Idempotency-Key tells. */
int  ops_client_ask(struct ops_client *c, const char *text, size_t len,
    struct json_object **out, struct err *e);

#endif
