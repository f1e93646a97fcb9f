/*
 * websocket: where a WebSocket's frames end, however they are cut up.
 */
#include "../../ngx_module/ngx_http_holdfast_websocket.c"

#include <string.h>

#include "test.h"

static ngx_http_holdfast_websocket_t f;

static int after(const void *p, size_t n)
{
    memset(&f, 0, sizeof(f));
    ngx_http_holdfast_websocket_read(&f, p, n);
    return ngx_http_holdfast_websocket_between(&f);
}

/* The same in two pieces, at every place. */
static int cut(const unsigned char *p, size_t n)
{
    size_t i;
    int    whole = after(p, n);

    for (i = 0; i <= n; i++) {
        memset(&f, 0, sizeof(f));
        ngx_http_holdfast_websocket_read(&f, p, i);
        ngx_http_holdfast_websocket_read(&f, p + i, n - i);
        if (ngx_http_holdfast_websocket_between(&f) != whole)
            return -1;
    }
    return whole;
}

static void test_lengths(void)
{
    static unsigned char b[70000];

    CHECK(cut((const unsigned char *)"", 0) == 1);
    CHECK(cut((const unsigned char *)"\x81\x02hi", 4) == 1);
    CHECK(cut((const unsigned char *)"\x81\x02hi\x81", 5) == 0);
    CHECK(cut((const unsigned char *)"\x81\x02h", 3) == 0);
    CHECK(cut((const unsigned char *)"\x81\x00\x89\x00", 4) == 1);
    CHECK(cut((const unsigned char *)"\x81\x82\1\2\3\4hi", 8) == 1);
    CHECK(cut((const unsigned char *)"\x81\x82\1\2\3\4h", 7) == 0);
    memcpy(b, "\x82\x7e\x01\x00", 4);
    CHECK(cut(b, 4 + 256) == 1);
    CHECK(cut(b, 4 + 255) == 0);
    memcpy(b, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
    CHECK(after(b, 10 + 65536) == 1);
    CHECK(after(b, 10 + 65535) == 0);
    memcpy(b, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    CHECK(after(b, sizeof(b)) == 0);
}

static void test_closed(void)
{
    CHECK(after("\x88\x02\x03\xe8", 4) == 0);
    CHECK(f.ended == 1);
    CHECK(after("\x88\x00\x81\x00", 4) == 0);
}

int main(void)
{
    test_lengths();
    test_closed();
    return TEST_END();
}
