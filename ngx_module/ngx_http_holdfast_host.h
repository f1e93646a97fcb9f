
/*
 * Names that come with a request: preview hosts and paths of the API.
 *
 * Pure functions without nginx types, so that they can be fuzzed alone.
 * Nothing here is trusted, allocated or kept.
 */


#ifndef _NGX_HTTP_HOLDFAST_HOST_H_INCLUDED_
#define _NGX_HTTP_HOLDFAST_HOST_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define NGX_HTTP_HOLDFAST_ID_MAX          40

#define NGX_HTTP_HOLDFAST_PORT_MIN        1024

/* kept back for a second wire protocol */
#define NGX_HTTP_HOLDFAST_PORT_RESERVED1  49983
#define NGX_HTTP_HOLDFAST_PORT_RESERVED2  49999

#define NGX_HTTP_HOLDFAST_NAME_OK         0
#define NGX_HTTP_HOLDFAST_NAME_UNKNOWN    (-1)
#define NGX_HTTP_HOLDFAST_NAME_RESERVED   (-2)
#define NGX_HTTP_HOLDFAST_NAME_BAD        (-3)


typedef struct {
    char      id[NGX_HTTP_HOLDFAST_ID_MAX + 1];
    uint8_t   id_len;
    uint16_t  port;
} ngx_http_holdfast_name_t;


/*
 * s-<id>-<port>.preview.<domain>[:port] and <port>-<id>.<domain>[:port],
 * letters in either case; domain is in lower case.
 */
int ngx_http_holdfast_host_parse(const char *host, size_t len,
    const char *domain, size_t domain_len, ngx_http_holdfast_name_t *name);

/*
 * The id in /sandbox/<id>..., /wake/<id> and /v1/sandboxes/<id>...; port is 0.
 * UNKNOWN: the path has none.  BAD: it is not [a-z0-9]{1,40}.
 */
int ngx_http_holdfast_path_parse(const char *path, size_t len,
    ngx_http_holdfast_name_t *name);

/*
 * The path as the client sent it, without arguments, reads the same before
 * and after decoding: no encoded '/', '\', '.', '%', NUL or control character,
 * no dot segments.  OK or BAD.
 */
int ngx_http_holdfast_path_check(const char *path, size_t len);

/* localhost or an address: a name that no stranger's DNS can point here */
int ngx_http_holdfast_host_is_local(const char *host, size_t len);


#endif /* _NGX_HTTP_HOLDFAST_HOST_H_INCLUDED_ */
