/*
 * streams: see streams.h.
 *
 * Owns the descriptors of the streams that were written to last; the others
 * are closed and opened again when there is something to append.
 */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/frames.h"
#include "../common/log.h"

#define OPEN_MAX_   128         /* streams with open files */
#define NAME_LEN    96
#define PENDING_MAX (1024 * 1024)
#define PAGE        4096

struct stream {
    struct stream *next;
    char           name[NAME_LEN];
    int            log, idx;
    uint64_t       first, count;        /* in the index */
    uint64_t       base;                /* offset of the first that is kept */
    uint64_t       end;                 /* of the log, pending included */
    uint64_t       last_pos;
    struct buf     pending;             /* entries that wait for the sync */
    uint64_t       used;
};

struct streams {
    int            dir;
    uint64_t       log_max, newest, clock;
    struct stream *open;
    int            nopen;
    void         (*told)(void *arg, const char *name, uint64_t count);
    void          *arg;
    char           frame[FRAMES_MAX + 1];
};

/* ---- bytes --------------------------------------------------------------- */

static int read_at(int fd, void *p, size_t len, uint64_t at)
{
    size_t  done = 0;
    ssize_t n;

    while (done < len) {
        n = pread(fd, (char *) p + done, len - done, (off_t) (at + done));
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += (size_t) n;
    }
    return 0;
}

