/*
 * news: see news.h. hiredis' asynchronous client on our loop.
 *
 * Owns the connection. Commands are dropped while it is away or too far
 * behind: whoever listens finds the truth in SQLite.
 */
#include "news.h"

#include <hiredis/async.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "reaper.h"

#define BEHIND_MAX     4096     /* commands without an answer yet */
#define RECONNECT_MAX  10000
#define REFILL_MS      60000
#define REFILL_MAX     2048     /* in one turn; the rest in the next */
#define REFILL_AGAIN   10

struct news {
    struct keeper     *k;
    redisAsyncContext *ac;
    struct watch       watch;
    uint32_t           events;
    bool               up;
    int                behind;
    struct timer       again, refill;
    size_t             refill_at;      /* how far the last turn came */
    void             (*got)(struct keeper *k, const struct news_due *due,
        int n);
    int64_t            again_ms;
};

static void news_connect(struct news *n);

/* ---- hiredis on our loop ------------------------------------------------- */

static void news_want(struct news *n, uint32_t events)
{
    if (n->events == events)
        return;
    if (n->watch.added)
        loop_change(n->k->loop, &n->watch, events);
    n->events = events;
}

static void add_read(void *p)
{
    struct news *n = p;

    news_want(n, n->events | EPOLLIN);
}

static void del_read(void *p)
{
    struct news *n = p;

    news_want(n, n->events & ~(uint32_t) EPOLLIN);
}

static void add_write(void *p)
{
    struct news *n = p;

    news_want(n, n->events | EPOLLOUT);
}

static void del_write(void *p)
{
    struct news *n = p;

    news_want(n, n->events & ~(uint32_t) EPOLLOUT);
}

/* hiredis is about to close the descriptor and to free its context. */
static void cleanup(void *p)
{
    struct news *n = p;

    loop_remove(n->k->loop, &n->watch);
    n->ac = NULL;
    n->up = false;
    n->events = 0;
    n->behind = 0;
}

static void news_ready(struct watch *w, uint32_t events)
{
    struct news *n = w->owner;

    if (n->ac != NULL && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        redisAsyncHandleRead(n->ac);
    if (n->ac != NULL && (events & EPOLLOUT) != 0)
        redisAsyncHandleWrite(n->ac);
}

static void news_later(struct news *n)
{
    loop_timer_set(n->k->loop, &n->again, n->again_ms);
    n->again_ms = n->again_ms * 2 > RECONNECT_MAX ? RECONNECT_MAX
        : n->again_ms * 2;
}

static void news_connected(const redisAsyncContext *ac, int status)
{
    struct news *n = ac->data;

    if (status != REDIS_OK) {
        news_later(n);
        return;
    }
    n->up = true;
    n->refill_at = 0;
    n->again_ms = 1000;
    log_info("redis: connected");
    loop_timer_set(n->k->loop, &n->refill, 0);
    reaper_wake(n->k);
}

static void news_lost(const redisAsyncContext *ac, int status)
{
    struct news *n = ac->data;

    (void) status;
    log_warn("redis: connection lost");
    news_later(n);
}

static void news_again(struct timer *t)
{
    news_connect(t->owner);
}

static void news_connect(struct news *n)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/redis.sock", n->k->s->run_dir);
    n->ac = redisAsyncConnectUnix(path);
    if (n->ac == NULL || n->ac->err != 0) {
        if (n->ac != NULL)
            redisAsyncFree(n->ac);
        n->ac = NULL;
        news_later(n);
        return;
    }
    n->ac->data = n;
    n->ac->ev.data = n;
    n->ac->ev.addRead = add_read;
    n->ac->ev.delRead = del_read;
    n->ac->ev.addWrite = add_write;
    n->ac->ev.delWrite = del_write;
    n->ac->ev.cleanup = cleanup;
    n->events = EPOLLIN | EPOLLOUT;
    n->watch.fd = n->ac->c.fd;
    if (loop_add(n->k->loop, &n->watch, n->events) == -1) {
        redisAsyncFree(n->ac);
        news_later(n);
        return;
    }
    redisAsyncSetConnectCallback(n->ac, news_connected);
    redisAsyncSetDisconnectCallback(n->ac, news_lost);
}

static void news_answered(redisAsyncContext *ac, void *reply, void *arg)
{
    struct news *n = ac->data;
    redisReply  *r = reply;

    (void) arg;
    n->behind--;
    if (r != NULL && r->type == REDIS_REPLY_ERROR)
        log_warn("redis: %s", r->str);
}

static bool news_may(struct news *n)
{
    if (n == NULL || !n->up || n->behind >= BEHIND_MAX)
        return false;
    n->behind++;
    return true;
}

