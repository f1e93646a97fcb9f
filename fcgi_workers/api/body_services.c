/*
 * body_services: the fields `services` and `setup` of a create (body.h).
 */
#include <stdio.h>
#include <string.h>

#include "body.h"

#define SERVICES_MAX     16     /* GUEST_SERVICES_MAX */
#define SERVICE_NAME_MAX 32
#define PATH_TEXT_MAX    4096
#define SETUP_TIMEOUT_S  1800

static const char *const service_names[] = {
    "name", "cmd", "cwd", "env", "port", "restart", NULL
};
static const char *const setup_names[] = { "cmd", "timeout_s", NULL };

static int service_name(struct json_object *v, const char *path,
    const char **out, struct err *e)
{
    if (body_text(v, path, 1, SERVICE_NAME_MAX, out, e) == -1)
        return -1;
    if (strspn(*out, "abcdefghijklmnopqrstuvwxyz0123456789-_")
        != strlen(*out))
        return body_bad(e, path, "must be 1 to %d of a-z, 0-9, '-', '_'",
            SERVICE_NAME_MAX);
    return 0;
}

static int service_options(struct json_object *in, struct json_object *out,
    const char *path, size_t env_max, struct err *e)
{
    struct json_object *v;
    const char         *text = "on-failure";
    int64_t             port;
    char                field[64];

    if (json_object_object_get_ex(in, "cwd", &v) && v != NULL) {
        snprintf(field, sizeof(field), "%s.cwd", path);
        if (body_text(v, field, 1, PATH_TEXT_MAX, &text, e) == -1)
            return -1;
        json_object_object_add(out, "cwd", json_object_get(v));
        text = "on-failure";
    }
    if (json_object_object_get_ex(in, "env", &v) && v != NULL) {
        snprintf(field, sizeof(field), "%s.env", path);
        if (body_env_ok(v, field, env_max, e) == -1)
            return -1;
        json_object_object_add(out, "env", json_object_get(v));
    }
    if (json_object_object_get_ex(in, "port", &v) && v != NULL) {
        snprintf(field, sizeof(field), "%s.port", path);
        if (body_int(v, field, 1024, 65535, &port, e) == -1)
            return -1;
        json_object_object_add(out, "port", json_object_get(v));
    }
    if (json_object_object_get_ex(in, "restart", &v) && v != NULL) {
        snprintf(field, sizeof(field), "%s.restart", path);
        if (body_choice(v, field, "no|on-failure|always", &text, e) == -1)
            return -1;
    }
    json_object_object_add(out, "restart", json_object_new_string(text));
    return 0;
}

static int service_one(struct json_object *in, struct json_object *all,
    size_t index, size_t env_max, struct err *e)
{
    struct json_object *out = NULL, *v, *cmd, *other;
    const char         *name;
    char                path[32], field[64];
    size_t              i;

    snprintf(path, sizeof(path), "services[%zu]", index);
    if (body_only(in, path, service_names, e) == -1)
        return -1;
    snprintf(field, sizeof(field), "%s.name", path);
    if (service_name(json_object_object_get(in, "name"), field, &name, e)
        == -1)
        return -1;
    for (i = 0; i < index; i++) {
        other = json_object_object_get(json_object_array_get_idx(all, i),
            "name");
        if (strcmp(json_object_get_string(other), name) == 0)
            return body_bad(e, field, "\"%s\" is there twice", name);
    }
    snprintf(field, sizeof(field), "%s.cmd", path);
    v = json_object_object_get(in, "cmd");
    if (v == NULL)
        return body_bad(e, field, "is missing");
    if (body_command(v, field, &cmd, e) == -1)
        return -1;

    out = json_object_new_object();
    json_object_object_add(out, "name", json_object_new_string(name));
    json_object_object_add(out, "cmd", cmd);
    if (service_options(in, out, path, env_max, e) == -1) {
        json_object_put(out);
        return -1;
    }
    json_object_array_add(all, out);
    return 0;
}

int body_take_services(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *all;
    size_t              i, n;

    if (!json_object_is_type(v, json_type_array))
        return body_bad(e, at->path, "must be an array");
    n = json_object_array_length(v);
    if (n > SERVICES_MAX)
        return body_bad(e, at->path, "must have at most %d services",
            SERVICES_MAX);
    all = json_object_new_array();
    for (i = 0; i < n; i++) {
        if (service_one(json_object_array_get_idx(v, i), all, i,
                (size_t) at->s->env_max_kb * 1024, e) == -1) {
            json_object_put(all);
            return -1;
        }
    }
    json_object_object_add(at->args, at->field->arg, all);
    return 0;
}

int body_take_setup(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *out, *cmd, *t;
    int64_t             timeout_s = SETUP_TIMEOUT_S;

    if (body_only(v, at->path, setup_names, e) == -1)
        return -1;
    cmd = json_object_object_get(v, "cmd");
    if (cmd == NULL)
        return body_bad(e, "setup.cmd", "is missing");
    t = json_object_object_get(v, "timeout_s");
    if (t != NULL
        && body_int(t, "setup.timeout_s", 1, 86400, &timeout_s, e) == -1)
        return -1;
    if (body_command(cmd, "setup.cmd", &cmd, e) == -1)
        return -1;
    out = json_object_new_object();
    json_object_object_add(out, "cmd", cmd);
    json_object_object_add(out, "timeout_s",
        json_object_new_int64(timeout_s));
    json_object_object_add(at->args, at->field->arg, out);
    return 0;
}
