/*
 * guestlink: frames between the keeper and one guest.
 *
 * The guest is inside: what it sends is bounded, a frame that does not fit its
 * form ends the connection. What comes in is told to start.c.
 */
#ifndef HF_KEEPER_GUESTLINK_H
#define HF_KEEPER_GUESTLINK_H

#include <stddef.h>
#include <stdint.h>

#include "sandbox.h"

struct guestlink;

/* Connects a socket made inside the sandbox; takes fd. 0; -1 with errno
 * (ECONNREFUSED: nobody listens yet): fd is then closed. */
int  guestlink_open(struct sandbox *sb, int fd);
void guestlink_close(struct sandbox *sb);
/* Queues a frame; sent as the socket takes it. -1: out of bounds. */
int  guestlink_send(struct sandbox *sb, uint8_t type, const void *body,
    size_t len);
void guestlink_watch(struct sandbox *sb, uint32_t ms);

#endif
