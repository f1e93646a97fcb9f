/*
 * plan: see plan.h. Pure.
 */
#include "plan.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "../common/ids.h"

/* "198.18.0.0/15"; at least 14 usable addresses. */
static int parse_range(const char *text, uint32_t *base, uint32_t *last)
{
    char           addr[INET_ADDRSTRLEN];
    const char    *slash = strchr(text, '/');
    struct in_addr in;
    int64_t        bits;
    size_t         len;

    if (slash == NULL || (len = (size_t)(slash - text)) >= sizeof(addr))
        return -1;
    memcpy(addr, text, len);
    addr[len] = 0;
    if (inet_pton(AF_INET, addr, &in) != 1
        || ids_number(slash + 1, strlen(slash + 1), 8, 28, &bits) != 0)
        return -1;
    *base = ntohl(in.s_addr) & ~(UINT32_MAX >> bits);
    *last = *base | UINT32_MAX >> bits;
    return 0;
}

int plan_init(struct plan *p, const struct settings *s, struct err *e)
{
    const char *stack = s->stack != NULL ? s->stack : "";

    memset(p, 0, sizeof(*p));
    if (strlen(stack) > 4)
        return err_set(e, "internal", "stack: at most 4 characters");
    snprintf(p->prefix, sizeof(p->prefix), "hf%s-", stack);
    snprintf(p->table, sizeof(p->table), "holdfast%s%s",
        stack[0] != 0 ? "_" : "", stack);
    if (parse_range(s->addr_range, &p->base, &p->gateway) != 0)
        return err_set(e, "internal", "addr_range: not an IPv4 range of 8 to "
            "28 bits: %s", s->addr_range);
    p->conns_max = s->conns_max;
    p->smtp_out = s->smtp_out;
    return 0;
}

int plan_ifname(const struct plan *p, uint32_t number, char *out)
{
    int n = snprintf(out, IF_NAMESIZE, "%s%u", p->prefix, number);

    return n > 0 && n < IF_NAMESIZE ? 0 : -1;
}

bool plan_owns_ifname(const struct plan *p, const char *name)
{
    size_t len = strlen(p->prefix);

    if (strncmp(name, p->prefix, len) != 0 || name[len] == 0)
        return false;
    return strspn(name + len, "0123456789") == strlen(name + len);
}

bool plan_owns_addr(const struct plan *p, uint32_t addr)
{
    return addr > p->base && addr < p->gateway;
}
