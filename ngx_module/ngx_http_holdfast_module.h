
/*
 * The gate of Holdfast: requests are held here until the sandbox, or the
 * operation, that they are for is there.
 *
 *   _module    directives, configuration, start and end of a worker
 *   _conf      what a directive's value must be
 *   _host      preview host and path grammar (pure)
 *   _table     route table in shared memory
 *   _slot      slots of workers, and their counts in it
 *   _route     what the keeper's lines do to it
 *   _gate      the one handler, in PRECONTENT
 *   _request   what a request is about
 *   _enter     in flight in a sandbox, with a socket inside
 *   _caller    who calls a preview, and what that caller may cause
 *   _hold      waiting requests and the asks they need
 *   _link      lines to and from the keeper
 *   _door      sockets inside a sandbox's network namespace
 *   _peer      the upstream peer on top of them
 *   _access    Origin, Host, token, scope, rate
 *   _tokens    the file of tokens
 *   _ticket    takes tickets out of a request; the keys
 *   _private   tickets and shares: who may enter a private preview
 *   _pass      tickets at the API: an EventSource, a WebSocket
 *   _answer    what the gate answers itself
 *   _warming   the page of a navigation that waits
 *   _cookie    keeps an app's cookies to its host
 *   _quiet     long-lived connections that carry nothing but heartbeats
 *   _activity  when to look at a sandbox again, for Redis
 *   _stream    event streams: who opens them, when they are looked at
 *   _reader    what one client of a stream is sent
 *   _tail      the files that streams are kept in
 *   _news      what Redis says has grown
 *   _websocket where a WebSocket's frames end (pure)
 *   _status    variables
 *   _metrics   the figures
 */


#ifndef _NGX_HTTP_HOLDFAST_MODULE_H_INCLUDED_
#define _NGX_HTTP_HOLDFAST_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "door.h"
#include "err.h"
#include "line.h"
#include "ticket.h"
#include "ngx_http_holdfast_websocket.h"
#include "ngx_http_holdfast_host.h"
#include "ngx_http_holdfast_table.h"


#define NGX_HTTP_HOLDFAST_OFF       0
#define NGX_HTTP_HOLDFAST_PREVIEW   1
#define NGX_HTTP_HOLDFAST_GUEST     2
#define NGX_HTTP_HOLDFAST_OP        3
#define NGX_HTTP_HOLDFAST_API       4
#define NGX_HTTP_HOLDFAST_OPEN      5

/* digits of a request id that is made here */
#define NGX_HTTP_HOLDFAST_NEW_ID    26

/* rounds of "hold, be released, look again" before a request gives up */
#define NGX_HTTP_HOLDFAST_ROUNDS    32

/* to wait for news without asking for them; beside enum line_how */
#define NGX_HTTP_HOLDFAST_NO_ASK    255

/* in a query or cookie; the second over TLS */
#define NGX_HTTP_HOLDFAST_NAME       "hf_ticket"
#define NGX_HTTP_HOLDFAST_HOST_NAME  "__Host-hf_ticket"

/* tickets of one request that are looked at: the header, then cookies */
#define NGX_HTTP_HOLDFAST_TICKETS   6

/*
 * connects that may be refused before a request gives up: by one start, and in
 * all, below nginx's own limit of ten changes of the location
 */
#define NGX_HTTP_HOLDFAST_ATTEMPTS  3
#define NGX_HTTP_HOLDFAST_REFUSALS  8


typedef struct ngx_http_holdfast_ctx_s    ngx_http_holdfast_ctx_t;
typedef struct ngx_http_holdfast_node_s   ngx_http_holdfast_node_t;
typedef struct ngx_http_holdfast_spare_s  ngx_http_holdfast_spare_t;
typedef struct ngx_http_holdfast_quiet_s  ngx_http_holdfast_quiet_t;
typedef struct ngx_http_holdfast_token_s  ngx_http_holdfast_token_t;
typedef struct ngx_http_holdfast_tail_s   ngx_http_holdfast_tail_t;


/* what a caller of a preview may cause (ngx_http_holdfast_caller.c) */

