/*
 * door: what nginx and the keeper say to the door (docs/interfaces.md, 5).
 *
 * SEQPACKET, one struct per packet, native byte order (one machine).
 */
#ifndef HF_DOOR_H
#define HF_DOOR_H

#include <stdint.h>

#define DOOR_SOCKETS_MAX 8

enum door_family { DOOR_UNIX = 1, DOOR_INET = 4, DOOR_INET6 = 6 };

struct door_ask {               /* nginx, keeper → door.sock */
    uint32_t seq;
    uint8_t  family;            /* enum door_family */
    uint8_t  count;             /* 1..DOOR_SOCKETS_MAX */
    uint8_t  pad[2];
    uint64_t generation;
    char     id[48];            /* NUL-terminated */
};

struct door_answer {            /* + the sockets, SCM_RIGHTS */
    uint32_t seq;
    int32_t  error;             /* errno; ENOENT: no such id.generation */
};

enum door_verb { DOOR_ADD = 1, DOOR_DROP = 2 };

struct door_order {             /* keeper → doorctl.sock; ADD: + a netns fd */
    uint32_t seq;
    uint8_t  verb;
    uint8_t  pad[3];
    uint64_t generation;        /* DROP: 0 means every generation */
    char     id[48];
};                              /* answered with struct door_answer */

#endif
