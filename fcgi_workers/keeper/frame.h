/*
 * frame: one frame of a guest, taken from the front of its bytes. Pure, fuzzed.
 */
#ifndef HF_KEEPER_FRAME_H
#define HF_KEEPER_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "../../images/guest/proto.h"

#define FRAME_HEAD   5
#define FRAME_IN_MAX 8192       /* the largest a guest has reason to send */

struct frame {
    enum guest_frame    type;   /* HELLO, BOOTED or STATUS */
    bool                flag;   /* HELLO: booted; BOOTED: ok */
    char                text[200];      /* BOOTED, printable */
    struct guest_status status; /* STATUS, its counts within bounds */
};

/* Bytes that the frame took; 0: not whole yet; -1: not a frame that a guest
 * sends, the connection is of no use. */
int frame_take(const unsigned char *p, size_t len, struct frame *out);

#endif
