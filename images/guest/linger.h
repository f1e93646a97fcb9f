/*
 * linger: pipes that outlive their exec.
 *
 * A command ended, but what it left in the background still holds its
 * standard output. Closing our end would kill that with SIGPIPE, not reading
 * would block it. So we read and throw away until the last holder is gone. At
 * most LINGER_MAX pipes: the oldest gives way.
 */
#ifndef GUEST_LINGER_H
#define GUEST_LINGER_H

/* Takes the descriptor, which does not block. Closes it when nobody holds
 * the other end. */
void linger(int fd);

#endif
