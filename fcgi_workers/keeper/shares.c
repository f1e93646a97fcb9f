/*
 * shares: see shares.h.
 *
 * Owns the keys that sign, and what gates were promised in this turn: a use is
 * counted in the turn's transaction and told after its commit. The file of
 * keys is looked at before each signature: a rotation needs no restart. Must
 * never log or store a ticket but in the answer of an idempotent call.
 */
#include "shares.h"

#include <inttypes.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/buf.h"
#include "../common/clock.h"
#include "../common/log.h"
#include "../common/render.h"
#include "../common/ticket_keys.h"
#include "links.h"
#include "store.h"

#define ANSWER_MAX 8192

struct told {
    struct told   *next;
    int            slot;
    uint64_t       number;
    enum line_said said;
};

struct shares {
    struct ticket_keys keys;
    struct timespec    changed;         /* of the file */
    ino_t              inode;
    struct told       *told, **told_end;
};

int shares_open(struct keeper *k, struct err *e)
{
    struct shares *sh = calloc(1, sizeof(*sh));

    k->shares = sh;
    if (sh == NULL)
        return err_set(e, "internal", "out of memory");
    sh->told_end = &sh->told;
    return ticket_keys_load(&sh->keys, k->s->data_dir, 1, e);
}

void shares_close(struct keeper *k)
{
    struct told *t;

    if (k->shares == NULL)
        return;
    while ((t = k->shares->told) != NULL) {
        k->shares->told = t->next;
        free(t);
    }
    OPENSSL_cleanse(k->shares, sizeof(*k->shares));
    free(k->shares);
    k->shares = NULL;
}

/* ---- signing ------------------------------------------------------------- */

static const struct ticket_key *shares_key(struct keeper *k)
{
    struct shares *sh = k->shares;
    struct stat    st;
    struct err     e;
    char           path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" TICKET_KEYS_FILE, k->s->data_dir);
    if (stat(path, &st) == 0 && (st.st_ino != sh->inode
            || st.st_mtim.tv_sec != sh->changed.tv_sec
            || st.st_mtim.tv_nsec != sh->changed.tv_nsec)) {
        if (ticket_keys_load(&sh->keys, k->s->data_dir, 0, &e) == -1)
            log_error("the keys in use stay: %s", e.msg);
        sh->inode = st.st_ino;
        sh->changed = st.st_mtim;
    }
    return &sh->keys.key[TICKET_CURRENT];
}

static int shares_sign(struct sandbox *sb, struct ticket *t,
    char out[TICKET_MAX + 1], struct err *e)
{
    snprintf(t->id, sizeof(t->id), "%s", sb->id);
    t->epoch = (uint32_t) sb->share_epoch;
    if (ticket_sign(t, shares_key(sb->k), sb->tenant->tag, out) == 0)
        return err_set(e, "internal", "the ticket cannot be signed");
    return 0;
}

/* ---- requests ------------------------------------------------------------ */

static void share_audit(struct op *op)
{
    store_audit(op->k, op->tenant, op->actor, op_kind_name(op->kind),
        op->sandbox_id, op->remote, op->request_id, "ok");
}

/* Takes the answer. */
static int share_answer(struct request *r, struct sandbox *sb, struct buf *b,
    struct err *e)
{
    if (b->failed || b->data == NULL) {
        buf_fini(b);
        return err_set(e, "internal", "out of memory");
    }
    if (r->idem != NULL && store_op_done(r->k, r->tenant,
            op_kind_name(r->kind), sb->id, r->idem, r->idem_hash, r->actor,
            r->request_id, 201, b->data, e) == -1) {
        buf_fini(b);
        return -1;
    }
    ops_now(r, sb, share_audit, 201, b->data);
    return 0;
}

static void share_text(struct buf *b, const char *name, const char *text)
{
    buf_str(b, name);
    render_string(b, text, strlen(text));
}

/* Where the link leads that names no port. */
static unsigned share_port(const struct sandbox *sb, int64_t port)
{
    if (port != 0)
        return (unsigned) port;
    return sb->nports > 0 ? sb->ports[0] : RENDER_PORT;
}

