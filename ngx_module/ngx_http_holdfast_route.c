
/*
 * What a line of the keeper does to the route table.
 *
 *   route    | A or R, generation g' > g        | P at g
 *   ---------+----------------------------------+---------------------------
 *   absent   | A inserts if g' > floor;         | inserted at g, ok; full:
 *            | R: ignored                       | floor >= g, ok
 *   awake    | as it says                       | parked if nothing is in
 *   parked   | as it says                       | flight and it was idle long
 *   gone     | as it says                       | enough: ok; else busy
 *
 * g' <= g changes nothing, and P at a lower g is "stale".  A broadcast comes to
 * every worker of a table; the first changes it, all let go of what they keep
 * for the sandbox.  Whether a line applied or not is of no interest to those
 * who wait for it: an answer releases them all, and they look again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_holdfast_table.h"


static void ngx_http_holdfast_route_set(ngx_http_holdfast_entry_t *e,
    const struct line *line);
static void ngx_http_holdfast_route_family(ngx_http_holdfast_entry_t *e,
    const struct line *line);


ngx_uint_t
ngx_http_holdfast_route_apply(const struct line *line)
{
    size_t                      len;
    ngx_uint_t                  rc;
    const u_char               *id;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    if (line->state == LINE_FAILED) {
        return NGX_HTTP_HOLDFAST_IGNORED;
    }

    t = ngx_http_holdfast_table;
    id = (const u_char *) line->id.p;
    len = line->id.len;
    rc = NGX_HTTP_HOLDFAST_IGNORED;

    ngx_http_holdfast_table_lock();

    t->highest = ngx_max(t->highest, line->gen);

    e = ngx_http_holdfast_table_find(id, len);

    if (e == NULL && line->type == 'A' && line->gen > t->floor) {

        e = ngx_http_holdfast_table_insert(id, len);

        if (e == NULL) {
            rc = NGX_HTTP_HOLDFAST_FULL;
        }
    }

    if (e && line->gen > e->generation) {
        ngx_http_holdfast_route_set(e, line);
    }

    if (e && line->gen == e->generation) {

        /* by this line, here or in another worker of the same table */

        ngx_http_holdfast_route_family(e, line);
        rc = NGX_HTTP_HOLDFAST_APPLIED;
    }

    ngx_http_holdfast_table_unlock();

    return rc;
}


/* The state last: a worker that dies in here leaves a route to be asked for. */

static void
ngx_http_holdfast_route_set(ngx_http_holdfast_entry_t *e,
    const struct line *line)
{
    const struct line_policy  *p;

    e->state = NGX_HTTP_HOLDFAST_ABSENT;
    ngx_memory_barrier();

    e->generation = line->gen;
    ngx_memzero(e->v6, sizeof(e->v6));

    if (line->state == LINE_GONE) {
        ngx_memory_barrier();
        e->state = NGX_HTTP_HOLDFAST_GONE;
        return;
    }

    p = &line->policy;

    e->flags = (p->is_private ? NGX_HTTP_HOLDFAST_PRIVATE : 0)
               | (p->wake_any ? NGX_HTTP_HOLDFAST_WAKE_ANY : 0)
               | (p->declared_only ? NGX_HTTP_HOLDFAST_DECLARED : 0);
    e->wakes = (uint8_t) p->wakes;
    e->tenant = p->tenant;
    e->next_s = p->freeze_s;
    e->share_epoch = ngx_max(e->share_epoch, p->share_epoch);

    e->nports = ngx_min(p->nports, LINE_PORTS_MAX);
    ngx_memcpy(e->ports, p->ports, e->nports * sizeof(uint16_t));

    e->host_len = ngx_min(p->host_mode.len, LINE_HOST_MAX);
    ngx_memcpy(e->host, p->host_mode.p, e->host_len);

    /* waking is activity: the time of idleness begins now */

    e->stamp = ngx_current_msec;

    ngx_memory_barrier();

    e->state = (line->state == LINE_AWAKE) ? NGX_HTTP_HOLDFAST_AWAKE
                                           : NGX_HTTP_HOLDFAST_PARKED;
}


/* Which ports of an awake sandbox are on ::1 only; the last few are kept. */

static void
ngx_http_holdfast_route_family(ngx_http_holdfast_entry_t *e,
    const struct line *line)
{
    ngx_uint_t  i;

    if (line->state != LINE_AWAKE || line->port == 0) {
        return;
    }

    for (i = 0; i < NGX_HTTP_HOLDFAST_V6; i++) {

        if (e->v6[i] != line->port) {
            continue;
        }

        if (line->pstate == LINE_P_OPEN4) {
            e->v6[i] = 0;
        }

        return;
    }

    if (line->pstate == LINE_P_OPEN6) {
        ngx_memmove(&e->v6[1], &e->v6[0],
                    (NGX_HTTP_HOLDFAST_V6 - 1) * sizeof(uint16_t));
        e->v6[0] = line->port;
    }
}


/*
 * A share was revoked.  The epoch of a sandbox only rises, so this needs no
 * generation: whatever comes late is lower.
 */

void
ngx_http_holdfast_route_epoch(const struct line *line)
{
    ngx_http_holdfast_entry_t  *e;

    ngx_http_holdfast_table_lock();

    e = ngx_http_holdfast_table_find((const u_char *) line->id.p,
                                     line->id.len);

    if (e && e->share_epoch < line->share_epoch) {
        e->share_epoch = line->share_epoch;
    }

    ngx_http_holdfast_table_unlock();
}


