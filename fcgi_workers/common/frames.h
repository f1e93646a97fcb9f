/*
 * frames: the two files that an event stream is kept in. Pure functions.
 *
 * NAME.log holds frames, byte for byte as SSE sends them:
 *
 *     id: 7\nevent: sandbox.running\ndata: {"one":"line"}\n\n
 *
 * NAME.idx says which of them count. Numbers are little endian:
 *
 *     head     "HFSTREAM", u64 number of the first event that is kept
 *     entry n  u64 offset in the log at which event n ends
 *              u64 place in the writer's input; top bit: the stream ends here
 *
 * Only what a whole entry covers is part of the stream. The log is synced
 * before its entries are written, so what a reader sees through the index
 * lasts. Events are numbered from 0 without gaps; what was trimmed from the
 * front keeps its numbers and offsets, its bytes read as zeros.
 *
 * Compiled into the tasks role, which writes, and into nginx, which reads.
 */
#ifndef HF_FRAMES_H
#define HF_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_HEAD     16
#define FRAMES_ENTRY    16
#define FRAMES_MAX      65536   /* bytes of one frame */
#define FRAMES_TYPE_MAX 64

struct frames_entry {
    uint64_t end;
    uint64_t pos;               /* below 2^63 */
    bool     ends;
};

void frames_head_write(unsigned char out[FRAMES_HEAD], uint64_t first);
/* 0, or -1: this is not an index. */
int  frames_head_read(const unsigned char in[FRAMES_HEAD], uint64_t *first);

void frames_entry_write(unsigned char out[FRAMES_ENTRY],
    const struct frames_entry *e);
void frames_entry_read(const unsigned char in[FRAMES_ENTRY],
    struct frames_entry *e);
/* May an event lie in [start, e->end) of a log of `size` bytes? */
bool frames_entry_fits(const struct frames_entry *e, uint64_t start,
    uint64_t size);

/* Whole entries of an index of `size` bytes. */
uint64_t frames_count(uint64_t size);
/* Where entry n is in the index. */
uint64_t frames_place(uint64_t n);

/* The frame of event `id` into out[cap]; its length. 0: it does not fit, or
 * type ([a-z0-9._]) or data (no control characters) is not allowed. */
size_t frames_write(char *out, size_t cap, uint64_t id, const char *type,
    const char *data, size_t len);
/* Is p exactly one frame, that of event `id`? */
bool   frames_check(const char *p, size_t len, uint64_t id);

#endif
