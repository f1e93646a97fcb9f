/*
 * body: see body.h. Walks a body by the table in body_fields.c.
 */
#include "body.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"

#define BODY_UNTIL_MAX 253402300799LL   /* the end of year 9999 */

/* ---- small parsers ----------------------------------------------------- */

int64_t body_size_mb(const char *text)
{
    static const char units[] = "kmgt";
    const char       *unit;
    char             *end;
    ptrdiff_t         i;
    size_t            len = strlen(text);
    double            n;

    if (len == 0 || len > 20 || !isdigit((unsigned char) text[0])
        || strspn(text, "0123456789.") == 0 || strchr(text, 'x') != NULL)
        return -1;
    n = strtod(text, &end);
    if (strspn(text, "0123456789.") != (size_t) (end - text))
        return -1;
    if (*end != '\0') {
        unit = strchr(units, tolower((unsigned char) *end));
        if (unit == NULL)
            return -1;
        for (i = unit - units; i >= 0; i--)
            n *= 1024;
        end++;
        end += *end == 'i';
        end += *end == 'b' || *end == 'B';
    }
    if (*end != '\0' || n < 0 || n > 1e18)
        return -1;
    return (int64_t) (n / (1024 * 1024));
}

/* Two digits. */
static int body_two(const char *s, int64_t max, int64_t *out)
{
    if (!isdigit((unsigned char) s[0]) || !isdigit((unsigned char) s[1]))
        return -1;
    *out = (s[0] - '0') * 10 + (s[1] - '0');
    return *out > max ? -1 : 0;
}

int64_t body_time_ms(const char *text)
{
    struct tm   tm;
    const char *p;
    int64_t     ms = 0, offset_s = 0, s, unit = 100;
    int64_t     hours, minutes;

    memset(&tm, 0, sizeof(tm));
    if (strlen(text) < 20 || strlen(text) > 40
        || !isdigit((unsigned char) text[0]))
        return -1;
    p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (p == NULL || p - text != 19)
        return -1;
    if (*p == '.') {
        if (!isdigit((unsigned char) *++p))
            return -1;
        for (; isdigit((unsigned char) *p); p++, unit /= 10)
            ms += (*p - '0') * unit;
    }
    if (*p == '+' || *p == '-') {
        if (strlen(p) != 6 || strspn(p + 1, "0123456789:") != 5
            || p[3] != ':' || body_two(p + 1, 23, &hours) == -1
            || body_two(p + 4, 59, &minutes) == -1)
            return -1;
        offset_s = (hours * 60 + minutes) * 60 * (*p == '+' ? 1 : -1);
        p += 6;
    } else if (*p == 'Z' || *p == 'z') {
        p++;
    } else {
        return -1;
    }
    s = (int64_t) timegm(&tm) - offset_s;
    if (*p != '\0' || s < 0 || s > BODY_UNTIL_MAX)
        return -1;
    return s * 1000 + ms;
}

/* Levenshtein's distance, cut off at 3. */
static size_t body_distance(const char *a, const char *b)
{
    size_t row[65], i, j, before, keep, best;
    size_t la = strlen(a), lb = strlen(b);

    if (la > 64 || lb > 64 || (la > lb ? la - lb : lb - la) > 2)
        return 3;
    for (j = 0; j <= lb; j++)
        row[j] = j;
    for (i = 1; i <= la; i++) {
        before = row[0];
        row[0] = i;
        for (j = 1; j <= lb; j++) {
            keep = row[j];
            best = before + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            before = keep;
        }
    }
    return row[lb];
}

const char *body_meant(const char *name, const char *const *names)
{
    const char *best = NULL;
    size_t      least = 3, d;

    for (; *names != NULL; names++) {
        d = body_distance(name, *names);
        if (d < least && d < strlen(*names)) {
            least = d;
            best = *names;
        }
    }
    return best;
}

/* ---- the whole --------------------------------------------------------- */

int body_parse(const char *text, size_t len,
    struct json_object **out, struct err *e)
{
    struct json_object *v;

    if (len == 0) {
        *out = json_object_new_object();
        return 0;
    }
    if (json_strict(text, len, &v, e) == -1)
        return -1;
    if (!json_object_is_type(v, json_type_object)) {
        json_object_put(v);
        return err_set(e, "bad_request", "the body must be a JSON object");
    }
    *out = v;
    return 0;
}

static const struct body_field *body_find(const char *name,
    enum body_form form)
{
    const struct body_field *f;

