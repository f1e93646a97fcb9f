/*
 * net: what the keeper says to the net role (docs/interfaces.md, 5).
 */
#ifndef HF_NET_H
#define HF_NET_H

#include <stdint.h>

enum net_verb { NET_MAKE = 1, NET_DROP = 2, NET_CHECK = 3 };

struct net_ask {
    uint32_t seq;
    uint8_t  verb;
    uint8_t  pad[3];
    int32_t  pid;               /* MAKE: PID 1 of the container, host's view */
    uint32_t ifnumber;          /* interface is <prefix><ifnumber> */
    uint32_t addr;              /* IPv4, host byte order */
};

struct net_answer {             /* MAKE: + the netns descriptor */
    uint32_t seq;
    int32_t  error;             /* errno, 0 is well */
    char     text[120];         /* a sentence when error */
};

#endif
