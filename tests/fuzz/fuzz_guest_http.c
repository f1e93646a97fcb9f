/*
 * Requests of the guest's HTTP server: what is taken must not depend on how
 * the bytes were cut into pieces.
 */
#include "../../images/guest/http.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of the whole, fed in pieces of `step`. */
static uint64_t run(const char *text, size_t size, size_t step)
{
    struct http_head h;
    struct http_body b;
    const char *content;
    size_t scanned = 0, n = 0, taken, ncontent, i, give;
    uint64_t digest = 1;
    int r = 0;

    while (r == 0 && n < size) {
        n = n + step < size ? n + step : size;
        r = http_head(text, n, &scanned, &h);
    }
    if (r <= 0)
        return (uint64_t) (int64_t) r;
    text += r;
    size -= (size_t) r;
    digest = h.length * 31 + h.chunked + 2u * h.keepalive;
    http_body_init(&b, &h);
    r = 0;
    while (r == 0 && size > 0) {
        give = size < step ? size : step;
        r = http_body(&b, text, give, &taken, &content, &ncontent);
        if (taken > give || ncontent > give || (r == 0 && taken == 0))
            abort();
        for (i = 0; i < ncontent; i++)
            digest = digest * 131 + (unsigned char) content[i];
        text += taken;
        size -= taken;
    }
    return digest * 7 + (uint64_t) (int64_t) r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole;
    char *text;

    if (size < 1 || size > 40000)
        return 0;
    text = malloc(size);
    memcpy(text, data, size);
    whole = run(text, size, size);
    if (run(text, size, 1 + data[0] % 16) != whole)
        abort();
    free(text);
    return 0;
}
