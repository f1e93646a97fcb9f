/*
 * net: the role that gives sandboxes their network.
 *
 * Listens on net.sock for the keeper (common/net.h): make, drop, check. Each
 * ask is one fixed struct and gets one answer, in order; a make takes a few
 * milliseconds and is done before the next is looked at.
 *
 * Owns the stack's interfaces and its nftables table. Has from the parent
 * CAP_NET_ADMIN, CAP_SYS_ADMIN (setns), CAP_SYS_PTRACE (/proc/<pid>/ns of the
 * guest) and CAP_NET_RAW (iptables), nothing else. Must never make an interface
 * while the rules are not proven.
 */
#include "net_role.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/log.h"
#include "../common/loop.h"
#include "../common/msg.h"
#include "../common/net.h"
#include "iptables.h"
#include "nft.h"
#include "veth.h"

#define PEERS_MAX 8
#define PROVE_MS  60000
#define AGAIN_MS  1000          /* after a proof that failed */

struct net {
    struct loop           *loop;
    const struct settings *settings;
    struct plan            plan;
    struct nft             nft;
    struct veth            veth;
    struct timer           prove;
    struct err             why;         /* code NULL: proven */
    struct watch           asks;
    int                    npeers;
    struct peer           *peers;
};

struct peer {
    struct watch watch;
    struct net  *net;
    struct peer *next;
};

/* ---- the proof ---------------------------------------------------------- */

static int forwarding_on(struct err *e)
{
    static const char path[] = "/proc/sys/net/ipv4/ip_forward";
    char              now = 0;
    int               fd = open(path, O_RDWR | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return err_errno(e, "open %s", path);
    if (read(fd, &now, 1) != 1 || now != '1') {
        if (pwrite(fd, "1", 1, 0) != 1)
            rc = err_errno(e, "switch on forwarding in %s", path);
        else
            log_info("switched on net.ipv4.ip_forward");
    }
    close(fd);
    return rc;
}

static int prove(struct net *n, struct err *e)
{
    struct resolv now;

    if (resolv_find(n->settings, &now, e) != 0)
        return -1;
    if (memcmp(&now, &n->plan.resolvers, sizeof(now)) != 0) {
        n->plan.resolvers = now;
        buf_reset(&n->nft.proof);       /* other rules: install them */
    }
    if (nft_assert(&n->nft, e) != 0 || forwarding_on(e) != 0
        || iptables_assert(&n->plan, e) != 0)
        return -1;
    veth_uplink(&n->veth);
    return 0;
}

static void net_prove(struct net *n)
{
    struct err e = {0};
    bool       was = n->why.code == NULL;

    if (prove(n, &e) == 0) {
        if (!was)
            log_info("the sandboxes' packet rules stand");
        memset(&n->why, 0, sizeof(n->why));
    } else {
        log_error("no sandbox may start: %s", e.msg);
        n->why = e;
    }
    loop_timer_set(n->loop, &n->prove,
        n->why.code == NULL ? PROVE_MS : AGAIN_MS);
}

static void net_prove_due(struct timer *t)
{
    net_prove(t->owner);
}

/* ---- asks --------------------------------------------------------------- */

static int refuse(const struct net *n, struct err *e)
{
    *e = n->why;
    return ENETDOWN;
}

/* The errno of the answer; *ns is set for a make that went well. */
static int net_do(struct net *n, const struct net_ask *a, int *ns,
    struct err *e)
{
    switch (a->verb) {
    case NET_MAKE:
        if (n->why.code != NULL)
            return refuse(n, e);
        return veth_make(&n->veth, a->pid, a->ifnumber, a->addr, ns, e);
    case NET_DROP:
        return veth_drop(&n->veth, a->ifnumber, e);
    case NET_CHECK:
        net_prove(n);
        return n->why.code != NULL ? refuse(n, e) : 0;
    default:
        err_set(e, "internal", "unknown verb %u", a->verb);
        return EINVAL;
    }
}

static void peer_close(struct peer *p)
{
    struct peer **at = &p->net->peers;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->net->npeers--;
    loop_remove(p->net->loop, &p->watch);
    close(p->watch.fd);
    free(p);
}

/* An answer that finds no room means a keeper that asks and never reads:
 * closed. */
static void peer_ready(struct watch *w, uint32_t events)
{
    struct peer      *p = w->owner;
    struct net_ask    ask;
    struct net_answer answer = {0};
    struct err        e = {0};
    ssize_t           n;
    int               ns = -1, rc;

    (void)events;
    n = msg_recv(w->fd, &ask, sizeof(ask), NULL, NULL);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n != (ssize_t)sizeof(ask)) {
        if (n != 0)
            log_warn("the keeper sent a packet of a wrong size: closed");
        peer_close(p);
        return;
    }
    answer.seq = ask.seq;
    answer.error = net_do(p->net, &ask, &ns, &e);
    if (answer.error != 0)
        snprintf(answer.text, sizeof(answer.text), "%.*s",
            (int)sizeof(answer.text) - 1, e.msg);
    rc = msg_send(w->fd, &answer, sizeof(answer), &ns, ns >= 0 ? 1 : 0);
    if (ns >= 0)
        close(ns);
    if (rc != 0)
        peer_close(p);
}

