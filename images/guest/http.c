/*
 * http: see http.h. Pure: touches nothing but its arguments.
 */
#include "http.h"

#include <string.h>
#include <strings.h>


static bool token_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9')
        || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}


static bool is(const char *s, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(s, word, n) == 0;
}


/* Is the word one of a comma-separated list, parameters aside? */
static bool lists(const char *s, size_t n, const char *word)
{
    size_t end, len;

    while (n > 0) {
        while (n > 0 && (*s == ' ' || *s == '\t' || *s == ',')) {
            s++;
            n--;
        }
        for (end = 0; end < n && s[end] != ','; end++)
            /* void */;
        for (len = 0; len < end && s[len] != ';' && s[len] != ' '
             && s[len] != '\t'; len++)
        {
            /* void */
        }
        if (len > 0 && is(s, len, word))
            return true;
        s += end;
        n -= end;
    }
    return false;
}


static size_t id_length(const char *s, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z')
              || (s[i] >= '0' && s[i] <= '9')))
        {
            break;
        }
    }
    return i <= 40 ? i : 0;
}


static void route(const char *path, size_t n, struct http_head *h)
{
    static const char base[] = "/sandbox/", v1[] = "/v1/sandboxes/";
    static const char tail[] = "/exec";
    size_t skip = 0, id, i;

    for (i = 0; i < n && path[i] != '?'; i++)
        /* void */;
    n = i;
    h->v1 = n >= 4 && memcmp(path, "/v1/", 4) == 0;
    if (n > sizeof(base) && memcmp(path, base, sizeof(base) - 1) == 0)
        skip = sizeof(base) - 1;
    else if (n > sizeof(v1) && memcmp(path, v1, sizeof(v1) - 1) == 0)
        skip = sizeof(v1) - 1;
    if (skip == 0)
        return;
    id = id_length(path + skip, n - skip);
    if (id > 0 && n - skip - id == sizeof(tail) - 1
        && memcmp(path + skip + id, tail, sizeof(tail) - 1) == 0)
    {
        h->route = h->v1 ? HTTP_EXEC_V1 : HTTP_EXEC_BASE;
    }
}


/* METHOD SP target SP HTTP/1.x */
static int request_line(const char *s, size_t n, struct http_head *h)
{
    size_t m, t;

    for (m = 0; m < n && token_char((unsigned char) s[m]); m++)
        /* void */;
    if (m == 0 || m > 32 || m >= n || s[m] != ' ')
        return -400;
    h->post = m == 4 && memcmp(s, "POST", 4) == 0;
    s += m + 1;
    n -= m + 1;
    for (t = 0; t < n && s[t] > ' ' && s[t] != 0x7f; t++)
        /* void */;
    if (t > HTTP_TARGET_MAX)
        return -414;
    if (t == 0 || s[0] != '/' || n - t != 9 || s[t] != ' ')
        return -400;
    route(s, t, h);
    s += t + 1;
    if (memcmp(s, "HTTP/1.", 7) != 0 || (s[7] != '0' && s[7] != '1'))
        return -505;
    h->http10 = s[7] == '0';
    h->keepalive = !h->http10;
    return 0;
}


static int content_length(const char *s, size_t n, struct http_head *h)
{
    size_t i;

    if (h->has_length || n == 0 || n > 18)
        return -400;
    h->has_length = true;
    for (i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -400;
        h->length = h->length * 10 + (uint64_t) (s[i] - '0');
    }
    return 0;
}


static void request_id(const char *s, size_t n, struct http_head *h)
{
    size_t i;

    if (n < 8 || n > 64)
        return;
    for (i = 0; i < n; i++)
        if (!id_length(s + i, 1) && s[i] != '-')
            return;
    memcpy(h->request_id, s, n);
    h->request_id[n] = '\0';
}


static int header(const char *s, size_t n, struct http_head *h)
{
    const char *v;
    size_t name, i;

    for (name = 0; name < n && token_char((unsigned char) s[name]); name++)
        /* void */;
    if (name == 0 || name >= n || s[name] != ':')
        return -400;
    v = s + name + 1;
    n -= name + 1;
    while (n > 0 && (*v == ' ' || *v == '\t')) {
        v++;
        n--;
    }
    while (n > 0 && (v[n - 1] == ' ' || v[n - 1] == '\t'))
        n--;
    for (i = 0; i < n; i++)
        if (((unsigned char) v[i] < 0x20 && v[i] != '\t') || v[i] == 0x7f)
            return -400;

    if (is(s, name, "content-length"))
        return content_length(v, n, h);
    if (is(s, name, "transfer-encoding")) {
        if (h->chunked)
            return -400;
        if (!is(v, n, "chunked"))
            return -501;
        h->chunked = true;
    } else if (is(s, name, "connection")) {
        if (lists(v, n, "close"))
            h->keepalive = false;
        else if (h->http10 && lists(v, n, "keep-alive"))
            h->keepalive = true;
    } else if (is(s, name, "accept")) {
        h->event_stream = lists(v, n, "text/event-stream");
    } else if (is(s, name, "x-request-id")) {
        request_id(v, n, h);
    }
    return 0;
}


