/*
 * outside: listening sockets that only the host can talk to.
 *
 * An abstract name is open to everybody in the network namespace. But a peer
 * outside our pid namespace shows pid 0 in SO_PEERCRED, one inside never does.
 */
#ifndef GUEST_OUTSIDE_H
#define GUEST_OUTSIDE_H

/* A listening abstract socket, or -1. */
int  listen_abstract(const char *name);
/* A peer from outside our pid namespace, or -1 when there is none (any
 * more). Others are closed at once: they are user code. */
int  accept_outside(int listener);

#endif
