/*
 * leases: POST, GET and DELETE of …/leases. The keeper has them; here their
 * arguments are checked.
 */
#include <stdio.h>
#include <string.h>

#include "../common/ids.h"
#include "body.h"
#include "json.h"
#include "operations.h"

#define REASON_MAX 200

static int lease_reason(struct json_object *in, struct json_object *args,
    struct err *e)
{
    struct json_object *v = json_object_object_get(in, "reason");
    const char         *text;
    int                 len;

    if (v == NULL)
        return 0;
    text = json_object_is_type(v, json_type_string)
        ? json_object_get_string(v) : "";
    len = json_object_is_type(v, json_type_string)
        ? json_object_get_string_len(v) : 0;
    if (len < 1 || len > REASON_MAX || !ids_utf8_ok(text, (size_t) len))
        return err_field(e, "invalid_field", "reason",
            "reason must be text of 1 to %d bytes", REASON_MAX);
    json_object_object_add(args, "reason", json_object_get(v));
    return 0;
}

static int lease_fields(struct api *a, struct json_object *in,
    struct json_object *args, struct err *e)
{
    struct json_object *ttl;

    if (!json_object_is_type(in, json_type_object))
        return err_set(e, "bad_request", "the body must be a JSON object");
    ttl = json_object_object_get(in, "ttl_s");
    json_object_object_foreach(in, name, v) {
        (void) v;
        if (strcmp(name, "ttl_s") != 0 && strcmp(name, "reason") != 0)
            return err_field(e, "unknown_field", name, "unknown field "
                "\"%.40s\": a lease has ttl_s and reason", name);
    }
    if (!json_object_is_type(ttl, json_type_int)
        || json_object_get_int64(ttl) < 1
        || json_object_get_int64(ttl) > a->s->lease_max_s)
        return err_field(e, ttl == NULL ? "bad_request" : "invalid_field",
            "ttl_s", "ttl_s must be a whole number from 1 to %lld",
            (long long) a->s->lease_max_s);
    json_object_object_add(args, "ttl_s", json_object_get(ttl));
    return lease_reason(in, args, e);
}

int api_lease(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = route->detail, .sandbox = r->id };
    struct json_object *in = NULL, *args;
    int                 rc;

    if (json_strict(r->body.data, r->body.len, &in, e) == -1)
        return -1;
    args = json_object_new_object();
    o.args = args;
    rc = lease_fields(a, in, args, e);
    if (rc == 0)
        rc = operations_run(a, r, &o, e);
    json_object_put(args);
    json_object_put(in);
    return rc;
}

int api_unlease(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    struct operation    o = { .kind = route->detail, .sandbox = r->id };
    struct json_object *args = json_object_new_object();
    int                 rc;

    json_object_object_add(args, "lease", json_object_new_string(r->name));
    o.args = args;
    rc = operations_run(a, r, &o, e);
    json_object_put(args);
    return rc;
}
