/*
 * fuzz_websocket: headers of WebSocket frames. How bytes are cut into reads
 * makes no difference.
 */
#include <stdlib.h>
#include <string.h>

#include "../../ngx_module/ngx_http_holdfast_websocket.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_http_holdfast_websocket_t whole, parts;
    size_t                     i, n;

    if (size < 1)
        return 0;
    n = data[0] % 16 + 1u;
    memset(&whole, 0, sizeof(whole));
    memset(&parts, 0, sizeof(parts));
    ngx_http_holdfast_websocket_read(&whole, data + 1, size - 1);
    for (i = 1; i < size; i += n)
        ngx_http_holdfast_websocket_read(&parts, data + i,
            size - i < n ? size - i : n);
    if (whole.left != parts.left || whole.nhead != parts.nhead
        || whole.ended != parts.ended || whole.nhead >= sizeof(whole.head))
        abort();
    return 0;
}
