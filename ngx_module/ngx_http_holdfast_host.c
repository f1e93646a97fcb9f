
/*
 * Names that come with a request (see ngx_http_holdfast_host.h).
 */


#include <string.h>

#include "ngx_http_holdfast_host.h"


static char ngx_http_holdfast_fold(char ch);
static int ngx_http_holdfast_name_is(const char *p, size_t len,
    const char *lower, size_t lower_len);
static int ngx_http_holdfast_name_id(const char *p, size_t len,
    ngx_http_holdfast_name_t *name);
static int ngx_http_holdfast_name_port(const char *p, size_t len,
    ngx_http_holdfast_name_t *name);


int
ngx_http_holdfast_host_parse(const char *host, size_t len, const char *domain,
    size_t domain_len, ngx_http_holdfast_name_t *name)
{
    int          rc;
    size_t       label, rest;
    const char  *dash, *colon, *dot;

    colon = len ? memchr(host, ':', len) : NULL;
    if (colon) {
        len = (size_t) (colon - host);
    }

    if (len > 0 && host[len - 1] == '.') {
        len--;
    }

    if (len <= domain_len + 1
        || host[len - domain_len - 1] != '.'
        || !ngx_http_holdfast_name_is(host + len - domain_len, domain_len,
                                      domain, domain_len))
    {
        return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
    }

    len -= domain_len + 1;

    if (ngx_http_holdfast_name_is(host, len, "api", 3)) {
        return NGX_HTTP_HOLDFAST_NAME_RESERVED;
    }

    dot = len ? memchr(host, '.', len) : NULL;
    label = dot ? (size_t) (dot - host) : len;
    rest = len - label;

    if (rest == 0) {

        /* <port>-<id> */

        dash = label ? memchr(host, '-', label) : NULL;
        if (dash == NULL) {
            return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
        }

        rc = ngx_http_holdfast_name_port(host, (size_t) (dash - host), name);
        if (rc != NGX_HTTP_HOLDFAST_NAME_OK) {
            return rc;
        }

        dash++;

        return ngx_http_holdfast_name_id(dash, (size_t) (host + label - dash),
                                         name);
    }

    if (!ngx_http_holdfast_name_is(host + label, rest, ".preview", 8)
        || label < 2
        || ngx_http_holdfast_fold(host[0]) != 's' || host[1] != '-')
    {
        return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
    }

    /* s-<id>-<port> */

    host += 2;
    label -= 2;

    dash = label ? memchr(host, '-', label) : NULL;
    if (dash == NULL) {
        return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
    }

    rc = ngx_http_holdfast_name_port(dash + 1,
                                     (size_t) (host + label - dash - 1), name);
    if (rc != NGX_HTTP_HOLDFAST_NAME_OK) {
        return rc;
    }

    return ngx_http_holdfast_name_id(host, (size_t) (dash - host), name);
}


int
ngx_http_holdfast_path_parse(const char *path, size_t len,
    ngx_http_holdfast_name_t *name)
{
    size_t       i, n;
    const char  *p, *last;

    static const struct {
        const char  *prefix;
        size_t       len;
    } prefixes[] = {
        { "/v1/sandboxes/", 14 },
        { "/sandbox/",       9 },
        { "/wake/",          6 }
    };

    for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {

        n = prefixes[i].len;

        if (len <= n || memcmp(path, prefixes[i].prefix, n) != 0) {
            continue;
        }

        p = path + n;
        last = path + len;

        for (n = 0; p + n < last && p[n] != '/'; n++) { /* void */ }

        if (n == 0 || (n == 6 && memcmp(p, "by-key", 6) == 0)) {
            return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
        }

        name->port = 0;

        return ngx_http_holdfast_name_id(p, n, name);
    }

    return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
}


