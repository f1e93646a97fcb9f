/* Unit test of common/ids: what is a name and what is not. */
#include "common/ids.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static int fold(const char *s, char *out)
{
    return ids_fold(s, strlen(s), out);
}

static void test_fold(void)
{
    char out[ID_MAX + 1] = "kept";

    CHECK(fold("", out) != 0);
    CHECK(fold("a b", out) != 0);
    CHECK(fold("a-b", out) != 0);
    CHECK(fold("\xc3\xa4", out) != 0);
    CHECK(ids_fold("a\0b", 3, out) != 0);
    CHECK_STR(out, "kept");
    CHECK(fold("AbC9", out) == 0);
    CHECK_STR(out, "abc9");
    CHECK(fold("0123456789012345678901234567890123456789", out) == 0);
    CHECK(fold("01234567890123456789012345678901234567890", out) != 0);
}

static void test_new(void)
{
    char a[ID_ULID_LEN + 1], b[ID_ULID_LEN + 1], out[ID_MAX + 1];
    int  i, grows = 1, fd[2];

    ids_new(a);
    CHECK(strlen(a) == ID_ULID_LEN);
    CHECK(fold(a, out) == 0 && strcmp(a, out) == 0);
    for (i = 0; i < 100000; i++) {
        ids_new(b);
        grows = grows && strcmp(a, b) < 0;
        memcpy(a, b, sizeof(a));
    }
    CHECK(grows);
    CHECK(ids_request_ok(a, ID_ULID_LEN));

    /* A forked worker makes names of its own. */
    CHECK(pipe(fd) == 0);
    if (fork() == 0) {
        ids_new(b);
        _exit(write(fd[1], b, sizeof(b)) == (ssize_t)sizeof(b) ? 0 : 1);
    }
    CHECK(read(fd[0], b, sizeof(b)) == (ssize_t)sizeof(b));
    ids_new(a);
    CHECK(memcmp(a + 10, b + 10, 12) != 0);
    wait(NULL);
}

static void test_request(void)
{
    CHECK(ids_request_ok("abcd-123", 8));
    CHECK(!ids_request_ok("abcd-12", 7));
    CHECK(!ids_request_ok("abcd_123", 8));
    CHECK(!ids_request_ok("abcd\r\n12", 8));
}

static void test_number(void)
{
    int64_t n = -5;

    CHECK(ids_number("", 0, 0, 9, &n) != 0);
    CHECK(ids_number("-1", 2, -9, 9, &n) != 0);
    CHECK(ids_number("+1", 2, 0, 9, &n) != 0);
    CHECK(ids_number("01", 2, 0, 9, &n) != 0);
    CHECK(ids_number("1 ", 2, 0, 9, &n) != 0);
    CHECK(ids_number("10", 2, 0, 9, &n) != 0);
    CHECK(ids_number("9223372036854775808", 19, 0, INT64_MAX, &n) != 0);
    CHECK(n == -5);
    CHECK(ids_number("0", 1, 0, 9, &n) == 0 && n == 0);
    CHECK(ids_number("9223372036854775807", 19, 0, INT64_MAX, &n) == 0
        && n == INT64_MAX);
}

static void test_utf8(void)
{
    static const char *const bad[] = {
        "\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80",
        "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xf0\x9f\x98",
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!ids_utf8_ok(bad[i], strlen(bad[i])));
    CHECK(ids_utf8_ok("", 0));
    CHECK(!ids_utf8_ok("a\0b", 3));
    CHECK(ids_utf8_ok("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 10));
    CHECK(ids_utf8_ok("\xf4\x8f\xbf\xbf", 4));
    CHECK(ids_key_ok("Team A / b\xc3\xa4r", 12));
    CHECK(!ids_key_ok("", 0));
    CHECK(!ids_key_ok("a\nb", 3));
    CHECK(!ids_key_ok("a\x7f", 2));
    CHECK(!ids_key_ok("a\xc2\x85", 3));
    CHECK(!ids_key_ok("a\xe2\x80\xa8", 4));
}

int main(void)
{
    test_fold();
    test_new();
    test_request();
    test_number();
    test_utf8();
    return TEST_END();
}
