/*
 * events: who may read which event stream, and from where.
 *
 * The answer is a redirection inside nginx, to the file that the tasks role
 * writes (ngx_http_holdfast_stream.c): an open stream holds no worker. The
 * tenant's tag is part of the name, so that no id leads out of a tenant.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/crypt.h"
#include "../common/row.h"
#include "router.h"

/* `ticket` was looked at by the gate. */
static const char *const events_query[] = { "after", "ticket", NULL };

/* The first event to be sent, as nginx is told it. `resumed`: the caller has
 * been here before. */
static int events_from(const struct request *r, char out[24], bool *resumed,
    struct err *e)
{
    const char *after = query_get(&r->query, "after");
    const char *name = "after";
    int64_t     n;

    if (r->last_event_id != NULL && r->last_event_id[0] != '\0') {
        after = r->last_event_id;
        name = "Last-Event-ID";
    }
    *resumed = after != NULL;
    snprintf(out, 24, "0");
    if (after == NULL)
        return 0;
    if (strcmp(after, "latest") == 0) {
        snprintf(out, 24, "latest");
        *resumed = false;
        return 0;
    }
    if (ids_number(after, strlen(after), 0, INT64_MAX - 1, &n) == -1)
        return err_field(e, "bad_request", name,
            "%s must be the id of an event, or \"latest\"", name);
    snprintf(out, 24, "%" PRId64, n + 1);
    return 0;
}

/* A deleted sandbox is there for those who have heard of it before: they get
 * what they missed, and 204 when that is nothing. */
static int events_sandbox(struct api *a, const struct request *r,
    bool resumed, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, "SELECT rung FROM sandboxes WHERE id=?"
            " AND tenant=?", &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, s, e);
    if (rc == 1 && !resumed && rung_is_gone((enum rung)
            sqlite3_column_int(s, 0)))
        rc = 0;
    if (rc == 0)
        err_set(e, "not_found", "there is no sandbox %s", r->id);
    reader_done(&a->reader, s);
    return rc == 1 ? 0 : -1;
}

int api_events(struct api *a, struct request *r, const struct route *route,
    struct err *e)
{
    char place[128], from[24];
    bool resumed;

    (void) route;
    if (query_only(&r->query, events_query, e) == -1
        || events_from(r, from, &resumed, e) == -1)
        return -1;
    if (r->id[0] != '\0') {
        if (events_sandbox(a, r, resumed, e) == -1)
            return -1;
        snprintf(place, sizeof(place), "/_stream/%016" PRIx64
            "/s-%s?from=%s", crypt_tenant_tag(r->tenant), r->id, from);
    } else if (r->scope == SCOPE_IDS) {
        return err_set(e, "forbidden", "this token is for some sandboxes "
            "only: use GET /v1/sandboxes/{id}/events");
    } else {
        snprintf(place, sizeof(place), "/_stream/%016" PRIx64
            "/all?from=%s", crypt_tenant_tag(r->tenant), from);
    }
    answer_header(r, "X-Accel-Redirect", place);
    r->redirected = true;
    r->status = 200;
    return 0;
}
