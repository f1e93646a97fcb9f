/*
 * json: a pull reader that decodes in place, and what is needed to write.
 *
 * Reading: point the reader at writable text and ask for what is expected.
 * Strings come back decoded, in place, with a NUL behind them (their length
 * tells whether there is one inside, too). Nothing is allocated; depth is
 * bounded. After a call has failed the reader stays at the bad place.
 */
#ifndef GUEST_JSON_H
#define GUEST_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

struct json {
    char *p, *end;
    int   depth;
    bool  first;                /* just behind a [ or { */
};

enum json_kind {
    JSON_BAD, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY,
    JSON_OBJECT
};

void json_init(struct json *j, char *text, size_t n);
enum json_kind json_peek(struct json *j);

/* 0, or -1 when the text is not that. */
int json_string(struct json *j, char **s, size_t *n);
int json_int(struct json *j, int64_t *v);       /* no fraction, no exponent */
int json_skip(struct json *j);                  /* any one value */
int json_enter(struct json *j);                 /* the [ or { that is next */
int json_end(struct json *j);                   /* nothing may follow */

/* 1: there is one more; 0: the array or object has ended; -1: bad. */
int json_item(struct json *j);
int json_key(struct json *j, char **key, size_t *n);

/* Writing. The text must be UTF-8; what is not becomes U+FFFD. */
void json_add(struct bytes *b, const char *s, size_t n);    /* no quotes */
size_t json_length(const char *s, size_t n);    /* of what json_add adds */
void json_quote(struct bytes *b, const char *s);            /* with */
void base64_add(struct bytes *b, const char *s, size_t n);

/* Decodes in place; the new length, or -1. */
int64_t base64_decode(char *s, size_t n);

#endif
