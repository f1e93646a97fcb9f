/*
 * pack: see pack.h. libarchive does the format.
 *
 * Nobody else changes the home meanwhile: its sandbox is stopped. To read
 * files that their owner took the rights from, packing keeps one capability.
 */
#include "pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <linux/capability.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../parent/privs.h"
#include "child.h"

#define BLOCK       (128 * 1024)
#define ZEROS       (1024 * 1024)
#define ROOM_EACH   (32 * 1024 * 1024)  /* bytes between looks at the disk */
#define PATH_LONGEST 4000       /* what the way back can make */
#define MEMORY_MAX  (2048ULL << 20)

struct pack {
    const struct pack_job *job;
    struct pack_result     r;
    EVP_MD_CTX            *digest;
    int64_t                unlooked;    /* bytes since the last look */
    char                   block[BLOCK];
};

static struct pack pack;
static char        zeros[ZEROS];

/* ---- small pieces -------------------------------------------------------- */

static void pack_end(int stage, int error) __attribute__((noreturn));

static void pack_end(int stage, int error)
{
    ssize_t n;

    pack.r.stage = stage;
    pack.r.error = error;
    n = write(pack.job->out, &pack.r, sizeof(pack.r));
    _exit(n == (ssize_t) sizeof(pack.r) ? 0 : 1);
}

static int errno_of(struct archive *a)
{
    int e = archive_errno(a);

    return e > 0 ? e : EIO;     /* libarchive has numbers of its own, too */
}

/* The disk must not be filled to the brim by us. */
static int pack_room(int fd, size_t bytes)
{
    struct statvfs v;

    pack.unlooked += (int64_t) bytes;
    if (pack.unlooked < ROOM_EACH)
        return 0;
    pack.unlooked = 0;
    if (fstatvfs(fd, &v) == 0 && (uint64_t) v.f_bavail * 100
        < (uint64_t) v.f_blocks * (uint64_t) pack.job->reserve_percent) {
        errno = ENOSPC;
        return -1;
    }
    return 0;
}

static void pack_begin(const struct pack_job *j, uint64_t caps)
{
    int           keep[4] = { j->empty, j->home, j->file, j->out };
#ifndef __SANITIZE_ADDRESS__
    struct rlimit memory = { MEMORY_MAX, MEMORY_MAX };
#endif
    struct rlimit core = { 0, 0 };

    pack.job = j;
    pack.unlooked = ROOM_EACH;
    child_begin(keep, 4);
    umask(0);
    pack.digest = EVP_MD_CTX_new();
    if (pack.digest == NULL
        || EVP_DigestInit_ex(pack.digest, EVP_sha256(), NULL) != 1)
        pack_end(PACK_BEGIN, ENOMEM);
    if (fchdir(j->empty) == -1 || chroot(".") == -1
        || fchdir(j->home) == -1
        || child_become(j->uid, caps, j->keeper) == -1
        || setrlimit(RLIMIT_CORE, &core) == -1)
        pack_end(PACK_BEGIN, errno);
#ifndef __SANITIZE_ADDRESS__
    if (setrlimit(RLIMIT_AS, &memory) == -1)
        pack_end(PACK_BEGIN, errno);
#endif
}

/* ---- the archive's bytes ------------------------------------------------- */

static la_ssize_t bytes_out(struct archive *a, void *arg, const void *data,
    size_t len)
{
    ssize_t n;

    (void) arg;
    if (pack_room(pack.job->file, len) == -1) {
        archive_set_error(a, errno, "no room");
        return -1;
    }
    do {
        n = write(pack.job->file, data, len);
    } while (n == -1 && errno == EINTR);
    if (n == -1) {
        archive_set_error(a, errno, "write");
        return -1;
    }
    EVP_DigestUpdate(pack.digest, data, (size_t) n);
    pack.r.bytes += n;
    return n;
}

static la_ssize_t bytes_in(struct archive *a, void *arg, const void **data)
{
    ssize_t n;

    (void) arg;
    do {
        n = read(pack.job->file, pack.block, sizeof(pack.block));
    } while (n == -1 && errno == EINTR);
    if (n == -1) {
        archive_set_error(a, errno, "read");
        return -1;
    }
    EVP_DigestUpdate(pack.digest, pack.block, (size_t) n);
    pack.r.bytes += n;
    *data = pack.block;
    return n;
}

static struct archive *reader_open(void)
{
    struct archive *in = archive_read_new();