    for (f = body_fields; f->name != NULL; f++) {
        if ((f->forms & form) && strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static int body_unknown(const char *name, enum body_form form,
    struct err *e)
{
    const char *names[BODY_FIELDS_MAX + 1];
    const char *meant;
    int         i, n = 0;

    for (i = 0; body_fields[i].name != NULL && n < BODY_FIELDS_MAX; i++) {
        if (body_fields[i].forms & form)
            names[n++] = body_fields[i].name;
    }
    names[n] = NULL;
    meant = body_meant(name, names);
    if (meant != NULL)
        return err_field(e, "unknown_field", name,
            "unknown field \"%.40s\"; did you mean \"%s\"?", name, meant);
    return err_field(e, "unknown_field", name, "unknown field \"%.40s\"",
        name);
}

/* A patch that takes a field away sets it to what a create without it would
 * have: the default is filled in by body_defaults. */
static int body_walk(struct body_at *at, struct json_object *defaults,
    struct err *e)
{
    struct json_object *def;

    json_object_object_foreach(at->in, name, v) {
        at->field = body_find(name, at->form);
        at->path = name;
        if (at->field == NULL) {
            if (at->form == BODY_BASE)
                continue;
            return body_unknown(name, at->form, e);
        }
        if (v != NULL) {
            if (at->field->take(at, v, e) == -1)
                return -1;
            continue;
        }
        if (at->form == BODY_PATCH
            && json_object_object_get_ex(defaults, at->field->arg, &def))
            json_object_object_add(at->args, at->field->arg,
                json_object_get(def));
    }
    return 0;
}

static struct json_object *body_defaults(const struct settings *s)
{
    struct json_object *d = json_object_new_object();

    json_object_object_add(d, "ports", json_object_new_array());
    json_object_object_add(d, "env", json_object_new_object());
    json_object_object_add(d, "labels", json_object_new_object());
    json_object_object_add(d, "services", json_object_new_array());
    json_object_object_add(d, "external", json_object_new_object());
    json_object_object_add(d, "image", json_object_new_string(s->image));
    json_object_object_add(d, "memory_mb",
        json_object_new_int64(s->memory_default));
    json_object_object_add(d, "cpus",
        json_object_new_double((double) s->cpus_default_milli / 1000));
    json_object_object_add(d, "pids",
        json_object_new_int64(s->pids_default));
    json_object_object_add(d, "disk_mb",
        json_object_new_int64(s->disk_default));
    json_object_object_add(d, "idle_s", json_object_new_int64(s->idle_s));
    json_object_object_add(d, "freeze_s",
        json_object_new_int64(s->freeze_s));
    json_object_object_add(d, "ttl_s", json_object_new_int64(0));
    json_object_object_add(d, "visibility",
        json_object_new_string("public"));
    json_object_object_add(d, "idle_policy", json_object_new_string("sleep"));
    json_object_object_add(d, "wake_on", json_object_new_string("visit"));
    json_object_object_add(d, "ports_policy", json_object_new_string("any"));
    json_object_object_add(d, "host_header",
        json_object_new_string(s->preview_host_header));
    return d;
}

static int body_take_all(const char *text, size_t len, enum body_form form,
    const struct settings *s, struct json_object **args, struct err *e)
{
    struct body_at      at = { .s = s, .form = form };
    struct json_object *defaults, *had;

    if (body_parse(text, len, &at.in, e) == -1)
        return -1;
    defaults = body_defaults(s);
    at.args = json_object_new_object();
    if (body_walk(&at, defaults, e) == -1) {
        json_object_put(at.in);
        json_object_put(defaults);
        json_object_put(at.args);
        return -1;
    }
    if (form != BODY_PATCH) {
        json_object_object_foreach(defaults, name, v) {
            if (!json_object_object_get_ex(at.args, name, &had))
                json_object_object_add(at.args, name, json_object_get(v));
        }
    }
    json_object_put(at.in);
    json_object_put(defaults);
    *args = at.args;
    return 0;
}

int body_create(const char *text, size_t len, enum body_form form,
    const struct settings *s, struct json_object **args, struct err *e)
{
    return body_take_all(text, len, form, s, args, e);
}

int body_patch(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e)
{
    return body_take_all(text, len, BODY_PATCH, s, args, e);
}

int body_env(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e)
{
    struct json_object *in = NULL, *env;

    if (body_parse(text, len, &in, e) == -1)
        return -1;
    if (json_object_object_length(in) == 1
        && json_object_object_get_ex(in, "env", &env)
        && json_object_is_type(env, json_type_object))
        json_object_get(env);
    else
        env = json_object_get(in);
    json_object_put(in);
    if (body_env_ok(env, "env", (size_t) s->env_max_kb * 1024, e) == -1) {
        json_object_put(env);
        return -1;
    }
    *args = json_object_new_object();
    json_object_object_add(*args, "env", env);
    return 0;
}

int body_keepalive(const char *text, size_t len, struct json_object **args,
    struct err *e)
{
    struct json_object *in = NULL, *until;
    int64_t             ms = -1;

    if (body_parse(text, len, &in, e) == -1)
        return -1;
    until = json_object_object_get(in, "until");
    if (json_object_is_type(until, json_type_int)
        && json_object_get_int64(until) > 0
        && json_object_get_int64(until) <= BODY_UNTIL_MAX)
        ms = json_object_get_int64(until) * 1000;
    else if (json_object_is_type(until, json_type_string))
        ms = body_time_ms(json_object_get_string(until));
    if (until != NULL && ms < 0) {
        json_object_put(in);
        return body_bad(e, "until", "must be a time: whole seconds since "
            "1970, or as 2026-01-02T03:04:05Z");
    }
    json_object_put(in);
    *args = json_object_new_object();
    if (ms >= 0)
        json_object_object_add(*args, "until_ms", json_object_new_int64(ms));
    return 0;
}

int body_none(const char *text, size_t len, struct err *e)
{
    struct json_object *in = NULL;
    int                 rc = 0;

    if (body_parse(text, len, &in, e) == -1)
        return -1;
    json_object_object_foreach(in, name, v) {
        (void) v;
        rc = err_field(e, "unknown_field", name, "unknown field \"%.40s\": "
            "this route takes none", name);
        break;
    }
    json_object_put(in);
    return rc;
}
