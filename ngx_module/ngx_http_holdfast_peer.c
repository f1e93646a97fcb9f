
/*
 * The upstream peer: how a request that has entered reaches what is inside.
 *
 * "holdfast_peer" stands before "keepalive" in the upstream block and works on
 * both sides of it:
 *
 *   outer get   calls keepalive's.  NGX_DONE: a kept connection.  NGX_OK:
 *               takes the socket that the gate has put into the ctx, connects
 *               it, and returns NGX_AGAIN or NGX_DONE; never NGX_OK, at which
 *               nginx would open a socket of its own, outside.
 *   inner get   gives keepalive the key that it tells kept connections apart
 *               by: an address that is never dialled, made of id, generation
 *               and port.  So none crosses a generation or a tenant.
 *
 * A request with a body or a method that is not idempotent does not use a
 * kept connection, and is connected in the gate before a byte of its body is
 * read.  Any other may be tried once more if a kept connection turned out to
 * be closed before a byte of an answer came.
 */


#include "ngx_http_holdfast_module.h"


typedef struct {
    ngx_http_request_t         *request;
    ngx_http_holdfast_ctx_t    *ctx;
    void                       *data;
    ngx_event_get_peer_pt       get;
    ngx_event_free_peer_pt      free;
} ngx_http_holdfast_peer_t;


