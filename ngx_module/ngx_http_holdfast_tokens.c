
/*
 * The file of tokens, read by the master at start and at each reload:
 *
 *     <sha256 of the secret, hex> <tenant> <tenant tag> <name> <scope>
 *
 * scope is admin, rw, ro or ids:<id>+<id>...  Secrets are not in it.  A line
 * that is not understood stops the start: a token that is silently ignored is
 * as bad as one that is silently taken.
 */


#include "ngx_http_holdfast_module.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>


#define NGX_HTTP_HOLDFAST_TOKENS_MAX  (4 * 1024 * 1024)


static char *ngx_http_holdfast_tokens_parse(ngx_conf_t *cf,
    ngx_http_holdfast_main_conf_t *hmcf, ngx_str_t *file, u_char *p,
    u_char *last);
static const char *ngx_http_holdfast_token_line(ngx_conf_t *cf,
    ngx_http_holdfast_token_t *token, u_char *p, u_char *last);
static const char *ngx_http_holdfast_token_scope(ngx_conf_t *cf,
    ngx_http_holdfast_token_t *token);
static ngx_int_t ngx_http_holdfast_hex(u_char *out, u_char *p, size_t len);


char *
ngx_http_holdfast_tokens(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_holdfast_main_conf_t *hmcf = conf;

    char             *rv;
    u_char           *buf;
    size_t            size;
    ssize_t           n;
    ngx_fd_t          fd;
    ngx_str_t        *value, name;
    ngx_file_info_t   fi;

    if (hmcf->tokens_set) {
        return "is duplicate";
    }

    hmcf->tokens_set = 1;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    name = value[1];

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot open tokens \"%V\"", &name);
        return NGX_CONF_ERROR;
    }

    rv = NGX_CONF_ERROR;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot stat tokens \"%V\"", &name);
        goto done;
    }

    if (ngx_file_size(&fi) > NGX_HTTP_HOLDFAST_TOKENS_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "tokens \"%V\" is over 4 MiB", &name);
        goto done;
    }

    if (fi.st_mode & (S_IWGRP|S_IRWXO)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "tokens \"%V\" may be read or written by others, "
                           "make it 0600", &name);
        goto done;
    }

    size = (size_t) ngx_file_size(&fi);

    buf = ngx_palloc(cf->temp_pool, size + 1);
    if (buf == NULL) {
        goto done;
    }

    n = ngx_read_fd(fd, buf, size);

    if (n == -1 || (size_t) n != size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot read tokens \"%V\"", &name);
        goto done;
    }

    rv = ngx_http_holdfast_tokens_parse(cf, hmcf, &name, buf, buf + size);

done:

    (void) ngx_close_file(fd);

    return rv;
}


static char *
ngx_http_holdfast_tokens_parse(ngx_conf_t *cf,
    ngx_http_holdfast_main_conf_t *hmcf, ngx_str_t *file, u_char *p,
    u_char *last)
{
    u_char                       *nl;
    uint32_t                      hash;
    ngx_uint_t                    line, n;
    const char                   *error;
    ngx_http_holdfast_token_t    *token;
    ngx_http_holdfast_tokens_t   *tokens;

    tokens = ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_tokens_t));
    if (tokens == NULL) {
        return NGX_CONF_ERROR;
    }

    /* a line has more than 64 bytes: as many buckets as there may be lines */

    for (n = 16; n * 64 < (ngx_uint_t) (last - p); n *= 2) { /* void */ }

    tokens->mask = n - 1;
    tokens->buckets = ngx_pcalloc(cf->pool,
                                  n * sizeof(ngx_http_holdfast_token_t *));
    if (tokens->buckets == NULL) {
        return NGX_CONF_ERROR;
    }

    for (line = 1; p < last; line++, p = nl + 1) {

        nl = ngx_strlchr(p, last, LF);

        if (nl == NULL) {
            nl = last;
        }

        if (nl == p || *p == '#') {
            continue;
        }

        token = ngx_pcalloc(cf->pool, sizeof(ngx_http_holdfast_token_t));
        if (token == NULL) {
            return NGX_CONF_ERROR;
        }

        error = ngx_http_holdfast_token_line(cf, token, p, nl);

        if (error) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in %V:%ui",
                               error, file, line);
            return NGX_CONF_ERROR;
        }

        ngx_memcpy(&hash, token->digest, sizeof(uint32_t));

        token->rate_key = hash;
        token->next = tokens->buckets[hash & tokens->mask];
        tokens->buckets[hash & tokens->mask] = token;
        tokens->count++;
    }

    /* with an empty file nobody may enter, which is not "off" */

    hmcf->tokens = tokens;

    return NGX_CONF_OK;
}


