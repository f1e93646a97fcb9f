/*
 * ticket: see ticket.h.
 *
 * Compiled into nginx workers, too: no allocation, no I/O, nothing but libc's
 * strings and libcrypto. The parser walks from left to right with a cursor
 * that can only shrink, and takes one spelling of everything; the signature is
 * made anew and compared in constant time. Must never log a ticket or a key.
 */
#include "ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <string.h>

#define MAC_LEN    32
#define MAC_TEXT   43           /* base64url without padding */
#define EXPIRES_MAX 99999999999LL

struct cursor {
    const char *p;
    const char *end;
    bool        bad;
};

struct out {
    char  *p;
    size_t len;
    bool   bad;
};

static const struct {
    unsigned bit;
    char     letter;
} letters[] = {                 /* in the order that they are written */
    { TICKET_EVENTS, 'e' }, { TICKET_TERMINAL, 't' }, { TICKET_FILES, 'f' }
};

#define LETTERS (sizeof(letters) / sizeof(letters[0]))

/* ---- writing ------------------------------------------------------------ */

static void
put(struct out *o, const char *p, size_t len)
{
    if (o->bad || len > TICKET_MAX - o->len) {
        o->bad = true;
        return;
    }
    memcpy(o->p + o->len, p, len);
    o->len += len;
}

static void
put_number(struct out *o, uint64_t n)
{
    char   digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n);
    put(o, digits + i, sizeof(digits) - i);
}

static void
put_allow(struct out *o, const struct ticket *t)
{
    const char *before = "";
    size_t      i;

    if (t->allow & TICKET_PREVIEW) {
        put(o, "p", 1);
        before = "-";
    }
    for (i = 0; i < t->nports && i < TICKET_PORTS_MAX; i++) {
        put(o, before, strlen(before));
        put(o, "p", 1);
        put_number(o, t->ports[i]);
        before = "-";
    }
    for (i = 0; i < LETTERS; i++) {
        if (!(t->allow & letters[i].bit))
            continue;
        put(o, before, strlen(before));
        put(o, &letters[i].letter, 1);
        before = "-";
    }
}

/* All but the signature, with the dot before it. */
static size_t
write_body(const struct ticket *t, const char *key, char *out)
{
    struct out o = { out, 0, false };

    put(&o, "h1", 2);
    put(&o, &t->kind, 1);
    put(&o, ".", 1);
    put(&o, key, strlen(key));
    put(&o, ".", 1);
    put(&o, t->id, strlen(t->id));
    put(&o, ".", 1);
    put_allow(&o, t);
    put(&o, ".", 1);
    put_number(&o, (uint64_t) t->expires_s);
    put(&o, ".", 1);
    put(&o, t->share[0] != '\0' ? t->share : "-",
        t->share[0] != '\0' ? strlen(t->share) : 1);
    put(&o, ".", 1);
    put_number(&o, t->epoch);
    put(&o, ".", 1);
    return o.bad ? 0 : o.len;
}

static void
base64url(const unsigned char *in, char out[MAC_TEXT])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        "abcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned bits = 0, have = 0;
    size_t   i, n = 0;

    for (i = 0; i < MAC_LEN; i++) {
        bits = (bits << 8 | in[i]) & 0xffff;
        have += 8;
        while (have >= 6) {
            have -= 6;
            out[n++] = digits[bits >> have & 63];
        }
    }
    out[n] = digits[bits << (6 - have) & 63];
}

