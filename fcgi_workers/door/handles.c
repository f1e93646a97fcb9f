/*
 * handles: see handles.h. Chained buckets, keyed by the id alone, so that all
 * generations of one sandbox are in one chain.
 */
#include "handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 4096            /* a power of two */

struct handle {
    struct handle *next;
    uint64_t       generation;
    int            fd;
    char           id[48];
};

struct handles {
    size_t         max, count;
    struct handle *bucket[BUCKETS];
};

struct handles *handles_new(size_t max)
{
    struct handles *t = calloc(1, sizeof(*t));

    if (t != NULL)
        t->max = max;
    return t;
}

void handles_free(struct handles *t)
{
    struct handle *h, *next;

    if (t == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (h = t->bucket[i]; h != NULL; h = next) {
            next = h->next;
            close(h->fd);
            free(h);
        }
    }
    free(t);
}

/* FNV-1a: the ids are made by us, nobody chooses collisions. */
static size_t slot_of(const char *id)
{
    uint32_t h = 2166136261u;

    for (; *id != 0; id++)
        h = (h ^ (unsigned char)*id) * 16777619u;
    return h & (BUCKETS - 1);
}

static struct handle *find(const struct handles *t, const char *id,
    uint64_t generation)
{
    struct handle *h = t->bucket[slot_of(id)];

    while (h != NULL && (h->generation != generation
           || strcmp(h->id, id) != 0))
        h = h->next;
    return h;
}

int handles_find(const struct handles *t, const char *id, uint64_t generation)
{
    const struct handle *h = find(t, id, generation);

    return h == NULL ? -1 : h->fd;
}

static void drop_oldest(struct handles *t, const char *id)
{
    struct handle *oldest = NULL, *h;
    int            n = 0;

    for (h = t->bucket[slot_of(id)]; h != NULL; h = h->next) {
        if (strcmp(h->id, id) != 0)
            continue;
        n++;
        if (oldest == NULL || h->generation < oldest->generation)
            oldest = h;
    }
    if (n > HANDLES_PER_ID)
        handles_drop(t, id, oldest->generation);
}

int handles_add(struct handles *t, const char *id, uint64_t generation, int fd)
{
    struct handle *h = find(t, id, generation);
    size_t         slot = slot_of(id), len = strlen(id);

    if (h != NULL) {
        close(h->fd);
        h->fd = fd;
        return 0;
    }
    if (t->count >= t->max || len >= sizeof(h->id)) {
        close(fd);
        return t->count >= t->max ? ENOSPC : EINVAL;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL) {
        close(fd);
        return ENOMEM;
    }
    memcpy(h->id, id, len + 1);
    h->generation = generation;
    h->fd = fd;
    h->next = t->bucket[slot];
    t->bucket[slot] = h;
    t->count++;
    drop_oldest(t, id);
    return 0;
}

int handles_drop(struct handles *t, const char *id, uint64_t generation)
{
    struct handle **at = &t->bucket[slot_of(id)], *h;
    int             n = 0;

    while ((h = *at) != NULL) {
        if (strcmp(h->id, id) != 0
            || (generation != 0 && h->generation != generation))
        {
            at = &h->next;
            continue;
        }
        *at = h->next;
        close(h->fd);
        free(h);
        t->count--;
        n++;
    }
    return n;
}