/* The length of the head with its empty line, 0 when that is not there. */
static size_t find_end(const char *text, size_t n, size_t *scanned)
{
    size_t i;

    for (i = *scanned; i + 4 <= n; i++)
        if (text[i] == '\r' && memcmp(text + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    *scanned = i;
    return 0;
}


int http_head(const char *text, size_t n, size_t *scanned,
    struct http_head *h)
{
    size_t end, at = 0, line, count = 0;
    int r;

    end = find_end(text, n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX, scanned);
    if (end == 0)
        return n >= HTTP_HEAD_MAX ? -431 : 0;
    memset(h, 0, sizeof(*h));
    while (at < end - 2) {
        for (line = at; text[line] != '\r' || text[line + 1] != '\n'; line++)
            /* void */;
        if (count == 0)
            r = request_line(text + at, line - at, h);
        else
            r = header(text + at, line - at, h);
        if (r != 0)
            return r;
        if (++count > HTTP_HEADERS_MAX)
            return -431;
        at = line + 2;
    }
    if (h->chunked && (h->has_length || h->http10))
        return -400;
    return (int) end;
}


void http_body_init(struct http_body *b, const struct http_head *h)
{
    b->chunked = h->chunked;
    b->state = HTTP_SIZE;
    b->left = h->length;
    b->trailers = 0;
    b->nline = 0;
    if (!b->chunked)
        b->state = b->left > 0 ? HTTP_DATA : HTTP_DONE;
}


/* `1f` or `1f;extension`: at most 8 digits. */
static int chunk_size(struct http_body *b)
{
    size_t i;
    char c;

    b->left = 0;
    for (i = 0; i < b->nline; i++) {
        c = b->line[i];
        if (c >= '0' && c <= '9')
            b->left = b->left * 16 + (uint64_t) (c - '0');
        else if (c >= 'a' && c <= 'f')
            b->left = b->left * 16 + (uint64_t) (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            b->left = b->left * 16 + (uint64_t) (c - 'A' + 10);
        else
            break;
    }
    if (i == 0 || i > 8
        || (i < b->nline && b->line[i] != ';' && b->line[i] != ' '))
    {
        return -400;
    }
    b->state = b->left > 0 ? HTTP_DATA : HTTP_TRAILER;
    return 0;
}


static int end_of_line(struct http_body *b)
{
    if (b->nline == 0 || b->line[b->nline - 1] != '\r')
        return -400;
    b->nline--;
    if (memchr(b->line, '\r', b->nline) != NULL)
        return -400;
    if (b->state == HTTP_SIZE)
        return chunk_size(b);
    if (b->nline == 0) {
        b->state = HTTP_DONE;
        return 0;
    }
    b->trailers += b->nline;        /* read, bounded, not used */
    return b->trailers > HTTP_TRAILERS_MAX ? -431 : 0;
}


static int take_line(struct http_body *b, const char *text, size_t n,
    size_t *taken)
{
    int r;

    while (*taken < n) {
        if (text[*taken] == '\n') {
            ++*taken;
            r = end_of_line(b);
            b->nline = 0;
            return r;
        }
        if (b->nline == sizeof(b->line))
            return -400;
        b->line[b->nline++] = text[(*taken)++];
    }
    return 0;
}


static int take_data(struct http_body *b, const char *text, size_t n,
    size_t *taken, const char **content, size_t *ncontent)
{
    *content = text;
    *ncontent = n < b->left ? n : (size_t) b->left;
    *taken = *ncontent;
    b->left -= *ncontent;
    if (b->left == 0)
        b->state = b->chunked ? HTTP_DATA_CR : HTTP_DONE;
    return 0;
}


int http_body(struct http_body *b, const char *text, size_t n, size_t *taken,
    const char **content, size_t *ncontent)
{
    int r = 0;

    *taken = *ncontent = 0;
    *content = NULL;
    if (b->state == HTTP_DONE)
        return 1;
    if (n == 0)
        return 0;
    switch (b->state) {
    case HTTP_SIZE: case HTTP_TRAILER:
        r = take_line(b, text, n, taken);
        break;
    case HTTP_DATA:
        r = take_data(b, text, n, taken, content, ncontent);
        break;
    case HTTP_DATA_CR:
        *taken = 1;
        if (text[0] != '\r')
            return -400;
        b->state = HTTP_DATA_LF;
        break;
    case HTTP_DATA_LF:
        *taken = 1;
        if (text[0] != '\n')
            return -400;
        b->state = HTTP_SIZE;
        break;
    case HTTP_DONE:
        break;
    }
    if (r != 0)
        return r;
    return b->state == HTTP_DONE ? 1 : 0;
}


const char *http_reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 422: return "Unprocessable Content";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default:  return "Internal Server Error";
    }
}
