/*
 * nft: see nft.h. Speaks through libnftables; each run has a context of its
 * own, so that nothing of one can be left for the next.
 */
#include "nft.h"

#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>

#include "../common/log.h"

#define TEXT_MAX  16384
#define PROOF_MAX 65536

void nft_init(struct nft *n, const struct plan *p)
{
    n->plan = p;
    buf_init(&n->proof, PROOF_MAX);
}

void nft_fini(struct nft *n)
{
    buf_fini(&n->proof);
}

/* ---- the rules ---------------------------------------------------------- */

static void text_sets(const struct plan *p, struct buf *b)
{
    uint32_t a;

    buf_str(b,
        "  set private4 {\n"
        "    type ipv4_addr\n    flags interval\n    auto-merge\n"
        "    elements = { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10,\n"
        "      127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24,\n"
        "      192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3 }\n  }\n"
        "  set resolvers4 {\n    type ipv4_addr\n");
    for (int i = 0; i < p->resolvers.n; i++) {
        a = p->resolvers.addr[i];
        buf_printf(b, "%s%u.%u.%u.%u", i == 0 ? "    elements = { " : ", ",
            a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
    }
    buf_printf(b, "%s  }\n", p->resolvers.n > 0 ? " }\n" : "");
    buf_str(b,
        "  set conns {\n"
        "    type ipv4_addr\n    flags dynamic\n    size 65536\n  }\n");
}

/* The host itself: a sandbox may answer it, never ask it. */
static void text_input(const struct plan *p, struct buf *b)
{
    buf_printf(b,
        "  chain gateway {\n  }\n"
        "  chain input {\n"
        "    type filter hook input priority -150; policy accept;\n"
        "    iifname \"%s*\" ct state established,related accept\n"
        "    iifname \"%s*\" drop\n  }\n", p->prefix, p->prefix);
}

/* Order matters: neighbours and IPv6 first, then the count of connections
 * (before anything is accepted), then what is allowed. The range of sandboxes
 * itself is dropped also when the setting puts it outside private4. */
static void text_forward(const struct plan *p, struct buf *b)
{
    const char *in = p->prefix;

    buf_printf(b,
        "  chain forward {\n"
        "    type filter hook forward priority -150; policy accept;\n"
        "    iifname \"%s*\" oifname \"%s*\" drop\n"
        "    iifname \"%s*\" meta nfproto ipv6 drop\n"
        "    iifname \"%s*\" ct state new add @conns"
        " { ip saddr ct count over %lld } drop\n"
        "    iifname \"%s*\" ct state established,related accept\n"
        "    iifname \"%s*\" ip daddr @resolvers4"
        " meta l4proto { tcp, udp } th dport 53 accept\n"
        "    iifname \"%s*\" ip daddr @private4 drop\n",
        in, in, in, in, (long long)p->conns_max, in, in, in);
    if (!p->smtp_out)
        buf_printf(b, "    iifname \"%s*\" tcp dport 25 drop\n", in);
    buf_printf(b,
        "    oifname \"%s*\" ct state established,related accept\n"
        "    oifname \"%s*\" drop\n  }\n", in, in);
}

void nft_text(const struct plan *p, struct buf *b)
{
    buf_printf(b, "table inet %s {\n", p->table);
    text_sets(p, b);
    text_input(p, b);
    text_forward(p, b);
    buf_printf(b,
        "  chain post {\n"
        "    type nat hook postrouting priority 100; policy accept;\n"
        "    iifname \"%s*\" oifname != \"%s*\" masquerade\n  }\n}\n",
        p->prefix, p->prefix);
}

/* ---- running ------------------------------------------------------------ */

/* Runs commands as one transaction; what they print is added to `out` (may be
 * NULL). */
static int run(const char *text, unsigned flags, struct buf *out, struct err *e)
{
    struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    const char     *said;
    int             rc = -1;

    if (ctx == NULL)
        return err_set(e, "internal", "nftables does not answer");
    nft_ctx_output_set_flags(ctx, flags | NFT_CTX_OUTPUT_NUMERIC_ALL
        | NFT_CTX_OUTPUT_STATELESS);
    if (nft_ctx_buffer_output(ctx) != 0 || nft_ctx_buffer_error(ctx) != 0) {
        err_set(e, "internal", "nftables: out of memory");
    } else if (nft_run_cmd_from_buffer(ctx, text) != 0) {
        said = nft_ctx_get_error_buffer(ctx);
        err_set(e, "internal", "nftables refused the sandboxes' rules: %.*s",
            said != NULL ? (int)strcspn(said, "\n") : 0,
            said != NULL ? said : "");
    } else {
        if (out != NULL)
            buf_str(out, nft_ctx_get_output_buffer(ctx));
        rc = 0;
    }
    nft_ctx_free(ctx);
    return rc;
}

/* The whole table, but of sets only those that stay: the members of `conns`
 * come and go. One run each: libnftables 1.0.6 fetches from the kernel only
 * what the last of several `list` needs. */
static int look(const struct nft *n, struct buf *out, struct err *e)
{
    static const char *const sets[] = { "private4", "resolvers4" };
    char                     text[96];
    int                      rc;

    snprintf(text, sizeof(text), "list table inet %s\n", n->plan->table);
    rc = run(text, NFT_CTX_OUTPUT_TERSE, out, e);
    for (size_t i = 0; rc == 0 && i < sizeof(sets) / sizeof(*sets); i++) {
        snprintf(text, sizeof(text), "list set inet %s %s\n",
            n->plan->table, sets[i]);
        rc = run(text, 0, out, e);
    }
    if (rc == 0 && out->failed)
        rc = err_set(e, "internal", "nftables: out of memory");
    return rc;
}

int nft_install(struct nft *n, struct err *e)
{
    struct buf b;
    int        rc;

    buf_reset(&n->proof);
    buf_init(&b, TEXT_MAX);
    /* The first line lets the second one succeed; all three are one. */
    buf_printf(&b, "table inet %s\ndelete table inet %s\n", n->plan->table,
        n->plan->table);
    nft_text(n->plan, &b);
    rc = b.failed ? err_set(e, "internal", "out of memory")
        : run(b.data, 0, NULL, e);
    buf_fini(&b);
    if (rc == 0)
        rc = look(n, &n->proof, e);
    if (rc != 0)
        buf_reset(&n->proof);
    return rc;
}

int nft_assert(struct nft *n, struct err *e)
{
    struct err ignored;
    struct buf now;
    bool       same;

    buf_init(&now, PROOF_MAX);
    same = n->proof.len > 0 && look(n, &now, &ignored) == 0
        && now.len == n->proof.len
        && memcmp(now.data, n->proof.data, now.len) == 0;
    buf_fini(&now);
    if (same)
        return 0;
    if (n->proof.len > 0)
        log_warn("table %s was changed or removed by somebody: put back",
            n->plan->table);
    return nft_install(n, e);
}

int nft_remove(struct nft *n, struct err *e)
{
    struct buf b;
    int        rc;

    buf_reset(&n->proof);
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "table inet %s\ndelete table inet %s\n", n->plan->table,
        n->plan->table);
    rc = b.failed ? err_set(e, "internal", "out of memory")
        : run(b.data, 0, NULL, e);
    buf_fini(&b);
    return rc;
}
