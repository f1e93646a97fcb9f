
/*
 * Requests that wait, and the asks they wait for.
 *
 * A waiting request is its ctx in the queue of a node; a node is what is
 * waited for: a sandbox, by its id, or an operation, by "/" and its number.
 * Nodes live as long as somebody waits.
 *
 * Asks are coalesced by what is asked: of all waiters of a node with the same
 * port and kind of ask, one has `asked` set, and its line is on its way.  If
 * that one leaves, the mark passes to another, so the answer is still waited
 * for; an answer or a lost link clears the marks.  (To ask only when nobody
 * waits yet would hang those who come between a release and their next look.)
 *
 * An answer releases all waiters of its id, whatever it said.  The released
 * are run a batch per turn of the loop, each by the phase engine, which enters
 * the gate's handler again: it looks at the table as if it came anew.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_BATCH  64


struct ngx_http_holdfast_node_s {
    ngx_str_node_t           sn;
    ngx_queue_t              waiters;
    ngx_uint_t               count;
    u_char                   key[NGX_HTTP_HOLDFAST_ID_MAX];
};


static ngx_int_t ngx_http_holdfast_enqueue(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, u_char *key, size_t len, ngx_msec_t max);
static ngx_http_holdfast_node_t *ngx_http_holdfast_node(u_char *key,
    size_t len, ngx_uint_t make);
static void ngx_http_holdfast_ask(ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_pass_on(ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_release(ngx_http_holdfast_node_t *node);
static void ngx_http_holdfast_told(ngx_http_holdfast_ctx_t *ctx,
    const struct line *line, ngx_uint_t rc);
static void ngx_http_holdfast_release_handler(ngx_event_t *ev);
static void ngx_http_holdfast_timer_handler(ngx_event_t *ev);
static size_t ngx_http_holdfast_op_key(uint64_t number, u_char *key);
static size_t ngx_http_holdfast_share_key(uint64_t number, u_char *key);


static ngx_rbtree_t       ngx_http_holdfast_nodes;
static ngx_rbtree_node_t  ngx_http_holdfast_sentinel;
static ngx_queue_t        ngx_http_holdfast_released;
static ngx_event_t        ngx_http_holdfast_release_event;
static ngx_uint_t         ngx_http_holdfast_holding;
static ngx_uint_t         ngx_http_holdfast_ready;


static void
ngx_http_holdfast_hold_init(void)
{
    if (ngx_http_holdfast_ready) {
        return;
    }

    ngx_rbtree_init(&ngx_http_holdfast_nodes, &ngx_http_holdfast_sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&ngx_http_holdfast_released);

    ngx_http_holdfast_release_event.handler =
                                            ngx_http_holdfast_release_handler;
    ngx_http_holdfast_release_event.log = ngx_cycle->log;

    ngx_http_holdfast_ready = 1;
}


/* NGX_AGAIN: held.  NGX_BUSY: too many are. */

ngx_int_t
ngx_http_holdfast_hold(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    ngx_uint_t how, uint64_t generation)
{
    ngx_int_t                       rc;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    ctx->how = how;
    ctx->ask = generation;

    rc = ngx_http_holdfast_enqueue(r, ctx, (u_char *) ctx->name.id,
                                   ctx->name.id_len, hmcf->hold_max);
    if (rc == NGX_AGAIN) {
        ngx_http_holdfast_ask(ctx);
    }

    return rc;
}


ngx_int_t
ngx_http_holdfast_hold_op(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx)
{
    u_char                          key[NGX_HTTP_HOLDFAST_ID_MAX];
    ngx_int_t                       rc;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    rc = ngx_http_holdfast_enqueue(r, ctx, key,
                                   ngx_http_holdfast_op_key(ctx->op, key),
                                   hmcf->op_hold_max);
    if (rc == NGX_AGAIN) {
        ngx_http_holdfast_ask(ctx);
    }

    return rc;
}


