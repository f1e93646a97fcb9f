/*
 * router: see router.h. The table first, then the rules that read it.
 */
#include "router.h"

#include <string.h>

#include "../common/log.h"

#define S "/v1/sandboxes/{id}"
#define FILES   "the host serves files in a later version; use exec"
#define PROCS   "background processes come in a later version; use exec"
#define TASKS   "agent tasks come in a later version; use exec"
#define SNAPS   "snapshots come in a later version"
#define HOOKS   "webhooks come in a later version"

/* Of two paths that match, the first in the table counts: those with fixed
 * words stand before those with {…} in their place. */
const struct route routes[] = {
    { "GET", "/healthz", api_healthz, NEED_NOTHING, 0, NULL },
    { "GET", "/readyz", api_readyz, NEED_NOTHING, 0, NULL },
    { "GET", "/metrics", api_metrics, NEED_NOTHING, 0, NULL },

    { "POST", "/sandbox", api_create, NEED_CREATE,
        ROUTE_IDEM | ROUTE_BODY, NULL },
    { "GET", "/sandboxes", api_list, NEED_READ, 0, NULL },
    { "GET", "/sandbox/{id}", api_get, NEED_READ, 0, NULL },
    { "DELETE", "/sandbox/{id}", api_op, NEED_WRITE, 0, "delete" },
    { "POST", "/sandbox/{id}/purge", api_op, NEED_WRITE, 0, "purge" },
    { "POST", "/sandbox/{id}/keepalive", api_keepalive, NEED_WRITE,
        ROUTE_BODY, "keepalive" },
    { "POST", "/wake/{id}", api_op, NEED_WRITE, 0, "wake" },
    { "POST", "/external-users/{user}/purge", api_purge_external,
        NEED_CREATE, 0, "user" },
    { "POST", "/external-projects/{project}/purge",
        api_purge_external, NEED_CREATE, 0, "project" },

    { "POST", "/v1/sandboxes", api_create, NEED_CREATE,
        ROUTE_IDEM | ROUTE_BODY, NULL },
    { "GET", "/v1/sandboxes", api_list, NEED_READ, 0, NULL },
    { "PUT", "/v1/sandboxes/by-key/{key}", api_by_key, NEED_CREATE,
        ROUTE_BODY, NULL },
    { "GET", S, api_get, NEED_READ, 0, NULL },
    { "PATCH", S, api_patch, NEED_WRITE, ROUTE_BODY, "patch" },
    { "DELETE", S, api_delete_v1, NEED_WRITE, 0, "purge" },
    { "PUT", S "/env", api_env, NEED_WRITE, ROUTE_BODY, "env" },
    { "POST", S "/start", api_op, NEED_WRITE, 0, "start" },
    { "POST", S "/stop", api_op, NEED_WRITE, 0, "stop" },
    { "POST", S "/restart", api_op, NEED_WRITE, 0, "restart" },
    { "POST", S "/freeze", api_op, NEED_WRITE, 0, "freeze" },
    { "POST", S "/archive", api_op, NEED_WRITE, 0, "archive" },
    { "GET", S "/idle", api_op, NEED_READ, 0, "idle" },
    { "POST", S "/leases", api_lease, NEED_WRITE, ROUTE_BODY, "lease" },
    { "GET", S "/leases", api_op, NEED_READ, 0, "leases" },
    { "DELETE", S "/leases/{lease}", api_unlease, NEED_WRITE, 0, "unlease" },
    { "GET", S "/ports", api_op, NEED_READ, 0, "ports" },
    { "GET", S "/metrics", api_op, NEED_READ, 0, "metrics" },
    { "GET", S "/usage", api_usage_one, NEED_READ, 0, NULL },
    { "GET", "/v1/usage", api_usage, NEED_READ, 0, NULL },
    { "POST", S "/shares", api_share, NEED_WRITE,
        ROUTE_IDEM | ROUTE_BODY, "share" },
    { "GET", S "/shares", api_shares, NEED_WRITE, 0, NULL },
    { "DELETE", S "/shares/{share}", api_unshare, NEED_WRITE, 0, "unshare" },
    { "POST", S "/tickets", api_ticket, NEED_WRITE,
        ROUTE_IDEM | ROUTE_BODY, "ticket" },
    { "GET", "/v1/operations/{number}", api_operation, NEED_READ, 0, NULL },
    { "GET", "/v1/info", api_info, NEED_READ, 0, NULL },
    { "GET", "/v1/audit", api_audit, NEED_ADMIN, 0, NULL },

    /* Named in the contract, answered 501 until they are there. */
    { "GET", S "/services", api_later, NEED_READ, 0,
        "the states of services come in a later version" },
    { "GET", S "/setup", api_later, NEED_READ, 0,
        "the log of setup comes in a later version" },
    { "GET", S "/events", api_events, NEED_READ, 0, NULL },
    { "GET", "/v1/events", api_events, NEED_READ, 0, NULL },
    { "POST", S "/processes", api_later, NEED_WRITE, 0, PROCS },
    { "GET", S "/processes", api_later, NEED_READ, 0, PROCS },
    { "GET", S "/processes/{proc}", api_later, NEED_READ, 0, PROCS },
    { "DELETE", S "/processes/{proc}", api_later, NEED_WRITE, 0, PROCS },
    { "GET", S "/processes/{proc}/logs", api_later, NEED_READ, 0, PROCS },
    { "GET", S "/processes/{proc}/events", api_later, NEED_READ, 0,
        PROCS },
    { "POST", S "/processes/{proc}/stdin", api_later, NEED_WRITE, 0,
        PROCS },
    { "POST", S "/processes/{proc}/signal", api_later, NEED_WRITE, 0,
        PROCS },
    { "POST", S "/processes/{proc}/wait", api_later, NEED_WRITE, 0,
        PROCS },
    { "GET", S "/terminal", api_later, NEED_WRITE, 0,
        "terminals come in a later version" },
    { "GET", S "/terminals", api_later, NEED_READ, 0,
        "terminals come in a later version" },
    { "DELETE", S "/terminals/{session}", api_later, NEED_WRITE, 0,
        "terminals come in a later version" },
    { "GET", S "/files", api_later, NEED_READ, 0, FILES },
    { "PUT", S "/files", api_later, NEED_WRITE, 0, FILES },
    { "DELETE", S "/files", api_later, NEED_WRITE, 0, FILES },
    { "GET", S "/files/content", api_later, NEED_READ, 0, FILES },
    { "POST", S "/files/ops", api_later, NEED_WRITE, 0, FILES },
    { "GET", S "/files/watch", api_later, NEED_READ, 0, FILES },
    { "GET", S "/archive", api_later, NEED_READ, 0, FILES },
    { "PUT", S "/archive", api_later, NEED_WRITE, 0, FILES },
    { "GET", S "/export", api_later, NEED_READ, 0, FILES },
    { "POST", S "/tasks", api_later, NEED_WRITE, 0, TASKS },
    { "GET", S "/tasks", api_later, NEED_READ, 0, TASKS },
    { "GET", S "/tasks/{task}", api_later, NEED_READ, 0, TASKS },
    { "GET", S "/tasks/{task}/events", api_later, NEED_READ, 0, TASKS },
    { "POST", S "/tasks/{task}/cancel", api_later, NEED_WRITE, 0, TASKS },
    { "POST", S "/tasks/{task}/messages", api_later, NEED_WRITE, 0,
        TASKS },
    { "POST", S "/tasks/{task}/restore", api_later, NEED_WRITE, 0,
        TASKS },
    { "POST", S "/claim", api_later, NEED_WRITE, 0,
        "claiming comes in a later version" },
    { "POST", S "/snapshots", api_later, NEED_WRITE, 0, SNAPS },
    { "GET", S "/snapshots", api_later, NEED_READ, 0, SNAPS },
    { "POST", S "/restore", api_later, NEED_WRITE, 0, SNAPS },
    { "GET", "/v1/snapshots", api_later, NEED_READ, 0, SNAPS },
    { "GET", "/v1/snapshots/{snapshot}", api_later, NEED_READ, 0, SNAPS },
    { "DELETE", "/v1/snapshots/{snapshot}", api_later, NEED_CREATE, 0,
        SNAPS },
    { "POST", "/v1/webhooks", api_later, NEED_CREATE, 0, HOOKS },
    { "GET", "/v1/webhooks", api_later, NEED_READ, 0, HOOKS },
    { "GET", "/v1/webhooks/{hook}", api_later, NEED_READ, 0, HOOKS },
    { "PATCH", "/v1/webhooks/{hook}", api_later, NEED_CREATE, 0, HOOKS },
    { "DELETE", "/v1/webhooks/{hook}", api_later, NEED_CREATE, 0, HOOKS },
    { "POST", "/v1/webhooks/{hook}/test", api_later, NEED_CREATE, 0,
        HOOKS },
    { "GET", "/v1/webhooks/{hook}/deliveries", api_later, NEED_READ, 0,
        HOOKS },
    { "POST", "/v1/webhooks/{hook}/deliveries/{delivery}/redeliver",
        api_later, NEED_CREATE, 0, HOOKS },
    { NULL, NULL, NULL, NEED_NOTHING, 0, NULL }
};

