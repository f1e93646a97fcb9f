/*
 * archive: see archive.h.
 *
 * Owns the jobs: at most archive_jobs children pack and as many unpack at a
 * time, the others wait in order. Must never look into a home or an archive:
 * pack.c does, in a child.
 */
#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "op.h"
#include "pack.h"
#include "reaper.h"
#include "stop.h"
#include "store.h"
#include "workspace.h"

#define LOOK_MS  60000          /* for those that are due, at most so late */
#define LOOK_SOON_MS 1000
#define AGAIN_MS 600000         /* after a pack that failed */
#define DUE_MAX  64             /* at one look */
#define ENDING   ".tar.zst"
#define HALF     ".tmp"

struct job {
    struct job     *next;
    struct sandbox *sb;
    bool            packs, running, given_up, overdue;
    pid_t           pid;
    struct watch    watch;      /* the pipe that the child tells by */
    struct timer    deadline;
    struct err      why;        /* kept while what is half is removed */
    void          (*done)(struct sandbox *sb, const struct err *e);
};

struct archives {
    struct keeper *k;
    struct job    *jobs;        /* the oldest first */
    int            empty;       /* folder of that name */
    int            packing, unpacking;
    int64_t        bytes;       /* of all archives that rows name */
    struct timer   look;
};

static void job_next(struct archives *a);

/* ---- names --------------------------------------------------------------- */

static void archive_path(const struct sandbox *sb, const char *ending,
    char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/archives/%s%s", sb->k->s->data_dir, sb->id,
        ending);
}

static int sandbox_dir(const struct sandbox *sb)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/sandboxes/%s", sb->k->s->data_dir,
        sb->id);
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool has_home(const struct sandbox *sb)
{
    struct workspace_paths p;
    struct stat            st;

    workspace_paths(sb, &p);
    return lstat(p.home, &st) == 0 && S_ISDIR(st.st_mode);
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd == -1 ? -1 : fsync(fd);

    if (fd != -1)
        close(fd);
    return rc;
}

/* archive_ref is `file:<name> <sha256> <bytes> <made, ms>`. */
static void ref_make(const struct sandbox *sb, const struct pack_result *r,
    char *out, size_t size)
{
    char     hex[65];
    unsigned i;

    for (i = 0; i < sizeof(r->sha256); i++)
        snprintf(hex + 2 * i, 3, "%02x", r->sha256[i]);
    snprintf(out, size, "file:%s" ENDING " %s %" PRId64 " %" PRId64, sb->id,
        hex, r->bytes, clock_wall_ms());
}

static bool ref_fits(const struct sandbox *sb, const struct pack_result *r)
{
    char        ours[256];
    const char *end;

    if (strstr(sb->archive_ref, ENDING " - ") != NULL)
        return true;            /* taken up from disk: nobody knows */
    ref_make(sb, r, ours, sizeof(ours));
    end = strrchr(ours, ' ');
    return strncmp(ours, sb->archive_ref, (size_t) (end - ours) + 1) == 0;
}

int64_t archive_bytes(const struct sandbox *sb)
{
    int64_t bytes = 0;

    if (sb->archive_ref == NULL
        || sscanf(sb->archive_ref, "%*s %*s %" SCNd64, &bytes) != 1)
        return 0;
    return bytes;
}

int64_t archive_total(const struct keeper *k)
{
    return k->archives->bytes;
}

static void ref_set(struct sandbox *sb, const char *ref)
{
    sb->k->archives->bytes -= archive_bytes(sb);
    sandbox_text(&sb->archive_ref, ref);
    sb->k->archives->bytes += archive_bytes(sb);
    store_dirty(sb);
}

static void ref_count(struct sandbox *sb, void *arg)
{
    (void) arg;
    sb->k->archives->bytes += archive_bytes(sb);
}

/* ---- jobs ---------------------------------------------------------------- */

