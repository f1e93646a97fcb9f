/*
 * crypt: secrets at rest and digests (see crypt.h).
 *
 * Owns no key: callers do. The key id is the first byte of the key's digest,
 * so that a value sealed with another key is told from a damaged one, and a
 * second key can be found by its id later. Must never log a key or a secret.
 */
#include "crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CRYPT_VERSION 1
#define CRYPT_NONCE   12
#define CRYPT_TAG     16
#define CRYPT_HEAD    (2 + CRYPT_NONCE)
#define CRYPT_OVER    (CRYPT_HEAD + CRYPT_TAG)
#define CRYPT_MAX     (16 * 1024 * 1024)
#define CRYPT_FILE    65        /* 64 hex digits and a newline */

int crypt_random(void *out, size_t len)
{
    unsigned char *p = out;
    ssize_t        n;

    while (len > 0) {
        n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

void crypt_sha256(const void *in, size_t len, unsigned char out[32])
{
    SHA256(in, len, out);
}

static void crypt_hex(const unsigned char *in, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t            i;

    for (i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

void crypt_sha256_hex(const void *in, size_t len, char out[65])
{
    unsigned char digest[32];

    crypt_sha256(in, len, digest);
    crypt_hex(digest, sizeof(digest), out);
}

/* Big endian, so that %016x prints the first 16 digits of the digest. */
uint64_t crypt_tenant_tag(const char *tenant)
{
    unsigned char digest[32];
    uint64_t      tag = 0;
    int           i;

    crypt_sha256(tenant, strlen(tenant), digest);
    for (i = 0; i < 8; i++)
        tag = (tag << 8) | digest[i];
    return tag;
}

/* ---- the key file ------------------------------------------------------- */

static int crypt_unhex(const char *in, unsigned char *out, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const char       *high, *low;
    size_t            i;

    for (i = 0; i < len; i++) {
        high = memchr(digits, in[2 * i], 16);
        low = memchr(digits, in[2 * i + 1], 16);
        if (high == NULL || low == NULL)
            return -1;
        out[i] = (unsigned char)(((high - digits) << 4) | (low - digits));
    }
    return 0;
}

static int crypt_key_read(struct crypt_key *k, int fd, const char *path,
    struct err *e)
{
    struct crypt_key read_key;
    struct stat      st;
    char             text[CRYPT_FILE + 1];
    ssize_t          n;
    int              rc;

    if (fstat(fd, &st) != 0)
        return err_errno(e, "look at the key file %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(e, "internal", "the key file %s must be a file that "
            "only its owner may read (chmod 600)", path);
    n = read(fd, text, sizeof(text));
    if (n != CRYPT_FILE || text[CRYPT_FILE - 1] != '\n'
        || crypt_unhex(text, read_key.bytes, sizeof(read_key.bytes)) != 0)
    {
        rc = err_set(e, "internal", "the key file %s must hold 64 "
            "hexadecimal digits and a newline", path);
    } else {
        *k = read_key;
        rc = 0;
    }
    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(&read_key, sizeof(read_key));
    return rc;
}

static int crypt_sync_parent(const char *path)
{
    char  dir[4096];
    char *slash;
    int   fd, rc;

    if ((size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
        return -1;
    slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir)
        return 0;
    *slash = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

/* Written beside its place and linked there: a crash leaves no half key, and
 * one that somebody else made meanwhile is not overwritten. */
static int crypt_key_make(const char *path, struct err *e)
{
    struct crypt_key k;
    char             text[CRYPT_FILE + 1], temp[4096];
    int              fd, rc = -1;

    if ((size_t)snprintf(temp, sizeof(temp), "%s.new", path) >= sizeof(temp))
        return err_set(e, "internal", "the key file's path is too long");
    if (crypt_random(&k, sizeof(k)) != 0)
        return err_errno(e, "make a key");
    crypt_hex(k.bytes, sizeof(k.bytes), text);
    text[CRYPT_FILE - 1] = '\n';
    unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        0600);
    if (fd >= 0) {
        if (write(fd, text, CRYPT_FILE) == CRYPT_FILE && fsync(fd) == 0
            && (link(temp, path) == 0 || errno == EEXIST)
            && crypt_sync_parent(path) == 0)
        {
            rc = 0;
        }
        close(fd);
    }
    if (rc != 0)
        err_errno(e, "make the key file %s", path);
    unlink(temp);
    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(&k, sizeof(k));
    return rc;
}

int crypt_key_load(struct crypt_key *k, const char *path, int make,
    struct err *e)
{
    int fd, rc;

    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make) {
        if (crypt_key_make(path, e) != 0)
            return -1;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }
    if (fd < 0)
        return err_errno(e, "open the key file %s", path);
    rc = crypt_key_read(k, fd, path, e);
    close(fd);
    return rc;
}

/* ---- sealing ------------------------------------------------------------ */

static unsigned char crypt_key_id(const struct crypt_key *k)
{
    unsigned char digest[32];

    crypt_sha256(k->bytes, sizeof(k->bytes), digest);
    return digest[0];
}

static int crypt_gcm(EVP_CIPHER_CTX *c, const struct crypt_key *k, int seal,
    const unsigned char *nonce, const char *context,
    const unsigned char *head)
{
    int n;

    return EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, nonce,
               seal) == 1
        && EVP_CipherUpdate(c, NULL, &n, head, 2) == 1
        && EVP_CipherUpdate(c, NULL, &n, (const unsigned char *)context,
               (int)strlen(context)) == 1 ? 0 : -1;
}

int crypt_seal(const struct crypt_key *k, const char *context, const void *in,
    size_t len, unsigned char **out, size_t *out_len)
{
    EVP_CIPHER_CTX *c;
    unsigned char  *p;
    int             n, rc = -1;

    if (len > CRYPT_MAX)
        return -1;
    c = EVP_CIPHER_CTX_new();
    p = malloc(len + CRYPT_OVER);
    if (c == NULL || p == NULL || crypt_random(p + 2, CRYPT_NONCE) != 0)
        goto done;
    p[0] = CRYPT_VERSION;
    p[1] = crypt_key_id(k);
    if (crypt_gcm(c, k, 1, p + 2, context, p) != 0
        || (len > 0 && EVP_EncryptUpdate(c, p + CRYPT_HEAD, &n, in,
                (int)len) != 1)
        || EVP_EncryptFinal_ex(c, p + CRYPT_HEAD + len, &n) != 1
        || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, CRYPT_TAG,
               p + CRYPT_HEAD + len) != 1)
    {
        goto done;
    }
    *out = p;
    *out_len = len + CRYPT_OVER;
    p = NULL;
    rc = 0;
done:
    EVP_CIPHER_CTX_free(c);
    free(p);
    return rc;
}

int crypt_open(const struct crypt_key *k, const char *context, const void *in,
    size_t len, unsigned char **out, size_t *out_len)
{
    const unsigned char *sealed = in;
    EVP_CIPHER_CTX      *c;
    unsigned char       *p, tag[CRYPT_TAG];
    size_t               body;
    int                  n, rc = -1;

    if (len < CRYPT_OVER || len > CRYPT_MAX + CRYPT_OVER
        || sealed[0] != CRYPT_VERSION || sealed[1] != crypt_key_id(k))
    {
        return -1;
    }
    body = len - CRYPT_OVER;
    memcpy(tag, sealed + CRYPT_HEAD + body, CRYPT_TAG);
    c = EVP_CIPHER_CTX_new();
    p = calloc(1, body + 1);    /* a text comes back NUL-terminated */
    if (c == NULL || p == NULL
        || crypt_gcm(c, k, 0, sealed + 2, context, sealed) != 0
        || (body > 0 && EVP_DecryptUpdate(c, p, &n, sealed + CRYPT_HEAD,
                (int)body) != 1)
        || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, CRYPT_TAG, tag) != 1
        || EVP_DecryptFinal_ex(c, p + body, &n) != 1)
    {
        goto done;
    }
    *out = p;
    *out_len = body;
    p = NULL;
    rc = 0;
done:
    EVP_CIPHER_CTX_free(c);
    if (p != NULL)
        OPENSSL_cleanse(p, body);
    free(p);
    return rc;
}