/* A question about a share; nobody else's, for its answer may be a use. */

ngx_int_t
ngx_http_holdfast_hold_share(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx)
{
    u_char                          key[NGX_HTTP_HOLDFAST_ID_MAX];
    ngx_int_t                       rc;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    ctx->how = LINE_LOOK;
    ctx->share_wait = 1;

    rc = ngx_http_holdfast_enqueue(r, ctx, key,
                           ngx_http_holdfast_share_key(ctx->share_number, key),
                           hmcf->hold_max);
    if (rc == NGX_AGAIN) {
        ngx_http_holdfast_ask(ctx);

    } else {
        ctx->share_wait = 0;
    }

    return rc;
}


static ngx_int_t
ngx_http_holdfast_enqueue(ngx_http_request_t *r, ngx_http_holdfast_ctx_t *ctx,
    u_char *key, size_t len, ngx_msec_t max)
{
    ngx_msec_t                      wait, warm;
    ngx_uint_t                      treat;
    ngx_msec_int_t                  left;
    ngx_http_holdfast_node_t       *node;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_holdfast_module);

    ngx_http_holdfast_hold_init();

    if (ngx_http_holdfast_holding >= hmcf->hold_limit.all) {
        ngx_http_holdfast_count(overflows);
        return NGX_BUSY;
    }

    node = ngx_http_holdfast_node(key, len, 1);
    if (node == NULL) {
        return NGX_ERROR;
    }

    if (key[0] != '/' && node->count >= hmcf->hold_limit.one) {
        ngx_http_holdfast_count(overflows);
        return NGX_BUSY;
    }

    if (ctx->deadline == 0) {

        /* the first time: what follows is the same waiting */

        ctx->deadline = ngx_current_msec + max;
        ngx_http_holdfast_count(held);
    }

    left = (ngx_msec_int_t) (ctx->deadline - ngx_current_msec);
    wait = left > 0 ? (ngx_msec_t) left : 1;

    treat = ngx_http_holdfast_treat(r, ctx);

    if ((treat == NGX_HTTP_HOLDFAST_PAGE
         || treat == NGX_HTTP_HOLDFAST_RELOAD)
        && !ctx->warm && !ctx->share_wait)
    {
        warm = 1;

        if (hmcf->warming_after > ctx->held_ms) {
            warm = hmcf->warming_after - ctx->held_ms;
        }

        wait = ngx_min(wait, warm);
    }

    ngx_queue_insert_tail(&node->waiters, &ctx->queue);
    node->count++;
    ngx_http_holdfast_holding++;
    ngx_http_holdfast_table_slot(NULL)->holding =
                                        (uint32_t) ngx_http_holdfast_holding;

    ctx->node = node;
    ctx->asked = 0;
    ctx->released = 0;
    ctx->held_since = ngx_current_msec;

    ctx->timer.handler = ngx_http_holdfast_timer_handler;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;
    ngx_add_timer(&ctx->timer, wait);

    ngx_http_holdfast_suspend(r);

    return NGX_AGAIN;
}


/*
 * The request stays where it is, and a client that leaves is noticed; r->pool
 * has the cleanup that takes it out of here.
 */

void
ngx_http_holdfast_suspend(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);
    }

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "cannot watch the client of a held request");
    }
}


/* Never while walking a queue, never under the lock. */

