/*
 * veth: the one network interface of a sandbox.
 *
 * Host: <prefix><number>, gateway/32, a route to the sandbox, rp_filter,
 * no IPv6. Sandbox: lo with ::1, eth0 with its address/32 and a default route;
 * no IPv6 but ::1.
 */
#ifndef HF_VETH_H
#define HF_VETH_H

#include <stdint.h>

#include "../common/err.h"
#include "plan.h"

struct veth {
    const struct plan *plan;    /* borrowed */
    int                home;    /* the host's network namespace */
    int                rtnl;    /* socket in it */
    uint32_t           mtu;
};

int  veth_open(struct veth *v, const struct plan *p, struct err *e);
void veth_close(struct veth *v);

/* Looks at the way out again: its MTU is the sandboxes'. */
void veth_uplink(struct veth *v);

/* Makes, or completes, the interface of the sandbox whose PID 1 is `pid`; one
 * that is right already is left alone. *ns is its namespace's descriptor, the
 * caller's. 0, or an errno with a sentence in *e. */
int veth_make(struct veth *v, int pid, uint32_t number, uint32_t addr,
    int *ns, struct err *e);
int veth_drop(struct veth *v, uint32_t number, struct err *e);
/* Every interface of the stack. Returns how many. */
int veth_drop_all(struct veth *v);

#endif
