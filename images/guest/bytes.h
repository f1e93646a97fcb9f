/*
 * bytes: a growing byte string with an end, and lists of strings.
 *
 * All byte strings count together against the ceilings of bounds.h. A failed
 * add changes nothing. Content is data[off .. len).
 */
#ifndef GUEST_BYTES_H
#define GUEST_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    char  *data;
    size_t off, len, cap;
    bool   vital;               /* may use what lies over BYTES_SOFT */
};

/* 0, or -1: more than `max`, over the ceiling, or no memory. */
int  bytes_reserve(struct bytes *b, size_t n, size_t max);
int  bytes_add(struct bytes *b, const void *data, size_t n, size_t max);
void bytes_consume(struct bytes *b, size_t n);
void bytes_free(struct bytes *b);
size_t bytes_size(const struct bytes *b);
size_t bytes_total(void);       /* allocated by all */

/* Answers are built with these; they set b->cap to 0 and free the data when
 * memory runs out, and add nothing from then on (bytes_bad). */
void bytes_text(struct bytes *b, const char *s);
void bytes_mem(struct bytes *b, const char *s, size_t n);
void bytes_number(struct bytes *b, int64_t n);
bool bytes_bad(const struct bytes *b);

/* A list of borrowed strings, ended by NULL: argv or an environment. */
struct strings {
    char **v;
    size_t n, cap;
};

int  strings_add(struct strings *s, char *text, size_t max);
void strings_free(struct strings *s);
/* Adds NAME=value, or replaces the one with that name. */
int  strings_put(struct strings *s, char *assignment, size_t max);

/* How many bytes from the start are whole, valid UTF-8. `*cut` is true when
 * what follows may be the beginning of a character. */
size_t utf8_prefix(const char *s, size_t n, bool *cut);

#endif
