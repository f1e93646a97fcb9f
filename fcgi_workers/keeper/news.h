/*
 * news: what Redis is told. It may be away; nothing else changes then.
 *
 * PUBLISH hf:news for each event of a sandbox's life, once it is committed;
 * hf:sleep holds when to look at each awake sandbox again (redis/KEYS.md).
 */
#ifndef HF_KEEPER_NEWS_H
#define HF_KEEPER_NEWS_H

#include "../common/err.h"
#include "sandbox.h"

int  news_open(struct keeper *k, struct err *e);
void news_close(struct keeper *k);
bool news_up(const struct keeper *k);

void news_tell(struct keeper *k, int64_t number, const char *sandbox);
/* When to look at it: at its next rung, at this moment (ms since the epoch),
 * not at all. */
void news_awake(struct sandbox *sb);
void news_look(struct sandbox *sb, int64_t at_ms);
void news_asleep(struct sandbox *sb);
void news_forget(struct keeper *k, const char *id);

/* The first of hf:sleep, the earliest first, due or not. n -1: Redis did not
 * say. `id` is borrowed. -1: it is away, and got is not called. */
#define NEWS_DUE_MAX 100
struct news_due {
    const char *id;
    int64_t     at_ms;
};
int  news_ask_due(struct keeper *k,
    void (*got)(struct keeper *k, const struct news_due *due, int n));

#endif