typedef enum {
    NGX_HTTP_HOLDFAST_HOLD = 0,         /* held and answered by the app */
    NGX_HTTP_HOLDFAST_PAGE,             /* held, then the warming page */
    NGX_HTTP_HOLDFAST_RELOAD,           /* a page that opens when looked at */
    NGX_HTTP_HOLDFAST_TURN_AWAY,        /* 503, does not wake */
    NGX_HTTP_HOLDFAST_BACKGROUND,       /* 503, wakes only by wake_on any */
    NGX_HTTP_HOLDFAST_STREAM,           /* an empty event stream */
    NGX_HTTP_HOLDFAST_CARD              /* what an unfurler shows */
} ngx_http_holdfast_treat_e;


struct ngx_http_holdfast_token_s {
    u_char                       digest[32];
    ngx_http_holdfast_token_t   *next;          /* same bucket */
    ngx_str_t                    tenant;
    ngx_str_t                    name;
    ngx_str_t                    scope;
    uint64_t                     tag;
    uint32_t                     rate_key;
    ngx_str_t                   *ids;           /* of scope "ids:" */
    ngx_uint_t                   nids;
    unsigned                     read_only:1;
};


typedef struct {
    ngx_http_holdfast_token_t  **buckets;
    ngx_uint_t                   mask;
    ngx_uint_t                   count;
} ngx_http_holdfast_tokens_t;


typedef struct {
    ngx_uint_t                   one;
    ngx_uint_t                   all;
} ngx_http_holdfast_limit_t;


typedef struct {
    ngx_shm_zone_t              *zone;
    ngx_addr_t                   keeper;
    ngx_addr_t                   door;
    ngx_addr_t                   redis;         /* or none */
    ngx_str_t                    domain;
    ngx_http_holdfast_tokens_t  *tokens;        /* NULL: no authentication */
    ngx_http_holdfast_token_t   *nobody;        /* the caller without one */
    struct ticket_keys          *keys;          /* NULL: no ticket is valid */
    ngx_array_t                 *origins;       /* ngx_str_t */
    ngx_array_t                 *hosts;         /* ngx_str_t */
    ngx_int_t                    rate;
    ngx_msec_t                   hold_max;
    ngx_msec_t                   op_hold_max;
    ngx_msec_t                   warming_after;
    ngx_msec_t                   quiet_after;
    ngx_http_holdfast_limit_t    hold_limit;    /* per sandbox, per worker */
    ngx_int_t                    spares;        /* per worker */
    ngx_str_t                    streams;       /* folder; or none */
    ngx_fd_t                     streams_fd;
    ngx_http_holdfast_limit_t    stream_limit;  /* per tenant, per worker */
    ngx_msec_t                   stream_max;
    ngx_msec_t                   stream_ping;
    ngx_flag_t                   tokens_set;
    ngx_flag_t                   keys_set;
    ngx_flag_t                   secure_cookie; /* also without TLS here */
} ngx_http_holdfast_main_conf_t;


typedef struct {
    ngx_uint_t                   mode;
    ngx_http_complex_value_t    *caller;
    ngx_uint_t                   error_preview;
    ngx_str_t                    directive;     /* one of ours, and where */
    ngx_str_t                    file;
    ngx_uint_t                   line;
} ngx_http_holdfast_loc_conf_t;


typedef struct {                                /* of "holdfast_error" ... */
    const char                  *word;
    ngx_http_handler_pt          handler;
    ngx_uint_t                   preview;
} ngx_http_holdfast_content_t;


typedef struct {
    ngx_http_upstream_init_peer_pt  original_init;
} ngx_http_holdfast_srv_conf_t;


/*
 * One per request, in its pool.  It outlives internal redirects, which zero
 * r->ctx: the pool's cleanup list leads to it.
 */

struct ngx_http_holdfast_ctx_s {
    ngx_http_request_t          *request;

    /* what the request is about */

    ngx_http_holdfast_name_t     name;
    uint64_t                     op;
    ngx_str_t                    request_id;
    ngx_str_t                    args;          /* as the client sent them */
    ngx_str_t                   *origin;        /* an allowed one */
    ngx_http_holdfast_token_t   *token;

    ngx_uint_t                   treat;

    /* what opens a private preview; taken out of the request */

