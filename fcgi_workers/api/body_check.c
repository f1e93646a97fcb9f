/*
 * body_check: checks of single values that several fields share (body.h).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "body.h"

#define BODY_ARGS_MAX   256
#define BODY_ARG_MAX    32768
#define BODY_ENV_NAME   128
#define BODY_ENV_COUNT  1000

int body_bad(struct err *e, const char *path, const char *fmt, ...)
{
    char    text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_field(e, "invalid_field", path, "%.50s %s", path, text);
}

int body_text(struct json_object *v, const char *path, size_t min,
    size_t max, const char **out, struct err *e)
{
    const char *text = "";
    size_t      len;

    if (!json_object_is_type(v, json_type_string))
        return body_bad(e, path, "must be a text");
    text = json_object_get_string(v);
    len = (size_t) json_object_get_string_len(v);
    if (strlen(text) != len)
        return body_bad(e, path, "must not contain a NUL character");
    if (len < min || len > max)
        return body_bad(e, path, "must have %zu to %zu bytes", min, max);
    *out = text;
    return 0;
}

int body_int(struct json_object *v, const char *path, int64_t min,
    int64_t max, int64_t *out, struct err *e)
{
    int64_t n;

    if (!json_object_is_type(v, json_type_int))
        return body_bad(e, path, "must be a whole number");
    n = json_object_get_int64(v);       /* saturates */
    if (n < min || n > max)
        return body_bad(e, path, "must be from %lld to %lld",
            (long long) min, (long long) max);
    *out = n;
    return 0;
}

/* `choices` is "a|b|c". */
int body_choice(struct json_object *v, const char *path,
    const char *choices, const char **out, struct err *e)
{
    const char *text, *p = choices;
    size_t      len, n;

    if (json_object_is_type(v, json_type_string)) {
        text = json_object_get_string(v);
        len = strlen(text);
        for (; *p != '\0'; p += n + (p[n] == '|')) {
            n = strcspn(p, "|");
            if (n == len && memcmp(p, text, n) == 0) {
                *out = text;
                return 0;
            }
        }
    }
    return body_bad(e, path, "must be one of %s", choices);
}

int body_only(struct json_object *v, const char *path,
    const char *const *names, struct err *e)
{
    const char *meant;
    char        field[96];
    int         i;

    if (!json_object_is_type(v, json_type_object))
        return body_bad(e, path, "must be an object");
    json_object_object_foreach(v, name, child) {
        (void) child;
        for (i = 0; names[i] != NULL && strcmp(names[i], name) != 0; i++)
            continue;
        if (names[i] != NULL)
            continue;
        snprintf(field, sizeof(field), "%s.%.40s", path, name);
        meant = body_meant(name, names);
        return err_field(e, "unknown_field", field,
            meant != NULL ? "unknown field \"%.40s\" in %.50s; did you mean "
            "\"%s\"?" : "unknown field \"%.40s\" in %.50s", name, path,
            meant);
    }
    return 0;
}

static int body_env_name_ok(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && len <= BODY_ENV_NAME && strspn(s, "ABCDEFGHIJKLMNOPQRST"
        "UVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") == len
        && (*s < '0' || *s > '9');
}

int body_env_ok(struct json_object *v, const char *path, size_t max,
    struct err *e)
{
    const char *text = "";
    char        field[200];
    size_t      sum = 0;

    if (!json_object_is_type(v, json_type_object))
        return body_bad(e, path, "must be an object of names and texts");
    if (json_object_object_length(v) > BODY_ENV_COUNT)
        return body_bad(e, path, "must have at most %d variables",
            BODY_ENV_COUNT);
    json_object_object_foreach(v, name, child) {
        if (!body_env_name_ok(name))
            return body_bad(e, path, "has the name \"%.40s\": a name is a "
                "letter or '_', then letters, digits and '_', at most %d",
                name, BODY_ENV_NAME);
        snprintf(field, sizeof(field), "%.40s.%s", path, name);
        if (body_text(child, field, 0, max, &text, e) == -1)
            return -1;
        sum += strlen(name) + strlen(text) + 2;
    }
    if (sum > max)
        return body_bad(e, path, "is larger than %zu bytes in all", max);
    return 0;
}

static struct json_object *body_shell(const char *line)
{
    struct json_object *cmd = json_object_new_array();

    json_object_array_add(cmd, json_object_new_string("/bin/sh"));
    json_object_array_add(cmd, json_object_new_string("-c"));
    json_object_array_add(cmd, json_object_new_string(line));
    return cmd;
}

int body_command(struct json_object *v, const char *path,
    struct json_object **out, struct err *e)
{
    const char *text = "";
    char        field[96];
    size_t      i, n;

    if (json_object_is_type(v, json_type_string)) {
        if (body_text(v, path, 1, BODY_ARG_MAX, &text, e) == -1)
            return -1;
        *out = body_shell(text);
        return 0;
    }
    if (!json_object_is_type(v, json_type_array))
        return body_bad(e, path, "must be an array of texts, or one text");
    n = json_object_array_length(v);
    if (n < 1 || n > BODY_ARGS_MAX)
        return body_bad(e, path, "must have 1 to %d texts", BODY_ARGS_MAX);
    for (i = 0; i < n; i++) {
        snprintf(field, sizeof(field), "%.60s[%zu]", path, i);
        if (body_text(json_object_array_get_idx(v, i), field, i == 0,
                BODY_ARG_MAX, &text, e) == -1)
            return -1;
    }
    *out = json_object_get(v);
    return 0;
}
