/*
 * outbox: what keeper and tasks tell each other on outbox.sock (seqpacket).
 *
 * Both ways one fixed struct. From the keeper: rows of the table `outbox` up
 * to `number` are committed. From tasks: rows up to `number` are in their
 * streams and synced; the keeper may remove them. A wrong size closes the
 * connection. Nothing is lost when it is: tasks reads the table anyway.
 */
#ifndef HF_OUTBOX_H
#define HF_OUTBOX_H

#include <stdint.h>

#define OUTBOX_FD 5             /* the keeper's listening descriptor */

/* The column `ends`: what a row means for its sandbox's stream. */
enum { OUTBOX_GOES_ON, OUTBOX_ENDS, OUTBOX_DROPS };

struct outbox_said {
    uint64_t number;
};

#endif
