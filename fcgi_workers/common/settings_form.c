/*
 * settings_form: what a text setting may look like (see settings_form.h).
 *
 * Values end up in files of nginx, Redis and Docker and in HTTP headers, so
 * every form allows only characters that mean nothing there.
 */
#include "settings_form.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "ids.h"
#include "log.h"
#include "tokens.h"

#define FORM_PATH_MAX 240

typedef bool (*form_check)(const char *p, size_t len);

static bool form_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9');
}

/* 1..max letters, digits and characters of `more`. */
static bool form_chars(const char *p, size_t len, size_t max, const char *more)
{
    size_t i;

    if (len < 1 || len > max)
        return false;
    for (i = 0; i < len; i++) {
        if (!form_alnum(p[i])
            && (p[i] == '\0' || strchr(more, p[i]) == NULL))
        {
            return false;
        }
    }
    return true;
}

/* Every part between commas fits `check`; an empty list does. */
static bool form_list(const char *p, size_t len, form_check check)
{
    const char *end = p + len, *comma;

    if (len == 0)
        return true;
    for (;;) {
        comma = memchr(p, ',', (size_t)(end - p));
        if (!check(p, (size_t)((comma == NULL ? end : comma) - p)))
            return false;
        if (comma == NULL)
            return true;
        p = comma + 1;
    }
}

static bool form_name(const char *p, size_t len)
{
    return len == 0 || form_chars(p, len, 64, "._-");
}

/* Never root: these users exist so that something does not run as root. */
static bool form_user(const char *p, size_t len)
{
    return form_chars(p, len, 32, "_-") && p[0] != '-'
        && !(p[0] >= '0' && p[0] <= '9')
        && !(len == 4 && memcmp(p, "root", 4) == 0);
}

static bool form_stack(const char *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if (!form_alnum(p[i]) || (p[i] >= 'A' && p[i] <= 'Z'))
            return false;
    }
    return len <= 4;
}