    if (in == NULL || archive_read_support_format_tar(in) != ARCHIVE_OK
        || archive_read_support_filter_zstd(in) != ARCHIVE_OK)
        pack_end(PACK_BEGIN, ENOMEM);
    if (archive_read_open(in, NULL, NULL, bytes_in, NULL) != ARCHIVE_OK)
        pack_end(PACK_CHECK, errno_of(in));
    return in;
}

/* The digest is of the whole file, whatever the format needed of it. */
static void reader_close(struct archive *in)
{
    const void *data;

    while (bytes_in(in, NULL, &data) > 0)
        continue;
    EVP_DigestFinal_ex(pack.digest, pack.r.sha256, NULL);
}

/* ---- packing ------------------------------------------------------------- */

static struct archive *disk_open(void)
{
    struct archive *disk = archive_read_disk_new();

    if (disk == NULL
        || archive_read_disk_set_symlink_physical(disk) != ARCHIVE_OK
        || archive_read_disk_set_behavior(disk, ARCHIVE_READDISK_NO_FFLAGS
            | ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS)
            != ARCHIVE_OK)
        pack_end(PACK_BEGIN, ENOMEM);
    if (archive_read_disk_open(disk, ".") != ARCHIVE_OK)
        pack_end(PACK_READ, errno_of(disk));
    return disk;
}

/* Names are bytes: no locale is asked. */
static struct archive *writer_open(void)
{
    struct archive *out = archive_write_new();
    char            level[16];

    snprintf(level, sizeof(level), "%d", pack.job->level);
    if (out == NULL || archive_write_set_format_pax(out) != ARCHIVE_OK
        || archive_write_add_filter_zstd(out) != ARCHIVE_OK
        || archive_write_set_format_option(out, "pax", "hdrcharset",
            "BINARY") != ARCHIVE_OK
        || archive_write_set_filter_option(out, "zstd", "compression-level",
            level) != ARCHIVE_OK)
        pack_end(PACK_BEGIN, ENOMEM);
    archive_write_set_bytes_per_block(out, BLOCK);
    archive_write_set_bytes_in_last_block(out, 1);
    if (archive_write_open(out, NULL, NULL, bytes_out, NULL) != ARCHIVE_OK)
        pack_end(PACK_WRITE, errno_of(out));
    return out;
}

/* Zeros in place of a hole: the format knows of it and stores none. */
static void put_hole(struct archive *out, int64_t len)
{
    size_t n;

    while (len > 0) {
        n = len < ZEROS ? (size_t) len : ZEROS;
        if (archive_write_data(out, zeros, n) < 0)
            pack_end(PACK_WRITE, errno_of(out));
        len -= (int64_t) n;
    }
}

static void put_data(struct archive *disk, struct archive *out)
{
    const void *data;
    size_t      len;
    la_int64_t  at, done = 0;
    int         rc;

    while ((rc = archive_read_data_block(disk, &data, &len, &at))
        == ARCHIVE_OK) {
        put_hole(out, at - done);
        if (archive_write_data(out, data, len) < 0)
            pack_end(PACK_WRITE, errno_of(out));
        done = at + (la_int64_t) len;
    }
    if (rc != ARCHIVE_EOF)
        pack_end(PACK_READ, errno_of(disk));
}

static void put_entry(struct archive *disk, struct archive *out,
    struct archive_entry *entry)
{
    const char *path = archive_entry_pathname(entry);

    if (path == NULL || strlen(path) > PATH_LONGEST)
        pack_end(PACK_READ, ENAMETOOLONG);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    if (archive_write_header(out, entry) != ARCHIVE_OK)
        pack_end(PACK_WRITE, errno_of(out));
    if (archive_entry_size(entry) > 0)
        put_data(disk, out);
    if (archive_write_finish_entry(out) != ARCHIVE_OK)
        pack_end(PACK_WRITE, errno_of(out));
    pack.r.entries++;
}

static void put_all(struct archive *disk, struct archive *out)
{
    struct archive_entry_linkresolver *links;
    struct archive_entry              *entry, *later = NULL;
    int                                rc;

    links = archive_entry_linkresolver_new();
    entry = archive_entry_new();
    if (links == NULL || entry == NULL)
        pack_end(PACK_BEGIN, ENOMEM);
    archive_entry_linkresolver_set_strategy(links, archive_format(out));
    while ((rc = archive_read_next_header2(disk, entry)) == ARCHIVE_OK) {
        mode_t type = archive_entry_filetype(entry);

        if (archive_read_disk_can_descend(disk))
            archive_read_disk_descend(disk);
        if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK
            && type != AE_IFIFO)
            continue;
        archive_entry_linkify(links, &entry, &later);
        put_entry(disk, out, entry);
        archive_entry_clear(entry);
    }
    if (rc != ARCHIVE_EOF)
        pack_end(PACK_READ, errno_of(disk));
    if (archive_write_close(out) != ARCHIVE_OK)
        pack_end(PACK_WRITE, errno_of(out));
}