static void share_render(struct buf *b, struct sandbox *sb,
    const struct share *s, const char *ticket)
{
    share_text(b, "{\"id\":", s->id);
    share_text(b, ",\"sandbox_id\":", sb->id);
    if (s->port != 0)
        buf_printf(b, ",\"port\":%" PRId64, s->port);
    share_text(b, ",\"label\":", s->label);
    if (s->max_uses != 0)
        buf_printf(b, ",\"max_uses\":%" PRId64, s->max_uses);
    buf_str(b, ",\"uses\":0,\"url\":\"");
    render_preview_url(b, sb->k->s, sb->id, share_port(sb, s->port));
    buf_printf(b, "/?hf_ticket=%s\",\"ticket\":\"%s\",\"created_at\":",
        ticket, ticket);
    render_time(b, s->made_ms);
    buf_str(b, ",\"expires_at\":");
    render_time(b, s->expires_ms);
    buf_str(b, "}");
}

static int share_create(struct request *r, struct sandbox *sb, struct err *e)
{
    int64_t       now_s = clock_wall_ms() / 1000, n;
    struct share  s = { .sandbox = sb->id, .actor = r->actor };
    struct ticket t;
    struct buf    b;
    char          text[TICKET_MAX + 1];

    if (store_share_count(r->k, sb->id, now_s * 1000, &n, e) == -1)
        return -1;
    if (n >= r->k->s->shares_max)
        return err_set(e, "quota_exceeded", "the sandbox has %" PRId64
            " shares already; revoke one", n);
    ids_new(s.id);
    s.port = arg_num(r->args, "port", 0);
    s.max_uses = arg_num(r->args, "max_uses", 0);
    s.label = arg_str(r->args, "label");
    if (s.label == NULL)
        s.label = "";
    s.made_ms = clock_wall_ms();
    s.expires_ms = (now_s + arg_num(r->args, "ttl_s", 0)) * 1000;

    memset(&t, 0, sizeof(t));
    t.kind = s.max_uses != 0 ? 'l' : 't';
    if (s.port != 0)
        t.ports[t.nports++] = (uint16_t) s.port;
    else
        t.allow = TICKET_PREVIEW;
    t.expires_s = s.expires_ms / 1000;
    snprintf(t.share, sizeof(t.share), "%s", s.id);
    if (shares_sign(sb, &t, text, e) == -1
        || store_share_insert(r->k, &s, e) == -1)
        return -1;
    buf_init(&b, ANSWER_MAX);
    share_render(&b, sb, &s, text);
    return share_answer(r, sb, &b, e);
}

/* "terminal", "events", "files:read", "preview", "preview:3000": checked. */
static void ticket_allow(struct ticket *t, const char *word)
{
    if (strcmp(word, "preview") == 0)
        t->allow |= TICKET_PREVIEW;
    else if (strcmp(word, "events") == 0)
        t->allow |= TICKET_EVENTS;
    else if (strcmp(word, "terminal") == 0)
        t->allow |= TICKET_TERMINAL;
    else if (strcmp(word, "files:read") == 0)
        t->allow |= TICKET_FILES;
    else if (strncmp(word, "preview:", 8) == 0
        && t->nports < TICKET_PORTS_MAX)
        t->ports[t->nports++] = (uint16_t) strtoul(word + 8, NULL, 10);
}

