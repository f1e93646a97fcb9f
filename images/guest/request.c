/*
 * request: see request.h. Pure: touches nothing but its arguments.
 */
#include "request.h"

#include <string.h>

#include "json.h"
#include "bounds.h"

#define FIELDS "cmd, env, cwd, stdin, timeout_ms, max_output"


static void copy(char *to, size_t size, const char *from)
{
    size_t n = strlen(from), good;
    bool cut;

    if (n >= size) {
        good = utf8_prefix(from, size - 1, &cut);
        n = good;
    }
    memcpy(to, from, n);
    to[n] = '\0';
}


int refuse(struct refusal *why, int status, const char *code,
    const char *field, const char *message)
{
    memset(why, 0, sizeof(*why));
    why->status = status;
    why->code = code;
    copy(why->field, sizeof(why->field), field != NULL ? field : "");
    copy(why->message, sizeof(why->message), message);
    return -1;
}


static int bad_json(struct refusal *why)
{
    return refuse(why, 400, "bad_request", NULL,
                  "the body is not valid JSON");
}


static int bad_field(struct refusal *why, const char *field,
    const char *message)
{
    return refuse(why, 400, "invalid_field", field, message);
}


/* A string that can be handed to the kernel: not a NUL in it. 0, 1: it is
 * something else, -1: no JSON. */
static int plain_string(struct json *j, char **s)
{
    enum json_kind kind = json_peek(j);
    size_t n;

    if (kind == JSON_BAD)
        return -1;
    if (kind != JSON_STRING)
        return 1;
    if (json_string(j, s, &n) != 0)
        return -1;
    return strlen(*s) == n ? 0 : 1;
}


static int parse_cmd(struct json *j, struct request *r, struct refusal *why)
{
    static const char form[] =
        "cmd must be an array of strings, the first not empty, or a line of "
        "text for the shell; no NUL characters";
    char *s;
    int more, got;

    if (json_peek(j) == JSON_STRING) {
        got = plain_string(j, &r->line);
        if (got == 0 && r->line[0] == '\0')
            got = 1;
        return got < 0 ? bad_json(why) : got > 0 ? bad_field(why, "cmd", form)
            : 0;
    }
    if (json_peek(j) != JSON_ARRAY)
        return bad_field(why, "cmd", form);
    if (json_enter(j) != 0)
        return bad_json(why);
    while ((more = json_item(j)) == 1) {
        got = plain_string(j, &s);
        if (got < 0)
            return bad_json(why);
        if (got > 0)
            return bad_field(why, "cmd", form);
        if (strings_add(&r->argv, s, EXEC_ARGS_MAX) != 0)
            return bad_field(why, "cmd", "cmd has more than 4096 elements");
    }
    if (more < 0)
        return bad_json(why);
    return r->argv.n == 0 || r->argv.v[0][0] == '\0'
        ? bad_field(why, "cmd", form) : 0;
}


/* NAME and value are two strings in the text, with at least `":"` between:
 * room for the = and to move the value up to it. */
static int parse_env(struct json *j, struct request *r, struct refusal *why)
{
    static const char form[] =
        "env must be an object of strings; names are not empty and have no =, "
        "no NUL characters";
    char *name, *value;
    size_t n;
    int more, got;

    if (json_peek(j) != JSON_OBJECT)
        return bad_field(why, "env", form);
    if (json_enter(j) != 0)
        return bad_json(why);
    while ((more = json_key(j, &name, &n)) == 1) {
        got = plain_string(j, &value);
        if (got < 0)
            return bad_json(why);
        if (got > 0 || n == 0 || strlen(name) != n || strchr(name, '='))
            return bad_field(why, "env", form);
        name[n] = '=';
        memmove(name + n + 1, value, strlen(value) + 1);
        if (strings_put(&r->env, name, EXEC_ENV_MAX) != 0)
            return bad_field(why, "env", "env has more than 1024 entries");
    }
    return more < 0 ? bad_json(why) : 0;
}


static int parse_cwd(struct json *j, struct request *r, struct refusal *why)
{
    int got = plain_string(j, &r->cwd);

    if (got < 0)
        return bad_json(why);
    if (got > 0 || r->cwd[0] != '/')
        return bad_field(why, "cwd", "cwd must be an absolute path");
    return 0;
}


