/*
 * keeper: see keeper.h. Owns the keeper's socket and its buffers.
 */
#include "keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exec.h"
#include "guest.h"
#include "loop.h"
#include "outside.h"
#include "ports.h"
#include "proto.h"
#include "server.h"
#include "service.h"

#define HEAD 4                  /* bytes of a frame's length */

static struct {
    struct watch listener, w;
    uint8_t      head[HEAD];
    uint8_t     *frame;         /* type and body, when the length is known */
    uint32_t     got, want;
    /* hello, booted and one status fit always */
    uint8_t      out[2 * (HEAD + 1) + 256 + sizeof(struct guest_status)];
    size_t       off, len;
    bool         changed;
} keeper = { .w.fd = -1 };


/* ---- out ----------------------------------------------------------------- */

static void drop(void)
{
    loop_close(&keeper.w);
    free(keeper.frame);
    keeper.frame = NULL;
    keeper.got = keeper.want = 0;
    keeper.off = keeper.len = 0;
}


static void put_frame(uint8_t type, const void *body, size_t n)
{
    uint8_t *p = keeper.out + keeper.len;
    uint32_t len = (uint32_t) n + 1;
    int i;

    if (n + HEAD + 1 > sizeof(keeper.out) - keeper.len) {
        drop();                 /* it asks faster than it reads */
        return;
    }
    for (i = 0; i < HEAD; i++)
        p[i] = (uint8_t) (len >> (8 * i));
    p[HEAD] = type;
    memcpy(p + HEAD + 1, body, n);
    keeper.len += n + HEAD + 1;
}


static void put_status(void)
{
    struct guest_status s;

    memset(&s, 0, sizeof(s));
    s.version = GUEST_VERSION;
    s.execs = exec_count();
    s.output_ago_ms = exec_output_ago_ms();
    s.input_ago_ms = UINT32_MAX;
    s.nports = ports_fill(s.ports);
    s.nservices = services_fill(s.services, &s.setup);
    put_frame(GUEST_STATUS, &s, sizeof(s));
    keeper.changed = false;
}


static void flush(void)
{
    ssize_t n;

    while (keeper.w.fd >= 0 && keeper.off < keeper.len) {
        n = send(keeper.w.fd, keeper.out + keeper.off,
                 keeper.len - keeper.off, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            drop();
            return;
        }
        if (n < 0)
            break;
        keeper.off += (size_t) n;
    }
    if (keeper.off == keeper.len)
        keeper.off = keeper.len = 0;
    if (keeper.w.fd >= 0)
        loop_watch(&keeper.w,
                   keeper.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}


bool keeper_connected(void)
{
    return keeper.w.fd >= 0;
}


void keeper_changed(void)
{
    keeper.changed = true;
}


void keeper_turn_end(void)
{
    if (keeper.w.fd < 0)
        return;
    if (keeper.changed && keeper.len == 0)
        put_status();
    if (keeper.len > 0)
        flush();
}


/* ---- in ------------------------------------------------------------------ */

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
        | (uint32_t) p[3] << 24;
}


static void answer_boot(const uint8_t *body, size_t n)
{
    uint8_t booted[1 + 96] = { 0 };
    char why[96] = "";

    booted[0] = guest_boot(body, n, why) == 0;
    memcpy(booted + 1, why, strlen(why));
    put_frame(GUEST_BOOTED, booted, 1 + strlen(why));
    keeper_changed();
}


static void on_frame(uint8_t type, const uint8_t *body, size_t n)
{
    char why[96];

    switch (type) {
    case GUEST_BOOT:
        answer_boot(body, n);
        break;
    case GUEST_WATCH:
        if (n == 4)
            ports_watch(le32(body));
        break;
    case GUEST_ENV:
        if (guest.phase == PHASE_BOOTED && guest_env(body, n, why) != 0)
            drop();             /* the next connection may send a good one */
        break;
    case GUEST_STOP:
        if (n == 4)
            guest_stop(le32(body));
        break;
    default:
        break;                  /* of a newer keeper */
    }
}


/* 1: go on, 0: nothing more is there, -1: drop. */
static int take(void)
{
    uint8_t *to = keeper.frame != NULL ? keeper.frame : keeper.head;
    uint32_t want = keeper.frame != NULL ? keeper.want : HEAD;
    uint8_t *frame;
    ssize_t n;

    n = recv(keeper.w.fd, to + keeper.got, want - keeper.got, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    keeper.got += (uint32_t) n;
    if (keeper.got < want)
        return 1;
    keeper.got = 0;
    if (keeper.frame == NULL) {
        keeper.want = le32(keeper.head);
        if (keeper.want == 0 || keeper.want > GUEST_FRAME_MAX)
            return -1;
        keeper.frame = malloc(keeper.want);
        return keeper.frame != NULL ? 1 : -1;
    }
    frame = keeper.frame;
    keeper.frame = NULL;
    on_frame(frame[0], frame + 1, want - 1);
    explicit_bzero(frame, want);        /* env has secrets */
    free(frame);
    return keeper.w.fd >= 0 ? 1 : 0;
}


static void ready(struct watch *w, uint32_t events)
{
    int r, i;

    (void) w;
    if (events & EPOLLOUT)
        flush();
    if (keeper.w.fd < 0 || !(events & ~(uint32_t) EPOLLOUT))
        return;
    for (i = 0, r = 1; i < 64 && r == 1; i++)
        r = take();
    if (r < 0)
        drop();
}


static void listener_ready(struct watch *w, uint32_t events)
{
    uint8_t hello[2] = { GUEST_VERSION, guest.phase != PHASE_WAITING };
    int fd;

    (void) events;
    fd = accept_outside(w->fd);
    if (fd < 0)
        return;
    drop();
    keeper.w = (struct watch) { .fd = fd, .ready = ready };
    if (loop_watch(&keeper.w, EPOLLIN) != 0) {
        drop();
        return;
    }
    put_frame(GUEST_HELLO, hello, sizeof(hello));
    put_status();
    ports_wake();
}


void keeper_start(int listener)
{
    keeper.listener = (struct watch) {
        .fd = listener, .ready = listener_ready
    };
    loop_watch(&keeper.listener, EPOLLIN);
}
