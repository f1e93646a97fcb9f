/*
 * resolv: which resolvers sandboxes ask, and the text of their resolv.conf.
 *
 * The setting `dns` if it is set; else the host's resolvers that are not
 * loopback; else, where the host asks a daemon of its own on loopback, the
 * servers that this daemon asks (its upstream file). IPv4 only: sandboxes have
 * no IPv6. net puts the same list into nftables (`resolvers4`), so both must
 * come from here.
 */
#ifndef HF_RESOLV_H
#define HF_RESOLV_H

#include <stddef.h>
#include <stdint.h>

#include "../common/buf.h"
#include "../common/err.h"
#include "../common/settings.h"

#define RESOLV_MAX 3            /* libc reads no more */

struct resolv {
    uint32_t addr[RESOLV_MAX];  /* IPv4, host byte order, no doubles */
    int      n;
};

/* The list for this host. -1 with a sentence when there is none. */
int resolv_find(const struct settings *s, struct resolv *out, struct err *e);

/* What a sandbox's /etc/resolv.conf says. */
void resolv_text(const struct resolv *r, struct buf *out);

/* Pure: the nameservers of a resolv.conf that are IPv4 and neither loopback,
 * unspecified nor multicast. Returns how many. */
int resolv_parse(const char *text, size_t len, struct resolv *out);

/* Pure: the setting `dns`, "1.1.1.1,9.9.9.9". */
int resolv_parse_list(const char *list, struct resolv *out, struct err *e);

#endif