static const char *
ngx_http_holdfast_token_line(ngx_conf_t *cf, ngx_http_holdfast_token_t *token,
    u_char *p, u_char *last)
{
    u_char      *end, tag[8];
    ngx_str_t    field[5];
    ngx_uint_t   i;

    for (i = 0; i < 5; i++) {

        end = ngx_strlchr(p, last, ' ');

        if (i == 4 ? end != NULL : end == NULL) {
            return "a token must have five fields";
        }

        if (end == NULL) {
            end = last;
        }

        field[i].len = end - p;
        field[i].data = ngx_pnalloc(cf->pool, field[i].len + 1);

        if (field[i].data == NULL) {
            return "no memory";
        }

        ngx_cpystrn(field[i].data, p, field[i].len + 1);

        if (field[i].len == 0) {
            return "a token has an empty field";
        }

        p = end + 1;
    }

    if (field[0].len != 64
        || ngx_http_holdfast_hex(token->digest, field[0].data, 32) != NGX_OK)
    {
        return "a token's digest must be 64 hexadecimal digits";
    }

    if (field[2].len != 16
        || ngx_http_holdfast_hex(tag, field[2].data, 8) != NGX_OK)
    {
        return "a token's tenant tag must be 16 hexadecimal digits";
    }

    for (i = 0; i < 8; i++) {
        token->tag = token->tag << 8 | tag[i];
    }

    token->tenant = field[1];
    token->name = field[3];
    token->scope = field[4];

    return ngx_http_holdfast_token_scope(cf, token);
}


static const char *
ngx_http_holdfast_token_scope(ngx_conf_t *cf,
    ngx_http_holdfast_token_t *token)
{
    u_char      *p, *end, *last;
    ngx_uint_t   n;
    ngx_str_t   *scope;

    scope = &token->scope;

    if (ngx_strcmp(scope->data, "admin") == 0
        || ngx_strcmp(scope->data, "rw") == 0)
    {
        return NULL;
    }

    if (ngx_strcmp(scope->data, "ro") == 0) {
        token->read_only = 1;
        return NULL;
    }

    if (ngx_strncmp(scope->data, "ids:", 4) != 0) {
        return "a token's scope must be admin, rw, ro or ids:<id>+<id>";
    }

    last = scope->data + scope->len;

    for (n = 1, p = scope->data + 4; p < last; p++) {
        n += (*p == '+');
    }

    token->ids = ngx_palloc(cf->pool, n * sizeof(ngx_str_t));
    if (token->ids == NULL) {
        return "no memory";
    }

    for (p = scope->data + 4; token->nids < n; p = end + 1) {

        end = ngx_strlchr(p, last, '+');

        if (end == NULL) {
            end = last;
        }

        token->ids[token->nids].data = p;
        token->ids[token->nids].len = end - p;

        if (end == p || end - p > NGX_HTTP_HOLDFAST_ID_MAX) {
            return "a token's scope has an id that is not one";
        }

        token->nids++;
    }

    return NULL;
}


ngx_http_holdfast_token_t *
ngx_http_holdfast_token_find(ngx_http_holdfast_tokens_t *tokens,
    ngx_str_t *secret)
{
    u_char                      digest[EVP_MAX_MD_SIZE];
    uint32_t                    hash;
    unsigned                    len;
    ngx_http_holdfast_token_t  *token, *found;

    if (EVP_Digest(secret->data, secret->len, digest, &len, EVP_sha256(), NULL)
        != 1
        || len != 32)
    {
        return NULL;
    }

    ngx_memcpy(&hash, digest, sizeof(uint32_t));

    found = NULL;

    for (token = tokens->buckets[hash & tokens->mask];
         token;
         token = token->next)
    {
        if (CRYPTO_memcmp(token->digest, digest, 32) == 0) {
            found = token;
        }
    }

    return found;
}


static ngx_int_t
ngx_http_holdfast_hex(u_char *out, u_char *p, size_t len)
{
    size_t     i;
    ngx_int_t  n;

    for (i = 0; i < len; i++) {

        n = ngx_hextoi(p + 2 * i, 2);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        out[i] = (u_char) n;
    }

    return NGX_OK;
}


uint64_t
ngx_http_holdfast_tenant_tag(ngx_str_t *tenant)
{
    u_char      digest[EVP_MAX_MD_SIZE];
    uint64_t    tag;
    unsigned    len;
    ngx_uint_t  i;

    tag = 0;

    if (EVP_Digest(tenant->data, tenant->len, digest, &len, EVP_sha256(), NULL)
        == 1)
    {
        for (i = 0; i < 8; i++) {
            tag = tag << 8 | digest[i];
        }
    }

    return tag;
}
