/*
 * request: one request as the workers see it, and the answer being built.
 *
 * Made from the FastCGI parameters; knows no socket: reading the body and
 * writing the answer go through two functions that the caller gives, so that
 * everything behind it can be tested without nginx. What HOLDFAST_* says was
 * decided by the gate and is trusted; everything else is hostile.
 */
#ifndef HF_API_REQUEST_H
#define HF_API_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/buf.h"
#include "../common/err.h"
#include "../common/ids.h"

#define REQUEST_PATH_MAX     2048
#define REQUEST_SEGMENTS_MAX 12
#define REQUEST_QUERY_MAX    8192
#define REQUEST_ITEMS_MAX    64
#define REQUEST_IDEM_MAX     200

enum scope { SCOPE_NONE, SCOPE_RO, SCOPE_IDS, SCOPE_RW, SCOPE_ADMIN };

struct query_item {
    const char *name, *value;   /* decoded, in the query's own buffer */
};

struct query {
    char              bytes[REQUEST_QUERY_MAX];
    struct query_item items[REQUEST_ITEMS_MAX];
    int               n;
};

struct path {
    char        bytes[REQUEST_PATH_MAX];
    const char *segments[REQUEST_SEGMENTS_MAX];     /* decoded */
    int         n;
};

struct request {
    /* as it came in; borrowed from the parameters */
    const char  *method, *query_text, *content_type, *content_encoding;
    const char  *remote, *tenant, *actor, *ids, *prefer, *if_match;
    const char  *idem_key, *last_event_id;
    enum scope   scope;
    bool         v1;            /* shape of errors: path begins with /v1 */
    bool         head;          /* HEAD: as GET, without the body */
    bool         respond_async;
    bool         own_listener;  /* the gate sent no tenant */
    int64_t      op;            /* HOLDFAST_OP, 0: none */
    int64_t      content_length;        /* -1: not told */
    bool         chunked;
    char         request_id[65];
    struct path  path;
    struct query query;
    char         id[ID_MAX + 1];        /* {id} of the route, folded */
    const char  *name;                  /* {key}, {user}, {number} … */
    struct buf   body;

    /* the answer */
    int          status;
    const char  *type;          /* Content-Type of out */
    struct buf   headers;       /* "Name: value\r\n" lines */
    struct buf   out;
    bool         sent;          /* head is out: body is being streamed */
    bool         redirected;    /* nginx is told to go elsewhere */

    /* where bytes come from and go to */
    int        (*read)(void *io, char *data, int len);
    int        (*write)(void *io, const char *data, int len);
    void        *io;
};

/* Parameters are NAME=value strings ended by NULL. 0, or -1 with *e: the
 * request is then good enough to be answered with that error. */
int  request_init(struct request *r, char *const *params, size_t out_max,
    struct err *e);
void request_fini(struct request *r);

/* Reads the body into r->body: Content-Type, length and limit checked. */
int  request_body(struct request *r, size_t max, struct err *e);

/* Pure. Segments of a path as the client wrote it, up to '?'. Percent-encoded
 * separators, dot segments and bytes outside UTF-8 are refused. */
int  path_parse(struct path *p, const char *text, struct err *e);
/* Pure. Items of a query string, '+' is a space. */
int  query_parse(struct query *q, const char *text, struct err *e);
/* The value of the first item called `name`, or NULL. */
const char *query_get(const struct query *q, const char *name);
/* 400 when an item is not in the list of names (`label.` allows a prefix) or
 * is there twice. */
int  query_only(const struct query *q, const char *const *names,
    struct err *e);
/* A number or `none`, when it is not there. */
int  query_number(const struct query *q, const char *name, int64_t min,
    int64_t max, int64_t none, int64_t *out, struct err *e);
int  query_flag(const struct query *q, const char *name, bool *out,
    struct err *e);

/* Is the sandbox among those that the token may touch? */
bool request_may(const struct request *r, const char *id);

/* ---- answers ---- */

/* `value` must have no line end in it: it is checked. */
void answer_header(struct request *r, const char *name, const char *value);
void answer_json(struct request *r, int status);        /* r->out is JSON */
void answer_text(struct request *r, int status, const char *text);
void answer_error(struct request *r, const struct err *e);
/* Sends the head (once), then what is in r->out; with `end` all of it. */
int  answer_flush(struct request *r, bool end);
/* The word for a status: 201 is "Created". */
const char *answer_reason(int status);

#endif
