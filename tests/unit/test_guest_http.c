/*
 * The guest's HTTP parser: whole, in single bytes, and everything that it must
 * not take.
 */
#include "../../images/guest/http.c"
#include "test.h"

static int head(const char *s, struct http_head *h)
{
    size_t scanned = 0;

    return http_head(s, strlen(s), &scanned, h);
}

static void test_good(void)
{
    static const char text[] =
        "POST /v1/sandboxes/ab1/exec?ticket=x HTTP/1.1\r\nHost: x\r\n"
        "content-LENGTH: 12 \r\nAccept: a/b, text/event-stream;q=0.5\r\n"
        "X-Request-Id: 01234-abc\r\nEmpty:\r\n\r\n";
    struct http_head h;
    size_t scanned = 0, n;
    int r = 0;

    CHECK(head(text, &h) == (int) sizeof(text) - 1);
    CHECK(h.route == HTTP_EXEC_V1 && h.v1 && h.post && h.keepalive);
    CHECK(h.has_length && h.length == 12 && h.event_stream && !h.chunked);
    CHECK_STR(h.request_id, "01234-abc");
    for (n = 0; n < sizeof(text) && r == 0; n++)
        r = http_head(text, n, &scanned, &h);
    CHECK(r == (int) sizeof(text) - 1);
    CHECK(head("GET /sandbox/A/exec HTTP/1.0\r\n\r\n", &h) > 0);
    CHECK(h.route == HTTP_EXEC_BASE && !h.post && !h.keepalive && h.http10);
    CHECK(head("POST / HTTP/1.0\r\nConnection: Keep-Alive, x\r\n\r\n", &h)
          > 0 && h.keepalive && h.route == HTTP_NOWHERE);
    CHECK(head("POST / HTTP/1.1\r\nConnection: close\r\n\r\n", &h) > 0
          && !h.keepalive);
}

static void test_routes(void)
{
    static const char *const nowhere[] = {
        "/sandbox//exec", "/sandbox/a/exec/", "/sandbox/a/b/exec",
        "/sandbox/a%2fexec", "/v1/sandboxes/a", "/v1/sandboxes/a/exec2",
        "/sandbox/a_b/exec", "/v2/sandboxes/a/exec", "/sandbox",
        "/sandbox/aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx/exec"
    };
    struct http_head h;
    char text[256];
    size_t i;

    for (i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\n\r\n", nowhere[i]);
        CHECK_AS(head(text, &h) > 0 && h.route == HTTP_NOWHERE, nowhere[i]);
    }
}

static void test_bad(void)
{
    static const struct {
        const char *text;
        int         status;
    } cases[] = {
        { "\r\n\r\n", 400 },
        { "POST\r\n\r\n", 400 },
        { "POST / HTTP/1.1 \r\n\r\n", 400 },
        { "POST  / HTTP/1.1\r\n\r\n", 400 },
        { "POST http://x/ HTTP/1.1\r\n\r\n", 400 },
        { "POST / HTTP/2.0\r\n\r\n", 505 },
        { "P(ST / HTTP/1.1\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nA : b\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\n A: b\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nA\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
          400 },
        { "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
          400 },
        { "POST / HTTP/1.1\r\nContent-Length: 1\r\n"
          "Transfer-Encoding: chunked\r\n\r\n", 400 },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
        { "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
          501 },
        { "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
          "Transfer-Encoding: chunked\r\n\r\n", 400 },
    };
    static char big[HTTP_HEAD_MAX + 1];
    struct http_head h;
    size_t i, at, scanned = 0;
    char name[32];

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(name, sizeof(name), "bad head %zu", i);
        CHECK_AS(head(cases[i].text, &h) == -cases[i].status, name);
    }
    memset(big, 'a', HTTP_HEAD_MAX);
    CHECK(http_head(big, HTTP_HEAD_MAX - 1, &scanned, &h) == 0);
    CHECK(http_head(big, HTTP_HEAD_MAX, &scanned, &h) == -431);
    snprintf(big, sizeof(big), "POST /");
    memset(big + 6, 'a', HTTP_TARGET_MAX);
    snprintf(big + 6 + HTTP_TARGET_MAX, 32, " HTTP/1.1\r\n\r\n");
    CHECK(head(big, &h) == -414);
    at = (size_t) snprintf(big, sizeof(big), "POST / HTTP/1.1\r\n");
    for (i = 0; i <= HTTP_HEADERS_MAX; i++)
        at += (size_t) snprintf(big + at, sizeof(big) - at, "A: b\r\n");
    snprintf(big + at, sizeof(big) - at, "\r\n");
    CHECK(head(big, &h) == -431);
}

/* The content of a chunked body that comes in pieces of `step` bytes, or NULL
 * when it is refused or does not end. */
static const char *chunked(const char *text, size_t step)
{
    static char got[256];
    struct http_head h = { .chunked = true };
    struct http_body b;
    const char *content;
    size_t at = 0, taken, n, have = 0, len = strlen(text), give;
    int r = 0;

    http_body_init(&b, &h);
    while (at < len && r == 0) {
        give = len - at < step ? len - at : step;
        r = http_body(&b, text + at, give, &taken, &content, &n);
        if (n > 0)
            memcpy(got + have, content, n);
        have += n;
        at += taken;
    }
    got[have] = '\0';
    return r == 1 && at == len ? got : NULL;
}

static void test_bodies(void)
{
    static const char *const bad[] = {
        "x\r\n", "\r\n", "5\r\nab", "2\r\nabc\r\n0\r\n\r\n", "2\nab\r\n",
        "123456789\r\n", "0x2\r\nab\r\n0\r\n\r\n", "-1\r\n", " 1\r\na\r\n",
        "1\r\nax\r\n", "0\r\nA: b\n\r\n", "1;a\rb\r\nx\r\n0\r\n\r\n"
    };
    static const char good[] =
        "4\r\nabcd\r\nA;x=y\r\n0123456789\r\n0\r\nT: r\r\n\r\n";
    struct http_head h = { .length = 3, .has_length = true };
    struct http_body b;
    const char *content;
    size_t i, taken, n;
    char name[32];

    for (i = 1; i < sizeof(good); i++) {
        const char *got = chunked(good, i);
        CHECK_AS(got != NULL && strcmp(got, "abcd0123456789") == 0,
                 "a chunked body in pieces");
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(name, sizeof(name), "bad body %zu", i);
        CHECK_AS(chunked(bad[i], 100) == NULL, name);
    }
    http_body_init(&b, &h);
    CHECK(http_body(&b, "ab", 2, &taken, &content, &n) == 0 && n == 2);
    CHECK(http_body(&b, "cdef", 4, &taken, &content, &n) == 1 && n == 1
          && taken == 1);
    h.length = 0;
    http_body_init(&b, &h);
    CHECK(http_body(&b, "x", 1, &taken, &content, &n) == 1 && taken == 0);
}

int main(void)
{
    test_good();
    test_routes();
    test_bad();
    test_bodies();
    return TEST_END();
}
