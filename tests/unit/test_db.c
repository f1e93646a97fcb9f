/*
 * test_db: a new file, one that is there, one that is newer, and a reader
 * beside and without the writer.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/db.h"
#include "common/row.h"
#include "common/schema.h"
#include "test.h"

static char folder[] = "/tmp/holdfast-test-db.XXXXXX";
static char path[64];

static int number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int           n = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK
        && sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return n;
}

static int mode(const char *suffix)
{
    struct stat st;
    char        name[80];

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (int) (st.st_mode & 07777) : -1;
}

static void test_new(void)
{
    sqlite3      *w = NULL, *r = NULL;
    sqlite3_stmt *s = NULL;
    struct err    e;

    CHECK(db_open_reader(&r, path, &e) == -1);
    CHECK(db_open_writer(&w, path, -1, &e) == 0);
    CHECK(number(w, "PRAGMA user_version") == SCHEMA_VERSION);
    CHECK(number(w, "PRAGMA foreign_keys") == 1);
    CHECK(number(w, "PRAGMA synchronous") == 2);
    CHECK(mode("") == 0640);
    CHECK(mode("-shm") == 0660);
    /* the columns that rows are read from are in the schema */
    CHECK(db_prepare(w, "SELECT " ROW_COLUMNS " FROM sandboxes", &s, &e)
        == 0);
    sqlite3_finalize(s);
    CHECK(db_prepare(w, "SELECT nothing FROM nowhere", &s, &e) == -1);
    CHECK_STR(e.code, "internal");
    CHECK(db_exec(w, "INSERT INTO meta VALUES('epoch',1)", &e) == 0);

    CHECK(db_open_reader(&r, path, &e) == 0);
    CHECK(number(r, "SELECT value FROM meta WHERE name='epoch'") == 1);
    CHECK(db_exec(r, "DELETE FROM meta", &e) == -1);
    CHECK(db_exec(w, "UPDATE meta SET value=2", &e) == 0);
    CHECK(number(r, "SELECT value FROM meta WHERE name='epoch'") == 2);
    sqlite3_close(r);
    sqlite3_close(w);
}

static void test_again(void)
{
    sqlite3   *w = NULL, *r = NULL;
    struct err e;

    /* the log stays, so that readers can read without a writer */
    CHECK(mode("-wal") != -1 && mode("-shm") != -1);
    CHECK(db_open_reader(&r, path, &e) == 0);
    CHECK(number(r, "SELECT value FROM meta WHERE name='epoch'") == 2);
    sqlite3_close(r);
    CHECK(db_open_writer(&w, path, -1, &e) == 0);
    CHECK(number(w, "SELECT value FROM meta WHERE name='epoch'") == 2);
    CHECK(db_exec(w, "PRAGMA user_version=99", &e) == 0);
    sqlite3_close(w);
}

static void test_newer(void)
{
    sqlite3   *db = NULL;
    struct err e;

    CHECK(db_open_writer(&db, path, -1, &e) == -1);
    CHECK(strstr(e.msg, "99") != NULL);
    CHECK(db_open_reader(&db, path, &e) == -1);
    CHECK(db == NULL);
}

static void test_not_a_database(void)
{
    sqlite3   *db = NULL;
    struct err e;
    FILE      *f;
    char       other[64];

    snprintf(other, sizeof(other), "%s/other", folder);
    f = fopen(other, "w");
    fprintf(f, "%4096s", "this is no database");
    fclose(f);
    CHECK(db_open_writer(&db, other, -1, &e) == -1);
    snprintf(other, sizeof(other), "%s/link", folder);
    CHECK(symlink(path, other) == 0);
    CHECK(db_open_writer(&db, other, -1, &e) == -1);
}

int main(void)
{
    char command[96];

    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/holdfast.db", folder);
    test_new();
    test_again();
    test_newer();
    test_not_a_database();
    snprintf(command, sizeof(command), "%s", folder);
    if (chdir(command) == 0) {
        static const char *const names[] = {
            "holdfast.db", "holdfast.db-wal", "holdfast.db-shm", "other",
            "other-wal", "other-shm", "other-journal", "link"
        };
        size_t i;

        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            unlink(names[i]);
        CHECK(rmdir(folder) == 0);
    }
    return TEST_END();
}
