/*
 * worker: see worker.h. The only file that speaks FastCGI.
 *
 * Signals: SIGTERM and SIGINT are blocked but while waiting for a connection,
 * so one that comes in between is never lost and never cuts a request. The
 * watchdog is SIGALRM: a request that takes longer than api_request_s ends
 * the process, and its supervisor makes another.
 */
#include "worker.h"

#include <errno.h>
#include <fcgiapp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../common/ids.h"
#include "../common/log.h"
#include "router.h"

#define WORKER_OUT_MAX (8 * 1024 * 1024)

static volatile sig_atomic_t worker_ending;
static struct counters      *worker_counters;
/* What the watchdog writes: made before the request, for a handler must not
 * format. */
static char                  worker_now[192];

static void worker_on_term(int signo)
{
    (void) signo;
    worker_ending = 1;
}

static void worker_on_alarm(int signo)
{
    ssize_t n;

    (void) signo;
    n = write(STDERR_FILENO, worker_now, strlen(worker_now));
    (void) n;
    if (worker_counters != NULL)
        atomic_fetch_add(&worker_counters->watchdog, 1);
    _exit(WORKER_WATCHDOG_RC);
}

static int64_t worker_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- one request ------------------------------------------------------- */

static int worker_read(void *io, char *data, int len)
{
    return FCGX_GetStr(data, len, ((FCGX_Request *) io)->in);
}

static int worker_write(void *io, const char *data, int len)
{
    return FCGX_PutStr(data, len, ((FCGX_Request *) io)->out) == len ? 0 : -1;
}

static void worker_serve(struct api *a, FCGX_Request *fcgi)
{
    static struct request r;    /* large: not on the stack */
    struct err            e;
    int64_t               began_us = worker_us();
    int                   rc;

    r.read = worker_read;
    r.write = worker_write;
    r.io = fcgi;
    rc = request_init(&r, fcgi->envp, WORKER_OUT_MAX, &e);
    snprintf(worker_now, sizeof(worker_now),
        "api: watchdog: request %s took longer than %d s\n", r.request_id,
        (int) a->s->api_request_s);
    route_request(a, &r, rc == -1 ? &e : NULL);
    FCGX_Finish_r(fcgi);
    counters_answer(a->counters, r.status, worker_us() - began_us);
    request_fini(&r);
}

/* ---- the process ------------------------------------------------------- */

static void worker_signals(sigset_t *waiting)
{
    struct sigaction act;
    sigset_t         block;

    memset(&act, 0, sizeof(act));
    act.sa_handler = worker_on_term;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    act.sa_handler = worker_on_alarm;
    sigaction(SIGALRM, &act, NULL);
    act.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &act, NULL);
    act.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &act, NULL);

    sigemptyset(waiting);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_SETMASK, &block, NULL);
}

/* Woken alone (EPOLLEXCLUSIVE): not every worker for every connection. */
static int worker_epoll(void)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE };
    int                fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd != -1 && epoll_ctl(fd, EPOLL_CTL_ADD, WORKER_LISTEN_FD, &ev) == -1)
    {
        close(fd);
        return -1;
    }
    return fd;
}

/* Workers of one set must not all end in the same moment. */
static int worker_requests_max(const struct settings *s)
{
    return (int) (s->api_requests_max + s->api_requests_max
        * (getpid() % 1000) / 4000);
}

static int worker_loop(struct api *a, int epoll, const sigset_t *waiting)
{
    struct epoll_event ev;
    FCGX_Request       fcgi;
    int                n, served = 0, most = worker_requests_max(a->s);

    if (FCGX_Init() != 0
        || FCGX_InitRequest(&fcgi, WORKER_LISTEN_FD,
            FCGI_FAIL_ACCEPT_ON_INTR) != 0)
        log_fatal("FastCGI cannot be set up");
    while (!worker_ending && served < most) {
        n = epoll_pwait(epoll, &ev, 1, -1, waiting);
        if (n <= 0)
            continue;
        snprintf(worker_now, sizeof(worker_now),
            "api: watchdog: a request did not arrive whole in %d s\n",
            (int) a->s->api_request_s);
        alarm((unsigned) a->s->api_request_s);
        if (FCGX_Accept_r(&fcgi) == 0) {
            worker_serve(a, &fcgi);
            served++;
        }                       /* else another worker was quicker */
        alarm(0);
    }
    FCGX_Free(&fcgi, 1);
    return 0;
}

int worker_main(const struct settings *s, struct counters *c)
{
    static struct api a;
    sigset_t          waiting;
    char              path[512];
    int               epoll, rc;

    worker_counters = c;
    worker_signals(&waiting);
    a.s = s;
    a.counters = c;
    snprintf(path, sizeof(path), "%s/db/holdfast.db", s->data_dir);
    reader_init(&a.reader, path);
    snprintf(path, sizeof(path), "%s/ops.sock", s->run_dir);
    ops_client_init(&a.ops, path);
    epoll = worker_epoll();
    if (epoll == -1)
        log_fatal("cannot wait on descriptor %d: %s", WORKER_LISTEN_FD,
            strerror(errno));
    rc = worker_loop(&a, epoll, &waiting);
    close(epoll);
    ops_client_fini(&a.ops);
    reader_fini(&a.reader);
    return rc;
}
