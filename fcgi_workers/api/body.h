/*
 * body: the JSON bodies of the API, checked and normalised. Pure functions.
 *
 * One table (body_fields.c) names every field, the forms it belongs to, what
 * it may be and its name among the keeper's arguments (docs/interfaces.md,
 * 2.1). Nothing leaves here that was not checked: the keeper trusts the form.
 * On failure *e names the field and says what is allowed.
 */
#ifndef HF_API_BODY_H
#define HF_API_BODY_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/err.h"
#include "../common/settings.h"

enum body_form {
    BODY_BASE = 1,              /* POST /sandbox: unknown fields are ignored */
    BODY_V1 = 2,                /* POST /v1/sandboxes, PUT …/by-key/{key} */
    BODY_PATCH = 4              /* PATCH: null means "as if not given" */
};

/* What a field's function gets. `path` names the value in messages. */
struct body_field;

#define BODY_FIELDS_MAX 64

struct body_at {
    const struct settings   *s;
    const struct body_field *field;
    enum body_form           form;
    const char              *path;
    struct json_object      *in;        /* the whole body */
    struct json_object      *args;      /* what is being built */
};
typedef int (*body_take)(const struct body_at *at, struct json_object *v,
    struct err *e);

struct body_field {
    const char *name;
    unsigned    forms;          /* enum body_form, or-ed */
    body_take   take;
    const char *arg;            /* name among the arguments */
    const char *choices;        /* "a|b", first is the default */
    int64_t     min, max;
};

extern const struct body_field body_fields[];   /* ended by a NULL name */

/* The caller puts *args. An empty body is an empty object. */
int body_create(const char *text, size_t len, enum body_form form,
    const struct settings *s, struct json_object **args, struct err *e);
/* *args has what changes; `labels` is the patch itself, nulls included. */
int body_patch(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e);
/* {"env":{…}}, or the variables themselves. */
int body_env(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e);
/* Nothing, or {"until":unix or RFC 3339}. */
int body_keepalive(const char *text, size_t len, struct json_object **args,
    struct err *e);
/* {"port"?,"ttl_s"?,"label"?,"max_uses"?} (body_shares.c) */
int body_share(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e);
/* {"allow":["preview:3000"],"ttl_s"?} */
int body_ticket(const char *text, size_t len, struct json_object **args,
    struct err *e);
/* The object that a body is; an empty body is an empty one. */
int body_parse(const char *text, size_t len, struct json_object **in,
    struct err *e);
/* No field at all: for routes that take no body. */
int body_none(const char *text, size_t len, struct err *e);

/* "4G", "512M", "1.5g", "2147483648": MiB, rounded down; -1 if it is none. */
int64_t body_size_mb(const char *text);
/* RFC 3339 to ms, -1 if it is none. */
int64_t body_time_ms(const char *text);
/* The name in a NULL-ended list that `name` may have been meant to be. */
const char *body_meant(const char *name, const char *const *names);

/* ---- checks that several fields share (body_check.c) ---- */

int  body_bad(struct err *e, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A text of min..max bytes without NUL. */
int  body_text(struct json_object *v, const char *path, size_t min,
    size_t max, const char **out, struct err *e);
int  body_int(struct json_object *v, const char *path, int64_t min,
    int64_t max, int64_t *out, struct err *e);
int  body_choice(struct json_object *v, const char *path,
    const char *choices, const char **out, struct err *e);
int  body_only(struct json_object *v, const char *path,
    const char *const *names, struct err *e);
int  body_env_ok(struct json_object *v, const char *path, size_t max,
    struct err *e);
/* A command: an array of texts, or one text for /bin/sh -c. *out is new. */
int  body_command(struct json_object *v, const char *path,
    struct json_object **out, struct err *e);

/* Fields with a file of their own. */
int body_take_services(const struct body_at *at, struct json_object *v,
    struct err *e);
int body_take_setup(const struct body_at *at, struct json_object *v,
    struct err *e);

#endif
