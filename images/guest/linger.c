/*
 * linger: see linger.h. Owns the pipes of finished execs.
 */
#include "linger.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "bounds.h"
#include "loop.h"

static struct watch pipes[LINGER_MAX];
static unsigned next;


static void drain(struct watch *w, uint32_t events)
{
    char waste[8192];
    ssize_t n;

    (void) events;
    n = read(w->fd, waste, sizeof(waste));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        loop_close(w);
}


void linger(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    struct watch *w;
    unsigned i;

    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR))) {
        close(fd);
        return;
    }
    for (i = 0; i < LINGER_MAX; i++)
        if (!pipes[(next + i) % LINGER_MAX].added)
            break;
    w = &pipes[(next + i) % LINGER_MAX];
    next = (next + i + 1) % LINGER_MAX;
    if (w->added)
        loop_close(w);
    w->fd = fd;
    w->ready = drain;
    if (loop_watch(w, EPOLLIN) != 0)
        close(fd);
}
