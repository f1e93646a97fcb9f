/*
 * rtnl: see rtnl.h. Messages are built by hand in one buffer on the stack; a
 * message that would not fit is a mistake of ours and ends in EMSGSIZE.
 */
#include "rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MESSAGE_MAX 1024
#define ANSWER_MAX  32768
#define WAIT_S      5           /* the kernel answers at once, or is stuck */

struct message {
    struct nlmsghdr head;
    char            body[MESSAGE_MAX];
};

int rtnl_open(void)
{
    struct timeval wait = { WAIT_S, 0 };
    int            fd;

    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    return fd;
}

/* ---- building ----------------------------------------------------------- */

static void *begin(struct message *m, uint16_t type, uint16_t flags, size_t len)
{
    memset(m, 0, sizeof(*m));
    m->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return m->body;
}

/* Room for an attribute; NULL (and a message too long to send) when full. */
static struct rtattr *attr(struct message *m, uint16_t type, const void *data,
    size_t len)
{
    struct rtattr *a;
    size_t         at = NLMSG_ALIGN(m->head.nlmsg_len);
    size_t         end = at + RTA_SPACE(len);

    if (end > sizeof(*m)) {
        m->head.nlmsg_len = UINT32_MAX;
        return NULL;
    }
    a = (struct rtattr *)(void *)((char *)m + at);
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(a), data, len);
    m->head.nlmsg_len = (uint32_t)end;
    return a;
}

static void attr_u32(struct message *m, uint16_t type, uint32_t value)
{
    attr(m, type, &value, sizeof(value));
}

static void attr_addr(struct message *m, uint16_t type, uint32_t addr)
{
    attr_u32(m, type, htonl(addr));
}

/* What was added since `a` becomes its content. */
static void attr_end(struct message *m, struct rtattr *a)
{
    if (a != NULL && m->head.nlmsg_len != UINT32_MAX)
        a->rta_len = (uint16_t)((char *)m + m->head.nlmsg_len - (char *)a);
}

/* ---- reading ------------------------------------------------------------ */

/* The kernel's macros mix signs, hence our own. NULL at the end. */
static const struct rtattr *attr_first(const void *at, size_t left)
{
    const struct rtattr *a = at;

    return left >= sizeof(*a) && a->rta_len >= sizeof(*a)
        && a->rta_len <= left ? a : NULL;
}

static const struct rtattr *attr_next(const struct rtattr *a, const void *end)
{
    const char *next = (const char *)a + RTA_ALIGN((size_t)a->rta_len);

    if (next >= (const char *)end)
        return NULL;
    return attr_first(next, (size_t)((const char *)end - next));
}

static const struct rtattr *attrs_of(const struct nlmsghdr *h, size_t fixed,
    const void **end)
{
    const char *at = (const char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed);

    *end = (const char *)h + h->nlmsg_len;
    if (at >= (const char *)*end)
        return NULL;
    return attr_first(at, (size_t)((const char *)*end - at));
}

/* ---- talking ------------------------------------------------------------ */

static int transmit(int fd, struct message *m)
{
    static uint32_t    seq;
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (m->head.nlmsg_len > sizeof(*m))
        return EMSGSIZE;
    m->head.nlmsg_seq = ++seq;
    if (sendto(fd, m, m->head.nlmsg_len, 0, (struct sockaddr *)&kernel,
        sizeof(kernel)) < 0)
        return errno;
    return 0;
}

/* Hands every answer of `seq` to `each` (which may be NULL) until the kernel
 * says that it was the last. Answers to an earlier, timed out message are
 * left out by their number. */
