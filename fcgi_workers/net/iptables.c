/*
 * iptables: see iptables.h. Runs fixed commands with fixed arguments, without
 * a shell; each has ten seconds.
 */
#include "iptables.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"

#define RUN_MS   10000
#define ARGS_MAX 20

static const char *const programs[] = { "iptables-nft", "iptables-legacy" };

/* Our two rules, %s is "<prefix>+". */
static const char *const rules[][8] = {
    { "-i", "%s", "-j", "ACCEPT", NULL },
    { "-o", "%s", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED",
      "-j", "ACCEPT" },
};

/* What the program writes, until its end or until time is over. */
static void collect(int fd, char *out, size_t size, int64_t until_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char          rest[512];
    size_t        len = 0;
    ssize_t       n;
    int64_t       left;

    for (;;) {
        left = until_ms - clock_mono_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            break;
        n = len < size - 1 ? read(fd, out + len, size - 1 - len)
            : read(fd, rest, sizeof(rest));
        if (n <= 0)
            break;
        if (len < size - 1)
            len += (size_t)n;
    }
    out[len] = 0;
}

static int reap(pid_t pid, int64_t until_ms)
{
    struct pollfd p = { .events = POLLIN };
    int           status;
    int64_t       left = until_ms - clock_mono_ms();

    p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p.fd >= 0) {
        if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
            kill(pid, SIGKILL);
        close(p.fd);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Exit status, or -1. `out` (may be NULL) gets the first bytes of stdout. */
static int run(char *const argv[], char *out, size_t size)
{
    static char                path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    static char *const         env[] = { path, NULL };
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t          at;
    sigset_t                   none;
    int64_t                    until = clock_mono_ms() + RUN_MS;
    pid_t                      pid;
    char                       waste[512];
    int                        pipefd[2], rc;

    if (pipe2(pipefd, O_CLOEXEC) != 0)
        return -1;
    sigemptyset(&none);
    posix_spawnattr_init(&at);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&fa, pipefd[1], 1);
    posix_spawn_file_actions_adddup2(&fa, 0, 2);
    rc = posix_spawnp(&pid, argv[0], &fa, &at, argv, env);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    close(pipefd[1]);
    if (rc == 0) {
        collect(pipefd[0], out != NULL ? out : waste,
            out != NULL ? size : sizeof(waste), until);
        rc = reap(pid, until);
    } else {
        rc = -1;
    }
    close(pipefd[0]);
    return rc;
}

static int list_chain(const char *program, const char *chain, char *out,
    size_t size)
{
    char *argv[] = { (char *)(uintptr_t)program, (char[]){ "-w" },
        (char[]){ "-S" }, (char *)(uintptr_t)chain, NULL };

    return run(argv, out, size);
}

/* -C, -I or -D of rule number `i`. */
static int change(const struct plan *p, const char *program, const char *what,
    const char *chain, size_t i)
{
    char  name[16];
    char *argv[ARGS_MAX];
    int   n = 0;

    snprintf(name, sizeof(name), "%s+", p->prefix);
    argv[n++] = (char *)(uintptr_t)program;
    argv[n++] = (char[]){ "-w" };
    argv[n++] = (char *)(uintptr_t)what;
    argv[n++] = (char *)(uintptr_t)chain;
    for (size_t j = 0; j < 8 && rules[i][j] != NULL; j++)
        argv[n++] = strcmp(rules[i][j], "%s") == 0 ? name
            : (char *)(uintptr_t)rules[i][j];
    argv[n] = NULL;
    return run(argv, NULL, 0);
}

/* The chain that our rules belong in, NULL if this firewall drops nothing. */
static const char *chain_of(const char *program)
{
    char text[512];

    if (list_chain(program, "FORWARD", text, sizeof(text)) != 0
        || strncmp(text, "-P FORWARD DROP", 15) != 0)
        return NULL;
    if (list_chain(program, "DOCKER-USER", text, sizeof(text)) == 0)
        return "DOCKER-USER";
    return "FORWARD";
}

int iptables_assert(const struct plan *p, struct err *e)
{
    const char *chain;

    for (size_t i = 0; i < 2; i++) {
        chain = chain_of(programs[i]);
        if (chain == NULL)
            continue;
        for (size_t r = 0; r < 2; r++) {
            if (change(p, programs[i], "-C", chain, r) == 0)
                continue;
            if (change(p, programs[i], "-I", chain, r) != 0)
                return err_set(e, "internal", "cannot let sandboxes through "
                    "chain %s of %s", chain, programs[i]);
            log_info("a rule for sandboxes went into chain %s of %s",
                chain, programs[i]);
        }
    }
    return 0;
}

/* Wherever they are: the policy may have changed since they were put in. */
void iptables_remove(const struct plan *p)
{
    static const char *const chains[] = { "DOCKER-USER", "FORWARD" };

    for (size_t i = 0; i < 2; i++)
        for (size_t c = 0; c < 2; c++)
            for (size_t r = 0; r < 2; r++)
                while (change(p, programs[i], "-C", chains[c], r) == 0)
                    if (change(p, programs[i], "-D", chains[c], r) != 0)
                        break;
}
