/*
 * ports: see ports.h. Owns the netlink socket and the list of open ports.
 *
 * The few structs of linux/inet_diag.h are repeated here: musl has no kernel
 * headers.
 */
#include "ports.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper.h"
#include "bounds.h"
#include "loop.h"
#include "service.h"

#define NETLINK_SOCK_DIAG_     4
#define SOCK_DIAG_BY_FAMILY_   20
#define NLM_F_REQUEST_DUMP     (1 | 0x300)
#define NLMSG_ERROR_           2
#define NLMSG_DONE_            3
#define TCP_LISTEN_            10
#define INET_DIAG_SKV6ONLY_    11
#define ALIGN4(n)              (((n) + 3u) & ~3u)

struct nl_head {
    uint32_t len;
    uint16_t type, flags;
    uint32_t seq, pid;
};

struct diag_id {
    uint8_t  sport[2], dport[2];        /* network order */
    uint8_t  src[16], dst[16];
    uint32_t ifindex, cookie[2];
};

struct diag_request {
    struct nl_head nl;
    uint8_t  family, protocol, extensions, pad;
    uint32_t states;
    struct diag_id id;
};

struct diag_answer {
    uint8_t  family, state, timer, retrans;
    struct diag_id id;
    uint32_t expires, rqueue, wqueue, uid, inode;
};

struct port_list {
    struct guest_port v[GUEST_PORTS_MAX];
    uint8_t           n;
};

static struct {
    int              fd;
    uint32_t         seq;
    struct port_list open;
    int64_t          fast_until;
    int64_t          quiet_ms;
    struct timer     timer;
} ports = { .fd = -1 };


/* Sorted by port; when full, the highest gives way. */
static void list_add(struct port_list *l, uint16_t port, uint8_t families)
{
    uint8_t i;

    for (i = 0; i < l->n && l->v[i].port < port; i++)
        /* void */;
    if (i < l->n && l->v[i].port == port) {
        l->v[i].families |= families;
        return;
    }
    if (i == GUEST_PORTS_MAX)
        return;
    if (l->n == GUEST_PORTS_MAX)
        l->n--;
    memmove(&l->v[i + 1], &l->v[i], (size_t) (l->n - i) * sizeof(l->v[0]));
    l->v[i] = (struct guest_port) { .port = port, .families = families };
    l->n++;
}


/* Is ::'s socket for IPv6 only? An attribute of each listening one. */
static bool v6only(const uint8_t *p, size_t n)
{
    uint16_t len, type;

    while (n >= 4) {
        memcpy(&len, p, 2);
        memcpy(&type, p + 2, 2);
        if (len < 4 || len > n)
            return false;
        if (type == INET_DIAG_SKV6ONLY_ && len > 4)
            return p[4] != 0;
        if (ALIGN4(len) > n)
            return false;
        p += ALIGN4(len);
        n -= ALIGN4(len);
    }
    return false;
}


static uint8_t reachable(const struct diag_answer *a, const uint8_t *attrs,
    size_t nattrs)
{
    static const uint8_t zero[16], one[16] = { [15] = 1 };
    static const uint8_t local4[4] = { 127, 0, 0, 1 };
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    const uint8_t *src = a->id.src;

    if (a->family == AF_INET) {
        return memcmp(src, zero, 4) == 0 || memcmp(src, local4, 4) == 0
            ? GUEST_PORT_4 : 0;
    }
    if (memcmp(src, zero, 16) == 0)
        return v6only(attrs, nattrs) ? GUEST_PORT_6
            : GUEST_PORT_4 | GUEST_PORT_6;
    if (memcmp(src, one, 16) == 0)
        return GUEST_PORT_6;
    return memcmp(src, mapped, 12) == 0
        && (memcmp(src + 12, local4, 4) == 0 || memcmp(src + 12, zero, 4) == 0)
        ? GUEST_PORT_4 : 0;
}


static void take_answer(const uint8_t *p, size_t n, struct port_list *l)
{
    struct diag_answer a;
    uint8_t families;

    if (n < sizeof(a))
        return;
    memcpy(&a, p, sizeof(a));
    families = reachable(&a, p + sizeof(a), n - sizeof(a));
    if (families != 0)
        list_add(l, (uint16_t) (a.id.sport[0] << 8 | a.id.sport[1]),
                 families);
}


