/* Fuzz target: names, numbers, UTF-8 and tokens from outside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void number(const char *p, size_t size)
{
    int64_t n;
    char    text[24];

    if (ids_number(p, size, 0, INT64_MAX, &n) != 0)
        return;
    snprintf(text, sizeof(text), "%lld", (long long)n);
    if (strlen(text) != size || memcmp(text, p, size) != 0)
        abort();
}

static void inside(const char *p, size_t size, const char *part, size_t len)
{
    if (part >= p && part < p + size && len > size - (size_t)(part - p))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char  *p = (const char *)data;
    struct token t;
    struct err   e;
    char         id[ID_MAX + 1], again[ID_MAX + 1], hex[65];

    if (ids_fold(p, size, id) == 0 && (ids_fold(id, strlen(id), again) != 0
        || strcmp(id, again) != 0 || strlen(id) != size))
    {
        abort();
    }
    if (ids_key_ok(p, size) && !ids_utf8_ok(p, size))
        abort();
    if (ids_request_ok(p, size) && !ids_key_ok(p, size))
        abort();
    number(p, size);
    if (tokens_parse(p, size, &t, &e) == 0) {
        inside(p, size, t.tenant, t.tenant_len);
        inside(p, size, t.name, t.name_len);
        inside(p, size, t.scope, t.scope_len);
        inside(p, size, t.secret, t.secret_len);
        tokens_digest(&t, hex);
        if (strlen(hex) != 64)
            abort();
    }
    return 0;
}
