/*
 * maintenance: see maintenance.h. Owns <data_dir>/maintenance.
 */
#include "maintenance.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAINTENANCE_RETRY_S 30

static const char *maintenance_path(const struct settings *s,
    char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/maintenance", s->data_dir);
    return path;
}

bool maintenance_on(const struct settings *s, int64_t *since_ms)
{
    struct stat st;
    char        path[PATH_MAX];

    if (lstat(maintenance_path(s, path), &st) == -1)
        return false;
    if (since_ms != NULL)
        *since_ms = (int64_t) st.st_mtim.tv_sec * 1000;
    return true;
}

int maintenance_set(const struct settings *s, bool on, struct err *e)
{
    char path[PATH_MAX];
    int  fd, dir, rc;

    maintenance_path(s, path);
    if (on) {
        fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd == -1)
            return err_errno(e, "make %s", path);
        close(fd);
    } else if (unlink(path) == -1 && errno != ENOENT) {
        return err_errno(e, "remove %s", path);
    }
    dir = open(s->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = dir != -1 && fsync(dir) == 0 ? 0
        : err_errno(e, "store the change in %s", s->data_dir);
    if (dir != -1)
        close(dir);
    return rc;
}

int maintenance_check(const struct settings *s, struct err *e)
{
    if (!maintenance_on(s, NULL))
        return 0;
    err_set(e, "maintenance", "this machine is in maintenance: nothing is "
        "made or woken now, what is awake runs on");
    e->retry_after_s = MAINTENANCE_RETRY_S;
    return -1;
}
