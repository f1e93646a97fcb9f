/* Unit test of tasks/streams: events get into their files once and in order,
 * whatever a crash left there. */
#include "tasks/streams.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/frames.h"
#include "test.h"

#define NAME "00000000deadbeef/s-a"

static char            dir[] = "/tmp/holdfast-streams.XXXXXX";
static struct streams *all;
static struct err      e;
static uint64_t        told_count;
static int             told;

static void tell(void *arg, const char *name, uint64_t count)
{
    (void) arg;
    told++;
    told_count = strcmp(name, NAME) == 0 ? count : 0;
}

static void again(uint64_t max)
{
    streams_close(all);
    all = streams_open(dir, max, tell, NULL, &e);
    if (all == NULL) {
        printf("FAIL %s\n", e.msg);
        exit(1);
    }
}

static int add(uint64_t pos, int ends)
{
    struct stream_event ev = { "a.b", "{\"x\":\"0123456789\"}", pos, ends };

    return streams_append(all, NAME, &ev, &e);
}

static int file(const char *ending, int how)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/" NAME ".%s", dir, ending);
    return open(path, how);
}

static off_t size(const char *ending)
{
    struct stat st;
    int         fd = file(ending, O_RDONLY), rc;

    rc = fd == -1 ? -1 : fstat(fd, &st);
    if (fd != -1)
        close(fd);
    return rc == -1 ? -1 : st.st_size;
}

static void cut(const char *ending, off_t by)
{
    int fd = file(ending, O_RDWR);

    if (fd == -1 || ftruncate(fd, size(ending) - by) == -1)
        printf("FAIL cannot cut %s\n", ending);
    close(fd);
}

static void append(const char *ending, const void *p, size_t len)
{
    int fd = file(ending, O_WRONLY | O_APPEND);

    if (fd == -1 || write(fd, p, len) != (ssize_t) len)
        printf("FAIL cannot append to %s\n", ending);
    close(fd);
}

/* The events that a reader finds: from first to the returned count, each
 * whole; -1 when they are not. */
static long events(uint64_t *first, struct frames_entry *last)
{
    static char         text[FRAMES_MAX];
    unsigned char       raw[16];
    struct frames_entry entry;
    int                 idx = file("idx", O_RDONLY);
    int                 log = file("log", O_RDONLY);
    uint64_t            n = frames_count((uint64_t) size("idx")), i, at = 0;
    long                rc = (long) n;

    if (pread(idx, raw, 16, 0) != 16 || frames_head_read(raw, first) != 0)
        rc = -1;
    for (i = *first > 0 ? *first - 1 : 0; rc >= 0 && i < n; i++) {
        if (pread(idx, raw, 16, (off_t) frames_place(i)) != 16)
            rc = -1;
        frames_entry_read(raw, &entry);
        if (i >= *first && (entry.end <= at || entry.end - at > FRAMES_MAX
            || pread(log, text, entry.end - at, (off_t) at)
                != (ssize_t) (entry.end - at)
            || !frames_check(text, entry.end - at, i)))
            rc = -1;
        at = entry.end;
    }
    if (last != NULL)
        *last = entry;
    close(idx);
    close(log);
    return rc;
}

static void test_append(void)
{
    struct frames_entry last;
    uint64_t            first;

    again(1 << 20);
    CHECK(add(5, 0) == 0 && add(6, 0) == 0);
    CHECK(size("idx") == 16);           /* nothing counts yet */
    CHECK(streams_sync(all, &e) == 0);
    CHECK(told == 1 && told_count == 2);
    CHECK(events(&first, &last) == 2 && first == 0 && last.pos == 6
        && !last.ends);
    CHECK(add(6, 0) == 0 && add(3, 0) == 0);    /* there already */
    CHECK(streams_sync(all, &e) == 0 && told == 1);
    again(1 << 20);
    CHECK(add(6, 0) == 0);
    CHECK(add(9, 1) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 3 && last.pos == 9 && last.ends);
}

