/*
 * frames: see frames.h. No allocation, no I/O.
 */
#include "frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_ENDS (UINT64_C(1) << 63)

static const char frames_magic[8] = "HFSTREAM";

/* ---- numbers ------------------------------------------------------------- */

static void put64(unsigned char *p, uint64_t n)
{
    int i;

    for (i = 0; i < 8; i++)
        p[i] = (unsigned char) (n >> (8 * i) & 255);
}

static uint64_t get64(const unsigned char *p)
{
    uint64_t n = 0;
    int      i;

    for (i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    return n;
}

/* ---- the index ----------------------------------------------------------- */

void frames_head_write(unsigned char out[FRAMES_HEAD], uint64_t first)
{
    memcpy(out, frames_magic, sizeof(frames_magic));
    put64(out + 8, first);
}

int frames_head_read(const unsigned char in[FRAMES_HEAD], uint64_t *first)
{
    if (memcmp(in, frames_magic, sizeof(frames_magic)) != 0)
        return -1;
    *first = get64(in + 8);
    return 0;
}

void frames_entry_write(unsigned char out[FRAMES_ENTRY],
    const struct frames_entry *e)
{
    put64(out, e->end);
    put64(out + 8, e->ends ? e->pos | FRAMES_ENDS : e->pos);
}

void frames_entry_read(const unsigned char in[FRAMES_ENTRY],
    struct frames_entry *e)
{
    uint64_t pos = get64(in + 8);

    e->end = get64(in);
    e->pos = pos & ~FRAMES_ENDS;
    e->ends = (pos & FRAMES_ENDS) != 0;
}

bool frames_entry_fits(const struct frames_entry *e, uint64_t start,
    uint64_t size)
{
    return e->end > start && e->end - start <= FRAMES_MAX && e->end <= size;
}

uint64_t frames_count(uint64_t size)
{
    return size < FRAMES_HEAD ? 0 : (size - FRAMES_HEAD) / FRAMES_ENTRY;
}

uint64_t frames_place(uint64_t n)
{
    return FRAMES_HEAD + n * FRAMES_ENTRY;
}

/* ---- frames -------------------------------------------------------------- */

static bool frames_type_ok(const char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if ((s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9')
            && s[i] != '.' && s[i] != '_')
            return false;
    }
    return len > 0 && len <= FRAMES_TYPE_MAX;
}

static bool frames_data_ok(const char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
            return false;
    }
    return true;
}

size_t frames_write(char *out, size_t cap, uint64_t id, const char *type,
    const char *data, size_t len)
{
    int n;

    if (!frames_type_ok(type, strlen(type)) || !frames_data_ok(data, len))
        return 0;
    if (cap > FRAMES_MAX + 1)
        cap = FRAMES_MAX + 1;
    if (len >= cap)
        return 0;
    n = snprintf(out, cap, "id: %" PRIu64 "\nevent: %s\ndata: %.*s\n\n", id,
        type, (int) len, data);
    return n < 0 || (size_t) n >= cap ? 0 : (size_t) n;
}

/* The line that begins with `name`, without it; its end is moved past. */
static const char *frames_line(const char **at, const char *last,
    const char *name, size_t *len)
{
    const char *p = *at, *nl;
    size_t      n = strlen(name);

    if ((size_t) (last - p) < n || memcmp(p, name, n) != 0)
        return NULL;
    p += n;
    nl = memchr(p, '\n', (size_t) (last - p));
    if (nl == NULL)
        return NULL;
    *len = (size_t) (nl - p);
    *at = nl + 1;
    return p;
}

bool frames_check(const char *p, size_t len, uint64_t id)
{
    const char *last = p + len, *line;
    char        number[24];
    size_t      n, digits;

    if (len > FRAMES_MAX)
        return false;
    digits = (size_t) snprintf(number, sizeof(number), "%" PRIu64, id);
    line = frames_line(&p, last, "id: ", &n);
    if (line == NULL || n != digits || memcmp(line, number, n) != 0)
        return false;
    line = frames_line(&p, last, "event: ", &n);
    if (line == NULL || !frames_type_ok(line, n))
        return false;
    line = frames_line(&p, last, "data: ", &n);
    if (line == NULL || !frames_data_ok(line, n))
        return false;
    return last - p == 1 && *p == '\n';
}