/* ---- matching ---------------------------------------------------------- */

static bool route_matches(const char *pattern, const struct path *p,
    const char **id, const char **name)
{
    size_t len;
    int    i;

    *id = *name = NULL;
    for (i = 0; i < p->n; i++, pattern += len) {
        if (*pattern++ != '/')
            return false;
        len = strcspn(pattern, "/");
        if (*pattern != '{') {
            if (strncmp(p->segments[i], pattern, len) != 0
                || p->segments[i][len] != '\0')
                return false;
        } else if (strncmp(pattern, "{id}", 4) == 0) {
            *id = p->segments[i];
        } else {
            *name = p->segments[i];
        }
    }
    return *pattern == '\0' && p->n > 0;
}

/* GET brings HEAD; every path has OPTIONS. */
static void route_allow(const char *path, struct buf *allow)
{
    const struct route *t;

    for (t = routes; t->method != NULL; t++) {
        if (strcmp(t->path, path) != 0)
            continue;
        buf_str(allow, t->method);
        buf_str(allow, strcmp(t->method, "GET") == 0 ? ", HEAD, " : ", ");
    }
    buf_str(allow, "OPTIONS");
}

int route_find(const char *method, const struct path *p,
    const struct route **out, const char **id, const char **name,
    struct buf *allow, struct err *e)
{
    const struct route *t;
    const char         *path = NULL;

    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (t = routes; t->method != NULL; t++) {
        if (path != NULL ? strcmp(t->path, path) != 0
            : !route_matches(t->path, p, id, name))
            continue;
        path = t->path;
        if (strcmp(t->method, method) == 0) {
            *out = t;
            return 0;
        }
    }
    if (path == NULL)
        return err_set(e, "not_found", "there is no such route");
    route_allow(path, allow);
    return err_set(e, "method_not_allowed",
        "this route does not take %.20s: allowed are %s", method,
        allow->data != NULL ? allow->data : "none");
}

