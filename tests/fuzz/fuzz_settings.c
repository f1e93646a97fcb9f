/* Fuzz target: a settings file. What is accepted is written out as what is in
 * force, and must be accepted again with the same meaning. */
#include <stdlib.h>
#include <string.h>

#include "common/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *effective(const struct settings *s, size_t *len)
{
    char *out = NULL;
    FILE *f = open_memstream(&out, len);

    if (settings_print_effective(s, f) != 0)
        abort();
    fclose(f);
    return out;
}

/* The head names the file it came from, which differs. */
static const char *body(const char *text)
{
    return strstr(text, "\napi_listen=");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings a, b;
    struct err      e;
    char           *first, *second;
    size_t          len, len2;

    memset(&e, 0, sizeof(e));
    if (settings_parse(&a, (const char *)data, size, "fuzz", &e) != 0) {
        if (e.code == NULL || e.msg[0] == '\0')
            abort();
        return 0;
    }
    first = effective(&a, &len);
    if (settings_parse(&b, first, len, "again", &e) != 0)
        abort();
    second = effective(&b, &len2);
    if (strcmp(body(first), body(second)) != 0)
        abort();
    free(first);
    free(second);
    settings_fini(&a);
    settings_fini(&b);
    return 0;
}
