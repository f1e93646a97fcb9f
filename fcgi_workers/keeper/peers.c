/*
 * peers: see peers.h.
 *
 * Owns three SEQPACKET connections (net.sock, doorctl.sock, door.sock), which
 * it makes anew when they break, and the calls that are out. Tells start.c
 * when the door has come back empty.
 */
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/door.h"
#include "../common/log.h"
#include "../common/msg.h"
#include "../common/net.h"
#include "start.h"

#define RECONNECT_MIN_MS 50
#define RECONNECT_MAX_MS 1000

union message {
    uint32_t          seq;      /* first in each */
    struct net_ask    net;
    struct door_order order;
    struct door_ask   ask;
};

union answer {
    struct {
        uint32_t seq;
        int32_t  error;
    } head;                     /* first in each */
    struct net_answer  net;
    struct door_answer door;
};

struct call {
    struct call  *next;
    union message msg;
    int           pass;         /* own descriptor to send along, or -1 */
    bool          sent;
    int64_t       until_ms;
    peers_done    done;
    void         *arg;
};

struct peer {
    struct keeper *k;
    const char    *name;        /* of its socket, without .sock */
    size_t         msg_len, answer_len;
    struct watch   watch;
    bool           writing;
    struct timer   again, overdue;
    int64_t        again_ms;
    struct call   *calls, **calls_end;
};

enum { PEER_NET, PEER_DOORCTL, PEER_DOOR, PEER_COUNT };

struct peers {
    struct peer p[PEER_COUNT];
    uint32_t    seq;
    bool        had_door;
};

static void peer_send_all(struct peer *p);
static void peer_connect(struct peer *p);

/* ---- calls --------------------------------------------------------------- */

static void call_end(struct peer *p, struct call **at, const struct err *e,
    int fd)
{
    struct call *c = *at;

    *at = c->next;
    if (*at == NULL)
        p->calls_end = at;
    if (c->done != NULL)
        c->done(c->arg, e, fd);
    else if (fd >= 0)
        close(fd);
    if (c->pass >= 0)
        close(c->pass);
    free(c);
}

static void peer_overdue(struct timer *t)
{
    struct peer  *p = t->owner;
    struct call **at = &p->calls;
    int64_t       now = loop_now_ms(p->k->loop);
    struct err    e;

    while (*at != NULL) {
        if ((*at)->until_ms > now) {
            at = &(*at)->next;
            continue;
        }
        err_set(&e, "unavailable", "the %s role does not answer", p->name);
        call_end(p, at, &e, -1);
        at = &p->calls;         /* its completion may have added some */
    }
    if (p->calls != NULL)
        loop_timer_set(p->k->loop, &p->overdue, 1000);
}

static void peer_call(struct keeper *k, int which, union message *msg,
    int pass, peers_done done, void *arg)
{
    struct peer *p = &k->peers->p[which];
    struct call *c = calloc(1, sizeof(*c));

    if (c == NULL)
        log_fatal("out of memory");
    c->msg = *msg;
    c->msg.seq = ++k->peers->seq;
    c->pass = pass < 0 ? -1 : fcntl(pass, F_DUPFD_CLOEXEC, 3);
    c->done = done;
    c->arg = arg;
    c->until_ms = loop_now_ms(k->loop) + PEERS_DEADLINE_MS;
    *p->calls_end = c;
    p->calls_end = &c->next;
    if (p->overdue.slot == 0)
        loop_timer_set(k->loop, &p->overdue, 1000);
    peer_send_all(p);
}

/* ---- the connection ------------------------------------------------------ */

static void peer_lost(struct peer *p)
{
    struct call *c;

    loop_remove(p->k->loop, &p->watch);
    close(p->watch.fd);
    p->watch.fd = -1;
    p->writing = false;
    for (c = p->calls; c != NULL; c = c->next)
        c->sent = false;
    loop_timer_set(p->k->loop, &p->again, p->again_ms);
    p->again_ms = p->again_ms * 2 > RECONNECT_MAX_MS ? RECONNECT_MAX_MS
        : p->again_ms * 2;
}

