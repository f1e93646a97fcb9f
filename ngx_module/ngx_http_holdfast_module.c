
/*
 * Directives, configuration, start and end of a worker.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_TABLE_MIN  (64 * 1024)


static char *ngx_http_holdfast_socket_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_holdfast_table_slot_conf(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_holdfast_domain(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_holdfast_list(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_holdfast_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_holdfast_error_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_holdfast_msec_check(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_holdfast_number_check(ngx_conf_t *cf, void *post,
    void *data);

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
    { ngx_null_string, 0 }
};


static ngx_conf_post_t  ngx_http_holdfast_msec =
    { ngx_http_holdfast_msec_check };

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
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_quiet_after"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_holdfast_main_conf_t, quiet_after),
      &ngx_http_holdfast_msec },

    { ngx_string("holdfast_hold_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_holdfast_limit,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_gate"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_holdfast_loc_conf_t, mode),
      &ngx_http_holdfast_modes },

    { ngx_string("holdfast_caller"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_holdfast_loc_conf_t, caller),
      NULL },

    { ngx_string("holdfast_error"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_error_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("holdfast_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_holdfast_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

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
    NULL,                                  /* init module */
    ngx_http_holdfast_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_holdfast_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_holdfast_socket_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_url_t    u;
    ngx_addr_t  *addr;
    ngx_str_t   *value;

    addr = (ngx_addr_t *) (p + cmd->offset);

    if (addr->sockaddr) {
        return "is duplicate";
    }

    value = cf->args->elts;

    ngx_memzero(&u, sizeof(ngx_url_t));
    u.url = value[1];
    u.no_resolve = 1;

    if (value[1].len < 6
        || ngx_strncasecmp(value[1].data, (u_char *) "unix:", 5) != 0)
    {
        return "must be \"unix:\" and a path: it never leaves the machine";
    }

    if (ngx_parse_url(cf->pool, &u) != NGX_OK || u.naddrs != 1) {

        if (u.err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\"", u.err,
                               &u.url);
        }

        return NGX_CONF_ERROR;
    }

    *addr = u.addrs[0];

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_table_slot_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    ssize_t     size;
    ngx_str_t  *value, name;

    if (hmcf->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;
    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR) {
        return "must be a size, as 16m";
    }

    if (size < NGX_HTTP_HOLDFAST_TABLE_MIN) {
        return "must be at least 64k";
    }

    ngx_str_set(&name, "holdfast");

    hmcf->zone = ngx_shared_memory_add(cf, &name, size,
                                       &ngx_http_holdfast_module);
    if (hmcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    hmcf->zone->init = ngx_http_holdfast_table_zone;
    hmcf->zone->data = cf->cycle;

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_domain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    u_char       ch;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (hmcf->domain.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    hmcf->domain = value[1];
    ngx_strlow(hmcf->domain.data, hmcf->domain.data, hmcf->domain.len);

    for (i = 0; i < hmcf->domain.len; i++) {

        ch = hmcf->domain.data[i];

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ((ch != '.' && ch != '-') || i == 0
                || i == hmcf->domain.len - 1))
        {
            return "must be a host name";
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_list(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t    *value, *s;
    ngx_uint_t    i;
    ngx_array_t **list;

    list = (ngx_array_t **) (p + cmd->offset);

    if (*list) {
        return "is duplicate";
    }

    value = cf->args->elts;

    *list = ngx_array_create(cf->pool, cf->args->nelts, sizeof(ngx_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (cmd->offset == offsetof(ngx_http_holdfast_main_conf_t, origins)
            && (ngx_strstr(value[i].data, "://") == NULL
                || value[i].data[value[i].len - 1] == '/'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not an origin, as "
                               "https://app.example.org", &value[i]);
            return NGX_CONF_ERROR;
        }

        s = ngx_array_push(*list);
        if (s == NULL) {
            return NGX_CONF_ERROR;
        }

        *s = value[i];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    ngx_int_t   one, all;
    ngx_str_t  *value;

    if (hmcf->hold_limit != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    one = ngx_atoi(value[1].data, value[1].len);
    all = ngx_atoi(value[2].data, value[2].len);

    if (one <= 0 || all <= 0) {
        return "must be two numbers: requests held for one sandbox and "
               "requests held per worker";
    }

    hmcf->hold_limit = one;
    hmcf->hold_total = all;

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_error_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_loc_conf_t *hlcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "preview") == 0) {
        hlcf->error_preview = 1;

    } else if (ngx_strcmp(value[1].data, "api") != 0) {
        return "must be \"api\" or \"preview\"";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_holdfast_error_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_msec_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *ms = data;

    if (*ms == 0 || *ms > 86400000) {
        return "must be more than 0 and at most a day";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_holdfast_number_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_int_t  *n = data;

    if (*n < 0 || *n > 1000000) {
        return "must be between 0 and 1000000";
    }

    return NGX_CONF_OK;
}


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

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_holdfast_module);

    if (hmcf->zone == NULL) {

        /* the module is loaded and not used */

        return NGX_OK;
    }

    if (ngx_http_holdfast_peer_wrap(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_cookie_init(cf) != NGX_OK
        || ngx_http_holdfast_quiet_init(cf) != NGX_OK)
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
     *     hmcf->tokens_set = 0;
     */

    hmcf->rate = NGX_CONF_UNSET;
    hmcf->spares = NGX_CONF_UNSET;
    hmcf->hold_max = NGX_CONF_UNSET_MSEC;
    hmcf->op_hold_max = NGX_CONF_UNSET_MSEC;
    hmcf->warming_after = NGX_CONF_UNSET_MSEC;
    hmcf->quiet_after = NGX_CONF_UNSET_MSEC;
    hmcf->secure_cookie = NGX_CONF_UNSET;
    hmcf->hold_limit = NGX_CONF_UNSET_UINT;
    hmcf->hold_total = NGX_CONF_UNSET_UINT;

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
    ngx_conf_init_uint_value(hmcf->hold_limit, 1000);
    ngx_conf_init_uint_value(hmcf->hold_total, 10000);

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

    ngx_http_holdfast_main_conf_t  *hmcf;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_holdfast_module);

    if (conf->mode != NGX_CONF_UNSET_UINT
        && conf->mode != NGX_HTTP_HOLDFAST_OFF
        && hmcf->zone == NULL)
    {
        return "needs \"holdfast_table\" for \"holdfast_gate\"";
    }

    /* a location says itself what it is: not inherited */

    if (conf->mode == NGX_CONF_UNSET_UINT) {
        conf->mode = NGX_HTTP_HOLDFAST_OFF;
    }

    if (conf->caller == NULL) {
        conf->caller = prev->caller;
    }

    return NGX_CONF_OK;
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

    if (ngx_http_holdfast_activity_init(cycle) != NGX_OK) {
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
    ngx_http_holdfast_table_detach();
}
