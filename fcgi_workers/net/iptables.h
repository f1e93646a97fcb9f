/*
 * iptables: letting sandboxes pass where another firewall's default is DROP.
 *
 * An accept in our nftables table is not final: a FORWARD chain of iptables
 * with policy DROP (Docker's, ufw's) still ends the packet. There two rules go
 * into DOCKER-USER, or into FORWARD itself where Docker made none. In chains
 * of the kind of iptables (nft or legacy) that the rules were made with: the
 * programs are asked, because a rule put in by other means makes the table
 * unreadable for Docker.
 */
#ifndef HF_IPTABLES_H
#define HF_IPTABLES_H

#include "../common/err.h"
#include "plan.h"

/* Adds what is missing; nothing where no chain drops. */
int  iptables_assert(const struct plan *p, struct err *e);
void iptables_remove(const struct plan *p);

#endif