static void job_free(struct job *j)
{
    struct archives *a = j->sb->k->archives;
    struct job     **at = &a->jobs;

    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    j->sb->job = NULL;
    loop_timer_clear(a->k->loop, &j->deadline);
    if (j->watch.added)
        loop_remove(a->k->loop, &j->watch);
    if (j->watch.fd >= 0)
        close(j->watch.fd);
    free(j);
}

static void job_over(struct job *j, const struct err *e)
{
    void (*done)(struct sandbox *, const struct err *) = j->done;
    struct sandbox  *sb = j->sb;
    struct archives *a = sb->k->archives;
    struct err       why = { 0 };

    if (j->running)
        *(j->packs ? &a->packing : &a->unpacking) -= 1;
    why = e != NULL ? *e : why;
    job_free(j);                /* e may be of it */
    done(sb, e != NULL ? &why : NULL);
    job_next(a);
    if (a->jobs == NULL && a->k->s->archive_s > 0)
        loop_timer_set(a->k->loop, &a->look, LOOK_SOON_MS);
}

/* One sentence for whoever asked, by what went wrong where. */
static void job_error(const struct job *j, const struct pack_result *r,
    struct err *e)
{
    const char *doing = j->packs ? "its workspace could not be archived"
        : "its archive could not be unpacked";
    const char *code = j->packs ? "unavailable" : "wake_failed";

    if (j->given_up)
        err_set(e, "conflict", "it is needed otherwise: the work on its "
            "archive was given up");
    else if (r->error == ENOSPC || r->error == EDQUOT)
        err_set(e, "disk_full", "%s: the disk is full", doing);
    else if (j->overdue)
        err_set(e, code, "%s within %lld s", doing,
            (long long) j->sb->k->s->archive_timeout_s);
    else if (j->packs && r->error == ENAMETOOLONG)
        err_set(e, "conflict", "%s: a path in it is too long", doing);
    else if (r->error == EILSEQ)
        err_set(e, code, "%s: it is damaged", doing);
    else
        err_set(e, code, "%s: %s", doing, strerror(r->error));
    e->retry_after_s = j->given_up ? 1 : 60;
}

/* Archive and folder are renamed by the keeper, when the child is gone. */
static int job_packed(struct job *j, struct pack_result *r)
{
    struct sandbox *sb = j->sb;
    char            from[PATH_MAX], to[PATH_MAX], ref[256];

    archive_path(sb, HALF, from);
    archive_path(sb, ENDING, to);
    if (rename(from, to) == -1) {
        r->error = errno;
        return -1;
    }
    snprintf(from, sizeof(from), "%s/archives", sb->k->s->data_dir);
    if (sync_folder(from) == -1) {
        r->error = errno;
        return -1;
    }
    ref_make(sb, r, ref, sizeof(ref));
    ref_set(sb, ref);
    return 0;
}

static int job_unpacked(struct job *j, struct pack_result *r)
{
    struct sandbox *sb = j->sb;
    int             at;

    if (!ref_fits(sb, r)) {
        r->error = EILSEQ;
        return -1;
    }
    at = sandbox_dir(sb);
    if (at == -1 || renameat(at, "home.unpack", at, "home") == -1
        || fsync(at) == -1)
        r->error = errno;
    if (at != -1)
        close(at);
    return r->error == 0 ? 0 : -1;
}

static void job_cleared(void *arg, const struct err *e, int64_t freed)
{
    struct job *j = arg;

    (void) freed;
    if (e != NULL)
        log_warn("sandbox=%s %s", j->sb->id, e->msg);
    job_over(j, &j->why);
}

/* Nothing half stays behind: it would keep a full disk full. */
static void job_failed(struct job *j, const struct pack_result *r)
{
    char path[PATH_MAX];

    job_error(j, r, &j->why);
    if (!j->given_up)
        log_warn("sandbox=%s %s (stage %d, %s)", j->sb->id, j->why.msg,
            r->stage, strerror(r->error));
    if (j->packs) {
        archive_path(j->sb, HALF, path);
        unlink(path);
        job_over(j, &j->why);
    } else {
        workspace_clear(j->sb, job_cleared, j);
    }
}

