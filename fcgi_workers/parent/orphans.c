/*
 * orphans: what an earlier parent left behind (see orphans.h).
 *
 * nginx' workers are the reason: when their master is killed they go on and
 * keep its ports. A pid file cannot name them, a descriptor they inherited
 * can. Must never signal a process that does not hold the marker.
 */
#include "orphans.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORPHANS_WAIT_MS 5000

int orphans_marker(const char *run_dir, struct err *e)
{
    char name[200];
    int  fd;

    snprintf(name, sizeof(name), "holdfast:%s", run_dir);
    fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "make the marker of our processes");
    return fd;
}

static bool orphans_holds(const char *pid, const char *marker)
{
    char           path[64], link[PATH_MAX];
    struct dirent *d;
    DIR           *dir;
    ssize_t        n;
    bool           found = false;

    if (snprintf(path, sizeof(path), "/proc/%s/fd", pid) >= (int)sizeof(path))
        return false;
    dir = opendir(path);
    if (dir == NULL)
        return false;           /* it has just ended */
    while (!found && (d = readdir(dir)) != NULL) {
        n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);
        if (n <= 0)
            continue;
        link[n] = '\0';
        found = strcmp(link, marker) == 0;
    }
    closedir(dir);
    return found;
}

/* The pidfd is taken before the second look, so the process that is killed is
 * the one that was looked at, whatever became of its number. */
static int orphans_end_one(const char *name, const char *marker)
{
    struct pollfd p = { .events = POLLIN };
    pid_t         pid = (pid_t)strtol(name, NULL, 10);
    int           rc;

    p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p.fd < 0)
        return 0;
    if (!orphans_holds(name, marker)) {
        close(p.fd);
        return 0;
    }
    syscall(SYS_pidfd_send_signal, p.fd, SIGKILL, NULL, 0);
    rc = poll(&p, 1, ORPHANS_WAIT_MS);
    close(p.fd);
    return rc == 1 ? 1 : -1;
}

int orphans_end(const char *run_dir, struct err *e)
{
    char           marker[256], self[16];
    struct dirent *d;
    DIR           *proc;
    int            rc, n = 0;

    snprintf(marker, sizeof(marker), "/memfd:holdfast:%s (deleted)", run_dir);
    snprintf(self, sizeof(self), "%d", (int)getpid());
    proc = opendir("/proc");
    if (proc == NULL)
        return err_errno(e, "read /proc");
    while ((d = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)d->d_name[0])
            || strcmp(d->d_name, self) == 0
            || !orphans_holds(d->d_name, marker))
        {
            continue;
        }
        rc = orphans_end_one(d->d_name, marker);
        if (rc < 0) {
            closedir(proc);
            return err_set(e, "internal", "process %s is left over from an "
                "earlier start and cannot be killed", d->d_name);
        }
        n += rc;
    }
    closedir(proc);
    return n;
}
