/*
 * tokens_file: the tokens as the gate reads them (docs/interfaces.md, 8).
 */
#ifndef HF_TOKENS_FILE_H
#define HF_TOKENS_FILE_H

#include "../common/err.h"
#include "../common/settings.h"

/* Writes the tokens of `auth_tokens` and `tokens_file` (0600). Without any,
 * the file is removed. `path` NULL: only looks. How many there are, or -1. */
int tokens_file_write(const struct settings *s, const char *path,
    struct err *e);

#endif
