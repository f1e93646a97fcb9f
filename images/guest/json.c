/*
 * json: see json.h. Pure: touches nothing but its arguments. Text comes from
 * API clients and is hostile.
 */
#include "json.h"

#include <string.h>

#include "bounds.h"


void json_init(struct json *j, char *text, size_t n)
{
    j->p = text;
    j->end = text + n;
    j->depth = 0;
    j->first = false;
}


static void skip_blanks(struct json *j)
{
    while (j->p < j->end
           && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n'
               || *j->p == '\r'))
    {
        j->p++;
    }
}


enum json_kind json_peek(struct json *j)
{
    skip_blanks(j);
    if (j->p >= j->end)
        return JSON_BAD;
    switch (*j->p) {
    case 'n':
        return JSON_NULL;
    case 't': case 'f':
        return JSON_BOOL;
    case '"':
        return JSON_STRING;
    case '[':
        return JSON_ARRAY;
    case '{':
        return JSON_OBJECT;
    case '-': case '0': case '1': case '2': case '3': case '4': case '5':
    case '6': case '7': case '8': case '9':
        return JSON_NUMBER;
    default:
        return JSON_BAD;
    }
}


static int hex4(const char *p, const char *end, uint32_t *v)
{
    int i;
    char c;

    if (end - p < 4)
        return -1;
    *v = 0;
    for (i = 0; i < 4; i++) {
        c = p[i];
        *v <<= 4;
        if (c >= '0' && c <= '9')
            *v |= (uint32_t) (c - '0');
        else if (c >= 'a' && c <= 'f')
            *v |= (uint32_t) (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            *v |= (uint32_t) (c - 'A' + 10);
        else
            return -1;
    }
    return 0;
}


static char *put_utf8(char *w, uint32_t c)
{
    if (c < 0x80) {
        *w++ = (char) c;
    } else if (c < 0x800) {
        *w++ = (char) (0xc0 | (c >> 6));
        *w++ = (char) (0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *w++ = (char) (0xe0 | (c >> 12));
        *w++ = (char) (0x80 | ((c >> 6) & 0x3f));
        *w++ = (char) (0x80 | (c & 0x3f));
    } else {
        *w++ = (char) (0xf0 | (c >> 18));
        *w++ = (char) (0x80 | ((c >> 12) & 0x3f));
        *w++ = (char) (0x80 | ((c >> 6) & 0x3f));
        *w++ = (char) (0x80 | (c & 0x3f));
    }
    return w;
}


/* Behind a backslash and u: one code point, of two halves if need be. */
static int unicode_escape(char **r, const char *end, char **w)
{
    uint32_t c, low;

    if (hex4(*r, end, &c) != 0 || (c >= 0xdc00 && c <= 0xdfff))
        return -1;
    *r += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (end - *r < 6 || (*r)[0] != '\\' || (*r)[1] != 'u'
            || hex4(*r + 2, end, &low) != 0 || low < 0xdc00 || low > 0xdfff)
        {
            return -1;
        }
        *r += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *w = put_utf8(*w, c);
    return 0;
}


/* Decoded text is never longer than its escaped form, so it is written over
 * it. The NUL goes to the closing quote at the latest. */
int json_string(struct json *j, char **s, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *r, *w, *start;
    const char *at;
    bool cut;

    if (json_peek(j) != JSON_STRING)
        return -1;
    start = r = w = j->p + 1;
    for ( ;; ) {
        if (r >= j->end || (unsigned char) *r < 0x20)
            return -1;
        if (*r == '"')
            break;
        if (*r != '\\') {
            *w++ = *r++;
            continue;
        }
        if (++r >= j->end)
            return -1;
        if (*r == 'u') {
            r++;
            if (unicode_escape(&r, j->end, &w) != 0)
                return -1;
            continue;
        }
        at = *r != '\0' ? strchr(from, *r) : NULL;
        if (at == NULL)
            return -1;
        *w++ = to[at - from];
        r++;
    }
    if (utf8_prefix(start, (size_t) (w - start), &cut)
        != (size_t) (w - start))
    {
        return -1;
    }
    j->p = r + 1;
    *s = start;
    *n = (size_t) (w - start);
    *w = '\0';
    return 0;
}


static bool digit(const struct json *j)
{
    return j->p < j->end && *j->p >= '0' && *j->p <= '9';
}


static int skip_number(struct json *j)
{
    if (*j->p == '-')
        j->p++;
    if (!digit(j))
        return -1;
    if (*j->p == '0')
        j->p++;
    else
        while (digit(j))
            j->p++;
    if (j->p < j->end && *j->p == '.') {
        j->p++;
        if (!digit(j))
            return -1;
        while (digit(j))
            j->p++;
    }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
            j->p++;
        if (!digit(j))
            return -1;
        while (digit(j))
            j->p++;
    }
    return 0;
}


int json_int(struct json *j, int64_t *v)
{
    const char *p;
    int64_t n = 0;
    bool minus;

    if (json_peek(j) != JSON_NUMBER)
        return -1;
    p = j->p;
    if (skip_number(j) != 0)
        return -1;
    minus = *p == '-';
    for (p += minus; p < j->p; p++) {
        if (*p < '0' || *p > '9' || n > (INT64_MAX - 9) / 10)
            return -1;
        n = n * 10 + (*p - '0');
    }
    *v = minus ? -n : n;
    return 0;
}


static int skip_word(struct json *j)
{
    static const char *const words[] = { "null", "true", "false" };
    size_t i, n;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        n = strlen(words[i]);
        if ((size_t) (j->end - j->p) >= n && memcmp(j->p, words[i], n) == 0) {
            j->p += n;
            return 0;
        }
    }
    return -1;
}