static int ticket_create(struct request *r, struct sandbox *sb, struct err *e)
{
    struct json_object *list = arg_get(r->args, "allow");
    struct ticket       t;
    struct buf          b;
    char                text[TICKET_MAX + 1];
    size_t              i, n = 0;

    memset(&t, 0, sizeof(t));
    t.kind = 't';
    t.expires_s = clock_wall_ms() / 1000 + arg_num(r->args, "ttl_s", 0);
    if (json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    for (i = 0; i < n; i++)
        ticket_allow(&t, json_object_get_string(
            json_object_array_get_idx(list, i)));
    if (t.allow & TICKET_PREVIEW)
        t.nports = 0;
    if (shares_sign(sb, &t, text, e) == -1)
        return -1;
    buf_init(&b, ANSWER_MAX);
    buf_printf(&b, "{\"ticket\":\"%s\",\"expires_at\":", text);
    render_time(&b, t.expires_s * 1000);
    buf_str(&b, "}");
    return share_answer(r, sb, &b, e);
}

/* Memory follows the commit; gates hear of it at once, whatever the rung. */
static void share_revoke_apply(struct op *op)
{
    struct sandbox *sb = sandbox_find(op->k, op->sandbox_id);
    struct row      r;
    struct err      e;

    if (sb != NULL && store_row_of(op->k, sb->id, &r, &e) == 1) {
        sb->share_epoch = r.share_epoch;
        row_fini(&r);
        links_share_epoch(sb);
    }
    share_audit(op);
}

static int share_revoke(struct request *r, struct sandbox *sb, struct err *e)
{
    const char *id = arg_str(r->args, "share");
    int64_t     epoch = sb->share_epoch + 1, now_s = clock_wall_ms() / 1000;
    int         rc;

    rc = store_share_delete(r->k, sb->id, id != NULL ? id : "", e);
    if (rc != 1)
        return rc == -1 ? -1 : err_set(e, "not_found", "the sandbox has no "
            "share %.40s", id != NULL ? id : "");
    if (store_share_epoch(r->k, sb->id, epoch > now_s ? epoch : now_s, e)
        == -1)
        return -1;
    ops_now(r, sb, share_revoke_apply, 204, NULL);
    return 0;
}

int share_request(struct request *r, struct err *e)
{
    struct sandbox *sb = request_sandbox(r, e);

    if (sb == NULL)
        return -1;
    if (rung_is_gone(sb->rung))
        return err_set(e, "not_found", "no sandbox %s", sb->id);
    if (r->kind == OP_UNSHARE)
        return share_revoke(r, sb, e);
    if (store_may_grow(r->k, e) == -1)
        return -1;
    return r->kind == OP_SHARE ? share_create(r, sb, e)
        : ticket_create(r, sb, e);
}

/* ---- what gates ask ------------------------------------------------------ */

/* An epoch is never lower than the moment of creation. A ticket of another
 * life of this id has one that is, or one that is yet to come. */
static bool epoch_is_ours(const struct sandbox *sb, uint32_t epoch)
{
    return (int64_t) epoch >= sb->created_ms / 1000
        && (int64_t) epoch <= sb->share_epoch;
}

static enum line_said share_said(struct keeper *k, const struct line *in)
{
    struct sandbox *sb = sandbox_find_n(k, in->id.p, in->id.len);
    char            share[TICKET_SHARE_MAX + 1];
    struct err      e;
    int             rc;

    if (sb == NULL || rung_is_gone(sb->rung)
        || !epoch_is_ours(sb, in->share_epoch))
        return LINE_SHARE_GONE;
    if (in->share.len == 0)
        return LINE_SHARE_OK;
    snprintf(share, sizeof(share), "%.*s", (int) in->share.len, in->share.p);
    rc = store_share_check(k, sb->id, share, clock_wall_ms(), &e);
    if (rc == 1 && in->ask == LINE_USE) {
        rc = store_share_use(k, sb->id, share, (int64_t) in->number, &e);
        if (rc == 0)
            return LINE_SHARE_USED;
    }
    if (rc == -1)
        log_warn("sandbox=%s share: %s", sb->id, e.msg);
    return rc == 1 ? LINE_SHARE_OK
        : rc == 0 ? LINE_SHARE_GONE : LINE_SHARE_LATER;
}

void shares_heard(struct keeper *k, int slot, const struct line *in)
{
    struct told *t = calloc(1, sizeof(*t));

    if (t == NULL)
        log_fatal("out of memory");
    t->slot = slot;
    t->number = in->number;
    t->said = share_said(k, in);
    *k->shares->told_end = t;
    k->shares->told_end = &t->next;
}

void shares_refuse(struct keeper *k)
{
    struct told *t;

    for (t = k->shares->told; t != NULL; t = t->next)
        t->said = LINE_SHARE_LATER;
}

/* To a gate that has left meanwhile, and another in its place: the number
 * means nothing to it. */
void shares_flush(struct keeper *k)
{
    struct told *t;

    while ((t = k->shares->told) != NULL) {
        k->shares->told = t->next;
        links_share_said(k, t->slot, t->number, t->said);
        free(t);
    }
    k->shares->told_end = &k->shares->told;
}
