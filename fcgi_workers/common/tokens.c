/*
 * tokens: one API token as it is written in the settings (see tokens.h).
 *
 * Must never put a secret into an error: errors are logged.
 */
#include "tokens.h"

#include <stdbool.h>
#include <string.h>

#include "crypt.h"
#include "ids.h"

#define TOKENS_SECRET_MAX 512
#define TOKENS_SHA        "sha256:"
#define TOKENS_SHA_LEN    7

static bool tokens_name_ok(const char *p, size_t len)
{
    size_t i;
    char   c;

    if (len < 1 || len > TOKENS_NAME_MAX)
        return false;
    for (i = 0; i < len; i++) {
        c = p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
        {
            return false;
        }
    }
    return true;
}

static bool tokens_is(const char *p, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(p, word, len) == 0;
}

/* Ids must be written as they are stored: the gate compares bytes. */
static bool tokens_scope_ok(const char *p, size_t len)
{
    char        id[ID_MAX + 1];
    const char *end = p + len, *plus;
    size_t      n;

    if (tokens_is(p, len, "admin") || tokens_is(p, len, "rw")
        || tokens_is(p, len, "ro"))
    {
        return true;
    }
    if (len > TOKENS_SCOPE_MAX)
        return false;
    for (;;) {
        plus = memchr(p, '+', (size_t)(end - p));
        n = (size_t)((plus == NULL ? end : plus) - p);
        if (ids_fold(p, n, id) != 0 || memcmp(id, p, n) != 0)
            return false;
        if (plus == NULL)
            return true;
        p = plus + 1;
    }
}

static bool tokens_hex_ok(const char *p, size_t len)
{
    size_t i;

    if (len != 64)
        return false;
    for (i = 0; i < len; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    }
    return true;
}

static bool tokens_is_digest(const char *p, size_t len)
{
    return len >= TOKENS_SHA_LEN && memcmp(p, TOKENS_SHA, TOKENS_SHA_LEN) == 0;
}

static int tokens_check(const struct token *t, struct err *e)
{
    size_t i;

    if (!tokens_name_ok(t->tenant, t->tenant_len)
        || !tokens_name_ok(t->name, t->name_len))
    {
        return err_set(e, "invalid_field", "names of tenants and tokens are "
            "1 to %d of letters, digits and ._-", TOKENS_NAME_MAX);
    }
    if (!tokens_scope_ok(t->scope, t->scope_len))
        return err_set(e, "invalid_field", "the scope of token \"%.*s\" must "
            "be admin, rw, ro or sandbox ids joined by +",
            (int)t->name_len, t->name);
    if (t->secret_len < 1 || t->secret_len > TOKENS_SECRET_MAX)
        return err_set(e, "invalid_field", "the secret of token \"%.*s\" must "
            "have 1 to %d characters", (int)t->name_len, t->name,
            TOKENS_SECRET_MAX);
    for (i = 0; i < t->secret_len; i++) {
        if (t->secret[i] <= ' ' || t->secret[i] >= 0x7f)
            return err_set(e, "invalid_field", "the secret of token \"%.*s\" "
                "must be visible ASCII without spaces",
                (int)t->name_len, t->name);
    }
    if (tokens_is_digest(t->secret, t->secret_len)
        && !tokens_hex_ok(t->secret + TOKENS_SHA_LEN,
               t->secret_len - TOKENS_SHA_LEN))
    {
        return err_set(e, "invalid_field", "token \"%.*s\": sha256: is "
            "followed by 64 lower-case hexadecimal digits",
            (int)t->name_len, t->name);
    }
    return 0;
}

/* What comes first decides the form: a secret may hold any of : / = itself. */
static int tokens_split(const char *p, size_t len, struct token *t)
{
    const char *end = p + len, *sep, *eq, *colon;

    for (sep = p; sep < end && *sep != ':' && *sep != '='; sep++) {
        if (*sep == '/')
            break;
    }
    if (sep == end || *sep == '=')
        return -1;
    if (*sep == ':') {
        *t = (struct token){ "default", p, "admin", sep + 1,
            7, (size_t)(sep - p), 5, (size_t)(end - sep - 1) };
        return 0;
    }
    eq = memchr(sep, '=', (size_t)(end - sep));
    if (eq == NULL)
        return -1;
    colon = memchr(sep, ':', (size_t)(eq - sep));
    *t = (struct token){ p, sep + 1, "admin", eq + 1, (size_t)(sep - p),
        (size_t)((colon == NULL ? eq : colon) - sep - 1), 5,
        (size_t)(end - eq - 1) };
    if (colon != NULL) {
        t->scope = colon + 1;
        t->scope_len = (size_t)(eq - colon - 1);
    }
    return 0;
}

int tokens_parse(const char *p, size_t len, struct token *t, struct err *e)
{
    struct token got;

    if (tokens_split(p, len, &got) != 0)
        return err_set(e, "invalid_field", "a token is name:secret or "
            "tenant/name[:scope]=secret");
    if (tokens_check(&got, e) != 0)
        return -1;
    *t = got;
    return 0;
}

void tokens_digest(const struct token *t, char out[65])
{
    if (tokens_is_digest(t->secret, t->secret_len)) {
        memcpy(out, t->secret + TOKENS_SHA_LEN, 64);
        out[64] = '\0';
        return;
    }
    crypt_sha256_hex(t->secret, t->secret_len, out);
}
