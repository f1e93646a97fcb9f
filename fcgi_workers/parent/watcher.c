/*
 * watcher: running Holdfast on a machine without systemd (see watcher.h).
 *
 * The watcher holds nothing but a lock, so there is nothing to lose in it. It
 * ends when the parent ends well, or when the parent refuses its settings.
 */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/files.h"
#include "../common/log.h"
#include "../common/maintenance.h"
#include "dockerd.h"
#include "parts.h"
#include "pidfile.h"
#include "status.h"

#define WATCHER_PID     "watcher.pid"
#define PARENT_PID      "holdfastd.pid"
#define WATCHER_POLL_MS 20
#define WATCHER_UP_MS   90000
#define WATCHER_MIN_MS  50
#define WATCHER_MAX_MS  5000

static void watcher_nap(int64_t ms)
{
    poll(NULL, 0, (int)ms);
}

/* ---- the process -------------------------------------------------------- */

static pid_t watcher_fork_parent(const char *file)
{
    const char *with[] = { "holdfastd", "-c", file, "run", NULL };
    const char *without[] = { "holdfastd", "run", NULL };
    sigset_t    none;
    pid_t       pid = fork();

    if (pid != 0)
        return pid;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", (char **)(uintptr_t)(file[0] == '/' ? with
        : without));
    log_error("cannot run the parent: %s", strerror(errno));
    _exit(111);
}

/* Passes signals on until the parent has ended; its wait status. */
static int watcher_wait(pid_t pid, const sigset_t *set, bool *stop)
{
    siginfo_t info;
    int       status;

    for (;;) {
        if (sigwaitinfo(set, &info) < 0)
            continue;
        if (info.si_signo == SIGCHLD) {
            if (waitpid(pid, &status, WNOHANG) == pid)
                return status;
            continue;
        }
        if (info.si_signo == SIGTERM)
            *stop = true;
        kill(pid, info.si_signo);
    }
}

static void watcher_run(const struct settings *s) __attribute__((noreturn));

static void watcher_run(const struct settings *s)
{
    sigset_t set;
    int64_t  began, wait_ms = WATCHER_MIN_MS;
    pid_t    pid;
    bool     stop = false;
    int      status;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (;;) {
        began = clock_mono_ms();
        pid = watcher_fork_parent(s->file);
        status = pid < 0 ? 0x6f00 : watcher_wait(pid, &set, &stop);
        if (stop || (WIFEXITED(status) && (WEXITSTATUS(status) == 0
            || WEXITSTATUS(status) == 100)))
        {
            exit(WIFEXITED(status) ? WEXITSTATUS(status) : 111);
        }
        if (clock_mono_ms() - began > 10000)
            wait_ms = WATCHER_MIN_MS;
        log_error("the parent ended (%s %d), started again in %lld ms",
            WIFEXITED(status) ? "exit" : "signal", WIFEXITED(status)
            ? WEXITSTATUS(status) : WTERMSIG(status), (long long)wait_ms);
        watcher_nap(wait_ms);
        wait_ms = wait_ms * 2 > WATCHER_MAX_MS ? WATCHER_MAX_MS : wait_ms * 2;
    }
}

/* Away from the terminal. What is said before the parent's log is open goes
 * into the log file, too. */
static int watcher_detach(const struct settings *s, struct err *e)
{
    char path[PATH_MAX];
    int  null, log;

    snprintf(path, sizeof(path), "%s/holdfastd.log", s->log_dir);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (null < 0 || log < 0)
        return err_errno(e, "open %s", path);
    if (setsid() < 0 || chdir("/") != 0 || dup2(null, 0) < 0
        || dup2(null, 1) < 0 || dup2(log, 2) < 0)
    {
        return err_errno(e, "leave the terminal");
    }
    close_range(3, UINT_MAX, 0);
    return pidfile_take(s->run_dir, WATCHER_PID, e);
}

/* ---- the commands ------------------------------------------------------- */

static int watcher_say(const struct err *e)
{
    fprintf(stderr, "holdfastd: %s\n", e->msg);
    return 111;
}

static int watcher_wait_ready(const struct settings *s, pid_t watcher)
{
    struct status_head h;
    int64_t            end = clock_mono_ms() + WATCHER_UP_MS;
    int                status;

    while (clock_mono_ms() < end) {
        if (status_read(s->run_dir, &h) == 0 && strcmp(h.state, "ready") == 0
            && h.pid == pidfile_holder(s->run_dir, PARENT_PID))
        {
            printf("Holdfast runs (pid %d): API http://%s, previews on %s\n",
                h.pid, s->api_listen, s->preview_listen);
            return 0;
        }
        if (waitpid(watcher, &status, WNOHANG) == watcher) {
            fprintf(stderr, "holdfastd: the start failed; see "
                "%s/holdfastd.log\n", s->log_dir);
            return 111;
        }
        watcher_nap(WATCHER_POLL_MS);
    }
    fprintf(stderr, "holdfastd: started, but not every part is up yet; see "
        "`holdfastd status` and %s/holdfastd.log\n", s->log_dir);
    return 111;
}

