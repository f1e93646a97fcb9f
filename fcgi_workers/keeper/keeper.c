/*
 * keeper: opens everything, runs the loop, ends every turn (core.h).
 *
 * Owns the order of opening: the database first, then memory, then whoever
 * talks to us; the engine's state is looked at last and delays nobody.
 */
#include "keeper.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/log.h"
#include "account.h"
#include "admission.h"
#include "archive.h"
#include "core.h"
#include "inquiry.h"
#include "leases.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "news.h"
#include "ops.h"
#include "outbox.h"
#include "peers.h"
#include "pressure.h"
#include "reaper.h"
#include "reclaim.h"
#include "reconcile.h"
#include "shares.h"
#include "store.h"
#include "workspace.h"

#define FD_OPS       3
#define FD_LINKS     4
#define ROUNDS       64         /* of commit and release in one turn */
#define RETRY_MS     1000       /* after a commit that failed */
#define TIDY_MS      60000
#define SECCOMP_MAX  (1024 * 1024)

static struct timer keeper_retry, keeper_tidy;

/* ---- the end of a turn --------------------------------------------------- */

static void keeper_retry_due(struct timer *t)
{
    (void) t;                   /* a turn is all it takes */
}

/* 0: try again at once, the reserve was given up. */
static int keeper_failed(struct keeper *k, const struct err *e)
{
    struct err told = *e;

    log_error("a turn could not be stored: %s", e->msg);
    if (strcmp(told.code, "disk_full") != 0)
        err_set(&told, "unavailable", "it could not be stored");
    told.retry_after_s = 5;
    ops_refuse(k, &told);
    shares_refuse(k);
    store_refuse_endings(k, &told);
    store_forget_unused(k);
    if (strcmp(told.code, "disk_full") == 0 && store_give_reserve(k))
        return 0;
    loop_timer_set(k->loop, &keeper_retry, RETRY_MS);
    return -1;
}

/* Commit, then let go of what that allowed; what this changed is committed,
 * too, until nothing is left. A turn that never ends so goes on in the next. */
static void keeper_turn_end(void *arg)
{
    struct keeper *k = arg;
    struct err     e = { 0 };
    bool           any;
    int            i;

    for (i = 0; i < ROUNDS; i++) {
        if (store_commit(k, &e) == -1) {
            if (keeper_failed(k, &e) == 0)
                continue;
            ops_flush(k);
            return;
        }
        any = ops_release(k);
        any |= machine_release(k);
        if (!any)
            break;
    }
    if (i == ROUNDS)
        loop_timer_set(k->loop, &keeper_retry, 0);
    shares_flush(k);
    links_flush(k);
    ops_flush(k);
    outbox_flush(k);
}

static void keeper_tidy_due(struct timer *t)
{
    struct keeper *k = t->owner;
    struct err     e;

    if (store_may_grow(k, &e) == 0) {
        store_prune(k);
        store_share_prune(k);
    }
    loop_timer_set(k->loop, t, TIDY_MS);
}

/* ---- opening ------------------------------------------------------------- */

static char *read_text(const char *path)
{
    struct stat st;
    char       *text = NULL;
    ssize_t     n = -1;
    int         fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
        && st.st_size < SECCOMP_MAX) {
        text = malloc((size_t) st.st_size + 1);
        if (text != NULL)
            n = read(fd, text, (size_t) st.st_size);
    }
    close(fd);
    if (text == NULL || n != st.st_size) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static int keeper_files(struct keeper *k, struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/key", k->s->data_dir);
    if (crypt_key_load(&k->key, path, 1, e) == -1)
        return -1;
    snprintf(path, sizeof(path), "%s/lua-free-config/seccomp.json",
        k->s->lib_dir);
    k->seccomp = read_text(path);
    if (k->seccomp == NULL)
        return err_errno(e, "read the seccomp profile %s", path);
    return workspace_open(k, e);
}

static int keeper_open(struct keeper *k, struct err *e)
{
    if (mkdir(k->s->data_dir, 0755) == -1 && access(k->s->data_dir, W_OK)
        == -1)
        return err_errno(e, "make data_dir");
    if (keeper_files(k, e) == -1 || shares_open(k, e) == -1
        || store_open(k, e) == -1
        || sandboxes_open(k, e) == -1 || leases_open(k, e) == -1
        || admission_open(k, e) == -1
        || reaper_open(k, e) == -1 || reclaim_open(k, e) == -1
        || pressure_open(k, e) == -1 || archive_open(k, e) == -1
        || news_open(k, e) == -1 || peers_open(k, e) == -1
        || links_open(k, FD_LINKS, e) == -1
        || ops_open(k, FD_OPS, e) == -1
        || outbox_open(k, OUTBOX_FD, e) == -1)
        return -1;
    k->engine = engine_docker_new(k->loop, k->s, reconcile_news, k, e);
    if (k->engine == NULL || ops_resume(k, e) == -1
        || reconcile_open(k, e) == -1)
        return -1;
    keeper_retry.due = keeper_retry_due;
    keeper_tidy.owner = k;
    keeper_tidy.due = keeper_tidy_due;
    loop_timer_set(k->loop, &keeper_tidy, TIDY_MS);
    loop_on_turn_end(k->loop, keeper_turn_end, k);
    return 0;
}

static void keeper_drop_live(struct sandbox *sb, void *arg)
{
    (void) arg;
    live_drop(sb);              /* the sandbox itself runs on */
}

static void keeper_last_reading(struct sandbox *sb, void *arg)
{
    (void) arg;
    account_end(sb);
}

static void keeper_close(struct keeper *k)
{
    struct err e;

    if (k->ops != NULL) {       /* everything was opened */
        sandbox_each(k, keeper_last_reading, NULL);
        if (store_commit(k, &e) == -1)
            log_warn("the last usage is not stored: %s", e.msg);
    }
    sandbox_each(k, keeper_drop_live, NULL);
    reconcile_close(k);
    reaper_close(k);
    reclaim_close(k);
    pressure_close(k);
    archive_close(k);
    engine_free(k->engine);
    outbox_close(k);
    ops_close(k);
    if (k->links != NULL)
        inquiry_close(k);
    links_close(k);
    peers_close(k);
    news_close(k);
    admission_close(k);
    sandboxes_close(k);
    store_close(k);
    shares_close(k);
    free(k->seccomp);
}

static void keeper_signal(int signo, void *arg)
{
    struct keeper *k = arg;

    if (signo == SIGTERM || signo == SIGINT)
        loop_stop(k->loop);
}

int keeper_main(const struct settings *s)
{
    struct keeper k;
    struct err    e = { 0 };
    int           rc;

    memset(&k, 0, sizeof(k));
    k.s = s;
    k.loop = loop_new();
    if (k.loop == NULL || loop_handle_signals(k.loop, keeper_signal, &k) != 0)
        log_fatal("keeper: no event loop");
    k.engine_up = true;
    k.acting_end = &k.acting;
    k.began_ms = loop_now_ms(k.loop);
    if (keeper_open(&k, &e) == -1)
        log_fatal("keeper: %s", e.msg);
    log_info("keeper: %zu sandboxes, generation %llu, epoch %llu",
        sandbox_count(&k), (unsigned long long) k.generation,
        (unsigned long long) k.epoch);
    rc = loop_run(k.loop);
    keeper_close(&k);
    loop_free(k.loop);
    return rc == 0 ? 0 : 111;
}
