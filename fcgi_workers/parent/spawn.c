/*
 * spawn: fork and execve of one part (see spawn.h).
 *
 * Must never let a descriptor through that is not named: everything the
 * parent opens is close-on-exec, and the named ones are copied into place.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../common/log.h"

#define SPAWN_HIGH 64           /* above every place that is filled */

extern char **environ;

void spawn_init(struct spawn *sp, const char *program)
{
    memset(sp, 0, sizeof(*sp));
    sp->program = program;
    sp->out = STDERR_FILENO;
    sp->settings = -1;
    sp->marker = -1;
    sp->privs.caps = PRIVS_ALL;
}

void spawn_arg(struct spawn *sp, const char *arg)
{
    int n = 0;

    while (sp->args[n] != NULL)
        n++;
    if (n == SPAWN_ARGS_MAX)
        log_fatal("too many arguments for %s", sp->program);
    sp->args[n] = arg;
}

/* A source may lie where another one has to go, so all move up first. */
static int spawn_descriptors(const struct spawn *sp)
{
    int from[SPAWN_FDS_MAX + 4], to[SPAWN_FDS_MAX + 4], n = 0, i, null;

    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -1;
    from[n] = null;
    to[n++] = STDIN_FILENO;
    from[n] = sp->out;
    to[n++] = STDOUT_FILENO;
    for (i = 0; i < sp->nfds; i++) {
        from[n] = sp->fds[i];
        to[n++] = 3 + i;
    }
    if (sp->settings >= 0) {
        from[n] = sp->settings;
        to[n++] = SPAWN_SETTINGS_FD;
    }
    if (sp->marker >= 0) {
        from[n] = sp->marker;
        to[n++] = SPAWN_MARKER_FD;
    }
    for (i = 0; i < n; i++) {
        from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, SPAWN_HIGH);
        if (from[i] < 0)
            return -1;
    }
    for (i = 0; i < n; i++) {
        if (dup2(from[i], to[i]) < 0)
            return -1;
    }
    return dup2(STDOUT_FILENO, STDERR_FILENO) < 0 ? -1 : 0;
}

static void spawn_signals(void)
{
    sigset_t none;
    int      signo;

    for (signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A change of user clears the death signal, hence last; the parent may have
 * died before it was set, hence the look at who the parent is now. */
static void spawn_follow_parent(const struct spawn *sp, pid_t parent)
{
    if (sp->death_signal == 0)
        return;
    if (prctl(PR_SET_PDEATHSIG, sp->death_signal, 0, 0, 0) != 0
        || getppid() != parent)
    {
        _exit(111);
    }
}

/* The environment is ours alone, but for what sanitizers read. */
static void spawn_environment(void)
{
    static const char *const kept[] = { "ASAN_OPTIONS", "UBSAN_OPTIONS",
        "LSAN_OPTIONS", NULL };
    const char *value[3];
    int         i;

    for (i = 0; kept[i] != NULL; i++)
        value[i] = getenv(kept[i]);
    clearenv();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
        "/bin", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    for (i = 0; kept[i] != NULL; i++) {
        if (value[i] != NULL)
            setenv(kept[i], value[i], 1);
    }
}

static void spawn_child(const struct spawn *sp, pid_t parent)
    __attribute__((noreturn));

static void spawn_child(const struct spawn *sp, pid_t parent)
{
    struct err e;

    if (sp->death_signal == 0)
        setsid();
    else
        setpgid(0, 0);
    spawn_signals();
    if (spawn_descriptors(sp) != 0) {
        log_error("cannot set up the descriptors of %s: %s", sp->program,
            strerror(errno));
        _exit(111);
    }
    /* An engine that lives on pulls images: it may need a proxy's address. */
    if (sp->death_signal != 0)
        spawn_environment();
    if (privs_become(&sp->privs, &e) != 0) {
        log_error("%s", e.msg);
        _exit(111);
    }
    spawn_follow_parent(sp, parent);
    execve(sp->program, (char **)(uintptr_t)sp->args, environ);
    log_error("cannot run %s: %s", sp->program, strerror(errno));
    _exit(111);
}

pid_t spawn_run(const struct spawn *sp, struct err *e)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0)
        spawn_child(sp, parent);
    /* Both sides do it: the group must be there before either goes on. */
    if (sp->death_signal != 0)
        setpgid(pid, pid);
    return pid;
}