int watcher_start(const struct settings *s)
{
    struct err e;
    char       path[PATH_MAX];
    pid_t      pid;

    if (parts_check(s, &e) != 0
        || files_own_dir(s->run_dir, 0755, 0, 0, &e) != 0
        || files_mkdir(s->log_dir, 0750, &e) != 0)
    {
        return watcher_say(&e);
    }
    pid = pidfile_holder(s->run_dir, PARENT_PID);
    if (pid == 0)
        pid = pidfile_holder(s->run_dir, WATCHER_PID);
    if (pid != 0) {
        fprintf(stderr, "holdfastd: Holdfast already runs with run_dir %s "
            "(pid %d)\n", s->run_dir, (int)pid);
        return 111;
    }
    snprintf(path, sizeof(path), "%s/status", s->run_dir);
    unlink(path);               /* of one that was killed */
    pid = fork();
    if (pid < 0) {
        err_errno(&e, "fork");
        return watcher_say(&e);
    }
    if (pid == 0) {
        if (watcher_detach(s, &e) != 0)
            log_fatal("%s", e.msg);
        watcher_run(s);
    }
    return watcher_wait_ready(s, pid);
}

static int watcher_stop_engine(const struct settings *s)
{
    int64_t    end = clock_mono_ms() + 60000;
    struct err e;
    pid_t      pid = dockerd_running(s);

    if (pid == 0)
        return 0;
    if (dockerd_stop(s, pid, &e) != 0)
        return watcher_say(&e);
    while (dockerd_running(s) == pid) {
        if (clock_mono_ms() > end) {
            fprintf(stderr, "holdfastd: the Docker Engine (pid %d) does not "
                "end\n", (int)pid);
            return 111;
        }
        watcher_nap(WATCHER_POLL_MS);
    }
    printf("the Docker Engine has stopped\n");
    return 0;
}

/* Both are told: a watcher that was killed left its parent behind. */
int watcher_stop(const struct settings *s, bool engine)
{
    int64_t end = clock_mono_ms() + s->drain_s * 1000 + 60000;
    pid_t   watcher = pidfile_holder(s->run_dir, WATCHER_PID);
    pid_t   pid = pidfile_holder(s->run_dir, PARENT_PID);

    if (watcher == 0 && pid == 0)
        printf("Holdfast does not run\n");
    else if (kill(watcher != 0 ? watcher : pid, SIGTERM) != 0) {
        fprintf(stderr, "holdfastd: cannot stop pid %d: %s\n",
            (int)(watcher != 0 ? watcher : pid), strerror(errno));
        return 111;
    }
    while (pidfile_holder(s->run_dir, PARENT_PID) != 0
        || pidfile_holder(s->run_dir, WATCHER_PID) != 0)
    {
        if (clock_mono_ms() > end) {
            fprintf(stderr, "holdfastd: Holdfast does not stop; see "
                "%s/holdfastd.log\n", s->log_dir);
            return 111;
        }
        watcher_nap(WATCHER_POLL_MS);
    }
    if (watcher != 0 || pid != 0)
        printf("Holdfast has stopped\n");
    return engine ? watcher_stop_engine(s) : 0;
}

int watcher_reload(const struct settings *s)
{
    struct status_head before, now;
    int64_t            end = clock_mono_ms() + 30000;
    pid_t              pid = pidfile_holder(s->run_dir, PARENT_PID);

    if (pid == 0 || status_read(s->run_dir, &before) != 0) {
        fprintf(stderr, "holdfastd: Holdfast does not run\n");
        return 111;
    }
    if (kill(pid, SIGHUP) != 0) {
        fprintf(stderr, "holdfastd: cannot signal pid %d: %s\n", (int)pid,
            strerror(errno));
        return 111;
    }
    while (clock_mono_ms() < end) {
        if (status_read(s->run_dir, &now) == 0
            && now.reloads != before.reloads)
        {
            if (strcmp(now.message, "ok") == 0) {
                printf("the new settings are in force\n");
                return 0;
            }
            fprintf(stderr, "holdfastd: %s\n", now.message);
            return 111;
        }
        watcher_nap(WATCHER_POLL_MS);
    }
    fprintf(stderr, "holdfastd: no answer from pid %d\n", (int)pid);
    return 111;
}

/* 0 all is up, 1 not all, 3 does not run: as init scripts have it. */
int watcher_status(const struct settings *s)
{
    struct status_head h;
    pid_t              pid = pidfile_holder(s->run_dir, PARENT_PID);

    if (pid == 0) {
        printf("Holdfast does not run\n");
        return 3;
    }
    if (status_read(s->run_dir, &h) != 0) {
        printf("Holdfast is starting (pid %d)\n", (int)pid);
        return 1;
    }
    printf("Holdfast is %s (pid %d)%s\n", h.state, (int)pid,
        maintenance_on(s, NULL) ? ", in maintenance: nothing new is made or "
        "woken" : "");
    return status_print(s->run_dir, stdout) ? 0 : 1;
}
