/*
 * teller: see teller.h. hiredis without its asynchronous half: commands are
 * appended, replies are read and thrown away.
 */
#include "teller.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../common/log.h"

#define BEHIND_MAX 4096         /* commands without a reply */
#define AGAIN_MS   1000
#define COMPLAIN_AT 3           /* Redis may be starting, too */

struct teller {
    struct loop  *loop;
    char          path[256];
    redisContext *redis;
    struct watch  watch;
    struct timer  again;
    int           behind;
    int           losses;       /* in a row */
    bool          writing;
};

static void teller_lost(struct teller *t, const char *why)
{
    if (++t->losses == COMPLAIN_AT)
        log_warn("redis: %s; nginx looks for events once a second", why);
    if (t->redis != NULL) {
        loop_remove(t->loop, &t->watch);
        redisFree(t->redis);
    }
    t->redis = NULL;
    t->behind = 0;
    t->writing = false;
    loop_timer_set(t->loop, &t->again, AGAIN_MS);
}

/* What it answers is of no interest, that it does is. */
static int teller_read(struct teller *t)
{
    void *reply = NULL;
    int   rc;

    if (redisBufferRead(t->redis) == REDIS_ERR)
        return -1;
    while ((rc = redisGetReplyFromReader(t->redis, &reply)) == REDIS_OK
        && reply != NULL) {
        freeReplyObject(reply);
        t->behind--;
        if (t->losses >= COMPLAIN_AT)
            log_info("redis: is back");
        t->losses = 0;
    }
    return rc == REDIS_OK ? 0 : -1;
}

static void teller_ready(struct watch *w, uint32_t events)
{
    struct teller *t = w->owner;

    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0
        && teller_read(t) == -1) {
        teller_lost(t, "connection lost");
        return;
    }
    if ((events & EPOLLOUT) != 0)
        teller_flush(t);
}

static void teller_connect(struct timer *timer)
{
    struct teller *t = timer->owner;

    t->redis = redisConnectUnixNonBlock(t->path);
    if (t->redis == NULL || t->redis->err != 0) {
        if (t->redis != NULL)
            redisFree(t->redis);
        t->redis = NULL;
        teller_lost(t, "cannot be reached");
        return;
    }
    t->watch.fd = t->redis->fd;
    t->watch.owner = t;
    t->watch.ready = teller_ready;
    if (loop_add(t->loop, &t->watch, EPOLLIN) == -1) {
        redisFree(t->redis);
        t->redis = NULL;
        teller_lost(t, "cannot be watched");
        return;
    }
}

void teller_tell(struct teller *t, const char *stream, uint64_t count)
{
    char text[160];

    if (t->redis == NULL || t->behind >= BEHIND_MAX)
        return;
    snprintf(text, sizeof(text), "%s %" PRIu64, stream, count);
    if (redisAppendCommand(t->redis, "PUBLISH hf:news %s", text) == REDIS_OK)
        t->behind++;
}

void teller_flush(struct teller *t)
{
    int done = 0;

    if (t->redis == NULL)
        return;
    if (redisBufferWrite(t->redis, &done) == REDIS_ERR) {
        teller_lost(t, "connection lost");
        return;
    }
    if (t->writing == !done)
        return;
    t->writing = !done;
    loop_change(t->loop, &t->watch, EPOLLIN | (done ? 0 : EPOLLOUT));
}

struct teller *teller_open(struct loop *l, const char *path)
{
    struct teller *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->loop = l;
    t->again.owner = t;
    t->again.due = teller_connect;
    snprintf(t->path, sizeof(t->path), "%s", path);
    teller_connect(&t->again);
    return t;
}

void teller_close(struct teller *t)
{
    if (t == NULL)
        return;
    loop_timer_clear(t->loop, &t->again);
    if (t->redis != NULL) {
        loop_remove(t->loop, &t->watch);
        redisFree(t->redis);
    }
    free(t);
}