void
ngx_http_holdfast_route_park(const struct line *in, struct line *out)
{
    uint64_t                    idle;
    ngx_uint_t                  state, active;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    ngx_memzero(out, sizeof(struct line));

    out->type = 'K';
    out->up = 1;
    out->seq = in->seq;
    out->park = LINE_OK;

    ngx_http_holdfast_table_lock();

    t->highest = ngx_max(t->highest, in->gen);

    e = ngx_http_holdfast_table_find((const u_char *) in->id.p, in->id.len);

    if (e == NULL) {

        /*
         * the trace of this generation has to stay: a late answer would make
         * a route to a frozen sandbox
         */

        e = ngx_http_holdfast_table_insert((const u_char *) in->id.p,
                                           in->id.len);
        if (e == NULL) {
            t->floor = ngx_max(t->floor, in->gen);

        } else {

            /* its policy is not known: a request has to ask, so ABSENT */

            e->generation = in->gen;
        }

        goto done;
    }

    if (e->generation > in->gen) {
        out->park = LINE_STALE;
        goto done;
    }

    state = e->state;

    if (state == NGX_HTTP_HOLDFAST_AWAKE) {
        e->state = NGX_HTTP_HOLDFAST_PARKED;
    }

    ngx_memory_barrier();

    active = ngx_http_holdfast_entry_active(e);
    idle = (uint64_t) ngx_current_msec - e->stamp;

    if ((int64_t) idle < 0) {
        idle = 0;
    }

    out->active = (uint32_t) active;
    out->idle_ms = idle;

    if (active || idle < in->idle_ms) {
        e->state = (uint8_t) state;
        out->park = LINE_BUSY;
        goto done;
    }

    e->generation = in->gen;

done:

    ngx_http_holdfast_table_unlock();

    switch (out->park) {

    case LINE_OK:
        ngx_http_holdfast_count(parks_ok);
        break;

    case LINE_BUSY:
        ngx_http_holdfast_count(parks_busy);
        break;

    default:
        ngx_http_holdfast_count(parks_stale);
    }
}


void
ngx_http_holdfast_route_inflight(const struct line *in, struct line *out)
{
    uint64_t                    idle;
    ngx_http_holdfast_entry_t  *e;

    ngx_memzero(out, sizeof(struct line));

    out->type = 'J';
    out->up = 1;
    out->seq = in->seq;
    out->idle_ms = NGX_MAX_UINT32_VALUE;        /* nothing that we know of */

    ngx_http_holdfast_table_lock();

    e = ngx_http_holdfast_table_find((const u_char *) in->id.p, in->id.len);

    if (e) {
        idle = (uint64_t) ngx_current_msec - e->stamp;

        out->active = (uint32_t) ngx_http_holdfast_entry_active(e);
        out->quiet = (uint32_t) ngx_http_holdfast_entry_quiet(e);
        out->idle_ms = (int64_t) idle < 0 ? 0 : idle;
    }

    ngx_http_holdfast_table_unlock();
}


/* The greeting; node has room for 65 bytes and is what out points to. */

void
ngx_http_holdfast_route_hello(struct line *out, u_char *node)
{
    ngx_uint_t                  slot;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    ngx_memzero(out, sizeof(struct line));

    (void) ngx_http_holdfast_table_slot(&slot);

    out->type = 'H';
    out->up = 1;
    out->proto = LINE_PROTO;
    out->pid = (uint32_t) ngx_pid;
    out->slot = (uint32_t) slot;

    ngx_http_holdfast_table_lock();

    ngx_memcpy(node, t->node, sizeof(t->node));

    out->node.p = (char *) node;
    out->node.len = ngx_min(t->node_len, sizeof(t->node) - 1);
    out->epoch = t->epoch;
    out->table = t->name;
    out->gen = t->highest;

    ngx_http_holdfast_table_unlock();
}


/*
 * The keeper's greeting.  NGX_DECLINED: it speaks of an older database than
 * the one that the routes here come from.
 */

ngx_int_t
ngx_http_holdfast_route_greeted(const struct line *in, ngx_log_t *log)
{
    uint32_t                    i;
    uint64_t                    epoch;
    ngx_uint_t                  linked;
    ngx_http_holdfast_slot_t   *slot;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;
    linked = 0;

    ngx_http_holdfast_table_lock();

    epoch = t->epoch;

    if (in->epoch < epoch) {
        ngx_http_holdfast_table_unlock();

        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "keeper has epoch %uL, the route table %uL: "
                      "an older database, link refused", in->epoch, epoch);
        return NGX_DECLINED;
    }

    if (in->epoch > epoch) {
        ngx_http_holdfast_table_empty();
        t->epoch = in->epoch;
    }

    t->node_len = ngx_min(in->node.len, sizeof(t->node) - 1);
    ngx_memcpy(t->node, in->node.p, t->node_len);

    /*
     * a table that was without a link may have missed a revocation: each
     * route is asked for once more
     */

    for (i = 0; i < t->nslots; i++) {
        if (t->slots[i].linked && ngx_http_holdfast_slot_lives(i)) {
            linked = 1;
            break;
        }
    }

    if (!linked) {
        t->revoked = t->highest;
    }

    t->highest = ngx_max(t->highest, in->gen);

    slot = ngx_http_holdfast_table_slot(NULL);
    slot->linked = 1;

    ngx_http_holdfast_table_unlock();

    return NGX_OK;
}


void
ngx_http_holdfast_route_unlinked(void)
{
    ngx_http_holdfast_table_slot(NULL)->linked = 0;
}