static int receive(int fd, uint32_t seq, bool dump,
    void (*each)(void *arg, const struct nlmsghdr *h), void *arg)
{
    static char             buf[ANSWER_MAX]
        __attribute__((aligned(NLMSG_ALIGNTO)));
    const struct nlmsghdr  *h;
    const struct nlmsgerr  *e;
    size_t                  left, len;
    ssize_t                 n;

    for (;;) {
        n = recv(fd, buf, sizeof(buf), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno != EAGAIN ? errno : ETIMEDOUT;
        left = (size_t)n;
        for (h = (const void *)buf; left >= sizeof(*h)
             && h->nlmsg_len >= sizeof(*h) && h->nlmsg_len <= left;
             h = (const void *)((const char *)h + len), left -= len)
        {
            len = NLMSG_ALIGN((size_t)h->nlmsg_len);
            if (len > left)
                len = left;
            if (h->nlmsg_seq != seq)
                continue;
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
            if (h->nlmsg_type == NLMSG_ERROR) {
                e = NLMSG_DATA(h);
                return -e->error;
            }
            if (each != NULL)
                each(arg, h);
            if (!dump)
                return 0;
        }
    }
}

static int ask(int fd, struct message *m)
{
    int error;

    m->head.nlmsg_flags |= NLM_F_ACK;
    error = transmit(fd, m);
    return error != 0 ? error
        : receive(fd, m->head.nlmsg_seq, true, NULL, NULL);
}

static int query(int fd, struct message *m, bool dump,
    void (*each)(void *, const struct nlmsghdr *), void *arg)
{
    int error = transmit(fd, m);

    return error != 0 ? error
        : receive(fd, m->head.nlmsg_seq, dump, each, arg);
}

/* ---- links -------------------------------------------------------------- */

int rtnl_veth(int fd, const char *name, const char *peer, int ns, uint32_t mtu)
{
    struct message    m;
    struct rtattr    *info, *data, *other;
    struct ifinfomsg  none = { .ifi_family = AF_UNSPEC };

    begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(none));
    attr(&m, IFLA_IFNAME, name, strlen(name) + 1);
    attr_u32(&m, IFLA_MTU, mtu);
    info = attr(&m, IFLA_LINKINFO, NULL, 0);
    attr(&m, IFLA_INFO_KIND, "veth", 4);
    data = attr(&m, IFLA_INFO_DATA, NULL, 0);
    other = attr(&m, VETH_INFO_PEER, &none, sizeof(none));
    attr(&m, IFLA_IFNAME, peer, strlen(peer) + 1);
    attr_u32(&m, IFLA_MTU, mtu);
    attr_u32(&m, IFLA_NET_NS_FD, (uint32_t)ns);
    attr_end(&m, other);
    attr_end(&m, data);
    attr_end(&m, info);
    return ask(fd, &m);
}

static void parse_link(const struct nlmsghdr *h, struct rtnl_link *out,
    const char **name)
{
    const struct ifinfomsg *i = NLMSG_DATA(h);
    const struct rtattr    *a;
    const void             *end;

    memset(out, 0, sizeof(*out));
    out->index = i->ifi_index;
    out->up = (i->ifi_flags & IFF_UP) != 0;
    a = attrs_of(h, sizeof(*i), &end);
    for (; a != NULL; a = attr_next(a, end)) {
        if (a->rta_type == IFLA_IFNAME && name != NULL)
            *name = RTA_DATA(a);
        else if (a->rta_type == IFLA_LINK)
            memcpy(&out->peer, RTA_DATA(a), sizeof(out->peer));
        else if (a->rta_type == IFLA_MTU)
            memcpy(&out->mtu, RTA_DATA(a), sizeof(out->mtu));
    }
}

static void got_link(void *arg, const struct nlmsghdr *h)
{
    if (h->nlmsg_type == RTM_NEWLINK)
        parse_link(h, arg, NULL);
}

