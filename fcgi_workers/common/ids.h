/*
 * ids: names that come from outside or are made by us. Pure functions.
 *
 * The one place that makes and checks sandbox ids, keys, operation numbers
 * and idempotency keys, so that a fleet can later claim a name elsewhere.
 */
#ifndef HF_IDS_H
#define HF_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_MAX      40
#define ID_ULID_LEN 26
#define KEY_MAX     128         /* by-key names, labels, external ids */

/* Checks [a-z0-9]{1,40} after folding upper case; writes the folded id into
 * out[ID_MAX + 1]. 0, or -1. */
int ids_fold(const char *s, size_t len, char *out);

/* A new lower-case ULID into out[ID_ULID_LEN + 1]; grows within one ms. */
void ids_new(char *out);

/* [A-Za-z0-9-]{8,64} */
bool ids_request_ok(const char *s, size_t len);
void ids_request_new(char *out);                /* 26 characters + NUL */

/* 1..KEY_MAX bytes of printable UTF-8 without control characters. */
bool ids_key_ok(const char *s, size_t len);

/* Decimal, no sign, no leading zero but "0", within [min, max]. 0 or -1. */
int ids_number(const char *s, size_t len, int64_t min, int64_t max,
    int64_t *out);

/* Well-formed UTF-8 (no surrogates, no overlong forms, ≤ U+10FFFF), no NUL. */
bool ids_utf8_ok(const char *s, size_t len);

#endif
