
/*
 * Sockets from the door, made inside a sandbox's network namespace.
 *
 * Before a request goes on to the upstream it has a socket, so that peer.get
 * never waits: one in its ctx, or a spare that nobody else can take before
 * peer.get does, for what has no body gets there in the same turn of the loop.
 * Most requests find a kept connection and leave the spare where it is.  What
 * was not needed is kept here, by id, generation and family, the least
 * recently used closed first.  A spare pins the namespace that it
 * was made in, so those of a sandbox that is parked or gone are closed at
 * once.
 *
 * The door answers in any order: `seq` tells which ask is meant.  The sockets
 * of an ask whose request has left are closed.  A lost door is dialled again
 * after 50 ms ... 1 s, and what waits is asked again.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_DOOR_MIN      50
#define NGX_HTTP_HOLDFAST_DOOR_MAX      1000
#define NGX_HTTP_HOLDFAST_DOOR_TIMEOUT  5000
#define NGX_HTTP_HOLDFAST_DOOR_COUNT    2
#define NGX_HTTP_HOLDFAST_DOOR_ROUTE    8       /* spares of one sandbox */
#define NGX_HTTP_HOLDFAST_BUCKETS       256


struct ngx_http_holdfast_spare_s {
    ngx_queue_t                 bucket;
    ngx_queue_t                 lru;
    uint64_t                    generation;
    int                         fd;
    uint8_t                     family;
    uint8_t                     len;
    u_char                      id[NGX_HTTP_HOLDFAST_ID_MAX];
};


typedef struct {
    ngx_connection_t           *connection;
    ngx_addr_t                 *addr;
    ngx_log_t                  *log;
    ngx_event_t                 retry;
    ngx_msec_t                  delay;
    uint32_t                    seq;
    ngx_uint_t                  nspares;
    ngx_uint_t                  max;
    ngx_queue_t                 lru;
    ngx_queue_t                 waiting;    /* ctx that wait for an answer */
    ngx_queue_t                 answered;
    ngx_event_t                 release;
    ngx_queue_t                 buckets[NGX_HTTP_HOLDFAST_BUCKETS];
    unsigned                    complained:1;
} ngx_http_holdfast_door_t;


static ngx_http_holdfast_spare_t *ngx_http_holdfast_door_find(
    ngx_http_holdfast_ctx_t *ctx);
static ngx_uint_t ngx_http_holdfast_door_bucket(const u_char *id, size_t len);
static void ngx_http_holdfast_door_keep(const u_char *id, size_t len,
    uint64_t generation, ngx_uint_t family, int fd);
static void ngx_http_holdfast_door_close(ngx_http_holdfast_spare_t *spare);
static ngx_int_t ngx_http_holdfast_door_send(ngx_http_holdfast_ctx_t *ctx);
static void ngx_http_holdfast_door_connect(ngx_event_t *ev);
static void ngx_http_holdfast_door_lost(const char *why);
static void ngx_http_holdfast_door_read(ngx_event_t *ev);
static void ngx_http_holdfast_door_write(ngx_event_t *ev);
static ngx_int_t ngx_http_holdfast_door_receive(void);
static void ngx_http_holdfast_door_told(struct door_answer *answer, int *fds,
    ngx_uint_t nfds);
static void ngx_http_holdfast_door_release(ngx_event_t *ev);
static void ngx_http_holdfast_door_timer(ngx_event_t *ev);


static ngx_http_holdfast_door_t  *ngx_http_holdfast_door;


ngx_int_t
ngx_http_holdfast_door_init(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_connection_t               *dummy;
    ngx_http_holdfast_door_t       *door;
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    door = ngx_pcalloc(cycle->pool, sizeof(ngx_http_holdfast_door_t));
    if (door == NULL) {
        return NGX_ERROR;
    }

    dummy = ngx_pcalloc(cycle->pool, sizeof(ngx_connection_t));
    if (dummy == NULL) {
        return NGX_ERROR;
    }

    dummy->fd = (ngx_socket_t) -1;

    door->addr = &hmcf->door;
    door->log = cycle->log;
    door->max = hmcf->spares;
    door->delay = NGX_HTTP_HOLDFAST_DOOR_MIN;

    ngx_queue_init(&door->lru);
    ngx_queue_init(&door->waiting);
    ngx_queue_init(&door->answered);

    for (i = 0; i < NGX_HTTP_HOLDFAST_BUCKETS; i++) {
        ngx_queue_init(&door->buckets[i]);
    }

    door->retry.handler = ngx_http_holdfast_door_connect;
    door->retry.data = dummy;
    door->retry.log = cycle->log;
    door->retry.cancelable = 1;

    door->release.handler = ngx_http_holdfast_door_release;
    door->release.log = cycle->log;

    ngx_http_holdfast_door = door;

    ngx_http_holdfast_door_connect(&door->retry);

    return NGX_OK;
}