static void job_ready(struct watch *w, uint32_t events)
{
    struct job        *j = w->owner;
    struct pack_result r;
    int                rc;

    (void) events;
    memset(&r, 0, sizeof(r));
    if (read(w->fd, &r, sizeof(r)) != (ssize_t) sizeof(r)) {
        memset(&r, 0, sizeof(r));
        r.error = ECANCELED;
    }
    waitpid(j->pid, NULL, 0);
    j->pid = 0;
    loop_remove(j->sb->k->loop, &j->watch);
    close(j->watch.fd);
    j->watch.fd = -1;
    loop_timer_clear(j->sb->k->loop, &j->deadline);
    rc = r.error != 0 ? -1 : j->packs ? job_packed(j, &r)
        : job_unpacked(j, &r);
    if (rc == -1) {
        job_failed(j, &r);
        return;
    }
    log_info("sandbox=%s %s: %" PRId64 " entries, %" PRId64 " bytes",
        j->sb->id, j->packs ? "packed" : "unpacked", r.entries, r.bytes);
    job_over(j, NULL);
}

static void job_overdue(struct timer *t)
{
    struct job *j = t->owner;

    j->overdue = true;
    kill(j->pid, SIGKILL);      /* the pipe's end tells the rest */
}

static int job_fork(struct job *j, int home, int file)
{
    const struct settings *s = j->sb->k->s;
    struct pack_job        p = { .empty = j->sb->k->archives->empty,
        .home = home, .file = file,
        .uid = (uid_t) j->sb->uid, .keeper = getpid(),
        .level = (int) s->archive_level,
        .reserve_percent = (int) s->disk_reserve_percent };
    int out[2];

    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) == -1)
        return -1;
    p.out = out[1];
    j->pid = fork();
    if (j->pid == 0) {
        if (j->packs)
            pack_child(&p);
        unpack_child(&p);
    }
    close(out[1]);
    if (j->pid == -1) {
        close(out[0]);
        return -1;
    }
    j->watch.fd = out[0];
    j->watch.owner = j;
    j->watch.ready = job_ready;
    j->deadline.owner = j;
    j->deadline.due = job_overdue;
    loop_timer_set(j->sb->k->loop, &j->deadline,
        s->archive_timeout_s * 1000);
    return loop_add(j->sb->k->loop, &j->watch, EPOLLIN);
}

/* The two descriptors that the child gets; -1 with errno. */
static int job_files(const struct job *j, int *home, int *file)
{
    const char *name = j->packs ? "home" : "home.unpack";
    uid_t       uid = (uid_t) j->sb->uid;
    char        path[PATH_MAX];
    int         at = sandbox_dir(j->sb);

    *home = *file = -1;
    if (at == -1)
        return -1;
    archive_path(j->sb, j->packs ? HALF : ENDING, path);
    if (j->packs)
        unlink(path);
    else if (mkdirat(at, name, 0700) == -1
        || fchownat(at, name, uid, uid, AT_SYMLINK_NOFOLLOW) == -1)
        goto done;
    *file = open(path, j->packs ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
        : O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    *home = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        | O_CLOEXEC);
done:
    close(at);
    return *home == -1 || *file == -1 ? -1 : 0;
}

static void job_start(struct job *j)
{
    struct pack_result r;
    int                home, file;

    memset(&r, 0, sizeof(r));
    errno = 0;
    if (job_files(j, &home, &file) == -1 || job_fork(j, home, file) == -1)
        r.error = errno != 0 ? errno : EIO;
    if (home >= 0)
        close(home);
    if (file >= 0)
        close(file);
    if (r.error != 0)
        job_failed(j, &r);
}

/* What an attempt of before left is in the way of this one. */
static void job_clean(void *arg, const struct err *e, int64_t freed)
{
    struct job        *j = arg;
    struct pack_result r = { .error = ECANCELED };

    (void) freed;
    if (j->given_up)
        job_failed(j, &r);
    else if (e != NULL)
        job_over(j, e);
    else
        job_start(j);
}

