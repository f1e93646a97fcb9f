/*
 * usage: GET …/usage: what was used, by day, from the keeper's table.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../common/clock.h"
#include "../common/render.h"
#include "router.h"

#define DAY_S   86400
#define DEFAULT 30              /* days */

static const char *const usage_names[] = { "from", "to", NULL };

struct span {
    int64_t from, to;           /* days since the epoch, both included */
};

struct sums {
    int64_t cpu_us, memory_mb_ms, egress, awake_ms;
};

/* ---- which days ---------------------------------------------------------- */

static void day_text(int64_t day, char out[11])
{
    time_t    t = (time_t) (day * DAY_S);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(out, 11, "%Y-%m-%d", &tm);
}

static int day_of(const struct request *r, const char *name, int64_t none,
    int64_t *out, struct err *e)
{
    const char *text = query_get(&r->query, name), *end;
    struct tm   tm = { 0 };
    char        again[11];

    *out = none;
    if (text == NULL)
        return 0;
    end = strptime(text, "%Y-%m-%d", &tm);
    if (end != NULL && *end == '\0' && tm.tm_year >= 70) {
        *out = timegm(&tm) / DAY_S;
        day_text(*out, again);
        if (strcmp(text, again) == 0)
            return 0;
    }
    return err_field(e, "invalid_field", name,
        "query parameter %s must be a day, as 2026-01-31", name);
}

static int usage_span(const struct api *a, const struct request *r,
    struct span *out, struct err *e)
{
    int64_t today = clock_wall_ms() / 1000 / DAY_S;

    if (query_only(&r->query, usage_names, e) == -1
        || day_of(r, "to", today, &out->to, e) == -1
        || day_of(r, "from", out->to - DEFAULT + 1, &out->from, e) == -1)
        return -1;
    if (out->from > out->to || out->to - out->from > a->s->usage_days)
        return err_field(e, "invalid_field", "from", "query parameter from "
            "must be a day at most %lld before to", (long long)
            a->s->usage_days);
    return 0;
}

/* ---- rows ---------------------------------------------------------------- */

static void usage_render(struct buf *b, const struct sums *u)
{
    buf_printf(b, "\"cpu_s\":%.3f,\"memory_mb_s\":%" PRId64
        ",\"egress_bytes\":%" PRId64 ",\"awake_s\":%.3f}",
        (double) u->cpu_us / 1e6, u->memory_mb_ms / 1000, u->egress,
        (double) u->awake_ms / 1e3);
}

/* Columns: day, the four sums, sandboxes. */
static int usage_rows(struct api *a, struct request *r, sqlite3_stmt *s,
    struct err *e)
{
    struct buf *b = &r->out;
    struct sums total = { 0 }, u;
    char        day[11];
    int         rc, n = 0;

    buf_str(b, ",\"days\":[");
    while ((rc = reader_step(&a->reader, s, e)) == 1) {
        u.cpu_us = sqlite3_column_int64(s, 1);
        u.memory_mb_ms = sqlite3_column_int64(s, 2);
        u.egress = sqlite3_column_int64(s, 3);
        u.awake_ms = sqlite3_column_int64(s, 4);
        day_text(sqlite3_column_int64(s, 0), day);
        buf_printf(b, "%s{\"day\":\"%s\",\"sandboxes\":%" PRId64 ",",
            n++ > 0 ? "," : "", day, (int64_t) sqlite3_column_int64(s, 5));
        usage_render(b, &u);
        total.cpu_us += u.cpu_us;
        total.memory_mb_ms += u.memory_mb_ms;
        total.egress += u.egress;
        total.awake_ms += u.awake_ms;
    }
    buf_str(b, "],\"total\":{");
    usage_render(b, &total);
    buf_str(b, "}");
    return rc;
}

static int usage_answer(struct api *a, struct request *r, const char *sql,
    struct err *e)
{
    sqlite3_stmt *s;
    struct span   span;
    char          from[11], to[11];
    int           rc;

    if (usage_span(a, r, &span, e) == -1
        || reader_take(&a->reader, sql, &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->tenant, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, span.from);
    sqlite3_bind_int64(s, 3, span.to);
    if (r->id[0] != '\0')
        sqlite3_bind_text(s, 4, r->id, -1, SQLITE_STATIC);
    day_text(span.from, from);
    day_text(span.to, to);
    answer_json(r, 200);
    buf_printf(&r->out, "{\"from\":\"%s\",\"to\":\"%s\"", from, to);
    if (r->id[0] != '\0')
        buf_printf(&r->out, ",\"sandbox_id\":\"%s\"", r->id);
    rc = usage_rows(a, r, s, e);
    reader_done(&a->reader, s);
    if (rc == -1)
        buf_reset(&r->out);
    return rc;
}

/* ---- the routes ---------------------------------------------------------- */

/* There, or there once: usage outlives what was purged. */
static int usage_known(struct api *a, struct request *r, struct err *e)
{
    sqlite3_stmt *s;
    int           rc;

    if (reader_take(&a->reader, "SELECT 1 FROM sandboxes WHERE id=?1 AND "
            "tenant=?2 UNION ALL SELECT 1 FROM usage WHERE sandbox=?1 AND "
            "tenant=?2 LIMIT 1", &s, e) == -1)
        return -1;
    sqlite3_bind_text(s, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, r->tenant, -1, SQLITE_STATIC);
    rc = reader_step(&a->reader, s, e);
    reader_done(&a->reader, s);
    if (rc == 0)
        return err_set(e, "not_found", "there is no sandbox %s", r->id);
    return rc == -1 ? -1 : 0;
}

int api_usage_one(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    (void) route;
    if (usage_known(a, r, e) == -1)
        return -1;
    return usage_answer(a, r, "SELECT day,cpu_us,memory_mb_ms,egress_bytes,"
        "awake_ms,1 FROM usage WHERE tenant=?1 AND day BETWEEN ?2 AND ?3 AND "
        "sandbox=?4 ORDER BY day", e);
}

int api_usage(struct api *a, struct request *r,
    const struct route *route, struct err *e)
{
    (void) route;
    if (r->scope == SCOPE_IDS)
        return err_set(e, "forbidden",
            "this token is for some sandboxes only");
    return usage_answer(a, r, "SELECT day,sum(cpu_us),sum(memory_mb_ms),"
        "sum(egress_bytes),sum(awake_ms),count(*) FROM usage WHERE tenant=?1 "
        "AND day BETWEEN ?2 AND ?3 GROUP BY day ORDER BY day", e);
}
