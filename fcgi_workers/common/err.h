/*
 * err: errors as values, with a sentence for a person.
 *
 * A function that can fail returns 0, or -1 with its struct err filled; its
 * outputs are then untouched. `code` is one of the closed list in err.c, which
 * also gives the HTTP status and whether trying again may help. Never put a
 * host path, a secret or an engine's raw text without a sentence before it
 * into `msg`: clients see it.
 */
#ifndef HF_ERR_H
#define HF_ERR_H

#include <stdbool.h>

struct err {
    const char *code;           /* static, from the list; NULL: no error */
    char        msg[256];       /* one sentence, names the field and the rule */
    char        field[64];      /* JSON path of the bad field, or "" */
    char        hint[160];      /* what to do, or "" */
    int         retry_after_s;  /* 0: none */
};

struct err_code {
    const char *code;
    int         status;         /* HTTP */
    bool        retryable;
};

/* Sets *e (which may be NULL) and returns -1, so that callers can write
 * `return err_set(e, "not_found", "no sandbox %s", id);` */
int err_set(struct err *e, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, naming a field of the request. */
int err_field(struct err *e, const char *code, const char *field,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* "internal" from errno: "cannot <what>: <strerror>". */
int err_errno(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The row of a code; an unknown one is "internal". Never NULL. */
const struct err_code *err_lookup(const char *code);

/* The whole list, ended by a NULL code: openapi.yaml is checked against it. */
extern const struct err_code err_codes[];

#endif
