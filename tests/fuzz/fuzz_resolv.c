/* fuzz_resolv: what is taken is few, single, and reachable; the text that
 * sandboxes get reads back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/resolv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resolv r, again;
    struct buf    b;

    if (resolv_parse((const char *)data, size, &r) > RESOLV_MAX)
        abort();
    for (int i = 0; i < r.n; i++)
        if (r.addr[i] >> 24 == 127 || r.addr[i] == 0)
            abort();
    buf_init(&b, 4096);
    resolv_text(&r, &b);
    if (resolv_parse(b.data, b.len, &again) != r.n
        || memcmp(&r, &again, sizeof(r)) != 0)
        abort();
    buf_fini(&b);
    return 0;
}