static int write_at(int fd, const void *p, size_t len, uint64_t at)
{
    size_t  done = 0;
    ssize_t n;

    while (done < len) {
        n = pwrite(fd, (const char *) p + done, len - done,
            (off_t) (at + done));
        if (n == -1 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return -1;
        done += (size_t) n;
    }
    return 0;
}

static int entry_at(const struct stream *s, uint64_t n,
    struct frames_entry *out)
{
    unsigned char raw[FRAMES_ENTRY];

    if (read_at(s->idx, raw, sizeof(raw), frames_place(n)) == -1)
        return -1;
    frames_entry_read(raw, out);
    return 0;
}

/* Where event n begins. */
static int start_of(const struct stream *s, uint64_t n, uint64_t *out)
{
    struct frames_entry e;

    *out = 0;
    if (n == 0)
        return 0;
    if (entry_at(s, n - 1, &e) == -1)
        return -1;
    *out = e.end;
    return 0;
}

/* A full disk has a code of its own; paths are not for clients. */
static int failed(struct err *e, const struct stream *s, const char *doing)
{
    return err_set(e, errno == ENOSPC || errno == EDQUOT ? "disk_full"
        : "internal", "cannot %s the event stream %s: %s", doing, s->name,
        strerror(errno));
}

/* ---- opening and repairing ----------------------------------------------- */

/* Is event n whole, in index and log? */
static bool event_whole(struct streams *all, const struct stream *s,
    uint64_t n, uint64_t size, struct frames_entry *e)
{
    uint64_t start;

    return start_of(s, n, &start) == 0 && entry_at(s, n, e) == 0
        && frames_entry_fits(e, start, size)
        && read_at(s->log, all->frame, (size_t) (e->end - start), start) == 0
        && frames_check(all->frame, (size_t) (e->end - start), n);
}

/* Cuts what a crash left behind the last whole event. */
static int stream_repair(struct streams *all, struct stream *s,
    uint64_t log_size, uint64_t idx_size, struct err *e)
{
    struct frames_entry last = { 0 };
    uint64_t            n = frames_count(idx_size);

    while (n > s->first && !event_whole(all, s, n - 1, log_size, &last))
        n--;
    s->count = n;
    if (start_of(s, s->first, &s->base) == -1)
        return failed(e, s, "read");
    s->end = n > s->first ? last.end : s->base;
    s->last_pos = n > s->first ? last.pos : 0;
    if (idx_size == frames_place(n) && log_size == s->end)
        return 0;
    log_warn("stream %s: cut to %" PRIu64 " events (log %" PRIu64 " -> %"
        PRIu64 ", index %" PRIu64 " -> %" PRIu64 " bytes)", s->name, n,
        log_size, s->end, idx_size, frames_place(n));
    if (ftruncate(s->idx, (off_t) frames_place(n)) == -1
        || ftruncate(s->log, (off_t) s->end) == -1)
        return failed(e, s, "repair");
    return 0;
}

/* The folder of a stream, opened; -1 with errno. */
static int stream_folder(const struct streams *all, const char *name)
{
    char folder[NAME_LEN];

    snprintf(folder, sizeof(folder), "%.*s", (int) strcspn(name, "/"), name);
    return openat(all->dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Names made or removed last, too. */
static int stream_folder_sync(const struct streams *all, const char *name)
{
    int fd = stream_folder(all, name), rc;

    if (fd == -1)
        return -1;
    rc = fsync(fd) == -1 || fsync(all->dir) == -1 ? -1 : 0;
    close(fd);
    return rc;
}

static int stream_fresh(struct streams *all, struct stream *s, struct err *e)
{
    unsigned char head[FRAMES_HEAD];

    frames_head_write(head, 0);
    if (ftruncate(s->idx, 0) == -1 || ftruncate(s->log, 0) == -1
        || write_at(s->idx, head, sizeof(head), 0) == -1
        || stream_folder_sync(all, s->name) == -1)
        return failed(e, s, "begin");
    return 0;
}

static int stream_file(struct streams *all, struct stream *s,
    const char *ending, struct err *e)
{
    char path[NAME_LEN + 8];
    int  fd;

    snprintf(path, sizeof(path), "%s.%s", s->name, ending);
    fd = openat(all->dir, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
        0640);
    if (fd == -1)
        failed(e, s, "open");
    return fd;
}

static int stream_load(struct streams *all, struct stream *s, struct err *e)
{
    unsigned char head[FRAMES_HEAD];
    struct stat   log, idx;

    if (fstat(s->log, &log) == -1 || fstat(s->idx, &idx) == -1)
        return failed(e, s, "look at");
    if (idx.st_size == 0)
        return stream_fresh(all, s, e);
    if (read_at(s->idx, head, sizeof(head), 0) == -1
        || frames_head_read(head, &s->first) == -1
        || s->first > frames_count((uint64_t) idx.st_size)) {
        log_error("stream %s: its index is not one; begun anew", s->name);
        s->first = 0;
        return stream_fresh(all, s, e);
    }
    return stream_repair(all, s, (uint64_t) log.st_size,
        (uint64_t) idx.st_size, e);
}

static void stream_free(struct stream *s)
{
    if (s->log != -1)
        close(s->log);
    if (s->idx != -1)
        close(s->idx);
    buf_fini(&s->pending);
    free(s);
}

static int stream_open(struct streams *all, const char *name,
    struct stream **out, struct err *e)
{
    struct stream *s = calloc(1, sizeof(*s));
    char           folder[NAME_LEN];

    if (s == NULL)
        return err_set(e, "internal", "out of memory");
    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(folder, sizeof(folder), "%.*s", (int) strcspn(name, "/"), name);
    buf_init(&s->pending, PENDING_MAX);
    s->log = s->idx = -1;
    if (mkdirat(all->dir, folder, 0750) == -1 && errno != EEXIST) {
        failed(e, s, "make the folder of");
        stream_free(s);
        return -1;
    }
    s->log = stream_file(all, s, "log", e);
    s->idx = s->log == -1 ? -1 : stream_file(all, s, "idx", e);
    if (s->idx == -1 || stream_load(all, s, e) == -1) {
        stream_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

/* ---- the streams with open files ----------------------------------------- */

/* Closes the one that has rested longest; one with unsynced events never. */
static void streams_shrink(struct streams *all)
{
    struct stream **at, **oldest = NULL, *s;

    for (at = &all->open; *at != NULL; at = &(*at)->next) {
        if ((*at)->pending.len == 0
            && (oldest == NULL || (*at)->used < (*oldest)->used))
            oldest = at;
    }
    if (oldest == NULL)
        return;
    s = *oldest;
    *oldest = s->next;
    all->nopen--;
    stream_free(s);
}

static int streams_get(struct streams *all, const char *name,
    struct stream **out, struct err *e)
{
    struct stream *s;

    for (s = all->open; s != NULL; s = s->next) {
        if (strcmp(s->name, name) == 0)
            break;
    }
    if (s == NULL) {
        if (all->nopen >= OPEN_MAX_)
            streams_shrink(all);
        if (stream_open(all, name, &s, e) == -1)
            return -1;
        s->next = all->open;
        all->open = s;
        all->nopen++;
    }
    s->used = ++all->clock;
    *out = s;
    return 0;
}

static void streams_forget(struct streams *all, struct stream *s)
{
    struct stream **at = &all->open;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    all->nopen--;
    stream_free(s);
}

struct streams *streams_open(const char *dir, uint64_t log_max,
    void (*told)(void *arg, const char *name, uint64_t count), void *arg,
    struct err *e)
{
    struct streams *all = calloc(1, sizeof(*all));

    if (all == NULL) {
        err_set(e, "internal", "out of memory");
        return NULL;
    }
    all->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (all->dir == -1) {
        err_errno(e, "open the folder of event streams");
        free(all);
        return NULL;
    }
    all->log_max = log_max;
    all->newest = UINT64_MAX;
    all->told = told;
    all->arg = arg;
    return all;
}

void streams_close(struct streams *all)
{
    struct stream *s;

    if (all == NULL)
        return;
    while ((s = all->open) != NULL) {
        all->open = s->next;
        stream_free(s);
    }
    close(all->dir);
    free(all);
}

void streams_newest(struct streams *all, uint64_t newest)
{
    all->newest = newest;
}

/* ---- appending ----------------------------------------------------------- */

static bool stream_has(const struct streams *all, const struct stream *s,
    uint64_t pos)
{
    return s->last_pos <= all->newest && pos <= s->last_pos;
}

int streams_append(struct streams *all, const char *name,
    const struct stream_event *ev, struct err *e)
{
    struct frames_entry entry;
    unsigned char       raw[FRAMES_ENTRY];
    struct stream      *s;
    uint64_t            id;
    size_t              n;

    if (streams_get(all, name, &s, e) == -1)
        return -1;
    if (stream_has(all, s, ev->pos))
        return 0;
    id = s->count + s->pending.len / FRAMES_ENTRY;
    n = frames_write(all->frame, sizeof(all->frame), id, ev->type, ev->data,
        strlen(ev->data));
    if (n == 0) {
        /* It can never be written, so it must not stop those behind it. */
        log_error("stream %s: an event of type %.64s has no valid form",
            name, ev->type);
        return 0;
    }
    entry.end = s->end + n;
    entry.pos = ev->pos;
    entry.ends = ev->ends;
    frames_entry_write(raw, &entry);
    if (s->pending.len + sizeof(raw) > PENDING_MAX)
        return err_set(e, "internal", "too many events before a sync");
    if (write_at(s->log, all->frame, n, s->end) == -1)
        return failed(e, s, "append to");
    buf_add(&s->pending, raw, sizeof(raw));
    if (s->pending.failed)
        log_fatal("out of memory");
    s->end += n;
    s->last_pos = ev->pos;
    return 0;
}

/* ---- trimming ------------------------------------------------------------ */

/* The first event such that at most `keep` bytes are behind its start. */
static int trim_place(const struct stream *s, uint64_t keep, uint64_t *first,
    uint64_t *base)
{
    uint64_t low = s->first, high = s->count, mid, start;

    while (low < high) {
        mid = low + (high - low) / 2;
        if (start_of(s, mid, &start) == -1)
            return -1;
        if (s->end - start <= keep)
            high = mid;
        else
            low = mid + 1;
    }
    *first = low;
    return start_of(s, low, base);
}

/* Gives back the disk of what was trimmed the time before: whoever was just
 * reading it then has long seen that it is gone. */
static void trim_punch(const struct stream *s)
{
    uint64_t log = s->base / PAGE * PAGE;
    uint64_t idx = s->first == 0 ? 0
        : frames_place(s->first - 1) / PAGE * PAGE;
    int      how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    if ((log > 0 && fallocate(s->log, how, 0, (off_t) log) == -1)
        || (idx > PAGE
            && fallocate(s->idx, how, PAGE, (off_t) (idx - PAGE)) == -1))
        log_warn("stream %s: its disk cannot be given back: %s", s->name,
            strerror(errno));
}

static void stream_trim(struct streams *all, struct stream *s)
{
    unsigned char head[FRAMES_HEAD];
    uint64_t      first, base;

    if (s->end - s->base <= all->log_max
        || trim_place(s, all->log_max / 2, &first, &base) == -1
        || first <= s->first)
        return;
    trim_punch(s);
    frames_head_write(head, first);
    if (write_at(s->idx, head, sizeof(head), 0) == -1
        || fdatasync(s->idx) == -1) {
        log_warn("stream %s cannot be trimmed: %s", s->name,
            strerror(errno));
        return;
    }
    s->first = first;
    s->base = base;
}

/* ---- sync ---------------------------------------------------------------- */

static int stream_sync(struct streams *all, struct stream *s, struct err *e)
{
    if (fdatasync(s->log) == -1
        || write_at(s->idx, s->pending.data, s->pending.len,
            frames_place(s->count)) == -1
        || fdatasync(s->idx) == -1)
        return failed(e, s, "sync");
    s->count += s->pending.len / FRAMES_ENTRY;
    buf_reset(&s->pending);
    stream_trim(all, s);
    all->told(all->arg, s->name, s->count);
    return 0;
}

int streams_sync(struct streams *all, struct err *e)
{
    struct stream *s;

    for (s = all->open; s != NULL; s = s->next) {
        if (s->pending.len > 0 && stream_sync(all, s, e) == -1)
            return -1;
    }
    while (all->nopen > OPEN_MAX_)
        streams_shrink(all);
    return 0;
}

int streams_drop(struct streams *all, const char *name, uint64_t pos,
    struct err *e)
{
    struct stream *s;
    char           path[NAME_LEN + 8];

    if (streams_get(all, name, &s, e) == -1)
        return -1;
    if (s->last_pos <= all->newest && s->last_pos > pos)
        return 0;               /* it was begun again since */
    streams_forget(all, s);
    snprintf(path, sizeof(path), "%s.idx", name);
    if (unlinkat(all->dir, path, 0) == -1 && errno != ENOENT)
        return err_errno(e, "remove the event stream %s", name);
    snprintf(path, sizeof(path), "%s.log", name);
    if ((unlinkat(all->dir, path, 0) == -1 && errno != ENOENT)
        || stream_folder_sync(all, name) == -1)
        return err_errno(e, "remove the event stream %s", name);
    return 0;
}
