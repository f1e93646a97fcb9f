/*
 * shim: see shim.h. Everything from shim_main on runs in a child of PID 1 and
 * never returns to the loop.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tree.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define CTL 3                   /* the shim's end of the socket */
#define OUT 4                   /* the output descriptor, if there is one */

extern char **environ;


/* ---- both ends of the socket -------------------------------------------- */

static void send_msg(int fd, const struct shim_msg *m, const int *fds,
    size_t nfds)
{
    char control[CMSG_SPACE(3 * sizeof(int))];
    struct iovec iov = { (void *) m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct cmsghdr *c;

    if (nfds > 0) {
        memset(control, 0, sizeof(control));
        h.msg_control = control;
        h.msg_controllen = (socklen_t) CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = (socklen_t) CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    while (sendmsg(fd, &h, MSG_NOSIGNAL) < 0 && errno == EINTR)
        /* void */;
}


static void take_fds(struct msghdr *h, int fds[3])
{
    struct cmsghdr *c;
    size_t n, i;
    int got[3];

    c = CMSG_FIRSTHDR(h);
    if (c == NULL || c->cmsg_level != SOL_SOCKET
        || c->cmsg_type != SCM_RIGHTS)
    {
        return;
    }
    n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (n > 3)
        n = 3;
    memcpy(got, CMSG_DATA(c), n * sizeof(int));
    for (i = 0; i < n; i++) {
        fcntl(got[i], F_SETFL, O_NONBLOCK);
        fds[i + 3 - n] = got[i];        /* two: no standard input */
    }
}


int shim_receive(int fd, struct shim_msg *m, int fds[3])
{
    char control[CMSG_SPACE(3 * sizeof(int))];
    struct iovec iov = { m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1,
                        .msg_control = control,
                        .msg_controllen = sizeof(control) };
    ssize_t n;

    memset(m, 0, sizeof(*m));
    fds[0] = fds[1] = fds[2] = -1;
    n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n != (ssize_t) sizeof(*m)) {
        m->kind = SHIM_GONE;
        return 1;
    }
    take_fds(&h, fds);
    return 1;
}


void shim_kill(int fd)
{
    struct shim_msg m = { 0 };

    send_msg(fd, &m, NULL, 0);
}


/* ---- the command --------------------------------------------------------- */

int shim_drop(uid_t uid, gid_t gid)
{
    uid_t r, e, s;
    int cap;

    for (cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            continue;
        if (errno != EINVAL || cap == 0)
            return -1;
        break;                  /* past the last one */
    }
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0
        || setresuid(uid, uid, uid) != 0)
    {
        return -1;
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);     /* until exec */
    errno = EPERM;
    if (getresuid(&r, &e, &s) != 0 || r != uid || e != uid || s != uid
        || setuid(0) == 0)
    {
        return -1;
    }
    return 0;
}


static void reset_signals(void)
{
    sigset_t none;
    int i;

    for (i = 1; i < _NSIG; i++)
        if (i != SIGKILL && i != SIGSTOP)
            signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}


/* User code goes first when memory is short, PID 1 last. */
static void raise_oom_score(void)
{
    int fd;

    setfsuid(0);                /* the file is root's: we are not dumpable */
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "500", 3) < 0) {
        /* a host that forbids it loses the preference, nothing else */
    }
    close(fd);
}


/* Makes the pipes, sends PID 1 its ends, puts ours in place. */
static int standard_files(const struct command *c)
{
    struct shim_msg m = { .kind = SHIM_PIPES };
    int in[2] = { -1, -1 }, out[2], err[2], theirs[3];
    size_t n = 0;

    if (c->input) {
        if (pipe2(in, O_CLOEXEC) != 0)
            return -1;
        theirs[n++] = in[1];
    } else {
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (in[0] < 0) {        /* an image without /dev: end of file, too */
            if (pipe2(in, O_CLOEXEC) != 0)
                return -1;
            close(in[1]);
        }
    }
    if (dup2(in[0], 0) < 0)
        return -1;
    if (c->output >= 0)
        return dup2(c->output, 1) < 0 || dup2(c->output, 2) < 0 ? -1 : 0;
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        return -1;
    theirs[n++] = out[0];
    theirs[n++] = err[0];
    send_msg(CTL, &m, theirs, n);
    return dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0 ? -1 : 0;
}


static int enter_cwd(const struct command *c)
{
    if (c->cwd != NULL && chdir(c->cwd) == 0)
        return 0;
    if (c->cwd_must)
        return -1;
    return c->home != NULL && chdir(c->home) == 0 ? 0 : chdir("/");
}