/* Of the body without its last dot, a line end, and the tag. */
static int
mac(const char *body, size_t len, const struct ticket_key *key,
    uint64_t tenant, char out[MAC_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char     text[TICKET_MAX + 17], digest[EVP_MAX_MD_SIZE];
    unsigned          n = 0;
    size_t            i;

    if (len == 0 || len > TICKET_MAX)
        return -1;
    memcpy(text, body, len - 1);
    text[len - 1] = '\n';
    for (i = 0; i < 16; i++)
        text[len + i] = (unsigned char) hex[tenant >> (60 - 4 * i) & 15];
    if (HMAC(EVP_sha256(), key->secret, sizeof(key->secret), text, len + 16,
            digest, &n) == NULL || n != MAC_LEN)
        return -1;
    base64url(digest, out);
    return 0;
}

size_t
ticket_sign(const struct ticket *t, const struct ticket_key *key,
    uint64_t tenant, char *out)
{
    struct ticket again;
    char          id[TICKET_KEY_LEN + 1];
    size_t        len;

    if (!key->there || t->expires_s < 0)
        return 0;
    len = write_body(t, key->id, out);
    if (len == 0 || len + MAC_TEXT > TICKET_MAX
        || mac(out, len, key, tenant, out + len) != 0)
    {
        return 0;
    }
    len += MAC_TEXT;
    out[len] = '\0';
    return ticket_parse(out, len, &again, id) == 0 ? len : 0;
}

/* ---- reading ------------------------------------------------------------ */

/* The bytes up to `sep`, which must be there unless it is the end's. */
static struct ticket_found
take(struct cursor *c, char sep)
{
    struct ticket_found s = { c->p, 0 };

    while (c->p < c->end && *c->p != sep)
        c->p++;
    s.len = (size_t) (c->p - s.p);
    if (s.len == 0 || c->p == c->end)
        c->bad = true;
    else
        c->p++;
    return s;
}

static uint64_t
number_of(struct cursor *c, const char *p, size_t len, uint64_t max)
{
    uint64_t n = 0;
    size_t   i;

    if (len == 0 || len > 11 || (len > 1 && p[0] == '0')) {
        c->bad = true;
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            c->bad = true;
            return 0;
        }
        n = n * 10 + (uint64_t) (p[i] - '0');
    }
    if (n > max)
        c->bad = true;
    return n;
}

/* [a-z0-9]{1,max} */
static void
take_name(struct cursor *c, char *out, size_t max)
{
    struct ticket_found s = take(c, '.');
    size_t              i;

    if (s.len > max)
        c->bad = true;
    for (i = 0; i < s.len && !c->bad; i++) {
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z')
            || (s.p[i] >= '0' && s.p[i] <= '9')))
        {
            c->bad = true;
        }
        out[i] = s.p[i];
    }
    out[c->bad ? 0 : s.len] = '\0';
}

static void
take_port(struct cursor *c, struct ticket *t, const char *p, size_t len)
{
    uint16_t port = (uint16_t) number_of(c, p, len, 65535);
    unsigned i;

    if (port == 0 || t->nports == TICKET_PORTS_MAX
        || (t->allow & TICKET_PREVIEW))
    {
        c->bad = true;
        return;
    }
    for (i = 0; i < t->nports; i++)
        c->bad |= t->ports[i] == port;
    t->ports[t->nports++] = port;
}

static void
take_allow(struct cursor *c, struct ticket *t)
{
    struct ticket_found s = take(c, '.');
    const char         *p = s.p, *end = s.p + s.len, *next;
    size_t              i, at = 0;

    for (; p < end && !c->bad; p = next + 1) {
        next = memchr(p, '-', (size_t) (end - p));
        if (next == NULL)
            next = end;
        if (*p == 'p' && at == 0) {
            if (next - p > 1)
                take_port(c, t, p + 1, (size_t) (next - p - 1));
            else if (t->allow || t->nports)
                c->bad = true;
            else
                t->allow |= TICKET_PREVIEW;
            continue;
        }
        for (i = at; i < LETTERS && letters[i].letter != *p; i++)
            continue;
        if (i == LETTERS || next - p != 1) {
            c->bad = true;
            return;
        }
        t->allow |= letters[i].bit;
        at = i + 1;
    }
    if (s.len > 0 && end[-1] == '-')
        c->bad = true;
}

int
ticket_parse(const char *p, size_t len, struct ticket *t,
    char key[TICKET_KEY_LEN + 1])
{
    struct cursor       c = { p, p + len, false };
    struct ticket_found s;

    memset(t, 0, sizeof(*t));
    key[0] = '\0';
    if (len < 4 + MAC_TEXT || len > TICKET_MAX || memcmp(p, "h1", 2) != 0
        || (p[2] != 't' && p[2] != 'l') || p[3] != '.')
    {
        return -1;
    }
    t->kind = p[2];
    c.p += 4;
    take_name(&c, key, TICKET_KEY_LEN);
    take_name(&c, t->id, TICKET_ID_MAX);
    take_allow(&c, t);
    s = take(&c, '.');
    t->expires_s = (int64_t) number_of(&c, s.p, s.len, EXPIRES_MAX);
    if (c.p < c.end && *c.p == '-') {
        s = take(&c, '.');
        c.bad |= s.len != 1;
    } else {
        take_name(&c, t->share, TICKET_SHARE_MAX);
    }
    s = take(&c, '.');
    t->epoch = (uint32_t) number_of(&c, s.p, s.len, UINT32_MAX);
    if (c.bad || c.end - c.p != MAC_TEXT
        || strlen(key) != TICKET_KEY_LEN)
    {
        return -1;
    }
    return 0;
}

