/*
 * resolv: see resolv.h. Reads two or three small files, keeps nothing.
 */
#include "resolv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (64 * 1024)

/* The host's own file first; the others are the upstream files of the
 * resolver daemons that put only a loopback address there. */
static const char *const files[] = {
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/run/dnsmasq/resolv.conf",
};

static bool usable(uint32_t a)
{
    return a >> 24 != 127 && a >> 24 != 0 && a >> 28 < 0xe;
}

static void add(struct resolv *r, uint32_t a)
{
    for (int i = 0; i < r->n; i++)
        if (r->addr[i] == a)
            return;
    if (r->n < RESOLV_MAX)
        r->addr[r->n++] = a;
}

/* An IPv4 address of exactly `len` bytes. */
static bool address(const char *s, size_t len, uint32_t *out)
{
    char           text[INET_ADDRSTRLEN];
    struct in_addr a;

    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, s, len);
    text[len] = 0;
    if (strlen(text) != len || inet_pton(AF_INET, text, &a) != 1)
        return false;
    *out = ntohl(a.s_addr);
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* "nameserver <address>", with blanks as libc allows them. */
static void parse_line(const char *p, const char *end, struct resolv *out)
{
    static const char word[] = "nameserver";
    const size_t      wlen = sizeof(word) - 1;
    const char       *q;
    uint32_t          a;

    if ((size_t)(end - p) <= wlen || memcmp(p, word, wlen) != 0
        || !blank(p[wlen]))
        return;
    p += wlen;
    while (p < end && blank(*p))
        p++;
    for (q = p; q < end && !blank(*q); q++)
        continue;
    if (address(p, (size_t)(q - p), &a) && usable(a))
        add(out, a);
}

int resolv_parse(const char *text, size_t len, struct resolv *out)
{
    const char *p = text, *end = text + len, *nl;

    memset(out, 0, sizeof(*out));
    while (p < end) {
        nl = memchr(p, '\n', (size_t)(end - p));
        if (nl == NULL)
            nl = end;
        parse_line(p, nl, out);
        p = nl + 1;
    }
    return out->n;
}

int resolv_parse_list(const char *list, struct resolv *out, struct err *e)
{
    const char   *p = list, *q;
    struct resolv r = {0};
    uint32_t      a;

    for (;;) {
        while (blank(*p) || *p == ',')
            p++;
        if (*p == 0)
            break;
        for (q = p; *q != 0 && *q != ',' && !blank(*q); q++)
            continue;
        if (!address(p, (size_t)(q - p), &a))
            return err_set(e, "internal",
                "dns: \"%.*s\" is not an IPv4 address", (int)(q - p), p);
        if (!usable(a))
            return err_set(e, "internal",
                "dns: %.*s cannot be reached from a sandbox; name a resolver "
                "that is not loopback", (int)(q - p), p);
        if (r.n == RESOLV_MAX)
            return err_set(e, "internal", "dns: at most %d addresses",
                RESOLV_MAX);
        add(&r, a);
        p = q;
    }
    *out = r;
    return 0;
}

static int read_file(const char *path, struct resolv *out)
{
    static char text[FILE_MAX];
    size_t      len = 0;
    ssize_t     n;
    int         fd;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return 0;
    while (len < sizeof(text)) {
        n = read(fd, text + len, sizeof(text) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    return resolv_parse(text, len, out);
}

int resolv_find(const struct settings *s, struct resolv *out, struct err *e)
{
    struct resolv r = {0};

    if (s->dns != NULL && resolv_parse_list(s->dns, &r, e) != 0)
        return -1;
    for (size_t i = 0; r.n == 0 && i < sizeof(files) / sizeof(*files); i++)
        read_file(files[i], &r);
    if (r.n == 0)
        return err_set(e, "internal", "this host names no resolver that a "
            "sandbox could reach; set dns= in the settings");
    *out = r;
    return 0;
}

void resolv_text(const struct resolv *r, struct buf *out)
{
    uint32_t a;

    for (int i = 0; i < r->n; i++) {
        a = r->addr[i];
        buf_printf(out, "nameserver %u.%u.%u.%u\n", a >> 24, a >> 16 & 255,
            a >> 8 & 255, a & 255);
    }
    buf_str(out, "options timeout:2 attempts:3\n");
}
