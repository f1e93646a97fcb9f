/*
 * veth: see veth.h.
 *
 * Enters a sandbox's namespace only to open a netlink socket and to write
 * sysctls (whose files belong to the namespace of whoever opens them), and
 * returns before it does anything else.
 */
#include "veth.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/log.h"
#include "rtnl.h"

#define MTU_DEFAULT 1500
#define MTU_LEAST   576

struct sysctl {
    const char *path, *value;
};

/* Sandbox side, in this order: all=1 takes ::1 away, lo=0 brings it. */
static const struct sysctl inside[] = {
    { "/proc/sys/net/ipv6/conf/all/disable_ipv6", "1" },
    { "/proc/sys/net/ipv6/conf/default/disable_ipv6", "1" },
    { "/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0" },
};

/* Host side. arp_ignore: it answers for the gateway, not for every address
 * that this host happens to have. */
static const struct sysctl outside[] = {
    { "/proc/sys/net/ipv6/conf/%s/disable_ipv6", "1" },
    { "/proc/sys/net/ipv4/conf/%s/rp_filter", "1" },
    { "/proc/sys/net/ipv4/conf/%s/forwarding", "1" },
    { "/proc/sys/net/ipv4/conf/%s/arp_ignore", "1" },
    { "/proc/sys/net/ipv4/conf/%s/accept_redirects", "0" },
    { "/proc/sys/net/ipv4/conf/%s/send_redirects", "0" },
    { "/proc/sys/net/ipv4/conf/%s/accept_local", "0" },
};

/* Fills *e and returns the errno. */
static int failed(struct err *e, int error, const char *what)
{
    err_set(e, "internal", "cannot %s: %s", what, strerror(error));
    return error != 0 ? error : EIO;
}

int veth_open(struct veth *v, const struct plan *p, struct err *e)
{
    v->plan = p;
    v->mtu = MTU_DEFAULT;
    v->rtnl = rtnl_open();
    v->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (v->rtnl < 0 || v->home < 0)
        return err_errno(e, "open the host's network namespace");
    veth_uplink(v);
    return 0;
}

void veth_close(struct veth *v)
{
    if (v->rtnl >= 0)
        close(v->rtnl);
    if (v->home >= 0)
        close(v->home);
}

void veth_uplink(struct veth *v)
{
    struct rtnl_link l;
    char             name[IF_NAMESIZE];
    int              index = rtnl_uplink(v->rtnl);

    v->mtu = MTU_DEFAULT;
    if (index == 0 || if_indextoname((unsigned)index, name) == NULL
        || rtnl_link_get(v->rtnl, name, &l) != 0)
        return;
    if (l.mtu >= MTU_LEAST && l.mtu < MTU_DEFAULT)
        v->mtu = l.mtu;
}

/* ENOENT: this kernel has no IPv6. */
static int write_sysctl(const char *path, const char *value)
{
    int     fd = open(path, O_WRONLY | O_CLOEXEC), error = 0;
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    n = write(fd, value, strlen(value));
    if (n != (ssize_t)strlen(value))
        error = n < 0 ? errno : EIO;
    close(fd);
    return error;
}

static int harden_outside(const char *name)
{
    char path[96];
    int  error = 0;

    for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
        snprintf(path, sizeof(path), outside[i].path, name);
        error = write_sysctl(path, outside[i].value);
        if (error != 0)
            break;
    }
    return error;
}

/* ---- the namespace ------------------------------------------------------ */

/* A pid may have become another process' by now. Only PID 1 of a pid
 * namespace of its own can be a sandbox's. */
static bool is_init(int pid)
{
    char    path[48], text[4096], *p, *end;
    ssize_t n;
    int     fd;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    p = strstr(text, "\nNSpid:");
    end = p != NULL ? strchr(p + 1, '\n') : NULL;
    /* "NSpid:\t4711\t1" */
    return end != NULL && end - p > 9 && memcmp(end - 2, "\t1", 2) == 0
        && memchr(p + 8, '\t', (size_t)(end - 2 - (p + 8))) == NULL;
}

static int open_namespace(const struct veth *v, int pid, int *ns, struct err *e)
{
    struct stat theirs, ours;
    char        path[48];
    int         fd;

    snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    fd = pid > 1 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return failed(e, ESRCH, "find the sandbox's process");
    if (fstat(fd, &theirs) != 0 || fstat(v->home, &ours) != 0
        || (theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev)
        || !is_init(pid))
    {
        close(fd);
        return failed(e, EPERM, "take this process for a sandbox");
    }
    *ns = fd;
    return 0;
}

/* A netlink socket in there; with `sysctls`, those are written first. */
static int visit(const struct veth *v, int ns, bool sysctls, int *sock)
{
    int error = 0;

    if (setns(ns, CLONE_NEWNET) != 0)
        return errno;
    for (size_t i = 0; sysctls && error == 0
         && i < sizeof(inside) / sizeof(*inside); i++)
        error = write_sysctl(inside[i].path, inside[i].value);
    if (error == 0 && *sock < 0) {
        *sock = rtnl_open();
        error = *sock < 0 ? errno : 0;
    }
    if (setns(v->home, CLONE_NEWNET) != 0)
        log_fatal("cannot return to the host's network namespace: %s",
            strerror(errno));
    return error;
}

/* ---- make --------------------------------------------------------------- */