static ngx_int_t ngx_http_holdfast_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_holdfast_init_inner(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_holdfast_init_outer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_holdfast_get_inner(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_holdfast_free_inner(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static ngx_int_t ngx_http_holdfast_get_outer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_holdfast_free_outer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static void ngx_http_holdfast_key(ngx_http_holdfast_ctx_t *ctx);


char *
ngx_http_holdfast_peer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_upstream_srv_conf_t  *uscf;

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (uscf->peer.init_upstream == ngx_http_holdfast_init_upstream) {
        return "is duplicate";
    }

    if (uscf->peer.init_upstream) {
        return "must come before \"keepalive\" and instead of other balancers";
    }

    uscf->peer.init_upstream = ngx_http_holdfast_init_upstream;
    uscf->flags = NGX_HTTP_UPSTREAM_CREATE;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_holdfast_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_holdfast_srv_conf_t  *hscf;

    hscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_holdfast_module);

    us->peer.init = ngx_http_holdfast_init_inner;
    hscf->original_init = ngx_http_holdfast_init_inner;

    return NGX_OK;
}


/* After all upstreams are initialised: what keepalive has put around ours. */

ngx_int_t
ngx_http_holdfast_peer_wrap(ngx_conf_t *cf)
{
    ngx_uint_t                       i;
    ngx_http_holdfast_srv_conf_t    *hscf;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;
    ngx_http_holdfast_main_conf_t   *hmcf;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_holdfast_module);
    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->srv_conf == NULL) {
            continue;
        }

        hscf = ngx_http_conf_upstream_srv_conf(uscfp[i],
                                               ngx_http_holdfast_module);
        if (hscf == NULL || hscf->original_init == NULL) {
            continue;
        }

        if (hmcf->zone == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"holdfast_peer\" needs \"holdfast_table\" "
                          "in upstream \"%V\" in %s:%ui", &uscfp[i]->host,
                          uscfp[i]->file_name, uscfp[i]->line);
            return NGX_ERROR;
        }

        hscf->original_init = uscfp[i]->peer.init;
        uscfp[i]->peer.init = ngx_http_holdfast_init_outer;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_init_inner(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = ngx_http_holdfast_find_ctx(r);

    if (ctx == NULL || ctx->entry == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"holdfast_peer\" is reached without \"holdfast_gate\"");
        return NGX_ERROR;
    }

    ngx_http_holdfast_key(ctx);

    r->upstream->peer.data = ctx;
    r->upstream->peer.get = ngx_http_holdfast_get_inner;
    r->upstream->peer.free = ngx_http_holdfast_free_inner;
    r->upstream->peer.tries = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_init_outer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_upstream_t           *u;
    ngx_http_holdfast_peer_t      *peer;
    ngx_http_holdfast_srv_conf_t  *hscf;

    hscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_holdfast_module);

    if (hscf->original_init(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    peer = ngx_palloc(r->pool, sizeof(ngx_http_holdfast_peer_t));
    if (peer == NULL) {
        return NGX_ERROR;
    }

    u = r->upstream;

    peer->request = r;
    peer->ctx = ngx_http_holdfast_find_ctx(r);
    peer->data = u->peer.data;
    peer->get = u->peer.get;
    peer->free = u->peer.free;

    u->peer.data = peer;
    u->peer.get = ngx_http_holdfast_get_outer;
    u->peer.free = ngx_http_holdfast_free_outer;

    return NGX_OK;
}


static void
ngx_http_holdfast_key(ngx_http_holdfast_ctx_t *ctx)
{
    u_char      *p, digits[5];
    ngx_uint_t   n, port;

    ngx_memzero(&ctx->key, sizeof(struct sockaddr_un));

    ctx->key.sun_family = AF_UNIX;

    p = (u_char *) ctx->key.sun_path;

    p = ngx_cpymem(p, &ctx->generation, sizeof(uint64_t));
    p = ngx_cpymem(p, &ctx->name.port, sizeof(uint16_t));
    p = ngx_cpymem(p, ctx->name.id, ctx->name.id_len);

    ctx->key_len = (socklen_t) (p - (u_char *) &ctx->key);

    /* "<id>:<port>", for logs; by hand, for it is done for every request */

    p = ngx_cpymem(ctx->peer, ctx->name.id, ctx->name.id_len);
    *p++ = ':';

    n = 0;
    port = ctx->name.port;

    do {
        digits[n++] = (u_char) ('0' + port % 10);
        port /= 10;
    } while (port);

    while (n) {
        *p++ = digits[--n];
    }

    ctx->peer_name.data = ctx->peer;
    ctx->peer_name.len = p - ctx->peer;
}


static ngx_int_t
ngx_http_holdfast_get_inner(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_holdfast_ctx_t  *ctx = data;

    pc->cached = 0;
    pc->connection = NULL;
    pc->sockaddr = (struct sockaddr *) &ctx->key;
    pc->socklen = ctx->key_len;
    pc->name = &ctx->peer_name;

    return NGX_OK;
}


static void
ngx_http_holdfast_free_inner(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    if (pc->tries) {
        pc->tries--;
    }
}


static ngx_int_t
ngx_http_holdfast_get_outer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_holdfast_peer_t *peer = data;

    ngx_int_t                 rc;
    ngx_connection_t         *c;
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = peer->ctx;

    if (ctx->connection || ctx->fresh || ctx->kept_failed) {

        rc = ngx_http_holdfast_get_inner(pc, ctx);

    } else {
        rc = peer->get(pc, peer->data);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->connection) {
        c = ctx->connection;
        ctx->connection = NULL;

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

        rc = NGX_DONE;

    } else {

        if (ctx->fd == -1) {
            ctx->fd = ngx_http_holdfast_door_take(ctx);
        }

        if (ctx->fd == -1) {

            /*
             * the spare went to another while a kept connection was tried;
             * the door is asked by the gate, as nothing waits here
             */

            ctx->again = 1;
            ctx->fresh = 1;

            return NGX_BUSY;
        }

        rc = ngx_http_holdfast_connect(ctx, pc->log, &c);

        if (rc == NGX_ERROR || rc == NGX_DECLINED) {
            return rc;
        }

        if (rc == NGX_OK) {
            rc = NGX_DONE;
        }
    }

    pc->connection = c;
    c->log_error = pc->log_error;

    return rc;
}


static void
ngx_http_holdfast_free_outer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_holdfast_peer_t *peer = data;

    ngx_http_upstream_t      *u;
    ngx_http_holdfast_ctx_t  *ctx;

    ctx = peer->ctx;
    u = peer->request->upstream;

    if (state & NGX_PEER_FAILED) {

        if (pc->cached) {

            /* to nginx this means "once more"; a started answer must not be */

            if (ctx->kept_failed || (u->state && u->state->bytes_received)) {
                pc->cached = 0;
            }

            ctx->kept_failed = 1;

        } else if (!u->request_sent) {
            ctx->refused = 1;
            ngx_http_holdfast_count(refused);
        }
    }

    ngx_http_holdfast_quiet_release(ctx);

    peer->free(pc, peer->data, state);
}


