/*
 * rtnl: what we need of rtnetlink, one call each, each waiting for the
 * kernel's answer.
 *
 * A socket speaks about the network namespace in which it was opened. Errors
 * are errno values, 0 is well. Calls that make something that is there already
 * say EEXIST.
 */
#ifndef HF_RTNL_H
#define HF_RTNL_H

#include <stdint.h>

struct rtnl_link {
    int      index;
    int      peer;              /* IFLA_LINK: index of the other end; 0 none */
    uint32_t mtu;
    int      up;
};

int rtnl_open(void);                            /* descriptor, or -1 */

/* `name` here, `peer` in the namespace `ns`; both down. */
int rtnl_veth(int fd, const char *name, const char *peer, int ns,
    uint32_t mtu);
int rtnl_link_get(int fd, const char *name, struct rtnl_link *out);
int rtnl_link_up(int fd, int index);
int rtnl_link_delete(int fd, const char *name);
/* Calls `each` for every interface. */
int rtnl_link_list(int fd, void (*each)(void *arg, int index,
    const char *name), void *arg);

/* Addresses in host byte order, always /32. */
int rtnl_addr_add(int fd, int index, uint32_t addr);
/* addr/32 dev index */
int rtnl_route_host(int fd, int index, uint32_t addr);
/* default via gateway dev index onlink src src */
int rtnl_route_default(int fd, int index, uint32_t gateway, uint32_t src);
/* Index of the interface of the default route; 0 if there is none. */
int rtnl_uplink(int fd);

#endif
