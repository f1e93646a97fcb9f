/*
 * outside: see outside.h. Owns nothing: descriptors are the caller's.
 */
#include "outside.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


int listen_abstract(const char *name)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    size_t n = strlen(name);
    int fd;

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    memcpy(a.sun_path + 1, name, n);
    if (bind(fd, (struct sockaddr *) &a,
             (socklen_t) (sizeof(sa_family_t) + 1 + n)) != 0
        || listen(fd, 512) != 0)
    {
        close(fd);
        return -1;
    }
    return fd;
}


int accept_outside(int listener)
{
    struct ucred peer;
    socklen_t n;
    int fd, tries;

    for (tries = 0; tries < 64; tries++) {      /* then the loop calls again */
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return -1;
        n = sizeof(peer);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0
            && n == sizeof(peer) && peer.pid == 0)
        {
            return fd;
        }
        close(fd);
    }
    return -1;
}
