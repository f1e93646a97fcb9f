/*
 * json: strict JSON from outside, on top of json-c's tokener.
 *
 * json-c forgives much (NaN, comments, a name given twice, leading zeros). A
 * text gets to it only after a scan that refuses all of that, and is compared
 * with what came out: as many members as were written.
 */
#ifndef HF_API_JSON_H
#define HF_API_JSON_H

#include <json-c/json.h>
#include <stddef.h>

#include "../common/err.h"

#define JSON_DEPTH 16

/* Pure. One value, RFC 8259, UTF-8, at most JSON_DEPTH levels, no name twice
 * in an object, nothing behind it. The caller puts *out. */
int json_strict(const char *text, size_t len, struct json_object **out,
    struct err *e);

#endif
