/*
 * news: what Redis is told. It may be away; nothing else changes then.
 *
 * hf:sleep holds when to look at each awake sandbox again (redis/KEYS.md).
 */
#ifndef HF_KEEPER_NEWS_H
#define HF_KEEPER_NEWS_H

#include "../common/err.h"
#include "sandbox.h"

int  news_open(struct keeper *k, struct err *e);
void news_close(struct keeper *k);
bool news_up(const struct keeper *k);

void news_awake(struct sandbox *sb);
void news_asleep(struct sandbox *sb);

#endif