    ngx_table_elt_t             *ticket_header;
    ngx_str_t                    link;          /* of the query */
    ngx_uint_t                   ntickets;
    ngx_str_t                    cookie;        /* for the app */
    struct ticket                ticket;        /* the one that counts */
    uint64_t                     share_epoch;   /* of the route, then */
    uint64_t                     share_number;  /* of the question */
    ngx_uint_t                   share_index;   /* of the ticket */
    ngx_uint_t                   cookies;       /* bits: which are cookies */
    ngx_uint_t                   void_tickets;  /* bits: which were revoked */
    ngx_uint_t                   share_said;    /* enum line_said */

    /* waiting */

    ngx_queue_t                  queue;
    ngx_http_holdfast_node_t    *node;
    ngx_event_t                  timer;
    ngx_msec_t                   held_since;
    ngx_msec_t                   held_ms;
    ngx_msec_t                   deadline;
    ngx_uint_t                   how;           /* enum line_how */
    ngx_uint_t                   rounds;
    ngx_uint_t                   attempts;      /* of this generation */
    ngx_uint_t                   refusals;
    uint64_t                     ask;           /* generation of the ask */

    /* what an answer said to this request */

    ngx_str_t                    code;          /* of "failed" */
    ngx_str_t                    text;
    ngx_uint_t                   retry_after;
    ngx_uint_t                   nopen;

    /* inside */

    ngx_http_holdfast_entry_t   *entry;
    uint64_t                     generation;
    ngx_str_t                    host;          /* for the app */
    ngx_uint_t                   family;        /* enum door_family */
    int                          fd;            /* a spare socket, or -1 */
    ngx_connection_t            *connection;    /* connected beforehand */
    ngx_http_holdfast_quiet_t   *quiet;         /* if it is long-lived */
    uint32_t                     door_seq;      /* of an ask, or 0 */
    ngx_int_t                    door_error;
    socklen_t                    key_len;
    ngx_str_t                    peer_name;

    unsigned                     mode:3;
    unsigned                     share_wait:1;
    unsigned                     share_use:1;
    unsigned                     share_answered:1;
    unsigned                     cookie_set:1;
    unsigned                     pass_taken:1;
    unsigned                     checked:1;     /* access was granted */
    unsigned                     asked:1;       /* its line was sent */
    unsigned                     released:1;
    unsigned                     timed_out:1;
    unsigned                     warm:1;        /* time for the page */
    unsigned                     failed:1;
    unsigned                     gone:1;
    unsigned                     untreated:1;   /* nobody asked for treat yet */
    unsigned                     opened:1;      /* the port, as told */
    unsigned                     closed:1;
    unsigned                     full:1;
    unsigned                     op_done:1;
    unsigned                     passed:1;      /* on to the upstream */
    unsigned                     refused:1;     /* nothing was sent */
    unsigned                     kept_failed:1;
    unsigned                     again:1;       /* no socket was left */
    unsigned                     fresh:1;       /* no kept connection */
    unsigned                     inactive:1;    /* X-Sandbox-Activity: none */
    unsigned                     state_page:1;  /* /.holdfast/state */
    unsigned                     streaming:1;   /* an empty event stream */
    unsigned                     answered:1;

    /* from here on nothing is zeroed at first */

    struct sockaddr_un           key;           /* for keepalive */
    u_char                       new_id[NGX_HTTP_HOLDFAST_NEW_ID];
    u_char                       peer[NGX_HTTP_HOLDFAST_ID_MAX
                                      + sizeof(":65535")];
    uint16_t                     open[LINE_PORTS_MAX];      /* nopen */
    ngx_str_t                    tickets[NGX_HTTP_HOLDFAST_TICKETS];
};


/* longest <folder>/<stream> */
#define NGX_HTTP_HOLDFAST_STREAM_NAME  96

/* one event stream in this worker (ngx_http_holdfast_tail.c) */

struct ngx_http_holdfast_tail_s {
    ngx_str_node_t               node;
    ngx_queue_t                  queue;         /* of all */
    ngx_queue_t                  readers;
    ngx_uint_t                   refs;
    ngx_file_t                   log;
    ngx_fd_t                     idx;
    off_t                        size;          /* of idx, when looked at */
    struct timespec              mtime;
    uint64_t                     first;         /* event that is kept */
    uint64_t                     count;         /* id of the next one */
    off_t                        base;          /* where the first begins */
    off_t                        end;
    unsigned                     listed:1;
    unsigned                     ended:1;       /* so far */
    unsigned                     gone:1;        /* its files were removed */
    u_char                       name[1];
};


