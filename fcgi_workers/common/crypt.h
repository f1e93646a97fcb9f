/*
 * crypt: secrets at rest and digests (OpenSSL).
 *
 * Sealed form: version(1) key_id(1) nonce(12) ciphertext tag(16), AES-256-GCM,
 * with the caller's context (table, column, row) as associated data, so that a
 * value moved to another row does not open.
 */
#ifndef HF_CRYPT_H
#define HF_CRYPT_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct crypt_key {
    unsigned char bytes[32];
};

/* Reads the key file, or makes it (0600, synced) when `make` and it is not
 * there. Refuses one that others may read. */
int crypt_key_load(struct crypt_key *k, const char *path, int make,
    struct err *e);

/* *out is malloced. */
int crypt_seal(const struct crypt_key *k, const char *context,
    const void *in, size_t len, unsigned char **out, size_t *out_len);
int crypt_open(const struct crypt_key *k, const char *context,
    const void *in, size_t len, unsigned char **out, size_t *out_len);

void crypt_sha256(const void *in, size_t len, unsigned char out[32]);
void crypt_sha256_hex(const void *in, size_t len, char out[65]);
uint64_t crypt_tenant_tag(const char *tenant);
int  crypt_random(void *out, size_t len);

#endif
