/*
 * engine_docker_http: HTTP calls to Docker's unix socket, side by side.
 *
 * libcurl's multi interface on our loop: connections are kept and used again,
 * every call has a deadline and a ceiling for its answer. The completion comes
 * from the loop, exactly once per call, never from within dk_call, and not at
 * all after dk_http_free.
 */
#ifndef HF_ENGINE_DOCKER_HTTP_H
#define HF_ENGINE_DOCKER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "../common/err.h"
#include "../common/loop.h"

struct dk_http;

struct dk_answer {
    bool        transport;      /* false: no answer, see `error` */
    struct err  error;          /* "engine_unavailable", "timeout", … */
    int         status;         /* HTTP */
    const char *body;           /* NUL-terminated, "" when streamed */
    size_t      len;
    char        api[16];        /* header Api-Version, or "" */
};

typedef void (*dk_done)(void *arg, const struct dk_answer *a);

struct dk_request {
    const char *method;         /* GET POST DELETE */
    const char *path;           /* from the first slash, with the query */
    const char *body;           /* JSON text or NULL; copied */
    const char *doing;          /* "start the container": for errors; static */
    long        deadline_ms;    /* 0: none (streams only) */
    long        stall_s;        /* give up when nothing came for so long; 0 */
    size_t      max;            /* ceiling of the answer */
    /* Streams: `begun` when a 200 has begun, `bytes` for each piece of it
     * (false ends the call); neither may cancel it. An answer that is no 200
     * is collected as usual. */
    void      (*begun)(void *arg);
    bool      (*bytes)(void *arg, const char *data, size_t len);
    dk_done     done;
    void       *arg;
};

struct dk_call;                 /* valid until its completion */

struct dk_http *dk_http_new(struct loop *l, const char *socket);
void dk_http_free(struct dk_http *h);

/* Never fails: what goes wrong at once is told by the completion, too. It is
 * sent in the next turn of the loop. */
struct dk_call *dk_call(struct dk_http *h, const struct dk_request *r);
/* No completion will come. Not from within one of its own callbacks. */
void dk_cancel(struct dk_call *c);

#endif
