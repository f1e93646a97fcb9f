/*
 * links_in: what links.c, asks.c and park.c share. For nobody else.
 */
#ifndef HF_KEEPER_LINKS_IN_H
#define HF_KEEPER_LINKS_IN_H

#include "../common/buf.h"
#include "../common/line.h"
#include "links.h"

#define LINK_OUT_MAX  65536     /* blocked beyond this: dropped */
#define REFUSED_MS    150       /* a guest has looked at its ports by then */

struct ask {                    /* a gate waits for an answer about one id */
    struct ask     *next;       /* of the same sandbox */
    struct ask     *next_all, **prev_all;
    struct sandbox *sb;
    struct link    *link;
    uint16_t        port;
    enum line_how   how;
    uint64_t        gen;
    int64_t         asked_ms;
};

struct link {
    struct keeper *k;
    struct watch   watch;
    int            slot;
    bool           greeted, writing, broken;
    uint64_t       table;
    uint32_t       pid;
    char           in[4 * LINE_MAX_LEN];
    size_t         nin;
    struct buf     held;        /* of this turn, not committed yet */
    struct buf     out;
};

struct vote;
struct inquiry;

struct links {
    struct keeper *k;
    struct watch   listen;
    struct link   *link[OP_LINKS_MAX];
    struct ask    *asks;
    size_t         nasks;
    int64_t        lost_ms;     /* when a gate was last lost */
    struct vote   *votes;
    struct inquiry *inquiries;
    uint64_t       seq;
};

/* Puts a line into the link's held output. */
void link_say(struct link *l, const struct line *line);
/* Fills the fields of an A or R about a sandbox. `host` borrowed. */
void link_describe(const struct sandbox *sb, struct line *line, char type);

void asks_heard(struct link *l, const struct line *in);         /* W */
void asks_link_gone(struct link *l);
void park_heard(struct link *l, const struct line *in);         /* K */
void park_link_gone(struct link *l);
void inquiry_heard(struct link *l, const struct line *in);      /* J */
void inquiry_link_gone(struct link *l);

#endif