/* The two ends belong together. lo and IPv6 were then set before. */
static bool paired(const struct veth *v, int in, const char *name)
{
    struct rtnl_link ours, theirs;

    return rtnl_link_get(in, "eth0", &theirs) == 0
        && rtnl_link_get(v->rtnl, name, &ours) == 0
        && theirs.peer == ours.index && ours.peer == theirs.index;
}

/* Something of one of the two names that is no pair: what an earlier sandbox
 * left. It goes. */
static int make_pair(const struct veth *v, int in, int ns, const char *name)
{
    int error = rtnl_veth(v->rtnl, name, "eth0", ns, v->mtu);

    if (error != EEXIST)
        return error;
    error = rtnl_link_delete(v->rtnl, name);
    if (error != 0 && error != ENODEV)
        return error;
    error = rtnl_link_delete(in, "eth0");
    if (error != 0 && error != ENODEV)
        return error;
    return rtnl_veth(v->rtnl, name, "eth0", ns, v->mtu);
}

/* Before the pair: eth0 must never have had IPv6. */
static int prepare(const struct veth *v, int ns, int in)
{
    struct rtnl_link lo;
    int              error;

    (void)((error = visit(v, ns, true, &in))
        || (error = rtnl_link_get(in, "lo", &lo))
        || (error = rtnl_link_up(in, lo.index)));
    return error;
}

static int add_addr(int fd, int index, uint32_t addr)
{
    int error = rtnl_addr_add(fd, index, addr);

    return error == EEXIST ? 0 : error;
}

static int set_outside(const struct veth *v, const char *name, uint32_t addr)
{
    struct rtnl_link l;
    int              error;

    (void)((error = rtnl_link_get(v->rtnl, name, &l))
        || (error = harden_outside(name))
        || (error = add_addr(v->rtnl, l.index, v->plan->gateway))
        || (error = rtnl_link_up(v->rtnl, l.index))
        || (error = rtnl_route_host(v->rtnl, l.index, addr)));
    return error;
}

static int set_inside(const struct veth *v, int in, uint32_t addr)
{
    struct rtnl_link l;
    int              error;

    (void)((error = rtnl_link_get(in, "eth0", &l))
        || (error = add_addr(in, l.index, addr))
        || (error = rtnl_link_up(in, l.index))
        || (error = rtnl_route_default(in, l.index, v->plan->gateway,
            addr)));
    return error;
}

/* Every step may be done twice: a make that was killed half-way, and one that
 * is asked for a running sandbox, go the same way. */
static int build(const struct veth *v, int ns, int in, const char *name,
    uint32_t addr,
    struct err *e)
{
    bool was = paired(v, in, name);
    int  error = 0;

    if (!was) {
        error = prepare(v, ns, in);
        if (error != 0)
            return failed(e, error, "prepare the sandbox's network");
        error = make_pair(v, in, ns, name);
        if (error != 0)
            return failed(e, error, "make the sandbox's interface");
    }
    error = set_outside(v, name, addr);
    if (error == 0)
        error = set_inside(v, in, addr);
    if (error != 0) {
        if (!was)
            rtnl_link_delete(v->rtnl, name);
        return failed(e, error, "set up the sandbox's interface");
    }
    return 0;
}

int veth_make(struct veth *v, int pid, uint32_t number, uint32_t addr, int *ns,
    struct err *e)
{
    char name[IF_NAMESIZE];
    int  error, fd, in = -1;

    if (plan_ifname(v->plan, number, name) != 0)
        return failed(e, ENAMETOOLONG, "name the sandbox's interface");
    if (!plan_owns_addr(v->plan, addr))
        return failed(e, EADDRNOTAVAIL, "use an address outside addr_range");
    error = open_namespace(v, pid, &fd, e);
    if (error != 0)
        return error;
    error = visit(v, fd, false, &in);
    if (error != 0)
        error = failed(e, error, "enter the sandbox's network");
    else
        error = build(v, fd, in, name, addr, e);
    if (in >= 0)
        close(in);
    if (error != 0)
        close(fd);
    else
        *ns = fd;
    return error;
}

/* ---- drop --------------------------------------------------------------- */

int veth_drop(struct veth *v, uint32_t number, struct err *e)
{
    char name[IF_NAMESIZE];
    int  error;

    if (plan_ifname(v->plan, number, name) != 0)
        return failed(e, ENAMETOOLONG, "name the sandbox's interface");
    error = rtnl_link_delete(v->rtnl, name);
    if (error != 0 && error != ENODEV)
        return failed(e, error, "remove the sandbox's interface");
    return 0;
}

/* Names are collected before the first is deleted: netlink answers one
 * question at a time. */
struct found {
    const struct plan *plan;
    int                n;
    char               names[64][IF_NAMESIZE];
};

static void collect(void *arg, int index, const char *name)
{
    struct found *f = arg;

    (void)index;
    if (f->n < 64 && strlen(name) < IF_NAMESIZE
        && plan_owns_ifname(f->plan, name))
        snprintf(f->names[f->n++], IF_NAMESIZE, "%s", name);
}

int veth_drop_all(struct veth *v)
{
    struct found f = { .plan = v->plan };
    int          dropped = 0, before;

    do {
        f.n = 0;
        before = dropped;
        if (rtnl_link_list(v->rtnl, collect, &f) != 0)
            break;
        for (int i = 0; i < f.n; i++)
            if (rtnl_link_delete(v->rtnl, f.names[i]) == 0)
                dropped++;
    } while (dropped > before);
    return dropped;
}
