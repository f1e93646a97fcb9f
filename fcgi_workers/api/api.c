/*
 * api: the supervisor of the api workers (see api.h, worker.h).
 *
 * Owns the processes and nothing else; parses nothing. A worker that ends is
 * replaced: at once when it had served its number of requests, after a wait
 * that doubles when it died young. SIGTERM lets every worker end its request,
 * for DRAIN_S at most.
 *
 *   empty -- due --> running -- exit --> empty, due after back-off
 */
#include "api.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "worker.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MOST_MS  5000
#define YOUNG_MS         10000
#define DRAIN_S          15

struct place {                  /* of one worker */
    pid_t   pid;                /* 0: empty */
    int64_t since_ms;
    int64_t due_ms;             /* when empty: start it then */
    int64_t backoff_ms;         /* 0: it did not die young lately */
};

static void api_start(struct place *p, const struct settings *s,
    struct counters *c)
{
    pid_t self = getpid();
    pid_t pid = fork();

    p->since_ms = clock_mono_ms();
    if (pid == -1) {
        log_error("cannot start a worker: %s", strerror(errno));
        p->due_ms = p->since_ms + BACKOFF_MOST_MS;
        return;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != self)
            _exit(0);
        _exit(worker_main(s, c));
    }
    p->pid = pid;
    if (c != NULL)
        atomic_fetch_add(&c->workers_started, 1);
}

static void api_ended(struct place *p, int status, struct counters *c)
{
    int64_t now_ms = clock_mono_ms();

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        p->backoff_ms = 0;
    } else {
        if (c != NULL)
            atomic_fetch_add(&c->workers_died, 1);
        if (WIFSIGNALED(status))
            log_error("worker %d was ended by signal %d", (int) p->pid,
                WTERMSIG(status));
        else
            log_error("worker %d ended with status %d", (int) p->pid,
                WEXITSTATUS(status));
        if (now_ms - p->since_ms > YOUNG_MS || p->backoff_ms == 0)
            p->backoff_ms = BACKOFF_FIRST_MS;
        else if (p->backoff_ms < BACKOFF_MOST_MS)
            p->backoff_ms *= 2;
    }
    p->pid = 0;
    p->due_ms = now_ms + p->backoff_ms;
}

static void api_reap(struct place *places, int n, struct counters *c)
{
    pid_t pid;
    int   status, i;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (i = 0; i < n; i++) {
            if (places[i].pid == pid)
                api_ended(&places[i], status, c);
        }
    }
}

/* Starts what is due. Milliseconds until something else is; -1: nothing. */
static int64_t api_start_due(struct place *places, int n,
    const struct settings *s, struct counters *c)
{
    int64_t now_ms = clock_mono_ms(), wait_ms = -1, left_ms;
    int     i;

    for (i = 0; i < n; i++) {
        if (places[i].pid == 0 && places[i].due_ms <= now_ms)
            api_start(&places[i], s, c);
        if (places[i].pid != 0)
            continue;
        left_ms = places[i].due_ms - now_ms;
        if (wait_ms == -1 || left_ms < wait_ms)
            wait_ms = left_ms;
    }
    return wait_ms;
}

/* The next signal of the set, or 0 after wait_ms (-1: none). */
static int api_wait(const sigset_t *set, int64_t wait_ms)
{
    struct timespec t;
    int             signo;

    if (wait_ms < 0) {
        signo = sigwaitinfo(set, NULL);
    } else {
        t.tv_sec = (time_t) (wait_ms / 1000);
        t.tv_nsec = (long) (wait_ms % 1000) * 1000000;
        signo = sigtimedwait(set, NULL, &t);
    }
    return signo == -1 ? 0 : signo;
}

static int api_running(const struct place *places, int n)
{
    int i, running = 0;

    for (i = 0; i < n; i++)
        running += places[i].pid != 0;
    return running;
}

static void api_signal(const struct place *places, int n, int signo)
{
    int i;

    for (i = 0; i < n; i++) {
        if (places[i].pid != 0)
            kill(places[i].pid, signo);
    }
}

static void api_drain(struct place *places, int n, const sigset_t *set,
    struct counters *c)
{
    int64_t until_ms = clock_mono_ms() + DRAIN_S * 1000, left_ms;

    api_signal(places, n, SIGTERM);
    while (api_running(places, n) > 0) {
        left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0)
            break;
        api_wait(set, left_ms);
        api_reap(places, n, c);
    }
    if (api_running(places, n) == 0)
        return;
    log_warn("%d workers did not end in %d s", api_running(places, n),
        DRAIN_S);
    api_signal(places, n, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
}

int api_main(const struct settings *s)
{
    struct counters *c = counters_new();
    struct place    *places;
    sigset_t         set;
    int              n = (int) s->api_workers, signo;

    places = calloc((size_t) n, sizeof(*places));
    if (places == NULL)
        log_fatal("out of memory");
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);

    for (;;) {
        signo = api_wait(&set, api_start_due(places, n, s, c));
        if (signo == SIGTERM || signo == SIGINT)
            break;
        api_reap(places, n, c);
    }
    api_drain(places, n, &set, c);
    free(places);
    return 0;
}
