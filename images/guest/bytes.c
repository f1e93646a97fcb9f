/*
 * bytes: see bytes.h. Owns the count of all buffered memory.
 */
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#include "bounds.h"

static size_t total;

/* A byte string that ran out of memory while text was added to it. */
static char out_of_memory[1];


size_t bytes_size(const struct bytes *b)
{
    return b->len - b->off;
}


size_t bytes_total(void)
{
    return total;
}


/* Room for n more bytes behind len. */
int bytes_reserve(struct bytes *b, size_t n, size_t max)
{
    size_t ceiling = b->vital ? BYTES_HARD : BYTES_SOFT;
    size_t cap = b->cap > 0 ? b->cap : 512;
    char *p;

    if (b->data == out_of_memory || n > max || bytes_size(b) > max - n)
        return -1;
    if (b->off > 0 && b->len + n > b->cap) {
        memmove(b->data, b->data + b->off, bytes_size(b));
        b->len -= b->off;
        b->off = 0;
    }
    if (b->len + n <= b->cap)
        return 0;
    while (cap < b->len + n)
        cap *= 2;
    if (cap > max && b->len + n <= max)
        cap = max;
    if (total - b->cap + cap > ceiling)
        return -1;
    p = realloc(b->data, cap);
    if (p == NULL)
        return -1;
    total = total - b->cap + cap;
    b->data = p;
    b->cap = cap;
    return 0;
}


int bytes_add(struct bytes *b, const void *data, size_t n, size_t max)
{
    if (n == 0)
        return 0;
    if (bytes_reserve(b, n, max) != 0)
        return -1;
    memcpy(b->data + b->len, data, n);
    b->len += n;
    return 0;
}


void bytes_consume(struct bytes *b, size_t n)
{
    b->off += n;
    if (b->off >= b->len)
        b->off = b->len = 0;
}


void bytes_free(struct bytes *b)
{
    if (b->data != out_of_memory) {
        total -= b->cap;
        free(b->data);
    }
    b->data = NULL;
    b->off = b->len = b->cap = 0;
}


void bytes_mem(struct bytes *b, const char *s, size_t n)
{
    if (b->data == out_of_memory || bytes_add(b, s, n, BYTES_HARD) == 0)
        return;
    bytes_free(b);
    b->data = out_of_memory;
}


void bytes_text(struct bytes *b, const char *s)
{
    bytes_mem(b, s, strlen(s));
}


void bytes_number(struct bytes *b, int64_t n)
{
    char text[24], *p = text + sizeof(text);
    uint64_t rest = n < 0 ? 0 - (uint64_t) n : (uint64_t) n;

    do {
        *--p = (char) ('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (n < 0)
        *--p = '-';
    bytes_mem(b, p, (size_t) (text + sizeof(text) - p));
}


bool bytes_bad(const struct bytes *b)
{
    return b->data == out_of_memory;
}


int strings_add(struct strings *s, char *text, size_t max)
{
    size_t cap = s->cap > 0 ? s->cap * 2 : 16;
    char **v;

    if (s->n >= max)
        return -1;
    if (s->n + 2 > s->cap) {
        v = realloc(s->v, cap * sizeof(*v));
        if (v == NULL)
            return -1;
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = text;
    s->v[s->n] = NULL;
    return 0;
}


int strings_put(struct strings *s, char *assignment, size_t max)
{
    const char *eq = strchr(assignment, '=');
    size_t i, n;

    if (eq == NULL)
        return -1;
    n = (size_t) (eq - assignment) + 1;
    for (i = 0; i < s->n; i++) {
        if (strncmp(s->v[i], assignment, n) == 0) {
            s->v[i] = assignment;
            return 0;
        }
    }
    return strings_add(s, assignment, max);
}


void strings_free(struct strings *s)
{
    free(s->v);
    s->v = NULL;
    s->n = s->cap = 0;
}


/* Bytes of the character that starts with c, its smallest code point. */
static size_t utf8_lead(unsigned char c, uint32_t *code, uint32_t *least)
{
    if (c < 0x80) {
        *code = c;
        *least = 0;
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) {
        *code = c & 0x1fu;
        *least = 0x80;
        return 2;
    }
    if (c >= 0xe0 && c <= 0xef) {
        *code = c & 0x0fu;
        *least = 0x800;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        *code = c & 0x07u;
        *least = 0x10000;
        return 4;
    }
    return 0;
}


size_t utf8_prefix(const char *s, size_t n, bool *cut)
{
    const unsigned char *p = (const unsigned char *) s;
    size_t i = 0, k, len;
    uint32_t code, least;

    *cut = false;
    while (i < n) {
        len = utf8_lead(p[i], &code, &least);
        if (len == 0)
            return i;
        for (k = 1; k < len && i + k < n; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return i;
            code = (code << 6) | (p[i + k] & 0x3fu);
        }
        if (k < len) {
            *cut = true;
            return i;
        }
        if (code < least || code > 0x10ffff
            || (code >= 0xd800 && code <= 0xdfff))
        {
            return i;
        }
        i += len;
    }
    return i;
}
