/*
 * outbox: see outbox.h. Owns the connection to tasks: one at a time, a new
 * one replaces the old.
 */
#include "outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../common/log.h"
#include "../common/msg.h"
#include "store.h"

struct outbox {
    struct keeper *k;
    struct watch   asks, peer;  /* peer.fd -1: nobody */
    int64_t        number;
    bool           news;
};

static void outbox_left(struct outbox *o)
{
    if (o->peer.fd == -1)
        return;
    loop_remove(o->k->loop, &o->peer);
    close(o->peer.fd);
    o->peer.fd = -1;
}

static void outbox_ready(struct watch *w, uint32_t events)
{
    struct outbox     *o = w->owner;
    struct outbox_said said;
    ssize_t            n;

    (void) events;
    while ((n = msg_recv(w->fd, &said, sizeof(said), NULL, NULL))
        == (ssize_t) sizeof(said)) {
        if (said.number <= INT64_MAX)
            store_copied(o->k, (int64_t) said.number);
    }
    if (n != -1 || (errno != EAGAIN && errno != EWOULDBLOCK))
        outbox_left(o);
}

static void outbox_new(struct watch *w, uint32_t events)
{
    struct outbox *o = w->owner;
    int            fd = msg_accept(w->fd, NULL);

    (void) events;
    if (fd == -1)
        return;
    outbox_left(o);
    o->peer.fd = fd;
    if (loop_add(o->k->loop, &o->peer, EPOLLIN) == -1) {
        close(fd);
        o->peer.fd = -1;
    }
}

void outbox_tell(struct keeper *k, int64_t number)
{
    if (k->outbox == NULL)
        return;
    k->outbox->number = number;
    k->outbox->news = true;
}

/* One that does not read is told by what is in its queue already. */
void outbox_flush(struct keeper *k)
{
    struct outbox     *o = k->outbox;
    struct outbox_said said = { .number = (uint64_t) o->number };

    if (!o->news || o->peer.fd == -1)
        return;
    o->news = false;
    if (msg_send(o->peer.fd, &said, sizeof(said), NULL, 0) == -1
        && errno != EAGAIN && errno != EWOULDBLOCK)
        outbox_left(o);
}

int outbox_open(struct keeper *k, int fd, struct err *e)
{
    struct outbox *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return err_set(e, "internal", "out of memory");
    k->outbox = o;
    o->k = k;
    o->asks.fd = fd;
    o->asks.owner = o->peer.owner = o;
    o->asks.ready = outbox_new;
    o->peer.ready = outbox_ready;
    o->peer.fd = -1;
    if (loop_add(k->loop, &o->asks, EPOLLIN) == -1)
        return err_errno(e, "listen for tasks");
    return 0;
}

void outbox_close(struct keeper *k)
{
    struct outbox *o = k->outbox;

    if (o == NULL)
        return;
    outbox_left(o);
    loop_remove(k->loop, &o->asks);
    free(o);
    k->outbox = NULL;
}
