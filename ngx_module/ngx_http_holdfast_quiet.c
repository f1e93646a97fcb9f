
/*
 * Long-lived connections that carry nothing but heartbeats.
 */


#include "ngx_http_holdfast_module.h"


ngx_int_t
ngx_http_holdfast_quiet_init(ngx_conf_t *cf)
{
    return NGX_OK;
}


void
ngx_http_holdfast_quiet_close(const u_char *id, size_t len)
{
}


void
ngx_http_holdfast_quiet_awake(const u_char *id, size_t len)
{
}
