/*
 * guestlink: see guestlink.h.
 *
 * Owns the connection to one guest. What is believed of it is in frame.c.
 */
#include "guestlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/log.h"
#include "frame.h"
#include "live.h"
#include "start.h"

#define TURN_FRAMES    64       /* a chatty guest waits for its next turn */

struct guestlink {
    struct sandbox *sb;
    struct watch    watch;
    struct buf      out;
    unsigned char   in[FRAME_HEAD + FRAME_IN_MAX];
    size_t          nin;
    bool            writing;
};

void guestlink_close(struct sandbox *sb)
{
    struct guestlink *g = sb->live != NULL ? sb->live->guest : NULL;

    if (g == NULL)
        return;
    sb->live->guest = NULL;
    loop_remove(sb->k->loop, &g->watch);
    close(g->watch.fd);
    buf_fini(&g->out);
    free(g);
}

static void guestlink_lost(struct guestlink *g, const char *why)
{
    struct sandbox *sb = g->sb;

    log_info("sandbox=%s guest: %s", sb->id, why);
    guestlink_close(sb);
    start_guest_lost(sb);
}

/* ---- in ------------------------------------------------------------------ */

static void guestlink_told(struct sandbox *sb, const struct frame *f)
{
    if (f->type == GUEST_HELLO)
        start_hello(sb, f->flag);
    else if (f->type == GUEST_BOOTED)
        start_booted(sb, f->flag, f->text);
    else
        start_status(sb, &f->status);
}

/* One frame from the front, if it is whole. As frame_take. */
static int guestlink_take(struct guestlink *g)
{
    struct frame f;
    int          n = frame_take(g->in, g->nin, &f);

    if (n <= 0)
        return n;
    g->nin -= (size_t) n;
    memmove(g->in, g->in + n, g->nin);
    guestlink_told(g->sb, &f);  /* may end it: g is not used after this */
    return n;
}

static void guestlink_read(struct guestlink *g)
{
    struct sandbox *sb = g->sb;
    ssize_t         n;
    int             i, rc;

    for (i = 0; i < TURN_FRAMES; i++) {
        do {
            rc = guestlink_take(g);
            if (sb->live == NULL || sb->live->guest != g)
                return;         /* what it said ended it */
        } while (rc > 0);
        if (rc == -1) {
            guestlink_lost(g, "sent a frame that is none");
            return;
        }
        n = recv(g->watch.fd, g->in + g->nin, sizeof(g->in) - g->nin, 0);
        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            guestlink_lost(g, "connection ended");
            return;
        }
        g->nin += (size_t) n;
    }
}

/* ---- out ----------------------------------------------------------------- */

/* 0, or -1: the connection is gone (and g with it, if told). */
static int guestlink_write(struct guestlink *g)
{
    ssize_t n;
    bool    more;

    while (g->out.len > 0) {
        n = send(g->watch.fd, g->out.data, g->out.len, MSG_NOSIGNAL);
        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n == -1)
            return -1;
        buf_consume(&g->out, (size_t) n);
    }
    more = g->out.len > 0;
    if (more != g->writing) {
        g->writing = more;
        loop_change(g->sb->k->loop, &g->watch,
            more ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    return 0;
}

int guestlink_send(struct sandbox *sb, uint8_t type, const void *body,
    size_t len)
{
    struct guestlink *g = sb->live != NULL ? sb->live->guest : NULL;
    unsigned char     head[FRAME_HEAD];
    uint32_t          n = (uint32_t) len + 1;

    if (g == NULL || n > GUEST_FRAME_MAX)
        return -1;
    head[0] = (unsigned char) (n & 255);
    head[1] = (unsigned char) (n >> 8 & 255);
    head[2] = (unsigned char) (n >> 16 & 255);
    head[3] = (unsigned char) (n >> 24);
    head[4] = type;
    buf_add(&g->out, head, sizeof(head));
    buf_add(&g->out, body, len);
    if (g->out.failed)
        return -1;
    return guestlink_write(g);
}

void guestlink_watch(struct sandbox *sb, uint32_t ms)
{
    unsigned char body[4] = {
        (unsigned char) (ms & 255), (unsigned char) (ms >> 8 & 255),
        (unsigned char) (ms >> 16 & 255), (unsigned char) (ms >> 24)
    };

    guestlink_send(sb, GUEST_WATCH, body, sizeof(body));
}

static void guestlink_ready(struct watch *w, uint32_t events)
{
    struct guestlink *g = w->owner;

    if ((events & EPOLLOUT) != 0 && guestlink_write(g) == -1) {
        guestlink_lost(g, strerror(errno));
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        guestlink_read(g);
}

int guestlink_open(struct sandbox *sb, int fd)
{
    struct guestlink  *g;
    struct sockaddr_un to;
    socklen_t          len;
    int                saved;

    memset(&to, 0, sizeof(to));
    to.sun_family = AF_UNIX;
    memcpy(to.sun_path + 1, GUEST_KEEPER, sizeof(GUEST_KEEPER) - 1);
    len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
        + sizeof(GUEST_KEEPER) - 1);
    if (connect(fd, (struct sockaddr *) &to, len) == -1)
        goto failed;
    g = calloc(1, sizeof(*g));
    if (g == NULL)
        goto failed;
    g->sb = sb;
    g->watch.fd = fd;
    g->watch.owner = g;
    g->watch.ready = guestlink_ready;
    buf_init(&g->out, 2 * GUEST_FRAME_MAX);
    guestlink_close(sb);
    if (loop_add(sb->k->loop, &g->watch, EPOLLIN) == -1) {
        buf_fini(&g->out);
        free(g);
        goto failed;
    }
    sb->live->guest = g;
    return 0;

failed:
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}