extern ngx_module_t  ngx_http_holdfast_module;


/* _conf */
char *ngx_http_holdfast_socket_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_table_slot_conf(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_holdfast_domain(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_list(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_limit_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_mode_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_caller_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_handler_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_holdfast_msec_check(ngx_conf_t *cf, void *post,
    void *data);
char *ngx_http_holdfast_number_check(ngx_conf_t *cf, void *post,
    void *data);
char *ngx_http_holdfast_msec0_check(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_holdfast_check_location(ngx_conf_t *cf,
    ngx_http_holdfast_loc_conf_t *hlcf);

/* _gate */
ngx_int_t ngx_http_holdfast_handler(ngx_http_request_t *r);

/* _request */
ngx_int_t ngx_http_holdfast_begin(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_http_holdfast_ctx_t *ngx_http_holdfast_get_ctx(ngx_http_request_t *r);
ngx_http_holdfast_ctx_t *ngx_http_holdfast_find_ctx(ngx_http_request_t *r);
ngx_uint_t ngx_http_holdfast_has_body(ngx_http_request_t *r);

/* _enter */
ngx_int_t ngx_http_holdfast_enter(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
ngx_int_t ngx_http_holdfast_socket(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_leave(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_drop_sockets(ngx_http_holdfast_ctx_t *ctx);

/* _caller */
ngx_uint_t ngx_http_holdfast_treat(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_table_elt_t *ngx_http_holdfast_header(ngx_http_request_t *r,
    const char *name, size_t len);
ngx_table_elt_t *ngx_http_holdfast_find_header(ngx_list_t *headers,
    const char *name, size_t len);
ngx_uint_t ngx_http_holdfast_is_upgrade(ngx_http_request_t *r);

/* _hold */
ngx_int_t ngx_http_holdfast_hold(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t how, uint64_t generation);
ngx_int_t ngx_http_holdfast_hold_share(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_hold_op(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_suspend(ngx_http_request_t *r);
void ngx_http_holdfast_resume(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_unhold(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_answered(const struct line *line, ngx_uint_t rc);
void ngx_http_holdfast_op_answered(const struct line *line);
void ngx_http_holdfast_share_answered(const struct line *line);
void ngx_http_holdfast_ask_again(void);
void ngx_http_holdfast_unasked(void);

/* _link */
ngx_int_t ngx_http_holdfast_link_init(ngx_cycle_t *cycle);
void ngx_http_holdfast_link_exit(ngx_cycle_t *cycle);
ngx_uint_t ngx_http_holdfast_link_up(void);
ngx_int_t ngx_http_holdfast_link_send(const struct line *line);
ngx_int_t ngx_http_holdfast_link_ask(const struct line *line);
ngx_connection_t *ngx_http_holdfast_dial(ngx_addr_t *addr, int type,
    ngx_log_t *log);

/* _door */
ngx_int_t ngx_http_holdfast_door_init(ngx_cycle_t *cycle);
void ngx_http_holdfast_door_exit(ngx_cycle_t *cycle);
int ngx_http_holdfast_door_take(ngx_http_holdfast_ctx_t *ctx);
ngx_uint_t ngx_http_holdfast_door_has(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_door_give(ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_door_ask(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_door_cancel(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_door_forget(const u_char *id, size_t len);

/* _peer */
char *ngx_http_holdfast_peer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_holdfast_peer_wrap(ngx_conf_t *cf);
ngx_int_t ngx_http_holdfast_connect(ngx_http_holdfast_ctx_t *ctx,
    ngx_log_t *log, ngx_connection_t **cp);

/* _access */
ngx_int_t ngx_http_holdfast_open(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_access(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_may_enter(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);

/* _tokens */
char *ngx_http_holdfast_tokens(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_holdfast_token_t *ngx_http_holdfast_token_find(
    ngx_http_holdfast_tokens_t *tokens, ngx_str_t *secret);
uint64_t ngx_http_holdfast_tenant_tag(ngx_str_t *tenant);

/* _ticket */
char *ngx_http_holdfast_ticket_keys(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_holdfast_ticket_take(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_take_query(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, const char *name);
ngx_uint_t ngx_http_holdfast_is_tls(ngx_http_request_t *r);

/* _private */
ngx_int_t ngx_http_holdfast_private(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
ngx_int_t ngx_http_holdfast_question(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route,
    ngx_uint_t i, ngx_uint_t use);

/* _pass */
ngx_int_t ngx_http_holdfast_pass_take(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_pass_enter(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);

/* _answer */
ngx_int_t ngx_http_holdfast_fail(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, const char *code, ngx_uint_t retry_after,
    const char *fmt, ...);
ngx_int_t ngx_http_holdfast_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body);
ngx_int_t ngx_http_holdfast_add_header(ngx_http_request_t *r,
    const char *name, const char *value);
ngx_int_t ngx_http_holdfast_error_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_holdfast_no_content(ngx_http_request_t *r);
size_t ngx_http_holdfast_json_len(ngx_str_t *s);
u_char *ngx_http_holdfast_json(u_char *p, ngx_str_t *s);

/* _warming */
ngx_int_t ngx_http_holdfast_warming(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_uint_t left_open);
ngx_int_t ngx_http_holdfast_card(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx);
ngx_int_t ngx_http_holdfast_stream(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_http_holdfast_route_t *route);
ngx_int_t ngx_http_holdfast_state(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, const char *state);

/* _cookie */
ngx_int_t ngx_http_holdfast_cookie_init(ngx_conf_t *cf);

/* _quiet */
ngx_int_t ngx_http_holdfast_quiet_init(ngx_conf_t *cf);
void ngx_http_holdfast_quiet_release(ngx_http_holdfast_ctx_t *ctx);
ngx_uint_t ngx_http_holdfast_quiet_end(ngx_http_holdfast_ctx_t *ctx);
void ngx_http_holdfast_quiet_ask_again(ngx_uint_t all);
void ngx_http_holdfast_quiet_told(const u_char *id, size_t len,
    ngx_uint_t awake);
void ngx_http_holdfast_quiet_close(const u_char *id, size_t len,
    ngx_uint_t all);
void ngx_http_holdfast_quiet_closed(const u_char *id, size_t len);

/* _activity */
ngx_int_t ngx_http_holdfast_activity_init(ngx_cycle_t *cycle);
void ngx_http_holdfast_activity_exit(ngx_cycle_t *cycle);
void ngx_http_holdfast_activity_mark(ngx_http_holdfast_entry_t *e);

/* _stream */
char *ngx_http_holdfast_stream_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_holdfast_stream_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_holdfast_stream_init(ngx_cycle_t *cycle);
void ngx_http_holdfast_stream_exit(ngx_cycle_t *cycle);
void ngx_http_holdfast_stream_news(ngx_str_t *name);

/* _tail */
void ngx_http_holdfast_tail_init(ngx_fd_t dir, ngx_log_t *log);
ngx_http_holdfast_tail_t *ngx_http_holdfast_tail_next(
    ngx_http_holdfast_tail_t *tail);
ngx_http_holdfast_tail_t *ngx_http_holdfast_tail_named(ngx_str_t *name);
ngx_http_holdfast_tail_t *ngx_http_holdfast_tail_get(ngx_str_t *name);
void ngx_http_holdfast_tail_put(ngx_http_holdfast_tail_t *tail);
ngx_int_t ngx_http_holdfast_tail_look(ngx_http_holdfast_tail_t *tail);
ngx_int_t ngx_http_holdfast_tail_start(ngx_http_holdfast_tail_t *tail,
    uint64_t n, off_t *offset);
ngx_int_t ngx_http_holdfast_tail_range(ngx_http_holdfast_tail_t *tail,
    uint64_t *next, off_t start, off_t most, off_t *end);

/* _news */
ngx_int_t ngx_http_holdfast_news_init(ngx_cycle_t *cycle);
void ngx_http_holdfast_news_exit(ngx_cycle_t *cycle);

/* _status */
ngx_int_t ngx_http_holdfast_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_http_holdfast_app_host(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_str_t *host);
void ngx_http_holdfast_request_id(ngx_http_request_t *r,
    ngx_http_holdfast_ctx_t *ctx, ngx_table_elt_t *h);


/* _metrics */
ngx_int_t ngx_http_holdfast_metrics_init(ngx_conf_t *cf);
ngx_int_t ngx_http_holdfast_json_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_holdfast_prometheus_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_HOLDFAST_MODULE_H_INCLUDED_ */
