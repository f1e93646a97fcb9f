/*
 * test_router: paths, queries and the table of routes. With --print it only
 * prints the tables that docs/openapi.yaml is compared with.
 */
#include <stdlib.h>

#include "api/body.h"
#include "api/router.h"
#include "test.h"

static void test_path(void)
{
    static const char *const bad[] = {
        "", "x", "//", "/a//b", "/a/", "/a/..", "/./a", "/a/%2e%2e",
        "/a%2fb", "/a%2Fb", "/a%5cb", "/a%00b", "/a%", "/a%4", "/a%zz",
        "/a b", "/a\x01", "/a#b", "/a%ff", "/a%c0%af", "/\xc3\xa4", "/a\\b",
        "/a%0ab"
    };
    static struct path p;
    struct err         e;
    char               longest[REQUEST_PATH_MAX + 8];
    size_t             i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_AS(path_parse(&p, bad[i], &e) == -1, bad[i]);
    CHECK(path_parse(&p, "/", &e) == 0 && p.n == 0);
    CHECK(path_parse(&p, "/a/%62c/%c3%a4?x=/y", &e) == 0 && p.n == 3);
    CHECK_STR(p.segments[1], "bc");
    CHECK_STR(p.segments[2], "\xc3\xa4");
    memset(longest, 'a', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    CHECK(path_parse(&p, longest, &e) == -1);
    longest[REQUEST_PATH_MAX - 2] = '\0';
    CHECK(path_parse(&p, longest, &e) == 0);
    CHECK(path_parse(&p, "/1/2/3/4/5/6/7/8/9/10/11/12/13", &e) == -1);
}

static void test_query(void)
{
    static struct query q;
    static const char *const names[] = { "a", "label.", NULL };
    struct err  e;
    int64_t     n;
    bool        flag;

    CHECK(query_parse(&q, "", &e) == 0 && q.n == 0);
    CHECK(query_parse(&q, "a=1&&b=x%20y+z&c", &e) == 0 && q.n == 3);
    CHECK_STR(query_get(&q, "b"), "x y z");
    CHECK_STR(query_get(&q, "c"), "");
    CHECK(query_get(&q, "d") == NULL);
    CHECK(query_number(&q, "a", 1, 9, 5, &n, &e) == 0 && n == 1);
    CHECK(query_number(&q, "d", 1, 9, 5, &n, &e) == 0 && n == 5);
    CHECK(query_number(&q, "b", 1, 9, 5, &n, &e) == -1);
    CHECK(query_flag(&q, "c", &flag, &e) == 0 && flag);
    CHECK(query_flag(&q, "b", &flag, &e) == -1);
    CHECK(query_only(&q, names, &e) == -1);
    CHECK(query_parse(&q, "a=1&label.x=2&label.y=3", &e) == 0);
    CHECK(query_only(&q, names, &e) == 0);
    CHECK(query_parse(&q, "a=1&a=2", &e) == 0);
    CHECK(query_only(&q, names, &e) == -1);
    CHECK(query_parse(&q, "a=%00", &e) == -1);
    CHECK(query_parse(&q, "a=%f", &e) == -1);
    CHECK(query_parse(&q, "a=%ff", &e) == -1);
}

static const char *found(const char *method, const char *uri, char *allow,
    size_t max)
{
    static struct path  p;
    const struct route *t;
    const char         *id, *name;
    struct buf          b;
    struct err          e;
    int                 rc;

    allow[0] = '\0';
    if (path_parse(&p, uri, &e) == -1)
        return "bad";
    buf_init(&b, 512);
    rc = route_find(method, &p, &t, &id, &name, &b, &e);
    snprintf(allow, max, "%s", b.data != NULL ? b.data : "");
    buf_fini(&b);
    return rc == 0 ? t->path : e.code;
}

static void test_routes(void)
{
    char allow[128];

    CHECK_STR(found("GET", "/v1/sandboxes/x", allow, 128),
        "/v1/sandboxes/{id}");
    CHECK_STR(found("HEAD", "/sandboxes", allow, 128), "/sandboxes");
    CHECK_STR(found("PUT", "/v1/sandboxes/by-key/stop", allow, 128),
        "/v1/sandboxes/by-key/{key}");
    CHECK_STR(found("POST", "/v1/sandboxes/by-key/stop", allow, 128),
        "method_not_allowed");
    CHECK_STR(allow, "PUT, OPTIONS");
    CHECK_STR(found("PATCH", "/sandboxes", allow, 128),
        "method_not_allowed");
    CHECK_STR(allow, "GET, HEAD, OPTIONS");
    CHECK_STR(found("PUT", "/v1/sandboxes/x", allow, 128),
        "method_not_allowed");
    CHECK_STR(allow, "GET, HEAD, PATCH, DELETE, OPTIONS");
    CHECK_STR(found("GET", "/", allow, 128), "not_found");
    CHECK_STR(found("GET", "/v1", allow, 128), "not_found");
    CHECK_STR(found("GET", "/v1/sandboxes/x/stop/y", allow, 128),
        "not_found");
    CHECK_STR(found("GET", "/healthz/x", allow, 128), "not_found");
    CHECK_STR(found("get", "/healthz", allow, 128), "method_not_allowed");
}

/* No row twice; what is 501 has a hint. */
static void test_table(void)
{
    const struct route *a, *b;
    int                 bad = 0;

    for (a = routes; a->method != NULL; a++) {
        for (b = routes; b != a; b++)
            bad += strcmp(a->method, b->method) == 0
                && strcmp(a->path, b->path) == 0;
        bad += a->answer == api_later && a->detail == NULL;
    }
    CHECK(bad == 0);
}

static void test_request(void)
{
    static struct request r;
    struct err            e;
    char *const           params[] = {
        "REQUEST_METHOD=POST", "REQUEST_URI=/v1/sandboxes?x=1",
        "HOLDFAST_TENANT=acme", "HOLDFAST_SCOPE=ids:a+bc",
        "HOLDFAST_OP=", "HTTP_PREFER=foo, respond-async; wait=1",
        "HTTP_X_REQUEST_ID=bad id", "CONTENT_LENGTH=5", NULL
    };
    char *const           bare[] = { "REQUEST_URI=/sandbox", NULL };
    char *const           wrong[] = { "REQUEST_URI=/a%", "HOLDFAST_OP=x",
        NULL };

    CHECK(request_init(&r, params, 1000, &e) == 0);
    CHECK(r.v1 && r.respond_async && r.op == 0 && r.content_length == 5);
    CHECK(r.scope == SCOPE_IDS);
    CHECK(request_may(&r, "a") && request_may(&r, "bc"));
    CHECK(!request_may(&r, "b") && !request_may(&r, "c"));
    CHECK(strlen(r.request_id) == 26);
    request_fini(&r);
    CHECK(request_init(&r, bare, 1000, &e) == 0);
    CHECK(!r.v1 && r.scope == SCOPE_NONE && r.own_listener);
    request_fini(&r);
    CHECK(request_init(&r, wrong, 1000, &e) == -1);
    request_fini(&r);
}

static int print_tables(void)
{
    const struct err_code   *c;
    const struct body_field *f;

    routes_print(stdout);
    for (c = err_codes; c->code != NULL; c++)
        printf("code %s %d %s\n", c->code, c->status,
            c->retryable ? "true" : "false");
    for (f = body_fields; f->name != NULL; f++)
        printf("field %s %u\n", f->name, f->forms);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--print") == 0)
        return print_tables();
    test_path();
    test_query();
    test_routes();
    test_table();
    test_request();
    return TEST_END();
}
