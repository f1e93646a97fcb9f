/*
 * tokens: one API token as it is written in the settings.
 *
 *   name:secret                       tenant "default", scope admin
 *   tenant/name[:scope]=secret        scope: admin, rw, ro, or ids as a+b
 *
 * A secret of the form sha256:<64 hex digits> is the digest of the real one.
 * Pure: a parsed token points into the caller's bytes.
 */
#ifndef HF_TOKENS_H
#define HF_TOKENS_H

#include <stddef.h>

#include "err.h"

#define TOKENS_NAME_MAX  64
#define TOKENS_SCOPE_MAX 1024

struct token {
    const char *tenant, *name, *scope, *secret;
    size_t      tenant_len, name_len, scope_len, secret_len;
};

/* 0, or -1 with a sentence that never holds the secret. */
int tokens_parse(const char *p, size_t len, struct token *t, struct err *e);

/* The digest of the secret in lower-case hex. */
void tokens_digest(const struct token *t, char out[65]);

#endif
