/*
 * pidfile: at most one of us per run_dir (see pidfile.h).
 *
 * A POSIX record lock, because F_GETLK names its holder. Its known danger:
 * any close() of the file by the holder drops it, so the descriptor is kept
 * here and the file is opened nowhere else.
 */
#include "pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pidfile_open(const char *dir, const char *name, int flags)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name)
        >= sizeof(path))
    {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0644);
}

int pidfile_take(const char *dir, const char *name, struct err *e)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    pid_t        holder;
    char         text[16];
    int          fd, len;

    fd = pidfile_open(dir, name, O_RDWR | O_CREAT);
    if (fd < 0)
        return err_errno(e, "open %s/%s", dir, name);
    if (fcntl(fd, F_SETLK, &lock) != 0) {
        close(fd);
        if (errno != EACCES && errno != EAGAIN)
            return err_errno(e, "lock %s/%s", dir, name);
        holder = pidfile_holder(dir, name);
        return err_set(e, "conflict", "Holdfast already runs with run_dir "
            "%s (pid %d)", dir, (int)holder);
    }
    len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)len) != len) {
        err_errno(e, "write %s/%s", dir, name);
        close(fd);
        return -1;
    }
    return 0;                   /* the descriptor stays open on purpose */
}

pid_t pidfile_holder(const char *dir, const char *name)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int          fd = pidfile_open(dir, name, O_RDONLY);
    pid_t        pid = 0;

    if (fd < 0)
        return 0;
    if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        pid = lock.l_pid;
    close(fd);
    return pid;
}
