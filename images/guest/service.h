/*
 * service: the processes that belong to the sandbox itself.
 *
 * Started at every boot, after setup if there is one; started again by their
 * policy, waiting ever longer (100 ms to 10 s). Ready means its port listens.
 * When a service's own process ends, what it left is killed before it starts
 * again. Without services in BOOT the image's ENTRYPOINT + CMD run as service
 * `image`.
 *
 * Output goes to files in /.holdfast/logs, not through a pipe: nothing is
 * lost when a process dies. PID 1 keeps them small: over SERVICE_LOG_MAX the
 * end is copied to <name>.log.1 and the file cut to nothing.
 */
#ifndef GUEST_SERVICE_H
#define GUEST_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto.h"

void    services_open_logs(void);       /* while file access is still root's */
void    services_close_logs(void);
void    services_start(void);           /* setup first */
void    services_stop(void);            /* no more starts */
bool    services_waiting(void);         /* one's port is not open yet */
bool    services_running(void);
void    services_looked(void);         /* the list of ports is fresh */
bool    services_check_logs(void);      /* true: one has grown */
uint8_t services_fill(struct guest_service *out, struct guest_service *setup);

#endif
