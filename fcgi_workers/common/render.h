/*
 * render: a row as the JSON that clients see, in both families of routes.
 *
 * Used by api workers (GET, lists) and by the keeper (the answer of an
 * operation, once, at the moment it ends), so that both say the same. Every
 * function appends text to `b` and builds no json_object: a list of 500 rows
 * is one pass over the rows. Whatever the bytes of a string, what comes out is
 * valid JSON in UTF-8. Check b->failed at the end.
 */
#ifndef HF_RENDER_H
#define HF_RENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "row.h"
#include "settings.h"

/* The row of the base routes, an object. */
void render_base(struct buf *b, const struct row *r, const struct settings *s);
/* The object of /v1. */
void render_v1(struct buf *b, const struct row *r, const struct settings *s);
/* {"row":…,"live_state":…,"runtime":…} of GET /sandbox/{id}. */
void render_live(struct buf *b, const struct row *r, const struct settings *s);
#define RENDER_PORT 3000        /* in a URL when no port is declared */
/* http://s-<id>-<port>.preview.<domain>[:port], without quotes */
void render_preview_url(struct buf *b, const struct settings *s,
    const char *id, unsigned port);

/* The body of an error in the shape of its family. */
void render_error(struct buf *b, const struct err *e, bool v1,
    const char *request_id);

/* A JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void render_string(struct buf *b, const char *s, size_t len);
void render_number(struct buf *b, int64_t n);
/* RFC 3339 with milliseconds, in quotes. */
void render_time(struct buf *b, int64_t wall_ms);

#endif