static void peer_send_all(struct peer *p)
{
    struct call *c;

    if (p->watch.fd == -1)
        return;
    for (c = p->calls; c != NULL; c = c->next) {
        if (c->sent)
            continue;
        if (msg_send(p->watch.fd, &c->msg, p->msg_len, &c->pass,
                c->pass >= 0 ? 1 : 0) == -1) {
            if (errno == EAGAIN) {
                p->writing = true;
                loop_change(p->k->loop, &p->watch, EPOLLIN | EPOLLOUT);
                return;
            }
            log_warn("%s.sock: %s", p->name, strerror(errno));
            peer_lost(p);
            return;
        }
        c->sent = true;
    }
    if (p->writing) {
        p->writing = false;
        loop_change(p->k->loop, &p->watch, EPOLLIN);
    }
}

static void peer_answered(struct peer *p, const union answer *a, int fd)
{
    struct call **at = &p->calls;
    struct err    e;

    while (*at != NULL && (*at)->msg.seq != a->head.seq)
        at = &(*at)->next;
    if (*at == NULL) {
        if (fd >= 0)
            close(fd);          /* of a call that was given up */
        return;
    }
    if (a->head.error == 0) {
        call_end(p, at, NULL, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (p->answer_len == sizeof(struct net_answer))
        err_set(&e, "internal", "the sandbox's network could not be made: "
            "%.*s", (int) sizeof(a->net.text), a->net.text);
    else
        err_set(&e, "internal", "the door refused: %s",
            strerror(a->head.error));
    call_end(p, at, &e, -1);
}

static void peer_ready(struct watch *w, uint32_t events)
{
    struct peer *p = w->owner;
    union answer a;
    ssize_t      n;
    int          fds[MSG_FDS_MAX], nfds, i;

    for (;;) {
        if (w->fd == -1)
            return;             /* a completion found it broken */
        nfds = MSG_FDS_MAX;
        memset(&a, 0, sizeof(a));
        n = msg_recv(w->fd, &a, sizeof(a), fds, &nfds);
        if (n == -1 && errno == EAGAIN)
            break;
        if (n != (ssize_t) p->answer_len) {
            log_warn("%s.sock: connection lost", p->name);
            peer_lost(p);
            return;
        }
        for (i = 1; i < nfds; i++)
            close(fds[i]);
        p->again_ms = RECONNECT_MIN_MS;
        peer_answered(p, &a, nfds > 0 ? fds[0] : -1);
    }
    if ((events & EPOLLOUT) != 0)
        peer_send_all(p);
}

static void peer_again(struct timer *t)
{
    peer_connect(t->owner);
}

static void peer_connect(struct peer *p)
{
    struct peers *all = p->k->peers;
    char          path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s.sock", p->k->s->run_dir, p->name);
    p->watch.fd = msg_connect(path, SOCK_SEQPACKET);
    if (p->watch.fd == -1
        || loop_add(p->k->loop, &p->watch, EPOLLIN) == -1) {
        if (p->watch.fd != -1)
            close(p->watch.fd);
        p->watch.fd = -1;
        loop_timer_set(p->k->loop, &p->again, p->again_ms);
        p->again_ms = p->again_ms * 2 > RECONNECT_MAX_MS ? RECONNECT_MAX_MS
            : p->again_ms * 2;
        return;
    }
    if (p == &all->p[PEER_DOORCTL]) {
        if (all->had_door)
            start_door_back(p->k);      /* it holds nothing any more */
        all->had_door = true;
    }
    peer_send_all(p);
}

static void peer_open(struct keeper *k, int which, const char *name,
    size_t msg_len, size_t answer_len)
{
    struct peer *p = &k->peers->p[which];

    p->k = k;
    p->name = name;
    p->msg_len = msg_len;
    p->answer_len = answer_len;
    p->watch.fd = -1;
    p->watch.owner = p;
    p->watch.ready = peer_ready;
    p->again.owner = p->overdue.owner = p;
    p->again.due = peer_again;
    p->overdue.due = peer_overdue;
    p->again_ms = RECONNECT_MIN_MS;
    p->calls_end = &p->calls;
    peer_connect(p);
}

int peers_open(struct keeper *k, struct err *e)
{
    k->peers = calloc(1, sizeof(*k->peers));
    if (k->peers == NULL)
        return err_set(e, "internal", "out of memory");
    peer_open(k, PEER_NET, "net", sizeof(struct net_ask),
        sizeof(struct net_answer));
    peer_open(k, PEER_DOORCTL, "doorctl", sizeof(struct door_order),
        sizeof(struct door_answer));
    peer_open(k, PEER_DOOR, "door", sizeof(struct door_ask),
        sizeof(struct door_answer));
    return 0;
}

void peers_close(struct keeper *k)
{
    struct call *c;
    int          i;

    if (k->peers == NULL)
        return;
    for (i = 0; i < PEER_COUNT; i++) {
        struct peer *p = &k->peers->p[i];

        loop_timer_clear(k->loop, &p->again);
        loop_timer_clear(k->loop, &p->overdue);
        loop_remove(k->loop, &p->watch);
        if (p->watch.fd != -1)
            close(p->watch.fd);
        while ((c = p->calls) != NULL) {
            p->calls = c->next;
            free(c);
        }
    }
    free(k->peers);
    k->peers = NULL;
}

void peers_forget(struct keeper *k, const void *arg)
{
    struct call *c;
    int          i;

    for (i = 0; i < PEER_COUNT; i++) {
        for (c = k->peers->p[i].calls; c != NULL; c = c->next) {
            if (c->arg == arg)
                c->done = NULL;
        }
    }
}

bool peers_up(const struct keeper *k, const char *name)
{
    int i;

    for (i = 0; i < PEER_COUNT; i++) {
        if (strcmp(k->peers->p[i].name, name) == 0)
            return k->peers->p[i].watch.fd != -1;
    }
    return false;
}

/* ---- the calls themselves ------------------------------------------------ */

void peers_net_make(struct keeper *k, int32_t pid, uint32_t ifnumber,
    uint32_t addr, peers_done done, void *arg)
{
    union message m;

    memset(&m, 0, sizeof(m));
    m.net.verb = NET_MAKE;
    m.net.pid = pid;
    m.net.ifnumber = ifnumber;
    m.net.addr = addr;
    peer_call(k, PEER_NET, &m, -1, done, arg);
}

void peers_net_drop(struct keeper *k, uint32_t ifnumber)
{
    union message m;

    memset(&m, 0, sizeof(m));
    m.net.verb = NET_DROP;
    m.net.ifnumber = ifnumber;
    peer_call(k, PEER_NET, &m, -1, NULL, NULL);
}

void peers_net_check(struct keeper *k, peers_done done, void *arg)
{
    union message m;

    memset(&m, 0, sizeof(m));
    m.net.verb = NET_CHECK;
    peer_call(k, PEER_NET, &m, -1, done, arg);
}

static void door_order(struct keeper *k, enum door_verb verb, const char *id,
    uint64_t generation, int netns, peers_done done, void *arg)
{
    union message m;

    memset(&m, 0, sizeof(m));
    m.order.verb = (uint8_t) verb;
    m.order.generation = generation;
    snprintf(m.order.id, sizeof(m.order.id), "%s", id);
    peer_call(k, PEER_DOORCTL, &m, netns, done, arg);
}

void peers_door_add(struct keeper *k, const char *id, uint64_t generation,
    int netns, peers_done done, void *arg)
{
    door_order(k, DOOR_ADD, id, generation, netns, done, arg);
}

void peers_door_drop(struct keeper *k, const char *id, uint64_t generation)
{
    door_order(k, DOOR_DROP, id, generation, -1, NULL, NULL);
}

void peers_dial(struct keeper *k, const char *id, uint64_t generation,
    peers_done done, void *arg)
{
    union message m;

    memset(&m, 0, sizeof(m));
    m.ask.family = DOOR_UNIX;
    m.ask.count = 1;
    m.ask.generation = generation;
    snprintf(m.ask.id, sizeof(m.ask.id), "%s", id);
    peer_call(k, PEER_DOOR, &m, -1, done, arg);
}
