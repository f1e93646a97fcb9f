/*
 * links: see links.h. Connections, greetings, and what is said to all.
 *
 * Owns the listening socket's clients. Answers to W are in asks.c, parks in
 * park.c. A link that misbehaves or does not read is closed; nothing is lost by
 * that, because its gate asks again.
 */
#include "links_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/log.h"
#include "../common/msg.h"
#include "live.h"
#include "ops.h"
#include "reaper.h"
#include "shares.h"

#define GENERATION_SANE (1ULL << 60)

/* ---- saying -------------------------------------------------------------- */

void link_say(struct link *l, const struct line *line)
{
    char   text[LINE_MAX_LEN];
    size_t n = line_write(line, text);

    if (n == 0) {
        log_error("a line %c does not fit its form", line->type);
        return;
    }
    buf_add(&l->held, text, n);
    if (l->held.failed)
        l->broken = true;
}

static struct line_str str(const char *s)
{
    return (struct line_str) { s, strlen(s) };
}

void link_describe(const struct sandbox *sb, struct line *line, char type)
{
    struct line_policy        *p = &line->policy;
    const struct guest_status *st;
    unsigned                   i;

    memset(line, 0, sizeof(*line));
    line->type = type;
    line->id = str(sb->id);
    line->gen = sb->generation;
    if (rung_is_gone(sb->rung) || sb->erased) {
        line->state = LINE_GONE;
        return;
    }
    line->state = sb->rung == RUNG_RUNNING ? LINE_AWAKE : LINE_ASLEEP;
    p->is_private = sb->is_private;
    p->wake_any = sb->wake_any;
    p->declared_only = sb->declared_only;
    p->tenant = sb->tenant->tag;
    p->host_mode = str(sb->host_mode);
    p->freeze_s = (uint32_t) reaper_next_s(sb);
    p->share_epoch = (uint32_t) sb->share_epoch;
    p->nports = sb->nports;
    memcpy(p->ports, sb->ports, sizeof(p->ports));
    p->wakes = sb->stopped_by == STOPPED_CALLER ? LINE_CALLER : LINE_ONDEMAND;
    if (line->state != LINE_AWAKE || sb->live == NULL
        || !sb->live->has_status)
        return;
    st = &sb->live->status;
    for (i = 0; i < st->nports && line->nopen < LINE_PORTS_MAX; i++)
        line->open[line->nopen++] = st->ports[i].port;
}

void link_policy(const struct sandbox *sb, struct line *line)
{
    link_describe(sb, line, 'R');
}

void links_broadcast(struct sandbox *sb)
{
    struct links *all = sb->k->links;
    struct line   line;
    int           i;

    if (all == NULL)
        return;
    link_describe(sb, &line, 'R');
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (all->link[i] != NULL && all->link[i]->greeted)
            link_say(all->link[i], &line);
    }
}

static void link_say_op(struct link *l, int64_t number, bool done)
{
    struct line line;

    memset(&line, 0, sizeof(line));
    line.type = 'O';
    line.number = (uint64_t) number;
    line.op_done = done;
    link_say(l, &line);
}

void links_op_done(struct op *op)
{
    struct links *all = op->k->links;
    int           i;

    for (i = 0; i < OP_LINKS_MAX; i++) {
        if ((op->links[i / 64] >> (i % 64) & 1) != 0 && all->link[i] != NULL)
            link_say_op(all->link[i], op->number, true);
    }
}

void links_share_epoch(struct sandbox *sb)
{
    struct links *all = sb->k->links;
    struct line   line;
    int           i;

    memset(&line, 0, sizeof(line));
    line.type = 'S';
    line.id = str(sb->id);
    line.share_epoch = (uint32_t) sb->share_epoch;
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (all->link[i] != NULL && all->link[i]->greeted)
            link_say(all->link[i], &line);
    }
}

void links_share_said(struct keeper *k, int slot, uint64_t number,
    enum line_said said)
{
    struct line line;

