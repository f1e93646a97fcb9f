/*
 * ports: what listens inside, by NETLINK_SOCK_DIAG.
 *
 * Looked at every 50 ms while somebody waits for a port, else rarely, and
 * ever more rarely while nothing changes: thousands of idle guests share a
 * machine. Only ports that 127.0.0.1 or ::1 reaches count, for that is how
 * the host comes in. Logs of services are looked after at the same beat.
 */
#ifndef GUEST_PORTS_H
#define GUEST_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto.h"

void    ports_start(void);
void    ports_watch(uint32_t ms);       /* somebody waits */
void    ports_wake(void);               /* something is going on: look soon */
uint8_t ports_fill(struct guest_port *out);
uint8_t ports_families(uint16_t port);  /* 0: closed */

#endif
