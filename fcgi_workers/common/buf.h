/*
 * buf: a growing byte buffer with a ceiling.
 *
 * An append that would pass the ceiling, or fails to allocate, sets `failed`
 * and changes nothing; check once at the end. Always NUL-terminated.
 */
#ifndef HF_BUF_H
#define HF_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char  *data;                /* owned; NULL until the first append */
    size_t len;
    size_t cap;
    size_t max;
    bool   failed;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b);                  /* empty, keeps memory */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t len);    /* drops from the front */
/* Room for `len` more bytes at data + len; NULL when over the ceiling. */
char *buf_room(struct buf *b, size_t len);

#endif
