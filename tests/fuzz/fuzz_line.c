/*
 * fuzz_line: what the parser takes, the writer writes, and it reads back the
 * same. First byte: direction.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct line l;
    char        out[LINE_MAX_LEN];
    size_t      n;

    if (size < 1) {
        return 0;
    }

    if (line_parse((const char *) data + 1, size - 1, data[0] & 1, &l) != 0) {
        return 0;
    }

    n = line_write(&l, out);
    if (n != size || memcmp(out, data + 1, n - 1) != 0) {
        abort();
    }

    return 0;
}
