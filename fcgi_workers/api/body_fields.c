/*
 * body_fields: the table of fields, and what each may be (body.h).
 */
#include <stdio.h>
#include <string.h>

#include "../common/ids.h"
#include "body.h"
#include "image_name.h"

#define BODY_LABELS_MAX  64
#define BODY_LABEL_MAX   63
#define BODY_PORTS_MAX   16     /* LINE_PORTS_MAX: the gate's list */
#define BODY_URL_MAX     2048
#define BODY_YEAR_S      31536000

static const char *const external_names[] = {
    "user_id", "project_id", "workspace_id", NULL
};
static const char *const project_names[] = { "id", "user_id", NULL };

static int take_id(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;
    char        id[ID_MAX + 1];

    if (!json_object_is_type(v, json_type_string))
        return body_bad(e, at->path, "must be a text");
    text = json_object_get_string(v);
    if (ids_fold(text, (size_t) json_object_get_string_len(v), id) == -1)
        return body_bad(e, at->path, "must be 1 to %d of a-z and 0-9",
            ID_MAX);
    json_object_object_add(at->args, at->field->arg,
        json_object_new_string(id));
    return 0;
}

static int take_key(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;

    if (body_text(v, at->path, 1, KEY_MAX, &text, e) == -1)
        return -1;
    if (!ids_key_ok(text, strlen(text)))
        return body_bad(e, at->path,
            "must be 1 to %d bytes without control characters", KEY_MAX);
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_int(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    int64_t n;

    if (body_int(v, at->path, at->field->min, at->field->max, &n, e) == -1)
        return -1;
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_choice(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;

    if (body_choice(v, at->path, at->field->choices, &text, e) == -1)
        return -1;
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_cpus(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    double n;

    if (!json_object_is_type(v, json_type_int)
        && !json_object_is_type(v, json_type_double))
        return body_bad(e, at->path, "must be a number");
    n = json_object_get_double(v);
    if (!(n >= 0.1 && n <= 1024))
        return body_bad(e, at->path, "must be from 0.1 to 1024");
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_memory(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *other;
    int64_t             mb;

    if (strcmp(at->field->name, "memory_mb") == 0) {
        if (body_int(v, at->path, 64, at->s->memory_max, &mb, e) == -1)
            return -1;
    } else {
        if (json_object_object_get_ex(at->in, "memory_mb", &other)
            && other != NULL)
            return body_bad(e, at->path,
                "and memory_mb must not be given both");
        mb = json_object_is_type(v, json_type_int)
            ? json_object_get_int64(v) / (1024 * 1024)
            : json_object_is_type(v, json_type_string)
            ? body_size_mb(json_object_get_string(v)) : -1;
        if (mb < 64 || mb > at->s->memory_max)
            return body_bad(e, at->path, "must be a size from \"64M\" to "
                "\"%lldM\"", (long long) at->s->memory_max);
    }
    json_object_object_add(at->args, at->field->arg,
        json_object_new_int64(mb));
    return 0;
}

/* Duplicates are folded, the order stays. */
static int take_ports(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *out;
    char                path[32];
    int64_t             port;
    size_t              i, j, n;

    if (!json_object_is_type(v, json_type_array))
        return body_bad(e, at->path, "must be an array of port numbers");
    out = json_object_new_array();
    n = json_object_array_length(v);
    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "ports[%zu]", i);
        if (body_int(json_object_array_get_idx(v, i), path, 1024, 65535,
                &port, e) == -1)
            goto failed;
        if (port == 49983 || port == 49999) {
            body_bad(e, path, "must not be 49983 or 49999: reserved");
            goto failed;
        }
        for (j = 0; j < json_object_array_length(out); j++) {
            if (json_object_get_int64(json_object_array_get_idx(out, j))
                == port)
                break;
        }
        if (j < json_object_array_length(out))
            continue;
        if (j == BODY_PORTS_MAX) {
            body_bad(e, at->path, "must have at most %d ports",
                BODY_PORTS_MAX);
            goto failed;
        }
        json_object_array_add(out, json_object_new_int64(port));
    }
    json_object_object_add(at->args, at->field->arg, out);
    return 0;

failed:
    json_object_put(out);
    return -1;
}

static int take_env(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    if (body_env_ok(v, at->path, (size_t) at->s->env_max_kb * 1024, e) == -1)
        return -1;
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int label_name_ok(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && len <= BODY_LABEL_MAX && strspn(s, "ABCDEFGHIJKLMNOPQR"
        "STUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./") == len;
}

static int take_labels(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;
    char        path[96];

    if (!json_object_is_type(v, json_type_object))
        return body_bad(e, at->path, "must be an object of names and texts");
    if (json_object_object_length(v) > BODY_LABELS_MAX)
        return body_bad(e, at->path, "must have at most %d labels",
            BODY_LABELS_MAX);
    json_object_object_foreach(v, name, child) {
        if (!label_name_ok(name))
            return body_bad(e, at->path, "has the name \"%.40s\": a name is "
                "1 to %d of letters, digits and \"-_./\"", name,
                BODY_LABEL_MAX);
        if (child == NULL && at->form == BODY_PATCH)
            continue;
        snprintf(path, sizeof(path), "labels.%s", name);
        if (body_text(child, path, 0, 256, &text, e) == -1)
            return -1;
    }
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

/* An object of keys: `external`, `project`. */
static int take_names(const struct body_at *at, struct json_object *v,
    const char *const *names, struct err *e)
{
    struct json_object *out, *child;
    const char         *text;
    char                path[64];
    int                 i;

    if (!json_object_is_type(v, json_type_object))
        return body_bad(e, at->path, "must be an object");
    if (at->form != BODY_BASE && body_only(v, at->path, names, e) == -1)
        return -1;
    out = json_object_new_object();
    json_object_object_add(at->args, at->field->arg, out);
    for (i = 0; names[i] != NULL; i++) {
        child = json_object_object_get(v, names[i]);
        snprintf(path, sizeof(path), "%s.%s", at->path, names[i]);
        if (child == NULL)
            continue;
        if (body_text(child, path, 0, KEY_MAX, &text, e) == -1)
            return -1;
        if (text[0] == '\0')
            continue;
        if (!ids_key_ok(text, strlen(text)))
            return body_bad(e, path, "must have no control characters");
        json_object_object_add(out, names[i], json_object_get(child));
    }
    return 0;
}

static int take_external(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    return take_names(at, v, external_names, e);
}

static int take_project(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *out;

    if (take_names(at, v, project_names, e) == -1)
        return -1;
    out = json_object_object_get(at->args, at->field->arg);
    if (json_object_object_get(out, "id") == NULL)
        return body_bad(e, "project.id", "is missing");
    if (json_object_object_get(out, "user_id") == NULL)
        json_object_object_add(out, "user_id", json_object_new_string(""));
    json_object_object_add(at->args, "project_key",
        json_object_new_boolean(1));
    return 0;
}

static int take_image(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;

    if (json_object_object_get(at->in, "template") != NULL)
        return body_bad(e, at->path, "and template must not be given both");
    if (body_text(v, at->path, 1, 255, &text, e) == -1)
        return -1;
    if (!image_name_ok(text))
        return body_bad(e, at->path, "must be the name of an image, like "
            "registry.example.com/team/image:tag");
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

/* "name=image,name=image": the image of `name`, or NULL. */
static struct json_object *template_image(const char *all, const char *name)
{
    size_t len = strlen(name), n;

    for (; *all != '\0'; all += n + (all[n] == ',')) {
        all += strspn(all, " ");
        n = strcspn(all, ",");
        if (n > len + 1 && strncmp(all, name, len) == 0 && all[len] == '=')
            return json_object_new_string_len(all + len + 1,
                (int) (n - len - 1));
    }
    return NULL;
}

static int take_template(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    struct json_object *image;
    const char         *text;

    if (body_text(v, at->path, 0, 64, &text, e) == -1)
        return -1;
    if (text[0] == '\0')
        return 0;
    image = strpbrk(text, "=, ") != NULL ? NULL
        : template_image(at->s->templates, text);
    if (image == NULL)
        return body_bad(e, at->path, "\"%.40s\" is not in the setting "
            "templates", text);
    json_object_object_add(at->args, "image", image);
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

/* A name or password in the address would be shown to whoever may read the
 * row: it belongs into env. */
static int take_git(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text, *host;

    if (body_text(v, at->path, 0, BODY_URL_MAX, &text, e) == -1)
        return -1;
    if (text[0] == '\0')
        return 0;
    if (at->form == BODY_V1) {
        err_field(e, "not_implemented", at->path,
            "git_remote_url is not there yet on /v1");
        snprintf(e->hint, sizeof(e->hint), "clone with an exec or a setup");
        return -1;
    }
    if (text[0] == '-' || strpbrk(text, " \t\r\n") != NULL)
        return body_bad(e, at->path, "must be the address of a repository");
    host = strstr(text, "://");
    if (host != NULL && memchr(host + 3, '@', strcspn(host + 3, "/")) != NULL
        && strncmp(text, "ssh://", 6) != 0)
        return body_bad(e, at->path, "must not contain a name or password: "
            "use env");
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_host(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;

    if (body_text(v, at->path, 1, 64, &text, e) == -1)
        return -1;
    if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-:")
        != strlen(text))
        return body_bad(e, at->path,
            "must be public, localhost or a host name of 1 to 64 bytes");
    json_object_object_add(at->args, at->field->arg, json_object_get(v));
    return 0;
}

static int take_root(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    const char *text;

    if (body_choice(v, at->path, at->field->choices, &text, e) == -1)
        return -1;
    if (strcmp(text, "readonly") == 0)
        return 0;
    return err_field(e, "not_implemented", at->path,
        "root \"writable\" is not there yet");
}

static int take_files(const struct body_at *at, struct json_object *v,
    struct err *e)
{
    if (!json_object_is_type(v, json_type_object)
        && !json_object_is_type(v, json_type_array))
        return body_bad(e, at->path, "must be an object or an array");
    if ((json_object_is_type(v, json_type_object)
            && json_object_object_length(v) == 0)
        || (json_object_is_type(v, json_type_array)
            && json_object_array_length(v) == 0))
        return 0;
    err_field(e, "not_implemented", at->path, "files is not there yet");
    snprintf(e->hint, sizeof(e->hint), "write them with an exec");
    return -1;
}

#define B BODY_BASE
#define V BODY_V1
#define P BODY_PATCH

const struct body_field body_fields[] = {
    { "id", B | V, take_id, "id", NULL, 0, 0 },
    { "key", V, take_key, "key", NULL, 0, 0 },
    { "project", V, take_project, "project", NULL, 0, 0 },
    { "external", B | V, take_external, "external", NULL, 0, 0 },
    { "image", V, take_image, "image", NULL, 0, 0 },
    { "template", B | V, take_template, "template", NULL, 0, 0 },
    { "git_remote_url", B | V, take_git, "git_remote_url", NULL, 0, 0 },
    { "ports", B | V | P, take_ports, "ports", NULL, 0, 0 },
    { "env", B | V, take_env, "env", NULL, 0, 0 },
    { "memory_high", B | V | P, take_memory, "memory_mb", NULL, 0, 0 },
    { "memory_mb", V | P, take_memory, "memory_mb", NULL, 0, 0 },
    { "cpus", V | P, take_cpus, "cpus", NULL, 0, 0 },
    { "pids", V | P, take_int, "pids", NULL, 16, 1000000 },
    { "disk_mb", V | P, take_int, "disk_mb", NULL, 64, 1048576 },
    { "idle_s", V | P, take_int, "idle_s", NULL, 10, BODY_YEAR_S },
    { "freeze_s", V | P, take_int, "freeze_s", NULL, 0, BODY_YEAR_S },
    { "ttl_s", V | P, take_int, "ttl_s", NULL, 0, BODY_YEAR_S },
    { "labels", V | P, take_labels, "labels", NULL, 0, 0 },
    { "services", V, body_take_services, "services", NULL, 0, 0 },
    { "setup", V, body_take_setup, "setup", NULL, 0, 0 },
    { "files", V, take_files, "files", NULL, 0, 0 },
    { "visibility", B | V | P, take_choice, "visibility", "public|private",
        0, 0 },
    { "idle_policy", B | V | P, take_choice, "idle_policy",
        "sleep|always_on", 0, 0 },
    { "wake_on", V | P, take_choice, "wake_on", "visit|any", 0, 0 },
    { "ports_policy", V | P, take_choice, "ports_policy", "any|declared",
        0, 0 },
    { "preview_host_header", V | P, take_host, "host_header", NULL, 0, 0 },
    { "root", V, take_root, "root", "readonly|writable", 0, 0 },
    { NULL, 0, NULL, NULL, NULL, 0, 0 }
};
