/*
 * host: which names lead to a sandbox, and which do not.
 */
#include "../../ngx_module/ngx_http_holdfast_host.c"

#include "test.h"

static ngx_http_holdfast_name_t name;

static int host(const char *s)
{
    memset(&name, 0, sizeof(name));
    return ngx_http_holdfast_host_parse(s, strlen(s), "example.org", 11,
        &name);
}

static int is(const char *s, const char *id, unsigned port)
{
    return host(s) == NGX_HTTP_HOLDFAST_NAME_OK
        && strcmp(name.id, id) == 0 && name.id_len == strlen(id)
        && name.port == port;
}

static int path(const char *s)
{
    memset(&name, 0, sizeof(name));
    return ngx_http_holdfast_path_parse(s, strlen(s), &name);
}

static int plain(const char *s)
{
    return ngx_http_holdfast_path_check(s, strlen(s))
        == NGX_HTTP_HOLDFAST_NAME_OK;
}

static int local(const char *s)
{
    return ngx_http_holdfast_host_is_local(s, strlen(s));
}

static void test_hosts(void)
{
    CHECK(is("s-abc-3000.preview.example.org", "abc", 3000));
    CHECK(is("S-ABC-3000.Preview.Example.ORG", "abc", 3000));
    CHECK(is("s-abc-3000.preview.example.org:8080", "abc", 3000));
    CHECK(is("s-abc-3000.preview.example.org.", "abc", 3000));
    CHECK(is("3000-abc.example.org", "abc", 3000));
    CHECK(is("65535-0.example.org:1", "0", 65535));
    CHECK(is("1024-a.example.org", "a", 1024));

    CHECK(host("") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host(".example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("3000-abcexample.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("3000-abc.example.orgx") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("3000-abc.preview.example.org")
        == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("s-abc-3000.example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("s-abc-3000.x.preview.example.org")
        == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("s-abc-03000.preview.example.org")
        == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("1023-abc.example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("65536-abc.example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("s-.preview.example.org") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("s-a-b-3000.preview.example.org")
        == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(host("3000-a-b.example.org") == NGX_HTTP_HOLDFAST_NAME_BAD);
    CHECK(host("3000-.example.org") == NGX_HTTP_HOLDFAST_NAME_BAD);
    CHECK(host("3000-a_b.example.org") == NGX_HTTP_HOLDFAST_NAME_BAD);
    CHECK(host("3000-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.org")
        == NGX_HTTP_HOLDFAST_NAME_BAD);
    CHECK(host("api.example.org") == NGX_HTTP_HOLDFAST_NAME_RESERVED);
    CHECK(host("49983-a.example.org") == NGX_HTTP_HOLDFAST_NAME_RESERVED);
    CHECK(host("s-a-49999.preview.example.org")
        == NGX_HTTP_HOLDFAST_NAME_RESERVED);
}

static void test_paths(void)
{
    CHECK(path("/sandbox/ABC/exec") == 0 && strcmp(name.id, "abc") == 0);
    CHECK(path("/v1/sandboxes/a1") == 0 && strcmp(name.id, "a1") == 0);
    CHECK(path("/wake/a1") == 0 && name.port == 0);
    CHECK(path("/sandbox") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(path("/sandbox/") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(path("/sandbox//exec") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(path("/v1/sandboxes/by-key/x") == NGX_HTTP_HOLDFAST_NAME_UNKNOWN);
    CHECK(path("/sandbox/a-b/exec") == NGX_HTTP_HOLDFAST_NAME_BAD);

    CHECK(plain("/v1/a%20b/c"));
    CHECK(plain("/v1/.hidden/..x/x.."));
    CHECK(plain("/v1/a%c3%a9"));
    CHECK(!plain("/a%2fb"));
    CHECK(!plain("/a%5Cb"));
    CHECK(!plain("/a%00"));
    CHECK(!plain("/a%2e"));
    CHECK(!plain("/a%252e"));
    CHECK(!plain("/a%1f"));
    CHECK(!plain("/a\\b"));
    CHECK(!plain("/a/../b"));
    CHECK(!plain("/a/.."));
    CHECK(!plain("/./a"));
    CHECK(!plain("/a%"));
    CHECK(!plain("/a%2"));
    CHECK(!plain("/a%gg"));

    CHECK(local("localhost") && local("127.0.0.1") && local("[::1]"));
    CHECK(local("192.168.1.20") && local("LOCALHOST"));
    CHECK(!local("localhost.evil.example") && !local("127.0.0.1.evil"));
    CHECK(!local("evil.example") && !local("1.2.3") && !local("[x]"));
    CHECK(!local(""));
}

int main(void)
{
    test_hosts();
    test_paths();
    return TEST_END();
}
