/*
 * ids: names that come from outside or are made by us (see ids.h).
 *
 * Owns the last ULID that this process made. Must never look anything up.
 */
#include "ids.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define ULID_RANDOM 10          /* bytes after the 48 bits of time */

int ids_fold(const char *s, size_t len, char *out)
{
    char   folded[ID_MAX + 1];
    size_t i;
    char   c;

    if (len < 1 || len > ID_MAX)
        return -1;
    for (i = 0; i < len; i++) {
        c = s[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return -1;
        folded[i] = c;
    }
    folded[len] = '\0';
    memcpy(out, folded, len + 1);
    return 0;
}

static void ids_random(unsigned char *out, size_t len)
{
    size_t  got = 0;
    ssize_t n;

    while (got < len) {
        n = getrandom(out + got, len - got, 0);
        if (n > 0)
            got += (size_t)n;
        else if (errno != EINTR)
            log_fatal("no random numbers: %s", strerror(errno));
    }
}

/* 16 bytes, 128 bits, as 26 characters of Crockford's base 32. */
static void ids_base32(const unsigned char *in, char *out)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned          acc = 0, bits = 2;    /* 130 bits: two zeros in front */
    size_t            i, n = 0;

    for (i = 0; i < 16; i++) {
        acc = (acc << 8) | in[i];
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            out[n++] = digits[(acc >> bits) & 31];
        }
        acc &= (1u << bits) - 1;
    }
    out[n] = '\0';
}

/* A forked child must not go on counting where its parent stood: the two
 * would make the same names. A clock that steps back keeps the last time. */
void ids_new(char *out)
{
    static unsigned char tail[ULID_RANDOM];
    static int64_t       last_ms;
    static pid_t         owner;
    unsigned char        raw[16];
    int64_t              now = clock_wall_ms();
    int                  i;

    if (owner != getpid() || now > last_ms) {
        if (now > last_ms)
            last_ms = now;
        owner = getpid();
        ids_random(tail, sizeof(tail));
        tail[0] &= 0x7f;        /* room to count up */
    } else {
        for (i = ULID_RANDOM - 1; i >= 0; i--) {
            tail[i]++;
            if (tail[i] != 0)
                break;
        }
    }
    for (i = 0; i < 6; i++)
        raw[i] = (unsigned char)((uint64_t)last_ms >> (40 - 8 * i));
    memcpy(raw + 6, tail, sizeof(tail));
    ids_base32(raw, out);
}

bool ids_request_ok(const char *s, size_t len)
{
    size_t i;
    char   c;

    if (len < 8 || len > 64)
        return false;
    for (i = 0; i < len; i++) {
        c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '-'))
        {
            return false;
        }
    }
    return true;
}

void ids_request_new(char *out)
{
    ids_new(out);
}

/* Length of the well-formed sequence at s, its code point in *cp; 0 if none.
 * The table is RFC 3629, section 4. */
static size_t ids_utf8_next(const unsigned char *s, size_t len, uint32_t *cp)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t        n, i;

    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        n = 2;
        *cp = s[0] & 0x1fu;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        n = 3;
        *cp = s[0] & 0x0fu;
        low = s[0] == 0xe0 ? 0xa0 : 0x80;       /* overlong */
        high = s[0] == 0xed ? 0x9f : 0xbf;      /* surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        n = 4;
        *cp = s[0] & 0x07u;
        low = s[0] == 0xf0 ? 0x90 : 0x80;
        high = s[0] == 0xf4 ? 0x8f : 0xbf;      /* U+10FFFF */
    } else {
        return 0;
    }
    if (n > len || s[1] < low || s[1] > high)
        return 0;
    for (i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *cp = (*cp << 6) | (s[i] & 0x3fu);
    }
    return n;
}

bool ids_utf8_ok(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t             cp;
    size_t               i = 0, n;

    while (i < len) {
        n = ids_utf8_next(p + i, len - i, &cp);
        if (n == 0 || cp == 0)
            return false;
        i += n;
    }
    return true;
}

bool ids_key_ok(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t             cp;
    size_t               i = 0, n;

    if (len < 1 || len > KEY_MAX)
        return false;
    while (i < len) {
        n = ids_utf8_next(p + i, len - i, &cp);
        if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp <= 0x9f)
            || cp == 0x2028 || cp == 0x2029)    /* they break lines too */
        {
            return false;
        }
        i += n;
    }
    return true;
}

int ids_number(const char *s, size_t len, int64_t min, int64_t max,
    int64_t *out)
{
    int64_t value = 0;
    size_t  i;

    if (len < 1 || (len > 1 && s[0] == '0'))
        return -1;
    for (i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9'
            || __builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(value, s[i] - '0', &value))
        {
            return -1;
        }
    }
    if (value < min || value > max)
        return -1;
    *out = value;
    return 0;
}
