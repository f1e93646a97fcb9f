/*
 * image_name: see image_name.h.
 *
 * Read from both ends: the digest and the tag are cut off the end, the host
 * off the front, and what remains is a path of lower-case words. Owns nothing.
 */
#include "image_name.h"

#include <stddef.h>
#include <string.h>

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT  "0123456789"

#define NAME_MAX_LEN 255
#define TAG_MAX_LEN  128
#define DIGEST_LEN   64

/* Does the string of n bytes consist of these characters alone? */
static bool all_of(const char *s, size_t n, const char *set)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (s[i] == '\0' || strchr(set, s[i]) == NULL)
            return false;
    }
    return n != 0;
}

static bool digest_ok(const char *s, size_t n)
{
    return n == strlen("sha256:") + DIGEST_LEN
        && memcmp(s, "sha256:", 7) == 0
        && all_of(s + 7, DIGEST_LEN, DIGIT "abcdef");
}

static bool tag_ok(const char *s, size_t n)
{
    return n <= TAG_MAX_LEN && all_of(s, n, LOWER UPPER DIGIT "_.-")
        && s[0] != '.' && s[0] != '-';
}

/* A first word with a dot or a port in it, or localhost, is a host. */
static bool is_host(const char *s, size_t n)
{
    return memchr(s, '.', n) != NULL || memchr(s, ':', n) != NULL
        || (n == 9 && memcmp(s, "localhost", 9) == 0);
}

static bool host_ok(const char *s, size_t n)
{
    const char *colon = memchr(s, ':', n);
    size_t      len = colon == NULL ? n : (size_t) (colon - s);

    if (colon != NULL && (n - len - 1 > 5
        || !all_of(colon + 1, n - len - 1, DIGIT)))
        return false;
    return all_of(s, len, LOWER UPPER DIGIT ".-")
        && strchr(".-", s[0]) == NULL && strchr(".-", s[len - 1]) == NULL;
}

/* Lower-case words, between them '.', '_', "__" or any number of '-'. */
static bool word_ok(const char *s, size_t n)
{
    size_t i, run;

    for (i = 0; i < n; i += run) {
        for (run = 0; i + run < n
            && all_of(s + i + run, 1, LOWER DIGIT); run++)
            ;
        if (run == 0)
            return false;
        i += run;
        for (run = 0; i + run < n && s[i + run] == s[i]; run++)
            ;
        if (i < n && (strchr("._-", s[i]) == NULL || i + run == n
            || run > (s[i] == '-' ? n : s[i] == '_' ? 2u : 1u)))
            return false;
    }
    return n != 0;
}

static bool path_ok(const char *s, size_t n)
{
    const char *slash;
    size_t      len;

    for (;;) {
        slash = memchr(s, '/', n);
        len = slash == NULL ? n : (size_t) (slash - s);
        if (!word_ok(s, len))
            return false;
        if (slash == NULL)
            return true;
        s = slash + 1;
        n -= len + 1;
    }
}

bool image_name_ok(const char *s)
{
    size_t      n = strlen(s);
    const char *at = memchr(s, '@', n), *slash, *p;

    if (n == 0 || n > NAME_MAX_LEN)
        return false;
    if (at != NULL) {
        if (!digest_ok(at + 1, n - (size_t) (at - s) - 1))
            return false;
        n = (size_t) (at - s);
    }
    for (p = s + n; p > s && p[-1] != ':' && p[-1] != '/'; p--)
        ;
    if (p > s && p[-1] == ':') {
        if (!tag_ok(p, (size_t) (s + n - p)))
            return false;
        n = (size_t) (p - 1 - s);
    }
    slash = memchr(s, '/', n);
    if (slash != NULL && is_host(s, (size_t) (slash - s))) {
        if (!host_ok(s, (size_t) (slash - s)))
            return false;
        n -= (size_t) (slash + 1 - s);
        s = slash + 1;
    }
    return path_ok(s, n);
}
