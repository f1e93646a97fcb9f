/*
 * nft: the stack's table of packet rules, and the proof that it stands.
 *
 * nft_assert compares what the kernel has with what we put there and puts it
 * there anew when they differ. Until that has gone well once, and again as
 * soon as it does not, no sandbox may start.
 */
#ifndef HF_NFT_H
#define HF_NFT_H

#include "../common/buf.h"
#include "../common/err.h"
#include "plan.h"

struct nft {
    const struct plan *plan;    /* borrowed */
    struct buf         proof;   /* the kernel's text of our table */
};

void nft_init(struct nft *n, const struct plan *p);
void nft_fini(struct nft *n);

/* Installs the rules, whatever is there. */
int  nft_install(struct nft *n, struct err *e);
/* Looks; installs when it must. 0: proven. */
int  nft_assert(struct nft *n, struct err *e);
int  nft_remove(struct nft *n, struct err *e);

/* Pure: the ruleset as nft reads it. */
void nft_text(const struct plan *p, struct buf *out);

#endif
