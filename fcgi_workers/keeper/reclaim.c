/*
 * reclaim: see reclaim.h. Owns its children and the list of those that wait.
 */
#include "reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/log.h"
#include "live.h"
#include "usage.h"

#define AT_ONCE    2
#define RECLAIM_MS 30000        /* a child that takes longer is killed */
#define TRIES      8

struct reclaims {
    struct reclaim *first, **end;       /* those that run come first */
    int             running;
};

struct reclaim {
    struct reclaim *next;
    struct keeper  *k;
    struct sandbox *sb;         /* NULL: it is needed again */
    pid_t           pid;        /* 0: waits */
    int64_t         before;
    struct watch    watch;      /* a pipe that ends with the child */
    struct timer    deadline;
};

/* ---- in the child -------------------------------------------------------- */

/* v2 wants to be told how much, and says EAGAIN when it found less; v1 takes
 * what it can. */
static void reclaim_child(int fd, int out, bool v2, int64_t bytes,
    pid_t keeper)
{
    sigset_t none;
    char     text[24];
    int      i, len;

    /* Descriptors of the keeper must not outlive it. */
    if (dup2(fd, 0) == -1 || dup2(out, 1) == -1)
        _exit(1);
    close_range(2, ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != keeper)
        _exit(1);
    len = snprintf(text, sizeof(text), "%" PRId64, v2 ? bytes : 0);
    for (i = 0; i < TRIES; i++) {
        if (write(0, text, (size_t) len) != -1
            || (errno != EAGAIN && errno != EBUSY))
            break;
    }
    _exit(0);
}

/* ---- in the keeper ------------------------------------------------------- */

static void reclaim_next(struct keeper *k);

static void reclaim_free(struct reclaim *r)
{
    struct reclaims *all = r->k->reclaims;
    struct reclaim **at = &all->first;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (all->end == &r->next)
        all->end = at;
    loop_timer_clear(r->k->loop, &r->deadline);
    if (r->pid != 0) {
        all->running--;
        loop_remove(r->k->loop, &r->watch);
        close(r->watch.fd);
        waitpid(r->pid, NULL, 0);
    }
    if (r->sb != NULL)
        r->sb->live->reclaim = NULL;
    free(r);
}

static void reclaim_ready(struct watch *w, uint32_t events)
{
    struct reclaim *r = w->owner;
    struct keeper  *k = r->k;
    int64_t         now;

    (void) events;
    now = r->sb != NULL ? usage_memory(r->sb) : -1;
    if (now >= 0)
        log_info("sandbox=%s frozen: %lld MB of memory, %lld MB before",
            r->sb->id, (long long) now >> 20, (long long) r->before >> 20);
    reclaim_free(r);
    reclaim_next(k);
}

static void reclaim_overdue(struct timer *t)
{
    struct reclaim *r = t->owner;

    kill(r->pid, SIGKILL);      /* the pipe's end tells the rest */
}

static int reclaim_fork(struct reclaim *r)
{
    char  path[PATH_MAX];
    pid_t keeper = getpid();
    bool  v2;
    int   fd, out[2];

    r->before = usage_memory(r->sb);
    if (r->before < 0
        || usage_cgroup(r->sb->pid, "memory", "memory.force_empty",
            "memory.reclaim", &v2, path, sizeof(path)) == -1)
        return -1;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd == -1)
        return -1;              /* an old kernel has none */
    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) == -1) {
        close(fd);
        return -1;
    }
    r->pid = fork();
    if (r->pid == 0)
        reclaim_child(fd, out[1], v2, r->before, keeper);
    close(fd);
    close(out[1]);
    if (r->pid == -1) {
        r->pid = 0;
        close(out[0]);
        return -1;
    }
    r->k->reclaims->running++;
    r->watch.fd = out[0];
    r->watch.owner = r;
    r->watch.ready = reclaim_ready;
    loop_timer_set(r->k->loop, &r->deadline, RECLAIM_MS);
    return loop_add(r->k->loop, &r->watch, EPOLLIN);
}

static void reclaim_next(struct keeper *k)
{
    struct reclaims *all = k->reclaims;
    struct reclaim  *r, *next;

    for (r = all->first; r != NULL && all->running < AT_ONCE; r = next) {
        next = r->next;
        if (r->pid == 0 && reclaim_fork(r) == -1)
            reclaim_free(r);
    }
}

void reclaim_begin(struct sandbox *sb)
{
    struct reclaims *all = sb->k->reclaims;
    struct reclaim  *r;

    if (!sb->k->s->frozen_reclaim || sb->live == NULL
        || sb->live->reclaim != NULL)
        return;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return;
    r->k = sb->k;
    r->sb = sb;
    r->deadline.owner = r;
    r->deadline.due = reclaim_overdue;
    sb->live->reclaim = r;
    *all->end = r;
    all->end = &r->next;
    reclaim_next(sb->k);
}

void reclaim_end(struct sandbox *sb)
{
    struct reclaim *r = sb->live != NULL ? sb->live->reclaim : NULL;

    if (r == NULL)
        return;
    sb->live->reclaim = NULL;
    r->sb = NULL;
    if (r->pid != 0)
        kill(r->pid, SIGKILL);
    else
        reclaim_free(r);
}

int reclaim_open(struct keeper *k, struct err *e)
{
    k->reclaims = calloc(1, sizeof(*k->reclaims));
    if (k->reclaims == NULL)
        return err_set(e, "internal", "out of memory");
    k->reclaims->end = &k->reclaims->first;
    return 0;
}

void reclaim_close(struct keeper *k)
{
    struct reclaim *r;

    if (k->reclaims == NULL)
        return;
    while ((r = k->reclaims->first) != NULL) {
        if (r->pid != 0)
            kill(r->pid, SIGKILL);
        reclaim_free(r);
    }
    free(k->reclaims);
    k->reclaims = NULL;
}