void
ngx_http_holdfast_resume(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


/* Takes the request out of whatever queue it is in. */

void
ngx_http_holdfast_unhold(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_msec_t                 ms;
    ngx_http_holdfast_node_t  *node;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    node = ctx->node;

    if (node == NULL && !ctx->released) {
        return;
    }

    ngx_queue_remove(&ctx->queue);
    ctx->released = 0;
    ngx_http_holdfast_holding--;
    ngx_http_holdfast_table_slot(NULL)->holding =
                                        (uint32_t) ngx_http_holdfast_holding;

    ms = ngx_current_msec - ctx->held_since;
    ctx->held_ms += ms;
    (void) ngx_atomic_fetch_add(&ngx_http_holdfast_table->counts.held_ms, ms);

    if (node == NULL) {
        return;
    }

    ctx->node = NULL;
    node->count--;

    if (node->count == 0) {
        ngx_rbtree_delete(&ngx_http_holdfast_nodes, &node->sn.node);
        ngx_free(node);
        return;
    }

    if (ctx->asked) {
        ctx->asked = 0;
        ctx->node = node;
        ngx_http_holdfast_pass_on(ctx);
        ctx->node = NULL;
    }
}


/* The line of this one is on its way: another waits for its answer now. */

static void
ngx_http_holdfast_pass_on(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_queue_t              *q;
    ngx_http_holdfast_ctx_t  *other;

    for (q = ngx_queue_head(&ctx->node->waiters);
         q != ngx_queue_sentinel(&ctx->node->waiters);
         q = ngx_queue_next(q))
    {
        other = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        if (other->name.port == ctx->name.port && other->how == ctx->how) {
            other->asked = 1;
            return;
        }
    }
}


static ngx_http_holdfast_node_t *
ngx_http_holdfast_node(u_char *key, size_t len, ngx_uint_t make)
{
    uint32_t                   hash;
    ngx_str_t                  name;
    ngx_http_holdfast_node_t  *node;

    name.data = key;
    name.len = len;
    hash = ngx_crc32_short(key, len);

    node = (ngx_http_holdfast_node_t *)
                ngx_str_rbtree_lookup(&ngx_http_holdfast_nodes, &name, hash);

    if (node || !make) {
        return node;
    }

    node = ngx_calloc(sizeof(ngx_http_holdfast_node_t), ngx_cycle->log);
    if (node == NULL) {
        return NULL;
    }

    ngx_memcpy(node->key, key, len);
    node->sn.str.data = node->key;
    node->sn.str.len = len;
    node->sn.node.key = hash;

    ngx_queue_init(&node->waiters);
    ngx_rbtree_insert(&ngx_http_holdfast_nodes, &node->sn.node);

    return node;
}


static void
ngx_http_holdfast_ask(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_queue_t              *q;
    struct line               line;
    ngx_http_holdfast_ctx_t  *other;

    if (ctx->asked || ctx->how == NGX_HTTP_HOLDFAST_NO_ASK
        || !ngx_http_holdfast_link_up())
    {
        return;
    }

    for (q = ngx_queue_head(&ctx->node->waiters);
         q != ngx_queue_sentinel(&ctx->node->waiters);
         q = ngx_queue_next(q))
    {
        other = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        if (other->asked && other->name.port == ctx->name.port
            && other->how == ctx->how)
        {
            return;
        }
    }

    ngx_memzero(&line, sizeof(struct line));

    line.up = 1;

    if (ctx->share_wait) {
        line.type = 'T';
        line.number = ctx->share_number;
        line.id.p = ctx->name.id;
        line.id.len = ctx->name.id_len;
        line.share.p = ctx->ticket.share;
        line.share.len = ngx_strlen(ctx->ticket.share);
        line.ask = ctx->share_use ? LINE_USE : LINE_CHECK;
        line.share_epoch = ctx->ticket.epoch;

    } else if (ctx->mode == NGX_HTTP_HOLDFAST_OP) {
        line.type = 'O';
        line.number = ctx->op;

    } else {
        line.type = 'W';
        line.id.p = ctx->name.id;
        line.id.len = ctx->name.id_len;
        line.port = ctx->name.port;
        line.how = ctx->how;
        line.gen = ctx->ask;
    }

    if (ngx_http_holdfast_link_ask(&line) != NGX_OK) {
        return;
    }

    ctx->asked = 1;

    if (line.type == 'W') {
        ngx_http_holdfast_count(asks);

        if (ctx->how == LINE_WAKE) {
            ngx_http_holdfast_count(wakes);
        }
    }
}


/* The link is there again, or there is room for more. */

void
ngx_http_holdfast_ask_again(void)
{
    ngx_queue_t               *q;
    ngx_rbtree_node_t         *n;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_node_t  *node;

    ngx_http_holdfast_hold_init();

    if (ngx_http_holdfast_nodes.root == &ngx_http_holdfast_sentinel) {
        return;
    }

    for (n = ngx_rbtree_min(ngx_http_holdfast_nodes.root,
                            &ngx_http_holdfast_sentinel);
         n;
         n = ngx_rbtree_next(&ngx_http_holdfast_nodes, n))
    {
        node = (ngx_http_holdfast_node_t *) n;

        for (q = ngx_queue_head(&node->waiters);
             q != ngx_queue_sentinel(&node->waiters);
             q = ngx_queue_next(q))
        {
            ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);
            ngx_http_holdfast_ask(ctx);
        }
    }
}