static void job_next(struct archives *a)
{
    struct job *j;
    int        *n;

    for (j = a->jobs; j != NULL; j = j->next) {
        n = j->packs ? &a->packing : &a->unpacking;
        if (j->running || *n >= (int) a->k->s->archive_jobs)
            continue;
        j->running = true;
        *n += 1;
        workspace_clear(j->sb, job_clean, j);   /* ends in a later turn */
    }
}

static void job_new(struct sandbox *sb, bool packs,
    void (*done)(struct sandbox *sb, const struct err *e))
{
    struct job *j = calloc(1, sizeof(*j)), **at = &sb->k->archives->jobs;

    if (j == NULL)
        log_fatal("out of memory");
    j->sb = sb;
    j->packs = packs;
    j->done = done;
    j->watch.fd = -1;
    sb->job = j;
    while (*at != NULL)
        at = &(*at)->next;
    *at = j;
    job_next(sb->k->archives);
}

/* ---- down ---------------------------------------------------------------- */

static void archive_failed(struct sandbox *sb, const struct err *e)
{
    sb->archive_again_ms = loop_now_ms(sb->k->loop) + AGAIN_MS;
    sandbox_why(sb, e);
    machine_event(sb, EV_FAILED);
}

static void archive_packed(struct sandbox *sb, const struct err *e)
{
    if (e != NULL)
        archive_failed(sb, e);
    else
        machine_defer(sb, ACT_ARCHIVE);         /* once that is committed */
}

static void archive_cleared(void *arg, const struct err *e, int64_t freed)
{
    struct sandbox *sb = arg;

    if (e != NULL)              /* whoever unpacks or purges tries again */
        log_warn("sandbox=%s %s", sb->id, e->msg);
    log_info("sandbox=%s archived: %" PRId64 " bytes for %" PRId64, sb->id,
        archive_bytes(sb), freed);
    sb->set_aside = false;
    sandbox_why(sb, NULL);
    machine_event(sb, EV_DONE);
}

static void archive_removed(void *arg, const struct engine_result *r)
{
    struct sandbox *sb = arg;

    if (r->error != NULL) {     /* it is used again, or removed later */
        log_warn("sandbox=%s remove: %s", sb->id, r->error->msg);
    } else {
        sandbox_text(&sb->engine_ref, NULL);
        sandbox_text(&sb->spec_hash, NULL);
    }
    sb->pid = 0;
    store_dirty(sb);
    workspace_clear(sb, archive_cleared, sb);
}

static void archive_set_aside(void *arg, const struct err *e, int64_t freed)
{
    struct engine_result none = { 0 };
    struct sandbox      *sb = arg;
    struct err           ours;
    int                  at = sandbox_dir(sb);

    (void) freed;
    if (e == NULL && (at == -1 || (renameat(at, "home", at, "home.packed")
            == -1 && errno != ENOENT) || fsync(at) == -1)) {
        err_errno(&ours, "set the packed workspace aside");
        e = &ours;
    }
    if (at != -1)
        close(at);
    if (e != NULL && has_home(sb)) {
        sb->set_aside = false;
        ref_set(sb, NULL);      /* `home` still counts */
        archive_failed(sb, e);
        machine_defer(sb, ACT_UNPACKED);
        return;
    }
    stop_unplug(sb);
    live_drop(sb);
    if (sb->engine_ref == NULL)
        archive_removed(sb, &none);
    else
        engine_remove(sb->k->engine, sb->engine_ref, archive_removed, sb);
}

/* Does anybody need it, whom a pack would keep waiting? */
static bool pack_unwanted(const struct sandbox *sb)
{
    const struct op *op;

    if (links_wanted(sb))
        return true;
    for (op = sb->queue; op != NULL; op = op->next) {
        if (op->kind != OP_ARCHIVE && op->kind != OP_STOP
            && op->kind != OP_FREEZE)
            return true;
    }
    return false;
}