/* ---- what is told -------------------------------------------------------- */

static void news_sleep_at(struct sandbox *sb, const char *how, int64_t at_ms)
{
    struct news *n = sb->k->news;
    char         score[24];

    if (!news_may(n))
        return;
    snprintf(score, sizeof(score), "%" PRId64, at_ms);
    if (how != NULL)
        redisAsyncCommand(n->ac, news_answered, NULL,
            "ZADD hf:sleep %s %s %s", how, score, sb->id);
    else
        redisAsyncCommand(n->ac, news_answered, NULL,
            "ZADD hf:sleep %s %s", score, sb->id);
    reaper_by(sb->k, at_ms);
}

void news_awake(struct sandbox *sb)
{
    news_look(sb, reaper_due_ms(sb));
}

void news_look(struct sandbox *sb, int64_t at_ms)
{
    news_sleep_at(sb, NULL, at_ms);
}

void news_forget(struct keeper *k, const char *id)
{
    if (news_may(k->news))
        redisAsyncCommand(k->news->ac, news_answered, NULL,
            "ZREM hf:sleep %s", id);
}

void news_asleep(struct sandbox *sb)
{
    news_forget(sb->k, sb->id);
}

static void news_have_due(redisAsyncContext *ac, void *reply, void *arg)
{
    struct news          *n = ac->data;
    struct news_due       due[NEWS_DUE_MAX];
    const redisReply     *r = reply, *score;
    int                   i, count = 0;

    (void) arg;
    n->behind--;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY) {
        if (r != NULL && r->type == REDIS_REPLY_ERROR)
            log_warn("redis: %s", r->str);
        n->got(n->k, NULL, -1);
        return;
    }
    for (i = 0; i + 1 < (int) r->elements && count < NEWS_DUE_MAX; i += 2) {
        score = r->element[i + 1];
        if (r->element[i]->type != REDIS_REPLY_STRING
            || score->type != REDIS_REPLY_STRING)
            continue;
        due[count].id = r->element[i]->str;
        due[count++].at_ms = (int64_t) strtod(score->str, NULL);
    }
    n->got(n->k, due, count);
}

int news_ask_due(struct keeper *k,
    void (*got)(struct keeper *k, const struct news_due *due, int n))
{
    if (!news_may(k->news))
        return -1;
    k->news->got = got;
    redisAsyncCommand(k->news->ac, news_have_due, NULL,
        "ZRANGEBYSCORE hf:sleep -inf +inf WITHSCORES LIMIT 0 %d",
        NEWS_DUE_MAX);
    return 0;
}

/* Redis keeps nothing over its restart, so what is awake is told again. */
struct refill {
    size_t i, from, told;
};

static void news_refill_one(struct sandbox *sb, void *arg)
{
    struct refill *f = arg;

    if (f->i++ < f->from || f->told >= REFILL_MAX)
        return;
    f->from++;
    if (sb->rung != RUNG_RUNNING && sb->rung != RUNG_FROZEN)
        return;
    f->told++;
    news_sleep_at(sb, "NX", reaper_due_ms(sb));
}

static void news_refill(struct timer *t)
{
    struct news  *n = t->owner;
    struct refill f = { 0, n->refill_at, 0 };

    if (!n->up)
        return;                 /* begun anew when it is back */
    if (n->behind > REFILL_MAX) {
        loop_timer_set(n->k->loop, t, REFILL_AGAIN);
        return;
    }
    sandbox_each(n->k, news_refill_one, &f);
    n->refill_at = f.from < f.i ? f.from : 0;
    loop_timer_set(n->k->loop, t, n->refill_at > 0 ? REFILL_AGAIN
        : REFILL_MS);
}

bool news_up(const struct keeper *k)
{
    return k->news != NULL && k->news->up;
}

int news_open(struct keeper *k, struct err *e)
{
    struct news *n = calloc(1, sizeof(*n));

    k->news = n;
    if (n == NULL)
        return err_set(e, "internal", "out of memory");
    n->k = k;
    n->watch.owner = n;
    n->watch.ready = news_ready;
    n->again.owner = n->refill.owner = n;
    n->again.due = news_again;
    n->refill.due = news_refill;
    n->again_ms = 1000;
    news_connect(n);
    return 0;
}

void news_close(struct keeper *k)
{
    struct news *n = k->news;

    if (n == NULL)
        return;
    if (n->ac != NULL)
        redisAsyncFree(n->ac);
    loop_timer_clear(k->loop, &n->again);
    loop_timer_clear(k->loop, &n->refill);
    free(n);
    k->news = NULL;
}
