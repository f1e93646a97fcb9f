/*
 * db: opening SQLite, the schema and its migrations.
 *
 * The keeper opens for writing and migrates; api workers open read-only. A
 * database from a newer version is refused with a sentence. Statements are
 * prepared once per process and live in a table of the module that uses them.
 */
#ifndef HF_DB_H
#define HF_DB_H

#include <sqlite3.h>

#include "err.h"

extern const int db_version;

/* Creates and migrates: WAL, synchronous=FULL, foreign_keys on. Files 0640
 * root:gid, -shm 0660 so that readers of the group can map it. */
int db_open_writer(sqlite3 **db, const char *path, int gid, struct err *e);
int db_open_reader(sqlite3 **db, const char *path, struct err *e);

int db_exec(sqlite3 *db, const char *sql, struct err *e);
int db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out,
    struct err *e);
/* A filled disk is "disk_full" (507), anything else "internal". */
int db_error(sqlite3 *db, const char *doing, struct err *e);

#endif
