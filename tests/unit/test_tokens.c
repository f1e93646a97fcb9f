/* Unit test of common/tokens: both forms, and no secret in an error. */
#include "common/tokens.h"

#include "test.h"

static struct token t;
static struct err   e;

static int parse(const char *s)
{
    return tokens_parse(s, strlen(s), &t, &e);
}

static int is(const char *p, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(p, want, len) == 0;
}

int main(void)
{
    char hex[65];

    CHECK(parse("ci:hunter2") == 0);
    CHECK(is(t.tenant, t.tenant_len, "default"));
    CHECK(is(t.name, t.name_len, "ci"));
    CHECK(is(t.scope, t.scope_len, "admin"));
    CHECK(is(t.secret, t.secret_len, "hunter2"));
    CHECK(parse("ci:a=b/c:d") == 0);
    CHECK(is(t.secret, t.secret_len, "a=b/c:d"));
    CHECK(parse("acme/bot=s:e=c") == 0);
    CHECK(is(t.tenant, t.tenant_len, "acme"));
    CHECK(is(t.scope, t.scope_len, "admin"));
    CHECK(is(t.secret, t.secret_len, "s:e=c"));
    CHECK(parse("acme/bot:a1+b2=x") == 0);
    CHECK(is(t.scope, t.scope_len, "a1+b2"));

    CHECK(parse("hunter2") != 0 && strstr(e.msg, "hunter2") == NULL);
    CHECK(parse("") != 0);
    CHECK(parse("a=b") != 0);
    CHECK(parse(":x") != 0);
    CHECK(parse("a:") != 0);
    CHECK(parse("/a=x") != 0);
    CHECK(parse("t/=x") != 0);
    CHECK(parse("t/a:=x") != 0);
    CHECK(parse("t/a:a1+=x") != 0);
    CHECK(parse("t/a:A1=x") != 0);
    CHECK(parse("t/a:ro") != 0);
    CHECK(parse("ci:hun ter2") != 0 && strstr(e.msg, "ter2") == NULL);
    CHECK(parse("ci:sha256:zz") != 0);

    CHECK(parse("ci:abc") == 0);
    tokens_digest(&t, hex);
    CHECK(strncmp(hex, "ba7816bf8f01cfea", 16) == 0);
    CHECK(parse("ci:sha256:ba7816bf8f01cfea414140de5dae2223"
        "b00361a396177a9cb410ff61f20015ad") == 0);
    tokens_digest(&t, hex);
    CHECK(strncmp(hex, "ba7816bf8f01cfea", 16) == 0 && strlen(hex) == 64);
    return TEST_END();
}
