/*
 * fuzz_host: host and path grammar. What is taken has an id and a port in
 * their bounds, and writing the name out again leads to the same place.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../ngx_module/ngx_http_holdfast_host.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const ngx_http_holdfast_name_t *name)
{
    if (name->id_len == 0 || name->id_len > NGX_HTTP_HOLDFAST_ID_MAX
        || strspn(name->id, "abcdefghijklmnopqrstuvwxyz0123456789")
           != name->id_len)
    {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_http_holdfast_name_t name, again;
    const char              *s = (const char *) data;
    char                     out[128];
    int                      n;

    memset(&name, 0, sizeof(name));

    if (ngx_http_holdfast_host_parse(s, size, "a.b", 3, &name) == 0) {
        check(&name);
        n = snprintf(out, sizeof(out), "s-%s-%u.preview.a.b", name.id,
            name.port);
        if (name.port < 1024
            || ngx_http_holdfast_host_parse(out, (size_t) n, "a.b", 3, &again)
            || strcmp(again.id, name.id) != 0 || again.port != name.port)
        {
            abort();
        }
    }

    if (ngx_http_holdfast_path_parse(s, size, &name) == 0) {
        check(&name);
    }

    (void) ngx_http_holdfast_path_check(s, size);
    (void) ngx_http_holdfast_host_is_local(s, size);

    return 0;
}