/* ---- who may ----------------------------------------------------------- */

static int route_may(const struct route *t, const struct request *r,
    struct err *e)
{
    enum scope least = SCOPE_RO;

    if (t->need == NEED_NOTHING)
        return 0;
    if (r->tenant == NULL || r->scope == SCOPE_NONE)
        return err_set(e, "internal",
            "the gate did not say who is calling");
    if (t->need == NEED_WRITE)
        least = SCOPE_IDS;
    else if (t->need == NEED_CREATE)
        least = SCOPE_RW;
    else if (t->need == NEED_ADMIN)
        least = SCOPE_ADMIN;
    if (r->scope < least)
        return err_set(e, "forbidden",
            "the scope of this token does not allow it");
    return 0;
}

static int route_id(struct request *r, const char *id, struct err *e)
{
    if (id == NULL)
        return 0;
    if (ids_fold(id, strlen(id), r->id) == -1)
        return err_field(e, "bad_request", "id",
            "the id of a sandbox is 1 to %d of a-z and 0-9", ID_MAX);
    if (!request_may(r, r->id))
        return err_set(e, "not_found", "there is no sandbox %s", r->id);
    return 0;
}

/* What has no {id} and lists nothing is not for a list of ids. */
static int route_ids_scope(const struct route *t, const struct request *r,
    struct err *e)
{
    if (r->scope != SCOPE_IDS || r->id[0] != '\0' || t->need <= NEED_READ)
        return 0;
    return err_set(e, "forbidden",
        "this token is for some sandboxes only");
}

