/* Unit test of api/image_name: which names an engine would take. */
#include "api/image_name.h"

#include <string.h>

#include "test.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const good[] = {
    "debian", "holdfast/base", "holdfast/base:1", "debian:12.1-slim",
    "127.0.0.1:5000/a/b/c:v_1", "localhost/a", "Registry.example.com/a",
    "a-b", "a---b", "a_b", "a__b", "a.b/c.d", "a@sha256:" HEX64,
    "host:1/a:Tag@sha256:" HEX64, "sha256:" HEX64, "0",
};

static const char *const bad[] = {
    "", "UPPER/Case", "Debian", "a b", "-x", "x:tag with space", "../etc",
    "x@sha256:123", "http://x/y", "a/", "/a", "a//b", "a:", ":a", "a:.b",
    "a_", "a___b", "a..b", "a._b", "a-", "host:/a", "host:x/a",
    "host:123456/a", ".com/a", "a@md5:" HEX64, "a@sha256:" HEX64 "0",
    "a:b:c", "a@", "localhost:5000/", "a\xc3\xa4", "a\n",
};

int main(void)
{
    char   text[300];
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK(image_name_ok(good[i]));
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!image_name_ok(bad[i]));
    memset(text, 'a', sizeof(text));
    text[255] = '\0';
    CHECK(image_name_ok(text));
    text[255] = 'a';
    text[256] = '\0';
    CHECK(!image_name_ok(text));
    memcpy(text, "a:", 2);
    text[131] = '\0';
    CHECK(!image_name_ok(text));
    text[130] = '\0';
    CHECK(image_name_ok(text));
    return TEST_END();
}
