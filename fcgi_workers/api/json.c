/*
 * json: see json.h.
 */
#include "json.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "../common/ids.h"

struct scan {
    const char *p, *end;
    size_t      members;        /* names seen, by their colons */
};

static bool scan_string(struct scan *s)
{
    unsigned char c;

    for (s->p++; s->p < s->end; s->p++) {
        c = (unsigned char) *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c < 0x20)
            return false;
        if (c == '\\')
            s->p++;             /* json-c knows the escapes */
    }
    return false;
}

static size_t scan_digits(struct scan *s)
{
    const char *from = s->p;

    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t) (s->p - from);
}

static bool scan_number(struct scan *s)
{
    const char *from;
    size_t      n;

    if (*s->p == '-')
        s->p++;
    from = s->p;
    n = scan_digits(s);
    if (n == 0 || (n > 1 && *from == '0'))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (scan_digits(s) == 0)
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (scan_digits(s) == 0)
            return false;
    }
    return true;
}

static bool scan_word(struct scan *s)
{
    static const char *const words[] = { "true", "false", "null" };
    size_t                   i, len;

    for (i = 0; i < 3; i++) {
        len = strlen(words[i]);
        if ((size_t) (s->end - s->p) >= len
            && memcmp(s->p, words[i], len) == 0) {
            s->p += len;
            return true;
        }
    }
    return false;
}

/* Tokens only: whether they stand in a good order is for json-c to say. */
static bool scan_tokens(struct scan *s)
{
    while (s->p < s->end) {
        switch (*s->p) {
        case ':':
            s->members++;
            /* fall through */
        case '{': case '}': case '[': case ']': case ',':
        case ' ': case '\t': case '\n': case '\r':
            s->p++;
            break;
        case '"':
            if (!scan_string(s))
                return false;
            break;
        case 't': case 'f': case 'n':
            if (!scan_word(s))
                return false;
            break;
        default:
            if ((*s->p != '-' && (*s->p < '0' || *s->p > '9'))
                || !scan_number(s))
                return false;
        }
    }
    return true;
}

static size_t json_members(struct json_object *v)
{
    size_t n = 0, i;

    if (json_object_is_type(v, json_type_object)) {
        n = (size_t) json_object_object_length(v);
        json_object_object_foreach(v, name, child) {
            (void) name;
            n += json_members(child);
        }
    } else if (json_object_is_type(v, json_type_array)) {
        for (i = 0; i < json_object_array_length(v); i++)
            n += json_members(json_object_array_get_idx(v, i));
    }
    return n;
}

static int json_fail(enum json_tokener_error why, size_t at, struct err *e)
{
    if (why == json_tokener_error_depth)
        return err_set(e, "bad_request",
            "the body is nested deeper than %d levels", JSON_DEPTH);
    if (why == json_tokener_continue)
        return err_set(e, "bad_request", "the body is cut off JSON");
    return err_set(e, "bad_request", "the body is not JSON: wrong at byte "
        "%zu", at);
}

int json_strict(const char *text, size_t len, struct json_object **out,
    struct err *e)
{
    struct scan             s = { .p = text, .end = text + len };
    struct json_tokener    *t;
    struct json_object     *v;
    enum json_tokener_error why;
    size_t                  at;

    if (len > INT_MAX - 1)
        return err_set(e, "too_large", "the body is too large");
    if (!ids_utf8_ok(text, len))
        return err_set(e, "bad_request", "the body is not UTF-8");
    if (!scan_tokens(&s))
        return err_set(e, "bad_request", "the body is not JSON: wrong at "
            "byte %zu", (size_t) (s.p - text));

    t = json_tokener_new_ex(JSON_DEPTH);
    if (t == NULL)
        return err_set(e, "unavailable", "out of memory");
    json_tokener_set_flags(t,
        JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    v = json_tokener_parse_ex(t, text, (int) len);
    why = json_tokener_get_error(t);
    at = json_tokener_get_parse_end(t);
    json_tokener_free(t);
    if (why != json_tokener_success) {
        json_object_put(v);
        return json_fail(why, at, e);
    }
    if (json_members(v) != s.members) {
        json_object_put(v);
        return err_set(e, "bad_request",
            "the body has a name twice in one object");
    }
    *out = v;
    return 0;
}