static void peer_new(struct watch *w, uint32_t events)
{
    struct net  *n = w->owner;
    struct peer *p;
    int          fd = msg_accept(w->fd, NULL);

    (void)events;
    if (fd < 0)
        return;
    p = n->npeers < PEERS_MAX ? calloc(1, sizeof(*p)) : NULL;
    if (p == NULL) {
        log_warn("too many connections: one refused");
        close(fd);
        return;
    }
    p->net = n;
    p->watch.fd = fd;
    p->watch.owner = p;
    p->watch.ready = peer_ready;
    p->next = n->peers;
    n->peers = p;
    n->npeers++;
    if (loop_add(n->loop, &p->watch, EPOLLIN) != 0)
        peer_close(p);
}

/* ---- start and end ------------------------------------------------------ */

static int net_open(struct net *n, const struct settings *s, struct err *e)
{
    memset(n, 0, sizeof(*n));
    n->settings = s;
    n->veth.rtnl = n->veth.home = -1;
    nft_init(&n->nft, &n->plan);
    if (plan_init(&n->plan, s, e) != 0)
        return -1;
    return veth_open(&n->veth, &n->plan, e);
}

static void net_close(struct net *n)
{
    struct peer *p, *next;

    for (p = n->peers; p != NULL; p = next) {
        next = p->next;
        peer_close(p);
    }
    veth_close(&n->veth);
    nft_fini(&n->nft);
    loop_free(n->loop);
}

static int net_start(struct net *n, struct err *e)
{
    n->loop = loop_new();
    n->prove.owner = n;
    n->prove.due = net_prove_due;
    n->asks.fd = 3;
    n->asks.owner = n;
    n->asks.ready = peer_new;
    if (n->loop == NULL || loop_handle_signals(n->loop, NULL, NULL) != 0
        || loop_add(n->loop, &n->asks, EPOLLIN) != 0)
        return err_errno(e, "start net");
    return 0;
}

int net_main(const struct settings *s)
{
    struct net n;
    struct err e;
    int        rc;

    if (net_open(&n, s, &e) != 0 || net_start(&n, &e) != 0)
        log_fatal("%s", e.msg);
    net_prove(&n);
    rc = loop_run(n.loop);
    net_close(&n);
    return rc == 0 ? 0 : 111;
}

/* After a stop, for good: interfaces first, so that nothing is ever without
 * rules. */
int net_clean(const struct settings *s)
{
    struct net n;
    struct err e;
    int        rc;

    rc = net_open(&n, s, &e);
    if (rc == 0) {
        veth_drop_all(&n.veth);
        iptables_remove(&n.plan);
        rc = nft_remove(&n.nft, &e);
    }
    if (rc != 0)
        log_error("cannot remove the stack's network: %s", e.msg);
    net_close(&n);
    return rc;
}
