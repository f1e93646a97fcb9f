/*
 * fuzz_ticket: what the parser takes is what the writer would write, but for
 * the signature; what is cut out of a list leaves no more than there was. First
 * byte: which of them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ticket.h"

#define MAC 43

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_parse(const char *p, size_t len)
{
    struct ticket     t;
    struct ticket_key key = { .there = 1 };
    char              text[TICKET_MAX + 1];
    size_t            n;

    if (ticket_parse(p, len, &t, key.id) != 0)
        return;
    n = ticket_sign(&t, &key, 1, text);
    if (n != len || memcmp(text, p, len - MAC) != 0)
        abort();
}

static void fuzz_cut(char sep, const char *p, size_t len)
{
    struct ticket_found found[3];
    char               *out = malloc(len + 1), *again = malloc(len + 1);
    size_t              n, m, i;

    if (out == NULL || again == NULL)
        abort();
    n = ticket_cut(p, len, sep, "hf_ticket", out, found, 3, &m);
    if (n > len || m > 3 || (m == 0 && n != len))
        abort();
    for (i = 0; i < m; i++) {
        if (found[i].p < p || found[i].p + found[i].len > p + len)
            abort();
    }
    ticket_cut(out, n, sep, "hf_ticket", again, found, 3, &m);
    if (m != 0)
        abort();                /* nothing is left for the app */
    free(out);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ticket_keys keys;
    const char        *p = (const char *) data + 1;

    if (size < 1)
        return 0;
    switch (data[0] % 4) {
    case 0:
        fuzz_parse(p, size - 1);
        break;
    case 1:
        fuzz_cut('&', p, size - 1);
        break;
    case 2:
        fuzz_cut(';', p, size - 1);
        break;
    default:
        ticket_keys_parse(p, size - 1, &keys);
    }
    return 0;
}