    if (k->links->link[slot] == NULL || !k->links->link[slot]->greeted)
        return;
    memset(&line, 0, sizeof(line));
    line.type = 'T';
    line.number = number;
    line.said = said;
    link_say(k->links->link[slot], &line);
}

/* ---- leaving ------------------------------------------------------------- */

static void link_free(struct link *l)
{
    struct links *all = l->k->links;

    if (l->greeted)
        all->lost_ms = loop_now_ms(l->k->loop);
    all->link[l->slot] = NULL;
    asks_link_gone(l);
    park_link_gone(l);
    inquiry_link_gone(l);
    ops_link_gone(l->k, l->slot);
    loop_remove(l->k->loop, &l->watch);
    close(l->watch.fd);
    buf_fini(&l->held);
    buf_fini(&l->out);
    free(l);
}

static int link_write(struct link *l)
{
    ssize_t n;
    bool    more;

    while (l->out.len > 0) {
        n = send(l->watch.fd, l->out.data, l->out.len, MSG_NOSIGNAL);
        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n == -1)
            return -1;
        buf_consume(&l->out, (size_t) n);
    }
    more = l->out.len > 0;
    if (more != l->writing) {
        l->writing = more;
        loop_change(l->k->loop, &l->watch,
            more ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    return 0;
}

void links_flush(struct keeper *k)
{
    struct link *l;
    int          i;

    for (i = 0; i < OP_LINKS_MAX; i++) {
        l = k->links->link[i];
        if (l == NULL || (l->held.len == 0 && !l->broken))
            continue;
        buf_add(&l->out, l->held.data, l->held.len);
        buf_reset(&l->held);
        if (l->broken || l->out.failed || link_write(l) == -1) {
            log_warn("gate pid=%u: link dropped", l->pid);
            link_free(l);
        }
    }
}

/* ---- hearing ------------------------------------------------------------- */

/* A gate that has seen more than our counter says: the database is older than
 * it was (a restore). A new epoch empties every table. */
static void link_epoch(struct link *l, const struct line *in)
{
    struct keeper *k = l->k;
    struct links  *all = k->links;
    int            i;

    if (in->gen <= k->generation && in->epoch <= k->epoch)
        return;
    log_warn("gate pid=%u has seen generation %llu of epoch %llu, this "
        "database %llu of %llu: new epoch", l->pid,
        (unsigned long long) in->gen, (unsigned long long) in->epoch,
        (unsigned long long) k->generation, (unsigned long long) k->epoch);
    k->epoch = (in->epoch > k->epoch ? in->epoch : k->epoch) + 1;
    if (in->gen > k->generation)
        k->generation = in->gen;
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (all->link[i] != NULL && all->link[i] != l
            && all->link[i]->greeted)
            all->link[i]->broken = true;    /* it greets again */
    }
}

static int link_greeted(struct link *l, const struct line *in)
{
    struct line out;

    if (in->proto != LINE_PROTO || in->gen > GENERATION_SANE
        || in->epoch > GENERATION_SANE) {
        log_warn("gate pid=%u speaks protocol %u", in->pid, in->proto);
        return -1;
    }
    l->table = in->table;
    l->pid = in->pid;
    link_epoch(l, in);
    memset(&out, 0, sizeof(out));
    out.type = 'H';
    out.proto = LINE_PROTO;
    out.node = str(l->k->node);
    out.epoch = l->k->epoch;
    out.gen = l->k->generation;
    link_say(l, &out);
    l->greeted = true;
    return 0;
}

static void link_asks_op(struct link *l, const struct line *in)
{
    struct op *op = ops_find_open(l->k, (int64_t) in->number);

    if (op != NULL)
        op->links[l->slot / 64] |= 1ULL << (l->slot % 64);
    else
        link_say_op(l, (int64_t) in->number,
            ops_known(l->k, (int64_t) in->number));
}

