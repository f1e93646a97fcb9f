/*
 * reader: what a worker reads from SQLite, and nothing else.
 *
 * Opened read-only when first needed and again when another file stands at
 * its path (a restore). Statements are prepared once per process and kept by
 * their text. A statement that is out must be given back with reader_done
 * before the answer ends: an open one holds the write-ahead log.
 */
#ifndef HF_API_READER_H
#define HF_API_READER_H

#include <sqlite3.h>
#include <stdint.h>
#include <sys/types.h>

#include "../common/err.h"

#define READER_STATEMENTS 32

struct reader {
    char          path[512];
    sqlite3      *db;
    dev_t         dev;
    ino_t         ino;
    struct {
        char         *sql;
        sqlite3_stmt *s;
        uint64_t      used;
        int           busy;
    } kept[READER_STATEMENTS];
    uint64_t      clock;
};

void reader_init(struct reader *rd, const char *path);
void reader_fini(struct reader *rd);

/* A statement, ready to be bound. "unavailable" (503) without a database. */
int  reader_take(struct reader *rd, const char *sql, sqlite3_stmt **out,
    struct err *e);
void reader_done(struct reader *rd, sqlite3_stmt *s);

/* One step: 1 a row, 0 the end, -1 with *e. */
int  reader_step(struct reader *rd, sqlite3_stmt *s, struct err *e);

#endif
