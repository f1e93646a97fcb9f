
/*
 * Directives, configuration, start and end of a worker.
 */


#include "ngx_http_holdfast_module.h"


static ngx_int_t ngx_http_holdfast_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_holdfast_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_holdfast_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_holdfast_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_holdfast_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_holdfast_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_holdfast_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static ngx_uint_t ngx_http_holdfast_in_use(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_holdfast_init_process(ngx_cycle_t *cycle);
static void ngx_http_holdfast_exit_process(ngx_cycle_t *cycle);


static ngx_conf_enum_t  ngx_http_holdfast_modes[] = {
    { ngx_string("off"), NGX_HTTP_HOLDFAST_OFF },
    { ngx_string("preview"), NGX_HTTP_HOLDFAST_PREVIEW },
    { ngx_string("guest"), NGX_HTTP_HOLDFAST_GUEST },
    { ngx_string("op"), NGX_HTTP_HOLDFAST_OP },
    { ngx_string("api"), NGX_HTTP_HOLDFAST_API },
    { ngx_string("open"), NGX_HTTP_HOLDFAST_OPEN },
    { ngx_null_string, 0 }
};


static ngx_http_holdfast_content_t  ngx_http_holdfast_errors[] = {
    { "api", ngx_http_holdfast_error_handler, 0 },
    { "preview", ngx_http_holdfast_error_handler, 1 },
    { NULL, NULL, 0 }
};


static ngx_http_holdfast_content_t  ngx_http_holdfast_figures[] = {
    { "json", ngx_http_holdfast_json_handler, 0 },
    { "prometheus", ngx_http_holdfast_prometheus_handler, 0 },
    { NULL, NULL, 0 }
};


static ngx_conf_post_t  ngx_http_holdfast_msec =
    { ngx_http_holdfast_msec_check };

static ngx_conf_post_t  ngx_http_holdfast_msec0 =
    { ngx_http_holdfast_msec0_check };

static char  ngx_http_holdfast_hold_limit[] =
    "must be two numbers: requests held for one sandbox and requests held per "
    "worker";

static char  ngx_http_holdfast_stream_limit[] =
    "must be two numbers: clients of event streams per tenant and worker, and "
    "per worker";

static ngx_conf_post_t  ngx_http_holdfast_number =
    { ngx_http_holdfast_number_check };


static ngx_command_t  ngx_http_holdfast_commands[] = {

    { ngx_string("holdfast_keeper"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_socket_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, keeper),
      NULL },

    { ngx_string("holdfast_door"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_socket_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, door),
      NULL },

    { ngx_string("holdfast_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_socket_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, redis),
      NULL },

    { ngx_string("holdfast_spares"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, spares),
      &ngx_http_holdfast_number },

    { ngx_string("holdfast_table"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_table_slot_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_domain"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_domain,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_tokens"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_tokens,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_ticket_keys"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_ticket_keys,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_secure_cookie"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, secure_cookie),
      NULL },

    { ngx_string("holdfast_origins"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_holdfast_list,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, origins),
      NULL },

    { ngx_string("holdfast_hosts"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_holdfast_list,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, hosts),
      NULL },

    { ngx_string("holdfast_rate"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, rate),
      &ngx_http_holdfast_number },

    { ngx_string("holdfast_hold_max"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, hold_max),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_op_hold_max"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, op_hold_max),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_warming_after"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, warming_after),
      &ngx_http_holdfast_msec0 },

    { ngx_string("holdfast_quiet_after"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, quiet_after),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_hold_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_holdfast_limit_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, hold_limit),
      ngx_http_holdfast_hold_limit },

    { ngx_string("holdfast_streams"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, streams),
      NULL },

    { ngx_string("holdfast_stream_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_holdfast_limit_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, stream_limit),
      ngx_http_holdfast_stream_limit },

    { ngx_string("holdfast_stream_max"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, stream_max),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_stream_ping"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, stream_ping),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_stream"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_holdfast_stream_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_gate"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_mode_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_holdfast_loc_conf_t, mode),
      &ngx_http_holdfast_modes },

    { ngx_string("holdfast_caller"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_caller_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_holdfast_loc_conf_t, caller),
      NULL },

    { ngx_string("holdfast_error"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_handler_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_holdfast_errors },

    { ngx_string("holdfast_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_handler_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_holdfast_figures },

    { ngx_string("holdfast_peer"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS,
      ngx_http_holdfast_peer,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_holdfast_module_ctx = {
    ngx_http_holdfast_preconfiguration,    /* preconfiguration */
    ngx_http_holdfast_postconfiguration,   /* postconfiguration */

    ngx_http_holdfast_create_main_conf,    /* create main configuration */
    ngx_http_holdfast_init_main_conf,      /* init main configuration */

    ngx_http_holdfast_create_srv_conf,     /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_holdfast_create_loc_conf,     /* create location configuration */
    ngx_http_holdfast_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_holdfast_module = {
    NGX_MODULE_V1,
    &ngx_http_holdfast_module_ctx,         /* module context */
    ngx_http_holdfast_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_holdfast_stream_module,       /* init module */
    ngx_http_holdfast_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_holdfast_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_holdfast_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_holdfast_add_variables(cf);
}


static ngx_int_t
ngx_http_holdfast_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt            *h;
    ngx_http_core_main_conf_t      *cmcf;
    ngx_http_holdfast_main_conf_t  *hmcf;

    if (ngx_http_holdfast_peer_wrap(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_holdfast_module);

    if (hmcf->zone == NULL) {

        /* the module is loaded and not used */

        return NGX_OK;
    }

    if (ngx_http_holdfast_cookie_init(cf) != NGX_OK
        || ngx_http_holdfast_quiet_init(cf) != NGX_OK
        || ngx_http_holdfast_metrics_init(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_holdfast_handler;

    return NGX_OK;
}


static void *
ngx_http_holdfast_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_main_conf_t));
    if (hmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     hmcf->zone = NULL;
     *     hmcf->keeper = { NULL };
     *     hmcf->door = { NULL };
     *     hmcf->redis = { NULL };
     *     hmcf->domain = { 0, NULL };
     *     hmcf->tokens = NULL;
     *     hmcf->origins = NULL;
     *     hmcf->hosts = NULL;
     *     hmcf->streams = { 0, NULL };
     *     hmcf->tokens_set = 0;
     */

    hmcf->rate = NGX_CONF_UNSET;
    hmcf->spares = NGX_CONF_UNSET;
    hmcf->hold_max = NGX_CONF_UNSET_MSEC;
    hmcf->op_hold_max = NGX_CONF_UNSET_MSEC;
    hmcf->warming_after = NGX_CONF_UNSET_MSEC;
    hmcf->quiet_after = NGX_CONF_UNSET_MSEC;
    hmcf->secure_cookie = NGX_CONF_UNSET;
    hmcf->hold_limit.one = NGX_CONF_UNSET_UINT;
    hmcf->hold_limit.all = NGX_CONF_UNSET_UINT;
    hmcf->streams_fd = NGX_INVALID_FILE;
    hmcf->stream_limit.one = NGX_CONF_UNSET_UINT;
    hmcf->stream_limit.all = NGX_CONF_UNSET_UINT;
    hmcf->stream_max = NGX_CONF_UNSET_MSEC;
    hmcf->stream_ping = NGX_CONF_UNSET_MSEC;

    return hmcf;
}


static char *
ngx_http_holdfast_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    ngx_http_holdfast_token_t  *nobody;

    ngx_conf_init_value(hmcf->rate, 0);
    ngx_conf_init_value(hmcf->spares, 1024);
    ngx_conf_init_msec_value(hmcf->hold_max, 60000);
    ngx_conf_init_msec_value(hmcf->op_hold_max, 300000);
    ngx_conf_init_msec_value(hmcf->warming_after, 1500);
    ngx_conf_init_msec_value(hmcf->quiet_after, 60000);
    ngx_conf_init_value(hmcf->secure_cookie, 0);
    ngx_conf_init_uint_value(hmcf->hold_limit.one, 1000);
    ngx_conf_init_uint_value(hmcf->hold_limit.all, 10000);
    ngx_conf_init_uint_value(hmcf->stream_limit.one, 1000);
    ngx_conf_init_uint_value(hmcf->stream_limit.all, 4000);
    ngx_conf_init_msec_value(hmcf->stream_max, 3600000);
    ngx_conf_init_msec_value(hmcf->stream_ping, 15000);

    if (hmcf->zone == NULL) {

        if (hmcf->keeper.sockaddr || hmcf->door.sockaddr) {
            return "needs \"holdfast_table\", too";
        }

        return NGX_CONF_OK;
    }

    if (hmcf->keeper.sockaddr == NULL) {
        return "needs \"holdfast_keeper\", too";
    }

    if (hmcf->door.sockaddr == NULL) {
        return "needs \"holdfast_door\", too";
    }

    if (hmcf->domain.len == 0) {
        ngx_str_set(&hmcf->domain, "localhost");
    }

    /* without tokens every caller is this one */

    nobody = ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_token_t));
    if (nobody == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_str_set(&nobody->tenant, "default");
    ngx_str_set(&nobody->name, "-");
    ngx_str_set(&nobody->scope, "admin");
    nobody->tag = ngx_http_holdfast_tenant_tag(&nobody->tenant);

    hmcf->nobody = nobody;

    return NGX_CONF_OK;
}


static void *
ngx_http_holdfast_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_srv_conf_t));
}


static void *
ngx_http_holdfast_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_holdfast_loc_conf_t  *hlcf;

    hlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_loc_conf_t));
    if (hlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     hlcf->caller = NULL;
     *     hlcf->error_preview = 0;
     */

    hlcf->mode = NGX_CONF_UNSET_UINT;

    return hlcf;
}


static char *
ngx_http_holdfast_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_holdfast_loc_conf_t *prev = parent;
    ngx_http_holdfast_loc_conf_t *conf = child;

    /* a location says itself what it is: not inherited */

    if (conf->mode == NGX_CONF_UNSET_UINT) {
        conf->mode = NGX_HTTP_HOLDFAST_OFF;
    }

    if (conf->caller == NULL) {
        conf->caller = prev->caller;
    }

    return ngx_http_holdfast_check_location(cf, conf);
}


