/* Names, addresses and rules of a stack's network; the door's table. */
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "door/handles.h"
#include "net/nft.h"
#include "net/plan.h"

static char none[] = "", abcd[] = "abcd", wide[] = "198.18.0.0/15",
    bad[] = "198.18.0.0/33", odd[] = "198.18.77.3/16";
static struct settings s = { .stack = none, .addr_range = wide,
    .conns_max = 77 };

static void test_plan(void)
{
    struct plan p;
    struct err  e;
    char        name[IF_NAMESIZE];

    CHECK(plan_init(&p, &s, &e) == 0);
    CHECK_STR(p.prefix, "hf-");
    CHECK_STR(p.table, "holdfast");
    CHECK(p.base == 0xc6120000 && p.gateway == 0xc613ffff);
    CHECK(plan_owns_addr(&p, 0xc6120001) && plan_owns_addr(&p, 0xc613fffe));
    CHECK(!plan_owns_addr(&p, 0xc6120000) && !plan_owns_addr(&p, 0xc613ffff));
    CHECK(plan_ifname(&p, UINT32_MAX, name) == 0);
    CHECK_STR(name, "hf-4294967295");
    CHECK(plan_owns_ifname(&p, "hf-12") && !plan_owns_ifname(&p, "hf-"));
    CHECK(!plan_owns_ifname(&p, "hfa-12") && !plan_owns_ifname(&p, "hf-1a"));

    s.stack = abcd;
    CHECK(plan_init(&p, &s, &e) == 0);
    CHECK_STR(p.prefix, "hfabcd-");
    CHECK_STR(p.table, "holdfast_abcd");
    CHECK(!plan_owns_ifname(&p, "hf-12"));
    CHECK(plan_ifname(&p, 99999999, name) == 0);
    CHECK(plan_ifname(&p, 100000000, name) == -1);
    s.stack = none;

    s.addr_range = bad;
    CHECK(plan_init(&p, &s, &e) == -1);
    s.addr_range = odd;
    CHECK(plan_init(&p, &s, &e) == 0 && p.base == 0xc6120000);
}

static void test_rules(void)
{
    struct plan p;
    struct err  e;
    struct buf  b;

    plan_init(&p, &s, &e);
    buf_init(&b, 65536);
    nft_text(&p, &b);
    CHECK(strstr(b.data, "ct count over 77 }") != NULL);
    CHECK(strstr(b.data, "tcp dport 25 drop") != NULL);
    CHECK(strstr(b.data, "resolvers4 {\n    type ipv4_addr\n  }") != NULL);
    buf_reset(&b);
    p.smtp_out = true;
    p.resolvers.n = 2;
    p.resolvers.addr[0] = 0x01010101;
    p.resolvers.addr[1] = 0x0a0000fe;
    nft_text(&p, &b);
    CHECK(strstr(b.data, "tcp dport 25") == NULL);
    CHECK(strstr(b.data, "elements = { 1.1.1.1, 10.0.0.254 }") != NULL);
    buf_fini(&b);
}

static int any_fd(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void test_handles(void)
{
    struct handles *t = handles_new(6);
    int             fd = any_fd();

    CHECK(handles_add(t, "a", 1, fd) == 0);
    CHECK(handles_find(t, "a", 1) == fd && handles_find(t, "a", 2) == -1);
    CHECK(handles_find(t, "b", 1) == -1);
    CHECK(handles_add(t, "a", 1, any_fd()) == 0);
    CHECK_AS(handles_find(t, "a", 1) != fd, "the old one is closed");
    for (uint64_t g = 2; g < 8; g++)
        CHECK(handles_add(t, "a", g, any_fd()) == 0);
    CHECK_AS(handles_find(t, "a", 3) == -1, "the oldest made room");
    CHECK(handles_find(t, "a", 4) >= 0 && handles_find(t, "a", 7) >= 0);
    CHECK(handles_add(t, "b", 1, any_fd()) == 0);
    CHECK(handles_add(t, "c", 1, any_fd()) == 0);
    CHECK_AS(handles_add(t, "d", 1, any_fd()) != 0, "the table is full");
    CHECK(handles_drop(t, "a", 7) == 1 && handles_drop(t, "a", 7) == 0);
    CHECK(handles_drop(t, "a", 0) == 3 && handles_find(t, "a", 4) == -1);
    CHECK(handles_find(t, "b", 1) >= 0);
    handles_free(t);
    fd = any_fd();
    CHECK_AS(fd <= 5, "no descriptor is left open");
    close(fd);
}

int main(void)
{
    test_plan();
    test_rules();
    test_handles();
    return TEST_END();
}
