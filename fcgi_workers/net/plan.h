/*
 * plan: the names and addresses of one stack's network, made from settings.
 *
 * Interfaces are <prefix><number>, the nftables table is `table`. Every
 * sandbox's gateway is the last address of the range, on the host's end of
 * each veth; sandboxes get addresses from base + 1 up to the one before it.
 */
#ifndef HF_PLAN_H
#define HF_PLAN_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "../common/err.h"
#include "../common/settings.h"
#include "resolv.h"

struct plan {
    char          prefix[8];            /* "hf-", or "hf<stack>-" */
    char          table[24];            /* "holdfast", or "holdfast_<stack>" */
    uint32_t      base, gateway;        /* host byte order */
    int64_t       conns_max;
    bool          smtp_out;
    struct resolv resolvers;
};

/* Names and addresses; `resolvers` is left empty (plan_resolvers). */
int plan_init(struct plan *p, const struct settings *s, struct err *e);

/* <prefix><number> into out[IF_NAMESIZE]; -1 when it would not fit. */
int plan_ifname(const struct plan *p, uint32_t number, char *out);
bool plan_owns_ifname(const struct plan *p, const char *name);
bool plan_owns_addr(const struct plan *p, uint32_t addr);

#endif
