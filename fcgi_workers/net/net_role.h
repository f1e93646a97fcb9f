/*
 * net: entry of the role. Returns the process' exit status.
 */
#ifndef HF_NET_ROLE_H
#define HF_NET_ROLE_H

#include "../common/settings.h"

int net_main(const struct settings *s);

/* Removes the stack's interfaces, nftables table and iptables rules. 0, or -1
 * (logged). Run it when nothing of the stack runs any more. */
int net_clean(const struct settings *s);

#endif
