/*
 * ops_client: see ops_client.h.
 */
#include "ops_client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "../common/msg.h"

void ops_client_init(struct ops_client *c, const char *path)
{
    snprintf(c->path, sizeof(c->path), "%s", path);
    c->fd = -1;
}

void ops_client_fini(struct ops_client *c)
{
    if (c->fd != -1)
        close(c->fd);
    c->fd = -1;
}

static int ops_away(struct ops_client *c, struct err *e, const char *what)
{
    log_warn("keeper: %s: %s", what, strerror(errno));
    ops_client_fini(c);
    err_set(e, "unavailable", "the keeper does not answer");
    if (e != NULL)
        e->retry_after_s = 1;
    return -1;
}

/* Waits for `events` until `until_ms`. 0, or -1 with errno. */
static int ops_wait(int fd, short events, int64_t until_ms)
{
    struct pollfd p = { .fd = fd, .events = events };
    int64_t       left;
    int           n;

    for (;;) {
        left = until_ms - clock_mono_ms();
        n = poll(&p, 1, left > 0 ? (int) left : 0);
        if (n > 0)
            return 0;
        if (n == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (errno != EINTR)
            return -1;
    }
}

/* A kept connection that has something to read although nothing was asked is
 * either closed by the keeper or out of step: both times it is of no use. */
static int ops_connected(struct ops_client *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };

    if (c->fd != -1 && poll(&p, 1, 0) != 0)
        ops_client_fini(c);
    if (c->fd == -1)
        c->fd = msg_connect(c->path, SOCK_SEQPACKET);
    return c->fd == -1 ? -1 : 0;
}

static int ops_send(struct ops_client *c, const char *text, size_t len,
    int64_t until_ms)
{
    for (;;) {
        if (msg_send_text(c->fd, text, len) == 0)
            return 0;
        if (errno != EAGAIN || ops_wait(c->fd, POLLOUT, until_ms) == -1)
            return -1;
    }
}

static int ops_parse(const char *text, size_t len, struct json_object **out,
    struct err *e)
{
    struct json_tokener *t = json_tokener_new();
    struct json_object  *reply;

    if (t == NULL || len > INT_MAX) {
        json_tokener_free(t);
        return err_set(e, "unavailable", "out of memory");
    }
    reply = json_tokener_parse_ex(t, text, (int) len);
    json_tokener_free(t);
    if (!json_object_is_type(reply, json_type_object)) {
        json_object_put(reply);
        return err_set(e, "internal", "the keeper's reply is not JSON");
    }
    *out = reply;
    return 0;
}

int ops_client_ask(struct ops_client *c, const char *text, size_t len,
    struct json_object **out, struct err *e)
{
    int64_t until_ms = clock_mono_ms() + OPS_DEADLINE_MS;
    char   *reply = NULL;
    size_t  reply_len;
    int     rc;

    if (ops_connected(c) == -1)
        return ops_away(c, e, "connecting");
    rc = ops_send(c, text, len, until_ms);
    if (rc == -1 && errno != ETIMEDOUT) {
        ops_client_fini(c);     /* it went away just now: nothing was sent */
        if (ops_connected(c) == -1)
            return ops_away(c, e, "connecting again");
        rc = ops_send(c, text, len, until_ms);
    }
    if (rc == -1)
        return ops_away(c, e, "sending");

    do {
        if (ops_wait(c->fd, POLLIN, until_ms) == -1)
            return ops_away(c, e, "waiting for its reply");
        rc = msg_recv_text(c->fd, OPS_REPLY_MAX, &reply, &reply_len);
    } while (rc == -1 && errno == EAGAIN);
    if (rc != 1) {
        if (rc == 0)
            errno = ECONNRESET;
        return ops_away(c, e, "reading its reply");
    }
    rc = ops_parse(reply, reply_len, out, e);
    free(reply);
    return rc;
}
