/*
 * account: see account.h. Its state is in struct live; writes its rows in the
 * turn's transaction.
 */
#include "account.h"

#include "../common/clock.h"
#include "../common/log.h"
#include "live.h"
#include "store_in.h"
#include "usage.h"

#define DAY_MS 86400000

struct used {
    int64_t cpu_us, memory_mb_ms, egress, awake_ms;
};

/* Rows that are too old go when a new day is first written. */
static int account_prune(struct keeper *k, int64_t day, struct err *e)
{
    sqlite3_stmt *s = k->store->stmt[ST_USAGE_PRUNE];

    if (k->account_day == day)
        return 0;
    k->account_day = day;
    sqlite3_bind_int64(s, 1, day - k->s->usage_days);
    return st_run(k->store, s, "forgetting old usage", e);
}

/* What a reading spans belongs to the day on which it ends. */
static void account_add(struct sandbox *sb, const struct used *u)
{
    struct store *st = sb->k->store;
    sqlite3_stmt *s = st->stmt[ST_USAGE];
    int64_t       day = clock_wall_ms() / DAY_MS;
    struct err    e;

    if (st_begin(st, &e) == -1 || account_prune(sb->k, day, &e) == -1)
        goto failed;
    st_text(s, 1, sb->tenant->name);
    st_text(s, 2, sb->id);
    sqlite3_bind_int64(s, 3, day);
    sqlite3_bind_int64(s, 4, u->cpu_us);
    sqlite3_bind_int64(s, 5, u->memory_mb_ms);
    sqlite3_bind_int64(s, 6, u->egress);
    sqlite3_bind_int64(s, 7, u->awake_ms);
    if (st_run(st, s, "storing usage", &e) == 0)
        return;

failed:
    log_warn("sandbox=%s its usage is not stored: %s", sb->id, e.msg);
}

static int64_t grown(int64_t from, int64_t to)
{
    return to > from ? to - from : 0;
}

static void account_read(struct sandbox *sb)
{
    struct usage *last = &sb->live->counted, now;
    struct used   u = { 0 };
    int64_t       at = loop_now_ms(sb->k->loop);
    struct err    e;

    u.awake_ms = at - sb->live->counted_ms;
    sb->live->counted_ms = at;
    if (usage_take(sb, &now, &e) == 0) {
        u.cpu_us = grown(last->cpu_us, now.cpu_us);
        u.egress = grown(last->egress_bytes, now.egress_bytes);
        u.memory_mb_ms = (last->memory_bytes / 2 + now.memory_bytes / 2)
            / 1024 * u.awake_ms / 1024;
        *last = now;
    } else {                    /* it is gone: as much as it had */
        u.memory_mb_ms = last->memory_bytes / 1024 * u.awake_ms / 1024;
    }
    account_add(sb, &u);
}

static void account_due(struct timer *t)
{
    struct sandbox *sb = t->owner;

    account_read(sb);
    loop_timer_set(sb->k->loop, t, sb->k->s->usage_s * 1000);
}

void account_begin(struct sandbox *sb, bool fresh)
{
    struct live *live = live_of(sb);
    struct err   e;

    if (live->counting)
        return;
    live->counting = true;
    live->counted = (struct usage) { 0 };
    live->counted_ms = loop_now_ms(sb->k->loop);
    if (!fresh && usage_take(sb, &live->counted, &e) == -1)
        log_warn("sandbox=%s %s", sb->id, e.msg);
    live->count.owner = sb;
    live->count.due = account_due;
    loop_timer_set(sb->k->loop, &live->count, sb->k->s->usage_s * 1000);
}

void account_end(struct sandbox *sb)
{
    if (sb->live == NULL || !sb->live->counting)
        return;
    account_read(sb);
    account_forget(sb);
}

void account_forget(struct sandbox *sb)
{
    sb->live->counting = false;
    loop_timer_clear(sb->k->loop, &sb->live->count);
}