static void command_main(const struct command *c, int report)
{
    struct rlimit no_core = { 0, 0 };
    struct shim_msg m = { .kind = SHIM_FAILED };

    setsid();
    umask(022);
    raise_oom_score();
    m.stage = STAGE_IDS;
    if (shim_drop(c->uid, c->gid) != 0)
        goto failed;
    setrlimit(RLIMIT_CORE, &no_core);
    m.stage = STAGE_PIPES;
    if (standard_files(c) != 0)
        goto failed;
    m.stage = STAGE_CWD;
    if (enter_cwd(c) != 0)
        goto failed;
    m.stage = STAGE_EXEC;
    reset_signals();
    environ = c->env;           /* whose PATH it is looked up in */
    execvp(c->argv[0], c->argv);

failed:

    m.error = errno;
    if (write(report, &m, sizeof(m)) < 0) {
        /* the shim sees that we ended */
    }
    _exit(127);
}


/* ---- the shim ------------------------------------------------------------ */

static void on_child(int signo)
{
    (void) signo;               /* only there to end ppoll */
}


static void shim_signals(sigset_t *waiting)
{
    struct sigaction sa = { .sa_handler = on_child };
    int i;

    for (i = 1; i < _NSIG; i++)     /* kill(-1) of PID 1 is not for us */
        if (i != SIGKILL && i != SIGSTOP && i != SIGCHLD)
            signal(i, SIG_IGN);
    sigaction(SIGCHLD, &sa, NULL);  /* blocked, but while in ppoll */
    sigprocmask(SIG_SETMASK, NULL, waiting);
    sigdelset(waiting, SIGCHLD);
}


/* Only CTL, OUT and the first three stay open. */
static void shim_files(const struct command *c, int ctl)
{
    int fd, out = c->output;

    if (out >= 0 && out < 16)
        out = fcntl(out, F_DUPFD_CLOEXEC, 16);
    if (ctl < 16)
        ctl = fcntl(ctl, F_DUPFD_CLOEXEC, 16);
    dup3(ctl, CTL, O_CLOEXEC);
    if (out >= 0)
        dup3(out, OUT, O_CLOEXEC);
    if (syscall(SYS_close_range, out >= 0 ? OUT + 1 : OUT, ~0u, 0) != 0)
        for (fd = out >= 0 ? OUT + 1 : OUT; fd < 4096; fd++)
            close(fd);
}


/* Waits until the command has been executed. 0, or -1 with *m filled. */
static int await_exec(int report, pid_t pid, struct shim_msg *m)
{
    struct shim_msg failed;
    ssize_t n;

    do {
        n = read(report, &failed, sizeof(failed));
    } while (n < 0 && errno == EINTR);
    close(report);
    if (n == (ssize_t) sizeof(failed)) {
        *m = failed;
        waitpid(pid, NULL, 0);
        return -1;
    }
    m->kind = SHIM_STARTED;
    m->pid = pid;
    return 0;
}


/* Runs until the command has ended; kills when PID 1 says so. */
static void watch_command(pid_t pid, const sigset_t *waiting, int *status)
{
    struct pollfd p = { CTL, POLLIN, 0 };
    bool ended = false;
    pid_t got;
    int st;

    for ( ;; ) {
        while ((got = waitpid(-1, &st, WNOHANG)) > 0) {
            if (got == pid) {
                *status = st;
                ended = true;
            }
        }
        if (ended)
            return;
        if (ppoll(&p, 1, NULL, waiting) > 0) {
            tree_kill(pid, status);
            return;
        }
    }
}


static void shim_main(const struct command *given, int ctl)
{
    struct command c = *given;
    struct shim_msg m = { .kind = SHIM_FAILED, .stage = STAGE_FORK };
    sigset_t waiting;
    int report[2], status = SIGKILL;
    pid_t pid;

    shim_files(&c, ctl);
    c.output = c.output >= 0 ? OUT : -1;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    shim_signals(&waiting);
    if (pipe2(report, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
        m.error = errno;
        send_msg(CTL, &m, NULL, 0);
        _exit(1);
    }
    if (pid == 0) {
        close(report[0]);
        command_main(&c, report[1]);
    }
    close(report[1]);
    close(0);
    close(1);
    close(2);
    if (c.output >= 0)
        close(OUT);
    setfsuid(0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (await_exec(report[0], pid, &m) != 0) {
        send_msg(CTL, &m, NULL, 0);
        _exit(1);
    }
    send_msg(CTL, &m, NULL, 0);
    watch_command(pid, &waiting, &status);
    if (c.kill_rest)
        tree_kill(0, &status);
    m.kind = SHIM_ENDED;
    m.status = status;
    send_msg(CTL, &m, NULL, 0);
    _exit(0);
}


int shim_start(const struct command *c)
{
    int pair[2], saved;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    pid = fork();
    if (pid == 0)
        shim_main(c, pair[1]);
    saved = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        errno = saved;
        return -1;
    }
    return pair[0];
}
