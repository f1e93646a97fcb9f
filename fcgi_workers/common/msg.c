/*
 * msg: SOCK_SEQPACKET sockets with descriptors beside the bytes (see msg.h).
 *
 * Owns nothing between calls. Must never leak a descriptor that a peer sent:
 * what the caller does not take is closed here.
 */
#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ids.h"

#define MSG_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int msg_address(struct sockaddr_un *sun, const char *path,
    const char *suffix)
{
    int n;

    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    n = snprintf(sun->sun_path, sizeof(sun->sun_path), "%s%s", path, suffix);
    if (n < 0 || (size_t)n >= sizeof(sun->sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

/* Made beside its place and moved there when owner and mode are right: nobody
 * ever connects to a half-made one, and a stale one is replaced at once. */
int msg_listen(const char *path, int type, unsigned mode, int uid, int gid)
{
    struct sockaddr_un sun;
    int                fd, saved;

    if (msg_address(&sun, path, ".new") != 0)
        return -1;
    fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    unlink(sun.sun_path);
    /* The mode of the socket decides that of its file (with the umask). */
    if (fchmod(fd, 0600) != 0
        || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0
        || chown(sun.sun_path, (uid_t)uid, (gid_t)gid) != 0
        || chmod(sun.sun_path, (mode_t)mode) != 0
        || listen(fd, SOMAXCONN) != 0
        || rename(sun.sun_path, path) != 0)
    {
        saved = errno;
        unlink(sun.sun_path);
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

int msg_connect(const char *path, int type)
{
    struct sockaddr_un sun;
    int                fd, saved;

    if (msg_address(&sun, path, "") != 0)
        return -1;
    fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
        saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

int msg_accept(int fd, int *peer_uid)
{
    struct ucred cred;
    socklen_t    len = sizeof(cred);
    int          got, saved;

    got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (got < 0 || peer_uid == NULL)
        return got;
    if (getsockopt(got, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        saved = errno;
        close(got);
        errno = saved;
        return -1;
    }
    *peer_uid = (int)cred.uid;
    return got;
}

int msg_send(int fd, const void *data, size_t len, const int *fds, int nfds)
{
    union {
        struct cmsghdr head;
        char           space[CMSG_SPACE(MSG_FDS_MAX * sizeof(int))];
    } ctl;
    struct msghdr   m;
    struct cmsghdr *c;
    struct iovec    iov;
    ssize_t         n;

    if (nfds < 0 || nfds > MSG_FDS_MAX) {
        errno = EINVAL;
        return -1;
    }
    memset(&m, 0, sizeof(m));
    iov.iov_base = (void *)(uintptr_t)data;
    iov.iov_len = len;
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    if (nfds > 0) {
        memset(&ctl, 0, sizeof(ctl));
        m.msg_control = &ctl;
        m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
    }
    do {
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -1 : 0;
}

static void msg_close_all(const int *fds, int n)
{
    int i;

    for (i = 0; i < n; i++)
        close(fds[i]);
}

/* Every descriptor of the packet into got[MSG_FDS_MAX]; more than fit were
 * never delivered (the kernel sets MSG_CTRUNC). */
static int msg_take_fds(struct msghdr *m, int *got)
{
    struct cmsghdr *c;
    size_t          bytes;
    int             n = 0;

    for (c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        bytes = c->cmsg_len - CMSG_LEN(0);
        memcpy(got + n, CMSG_DATA(c), bytes);
        n += (int)(bytes / sizeof(int));
    }
    return n;
}

ssize_t msg_recv(int fd, void *data, size_t len, int *fds, int *nfds)
{
    union {
        struct cmsghdr head;
        char           space[CMSG_SPACE(MSG_FDS_MAX * sizeof(int))];
    } ctl;
    struct msghdr m;
    struct iovec  iov;
    ssize_t       n;
    int           got[MSG_FDS_MAX], ngot, take;

    memset(&m, 0, sizeof(m));
    iov.iov_base = data;
    iov.iov_len = len;
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    m.msg_control = &ctl;
    m.msg_controllen = sizeof(ctl);
    do {
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    ngot = msg_take_fds(&m, got);
    if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        msg_close_all(got, ngot);
        errno = EMSGSIZE;
        return -1;
    }
    take = fds == NULL || nfds == NULL ? 0 : *nfds;
    if (take > ngot)
        take = ngot;
    msg_close_all(got + take, ngot - take);
    if (take > 0)
        memcpy(fds, got, (size_t)take * sizeof(int));
    if (nfds != NULL)
        *nfds = take;
    return n;
}

/* ---- texts -------------------------------------------------------------- */

static int msg_write_all(int fd, const char *p, size_t len)
{
    ssize_t n;

    while (len > 0) {
        n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int msg_send_text(int fd, const char *text, size_t len)
{
    char packet[48];
    int  memfd, n, rc, saved;

    if (len == 0) {             /* would read as the end */
        errno = EINVAL;
        return -1;
    }
    if (len <= MSG_INLINE_MAX)
        return msg_send(fd, text, len, NULL, 0);
    memfd = memfd_create("holdfast-msg", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0)
        return -1;
    rc = -1;
    n = snprintf(packet, sizeof(packet), "{\"memfd\":%zu}", len);
    if (msg_write_all(memfd, text, len) == 0
        && fcntl(memfd, F_ADD_SEALS, MSG_SEALS | F_SEAL_SEAL) == 0)
    {
        rc = msg_send(fd, packet, (size_t)n, &memfd, 1);
    }
    saved = errno;
    close(memfd);
    errno = saved;
    return rc;
}

/* The seals are looked at before the size, and the size before the bytes: a
 * peer cannot change what we are about to trust. */
static int msg_read_memfd(int memfd, size_t said, size_t max, char **text)
{
    struct stat st;
    char       *p;
    size_t      got = 0;
    ssize_t     n;
    int         seals = fcntl(memfd, F_GET_SEALS);

    if (seals < 0 || (seals & MSG_SEALS) != MSG_SEALS
        || fstat(memfd, &st) != 0 || st.st_size < 0
        || (size_t)st.st_size != said)
    {
        errno = EBADMSG;
        return -1;
    }
    if (said > max) {
        errno = EMSGSIZE;
        return -1;
    }
    p = malloc(said + 1);
    if (p == NULL)
        return -1;
    while (got < said) {
        n = pread(memfd, p + got, said - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(p);
            errno = EBADMSG;
            return -1;
        }
        got += (size_t)n;
    }
    p[said] = '\0';
    *text = p;
    return 0;
}

static int msg_memfd_size(const char *packet, size_t len, size_t *size)
{
    static const char head[] = "{\"memfd\":";
    size_t            h = sizeof(head) - 1;
    int64_t           value;

    if (len <= h + 1 || memcmp(packet, head, h) != 0
        || packet[len - 1] != '}'
        || ids_number(packet + h, len - h - 1, 1, INT64_MAX, &value) != 0)
    {
        errno = EBADMSG;
        return -1;
    }
    *size = (size_t)value;
    return 0;
}

int msg_recv_text(int fd, size_t max, char **text, size_t *len)
{
    static char packet[MSG_INLINE_MAX];
    char       *p;
    size_t      size;
    ssize_t     n;
    int         memfd, rc, saved, nfds = 1;

    n = msg_recv(fd, packet, sizeof(packet), &memfd, &nfds);
    if (n <= 0) {
        if (n == 0 && nfds == 1)
            close(memfd);
        return (int)n;
    }
    if (nfds == 1) {
        rc = msg_memfd_size(packet, (size_t)n, &size);
        if (rc == 0)
            rc = msg_read_memfd(memfd, size, max, &p);
        saved = errno;
        close(memfd);
        errno = saved;
        if (rc != 0)
            return -1;
    } else {
        size = (size_t)n;
        if (size > max) {
            errno = EMSGSIZE;
            return -1;
        }
        p = malloc(size + 1);
        if (p == NULL)
            return -1;
        memcpy(p, packet, size);
        p[size] = '\0';
    }
    *text = p;
    *len = size;
    return 1;
}