/* Text, or {"b64":"…"} for bytes that are not. */
static int parse_stdin(struct json *j, struct request *r,
    struct refusal *why)
{
    static const char form[] =
        "stdin must be a string or {\"b64\":\"...\"}";
    int64_t decoded;
    char *key;
    size_t n;

    r->has_input = true;
    if (json_peek(j) == JSON_STRING)
        return json_string(j, &r->input, &r->ninput) != 0
            ? bad_json(why) : 0;
    if (json_peek(j) != JSON_OBJECT)
        return bad_field(why, "stdin", form);
    if (json_enter(j) != 0)
        return bad_json(why);
    if (json_key(j, &key, &n) != 1 || strcmp(key, "b64") != 0
        || json_peek(j) != JSON_STRING)
    {
        return bad_field(why, "stdin", form);
    }
    if (json_string(j, &r->input, &r->ninput) != 0)
        return bad_json(why);
    decoded = base64_decode(r->input, r->ninput);
    if (decoded < 0)
        return bad_field(why, "stdin", "stdin is not valid base64");
    r->ninput = (size_t) decoded;
    return json_key(j, &key, &n) == 0 ? 0 : bad_field(why, "stdin", form);
}


static int parse_number(struct json *j, int64_t *v, int64_t least,
    int64_t most, const char *field, const char *form, struct refusal *why)
{
    if (json_peek(j) != JSON_NUMBER || json_int(j, v) != 0 || *v < least
        || *v > most)
    {
        return bad_field(why, field, form);
    }
    return 0;
}


static int parse_timeout(struct json *j, struct request *r,
    struct refusal *why)
{
    return parse_number(j, &r->timeout_ms, 1, EXEC_TIMEOUT_MAX_MS,
                        "timeout_ms", "timeout_ms must be an integer from 1 "
                        "to 86400000", why);
}


static int parse_output(struct json *j, struct request *r,
    struct refusal *why)
{
    return parse_number(j, &r->max_output, 1, EXEC_OUTPUT_MAX, "max_output",
                        "max_output must be an integer from 1 to 16777216 "
                        "(bytes of each stream)", why);
}


static const struct {
    const char *name;
    int       (*parse)(struct json *, struct request *, struct refusal *);
} fields[] = {
    { "cmd",        parse_cmd },
    { "env",        parse_env },
    { "cwd",        parse_cwd },
    { "stdin",      parse_stdin },
    { "timeout_ms", parse_timeout },
    { "max_output", parse_output },
};

#define NFIELDS (sizeof(fields) / sizeof(fields[0]))


static int unknown_field(const char *key, struct refusal *why)
{
    refuse(why, 400, "unknown_field", key, "unknown field; allowed are "
           FIELDS);
    return -1;
}


static int parse_field(struct json *j, const char *key, bool strict,
    unsigned *seen, struct request *r, struct refusal *why)
{
    size_t i;

    for (i = 0; i < NFIELDS; i++) {
        if (strcmp(fields[i].name, key) != 0)
            continue;
        if (*seen & (1u << i))
            return bad_field(why, key, "a field is given twice");
        *seen |= 1u << i;
        return fields[i].parse(j, r, why);
    }
    if (strict)
        return unknown_field(key, why);
    return json_skip(j) == 0 ? 0 : bad_json(why);
}


static int parse(struct json *j, bool strict, struct request *r,
    struct refusal *why)
{
    unsigned seen = 0;
    char *key;
    size_t n;
    int more;

    if (json_peek(j) != JSON_OBJECT) {
        return refuse(why, 400, "bad_request", NULL,
                      "the body must be a JSON object with cmd");
    }
    if (json_enter(j) != 0)
        return bad_json(why);
    while ((more = json_key(j, &key, &n)) == 1)
        if (parse_field(j, key, strict, &seen, r, why) != 0)
            return -1;
    if (more < 0 || json_end(j) != 0)
        return bad_json(why);
    if ((seen & 1u) == 0)
        return bad_field(why, "cmd", "cmd is missing");
    return 0;
}


int request_parse(char *body, size_t n, bool strict, struct request *r,
    struct refusal *why)
{
    struct json j;

    memset(r, 0, sizeof(*r));
    json_init(&j, body, n);
    if (parse(&j, strict, r, why) == 0)
        return 0;
    request_free(r);
    return -1;
}


void request_free(struct request *r)
{
    strings_free(&r->argv);
    strings_free(&r->env);
    memset(r, 0, sizeof(*r));
}