void
ngx_http_holdfast_door_exit(ngx_cycle_t *cycle)
{
    ngx_queue_t               *q;
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;

    if (door == NULL) {
        return;
    }

    while (!ngx_queue_empty(&door->lru)) {
        q = ngx_queue_head(&door->lru);
        ngx_http_holdfast_door_close(
                       ngx_queue_data(q, ngx_http_holdfast_spare_t, lru));
    }

    if (door->retry.timer_set) {
        ngx_del_timer(&door->retry);
    }

    if (door->connection) {
        ngx_close_connection(door->connection);
        door->connection = NULL;
    }

    ngx_http_holdfast_door = NULL;
}


/* A spare socket for where this request goes, or -1. */

int
ngx_http_holdfast_door_take(ngx_http_holdfast_ctx_t *ctx)
{
    int                         fd;
    ngx_http_holdfast_spare_t  *spare;

    spare = ngx_http_holdfast_door_find(ctx);

    if (spare == NULL) {
        return -1;
    }

    fd = spare->fd;
    spare->fd = -1;
    ngx_http_holdfast_door_close(spare);

    return fd;
}


/* Whether there is one to take in this turn of the loop. */

ngx_uint_t
ngx_http_holdfast_door_has(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_holdfast_spare_t  *spare;

    spare = ngx_http_holdfast_door_find(ctx);

    if (spare == NULL) {
        return 0;
    }

    ngx_queue_remove(&spare->lru);
    ngx_queue_insert_head(&ngx_http_holdfast_door->lru, &spare->lru);

    return 1;
}


static ngx_http_holdfast_spare_t *
ngx_http_holdfast_door_find(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_queue_t                *q, *bucket;
    ngx_http_holdfast_spare_t  *spare;

    bucket = &ngx_http_holdfast_door->buckets[
                  ngx_http_holdfast_door_bucket((u_char *) ctx->name.id,
                                                ctx->name.id_len)];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        spare = ngx_queue_data(q, ngx_http_holdfast_spare_t, bucket);

        if (spare->generation == ctx->generation
            && spare->family == ctx->family
            && spare->len == ctx->name.id_len
            && ngx_memcmp(spare->id, ctx->name.id, spare->len) == 0)
        {
            return spare;
        }
    }

    return NULL;
}


/* The socket was not needed, or not wanted. */

void
ngx_http_holdfast_door_give(ngx_http_holdfast_ctx_t *ctx)
{
    if (ctx->fd == -1) {
        return;
    }

    ngx_http_holdfast_door_keep((u_char *) ctx->name.id, ctx->name.id_len,
                                ctx->generation, ctx->family, ctx->fd);
    ctx->fd = -1;
}


static ngx_uint_t
ngx_http_holdfast_door_bucket(const u_char *id, size_t len)
{
    return ngx_crc32_long((u_char *) id, len)
           & (NGX_HTTP_HOLDFAST_BUCKETS - 1);
}


/* Takes the descriptor. */

static void
ngx_http_holdfast_door_keep(const u_char *id, size_t len, uint64_t generation,
    ngx_uint_t family, int fd)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q, *bucket;
    ngx_http_holdfast_door_t   *door;
    ngx_http_holdfast_spare_t  *spare;

    door = ngx_http_holdfast_door;

    if (door == NULL || door->max == 0) {

        /* also at the end of a worker, when requests outlive the door */

        (void) close(fd);
        return;
    }

    /* a burst of new connections must not leave as many spares */

    n = 0;
    bucket = &door->buckets[ngx_http_holdfast_door_bucket(id, len)];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        spare = ngx_queue_data(q, ngx_http_holdfast_spare_t, bucket);

        if (spare->len == len && ngx_memcmp(spare->id, id, len) == 0
            && ++n == NGX_HTTP_HOLDFAST_DOOR_ROUTE)
        {
            ngx_http_holdfast_door_close(spare);
            break;
        }
    }

    if (door->nspares >= door->max) {
        q = ngx_queue_last(&door->lru);
        ngx_http_holdfast_door_close(
                       ngx_queue_data(q, ngx_http_holdfast_spare_t, lru));
    }

    spare = ngx_alloc(sizeof(ngx_http_holdfast_spare_t), door->log);
    if (spare == NULL) {
        (void) close(fd);
        return;
    }

    spare->generation = generation;
    spare->family = (uint8_t) family;
    spare->fd = fd;
    spare->len = (uint8_t) len;
    ngx_memcpy(spare->id, id, len);

    ngx_queue_insert_head(&door->lru, &spare->lru);
    ngx_queue_insert_head(bucket, &spare->bucket);

    door->nspares++;
    ngx_http_holdfast_table_slot(NULL)->spares = (uint32_t) door->nspares;
}


