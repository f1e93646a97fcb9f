/*
 * body_shares: the bodies of shares and tickets (body.h). Pure.
 */
#include "body.h"

#include <stdio.h>
#include <string.h>

#include "../common/ids.h"
#include "../common/ticket.h"

#define SHARE_TTL    86400
#define SHARE_USES   1000000
#define TICKET_TTL   3600
#define PORT_MIN     1024

static const char *const share_names[] = {
    "port", "ttl_s", "label", "max_uses", NULL
};
static const char *const ticket_names[] = { "allow", "ttl_s", NULL };

static int body_names(struct json_object *in, const char *const *names,
    struct err *e)
{
    const char *meant;
    int         i;

    json_object_object_foreach(in, name, v) {
        (void) v;
        for (i = 0; names[i] != NULL && strcmp(names[i], name) != 0; i++)
            continue;
        if (names[i] != NULL)
            continue;
        meant = body_meant(name, names);
        return err_field(e, "unknown_field", name, meant != NULL
            ? "unknown field \"%.40s\"; did you mean \"%s\"?"
            : "unknown field \"%.40s\"", name, meant);
    }
    return 0;
}

/* A number, or `none` when it is not given or null. */
static int body_number(struct json_object *in, const char *name, int64_t min,
    int64_t max, int64_t none, struct json_object *args, struct err *e)
{
    struct json_object *v = json_object_object_get(in, name);
    int64_t             n = none;

    if (v != NULL && body_int(v, name, min, max, &n, e) == -1)
        return -1;
    json_object_object_add(args, name, json_object_new_int64(n));
    return 0;
}

static int body_label(struct json_object *in, struct json_object *args,
    struct err *e)
{
    struct json_object *v = json_object_object_get(in, "label");
    const char         *text = "";

    if (v != NULL && body_text(v, "label", 0, KEY_MAX, &text, e) == -1)
        return -1;
    if (text[0] != '\0' && !ids_key_ok(text, strlen(text)))
        return body_bad(e, "label", "must be text without control "
            "characters");
    json_object_object_add(args, "label", json_object_new_string(text));
    return 0;
}

static int body_share_port(struct json_object *in, struct json_object *args,
    struct err *e)
{
    struct json_object *v = json_object_object_get(in, "port");
    int64_t             port;

    if (v == NULL)
        return 0;
    if (body_int(v, "port", PORT_MIN, 65535, &port, e) == -1)
        return -1;
    json_object_object_add(args, "port", json_object_new_int64(port));
    return 0;
}

int body_share(const char *text, size_t len, const struct settings *s,
    struct json_object **args, struct err *e)
{
    struct json_object *in = NULL, *out;
    int64_t             ttl = SHARE_TTL;
    int                 rc;

    if (body_parse(text, len, &in, e) == -1)
        return -1;
    if (ttl > s->share_ttl_max_s)
        ttl = s->share_ttl_max_s;
    out = json_object_new_object();
    rc = body_names(in, share_names, e);
    if (rc == 0)
        rc = body_share_port(in, out, e);
    if (rc == 0)
        rc = body_number(in, "ttl_s", 1, s->share_ttl_max_s, ttl, out, e);
    if (rc == 0)
        rc = body_number(in, "max_uses", 1, SHARE_USES, 0, out, e);
    if (rc == 0)
        rc = body_label(in, out, e);
    json_object_put(in);
    if (rc == 0)
        *args = out;
    else
        json_object_put(out);
    return rc;
}

/* *port: of "preview:3000", else 0. */
static int allow_word(struct json_object *v, const char *path, int64_t *port,
    struct err *e)
{
    static const char choices[] = "preview|preview:<port>|events|terminal|"
        "files:read";
    const char       *word;

    *port = 0;
    if (json_object_is_type(v, json_type_string)) {
        word = json_object_get_string(v);
        if (strlen(word) == (size_t) json_object_get_string_len(v)
            && (strcmp(word, "preview") == 0 || strcmp(word, "events") == 0
                || strcmp(word, "terminal") == 0
                || strcmp(word, "files:read") == 0
                || (strncmp(word, "preview:", 8) == 0
                    && ids_number(word + 8, strlen(word + 8), PORT_MIN, 65535,
                        port) == 0)))
            return 0;
    }
    return body_bad(e, path, "must be one of %s", choices);
}

static int body_allow(struct json_object *in, struct json_object *args,
    struct err *e)
{
    struct json_object *list = json_object_object_get(in, "allow");
    int64_t             port[16];
    char                path[32];
    size_t              i, j, n = 0, ports = 0;

    if (json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    if (n < 1 || n > 16)
        return body_bad(e, "allow", "must be an array of 1 to 16 words");
    for (i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "allow[%zu]", i);
        if (allow_word(json_object_array_get_idx(list, i), path, &port[i], e)
            == -1)
            return -1;
        for (j = 0; j < i && port[i] != 0; j++) {
            if (port[i] == port[j])
                return body_bad(e, path, "is there twice");
        }
        ports += port[i] != 0;
    }
    if (ports > TICKET_PORTS_MAX)
        return body_bad(e, "allow", "must name at most %d ports; \"preview\" "
            "is all of them", TICKET_PORTS_MAX);
    json_object_object_add(args, "allow", json_object_get(list));
    return 0;
}

int body_ticket(const char *text, size_t len, struct json_object **args,
    struct err *e)
{
    struct json_object *in = NULL, *out;
    int                 rc;

    if (body_parse(text, len, &in, e) == -1)
        return -1;
    out = json_object_new_object();
    rc = body_names(in, ticket_names, e);
    if (rc == 0)
        rc = body_allow(in, out, e);
    if (rc == 0)
        rc = body_number(in, "ttl_s", 1, TICKET_TTL, TICKET_TTL, out, e);
    json_object_put(in);
    if (rc == 0)
        *args = out;
    else
        json_object_put(out);
    return rc;
}
