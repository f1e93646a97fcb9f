/*
 * router: the one table of routes, and what is the same for all of them.
 *
 * A row says method, path, who may, and which function answers. 404, 405 with
 * `Allow`, OPTIONS, scopes and ids are decided here from the table alone;
 * docs/openapi.yaml is compared with it by a test.
 */
#ifndef HF_API_ROUTER_H
#define HF_API_ROUTER_H

#include <stdio.h>

#include "../common/settings.h"
#include "counters.h"
#include "ops_client.h"
#include "request.h"
#include "reader.h"

struct api {                    /* one per worker process */
    const struct settings *s;
    struct reader          reader;
    struct ops_client      ops;
    struct counters       *counters;    /* shared by all workers */
    char                   node[64];    /* admin.c: read once */
};

enum need {                     /* what a token must be able to do */
    NEED_NOTHING,               /* no token: health */
    NEED_READ,
    NEED_WRITE,                 /* rw, admin, and ids for their sandboxes */
    NEED_CREATE,                /* rw, admin */
    NEED_ADMIN
};

#define ROUTE_IDEM 1            /* takes an Idempotency-Key */
#define ROUTE_BODY 2            /* reads a body; else it is not looked at */

struct route;
/* 0 when it has answered, -1 with *e. */
typedef int (*route_fn)(struct api *a, struct request *r,
    const struct route *route, struct err *e);

struct route {
    const char *method, *path;
    route_fn    answer;
    enum need   need;
    unsigned    flags;
    const char *detail;         /* kind of operation, or a hint with 501 */
};

extern const struct route routes[];     /* ended by a NULL method */

/* Pure. The row for a method and a path: 0, or -1 with "not_found" or
 * "method_not_allowed" and then `allow` filled. {…} segments are pointed to
 * by *id and *name (NULL: none). */
int  route_find(const char *method, const struct path *p,
    const struct route **out, const char **id, const char **name,
    struct buf *allow, struct err *e);

/* Answers one request, whatever it is; r->out may be left to be flushed. */
void route_request(struct api *a, struct request *r, const struct err *bad);

/* One line per row: method, path, need, 501 or not. For tests and people. */
void routes_print(FILE *out);

/* ---- the functions of the table ---- */
int  api_create(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_by_key(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_get(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_patch(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_env(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_keepalive(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_lease(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_unlease(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_delete_v1(struct api *a, struct request *r,
    const struct route *route, struct err *e);
/* An operation or question about one sandbox without arguments. */
int  api_op(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_purge_external(struct api *a, struct request *r,
    const struct route *route, struct err *e);

int  api_share(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_shares(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_unshare(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_ticket(struct api *a, struct request *r,
    const struct route *route, struct err *e);

int  api_list(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_audit(struct api *a, struct request *r,
    const struct route *route, struct err *e);

int  api_operation(struct api *a, struct request *r,
    const struct route *route, struct err *e);
/* The second request of an operation that the gate held. */
int  operations_answer(struct api *a, struct request *r, struct err *e);

int  api_healthz(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_readyz(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_metrics(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_info(struct api *a, struct request *r,
    const struct route *route, struct err *e);
int  api_later(struct api *a, struct request *r,
    const struct route *route, struct err *e);

#endif
