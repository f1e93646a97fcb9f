/*
 * test_row: columns land in the fields that they are named after, and every
 * rung has its words.
 */
#include <stdlib.h>

#include "common/row.h"
#include "test.h"

/* A statement whose columns are text `c<i>`, number i, or NULL. */
static sqlite3_stmt *statement(sqlite3 *db, const char *id, const char *rung)
{
    static char   sql[4096];
    sqlite3_stmt *s = NULL;
    int           i;
    size_t        n;

    n = (size_t) snprintf(sql, sizeof(sql), "SELECT %s,%s,9", id, rung);
    for (i = 3; i < 27; i++)
        n += (size_t) snprintf(sql + n, sizeof(sql) - n, ",'c%d'", i);
    for (; i < 47; i++)
        n += (size_t) snprintf(sql + n, sizeof(sql) - n, ",%d", i);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK)
        sqlite3_step(s);
    return s;
}

static void test_columns(void)
{
    const char *p;
    int         n = 1;

    for (p = ROW_COLUMNS; *p != '\0'; p++)
        n += *p == ',';
    CHECK(n == 47);
}

static void test_load(sqlite3 *db)
{
    sqlite3_stmt *s = statement(db, "'abc'", "4");
    struct row    r, b;

    CHECK(row_load(&r, s) == 0);
    CHECK(row_borrow(&b, s) == 0);
    sqlite3_reset(s);
    CHECK_STR(r.id, "abc");
    CHECK(r.rung == RUNG_FROZEN && r.generation == 9);
    /* first, last and one in the middle of each table */
    CHECK_STR(r.tenant, "c3");
    CHECK_STR(r.image, "c10");
    CHECK_STR(r.host_header, "c21");
    CHECK_STR(r.last_status, "c26");
    CHECK(r.memory_mb == 27 && r.version == 38 && r.pid == 46);
    CHECK(b.memory_mb == 27 && b.pid == 46);
    row_fini(&r);
    CHECK(r.tenant == NULL);
    row_fini(&r);
    sqlite3_finalize(s);
}

static void test_refused(sqlite3 *db)
{
    static const char *const bad[][2] = {
        { "NULL", "2" }, { "'abc'", "-1" }, { "'abc'", "15" },
        { "'0123456789012345678901234567890123456789x'", "2" },
    };
    struct row r;
    size_t     i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sqlite3_stmt *s = statement(db, bad[i][0], bad[i][1]);

        CHECK_AS(row_load(&r, s) == -1, bad[i][0]);
        sqlite3_finalize(s);
    }
}

static void test_words(void)
{
    struct row r;
    int        i, empty = 0;

    memset(&r, 0, sizeof(r));
    for (i = 0; i < RUNG_COUNT; i++) {
        r.rung = (enum rung) i;
        empty += rung_name(r.rung) == NULL || row_state(&r) == NULL
            || row_status(&r) == NULL;
    }
    CHECK(empty == 0);
    r.rung = RUNG_STARTING;
    CHECK_STR(row_state(&r), "creating");
    r.started_ms = 1;
    CHECK_STR(row_state(&r), "stopped");
    r.rung = RUNG_FROZEN;
    CHECK_STR(row_status(&r), "stopped");
    CHECK(rung_is_gone(RUNG_PURGING) && !rung_is_gone(RUNG_ERROR));
}

int main(void)
{
    sqlite3 *db = NULL;

    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        return 1;
    test_columns();
    test_load(db);
    test_refused(db);
    test_words();
    sqlite3_close(db);
    return TEST_END();
}
