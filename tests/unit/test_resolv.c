/* Resolvers: which addresses of which files, and the setting. */
#include "test.h"

#include <arpa/inet.h>

#include "net/resolv.h"

static struct resolv r;

static int parse(const char *text)
{
    return resolv_parse(text, strlen(text), &r);
}

static void test_file(void)
{
    CHECK(parse("") == 0);
    CHECK(parse("nameserver 9.9.9.9") == 1 && r.addr[0] == 0x09090909);
    CHECK(parse("# nameserver 1.1.1.1\n;nameserver 1.1.1.1\n") == 0);
    CHECK(parse("nameserver\t10.0.0.2 \r\nsearch a b\nnameserver 10.0.0.3\n")
        == 2 && r.addr[0] == 0x0a000002 && r.addr[1] == 0x0a000003);
    CHECK(parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n"
        "nameserver 224.0.0.251\nnameserver 255.255.255.255\n") == 0);
    CHECK(parse("nameserver 2001:db8::1\nnameserver fe80::1%eth0\n") == 0);
    CHECK(parse("nameserver 1.1.1.1\nnameserver 1.1.1.1\n") == 1);
    CHECK(parse("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"
        "nameserver 1.1.1.4\n") == RESOLV_MAX);
    CHECK(parse("nameserver9.9.9.9\nnameserver 9.9.9\nnameserver 9.9.9.9x\n"
        "nameserver 9.9.9.9.9.9.9.9.9\nnameserver\nnameserver \n") == 0);
    CHECK(resolv_parse("nameserver 9.9.9.9\0\n", 20, &r) == 0);
}

static void test_setting(void)
{
    struct err e = {0};

    CHECK(resolv_parse_list("", &r, &e) == 0 && r.n == 0);
    CHECK(resolv_parse_list(" 1.1.1.1 ,9.9.9.9", &r, &e) == 0 && r.n == 2);
    CHECK(resolv_parse_list("1.1.1.1,bad", &r, &e) == -1);
    CHECK(strstr(e.msg, "bad") != NULL && r.n == 2);
    CHECK(resolv_parse_list("127.0.0.1", &r, &e) == -1);
    CHECK(resolv_parse_list("1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4", &r, &e) == -1);
}

static void test_text(void)
{
    struct buf b;
    struct err e;

    buf_init(&b, 1024);
    resolv_parse_list("1.2.3.4", &r, &e);
    resolv_text(&r, &b);
    CHECK_STR(b.data, "nameserver 1.2.3.4\noptions timeout:2 attempts:3\n");
    buf_fini(&b);
}

int main(void)
{
    test_file();
    test_setting();
    test_text();
    return TEST_END();
}