int
ngx_http_holdfast_path_check(const char *path, size_t len)
{
    char    hi, lo;
    int     value;
    size_t  i, seg;

    seg = 0;

    for (i = 0; i <= len; i++) {

        if (i == len || path[i] == '/') {

            /* the segment before this slash */

            if ((i - seg == 1 && path[seg] == '.')
                || (i - seg == 2 && path[seg] == '.' && path[seg + 1] == '.'))
            {
                return NGX_HTTP_HOLDFAST_NAME_BAD;
            }

            seg = i + 1;
            continue;
        }

        if ((unsigned char) path[i] <= 0x20 || path[i] == 0x7f
            || path[i] == '\\')
        {
            return NGX_HTTP_HOLDFAST_NAME_BAD;
        }

        if (path[i] != '%') {
            continue;
        }

        if (len - i < 3) {
            return NGX_HTTP_HOLDFAST_NAME_BAD;
        }

        hi = ngx_http_holdfast_fold(path[i + 1]);
        lo = ngx_http_holdfast_fold(path[i + 2]);

        if (!((hi >= '0' && hi <= '9') || (hi >= 'a' && hi <= 'f'))
            || !((lo >= '0' && lo <= '9') || (lo >= 'a' && lo <= 'f')))
        {
            return NGX_HTTP_HOLDFAST_NAME_BAD;
        }

        value = (hi <= '9' ? hi - '0' : hi - 'a' + 10) * 16
                + (lo <= '9' ? lo - '0' : lo - 'a' + 10);

        if (value < 0x20 || value == 0x7f || value == '/' || value == '\\'
            || value == '.' || value == '%')
        {
            return NGX_HTTP_HOLDFAST_NAME_BAD;
        }

        i += 2;
    }

    return NGX_HTTP_HOLDFAST_NAME_OK;
}


int
ngx_http_holdfast_host_is_local(const char *host, size_t len)
{
    size_t  i, dots;

    if (ngx_http_holdfast_name_is(host, len, "localhost", 9)) {
        return 1;
    }

    if (len > 2 && host[0] == '[') {

        for (i = 1; i < len - 1; i++) {
            if (!((host[i] >= '0' && host[i] <= '9')
                  || (host[i] >= 'a' && host[i] <= 'f')
                  || (host[i] >= 'A' && host[i] <= 'F')
                  || host[i] == ':' || host[i] == '.'))
            {
                return 0;
            }
        }

        return host[len - 1] == ']';
    }

    dots = 0;

    for (i = 0; i < len; i++) {

        if (host[i] == '.') {
            dots++;
            continue;
        }

        if (host[i] < '0' || host[i] > '9') {
            return 0;
        }
    }

    return dots == 3;
}


static char
ngx_http_holdfast_fold(char ch)
{
    return (ch >= 'A' && ch <= 'Z') ? (char) (ch | 0x20) : ch;
}


static int
ngx_http_holdfast_name_is(const char *p, size_t len, const char *lower,
    size_t lower_len)
{
    size_t  i;

    if (len != lower_len) {
        return 0;
    }

    if (memcmp(p, lower, len) == 0) {
        return 1;
    }

    for (i = 0; i < len; i++) {
        if (ngx_http_holdfast_fold(p[i]) != lower[i]) {
            return 0;
        }
    }

    return 1;
}


static int
ngx_http_holdfast_name_id(const char *p, size_t len,
    ngx_http_holdfast_name_t *name)
{
    char    ch;
    size_t  i;

    if (len == 0 || len > NGX_HTTP_HOLDFAST_ID_MAX) {
        return NGX_HTTP_HOLDFAST_NAME_BAD;
    }

    for (i = 0; i < len; i++) {

        ch = ngx_http_holdfast_fold(p[i]);

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9'))) {
            return NGX_HTTP_HOLDFAST_NAME_BAD;
        }

        name->id[i] = ch;
    }

    name->id[len] = '\0';
    name->id_len = (uint8_t) len;

    return NGX_HTTP_HOLDFAST_NAME_OK;
}


static int
ngx_http_holdfast_name_port(const char *p, size_t len,
    ngx_http_holdfast_name_t *name)
{
    size_t    i;
    unsigned  port;

    if (len < 4 || len > 5 || p[0] == '0') {
        return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
    }

    port = 0;

    for (i = 0; i < len; i++) {

        if (p[i] < '0' || p[i] > '9') {
            return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
        }

        port = port * 10 + (unsigned) (p[i] - '0');
    }

    if (port < NGX_HTTP_HOLDFAST_PORT_MIN || port > 65535) {
        return NGX_HTTP_HOLDFAST_NAME_UNKNOWN;
    }

    if (port == NGX_HTTP_HOLDFAST_PORT_RESERVED1
        || port == NGX_HTTP_HOLDFAST_PORT_RESERVED2)
    {
        return NGX_HTTP_HOLDFAST_NAME_RESERVED;
    }

    name->port = (uint16_t) port;

    return NGX_HTTP_HOLDFAST_NAME_OK;
}
