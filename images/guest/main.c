/*
 * main: PID 1 of a sandbox.
 *
 * Bind-mounted read-only into any image and started as uid 0 with four
 * capabilities (KILL, SETGID, SETPCAP, SETUID). It waits for BOOT from the
 * keeper, then runs services and commands as the sandbox's user, reaps, and
 * tells the keeper what is going on. User code cannot signal, trace or feed
 * it; that is robustness, not the boundary: the host believes nothing that
 * comes out of here.
 *
 * The order of start-up is part of the design: the sockets are bound before
 * anything of the image has run, and ids are taken before anything of the
 * image is touched. No resolver, no locale, no name service: a hostile image
 * must get no code or data into this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "keeper.h"
#include "bounds.h"
#include "loop.h"
#include "outside.h"
#include "ports.h"
#include "proto.h"
#include "server.h"

static struct watch signals;


static void die(const char *what)
{
    dprintf(2, "holdfast: %s: %s\n", what, strerror(errno));
    _exit(111);
}


/* Shims tell of themselves through their sockets, everybody else in here is
 * an orphan: reaping is all there is to do. */
static void reap(void)
{
    pid_t pid;

    do {
        pid = waitpid(-1, NULL, WNOHANG);
    } while (pid > 0);
    if (pid < 0 && errno == ECHILD)
        guest_childless();
}


static void on_signal(struct watch *w, uint32_t events)
{
    struct signalfd_siginfo s;

    (void) events;
    while (read(w->fd, &s, sizeof(s)) == (ssize_t) sizeof(s))
        if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
            guest_stop(SERVICE_KILL_MS);
    reap();
}


static int open_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}


/* 0, 1 and 2 are taken, so that no socket of ours ever gets these numbers. */
static void fill_standard_files(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd < 3);
    if (fd >= 0)
        close(fd);
}


int main(void)
{
    int http, keeper;

    if (getpid() != 1) {
        /* kill(-1) of any other process is the host's end */
        dprintf(2, "holdfast: the guest runs as PID 1 of a sandbox only\n");
        return 100;
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    fill_standard_files();
    umask(022);
    http = listen_abstract(GUEST_HTTP);
    keeper = listen_abstract(GUEST_KEEPER);
    if (http < 0 || keeper < 0)
        die("cannot bind the guest's sockets");
    if (setgroups(0, NULL) != 0)
        die("cannot drop groups");
    signals.fd = open_signals();
    signals.ready = on_signal;
    if (signals.fd < 0 || loop_init() != 0
        || loop_watch(&signals, EPOLLIN) != 0)
    {
        die("cannot start the loop");
    }
    ports_start();
    server_start(http);
    keeper_start(keeper);
    for ( ;; ) {
        loop_turn();
        if (guest.phase == PHASE_STOPPING)
            reap();             /* the last answer may just have gone out */
        keeper_turn_end();
    }
}