/* What cannot be read back was never packed. */
static void check_all(void)
{
    struct pack_result   wrote = pack.r;
    struct archive      *in;
    struct archive_entry *entry;
    int                   rc;

    EVP_DigestFinal_ex(pack.digest, wrote.sha256, NULL);
    EVP_DigestInit_ex(pack.digest, EVP_sha256(), NULL);
    pack.r.bytes = pack.r.entries = 0;
    if (fsync(pack.job->file) == -1
        || lseek(pack.job->file, 0, SEEK_SET) == -1)
        pack_end(PACK_WRITE, errno);
    in = reader_open();
    while ((rc = archive_read_next_header(in, &entry)) == ARCHIVE_OK) {
        if (archive_read_data_skip(in) != ARCHIVE_OK)
            pack_end(PACK_CHECK, errno_of(in));
        pack.r.entries++;
    }
    if (rc != ARCHIVE_EOF)
        pack_end(PACK_CHECK, errno_of(in));
    reader_close(in);
    if (pack.r.bytes != wrote.bytes || pack.r.entries != wrote.entries
        || memcmp(pack.r.sha256, wrote.sha256, sizeof(wrote.sha256)) != 0)
        pack_end(PACK_CHECK, EILSEQ);
}

void pack_child(const struct pack_job *j)
{
    pack_begin(j, PRIVS_CAP(CAP_DAC_READ_SEARCH));
    if (nice(10) == -1)
        errno = 0;              /* as fast as the others, then */
    put_all(disk_open(), writer_open());
    check_all();
    pack_end(PACK_CHECK, 0);
}

/* ---- unpacking ----------------------------------------------------------- */

static void get_data(struct archive *in, struct archive *disk)
{
    const void *data;
    size_t      len;
    la_int64_t  at;
    int         rc;

    while ((rc = archive_read_data_block(in, &data, &len, &at))
        == ARCHIVE_OK) {
        if (pack_room(pack.job->home, len) == -1)
            pack_end(PACK_WRITE, errno);
        if (archive_write_data_block(disk, data, len, at) != ARCHIVE_OK)
            pack_end(PACK_WRITE, errno_of(disk));
    }
    if (rc != ARCHIVE_EOF)
        pack_end(PACK_READ, errno_of(in));
}

static void get_entry(struct archive *in, struct archive *disk,
    struct archive_entry *entry)
{
    archive_entry_set_uid(entry, pack.job->uid);
    archive_entry_set_gid(entry, pack.job->uid);
    if (archive_write_header(disk, entry) < ARCHIVE_WARN)
        pack_end(PACK_WRITE, errno_of(disk));
    if (archive_entry_size(entry) > 0)
        get_data(in, disk);
    if (archive_write_finish_entry(disk) < ARCHIVE_WARN)
        pack_end(PACK_WRITE, errno_of(disk));
    pack.r.entries++;
}

void unpack_child(const struct pack_job *j)
{
    struct archive       *in, *disk;
    struct archive_entry *entry;
    int                   rc;

    pack_begin(j, 0);
    in = reader_open();
    disk = archive_write_disk_new();
    if (disk == NULL || archive_write_disk_set_options(disk,
            ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME
            | ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_SECURE_SYMLINKS
            | ARCHIVE_EXTRACT_SECURE_NODOTDOT
            | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS) != ARCHIVE_OK)
        pack_end(PACK_BEGIN, ENOMEM);
    while ((rc = archive_read_next_header(in, &entry)) == ARCHIVE_OK)
        get_entry(in, disk, entry);
    if (rc != ARCHIVE_EOF)
        pack_end(PACK_READ, errno_of(in));
    if (archive_write_close(disk) < ARCHIVE_WARN)
        pack_end(PACK_WRITE, errno_of(disk));
    reader_close(in);
    if (syncfs(j->home) == -1)
        pack_end(PACK_WRITE, errno);
    pack_end(PACK_CHECK, 0);
}
