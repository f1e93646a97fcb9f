/* Unit test of common/buf: growth, the ceiling, what stays on failure. */
#include "common/buf.h"

#include "test.h"

static void test_growth(void)
{
    struct buf b;
    char       big[1000];
    int        i;

    memset(big, 'x', sizeof(big));
    buf_init(&b, 100000);
    CHECK(b.data == NULL);
    buf_str(&b, "");
    CHECK(b.data != NULL && b.len == 0 && b.data[0] == '\0');
    for (i = 0; i < 100; i++)
        buf_add(&b, big, sizeof(big));
    CHECK(b.len == 100000 && !b.failed);
    CHECK(b.data[b.len] == '\0');
    buf_add(&b, "y", 1);
    CHECK(b.failed && b.len == 100000);
    buf_reset(&b);
    CHECK(!b.failed && b.len == 0);
    buf_fini(&b);
}

static void test_printf(void)
{
    struct buf b;
    char       want[700];

    buf_init(&b, 1000);
    buf_printf(&b, "%d-%s", 42, "a");
    CHECK_STR(b.data, "42-a");
    buf_printf(&b, "%600d", 7);
    snprintf(want, sizeof(want), "42-a%600d", 7);
    CHECK_STR(b.data, want);
    buf_printf(&b, "%600d", 7);
    CHECK(b.failed);
    CHECK(strcmp(b.data, want) == 0);
    buf_fini(&b);
}

static void test_consume(void)
{
    struct buf b;

    buf_init(&b, 10);
    buf_str(&b, "hello");
    buf_consume(&b, 2);
    CHECK_STR(b.data, "llo");
    buf_consume(&b, 99);
    CHECK(b.len == 0 && b.data[0] == '\0');
    CHECK(buf_room(&b, 10) != NULL);
    CHECK(buf_room(&b, 11) == NULL);
    buf_fini(&b);
    buf_init(&b, 10);
    buf_consume(&b, 1);
    CHECK(b.len == 0);
    CHECK(buf_room(&b, (size_t)-1) == NULL);
    buf_fini(&b);
}

int main(void)
{
    test_growth();
    test_printf();
    test_consume();
    return TEST_END();
}
