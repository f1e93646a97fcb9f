/*
 * files: small whole files and folders of our own (see files.h).
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files of /proc have no size, so it is read until its end. */
static int files_read_all(int fd, const char *path, struct buf *b,
    struct err *e)
{
    char   *room;
    size_t  want;
    ssize_t n;

    for (;;) {
        want = b->max - b->len < 4096 ? b->max - b->len : 4096;
        if (want == 0)
            return err_set(e, "internal", "%s is too large", path);
        room = buf_room(b, want);
        if (room == NULL)
            return err_set(e, "internal", "out of memory for %s", path);
        n = read(fd, room, want);
        if (n == 0)
            break;
        if (n > 0)
            b->len += (size_t)n;
        else if (errno != EINTR)
            return err_errno(e, "read %s", path);
    }
    b->data[b->len] = '\0';
    return 0;
}

int files_read(const char *path, struct buf *b, struct err *e)
{
    struct stat st;
    int         fd, rc;

    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "open %s", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = err_set(e, "internal", "%s is not a file", path);
    else
        rc = files_read_all(fd, path, b, e);
    close(fd);
    return rc;
}

int files_write(const char *path, const void *data, size_t len, mode_t mode,
    struct err *e)
{
    char    temp[PATH_MAX];
    ssize_t n;
    int     fd;

    if ((size_t)snprintf(temp, sizeof(temp), "%s.new", path) >= sizeof(temp))
        return err_set(e, "internal", "the path %s is too long", path);
    unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(e, "write %s", path);
    n = len == 0 ? 0 : write(fd, data, len);
    if (n != (ssize_t)len || fchmod(fd, mode) != 0 || rename(temp, path) != 0)
    {
        if (n >= 0 && n != (ssize_t)len)
            errno = ENOSPC;     /* a short write to a file means just that */
        err_errno(e, "write %s", path);
        close(fd);
        unlink(temp);
        return -1;
    }
    close(fd);
    return 0;
}

int files_mkdir(const char *path, mode_t mode, struct err *e)
{
    char  part[PATH_MAX];
    char *p;

    if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
        return err_set(e, "internal", "the path %s is too long", path);
    for (p = part + 1; ; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        if (*p == '\0')
            break;
        *p = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return err_errno(e, "make the folder %s", part);
        *p = '/';
    }
    if (mkdir(part, mode) != 0 && errno != EEXIST)
        return err_errno(e, "make the folder %s", part);
    return 0;
}

int files_own_dir(const char *path, mode_t mode, uid_t uid, gid_t gid,
    struct err *e)
{
    if (files_mkdir(path, mode, e) != 0)
        return -1;
    if (chown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return err_errno(e, "set owner and mode of %s", path);
    return 0;
}
