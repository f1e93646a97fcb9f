/*
 * db: see db.h.
 *
 * Owns how the file is opened and which schema it has; knows no table. The
 * write-ahead log outlives the writer (PERSIST_WAL), so that workers can read
 * while the keeper is away: they may not make a -shm file of their own.
 */
#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "schema.h"

#define WRITER_BUSY_MS 5000
#define READER_BUSY_MS 500

const int db_version = SCHEMA_VERSION;

int db_error(sqlite3 *db, const char *doing, struct err *e)
{
    int code = db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(db);

    log_error("sqlite: %s: %s (%d)", doing,
        db == NULL ? "out of memory" : sqlite3_errmsg(db), code);
    if ((code & 0xff) == SQLITE_FULL)
        return err_set(e, "disk_full", "the disk of the database is full");
    return err_set(e, "internal", "the database failed while %s", doing);
}

int db_exec(sqlite3 *db, const char *sql, struct err *e)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return db_error(db, "running a command", e);
    return 0;
}

int db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out,
    struct err *e)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL)
        != SQLITE_OK)
        return db_error(db, "preparing a command", e);
    *out = s;
    return 0;
}

static int db_number(sqlite3 *db, const char *sql, int *out, struct err *e)
{
    sqlite3_stmt *s = NULL;

    if (db_prepare(db, sql, &s, e) == -1)
        return -1;
    if (sqlite3_step(s) != SQLITE_ROW) {
        sqlite3_finalize(s);
        return db_error(db, "reading its version", e);
    }
    *out = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return 0;
}

static int db_step_up(sqlite3 *db, int from, struct err *e)
{
    char version[64];

    snprintf(version, sizeof(version), "PRAGMA user_version=%d; COMMIT",
        from + 1);
    if (db_exec(db, "BEGIN IMMEDIATE", e) == 0
        && db_exec(db, schema_steps[from], e) == 0
        && db_exec(db, version, e) == 0)
        return 0;
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

static int db_too_new(int version, struct err *e)
{
    return err_set(e, "internal", "the database has version %d and this "
        "program knows up to %d: start the newer program, or restore a backup "
        "made before the upgrade", version, SCHEMA_VERSION);
}

static int db_migrate(sqlite3 *db, struct err *e)
{
    int version;

    if (db_number(db, "PRAGMA user_version", &version, e) == -1)
        return -1;
    if (version > SCHEMA_VERSION)
        return db_too_new(version, e);
    for (; version < SCHEMA_VERSION; version++) {
        if (db_step_up(db, version, e) == -1)
            return -1;
        log_info("database: now version %d", version + 1);
    }
    return 0;
}

static int db_sync_folder(const char *path)
{
    char copy[PATH_MAX];
    int  fd, rc;

    if ((size_t) snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

/* Before SQLite opens it: closing a descriptor of the file later would drop
 * the locks that SQLite holds. -wal and -shm inherit owner and mode. */
static int db_make_file(const char *path, int gid, struct err *e)
{
    int fd, rc;

    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd == -1)
        return err_errno(e, "open the database %s", path);
    rc = fchmod(fd, 0640);
    if (rc == 0 && gid >= 0)
        rc = fchown(fd, (uid_t) -1, (gid_t) gid);
    if (rc == 0)
        rc = db_sync_folder(path);
    close(fd);
    if (rc == -1)
        return err_errno(e, "prepare the database %s", path);
    return 0;
}

/* Readers map the -shm file for writing: their locks live in it. */
static int db_share(const char *path, const char *suffix, unsigned mode,
    int gid, struct err *e)
{
    char name[PATH_MAX];

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    if (chmod(name, mode) == -1 && errno != ENOENT)
        return err_errno(e, "set the mode of %s", name);
    if (gid >= 0 && chown(name, (uid_t) -1, (gid_t) gid) == -1
        && errno != ENOENT)
        return err_errno(e, "set the group of %s", name);
    return 0;
}

static int db_open(sqlite3 **db, const char *path, int flags, int busy_ms,
    struct err *e)
{
    int on = 1;

    *db = NULL;
    if (sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX
            | SQLITE_OPEN_EXRESCODE, NULL) != SQLITE_OK)
        return db_error(*db, "opening", e);
    sqlite3_busy_timeout(*db, busy_ms);
    sqlite3_file_control(*db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
    return db_exec(*db, "PRAGMA trusted_schema=OFF", e);
}

int db_open_writer(sqlite3 **db, const char *path, int gid, struct err *e)
{
    sqlite3 *own = NULL;

    if (db_make_file(path, gid, e) == -1)
        return -1;
    if (db_open(&own, path, SQLITE_OPEN_READWRITE, WRITER_BUSY_MS, e) == -1
        || db_exec(own, "PRAGMA journal_mode=WAL;"
            "PRAGMA synchronous=FULL;"
            "PRAGMA foreign_keys=ON;"
            "PRAGMA journal_size_limit=67108864", e) == -1
        || db_migrate(own, e) == -1
        || db_share(path, "-wal", 0640, gid, e) == -1
        || db_share(path, "-shm", 0660, gid, e) == -1) {
        sqlite3_close(own);
        return -1;
    }
    *db = own;
    return 0;
}

int db_open_reader(sqlite3 **db, const char *path, struct err *e)
{
    sqlite3 *own = NULL;
    int      version;

    if (db_open(&own, path, SQLITE_OPEN_READONLY, READER_BUSY_MS, e) == -1
        || db_exec(own, "PRAGMA query_only=ON", e) == -1
        || db_number(own, "PRAGMA user_version", &version, e) == -1)
        goto failed;
    if (version > SCHEMA_VERSION) {
        db_too_new(version, e);
        goto failed;
    }
    if (version < SCHEMA_VERSION) {
        err_set(e, "internal", "the database has version %d, %d is not made "
            "yet", version, SCHEMA_VERSION);
        goto failed;
    }
    *db = own;
    return 0;

failed:
    sqlite3_close(own);
    return -1;
}
