/*
 * peers: the keeper's calls to the door and to the net role.
 *
 * Every call may be repeated without harm, so one whose connection breaks is
 * sent again over the next one; after PEERS_DEADLINE_MS it ends with
 * "unavailable". Its completion comes exactly once, from the loop.
 */
#ifndef HF_KEEPER_PEERS_H
#define HF_KEEPER_PEERS_H

#include "../common/err.h"
#include "core.h"

#define PEERS_DEADLINE_MS 10000

/* `fd` is the receiver's to close, or -1. */
typedef void (*peers_done)(void *arg, const struct err *e, int fd);

int  peers_open(struct keeper *k, struct err *e);
void peers_close(struct keeper *k);

/* An interface for the network namespace of pid; gives that namespace. */
void peers_net_make(struct keeper *k, int32_t pid, uint32_t ifnumber,
    uint32_t addr, peers_done done, void *arg);
void peers_net_drop(struct keeper *k, uint32_t ifnumber);
/* Are the rules in place? */
void peers_net_check(struct keeper *k, peers_done done, void *arg);

/* The descriptor stays the caller's. */
void peers_door_add(struct keeper *k, const char *id, uint64_t generation,
    int netns, peers_done done, void *arg);
void peers_door_drop(struct keeper *k, const char *id, uint64_t generation);
/* A unix socket made inside id.generation, not connected. */
void peers_dial(struct keeper *k, const char *id, uint64_t generation,
    peers_done done, void *arg);

/* No completion for this arg any more. */
void peers_forget(struct keeper *k, const void *arg);

bool peers_up(const struct keeper *k, const char *name);

#endif