/* The link is lost, and with it all that was asked. */

void
ngx_http_holdfast_unasked(void)
{
    ngx_queue_t               *q;
    ngx_rbtree_node_t         *n;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_node_t  *node;

    ngx_http_holdfast_hold_init();

    if (ngx_http_holdfast_nodes.root == &ngx_http_holdfast_sentinel) {
        return;
    }

    for (n = ngx_rbtree_min(ngx_http_holdfast_nodes.root,
                            &ngx_http_holdfast_sentinel);
         n;
         n = ngx_rbtree_next(&ngx_http_holdfast_nodes, n))
    {
        node = (ngx_http_holdfast_node_t *) n;

        for (q = ngx_queue_head(&node->waiters);
             q != ngx_queue_sentinel(&node->waiters);
             q = ngx_queue_next(q))
        {
            ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);
            ctx->asked = 0;
        }
    }
}


/* rc: what the line did to the table. */

void
ngx_http_holdfast_answered(const struct line *line, ngx_uint_t rc)
{
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_node_t  *node;

    ngx_http_holdfast_hold_init();

    node = ngx_http_holdfast_node((u_char *) line->id.p, line->id.len, 0);

    if (node == NULL) {
        return;
    }

    for (q = ngx_queue_head(&node->waiters);
         q != ngx_queue_sentinel(&node->waiters);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);
        ngx_http_holdfast_told(ctx, line, rc);
    }

    ngx_http_holdfast_release(node);
}


/* What the table will not tell a waiter when it looks again. */

static void
ngx_http_holdfast_told(ngx_http_holdfast_ctx_t *ctx, const struct line *line,
    ngx_uint_t rc)
{
    ngx_pool_t  *pool;

    if (line->type != 'A') {
        return;
    }

    switch (line->state) {

    case LINE_FAILED:
        pool = ctx->request->pool;
        ctx->failed = 1;
        ctx->retry_after = line->retry_after_s;

        ctx->code.data = ngx_pnalloc(pool, line->code.len + 1);
        ctx->text.data = ngx_pnalloc(pool, line->text.len + 1);

        if (ctx->code.data && ctx->text.data) {
            ctx->code.len = line->code.len;
            ngx_memcpy(ctx->code.data, line->code.p, line->code.len);
            ctx->code.data[ctx->code.len] = '\0';
            ctx->text.len = line->text.len;
            ngx_memcpy(ctx->text.data, line->text.p, line->text.len);
        }

        break;

    case LINE_GONE:
        ctx->gone = (line->gen == 0);
        break;

    default:
        ctx->full = (rc == NGX_HTTP_HOLDFAST_FULL);

        if (line->port != ctx->name.port || ctx->how == LINE_LOOK
            || line->state != LINE_AWAKE)
        {
            break;
        }

        ctx->opened = (line->pstate == LINE_P_OPEN4
                       || line->pstate == LINE_P_OPEN6);

        if (line->pstate == LINE_P_CLOSED) {
            ctx->closed = 1;
            ctx->nopen = line->nopen;
            ngx_memcpy(ctx->open, line->open, sizeof(ctx->open));
        }
    }
}


