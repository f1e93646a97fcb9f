/*
 * guestlink: see guestlink.h.
 *
 * Owns the connection to one guest. Never believes a length, and parses
 * nothing of variable form but the text of BOOTED, which it only bounds.
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
#include "live.h"
#include "start.h"

#define FRAME_HEAD     5
#define FRAME_IN_MAX   8192     /* the largest a guest has reason to send */
#define TURN_FRAMES    64       /* a chatty guest waits for its next turn */

struct guestlink {
    struct sandbox *sb;
    struct watch    watch;
    struct buf      out;
    unsigned char   in[FRAME_HEAD + FRAME_IN_MAX];
    size_t          nin;
    bool            writing;
};

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
        | (uint32_t) p[3] << 24;
}

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

/* 0, or -1: not a frame that a guest sends. */
static int guestlink_frame(struct guestlink *g, uint8_t type,
    const unsigned char *body, size_t len)
{
    struct guest_status status;
    char                text[200];
    size_t              n;

    switch (type) {
    case GUEST_HELLO:
        if (len != 2 || body[0] != GUEST_VERSION)
            return -1;
        start_hello(g->sb, body[1] != 0);
        return 0;
    case GUEST_BOOTED:
        if (len < 1)
            return -1;
        n = len - 1 < sizeof(text) - 1 ? len - 1 : sizeof(text) - 1;
        memcpy(text, body + 1, n);
        text[n] = '\0';
        start_booted(g->sb, body[0] != 0, text);
        return 0;
    case GUEST_STATUS:
        if (len != sizeof(status))
            return -1;
        memcpy(&status, body, sizeof(status));
        if (status.nports > GUEST_PORTS_MAX)
            status.nports = GUEST_PORTS_MAX;
        if (status.nservices > GUEST_SERVICES_MAX)
            status.nservices = GUEST_SERVICES_MAX;
        start_status(g->sb, &status);
        return 0;
    default:
        return -1;
    }
}

/* One frame from the front. 1 done, 0 not whole yet, -1 nonsense. */
static int guestlink_take(struct guestlink *g)
{
    unsigned char frame[FRAME_HEAD + FRAME_IN_MAX];
    uint32_t      len;
    size_t        whole;

    if (g->nin < FRAME_HEAD)
        return 0;
    len = le32(g->in);
    if (len < 1 || len > FRAME_IN_MAX)
        return -1;
    whole = 4 + (size_t) len;
    if (g->nin < whole)
        return 0;
    memcpy(frame, g->in, whole);
    g->nin -= whole;
    memmove(g->in, g->in + whole, g->nin);
    return guestlink_frame(g, frame[4], frame + FRAME_HEAD, len - 1) == 0
        ? 1 : -1;
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
        } while (rc == 1);
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