enum ticket_verdict
ticket_check(const char *p, size_t len, const struct ticket_keys *keys,
    uint64_t tenant, int64_t now_s, struct ticket *t)
{
    const struct ticket_key *key = NULL;
    char                     id[TICKET_KEY_LEN + 1], want[MAC_TEXT];
    int                      i;

    if (ticket_parse(p, len, t, id) != 0)
        return TICKET_BAD;
    for (i = 0; i < TICKET_KEYS; i++) {
        if (keys->key[i].there && strcmp(keys->key[i].id, id) == 0)
            key = &keys->key[i];
    }
    if (key == NULL || mac(p, len - MAC_TEXT, key, tenant, want) != 0
        || CRYPTO_memcmp(want, p + len - MAC_TEXT, MAC_TEXT) != 0)
    {
        return TICKET_BAD;
    }
    return t->expires_s <= now_s ? TICKET_EXPIRED : TICKET_OK;
}

int
ticket_opens(const struct ticket *t, unsigned port)
{
    unsigned i;

    if (t->allow & TICKET_PREVIEW)
        return 1;
    for (i = 0; i < t->nports; i++) {
        if (t->ports[i] == port)
            return 1;
    }
    return 0;
}

/* ---- keys --------------------------------------------------------------- */

static int
hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* A key is called by the first digits of its digest. */
static int
key_parse(const char *p, size_t len, struct ticket_key *key)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char     digest[EVP_MAX_MD_SIZE];
    unsigned          n = 0;
    size_t            i;
    int               high, low;

    if (len != 2 * sizeof(key->secret) || key->there)
        return -1;
    for (i = 0; i < sizeof(key->secret); i++) {
        high = hex_digit(p[2 * i]);
        low = hex_digit(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return -1;
        key->secret[i] = (unsigned char) (high << 4 | low);
    }
    if (EVP_Digest(key->secret, sizeof(key->secret), digest, &n, EVP_sha256(),
            NULL) != 1)
        return -1;
    for (i = 0; i < TICKET_KEY_LEN; i++)
        key->id[i] = hex[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    key->there = 1;
    return 0;
}

int
ticket_keys_parse(const char *p, size_t len, struct ticket_keys *keys)
{
    static const char *const words[TICKET_KEYS] = {
        "previous ", "current ", "next "
    };
    const char *end = p + len, *nl;
    size_t      n;
    int         i;

    memset(keys, 0, sizeof(*keys));
    for (; p < end; p = nl + 1) {
        nl = memchr(p, '\n', (size_t) (end - p));
        if (nl == NULL)
            return -1;
        for (i = 0; i < TICKET_KEYS; i++) {
            n = strlen(words[i]);
            if ((size_t) (nl - p) > n && memcmp(p, words[i], n) == 0)
                break;
        }
        if (i == TICKET_KEYS
            || key_parse(p + n, (size_t) (nl - p) - n, &keys->key[i]) != 0)
        {
            return -1;
        }
    }
    return keys->key[TICKET_CURRENT].there ? 0 : -1;
}

/* ---- taking tickets out ------------------------------------------------- */

static bool
blank(char ch)
{
    return ch == ' ' || ch == '\t';
}

size_t
ticket_cut(const char *in, size_t len, char sep, const char *name, char *out,
    struct ticket_found *found, size_t max, size_t *nfound)
{
    const char *p = in, *end = in + len, *next, *from, *to;
    size_t      n = strlen(name), used = 0;
    bool        cut = false;

    *nfound = 0;
    for (; p < end; p = next + 1) {
        next = memchr(p, sep, (size_t) (end - p));
        if (next == NULL)
            next = end;
        from = p;
        to = next;
        while (sep == ';' && from < to && blank(*from))
            from++;
        while (sep == ';' && to > from && blank(to[-1]))
            to--;
        if ((size_t) (to - from) > n && memcmp(from, name, n) == 0
            && from[n] == '=')
        {
            if (*nfound < max) {
                found[*nfound].p = from + n + 1;
                found[(*nfound)++].len = (size_t) (to - from) - n - 1;
            }
            cut = true;
            continue;
        }
        /* what is left keeps its separators: never longer than `in` */
        if (used > 0 && used < len)
            out[used++] = sep;
        memcpy(out + used, p, (size_t) (next - p));
        used += (size_t) (next - p);
    }
    if (!cut) {
        memcpy(out, in, len);
        return len;
    }
    while (sep == ';' && used > 0 && blank(out[0])) {
        memmove(out, out + 1, --used);
    }
    return used;
}
