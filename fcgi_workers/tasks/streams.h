/*
 * streams: the one writer of stream files (common/frames.h).
 *
 * Appends go to the log at once and count when streams_sync has synced them
 * and written their index entries. What an event means is not known here: it
 * has a type, a line of data and a place in the caller's input, which only
 * grows. A caller that was killed begins again where it was: an event whose
 * place is not after the stream's last one is there already and is skipped.
 *
 * A file whose tail was torn by a crash is cut to its last whole event when it
 * is opened.
 */
#ifndef HF_STREAMS_H
#define HF_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/err.h"

struct streams;

struct stream_event {
    const char *type;
    const char *data;           /* one line */
    uint64_t    pos;            /* in the input, 1 … 2^63 - 1 */
    bool        ends;           /* nothing comes after it, so far */
};

/* `told` is called with the name of each stream that has grown, after it was
 * synced. `log_max` bounds the bytes of a log that are kept. */
struct streams *streams_open(const char *dir, uint64_t log_max,
    void (*told)(void *arg, const char *name, uint64_t count), void *arg,
    struct err *e);
void streams_close(struct streams *all);        /* does not sync */

/* Places over `newest` are of another database: they are not believed. */
void streams_newest(struct streams *all, uint64_t newest);

/* `name` is FOLDER/FILE without an ending, [a-z0-9-] both. -1: nothing of the
 * event is there, as on a full disk. */
int  streams_append(struct streams *all, const char *name,
    const struct stream_event *ev, struct err *e);
/* All appends since the last sync. -1: they do not count yet, sync again. */
int  streams_sync(struct streams *all, struct err *e);
/* Removes a stream unless it has something after place `pos`. Sync first. */
int  streams_drop(struct streams *all, const char *name, uint64_t pos,
    struct err *e);

#endif
