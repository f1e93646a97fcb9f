/*
 * fuzz_resp: what is taken lies within the input, and never depends on what
 * comes behind it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resp_push push, again;
    const char      *p = (const char *) data;
    long             n = resp_push_take(p, size, &push);

    if (n > (long) size || n < -1)
        abort();
    if (n <= 0)
        return 0;
    if (push.kind < p || push.text + push.text_len > p + n
        || push.channel + push.channel_len > p + n
        || resp_push_take(p, (size_t) n, &again) != n
        || resp_push_take(p, (size_t) n - 1, &again) != 0)
        abort();
    return 0;
}
