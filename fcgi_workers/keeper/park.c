/*
 * park: PARK(id, g, min_idle_ms), asked of every gate (links.h, links_park).
 *
 * Owns the votes that are out. A gate that does not answer within a second, or
 * goes away meanwhile, counts as busy. A keeper that has just begun, or has
 * just lost a gate, does not ask at all: a gate that it does not know of yet
 * may hold requests in flight.
 */
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "links_in.h"

#define PARK_MS  1000           /* for an answer */
#define YOUNG_MS 2000           /* of the keeper, and after a lost gate */

struct vote {
    struct vote    *next;
    struct sandbox *sb;
    uint64_t        seq;
    uint64_t        waiting[OP_LINKS_MAX / 64]; /* gates still to answer */
    enum line_park  how;
    int64_t         idle_ms;
    struct timer    deadline;
    park_told       told;
};

static bool vote_waits(const struct vote *v)
{
    size_t i;

    for (i = 0; i < OP_LINKS_MAX / 64; i++) {
        if (v->waiting[i] != 0)
            return true;
    }
    return false;
}

static void vote_end(struct vote *v)
{
    struct links *all = v->sb->k->links;
    struct vote **at = &all->votes;

    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    loop_timer_clear(all->k->loop, &v->deadline);
    v->told(v->sb, v->how, v->idle_ms);
    free(v);
}

static void vote_late(struct timer *t)
{
    struct vote *v = t->owner;

    if (vote_waits(v)) {
        v->how = LINE_BUSY;
        v->idle_ms = PARK_SILENT;
    }
    vote_end(v);
}

static void vote_of(struct vote *v, int slot, enum line_park how,
    int64_t idle_ms)
{
    if ((v->waiting[slot / 64] >> (slot % 64) & 1) == 0)
        return;
    v->waiting[slot / 64] &= ~(1ULL << (slot % 64));
    if (how != LINE_OK && v->how == LINE_OK) {
        v->how = how;
        v->idle_ms = idle_ms;
    } else if (how == LINE_BUSY && idle_ms < v->idle_ms) {
        v->idle_ms = idle_ms;
    }
    if (!vote_waits(v))
        vote_end(v);
}

void park_heard(struct link *l, const struct line *in)
{
    struct vote *v;

    for (v = l->k->links->votes; v != NULL; v = v->next) {
        if (v->seq == in->seq) {
            vote_of(v, l->slot, in->park, (int64_t) in->idle_ms);
            return;
        }
    }
}

void park_link_gone(struct link *l)
{
    struct vote *v, *next;

    for (v = l->k->links->votes; v != NULL; v = next) {
        next = v->next;
        vote_of(v, l->slot, LINE_BUSY, 0);
    }
}

static void vote_ask(struct vote *v, int64_t min_idle_ms)
{
    struct links *all = v->sb->k->links;
    struct line   line;
    int           i;

    memset(&line, 0, sizeof(line));
    line.type = 'P';
    line.seq = v->seq;
    line.id = (struct line_str) { v->sb->id, strlen(v->sb->id) };
    line.gen = v->sb->generation;
    line.idle_ms = (uint64_t) min_idle_ms;
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (all->link[i] == NULL || !all->link[i]->greeted)
            continue;
        v->waiting[i / 64] |= 1ULL << (i % 64);
        link_say(all->link[i], &line);
    }
    /* From the loop also when no gate is there: one way for callers. */
    loop_timer_set(all->k->loop, &v->deadline, vote_waits(v) ? PARK_MS : 0);
}

static int vote_new(struct sandbox *sb, int64_t min_idle_ms, park_told told)
{
    struct links *all = sb->k->links;
    struct vote  *v;

    for (v = all->votes; v != NULL; v = v->next) {
        if (v->sb == sb)
            return -1;
    }
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -1;
    v->sb = sb;
    v->seq = ++all->seq;
    v->how = LINE_OK;
    v->told = told;
    v->deadline.owner = v;
    v->deadline.due = vote_late;
    v->next = all->votes;
    all->votes = v;
    vote_ask(v, min_idle_ms);
    return 0;
}

int links_drain(struct sandbox *sb, park_told told)
{
    return vote_new(sb, 0, told);
}

void links_park_forget(struct sandbox *sb)
{
    struct vote **at = &sb->k->links->votes, *v;

    while ((v = *at) != NULL) {
        if (v->sb != sb) {
            at = &v->next;
            continue;
        }
        *at = v->next;
        loop_timer_clear(sb->k->loop, &v->deadline);
        free(v);
    }
}

int links_park(struct sandbox *sb, int64_t min_idle_ms, park_told told)
{
    struct links *all = sb->k->links;
    int64_t       now = loop_now_ms(sb->k->loop);

    if (sb->rung != RUNG_RUNNING || sb->unproven
        || now - sb->k->began_ms < YOUNG_MS
        || (all->lost_ms != 0 && now - all->lost_ms < YOUNG_MS))
        return -1;
    return vote_new(sb, min_idle_ms, told);
}
