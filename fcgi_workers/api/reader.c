/*
 * reader: see reader.h.
 */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/db.h"
#include "../common/log.h"

void reader_init(struct reader *rd, const char *path)
{
    memset(rd, 0, sizeof(*rd));
    snprintf(rd->path, sizeof(rd->path), "%s", path);
}

static void reader_forget(struct reader *rd, int i)
{
    sqlite3_finalize(rd->kept[i].s);
    free(rd->kept[i].sql);
    memset(&rd->kept[i], 0, sizeof(rd->kept[i]));
}

static void reader_close(struct reader *rd)
{
    int i;

    for (i = 0; i < READER_STATEMENTS; i++)
        reader_forget(rd, i);
    if (rd->db != NULL && sqlite3_close(rd->db) != SQLITE_OK)
        log_error("sqlite: closing: %s", sqlite3_errmsg(rd->db));
    rd->db = NULL;
}

void reader_fini(struct reader *rd)
{
    reader_close(rd);
}

static int reader_away(struct err *e)
{
    err_set(e, "unavailable", "the database cannot be read yet");
    if (e != NULL)
        e->retry_after_s = 1;
    return -1;
}

/* The file is looked at for every request: one stat, and a restored backup is
 * served from the next request on. */
static int reader_open(struct reader *rd, struct err *e)
{
    struct stat file;
    struct err  why;

    if (stat(rd->path, &file) == -1) {
        reader_close(rd);
        return reader_away(e);
    }
    if (rd->db != NULL && (file.st_dev != rd->dev || file.st_ino != rd->ino))
    {
        log_info("another database at %s: opened anew", rd->path);
        reader_close(rd);
    }
    if (rd->db != NULL)
        return 0;
    if (db_open_reader(&rd->db, rd->path, &why) == -1) {
        log_warn("database: %s", why.msg);
        return reader_away(e);
    }
    rd->dev = file.st_dev;
    rd->ino = file.st_ino;
    return 0;
}

/* The place of a statement that is not out and was used longest ago. */
static int reader_place(const struct reader *rd)
{
    int i, best = -1;

    for (i = 0; i < READER_STATEMENTS; i++) {
        if (rd->kept[i].busy)
            continue;
        if (best == -1 || rd->kept[i].used < rd->kept[best].used)
            best = i;
    }
    return best;
}

static int reader_find(const struct reader *rd, const char *sql)
{
    int i;

    for (i = 0; i < READER_STATEMENTS; i++) {
        if (rd->kept[i].sql != NULL && !rd->kept[i].busy
            && strcmp(rd->kept[i].sql, sql) == 0)
            return i;
    }
    return -1;
}

int reader_take(struct reader *rd, const char *sql, sqlite3_stmt **out,
    struct err *e)
{
    int i;

    if (reader_open(rd, e) == -1)
        return -1;
    i = reader_find(rd, sql);
    if (i == -1) {
        i = reader_place(rd);
        if (i == -1)
            return err_set(e, "internal", "too many statements are open");
        reader_forget(rd, i);
        if (db_prepare(rd->db, sql, &rd->kept[i].s, e) == -1)
            return -1;
        rd->kept[i].sql = strdup(sql);
        if (rd->kept[i].sql == NULL) {
            reader_forget(rd, i);
            return err_set(e, "unavailable", "out of memory");
        }
    }
    rd->kept[i].used = ++rd->clock;
    rd->kept[i].busy = 1;
    *out = rd->kept[i].s;
    return 0;
}

void reader_done(struct reader *rd, sqlite3_stmt *s)
{
    int i;

    if (s == NULL)
        return;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    for (i = 0; i < READER_STATEMENTS; i++) {
        if (rd->kept[i].s == s)
            rd->kept[i].busy = 0;
    }
}

int reader_step(struct reader *rd, sqlite3_stmt *s, struct err *e)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_CANTOPEN)
        return reader_away(e);
    return db_error(rd->db, "reading", e);
}
