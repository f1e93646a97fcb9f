/*
 * engine_tar: see engine_tar.h. Names and owners in the tar are not looked at:
 * we asked for one path and take one member.
 */
#include "engine_tar.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BLOCK     512
#define SIZE_AT   124
#define SIZE_LEN  12
#define SUM_AT    148
#define SUM_LEN   8
#define TYPE_AT   156
#define SKIP_MAX  8             /* headers about the member before it */

/* Octal, with blanks before and a blank or NUL after. Base-256 sizes (over
 * 8 GiB) are of no use to us. */
static bool octal(const unsigned char *p, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    size_t   i = 0, digits = 0;

    while (i < len && p[i] == ' ')
        i++;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++, digits++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    if (digits == 0 || (i < len && p[i] != 0 && p[i] != ' '))
        return false;
    *out = v;
    return true;
}

/* The sum of all bytes, those of the sum itself taken as blanks. */
static bool sum_ok(const unsigned char *h)
{
    uint64_t want, have = 0;

    for (size_t i = 0; i < BLOCK; i++)
        have += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : h[i];
    return octal(h + SUM_AT, SUM_LEN, &want) && want == have;
}

static bool all_zero(const unsigned char *h)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (h[i] != 0)
            return false;
    return true;
}

int tar_first_file(const char *tar, size_t len, size_t max, const char **data,
    size_t *size)
{
    const unsigned char *h;
    uint64_t             bytes;
    size_t               at = 0;

    for (int i = 0; i < SKIP_MAX; i++) {
        if (len - at < BLOCK)
            return len == 0 ? 0 : -1;
        h = (const unsigned char *)tar + at;
        if (all_zero(h))
            return 0;
        if (!sum_ok(h) || !octal(h + SIZE_AT, SIZE_LEN, &bytes))
            return -1;
        at += BLOCK;
        if (bytes > len - at)
            return -1;
        if (h[TYPE_AT] == '0' || h[TYPE_AT] == 0) {
            if (bytes > max)
                return 0;
            *data = tar + at;
            *size = (size_t)bytes;
            return 1;
        }
        if (strchr("xgLK", h[TYPE_AT]) == NULL)
            return 0;
        bytes = (bytes + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
        if (bytes > len - at)
            return -1;
        at += (size_t)bytes;
    }
    return -1;
}
