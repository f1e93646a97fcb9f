/* Unit test of common/resp: pushes of Redis, whole, in parts and wrong. */
#include "common/resp.h"

#include "test.h"

static const char message[] =
    "*3\r\n$7\r\nmessage\r\n$7\r\nhf:news\r\n$5\r\nabc 1\r\n";
static const char subscribed[] =
    "*3\r\n$9\r\nsubscribe\r\n$7\r\nhf:news\r\n:1\r\n";

static int is(const char *p, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(p, want, len) == 0;
}

static void test_whole(void)
{
    struct resp_push push;
    char             two[256];
    size_t           i;

    CHECK(resp_push_take(message, sizeof(message) - 1, &push)
        == (long) sizeof(message) - 1);
    CHECK(is(push.kind, push.kind_len, "message"));
    CHECK(is(push.channel, push.channel_len, "hf:news"));
    CHECK(is(push.text, push.text_len, "abc 1"));
    CHECK(resp_push_take(subscribed, sizeof(subscribed) - 1, &push)
        == (long) sizeof(subscribed) - 1);
    CHECK(is(push.kind, push.kind_len, "subscribe"));
    CHECK(is(push.text, push.text_len, "1"));

    snprintf(two, sizeof(two), "%s%s", message, subscribed);
    CHECK(resp_push_take(two, strlen(two), &push)
        == (long) sizeof(message) - 1);
    for (i = 0; i < sizeof(message) - 1; i++) {
        if (resp_push_take(message, i, &push) != 0)
            break;
    }
    CHECK_AS(i == sizeof(message) - 1, "a part waits for the rest");
    for (i = 0; i < sizeof(subscribed) - 1; i++) {
        if (resp_push_take(subscribed, i, &push) != 0)
            break;
    }
    CHECK_AS(i == sizeof(subscribed) - 1, "a part waits for the rest");
}

static void test_wrong(void)
{
    static const char *const bad[] = {
        "-ERR no\r\n", "+OK\r\n", ":1\r\n", "$3\r\nabc\r\n", "*2\r\n",
        "*4\r\n", "*-1\r\n", "*\r\n", "* 3\r\n", "*3\n", "*3\rx",
        "*0000000003\r\n", "*3\r\n:7\r\n", "*3\r\n$-1\r\n",
        "*3\r\n$513\r\n", "*3\r\n$999999999\r\n", "*3\r\n$2\r\nabc\r\n",
        "*3\r\n$7\r\nmessage\r\n$7\r\nhf:news\r\n*3\r\n",
        "*3\r\n$7\r\nmessage\r\n$7\r\nhf:news\r\n:x\r\n",
    };
    struct resp_push push;
    size_t           i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (resp_push_take(bad[i], strlen(bad[i]), &push) != -1)
            break;
    CHECK_AS(i == sizeof(bad) / sizeof(bad[0]), "what is wrong is refused");
}

int main(void)
{
    test_whole();
    test_wrong();
    return TEST_END();
}