static void
ngx_http_holdfast_door_close(ngx_http_holdfast_spare_t *spare)
{
    ngx_queue_remove(&spare->lru);
    ngx_queue_remove(&spare->bucket);

    if (spare->fd != -1) {
        (void) close(spare->fd);
    }

    ngx_free(spare);

    ngx_http_holdfast_door->nspares--;
    ngx_http_holdfast_table_slot(NULL)->spares =
                                   (uint32_t) ngx_http_holdfast_door->nspares;
}


/* The sandbox is not awake any more. */

void
ngx_http_holdfast_door_forget(const u_char *id, size_t len)
{
    ngx_queue_t                *q, *next, *bucket;
    ngx_http_holdfast_spare_t  *spare;

    if (ngx_http_holdfast_door == NULL) {
        return;
    }

    bucket = &ngx_http_holdfast_door->buckets[
                                     ngx_http_holdfast_door_bucket(id, len)];

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = next)
    {
        next = ngx_queue_next(q);
        spare = ngx_queue_data(q, ngx_http_holdfast_spare_t, bucket);

        if (spare->len == len && ngx_memcmp(spare->id, id, len) == 0) {
            ngx_http_holdfast_door_close(spare);
        }
    }
}


/* Suspends the request until the door has answered. */

ngx_int_t
ngx_http_holdfast_door_ask(ngx_http_holdfast_ctx_t *ctx)
{
    ngx_http_request_t        *r;
    ngx_http_holdfast_door_t  *door;

    r = ctx->request;
    door = ngx_http_holdfast_door;

    if (++door->seq == 0) {
        door->seq = 1;
    }

    ctx->door_seq = door->seq;
    ctx->door_error = 0;
    ngx_queue_insert_tail(&door->waiting, &ctx->queue);

    ctx->timer.handler = ngx_http_holdfast_door_timer;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;
    ngx_add_timer(&ctx->timer, NGX_HTTP_HOLDFAST_DOOR_TIMEOUT);

    if (door->connection) {
        (void) ngx_http_holdfast_door_send(ctx);
    }

    ngx_http_holdfast_suspend(r);

    return NGX_AGAIN;
}


void
ngx_http_holdfast_door_cancel(ngx_http_holdfast_ctx_t *ctx)
{
    if (ctx->door_seq == 0) {
        return;
    }

    ngx_queue_remove(&ctx->queue);
    ctx->door_seq = 0;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }
}


static ngx_int_t
ngx_http_holdfast_door_send(ngx_http_holdfast_ctx_t *ctx)
{
    ssize_t            n;
    struct door_ask    ask;
    ngx_connection_t  *c;

    c = ngx_http_holdfast_door->connection;

    ngx_memzero(&ask, sizeof(struct door_ask));

    ask.seq = ctx->door_seq;
    ask.family = (uint8_t) ctx->family;
    ask.count = NGX_HTTP_HOLDFAST_DOOR_COUNT;
    ask.generation = ctx->generation;
    ngx_memcpy(ask.id, ctx->name.id, ctx->name.id_len);

    n = send(c->fd, &ask, sizeof(struct door_ask), MSG_NOSIGNAL);

    if (n == sizeof(struct door_ask)) {
        return NGX_OK;
    }

    if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {

        /* sent from the write handler: everything that waits is */

        c->write->ready = 0;
        (void) ngx_handle_write_event(c->write, 0);
        return NGX_AGAIN;
    }

    /* noticed by the read handler, which dials again */

    return NGX_ERROR;
}


static void
ngx_http_holdfast_door_connect(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;

    c = ngx_http_holdfast_dial(door->addr, SOCK_SEQPACKET, door->log);

    if (c == NULL) {
        ngx_http_holdfast_door_lost("cannot be reached");
        return;
    }

    c->data = door;
    c->read->handler = ngx_http_holdfast_door_read;
    c->write->handler = ngx_http_holdfast_door_write;

    door->connection = c;

    if (door->complained) {
        ngx_log_error(NGX_LOG_NOTICE, door->log, 0, "door is back");
        door->complained = 0;
    }

    door->delay = NGX_HTTP_HOLDFAST_DOOR_MIN;

    ngx_http_holdfast_door_write(c->write);
}


static void
ngx_http_holdfast_door_lost(const char *why)
{
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;

    if (!door->complained) {
        ngx_log_error(NGX_LOG_WARN, door->log, ngx_socket_errno,
                      "door at \"%V\" %s", &door->addr->name, why);
        door->complained = 1;
    }

    if (door->connection) {
        ngx_close_connection(door->connection);
        door->connection = NULL;
    }

    if (!door->retry.timer_set) {
        ngx_add_timer(&door->retry, door->delay);
        door->delay = ngx_min(door->delay * 2, NGX_HTTP_HOLDFAST_DOOR_MAX);
    }
}