/* Workers and a process without a master; not those that only look after a
 * cache. */

static ngx_uint_t
ngx_http_holdfast_in_use(ngx_cycle_t *cycle)
{
    ngx_http_holdfast_main_conf_t  *hmcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return 0;
    }

    if (cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return 0;
    }

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_holdfast_module);

    return hmcf && hmcf->zone;
}


static ngx_int_t
ngx_http_holdfast_init_process(ngx_cycle_t *cycle)
{
    if (!ngx_http_holdfast_in_use(cycle)) {
        return NGX_OK;
    }

    if (ngx_http_holdfast_table_attach(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_door_init(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_activity_init(cycle) != NGX_OK
        || ngx_http_holdfast_stream_init(cycle) != NGX_OK
        || ngx_http_holdfast_news_init(cycle) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_holdfast_link_init(cycle);
}


static void
ngx_http_holdfast_exit_process(ngx_cycle_t *cycle)
{
    if (!ngx_http_holdfast_in_use(cycle)) {
        return;
    }

    ngx_http_holdfast_link_exit(cycle);
    ngx_http_holdfast_door_exit(cycle);
    ngx_http_holdfast_activity_exit(cycle);
    ngx_http_holdfast_news_exit(cycle);
    ngx_http_holdfast_stream_exit(cycle);
    ngx_http_holdfast_table_detach();
}
