/*
 * engine_answer: reading what Docker says. Every text of it is bounded before
 * it is copied, every number is looked at where it is used; depth and size of
 * the JSON are limited.
 */
#include <stdio.h>
#include <string.h>

#include "engine_docker.h"

#define JSON_DEPTH 32

struct json_object *engine_parse(const char *text, size_t len)
{
    struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH);
    struct json_object  *o = NULL;

    if (t == NULL || len > INT32_MAX)
        goto out;
    o = json_tokener_parse_ex(t, text, (int)len);
    if (json_tokener_get_error(t) != json_tokener_success) {
        json_object_put(o);
        o = NULL;
    }
out:
    if (t != NULL)
        json_tokener_free(t);
    return o;
}

struct json_object *engine_json(const struct dk_answer *a, json_type type,
    const char *doing,
    struct err *e)
{
    struct json_object *o = engine_parse(a->body, a->len);

    if (o != NULL && json_object_is_type(o, type))
        return o;
    json_object_put(o);
    err_set(e, "internal", "the engine's answer makes no sense: cannot %s",
        doing);
    return NULL;
}

struct json_object *engine_get(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;

    if (o == NULL || !json_object_is_type(o, json_type_object)
        || !json_object_object_get_ex(o, name, &v))
        return NULL;
    return v;
}

const char *engine_str(struct json_object *o, const char *name)
{
    struct json_object *v = engine_get(o, name);

    return v != NULL && json_object_is_type(v, json_type_string)
        ? json_object_get_string(v) : "";
}

int64_t engine_int(struct json_object *o, const char *name)
{
    struct json_object *v = engine_get(o, name);

    return v != NULL ? json_object_get_int64(v) : 0;
}

/* Clients see errors, and our folders are none of their business. */
static void hide(char *text, const char *path)
{
    size_t len = path != NULL ? strlen(path) : 0;
    char  *p = text;

    while (len > 1 && (p = strstr(p, path)) != NULL) {
        memmove(p + 3, p + len, strlen(p + len) + 1);
        memcpy(p, "...", 3);
        p += 3;
    }
}

static void copy_message(const struct engine *en, const struct dk_answer *a,
    char *out,
    size_t size)
{
    struct json_object *o = engine_parse(a->body, a->len);
    char                text[2048];

    snprintf(text, sizeof(text), "%s", engine_str(o, "message"));
    json_object_put(o);
    for (char *p = text; *p != 0; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = ' ';
    hide(text, en->s->data_dir);
    hide(text, en->s->run_dir);
    hide(text, en->s->lib_dir);
    hide(text, en->caps.root_dir);
    snprintf(out, size, "%.*s", (int)size - 1, text);
}

void engine_refusal(const struct engine *en, const struct dk_answer *a,
    const char *code, const char *doing, struct err *e)
{
    char said[200];

    if (!a->transport) {
        *e = a->error;
        return;
    }
    copy_message(en, a, said, sizeof(said));
    if (a->status == 404)
        code = "not_found";
    else if (a->status == 409)
        code = "conflict";
    err_set(e, code, "cannot %s: %s", doing,
        said[0] != 0 ? said : "the engine gives no reason");
}

/* ---- states ------------------------------------------------------------- */

bool engine_owns(const struct engine *en, struct json_object *labels)
{
    return strcmp(engine_str(labels, LABEL_MANAGED), "true") == 0
        && strcmp(engine_str(labels, LABEL_STACK), en->stack) == 0;
}

static int copy(char *out, size_t size, const char *in)
{
    size_t len = strlen(in);

    if (len >= size)
        return -1;
    memcpy(out, in, len + 1);
    return 0;
}

int engine_fill_state(const struct engine *en, struct json_object *labels,
    const char *ref, const char *status, struct engine_state *st)
{
    memset(st, 0, sizeof(*st));
    if (!engine_owns(en, labels)
        || copy(st->id, sizeof(st->id), engine_str(labels, LABEL_ID)) != 0
        || copy(st->spec_hash, sizeof(st->spec_hash),
            engine_str(labels, LABEL_SPEC)) != 0
        || copy(st->ref, sizeof(st->ref), ref) != 0
        || copy(st->status, sizeof(st->status), status) != 0)
        return -1;
    return st->id[0] != 0 && st->ref[0] != 0 ? 0 : -1;
}

int engine_read_state(const struct engine *en, struct json_object *o,
    struct engine_state *st)
{
    struct json_object *state = engine_get(o, "State");

    if (engine_fill_state(en, engine_get(engine_get(o, "Config"), "Labels"),
        engine_str(o, "Id"), engine_str(state, "Status"), st) != 0)
        return -1;
    st->pid = (int32_t)engine_int(state, "Pid");
    st->exit_code = (int)engine_int(state, "ExitCode");
    st->oom = json_object_get_boolean(engine_get(state, "OOMKilled"));
    return 0;
}
