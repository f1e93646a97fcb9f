/*
 * operations: asking the keeper, and writing what it says.
 */
#ifndef HF_API_OPERATIONS_H
#define HF_API_OPERATIONS_H

#include <json-c/json.h>

#include "router.h"

struct operation {
    const char         *kind;
    const char         *sandbox;        /* or NULL */
    struct json_object *args;           /* or NULL; borrowed */
    bool                idem;           /* take the Idempotency-Key */
};

/* The keeper's reply, which the caller puts. -1 with *e: it is away. */
int operations_ask(struct api *a, struct request *r,
    const struct operation *o, struct json_object **reply, struct err *e);
/* Turns a reply into the answer. -1 with *e: the reply is an error. */
int operations_reply(struct api *a, struct request *r,
    struct json_object *reply, struct err *e);
/* Both. */
int operations_run(struct api *a, struct request *r,
    const struct operation *o, struct err *e);

#endif
