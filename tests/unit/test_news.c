/*
 * test_news: an empty Redis is told of all that is awake, however many.
 */
#include "keeper/news.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "common/db.h"
#include "keeper/store.h"
#include "test.h"

#define MANY 9000               /* more than may be without an answer */

static struct settings s;
static struct timer    look, late;
static redisContext   *redis;
static long long       got;

static void looked(struct timer *t)
{
    redisReply *r = redisCommand(redis, "ZCARD hf:sleep");

    CHECK(r != NULL && r->type == REDIS_REPLY_INTEGER);
    got = r->integer;
    freeReplyObject(r);
    if (got == MANY)
        loop_stop(t->owner);
    else
        loop_timer_set(t->owner, t, 20);
}

static void overdue(struct timer *t)
{
    loop_stop(t->owner);
}

static void make(struct keeper *k, int i)
{
    struct row r;

    memset(&r, 0, sizeof(r));
    snprintf(r.id, sizeof(r.id), "s%d", i);
    r.rung = RUNG_FROZEN;
    r.tenant = r.image = (char *) "x";
    r.ports = (char *) "[]";
    r.labels = (char *) "{}";
    r.services = (char *) "[]";
    r.visibility = (char *) "public";
    r.idle_policy = (char *) "sleep";
    r.wake_on = (char *) "visit";
    r.ports_policy = (char *) "any";
    r.host_header = (char *) "public";
    r.node = r.engine = (char *) "x";
    r.uid = 1000000 + i;
    r.addr = 1000000 + i;
    if (sandbox_add(k, &r) == NULL)
        CHECK_AS(0, r.id);
}

static void refill(void)
{
    struct keeper k;
    struct err    e = { 0 };
    int           i;

    memset(&k, 0, sizeof(k));
    k.s = &s;
    k.loop = loop_new();
    CHECK_AS(store_open(&k, &e) == 0, e.msg);
    CHECK_AS(sandboxes_open(&k, &e) == 0, e.msg);
    for (i = 0; i < MANY; i++)
        make(&k, i);
    CHECK_AS(news_open(&k, &e) == 0, e.msg);
    look.owner = late.owner = k.loop;
    look.due = looked;
    late.due = overdue;
    loop_timer_set(k.loop, &look, 20);
    loop_timer_set(k.loop, &late, 20000);
    CHECK(loop_run(k.loop) == 0);
    CHECK(got == MANY);
    loop_timer_clear(k.loop, &look);
    loop_timer_clear(k.loop, &late);
    news_close(&k);
    sandboxes_close(&k);
    store_close(&k);
    loop_free(k.loop);
}

static int removed(const char *path, const struct stat *st, int kind,
    struct FTW *at)
{
    (void) st;
    (void) kind;
    (void) at;
    return remove(path);
}

int main(void)
{
    char       folder[] = "/tmp/test_news.XXXXXX", path[96], text[128];
    struct err e = { 0 };
    pid_t      pid;
    int        i;

    CHECK(mkdtemp(folder) != NULL);
    snprintf(text, sizeof(text), "data_dir=%s/data\nrun_dir=%s\n", folder,
        folder);
    snprintf(path, sizeof(path), "%s/data", folder);
    CHECK(mkdir(path, 0700) == 0);
    CHECK_AS(settings_parse(&s, text, strlen(text), "test", &e) == 0, e.msg);
    snprintf(path, sizeof(path), "%s/redis.sock", folder);
    pid = fork();
    if (pid == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
            path, "--save", "", "--logfile", "/dev/null", "--dir", folder,
            (char *) NULL);
        _exit(127);
    }
    for (i = 0; i < 500 && access(path, W_OK) == -1; i++)
        usleep(20000);
    redis = redisConnectUnix(path);
    CHECK(redis != NULL && redis->err == 0);
    refill();
    redisFree(redis);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    settings_fini(&s);
    nftw(folder, removed, 8, FTW_DEPTH | FTW_PHYS);
    return test_end();
}
