/*
 * inquiry: see inquiry.h.
 *
 * Owns the questions that are out. Workers of one table share what they would
 * say, so one of each table is asked. A gate that says nothing within a second,
 * or goes away meanwhile, is `silent`.
 */
#include "inquiry.h"

#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "links_in.h"

#define INQUIRY_MS 1000

struct inquiry {
    struct inquiry *next;
    struct keeper  *k;
    uint64_t        seq;
    uint64_t        waiting[OP_LINKS_MAX / 64];
    int             left;
    struct inflight in;
    struct timer    deadline;
    void          (*done)(void *arg, const struct inflight *in);
    void           *arg;
};

static void inquiry_end(struct inquiry *q)
{
    struct inquiry **at = &q->k->links->inquiries;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    loop_timer_clear(q->k->loop, &q->deadline);
    q->done(q->arg, &q->in);
    free(q);
}

static void inquiry_late(struct timer *t)
{
    struct inquiry *q = t->owner;

    q->in.silent |= q->left > 0;
    inquiry_end(q);
}

/* One that was waited for has spoken (`line`), or never will (NULL). */
static void inquiry_of(struct inquiry *q, int slot, const struct line *line)
{
    if ((q->waiting[slot / 64] >> (slot % 64) & 1) == 0)
        return;
    q->waiting[slot / 64] &= ~(1ULL << (slot % 64));
    if (line == NULL) {
        q->in.silent = true;
    } else {
        q->in.active += line->active;
        q->in.quiet += line->quiet;
        if ((int64_t) line->idle_ms < q->in.idle_ms)
            q->in.idle_ms = (int64_t) line->idle_ms;
    }
    if (--q->left == 0)
        inquiry_end(q);
}

void inquiry_heard(struct link *l, const struct line *in)
{
    struct inquiry *q;

    for (q = l->k->links->inquiries; q != NULL; q = q->next) {
        if (q->seq == in->seq) {
            inquiry_of(q, l->slot, in);
            return;
        }
    }
}

void inquiry_link_gone(struct link *l)
{
    struct inquiry *q, *next;

    for (q = l->k->links->inquiries; q != NULL; q = next) {
        next = q->next;
        inquiry_of(q, l->slot, NULL);
    }
}

static bool table_asked(const struct inquiry *q, const struct links *all,
    uint64_t table)
{
    int i;

    for (i = 0; i < OP_LINKS_MAX; i++) {
        if ((q->waiting[i / 64] >> (i % 64) & 1) != 0
            && all->link[i]->table == table)
            return true;
    }
    return false;
}

int inquiry_begin(struct keeper *k, const char *id,
    void (*done)(void *arg, const struct inflight *in), void *arg)
{
    struct links   *all = k->links;
    struct inquiry *q = calloc(1, sizeof(*q));
    struct line     line;
    int             i;

    if (q == NULL)
        return -1;
    q->k = k;
    q->seq = ++all->seq;
    q->in.idle_ms = INT64_MAX;
    q->done = done;
    q->arg = arg;
    q->deadline.owner = q;
    q->deadline.due = inquiry_late;
    q->next = all->inquiries;
    all->inquiries = q;
    memset(&line, 0, sizeof(line));
    line.type = 'I';
    line.seq = q->seq;
    line.id = (struct line_str) { id, strlen(id) };
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (all->link[i] == NULL || !all->link[i]->greeted
            || table_asked(q, all, all->link[i]->table))
            continue;
        q->waiting[i / 64] |= 1ULL << (i % 64);
        q->left++;
        link_say(all->link[i], &line);
    }
    loop_timer_set(k->loop, &q->deadline, q->left > 0 ? INQUIRY_MS : 0);
    return 0;
}

void inquiry_close(struct keeper *k)
{
    struct inquiry *q;

    while ((q = k->links->inquiries) != NULL) {
        k->links->inquiries = q->next;
        loop_timer_clear(k->loop, &q->deadline);
        free(q);
    }
}