int json_enter(struct json *j)
{
    enum json_kind kind = json_peek(j);

    if ((kind != JSON_ARRAY && kind != JSON_OBJECT)
        || ++j->depth > JSON_DEPTH_MAX)
    {
        return -1;
    }
    j->p++;
    j->first = true;
    return 0;
}


static int next_of(struct json *j, char close)
{
    bool first = j->first;

    skip_blanks(j);
    if (j->p >= j->end)
        return -1;
    j->first = false;
    if (*j->p == close) {
        j->p++;
        j->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (*j->p != ',')
        return -1;
    j->p++;
    return 1;
}


int json_item(struct json *j)
{
    return next_of(j, ']');
}


int json_key(struct json *j, char **key, size_t *n)
{
    int more = next_of(j, '}');

    if (more != 1)
        return more;
    if (json_string(j, key, n) != 0)
        return -1;
    skip_blanks(j);
    if (j->p >= j->end || *j->p != ':')
        return -1;
    j->p++;
    return 1;
}


/* Recursion is bounded by json_enter. */
int json_skip(struct json *j)
{
    char *s;
    size_t n;
    int more;

    switch (json_peek(j)) {
    case JSON_STRING:
        return json_string(j, &s, &n);
    case JSON_NUMBER:
        return skip_number(j);
    case JSON_NULL: case JSON_BOOL:
        return skip_word(j);
    case JSON_ARRAY:
        if (json_enter(j) != 0)
            return -1;
        while ((more = json_item(j)) == 1)
            if (json_skip(j) != 0)
                return -1;
        return more;
    case JSON_OBJECT:
        if (json_enter(j) != 0)
            return -1;
        while ((more = json_key(j, &s, &n)) == 1)
            if (json_skip(j) != 0)
                return -1;
        return more;
    default:
        return -1;
    }
}


int json_end(struct json *j)
{
    skip_blanks(j);
    return j->p == j->end && j->depth == 0 ? 0 : -1;
}


/* The escape of one byte, or NULL when it stands for itself. */
static const char *escape(unsigned char c, char hex[7])
{
    static const char digits[] = "0123456789abcdef";

    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        break;
    }
    if (c >= 0x20)
        return NULL;
    memcpy(hex, "\\u0000", 7);
    hex[4] = digits[c >> 4];
    hex[5] = digits[c & 15];
    return hex;
}


static void add_valid(struct bytes *b, const char *s, size_t n)
{
    char hex[7];
    const char *e;
    size_t i, plain = 0;

    for (i = 0; i < n; i++) {
        e = escape((unsigned char) s[i], hex);
        if (e == NULL)
            continue;
        bytes_mem(b, s + plain, i - plain);
        bytes_text(b, e);
        plain = i + 1;
    }
    bytes_mem(b, s + plain, n - plain);
}


void json_add(struct bytes *b, const char *s, size_t n)
{
    size_t good;
    bool cut;

    while (n > 0) {
        good = utf8_prefix(s, n, &cut);
        add_valid(b, s, good);
        s += good;
        n -= good;
        if (n > 0) {
            bytes_text(b, "\xef\xbf\xbd");
            s++;
            n--;
        }
    }
}


size_t json_length(const char *s, size_t n)
{
    size_t good, i, len = 0;
    char hex[7];
    const char *e;
    bool cut;

    while (n > 0) {
        good = utf8_prefix(s, n, &cut);
        for (i = 0; i < good; i++) {
            e = escape((unsigned char) s[i], hex);
            len += e == NULL ? 1 : strlen(e);
        }
        s += good;
        n -= good;
        if (n > 0) {
            len += 3;
            s++;
            n--;
        }
    }
    return len;
}


void json_quote(struct bytes *b, const char *s)
{
    bytes_text(b, "\"");
    json_add(b, s, strlen(s));
    bytes_text(b, "\"");
}


static const char base64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";


void base64_add(struct bytes *b, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *) s;
    char out[256];
    size_t k = 0, left;
    uint32_t v;

    for ( ; n > 0; n -= left, p += left) {
        left = n < 3 ? n : 3;
        v = (uint32_t) p[0] << 16;
        if (left > 1)
            v |= (uint32_t) p[1] << 8;
        if (left > 2)
            v |= p[2];
        out[k++] = base64[v >> 18];
        out[k++] = base64[(v >> 12) & 63];
        out[k++] = left > 1 ? base64[(v >> 6) & 63] : '=';
        out[k++] = left > 2 ? base64[v & 63] : '=';
        if (k == sizeof(out)) {
            bytes_mem(b, out, k);
            k = 0;
        }
    }
    bytes_mem(b, out, k);
}


int64_t base64_decode(char *s, size_t n)
{
    size_t i, w = 0;
    uint32_t v = 0;
    const char *at;

    if (n % 4 != 0)
        return -1;
    while (n > 0 && s[n - 1] == '=' && n % 4 != 2)
        n--;
    for (i = 0; i < n; i++) {
        at = s[i] != '\0' ? strchr(base64, s[i]) : NULL;
        if (at == NULL)
            return -1;
        v = (v << 6) | (uint32_t) (at - base64);
        switch (i % 4) {
        case 1:
            s[w++] = (char) (v >> 4);
            break;
        case 2:
            s[w++] = (char) (v >> 2);
            break;
        case 3:
            s[w++] = (char) v;
            break;
        default:
            break;
        }
    }
    return (int64_t) w;
}