/*
 * Connects ctx->fd, which is used up in any case.  NGX_OK, NGX_AGAIN,
 * NGX_DECLINED (refused) or NGX_ERROR.
 */

ngx_int_t
ngx_http_holdfast_connect(ngx_http_holdfast_ctx_t *ctx, ngx_log_t *log,
    ngx_connection_t **cp)
{
    int                  fd, on;
    socklen_t            len;
    ngx_err_t            err;
    ngx_int_t            rc, event;
    ngx_uint_t           level;
    ngx_connection_t    *c;
    struct sockaddr_in   from;

    union {
        struct sockaddr      any;
        struct sockaddr_in   v4;
        struct sockaddr_in6  v6;
        struct sockaddr_un   un;
    } to;

    fd = ctx->fd;
    ctx->fd = -1;

    ngx_memzero(&to, sizeof(to));

    switch (ctx->family) {

    case DOOR_UNIX:
        to.un.sun_family = AF_UNIX;
        ngx_memcpy(to.un.sun_path + 1, "holdfast", 8);
        len = offsetof(struct sockaddr_un, sun_path) + 9;
        break;

    case DOOR_INET6:
        to.v6.sin6_family = AF_INET6;
        to.v6.sin6_port = htons(ctx->name.port);
        to.v6.sin6_addr = in6addr_loopback;
        len = sizeof(struct sockaddr_in6);
        break;

    default:
        to.v4.sin_family = AF_INET;
        to.v4.sin_port = htons(ctx->name.port);
        to.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        len = sizeof(struct sockaddr_in);

        /* not 127.0.0.1: an app may trust that one */

        on = 1;
        (void) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                          sizeof(int));

        ngx_memzero(&from, sizeof(struct sockaddr_in));
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);

        if (bind(fd, (struct sockaddr *) &from, sizeof(from)) == -1) {
            ngx_log_error(NGX_LOG_INFO, log, ngx_socket_errno,
                          "bind(127.0.0.2) failed");
        }
    }

    c = ngx_get_connection(fd, log);

    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->type = SOCK_STREAM;
    c->recv = ngx_recv;
    c->send = ngx_send;
    c->recv_chain = ngx_recv_chain;
    c->send_chain = ngx_send_chain;
    c->sendfile = 1;
    c->log_error = NGX_ERROR_INFO;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;
    c->read->log = log;
    c->write->log = log;

    if (ctx->family == DOOR_UNIX) {
        c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
        c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;
    }

    if (ngx_add_conn) {
        if (ngx_add_conn(c) == NGX_ERROR) {
            goto failed;
        }
    }

    rc = NGX_OK;

    if (connect(fd, &to.any, len) == -1) {

        err = ngx_socket_errno;

        if (err != NGX_EINPROGRESS) {
            level = (err == NGX_ECONNREFUSED) ? NGX_LOG_INFO : NGX_LOG_ERR;

            ngx_log_error(level, log, err, "connect() inside sandbox %s port "
                          "%ui failed", ctx->name.id,
                          (ngx_uint_t) ctx->name.port);

            /* EAGAIN: the backlog of a unix socket is full */

            ngx_close_connection(c);
            return NGX_DECLINED;
        }

        rc = NGX_AGAIN;
    }

    if (rc == NGX_OK) {
        c->write->ready = 1;
    }

    if (!ngx_add_conn) {

        event = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                        : NGX_LEVEL_EVENT;

        if (ngx_add_event(c->read, NGX_READ_EVENT, event) != NGX_OK
            || (rc == NGX_AGAIN
                && ngx_add_event(c->write, NGX_WRITE_EVENT, event) != NGX_OK))
        {
            goto failed;
        }
    }

    *cp = c;

    return rc;

failed:

    ngx_close_connection(c);

    return NGX_ERROR;
}
