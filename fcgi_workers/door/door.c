/*
 * door: makes sockets inside the sandboxes' network namespaces.
 *
 * Listens on door.sock (nginx asks for sockets) and doorctl.sock (the keeper
 * adds and drops handles); who may connect is decided by the owner and mode of
 * the two socket files. Every packet is one fixed struct (common/door.h) and
 * gets one answer, in order.
 *
 * Owns the handles and nothing else: no sandbox's state, no route. Has
 * CAP_SYS_ADMIN (setns) from the parent, no other capability and no uid of
 * weight. Must never connect, read or write a socket it made, and never wait
 * inside a sandbox's namespace: it is back in the host's before it looks at
 * anything else.
 *
 * A peer that does not take its answers is not read from until it does. Asks
 * are bounded by connections × one answer each, descriptors by `nofile`.
 */
#include "door_role.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/door.h"
#include "../common/log.h"
#include "../common/loop.h"
#include "../common/msg.h"
#include "handles.h"

#define PEERS_MAX   256         /* connections, both sockets together */
#define BATCH       32          /* packets of one peer per turn */
#define FDS_SPARE   1024        /* descriptors that are not handles */

struct door {
    struct loop    *loop;
    struct handles *handles;
    int             home;       /* our own network namespace */
    dev_t           home_dev;
    ino_t           home_ino;
    struct watch    asks, orders;
    int             npeers;
    struct peer    *peers;
};

struct peer {
    struct watch       watch;
    struct door       *door;
    struct peer       *next;
    bool               keeper;  /* came by doorctl.sock */
    bool               blocked; /* `answer` waits for room */
    struct door_answer answer;
    int                fds[DOOR_SOCKETS_MAX];
    int                nfds;
};

static void peer_clear(struct peer *p)
{
    for (int i = 0; i < p->nfds; i++)
        close(p->fds[i]);
    p->nfds = 0;
}

static void peer_close(struct peer *p)
{
    struct door  *d = p->door;
    struct peer **at = &d->peers;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    loop_remove(d->loop, &p->watch);
    close(p->watch.fd);
    peer_clear(p);
    free(p);
    d->npeers--;
}

/* ---- one ask ------------------------------------------------------------ */

static int family_of(uint8_t family)
{
    switch (family) {
    case DOOR_UNIX:  return AF_UNIX;
    case DOOR_INET:  return AF_INET;
    case DOOR_INET6: return AF_INET6;
    default:         return -1;
    }
}

/* Sockets into p->fds; at least one, or an errno. Being unable to come home
 * is fatal: a door in a sandbox's namespace is worse than none, and the parent
 * starts a new one. */
static int make_sockets(struct peer *p, int ns, int family, int count)
{
    int fd = -1, error;

    if (setns(ns, CLONE_NEWNET) != 0)
        return errno;
    while (p->nfds < count) {
        fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            break;
        p->fds[p->nfds++] = fd;
    }
    error = errno;
    if (setns(p->door->home, CLONE_NEWNET) != 0)
        log_fatal("cannot return to the host's network namespace: %s",
            strerror(errno));
    return p->nfds > 0 ? 0 : error;
}

static int answer_ask(struct peer *p, struct door_ask *a)
{
    int ns, family = family_of(a->family);

    a->id[sizeof(a->id) - 1] = 0;
    if (family < 0 || a->count < 1 || a->count > DOOR_SOCKETS_MAX)
        return EINVAL;
    ns = handles_find(p->door->handles, a->id, a->generation);
    if (ns < 0)
        return ENOENT;
    return make_sockets(p, ns, family, a->count);
}

/* ---- one order ---------------------------------------------------------- */

/* The descriptor must be a network namespace, and not the host's. */
static int check_namespace(const struct door *d, int fd)
{
    struct stat st;

    if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET || fstat(fd, &st) != 0)
        return EINVAL;
    if (st.st_ino == d->home_ino && st.st_dev == d->home_dev)
        return EPERM;
    return 0;
}

/* Takes fd, which may be -1. */
static int answer_order(struct peer *p, struct door_order *o, int fd)
{
    struct door *d = p->door;
    int          error;

    o->id[sizeof(o->id) - 1] = 0;
    if (o->verb == DOOR_ADD && fd >= 0 && o->id[0] != 0
        && o->generation != 0)
    {
        error = check_namespace(d, fd);
        if (error == 0)
            return handles_add(d->handles, o->id, o->generation, fd);
    } else if (o->verb == DOOR_DROP) {
        error = handles_drop(d->handles, o->id, o->generation) > 0
            ? 0 : ENOENT;
    } else {
        error = EINVAL;
    }
    if (fd >= 0)
        close(fd);
    return error;
}

/* ---- peers -------------------------------------------------------------- */