static void test_crashes(void)
{
    static const unsigned char junk[40] = { 1, 2, 3 };
    struct frames_entry        last;
    uint64_t                   first;
    off_t                      log;

    /* written, never synced: the log is longer than its index says */
    CHECK(add(10, 0) == 0);
    log = size("log");
    again(1 << 20);
    CHECK(add(10, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 4 && last.pos == 10 && size("log") == log);

    /* a torn entry, and one without its event */
    append("idx", junk, 7);
    again(1 << 20);
    CHECK(add(11, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 5);
    append("idx", junk, 33);
    again(1 << 20);
    CHECK(add(12, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 6 && last.pos == 12);

    /* garbage behind the last event of the log */
    append("log", "id: 6\nevent: a.b\nda", 19);
    again(1 << 20);
    CHECK(add(13, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 7);

    /* the log lost its end: so do the entries, and the input comes again */
    cut("log", 3);
    again(1 << 20);
    CHECK(add(12, 0) == 0 && add(13, 0) == 0 && add(14, 0) == 0);
    CHECK(streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 8 && last.pos == 14);

    /* zeros, as a file system may leave them */
    cut("log", 10);
    append("log", junk + 3, 10);
    append("idx", junk + 3, 32);
    again(1 << 20);
    CHECK(add(14, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 8 && last.pos == 14);

    /* an index that is none: begun anew */
    cut("idx", size("idx") - 12);
    again(1 << 20);
    CHECK(add(15, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 1 && last.pos == 15);
    cut("idx", size("idx"));
    again(1 << 20);
    CHECK(add(16, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 1 && last.pos == 16);
}

static void test_another_database(void)
{
    struct frames_entry last;
    uint64_t            first;

    streams_newest(all, 3);
    CHECK(add(4, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 2 && last.pos == 4);
    streams_newest(all, 4);
    CHECK(add(4, 0) == 0 && add(2, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == 2);
}

static void test_trim(void)
{
    struct frames_entry last;
    struct stat         st;
    uint64_t            first, pos = 100;
    long                n = 2;
    int                 fd, i, j;

    again(16384);
    for (i = 0; i < 500; i++) {
        for (j = 0; j < 10; j++)
            add(pos++, 0);
        n += 10;
        if (streams_sync(all, &e) != 0 || events(&first, &last) != n
            || last.end - (uint64_t) size("log") > 0)
            break;
    }
    CHECK(i == 500);
    CHECK(first > 4000 && first < (uint64_t) n);
    fd = file("log", O_RDONLY);
    fstat(fd, &st);
    close(fd);
    CHECK(st.st_size > 200000);
    CHECK(st.st_blocks * 512 <= 16384 * 2 + 8192);
    fd = file("idx", O_RDONLY);
    fstat(fd, &st);
    close(fd);
    CHECK(st.st_blocks * 512 <= 32768);
    again(16384);
    CHECK(add(pos - 1, 0) == 0 && add(pos, 0) == 0
        && streams_sync(all, &e) == 0);
    CHECK(events(&first, &last) == n + 1);
}

static void test_drop(void)
{
    CHECK(streams_drop(all, NAME, 99, &e) == 0);
    CHECK(size("log") > 0);             /* it has later events */
    CHECK(streams_drop(all, NAME, 1000000, &e) == 0);
    CHECK(size("log") == -1 && size("idx") == -1);
    CHECK(streams_drop(all, NAME, 1000000, &e) == 0);
    CHECK(size("log") == -1 && size("idx") == -1);
    CHECK(add(7, 0) == 0 && streams_sync(all, &e) == 0);
    CHECK(size("idx") == 32);
}

static void test_many(void)
{
    struct stream_event ev = { "a", "{}", 1, false };
    char                name[64];
    int                 i, round, bad = 0;

    for (round = 1; round <= 3; round++) {
        ev.pos = (uint64_t) round;
        for (i = 0; i < 300; i++) {
            snprintf(name, sizeof(name), "00000000deadbeef/s-m%d", i);
            bad += streams_append(all, name, &ev, &e) != 0;
        }
        bad += streams_sync(all, &e) != 0;
    }
    CHECK(bad == 0);
    CHECK(access("/proc/self/fd/250", F_OK) != 0);
}

int main(void)
{
    char command[128];

    if (mkdtemp(dir) == NULL)
        return 1;
    test_append();
    test_crashes();
    test_another_database();
    test_trim();
    test_drop();
    test_many();
    streams_close(all);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return TEST_END() | (system(command) != 0);
}