static int link_line(struct link *l, const char *p, size_t len)
{
    struct line in;

    if (line_parse(p, len, 1, &in) != 0) {
        log_warn("gate pid=%u sent a line that is none: %.*s", l->pid,
            (int) (len > 80 ? 80 : len), p);
        return -1;
    }
    if (in.type == 'H')
        return link_greeted(l, &in);
    if (!l->greeted)
        return -1;
    switch (in.type) {
    case 'W':
        asks_heard(l, &in);
        break;
    case 'O':
        link_asks_op(l, &in);
        break;
    case 'K':
        park_heard(l, &in);
        break;
    case 'T':
        shares_heard(l->k, l->slot, &in);
        break;
    case 'J':
        inquiry_heard(l, &in);
        break;
    default:
        break;
    }
    return 0;
}

static int link_read(struct link *l)
{
    char   *end, *from;
    ssize_t n;
    int     turns;

    for (turns = 0; turns < 64; turns++) {
        n = recv(l->watch.fd, l->in + l->nin, sizeof(l->in) - l->nin, 0);
        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            return -1;
        l->nin += (size_t) n;
        from = l->in;
        while ((end = memchr(from, '\n',
                    l->nin - (size_t) (from - l->in))) != NULL) {
            if (link_line(l, from, (size_t) (end - from)) == -1)
                return -1;
            from = end + 1;
        }
        l->nin -= (size_t) (from - l->in);
        memmove(l->in, from, l->nin);
        if (l->nin >= LINE_MAX_LEN)
            return -1;
    }
    return 0;
}

static void link_ready(struct watch *w, uint32_t events)
{
    struct link *l = w->owner;

    if ((events & EPOLLOUT) != 0 && link_write(l) == -1) {
        link_free(l);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0
        && link_read(l) == -1)
        link_free(l);
}

static void links_accept(struct watch *w, uint32_t events)
{
    struct links *all = w->owner;
    struct link  *l;
    int           fd, uid, slot;

    (void) events;
    while ((fd = msg_accept(w->fd, &uid)) >= 0) {
        for (slot = 0; slot < OP_LINKS_MAX; slot++) {
            if (all->link[slot] == NULL)
                break;
        }
        l = slot < OP_LINKS_MAX ? calloc(1, sizeof(*l)) : NULL;
        if (l == NULL) {
            log_warn("more than %d gates: one refused", OP_LINKS_MAX);
            close(fd);
            continue;
        }
        l->k = all->k;
        l->slot = slot;
        l->watch.fd = fd;
        l->watch.owner = l;
        l->watch.ready = link_ready;
        buf_init(&l->held, 16 * LINK_OUT_MAX);
        buf_init(&l->out, LINK_OUT_MAX);
        if (loop_add(all->k->loop, &l->watch, EPOLLIN) == -1) {
            close(fd);
            free(l);
            continue;
        }
        all->link[slot] = l;
    }
}

int links_open(struct keeper *k, int listen_fd, struct err *e)
{
    struct links *all = calloc(1, sizeof(*all));

    k->links = all;
    if (all == NULL)
        return err_set(e, "internal", "out of memory");
    all->k = k;
    all->listen.fd = listen_fd;
    all->listen.owner = all;
    all->listen.ready = links_accept;
    if (loop_add(k->loop, &all->listen, EPOLLIN) == -1)
        return err_errno(e, "listen on keeper.sock");
    return 0;
}

void links_close(struct keeper *k)
{
    int i;

    if (k->links == NULL)
        return;
    for (i = 0; i < OP_LINKS_MAX; i++) {
        if (k->links->link[i] != NULL)
            link_free(k->links->link[i]);
    }
    loop_remove(k->loop, &k->links->listen);
    free(k->links);
    k->links = NULL;
}

void links_figures(const struct keeper *k, size_t *gates, size_t *asks)
{
    int i;

    *gates = 0;
    *asks = k->links->nasks;
    for (i = 0; i < OP_LINKS_MAX; i++)
        *gates += k->links->link[i] != NULL && k->links->link[i]->greeted;
}
