/*
 * tokens_file: the tokens as the gate reads them (see tokens_file.h).
 *
 * Secrets of the settings become their SHA-256 here: no process behind the
 * gate, and no file that nginx reads, ever holds one.
 */
#include "tokens_file.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "../common/crypt.h"
#include "../common/files.h"
#include "../common/tokens.h"

#define TOKENS_MAX (4 * 1024 * 1024)

/* A scope of ids is told from the words by its prefix: a sandbox may be
 * called "rw". */
static int tokens_file_add(struct buf *b, const struct token *t, struct err *e)
{
    char digest[65], tenant[TOKENS_NAME_MAX + 1];
    bool word = (t->scope_len == 5 && memcmp(t->scope, "admin", 5) == 0)
        || (t->scope_len == 2 && (memcmp(t->scope, "rw", 2) == 0
        || memcmp(t->scope, "ro", 2) == 0));

    memcpy(tenant, t->tenant, t->tenant_len);
    tenant[t->tenant_len] = '\0';
    tokens_digest(t, digest);
    buf_printf(b, "%s %s %016" PRIx64 " %.*s %s%.*s\n", digest, tenant,
        crypt_tenant_tag(tenant), (int)t->name_len, t->name,
        word ? "" : "ids:", (int)t->scope_len, t->scope);
    return b->failed ? err_set(e, "invalid_field", "too many tokens") : 1;
}

static int tokens_file_settings(struct buf *b, const char *list, struct err *e)
{
    struct token t;
    size_t       n;
    int          count = 0;

    for (; list[0] != '\0'; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        if (tokens_parse(list, n, &t, e) != 0
            || tokens_file_add(b, &t, e) < 0)
        {
            return -1;
        }
        count++;
    }
    return count;
}

/* 1 added, 0 nothing in it, -1 wrong. */
static int tokens_file_line(struct buf *b, const char *p, size_t len,
    struct err *e)
{
    struct token t;

    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\r'
        || p[len - 1] == '\t'))
    {
        len--;
    }
    if (len == 0 || p[0] == '#')
        return 0;
    if (tokens_parse(p, len, &t, e) != 0)
        return -1;
    if (t.secret_len < 7 || memcmp(t.secret, "sha256:", 7) != 0)
        return err_set(e, "invalid_field", "token \"%.*s\" must be given as "
            "sha256:<hex>, not in plain text", (int)t.name_len, t.name);
    return tokens_file_add(b, &t, e);
}

static int tokens_file_lines(struct buf *b, const char *file, struct buf *text,
    struct err *e)
{
    struct err why;
    size_t     at = 0, n;
    int        rc, line = 0, count = 0;

    while (at < text->len) {
        line++;
        n = strcspn(text->data + at, "\n");
        rc = tokens_file_line(b, text->data + at, n, &why);
        if (rc < 0)
            return err_set(e, "invalid_field", "%s:%d: %s", file, line,
                why.msg);
        count += rc;
        at += n + 1;
    }
    return count;
}

int tokens_file_write(const struct settings *s, const char *path, struct err *e)
{
    struct buf b, text;
    int        count, more = 0;

    buf_init(&b, TOKENS_MAX);
    buf_init(&text, TOKENS_MAX);
    count = tokens_file_settings(&b, s->auth_tokens, e);
    if (count >= 0 && s->tokens_file[0] != '\0') {
        more = files_read(s->tokens_file, &text, e);
        if (more == 0)
            more = tokens_file_lines(&b, s->tokens_file, &text, e);
        if (more == 0)
            more = err_set(e, "invalid_field", "%s holds no token",
                s->tokens_file);
    }
    count = more < 0 || count < 0 ? -1 : count + more;
    if (count == 0 && path != NULL)
        unlink(path);
    if (count > 0 && path != NULL
        && files_write(path, b.data, b.len, 0600, e) != 0)
    {
        count = -1;
    }
    buf_fini(&text);
    buf_fini(&b);
    return count;
}
