/*
 * engine_docker: what the files of Docker's engine share. Nobody else includes
 * this: the keeper speaks engine.h.
 *
 *   engine_docker_http.c   calls over the unix socket
 *   engine_docker.c        life, caps, and the calls about one container
 *   engine_answer.c        reading answers
 *   engine_caps.c          what the engine is; limits and measures
 *   engine_create.c        create, and the tidying after one that was too late
 *   engine_image.c         images: look, pull, read passwd and group
 *   engine_events.c        the event stream, and whether the engine is there
 *   engine_spec.c          the isolation record as JSON
 *   engine_tar.c           one file out of a tar
 */
#ifndef HF_ENGINE_DOCKER_H
#define HF_ENGINE_DOCKER_H

#include <json-c/json.h>

#include "../common/buf.h"
#include "engine.h"
#include "engine_docker_http.h"

#define LABEL_MANAGED "holdfast.managed"
#define LABEL_STACK   "holdfast.stack"
#define LABEL_ID      "holdfast.id"
#define LABEL_SPEC    "holdfast.spec"
#define LABEL_MARK    "holdfast.mark"
#define LABEL_PROBE   "holdfast.probe"  /* made to read an image, never run */

#define DK_SMALL  (1024 * 1024)         /* answers about one thing */
#define DK_LARGE  (64 * 1024 * 1024)    /* lists */
#define DK_CALL_MS 30000                /* calls that do nothing slow */

struct events;
struct pulls;

struct engine {
    struct loop           *loop;
    const struct settings *s;
    struct dk_http        *http;
    engine_news            news;
    void                  *news_arg;
    struct engine_caps     caps;
    const char            *stack;       /* label value, never empty */
    char                   name[8];     /* "hf-": containers' names begin so */
    struct events         *events;
    struct pulls          *pulls;
    struct engine_op      *ops;         /* all that are under way */
};

/* One call of engine.h on its way; every kind of it begins so. */
struct engine_op {
    struct engine    *en;
    struct engine_op *next, **at;
    engine_done       done;
    void             *arg;
    const char       *doing;            /* "start the sandbox" */
    char              ref[80];
    int               tries;
    int               timeout_s;
    struct err        error;
    struct timer      timer;            /* to look again */
    void            (*fini)(struct engine_op *op);  /* of a larger kind */
};

/* size: of the kind; ref may be NULL. Never NULL. */
struct engine_op *engine_op_new(struct engine *en, size_t size,
    const char *doing, const char *ref, engine_done done, void *arg);
/* Tells (error first, if there is one) and frees. `done` NULL: just frees. */
void engine_op_end(struct engine_op *op, const struct err *e,
    const struct engine_result *r);
void engine_op_free(struct engine_op *op);

/* A call with the usual limits; `path` is without the version. */
struct dk_call *engine_call(struct engine *en, const char *method,
    const char *path, const char *body, const char *doing, long deadline_ms,
    dk_done done, void *arg);
/* With everything as in `r`, whose path is versioned. */
struct dk_call *engine_call_with(struct engine *en,
    const struct dk_request *r);

/* What the engine said went wrong, as a sentence and the right code. Always
 * fills *e. */
void engine_refusal(const struct engine *en, const struct dk_answer *a,
    const char *code, const char *doing, struct err *e);
/* The document, or NULL with *e. The caller puts it. */
struct json_object *engine_json(const struct dk_answer *a, json_type type,
    const char *doing, struct err *e);
struct json_object *engine_parse(const char *text, size_t len);
/* "" when it is missing or no text; borrowed. */
const char *engine_str(struct json_object *o, const char *name);
int64_t engine_int(struct json_object *o, const char *name);
struct json_object *engine_get(struct json_object *o, const char *name);
/* A container's labels say that it is ours. */
bool engine_owns(const struct engine *en, struct json_object *labels);
/* Labels, id and status into *st. -1 when it is not ours. */
int engine_fill_state(const struct engine *en, struct json_object *labels,
    const char *ref, const char *status, struct engine_state *st);
/* The same from the answer of an inspect, and the rest. */
int engine_read_state(const struct engine *en, struct json_object *o,
    struct engine_state *st);
/* "filters={…}" of a query: containers with our labels, `more` (JSON members
 * that end in a comma, or "") before them. */
void engine_filter(const struct engine *en, const char *more,
    const char *label, struct buf *out);
/* Adds text with everything but [A-Za-z0-9._~-] as %XX. */
void engine_escape(struct buf *out, const char *text);
bool engine_ref_ok(const char *ref);

/* What the host has; before the engine told us, what we see of it. */
int64_t engine_cpus_milli(const struct engine *en);

/* GET /_ping, then /info: fills en->caps, or *e of the answer. */
void engine_probe(struct engine *en, engine_done done, void *arg);

struct events *events_new(struct engine *en);
void events_free(struct events *ev);

void pulls_free(struct engine *en);
/* Containers that an earlier process made to read images. */
void texts_sweep(struct engine *en);

#endif