static bool form_host(const char *p, size_t len)
{
    size_t i, label = 0;

    if (len < 1 || len > 200)
        return false;
    for (i = 0; i < len; i++) {
        if (p[i] == '.') {
            if (label == 0 || p[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!(form_alnum(p[i]) || (p[i] == '-' && label > 0)))
            return false;
        if (++label > 63)
            return false;
    }
    return label > 0 && p[len - 1] != '-';
}

/* As a sandbox's preview_host_header; it has to fit into a line. */
static bool form_host_header(const char *p, size_t len)
{
    return form_chars(p, len, 60, ".-:");
}

static bool form_hosts(const char *p, size_t len)
{
    return form_list(p, len, form_host);
}

static bool form_scheme(const char *p, size_t len)
{
    return (len == 4 && memcmp(p, "http", 4) == 0)
        || (len == 5 && memcmp(p, "https", 5) == 0);
}

static bool form_port(const char *p, size_t len)
{
    int64_t port;

    return ids_number(p, len, 1, 65535, &port) == 0;
}

static bool form_addr(const char *p, size_t len)
{
    unsigned char bin[16];
    char          text[INET6_ADDRSTRLEN];

    if (len < 2 || len >= sizeof(text))
        return false;
    memcpy(text, p, len);
    text[len] = '\0';
    if (strlen(text) != len)
        return false;
    return inet_pton(AF_INET, text, bin) == 1
        || inet_pton(AF_INET6, text, bin) == 1;
}

static bool form_addrs(const char *p, size_t len)
{
    return form_list(p, len, form_addr);
}

/* scheme://host[:port], as browsers send it: no path, no slash at the end. */
static bool form_origin(const char *p, size_t len)
{
    const char *end = p + len, *sep, *colon;

    sep = memchr(p, ':', len);
    if (sep == NULL || end - sep < 4 || memcmp(sep, "://", 3) != 0
        || !form_scheme(p, (size_t)(sep - p)))
    {
        return false;
    }
    sep += 3;
    colon = memchr(sep, ':', (size_t)(end - sep));
    if (colon == NULL)
        return form_host(sep, (size_t)(end - sep));
    return form_host(sep, (size_t)(colon - sep))
        && form_port(colon + 1, (size_t)(end - colon - 1));
}

static bool form_origins(const char *p, size_t len)
{
    return form_list(p, len, form_origin);
}

static bool form_path(const char *p, size_t len)
{
    size_t i;

    if (!form_chars(p, len, FORM_PATH_MAX, "/._-+@=") || p[0] != '/')
        return false;
    for (i = 0; i + 2 < len; i++) {
        if (memcmp(p + i, "/..", 3) == 0 && (i + 3 == len || p[i + 3] == '/'))
            return false;
    }
    return true;
}

static bool form_file(const char *p, size_t len)
{
    return len == 0 || form_path(p, len);
}

static bool form_listen(const char *p, size_t len)
{
    const char *colon = memrchr(p, ':', len);
    size_t      n;

    if (colon == NULL || !form_port(colon + 1, (size_t)(p + len - colon - 1)))
        return false;
    n = (size_t)(colon - p);
    if (n == 1 && p[0] == '*')
        return true;
    if (n > 2 && p[0] == '[' && p[n - 1] == ']')
        return memchr(p, '.', n) == NULL && form_addr(p + 1, n - 2);
    return memchr(p, ':', n) == NULL && form_addr(p, n);
}

static bool form_token(const char *p, size_t len)
{
    struct token t;

    return tokens_parse(p, len, &t, NULL) == 0;
}

static bool form_tokens(const char *p, size_t len)
{
    return form_list(p, len, form_token);
}

static bool form_image(const char *p, size_t len)
{
    return form_chars(p, len, 255, "./:_-@") && form_alnum(p[0]);
}

static bool form_template(const char *p, size_t len)
{
    const char *eq = memchr(p, '=', len);

    return eq != NULL && form_chars(p, (size_t)(eq - p), 64, "._-")
        && form_image(eq + 1, (size_t)(p + len - eq - 1));
}

static bool form_templates(const char *p, size_t len)
{
    return form_list(p, len, form_template);
}

/* The host part must be empty: 10.0.0.5/8 is a slip, not a range. */
static bool form_cidr(const char *p, size_t len)
{
    const char    *slash = memchr(p, '/', len);
    char           text[INET_ADDRSTRLEN];
    struct in_addr a;
    int64_t        bits;
    size_t         n;

    if (slash == NULL)
        return false;
    n = (size_t)(slash - p);
    if (n < 1 || n >= sizeof(text) || ids_number(slash + 1, len - n - 1, 8,
        29, &bits) != 0)
    {
        return false;
    }
    memcpy(text, p, n);
    text[n] = '\0';
    return strlen(text) == n && inet_pton(AF_INET, text, &a) == 1
        && (ntohl(a.s_addr) & (0xffffffffu >> bits)) == 0;
}

static bool form_level(const char *p, size_t len)
{
    return log_level_named(p, len) >= 0;
}

static bool form_listen0(const char *p, size_t len)
{
    return len == 0 || form_listen(p, len);
}

/* An address, or one and the length of its prefix; host bits must be 0. */
static bool form_net(const char *p, size_t len)
{
    const char   *slash = memchr(p, '/', len);
    unsigned char bin[16] = { 0 };
    char          text[INET6_ADDRSTRLEN];
    int64_t       bits, i, all;
    size_t        n = slash == NULL ? len : (size_t)(slash - p);

    if (!form_addr(p, n))
        return false;
    if (slash == NULL)
        return true;
    memcpy(text, p, n);
    text[n] = '\0';
    all = inet_pton(AF_INET, text, bin) == 1 ? 32 : 128;
    if (all == 128)
        inet_pton(AF_INET6, text, bin);
    if (ids_number(slash + 1, len - n - 1, 0, all, &bits) != 0)
        return false;
    for (i = bits; i < all; i++) {
        if ((bin[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    }
    return true;
}

static bool form_nets(const char *p, size_t len)
{
    return form_list(p, len, form_net);
}

static bool form_proxy(const char *p, size_t len)
{
    return (len == 3 && memcmp(p, "off", 3) == 0)
        || (len == 2 && memcmp(p, "on", 2) == 0)
        || (len == 8 && memcmp(p, "previews", 8) == 0);
}

static const struct {
    form_check  check;
    const char *text;
} forms[SET_FORM_COUNT] = {
    [SET_FORM_NAME] = { form_name,
        "empty, or up to 64 letters, digits and ._-" },
    [SET_FORM_USER] = { form_user, "the name of a user other than root" },
    [SET_FORM_STACK] = { form_stack,
        "empty, or up to 4 lower-case letters and digits" },
    [SET_FORM_HOST] = { form_host, "a host name such as example.com" },
    [SET_FORM_HOST_HEADER] = { form_host_header,
        "public, localhost or a host name of 1 to 60 bytes" },
    [SET_FORM_HOSTS] = { form_hosts, "host names, separated by commas" },
    [SET_FORM_ORIGINS] = { form_origins,
        "origins such as https://app.example.com, separated by commas" },
    [SET_FORM_SCHEME] = { form_scheme, "http or https" },
    [SET_FORM_PATH] = { form_path,
        "an absolute path of letters, digits and /._-+@=" },
    [SET_FORM_FILE] = { form_file,
        "empty, or an absolute path of letters, digits and /._-+@=" },
    [SET_FORM_LISTEN] = { form_listen,
        "address:port, as 127.0.0.1:7070, [::1]:7070 or *:7070" },
    [SET_FORM_TOKENS] = { form_tokens, "tokens, separated by commas, each "
        "name:secret or tenant/name[:scope]=secret" },
    [SET_FORM_IMAGE] = { form_image, "the name of an image" },
    [SET_FORM_TEMPLATES] = { form_templates,
        "name=image pairs, separated by commas" },
    [SET_FORM_ADDRS] = { form_addrs, "IP addresses, separated by commas" },
    [SET_FORM_CIDR] = { form_cidr,
        "an IPv4 network such as 198.18.0.0/15, /8 to /29" },
    [SET_FORM_LEVEL] = { form_level, "debug, info, warn or error" },
    [SET_FORM_LISTEN0] = { form_listen0,
        "empty, or address:port, as 192.0.2.1:443, [::]:443 or *:443" },
    [SET_FORM_NETS] = { form_nets,
        "addresses and networks such as 10.0.0.0/8, separated by commas" },
    [SET_FORM_PROXY] = { form_proxy, "off, previews or on" },
};

bool settings_form_ok(enum settings_form form, const char *s, size_t len)
{
    return forms[form].check(s, len);
}

const char *settings_form_text(enum settings_form form)
{
    return forms[form].text;
}
