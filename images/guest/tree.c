/*
 * tree: see tree.h. Runs in a shim, as uid 0 with CAP_KILL. Reads /proc, which
 * is of the moment; so every step is repeated until it finds nothing to do.
 */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 4096      /* seen at once; the rest next time */
#define STOP_ROUNDS   60        /* about a second, then kill what there is */

struct process {
    pid_t pid, parent;
    bool  ours, done;           /* done: stopped or dead */
};

static struct process all[PROCESSES_MAX];
static size_t nall;


static pid_t number(const char *s)
{
    pid_t n = 0;

    if (*s < '1' || *s > '9')
        return 0;
    for ( ; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (*s - '0');
    return n;
}


/* `pid (any ) name) S parent ...` */
static bool read_stat(int proc, const char *name, struct process *p)
{
    char path[32], text[256];
    size_t len = strlen(name);
    ssize_t n;
    char *at;
    int fd;

    if (len > 10)
        return false;
    memcpy(path, name, len);
    memcpy(path + len, "/stat", 6);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    at = strrchr(text, ')');
    if (at == NULL || text + n - at < 5)
        return false;
    p->pid = number(name);
    p->parent = number(at + 4);
    p->done = strchr("TtZX", at[2]) != NULL;
    p->ours = false;
    return true;
}


static void read_all(void)
{
    struct dirent *d;
    DIR *dir = opendir("/proc");

    nall = 0;
    if (dir == NULL)
        return;
    while (nall < PROCESSES_MAX && (d = readdir(dir)) != NULL)
        if (number(d->d_name) > 1
            && read_stat(dirfd(dir), d->d_name, &all[nall]))
        {
            nall++;
        }
    closedir(dir);
}


/* /proc is in order of pids. */
static const struct process *find(pid_t pid)
{
    size_t low = 0, high = nall, mid;

    while (low < high) {
        mid = low + (high - low) / 2;
        if (all[mid].pid == pid)
            return &all[mid];
        if (all[mid].pid < pid)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}


/* Parents mostly have the lower pid, so this is one round, mostly. */
static void mark_ours(void)
{
    const struct process *parent;
    pid_t self = getpid();
    bool changed;
    size_t i;

    do {
        changed = false;
        for (i = 0; i < nall; i++) {
            if (all[i].ours)
                continue;
            parent = find(all[i].parent);
            if (all[i].parent == self || (parent != NULL && parent->ours))
                changed = all[i].ours = true;
        }
    } while (changed);
}


/* How many of ours were not done. */
static size_t signal_ours(int signo)
{
    size_t i, n = 0;

    read_all();
    mark_ours();
    for (i = 0; i < nall; i++) {
        if (!all[i].ours || (signo == SIGSTOP && all[i].done))
            continue;
        kill(all[i].pid, signo);
        n++;
    }
    return n;
}


static void rest(int round)
{
    struct timespec t = { 0, round < 8 ? 100000 : 20000000 };

    nanosleep(&t, NULL);
}


void tree_kill(pid_t child, int *status)
{
    int round, st;
    pid_t pid;

    for (round = 0; round < STOP_ROUNDS && signal_ours(SIGSTOP) > 0; round++)
        rest(round);
    for (round = 0; ; round++) {
        signal_ours(SIGKILL);
        while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
            if (pid == child)
                *status = st;
        if (pid < 0 && errno == ECHILD)
            return;
        rest(round);
    }
}
