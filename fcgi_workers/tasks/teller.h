/*
 * teller: tells nginx that a stream has grown, through Redis.
 *
 * PUBLISH hf:news "<stream> <count>" (redis/KEYS.md). While Redis is away, or
 * too far behind, nothing is told: nginx' workers look for themselves once a
 * second.
 */
#ifndef HF_TELLER_H
#define HF_TELLER_H

#include <stdint.h>

#include "../common/loop.h"

struct teller;

struct teller *teller_open(struct loop *l, const char *path);
void teller_close(struct teller *t);
/* Kept until teller_flush. */
void teller_tell(struct teller *t, const char *stream, uint64_t count);
void teller_flush(struct teller *t);

#endif
