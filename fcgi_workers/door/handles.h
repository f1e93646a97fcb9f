/*
 * handles: id.generation → descriptor of a network namespace.
 *
 * The table owns the descriptors. A sandbox keeps at most HANDLES_PER_ID
 * generations: a new one pushes the oldest out, so that a keeper that forgets
 * to drop cannot fill the table. `max` bounds the whole.
 */
#ifndef HF_HANDLES_H
#define HF_HANDLES_H

#include <stddef.h>
#include <stdint.h>

#define HANDLES_PER_ID 4

struct handles;

struct handles *handles_new(size_t max);
void handles_free(struct handles *t);

/* Takes fd (also on failure). 0, or an errno: ENOSPC, ENOMEM. */
int  handles_add(struct handles *t, const char *id, uint64_t generation,
    int fd);
/* The descriptor, still the table's; -1 if there is none. */
int  handles_find(const struct handles *t, const char *id,
    uint64_t generation);
/* generation 0: every one. Returns how many there were. */
int  handles_drop(struct handles *t, const char *id, uint64_t generation);

#endif