/* Everything that waits is asked, again if need be. */

static void
ngx_http_holdfast_door_write(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;

    for (q = ngx_queue_head(&door->waiting);
         q != ngx_queue_sentinel(&door->waiting);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        if (ngx_http_holdfast_door_send(ctx) != NGX_OK) {
            return;
        }
    }
}


static void
ngx_http_holdfast_door_read(ngx_event_t *ev)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = ev->data;

    if (c->close) {
        ngx_http_holdfast_door_lost("is left, this worker shuts down");
        return;
    }

    do {
        rc = ngx_http_holdfast_door_receive();
    } while (rc == NGX_OK);

    if (rc == NGX_ERROR) {
        ngx_http_holdfast_door_lost("closed the connection");
        return;
    }

    ev->ready = 0;

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_http_holdfast_door_lost("cannot be watched");
    }
}


static ngx_int_t
ngx_http_holdfast_door_receive(void)
{
    int                 fds[DOOR_SOCKETS_MAX];
    size_t              n;
    ssize_t             len;
    ngx_uint_t          i, nfds;
    struct iovec        iov;
    struct msghdr       msg;
    struct cmsghdr     *cmsg;
    struct door_answer  answer;

    union {
        struct cmsghdr  align;
        u_char          space[CMSG_SPACE(DOOR_SOCKETS_MAX * sizeof(int))];
    } control;

    iov.iov_base = &answer;
    iov.iov_len = sizeof(struct door_answer);

    ngx_memzero(&msg, sizeof(struct msghdr));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = &control;
    msg.msg_controllen = sizeof(control);

    len = recvmsg(ngx_http_holdfast_door->connection->fd, &msg,
                  MSG_CMSG_CLOEXEC|MSG_DONTWAIT);

    if (len == -1) {
        return (ngx_socket_errno == NGX_EAGAIN
                || ngx_socket_errno == NGX_EINTR) ? NGX_AGAIN : NGX_ERROR;
    }

    nfds = 0;

    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }

        n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        n = ngx_min(n, DOOR_SOCKETS_MAX - nfds);
        ngx_memcpy(fds + nfds, CMSG_DATA(cmsg), n * sizeof(int));
        nfds += n;
    }

    if (len != sizeof(struct door_answer)) {

        for (i = 0; i < nfds; i++) {
            (void) close(fds[i]);
        }

        return NGX_ERROR;
    }

    ngx_http_holdfast_door_told(&answer, fds, nfds);

    return NGX_OK;
}


/* Owns the descriptors. */

static void
ngx_http_holdfast_door_told(struct door_answer *answer, int *fds,
    ngx_uint_t nfds)
{
    ngx_uint_t                 i;
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;
    ctx = NULL;

    for (q = ngx_queue_head(&door->waiting);
         q != ngx_queue_sentinel(&door->waiting);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        if (ctx->door_seq == answer->seq) {
            break;
        }

        ctx = NULL;
    }

    for (i = 0; i < nfds; i++) {

        (void) ngx_atomic_fetch_add(
                              &ngx_http_holdfast_table->counts.sockets, 1);

        if (ngx_nonblocking(fds[i]) == -1 || ctx == NULL) {

            /* whose request left: nobody knows whose sockets these are */

            (void) close(fds[i]);
            continue;
        }

        if (ctx->fd == -1) {
            ctx->fd = fds[i];
            continue;
        }

        ngx_http_holdfast_door_keep((u_char *) ctx->name.id,
                                    ctx->name.id_len, ctx->generation,
                                    ctx->family, fds[i]);
    }

    if (ctx == NULL) {
        return;
    }

    ctx->door_error = answer->error ? answer->error
                                    : (ctx->fd == -1 ? NGX_ECONNABORTED : 0);

    ngx_queue_remove(&ctx->queue);
    ngx_queue_insert_tail(&door->answered, &ctx->queue);

    if (!door->release.posted) {
        ngx_post_event(&door->release, &ngx_posted_events);
    }
}


static void
ngx_http_holdfast_door_release(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_http_holdfast_ctx_t   *ctx;
    ngx_http_holdfast_door_t  *door;

    door = ngx_http_holdfast_door;

    while (!ngx_queue_empty(&door->answered)) {

        q = ngx_queue_head(&door->answered);
        ctx = ngx_queue_data(q, ngx_http_holdfast_ctx_t, queue);

        ngx_http_holdfast_door_cancel(ctx);
        ngx_http_holdfast_resume(ctx);
    }
}


static void
ngx_http_holdfast_door_timer(ngx_event_t *ev)
{
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ev->data;

    ctx->door_error = NGX_ETIMEDOUT;

    ngx_http_holdfast_door_cancel(ctx);
    ngx_http_holdfast_resume(ctx);
}
