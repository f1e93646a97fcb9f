
/*
 * What a directive's value must be.
 *
 * "nginx -t" finds every mistake that can be seen in the configuration alone,
 * and says in which line: a value that would be ignored, match nothing or only
 * fail at the first request is refused here.
 */


#include "ngx_http_holdfast_module.h"


#define NGX_HTTP_HOLDFAST_TABLE_MIN  (64 * 1024)


static ngx_uint_t ngx_http_holdfast_is_name(ngx_str_t *name);
static ngx_uint_t ngx_http_holdfast_is_origin(ngx_str_t *origin);
static void ngx_http_holdfast_here(ngx_conf_t *cf,
    ngx_http_holdfast_loc_conf_t *hlcf);


char *
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


char *
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


char *
ngx_http_holdfast_domain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    ngx_str_t  *value;

    if (hmcf->domain.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    hmcf->domain = value[1];
    ngx_strlow(hmcf->domain.data, hmcf->domain.data, hmcf->domain.len);

    if (!ngx_http_holdfast_is_name(&hmcf->domain)) {
        return "must be a host name";
    }

    return NGX_CONF_OK;
}


/* Labels of a-z, 0-9 and inner hyphens, with dots between them. */

static ngx_uint_t
ngx_http_holdfast_is_name(ngx_str_t *name)
{
    u_char      ch;
    size_t      i, label;

    label = 0;

    for (i = 0; i < name->len; i++) {

        ch = name->data[i];

        if (ch == '.') {

            if (label == 0 || name->data[i - 1] == '-') {
                return 0;
            }

            label = 0;
            continue;
        }

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && (ch != '-' || label == 0))
        {
            return 0;
        }

        if (++label > 63) {
            return 0;
        }
    }

    return label && name->data[i - 1] != '-' && name->len <= 200;
}


/* scheme://host or scheme://host:port, as a browser writes it. */

static ngx_uint_t
ngx_http_holdfast_is_origin(ngx_str_t *origin)
{
    u_char     *p, *last;
    ngx_int_t   port;
    ngx_str_t   host;

    p = origin->data;
    last = p + origin->len;

    if (origin->len > 8 && ngx_strncmp(p, "https://", 8) == 0) {
        p += 8;

    } else if (origin->len > 7 && ngx_strncmp(p, "http://", 7) == 0) {
        p += 7;

    } else {
        return 0;
    }

    host.data = p;

    while (p < last && *p != ':' && *host.data != '[') {
        p++;
    }

    if (*host.data == '[') {

        /* an IPv6 address; what is in it is compared, not used */

        p = ngx_strlchr(p, last, ']');

        if (p == NULL) {
            return 0;
        }

        p++;

    } else {
        host.len = p - host.data;

        if (!ngx_http_holdfast_is_name(&host)) {
            return 0;
        }
    }

    if (p == last) {
        return 1;
    }

    if (*p++ != ':') {
        return 0;
    }

    port = ngx_atoi(p, last - p);

    return port > 0 && port <= 65535;
}


char *
ngx_http_holdfast_list(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t     *value, *s;
    ngx_uint_t     i, origins;
    ngx_array_t  **list;

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

    origins = cmd->offset == offsetof(ngx_http_holdfast_main_conf_t, origins);

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "off") == 0) {
            return "must be \"off\" alone, or a list";
        }

        /* browsers send them in lower case, and nginx keeps Host so */

        ngx_strlow(value[i].data, value[i].data, value[i].len);

        if (origins && !ngx_http_holdfast_is_origin(&value[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not an origin, as "
                               "https://app.example.org", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (!origins && !ngx_http_holdfast_is_name(&value[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not a host name without a port",
                               &value[i]);
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


/* Two numbers: for one, and for all of them. */

char *
ngx_http_holdfast_limit_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_int_t                   one, all;
    ngx_str_t                  *value;
    ngx_http_holdfast_limit_t  *limit;

    limit = (ngx_http_holdfast_limit_t *) (p + cmd->offset);

    if (limit->one != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    one = ngx_atoi(value[1].data, value[1].len);
    all = ngx_atoi(value[2].data, value[2].len);

    if (one <= 0 || all <= 0) {
        return cmd->post;
    }

    if (one > all) {
        return "must not allow one more than all of them";
    }

    limit->one = one;
    limit->all = all;

    return NGX_CONF_OK;
}


/* What a location's directive needs is known when all is read. */

static void
ngx_http_holdfast_here(ngx_conf_t *cf, ngx_http_holdfast_loc_conf_t *hlcf)
{
    hlcf->directive = *(ngx_str_t *) cf->args->elts;
    hlcf->file = cf->conf_file->file.name;
    hlcf->line = cf->conf_file->line;
}


char *
ngx_http_holdfast_mode_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_loc_conf_t *hlcf = conf;

    char  *rv;

    rv = ngx_conf_set_enum_slot(cf, cmd, conf);

    if (rv == NGX_CONF_OK && hlcf->mode != NGX_HTTP_HOLDFAST_OFF) {
        ngx_http_holdfast_here(cf, hlcf);
    }

    return rv;
}


char *
ngx_http_holdfast_caller_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_loc_conf_t *hlcf = conf;

    char       *rv;
    ngx_str_t  *value;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK || hlcf->caller->lengths) {
        return rv;
    }

    /* a word, not a variable */

    value = &hlcf->caller->value;

    if (value->len && ngx_strcmp(value->data, "checker") != 0
        && ngx_strcmp(value->data, "unfurler") != 0)
    {
        return "must be \"checker\", \"unfurler\" or a variable";
    }

    return NGX_CONF_OK;
}


/* "holdfast_error", "holdfast_status": a content handler. */

char *
ngx_http_holdfast_handler_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_loc_conf_t *hlcf = conf;

    ngx_str_t                      *value;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_holdfast_content_t    *content;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "is not the only one to answer in this location";
    }

    value = cf->args->elts;

    for (content = cmd->post; content->word; content++) {

        if (ngx_strcmp(value[1].data, content->word) == 0) {
            ngx_http_holdfast_here(cf, hlcf);
            hlcf->error_preview = content->preview;
            clcf->handler = content->handler;
            return NGX_CONF_OK;
        }
    }

    content = cmd->post;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" must be \"%s\" or \"%s\"", &value[0],
                       content[0].word, content[1].word);

    return NGX_CONF_ERROR;
}


/* At the end of http{}: errors name the directive's own line. */

char *
ngx_http_holdfast_check_location(ngx_conf_t *cf,
    ngx_http_holdfast_loc_conf_t *hlcf)
{
    const char                     *needs;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_holdfast_main_conf_t  *hmcf;

    if (hlcf->line == 0) {
        return NGX_CONF_OK;
    }

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_holdfast_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (hmcf->zone == NULL) {
        needs = "holdfast_table";

    } else if (hlcf->mode == NGX_HTTP_HOLDFAST_OP && !clcf->internal) {

        /* or anybody could wait for anybody's operation */

        needs = "internal";

    } else {
        return NGX_CONF_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"%V\" needs \"%s\" in %V:%ui",
                  &hlcf->directive, needs, &hlcf->file, hlcf->line);

    return NGX_CONF_ERROR;
}


char *
ngx_http_holdfast_msec_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *ms = data;

    if (*ms == 0 || *ms > 86400000) {
        return "must be more than 0 and at most a day";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_holdfast_msec0_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *ms = data;

    if (*ms > 86400000) {
        return "must be at most a day";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_holdfast_number_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_int_t  *n = data;

    if (*n < 0 || *n > 1000000) {
        return "must be between 0 and 1000000";
    }

    return NGX_CONF_OK;
}
