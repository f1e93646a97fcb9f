/*
 * request: the body of an exec call, and refusals. Pure.
 */
#ifndef GUEST_REQUEST_H
#define GUEST_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

struct refusal {                /* an answer that is an error */
    int         status;
    const char *code;           /* one of the API's list */
    char        message[200];
    char        field[64];      /* "" if none */
    int         retry_after_s;
};

struct request {                /* points into the body */
    struct strings argv, env;
    char   *line;               /* instead of argv: for a shell */
    char   *cwd;
    char   *input;
    size_t  ninput;
    bool    has_input;
    int64_t timeout_ms;         /* 0: none */
    int64_t max_output;         /* 0: not given */
};

/* Decodes the body in place. `strict` is the v1 form: a field that is not
 * known is refused. 0, or -1 with *why filled and *r empty. */
int  request_parse(char *body, size_t n, bool strict, struct request *r,
    struct refusal *why);
void request_free(struct request *r);

/* Fills *why and returns -1. The field may be NULL; it is cut, not checked. */
int  refuse(struct refusal *why, int status, const char *code,
    const char *field, const char *message);

#endif