static bool unpack_unwanted(const struct sandbox *sb)
{
    const struct op *op;

    for (op = sb->queue; op != NULL; op = op->next) {
        if (op->kind == OP_STOP || op->kind == OP_DELETE
            || op->kind == OP_PURGE || op->kind == OP_ARCHIVE)
            return true;
    }
    return false;
}

void archive_begin(struct sandbox *sb)
{
    struct err e;

    if (sb->job != NULL || sb->set_aside)
        return;                 /* told twice after a restart */
    if (sb->archive_ref != NULL) {
        sb->set_aside = true;
        workspace_clear(sb, archive_set_aside, sb);
    } else if (pack_unwanted(sb)) {
        err_set(&e, "conflict", "it is needed: it is not archived");
        archive_failed(sb, &e);
    } else if (workspace_room(sb->k, &e) == -1) {
        archive_failed(sb, &e);
    } else {
        job_new(sb, true, archive_packed);
    }
}

void archive_look(struct sandbox *sb)
{
    struct job *j = sb->job;
    struct err  e;

    if (j == NULL || j->given_up)
        return;
    if (j->packs ? !pack_unwanted(sb) : sb->rung != RUNG_UNPACKING
        || !unpack_unwanted(sb))
        return;
    j->given_up = true;
    if (j->pid > 0) {
        kill(j->pid, SIGKILL);
    } else if (!j->running) {
        err_set(&e, "conflict", "it is needed otherwise");
        job_over(j, &e);
    }
}

/* ---- up ------------------------------------------------------------------ */

static void archive_unpacked(struct sandbox *sb, const struct err *e)
{
    struct op *op;

    if (e != NULL) {
        sandbox_why(sb, e);
        machine_event(sb, EV_FAILED);
        return;
    }
    ref_set(sb, NULL);
    for (op = sb->queue; op != NULL; op = op->next)
        op->fired = false;      /* what it wants begins only now */
    machine_event(sb, EV_DONE);
}

static void archive_chain(struct sandbox *sb, const struct err *e)
{
    void (*done)(struct sandbox *, const struct err *) = sb->fetched;

    if (e == NULL) {
        ref_set(sb, NULL);
        machine_defer(sb, ACT_UNPACKED);
    }
    sb->fetched = NULL;
    done(sb, e);
}

void archive_unpack(struct sandbox *sb)
{
    if (sb->job != NULL)
        return;
    if (has_home(sb) || sb->archive_ref == NULL)
        archive_unpacked(sb, NULL);     /* it was, before the keeper died */
    else
        job_new(sb, false, archive_unpacked);
}

void archive_fetch(struct sandbox *sb,
    void (*done)(struct sandbox *sb, const struct err *e))
{
    sb->fetched = done;
    if (has_home(sb))
        archive_chain(sb, NULL);
    else
        job_new(sb, false, archive_chain);
}

void archive_drop(struct sandbox *sb)
{
    char path[PATH_MAX];

    archive_path(sb, ENDING, path);
    if (unlink(path) == -1 && errno != ENOENT)
        log_warn("sandbox=%s its old archive: %s", sb->id, strerror(errno));
    if (sb->archive_ref != NULL)
        ref_set(sb, NULL);
}

/* ---- those that are due -------------------------------------------------- */

struct dues {
    int64_t now;
    int     left;               /* more wait for the next look */
};

static void archive_due(struct sandbox *sb, void *arg)
{
    struct dues *d = arg;

    if (d->left == 0 || sb->rung != RUNG_STOPPED || sb->job != NULL
        || sb->erased
        || sb->stopped_ms + sb->k->s->archive_s * 1000 > d->now
        || sb->archive_again_ms > loop_now_ms(sb->k->loop)
        || !reaper_may_push(sb))
        return;
    d->left--;
    machine_event(sb, EV_ARCHIVE);
}

