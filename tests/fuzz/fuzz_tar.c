/*
 * fuzz_tar: a tar as the engine sends it, from a hostile image. What is taken
 * lies within the input. The first byte asks for right sums, or few inputs
 * would come further.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/engine_tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_sums(char *tar, size_t len)
{
    unsigned sum;

    for (size_t at = 0; at + 512 <= len; at += 512) {
        memset(tar + at + 148, ' ', 8);
        sum = 0;
        for (int i = 0; i < 512; i++)
            sum += (unsigned char)tar[at + (size_t)i];
        snprintf(tar + at + 148, 8, "%06o", sum & 0777777);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *out = NULL;
    size_t      n = 0, len;
    char       *tar;

    if (size < 1)
        return 0;
    len = size - 1;
    tar = malloc(len + 1);
    if (tar == NULL)
        abort();
    memcpy(tar, data + 1, len);
    if (data[0] & 1)
        mend_sums(tar, len);
    if (tar_first_file(tar, len, 4096, &out, &n) == 1
        && (n > 4096 || out < tar || (size_t)(out - tar) + n > len))
        abort();
    free(tar);
    return 0;
}