int rtnl_link_get(int fd, const char *name, struct rtnl_link *out)
{
    struct message   m;
    struct rtnl_link l = {0};
    int              error;

    begin(&m, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    attr(&m, IFLA_IFNAME, name, strlen(name) + 1);
    error = query(fd, &m, false, got_link, &l);
    if (error == 0)
        *out = l;
    return error;
}

int rtnl_link_up(int fd, int index)
{
    struct message    m;
    struct ifinfomsg *i;

    i = begin(&m, RTM_NEWLINK, 0, sizeof(*i));
    i->ifi_index = index;
    i->ifi_flags = IFF_UP;
    i->ifi_change = IFF_UP;
    return ask(fd, &m);
}

int rtnl_link_delete(int fd, const char *name)
{
    struct message m;

    begin(&m, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
    attr(&m, IFLA_IFNAME, name, strlen(name) + 1);
    return ask(fd, &m);
}

struct listing {
    void (*each)(void *arg, int index, const char *name);
    void  *arg;
};

static void got_listed(void *arg, const struct nlmsghdr *h)
{
    struct listing  *l = arg;
    struct rtnl_link link;
    const char      *name = NULL;

    if (h->nlmsg_type != RTM_NEWLINK)
        return;
    parse_link(h, &link, &name);
    if (name != NULL)
        l->each(l->arg, link.index, name);
}

int rtnl_link_list(int fd, void (*each)(void *, int, const char *), void *arg)
{
    struct message m;
    struct listing l = { each, arg };

    begin(&m, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
    return query(fd, &m, true, got_listed, &l);
}

/* ---- addresses and routes ----------------------------------------------- */

int rtnl_addr_add(int fd, int index, uint32_t addr)
{
    struct message    m;
    struct ifaddrmsg *a;

    a = begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*a));
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = 32;
    a->ifa_index = (uint32_t)index;
    attr_addr(&m, IFA_LOCAL, addr);
    attr_addr(&m, IFA_ADDRESS, addr);
    return ask(fd, &m);
}

/* REPLACE: a route left by an interface of the same address that is just
 * going away must not stand in the way. */
static struct rtmsg *begin_route(struct message *m, int index)
{
    struct rtmsg *r;

    r = begin(m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*r));
    r->rtm_family = AF_INET;
    r->rtm_table = RT_TABLE_MAIN;
    r->rtm_protocol = RTPROT_STATIC;
    r->rtm_type = RTN_UNICAST;
    attr_u32(m, RTA_OIF, (uint32_t)index);
    return r;
}

int rtnl_route_host(int fd, int index, uint32_t addr)
{
    struct message m;
    struct rtmsg  *r = begin_route(&m, index);

    r->rtm_dst_len = 32;
    r->rtm_scope = RT_SCOPE_LINK;
    attr_addr(&m, RTA_DST, addr);
    return ask(fd, &m);
}

int rtnl_route_default(int fd, int index, uint32_t gateway, uint32_t src)
{
    struct message m;
    struct rtmsg  *r = begin_route(&m, index);

    r->rtm_scope = RT_SCOPE_UNIVERSE;
    r->rtm_flags = RTNH_F_ONLINK;
    attr_addr(&m, RTA_GATEWAY, gateway);
    attr_addr(&m, RTA_PREFSRC, src);
    return ask(fd, &m);
}

/* The one with the lowest metric. */
struct uplink {
    int      index;
    uint32_t metric;
};

static void got_route(void *arg, const struct nlmsghdr *h)
{
    struct uplink       *u = arg;
    const struct rtmsg  *r = NLMSG_DATA(h);
    const struct rtattr *a;
    const void          *end;
    uint32_t             metric = 0;
    int                  index = 0;

    if (h->nlmsg_type != RTM_NEWROUTE || r->rtm_dst_len != 0
        || r->rtm_table != RT_TABLE_MAIN || r->rtm_type != RTN_UNICAST)
        return;
    a = attrs_of(h, sizeof(*r), &end);
    for (; a != NULL; a = attr_next(a, end)) {
        if (a->rta_type == RTA_OIF)
            memcpy(&index, RTA_DATA(a), sizeof(index));
        else if (a->rta_type == RTA_PRIORITY)
            memcpy(&metric, RTA_DATA(a), sizeof(metric));
    }
    if (index != 0 && (u->index == 0 || metric < u->metric)) {
        u->index = index;
        u->metric = metric;
    }
}

int rtnl_uplink(int fd)
{
    struct message m;
    struct uplink  u = {0};
    struct rtmsg  *r;

    r = begin(&m, RTM_GETROUTE, NLM_F_DUMP, sizeof(*r));
    r->rtm_family = AF_INET;
    return query(fd, &m, true, got_route, &u) == 0 ? u.index : 0;
}