static void archive_tick(struct timer *t)
{
    struct archives *a = t->owner;
    struct dues      d = { clock_wall_ms(), DUE_MAX };
    int64_t          next;

    next = a->k->s->archive_s * 1000 / 4;
    if (a->jobs == NULL)        /* else there is enough to do */
        sandbox_each(a->k, archive_due, &d);
    loop_timer_set(a->k->loop, t, next < 1000 ? 1000
        : next > LOOK_MS ? LOOK_MS : next);
}

/* ---- opening ------------------------------------------------------------- */

/* A database from a backup may know less than the disk: what is only in an
 * archive stays there. */
static void archive_found(struct keeper *k, const char *name, int64_t bytes)
{
    const char     *end = strstr(name, ENDING);
    struct sandbox *sb;
    char            text[256];

    if (end == NULL || end[strlen(ENDING)] != '\0')
        return;
    sb = sandbox_find_n(k, name, (size_t) (end - name));
    if (sb == NULL) {
        log_warn("archive %s is of a sandbox that this database does not "
            "have: left alone", name);
    } else if (sb->archive_ref == NULL && has_home(sb)) {
        archive_drop(sb);
    } else if (sb->archive_ref == NULL && sb->rung != RUNG_PURGING) {
        log_warn("sandbox=%s has no home, but an archive: taken up", sb->id);
        snprintf(text, sizeof(text), "file:%s - %" PRId64 " 0", name, bytes);
        ref_set(sb, text);
        sb->unproven = false;
        if (!rung_is_gone(sb->rung))
            sandbox_rung(sb, RUNG_ARCHIVED);
    }
}

static int archive_sweep(struct keeper *k, const char *path, struct err *e)
{
    struct dirent *d;
    struct stat    st;
    size_t         len;
    DIR           *dir = opendir(path);

    if (dir == NULL)
        return err_errno(e, "read %s", path);
    while ((d = readdir(dir)) != NULL) {
        len = strlen(d->d_name);
        if (len > strlen(HALF)
            && strcmp(d->d_name + len - strlen(HALF), HALF) == 0)
            unlinkat(dirfd(dir), d->d_name, 0);
        else
            archive_found(k, d->d_name, fstatat(dirfd(dir), d->d_name, &st,
                AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t) st.st_size : 0);
    }
    closedir(dir);
    return 0;
}

static int archive_folder(struct keeper *k, const char *name,
    char path[PATH_MAX], mode_t mode, struct err *e)
{
    snprintf(path, PATH_MAX, "%s/archives%s", k->s->data_dir, name);
    if (mkdir(path, mode) == -1 && errno != EEXIST)
        return err_errno(e, "make %s", path);
    return 0;
}

int archive_open(struct keeper *k, struct err *e)
{
    struct archives *a = calloc(1, sizeof(*a));
    char             path[PATH_MAX];

    if (a == NULL)
        return err_set(e, "internal", "out of memory");
    k->archives = a;
    a->k = k;
    a->empty = -1;
    a->look.owner = a;
    a->look.due = archive_tick;
    sandbox_each(k, ref_count, NULL);
    if (k->s->archive_s > 0)
        loop_timer_set(k->loop, &a->look, 1000);
    if (archive_folder(k, "", path, 0700, e) == -1
        || archive_folder(k, "/empty", path, 0755, e) == -1)
        return -1;
    a->empty = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (a->empty == -1)
        return err_errno(e, "open %s", path);
    *strrchr(path, '/') = '\0';
    return archive_sweep(k, path, e);
}

void archive_close(struct keeper *k)
{
    struct archives *a = k->archives;
    struct job      *j;

    if (a == NULL)
        return;
    loop_timer_clear(k->loop, &a->look);
    while ((j = a->jobs) != NULL) {
        if (j->pid > 0) {
            kill(j->pid, SIGKILL);
            waitpid(j->pid, NULL, 0);
        }
        job_free(j);
    }
    if (a->empty >= 0)
        close(a->empty);
    free(a);
    k->archives = NULL;
}
