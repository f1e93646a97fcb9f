/*
 * child: see child.h.
 */
#include "child.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../parent/privs.h"

void child_begin(const int *keep, int n)
{
    unsigned from = 3, low;
    sigset_t none;
    int      i, round;

    for (round = 0; round < n; round++) {
        low = ~0u;
        for (i = 0; i < n; i++) {
            if ((unsigned) keep[i] >= from && (unsigned) keep[i] < low)
                low = (unsigned) keep[i];
        }
        if (low == ~0u)
            break;
        if (low > from)
            close_range(from, low - 1, 0);
        from = low + 1;
    }
    close_range(from, ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int child_become(uid_t uid, uint64_t caps, pid_t keeper)
{
    struct privs p = { .uid = uid, .gid = uid, .caps = caps };
    struct err   e;

    errno = 0;
    if (privs_become(&p, &e) == -1) {
        if (errno == 0)
            errno = EPERM;
        return -1;
    }
    /* After the change of uid, which clears it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
        return -1;
    if (getppid() != keeper)
        _exit(1);
    return 0;
}