/* 1: done, 0: more comes, -1: failed. */
static int take_datagram(const uint8_t *p, size_t n, struct port_list *l)
{
    struct nl_head h;

    while (n >= sizeof(h)) {
        memcpy(&h, p, sizeof(h));
        if (h.len < sizeof(h) || h.len > n)
            return -1;
        if (h.seq != ports.seq)
            return 0;           /* of a look that was given up */
        if (h.type == NLMSG_DONE_)
            return 1;
        if (h.type == NLMSG_ERROR_)
            return -1;
        take_answer(p + sizeof(h), h.len - sizeof(h), l);
        if (ALIGN4(h.len) >= n)
            return 0;
        p += ALIGN4(h.len);
        n -= ALIGN4(h.len);
    }
    return 0;
}


static int look_at(uint8_t family, struct port_list *l)
{
    uint8_t buf[8192];
    struct diag_request r;
    ssize_t n;
    int more = 0;

    memset(&r, 0, sizeof(r));
    r.nl.len = sizeof(r);
    r.nl.type = SOCK_DIAG_BY_FAMILY_;
    r.nl.flags = NLM_F_REQUEST_DUMP;
    r.nl.seq = ++ports.seq;
    r.family = family;
    r.protocol = 6;             /* TCP */
    r.states = 1u << TCP_LISTEN_;
    if (send(ports.fd, &r, sizeof(r), MSG_DONTWAIT) != (ssize_t) sizeof(r))
        return -1;
    while (more == 0) {         /* the kernel answers in the call itself */
        n = recv(ports.fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        more = take_datagram(buf, (size_t) n, l);
    }
    return more < 0 ? -1 : 0;
}


static int open_socket(void)
{
    if (ports.fd < 0)
        ports.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
                          NETLINK_SOCK_DIAG_);
    return ports.fd;
}


/* True when something has changed. */
static bool look(void)
{
    struct port_list now;

    memset(&now, 0, sizeof(now));
    if (open_socket() < 0)
        return false;
    if (look_at(AF_INET, &now) != 0) {
        close(ports.fd);        /* what is left in it belongs to no look */
        ports.fd = -1;
        return false;
    }
    if (look_at(AF_INET6, &now) != 0) {     /* a kernel without IPv6 */
        close(ports.fd);
        ports.fd = -1;
    }
    if (now.n == ports.open.n
        && memcmp(now.v, ports.open.v, sizeof(now.v)) == 0)
    {
        return false;
    }
    ports.open = now;
    keeper_changed();
    return true;
}


static void due(struct timer *t)
{
    bool wanted = services_waiting(), news = false;

    if (wanted || keeper_connected())
        news = look();
    services_looked();
    if (wanted)
        wanted = services_waiting();
    if (services_check_logs())
        news = true;
    ports.quiet_ms = news ? QUIET_FIRST_MS : ports.quiet_ms * 3 / 2;
    if (ports.quiet_ms > QUIET_MAX_MS)
        ports.quiet_ms = QUIET_MAX_MS;
    if (wanted || loop_now_ms() < ports.fast_until)
        loop_timer(t, PORTS_FAST_MS);
    else if (keeper_connected() || services_running())
        loop_timer(t, ports.quiet_ms);
}


void ports_start(void)
{
    ports.timer.due = due;
    ports.quiet_ms = QUIET_FIRST_MS;
}


void ports_watch(uint32_t ms)
{
    int64_t until = loop_now_ms() + (ms < 600000 ? ms : 600000);

    if (until > ports.fast_until)
        ports.fast_until = until;
    loop_timer(&ports.timer, 0);
}


void ports_wake(void)
{
    int64_t in = QUIET_FIRST_MS;

    ports.quiet_ms = QUIET_FIRST_MS;
    if (services_waiting())
        in = PORTS_FAST_MS;
    if (!ports.timer.set || ports.timer.at_ms > loop_now_ms() + in)
        loop_timer(&ports.timer, in);
}


uint8_t ports_fill(struct guest_port *out)
{
    memcpy(out, ports.open.v, sizeof(ports.open.v));
    return ports.open.n;
}


uint8_t ports_families(uint16_t port)
{
    uint8_t i;

    for (i = 0; i < ports.open.n; i++)
        if (ports.open.v[i].port == port)
            return ports.open.v[i].families;
    return 0;
}