/* 1 sent, 0 no room yet, -1 the peer is gone. */
static int peer_send(struct peer *p)
{
    if (msg_send(p->watch.fd, &p->answer, sizeof(p->answer), p->fds,
        p->nfds) != 0)
    {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        return -1;
    }
    peer_clear(p);
    return 1;
}

/* Takes one packet and answers it. As peer_send; 2: nothing to read. */
static int peer_turn(struct peer *p)
{
    union {
        struct door_ask   ask;
        struct door_order order;
    } in;
    size_t  want = p->keeper ? sizeof(in.order) : sizeof(in.ask);
    ssize_t n;
    int     fd = -1, nfds = p->keeper ? 1 : 0;

    n = msg_recv(p->watch.fd, &in, sizeof(in), &fd, &nfds);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 2;
    if (nfds < 1)
        fd = -1;
    if (n != (ssize_t)want) {
        if (fd >= 0)
            close(fd);
        if (n != 0)
            log_warn("a peer sent a packet of a wrong size: closed");
        return -1;
    }
    if (p->keeper) {
        p->answer.seq = in.order.seq;
        p->answer.error = answer_order(p, &in.order, fd);
    } else {
        p->answer.seq = in.ask.seq;
        p->answer.error = answer_ask(p, &in.ask);
    }
    return peer_send(p);
}

static void peer_block(struct peer *p, bool blocked)
{
    p->blocked = blocked;
    if (loop_change(p->door->loop, &p->watch,
        blocked ? EPOLLOUT : EPOLLIN) != 0)
        peer_close(p);
}

static void peer_ready(struct watch *w, uint32_t events)
{
    struct peer *p = w->owner;
    int          rc;

    (void)events;
    if (p->blocked) {
        rc = peer_send(p);
        if (rc < 0)
            peer_close(p);
        else if (rc > 0)
            peer_block(p, false);
        return;
    }
    for (int i = 0; i < BATCH; i++) {
        rc = peer_turn(p);
        if (rc == 1)
            continue;
        if (rc < 0)
            peer_close(p);
        else if (rc == 0)
            peer_block(p, true);
        return;
    }
}

static void peer_new(struct watch *w, uint32_t events)
{
    struct door *d = w->owner;
    struct peer *p;
    int          fd;

    (void)events;
    fd = msg_accept(w->fd, NULL);
    if (fd < 0)
        return;
    p = d->npeers < PEERS_MAX ? calloc(1, sizeof(*p)) : NULL;
    if (p == NULL) {
        log_warn("too many connections: one refused");
        close(fd);
        return;
    }
    p->door = d;
    p->keeper = w == &d->orders;
    p->watch.fd = fd;
    p->watch.owner = p;
    p->watch.ready = peer_ready;
    p->next = d->peers;
    d->peers = p;
    d->npeers++;
    if (loop_add(d->loop, &p->watch, EPOLLIN) != 0)
        peer_close(p);
}

/* ---- start -------------------------------------------------------------- */

static int door_open_home(struct door *d, struct err *e)
{
    struct stat st;

    d->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (d->home < 0 || fstat(d->home, &st) != 0)
        return err_errno(e, "open the host's network namespace");
    d->home_dev = st.st_dev;
    d->home_ino = st.st_ino;
    return 0;
}

static int door_listen(struct door *d, struct watch *w, int fd, struct err *e)
{
    w->fd = fd;
    w->owner = d;
    w->ready = peer_new;
    if (loop_add(d->loop, w, EPOLLIN) != 0)
        return err_errno(e, "watch listening socket %d", fd);
    return 0;
}

/* As many handles as descriptors allow, less those for everything else. */
static size_t handles_limit(const struct settings *s)
{
    struct rlimit r;
    rlim_t        n = (rlim_t)s->nofile;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < n)
        n = r.rlim_cur;
    return n > 2 * FDS_SPARE ? (size_t)(n - FDS_SPARE) : (size_t)(n / 2);
}

static int door_start(struct door *d, const struct settings *s, struct err *e)
{
    d->loop = loop_new();
    d->handles = handles_new(handles_limit(s));
    if (d->loop == NULL || d->handles == NULL)
        return err_errno(e, "start the door");
    if (door_open_home(d, e) != 0
        || door_listen(d, &d->asks, 3, e) != 0
        || door_listen(d, &d->orders, 4, e) != 0)
        return -1;
    if (loop_handle_signals(d->loop, NULL, NULL) != 0)
        return err_errno(e, "take signals");
    return 0;
}

int door_main(const struct settings *s)
{
    struct door  d;
    struct peer *p, *next;
    struct err   e;
    int          rc;

    memset(&d, 0, sizeof(d));
    d.home = -1;
    if (door_start(&d, s, &e) != 0)
        log_fatal("%s", e.msg);
    rc = loop_run(d.loop);
    for (p = d.peers; p != NULL; p = next) {
        next = p->next;
        peer_close(p);
    }
    handles_free(d.handles);
    loop_free(d.loop);
    close(d.home);
    return rc == 0 ? 0 : 111;
}