void
ngx_http_holdfast_op_answered(const struct line *line)
{
    size_t                     len;
    u_char                     key[NGX_HTTP_HOLDFAST_ID_MAX];
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_node_t  *node;

    ngx_http_holdfast_hold_init();

    len = ngx_http_holdfast_op_key(line->number, key);
    node = ngx_http_holdfast_node(key, len, 0);

    if (node == NULL) {
        return;
    }

    for (q = ngx_queue_head(&node->waiters);
         q != ngx_queue_sentinel(&node->waiters);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);
        ctx->op_done = 1;
    }

    ngx_http_holdfast_release(node);
}


void
ngx_http_holdfast_share_answered(const struct line *line)
{
    size_t                     len;
    u_char                     key[NGX_HTTP_HOLDFAST_ID_MAX];
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_node_t  *node;

    ngx_http_holdfast_hold_init();

    len = ngx_http_holdfast_share_key(line->number, key);
    node = ngx_http_holdfast_node(key, len, 0);

    if (node == NULL) {
        return;
    }

    for (q = ngx_queue_head(&node->waiters);
         q != ngx_queue_sentinel(&node->waiters);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);
        ctx->share_wait = 0;
        ctx->share_answered = 1;
        ctx->share_said = line->said;
    }

    ngx_http_holdfast_release(node);
}


/* Frees the node. */

static void
ngx_http_holdfast_release(ngx_http_holdfast_node_t *node)
{
    ngx_queue_t              *q;
    ngx_http_holdfast_ctx_t  *ctx;

    while (!ngx_queue_empty(&node->waiters)) {

        q = ngx_queue_head(&node->waiters);
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_http_holdfast_released, q);

        ctx->node = NULL;
        ctx->asked = 0;
        ctx->released = 1;
    }

    ngx_rbtree_delete(&ngx_http_holdfast_nodes, &node->sn.node);
    ngx_free(node);

    if (!ngx_http_holdfast_release_event.posted) {
        ngx_post_event(&ngx_http_holdfast_release_event, &ngx_posted_events);
    }
}


static void
ngx_http_holdfast_release_handler(ngx_event_t *ev)
{
    ngx_uint_t                n;
    ngx_queue_t              *q;
    ngx_http_holdfast_ctx_t  *ctx;

    for (n = 0; n < NGX_HTTP_HOLDFAST_BATCH; n++) {

        if (ngx_queue_empty(&ngx_http_holdfast_released)) {
            return;
        }

        q = ngx_queue_head(&ngx_http_holdfast_released);
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        ngx_http_holdfast_unhold(ctx);
        ngx_http_holdfast_resume(ctx);
    }

    if (!ngx_queue_empty(&ngx_http_holdfast_released) && !ev->posted) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


static void
ngx_http_holdfast_timer_handler(ngx_event_t *ev)
{
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ev->data;

    if ((ngx_msec_int_t) (ctx->deadline - ngx_current_msec) <= 0) {
        ctx->timed_out = 1;

        if (ctx->mode != NGX_HTTP_HOLDFAST_OP) {
            ngx_http_holdfast_count(timeouts);
        }

    } else {
        ctx->warm = 1;
    }

    ngx_http_holdfast_unhold(ctx);
    ngx_http_holdfast_resume(ctx);
}


static size_t
ngx_http_holdfast_op_key(uint64_t number, u_char *key)
{
    return ngx_snprintf(key, NGX_HTTP_HOLDFAST_ID_MAX, "/%uL", number) - key;
}


static size_t
ngx_http_holdfast_share_key(uint64_t number, u_char *key)
{
    return ngx_snprintf(key, NGX_HTTP_HOLDFAST_ID_MAX, "/s%uL", number) - key;
}