static int route_idem(const struct route *t, const struct request *r,
    struct err *e)
{
    size_t len, i;

    if (!(t->flags & ROUTE_IDEM) || r->idem_key == NULL)
        return 0;
    len = strlen(r->idem_key);
    for (i = 0; i < len; i++) {
        if (r->idem_key[i] < 0x20 || r->idem_key[i] > 0x7e)
            break;
    }
    if (i < len || len > REQUEST_IDEM_MAX)
        return err_field(e, "bad_request", "Idempotency-Key",
            "Idempotency-Key must have 1 to %d printable ASCII characters",
            REQUEST_IDEM_MAX);
    return 0;
}

static int route_answer(struct api *a, struct request *r, struct err *e)
{
    const struct route *t = routes;
    const char         *id = NULL;
    struct buf          allow;
    int                 rc;

    buf_init(&allow, 256);
    rc = route_find(r->method, &r->path, &t, &id, &r->name, &allow, e);
    if (r->op != 0) {           /* it has been here before, and was let in */
        buf_fini(&allow);
        if (rc == 0 && id != NULL)
            (void) ids_fold(id, strlen(id), r->id);
        return operations_answer(a, r, e);
    }
    if (rc == -1 && allow.len > 0)
        answer_header(r, "Allow", allow.data);
    buf_fini(&allow);
    if (rc == -1 && strcmp(r->method, "OPTIONS") == 0
        && strcmp(e->code, "method_not_allowed") == 0) {
        r->status = 204;
        return 0;
    }
    if (rc == -1
        || route_id(r, id, e) == -1
        || route_may(t, r, e) == -1
        || route_ids_scope(t, r, e) == -1
        || route_idem(t, r, e) == -1)
        return -1;
    if ((t->flags & ROUTE_BODY)
        && request_body(r, (size_t) a->s->body_max_kb * 1024, e) == -1)
        return -1;
    return t->answer(a, r, t, e);
}

void route_request(struct api *a, struct request *r, const struct err *bad)
{
    struct err e;
    int        rc = -1;

    if (bad != NULL)
        e = *bad;
    else
        rc = route_answer(a, r, &e);
    if (rc == -1 && !r->sent) {
        if (strcmp(err_lookup(e.code)->code, "internal") == 0)
            log_error("request %s: %s", r->request_id, e.msg);
        answer_error(r, &e);
    }
    answer_flush(r, true);
}

void routes_print(FILE *out)
{
    static const char *const needs[] = {
        "nothing", "read", "write", "create", "admin"
    };
    const struct route *t;

    for (t = routes; t->method != NULL; t++)
        fprintf(out, "%s %s %s %s\n", t->method, t->path, needs[t->need],
            t->answer == api_later ? "501" : "-");
}
