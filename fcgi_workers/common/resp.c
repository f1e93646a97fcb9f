/*
 * resp: see resp.h.
 */
#include "resp.h"

#include <string.h>

enum { RESP_BAD = -1, RESP_MORE = 0, RESP_OK = 1 };

struct at {
    const char *p, *last;
};

/* A line of `lead` and up to nine digits. */
static int resp_number(struct at *a, char lead, size_t *n, const char **text,
    size_t *len)
{
    const char *p = a->p;

    if (p == a->last)
        return RESP_MORE;
    if (*p++ != lead)
        return RESP_BAD;
    *n = 0;
    for (*text = p; p < a->last && *p >= '0' && *p <= '9'; p++) {
        if (p - *text >= 9)
            return RESP_BAD;
        *n = *n * 10 + (size_t) (*p - '0');
    }
    *len = (size_t) (p - *text);
    if (p == a->last)
        return RESP_MORE;
    if (*p != '\r' || *len == 0)
        return RESP_BAD;
    if (p + 1 == a->last)
        return RESP_MORE;
    if (p[1] != '\n')
        return RESP_BAD;
    a->p = p + 2;
    return RESP_OK;
}

static int resp_bulk(struct at *a, const char **text, size_t *len)
{
    const char *digits;
    size_t      ndigits, n;
    int         rc = resp_number(a, '$', &n, &digits, &ndigits);

    if (rc != RESP_OK)
        return rc;
    if (n > RESP_TEXT_MAX)
        return RESP_BAD;
    if ((size_t) (a->last - a->p) < n + 2)
        return RESP_MORE;
    if (a->p[n] != '\r' || a->p[n + 1] != '\n')
        return RESP_BAD;
    *text = a->p;
    *len = n;
    a->p += n + 2;
    return RESP_OK;
}

long resp_push_take(const char *p, size_t len, struct resp_push *out)
{
    struct at   a = { p, p + len };
    const char *digits;
    size_t      n, ndigits;
    int         rc;

    rc = resp_number(&a, '*', &n, &digits, &ndigits);
    if (rc == RESP_OK && n != 3)
        return RESP_BAD;
    if (rc == RESP_OK)
        rc = resp_bulk(&a, &out->kind, &out->kind_len);
    if (rc == RESP_OK)
        rc = resp_bulk(&a, &out->channel, &out->channel_len);
    if (rc != RESP_OK)
        return rc;
    if (a.p < a.last && *a.p == ':')
        rc = resp_number(&a, ':', &n, &out->text, &out->text_len);
    else
        rc = resp_bulk(&a, &out->text, &out->text_len);
    return rc == RESP_OK ? (long) (a.p - p) : rc;
}
