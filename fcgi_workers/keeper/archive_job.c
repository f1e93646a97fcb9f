/*
 * archive_job: see archive_in.h.
 *
 * Owns the jobs: at most archive_jobs children pack and as many unpack at a
 * time, the others wait in order. Must never look into a home or an archive:
 * pack.c does, in a child.
 */
#include "archive_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/log.h"
#include "workspace.h"

static void job_next(struct archives *a);

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd == -1 ? -1 : fsync(fd);

    if (fd != -1)
        close(fd);
    return rc;
}

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

void archive_job_over(struct job *j, const struct err *e)
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
        loop_timer_set(a->k->loop, &a->look, ARCHIVE_LOOK_SOON_MS);
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

    archive_path(sb, ARCHIVE_HALF, from);
    archive_path(sb, ARCHIVE_ENDING, to);
    if (rename(from, to) == -1) {
        r->error = errno;
        return -1;
    }
    snprintf(from, sizeof(from), "%s/archives", sb->k->s->data_dir);
    if (sync_folder(from) == -1) {
        r->error = errno;
        return -1;
    }
    archive_ref_make(sb, r, ref, sizeof(ref));
    archive_ref_set(sb, ref);
    return 0;
}

static int job_unpacked(struct job *j, struct pack_result *r)
{
    struct sandbox *sb = j->sb;
    int             at;

    if (!archive_ref_fits(sb, r)) {
        r->error = EILSEQ;
        return -1;
    }
    at = archive_dir(sb);
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
    archive_job_over(j, &j->why);
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
        archive_path(j->sb, ARCHIVE_HALF, path);
        unlink(path);
        archive_job_over(j, &j->why);
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
    archive_job_over(j, NULL);
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
    int         at = archive_dir(j->sb);

    *home = *file = -1;
    if (at == -1)
        return -1;
    archive_path(j->sb, j->packs ? ARCHIVE_HALF : ARCHIVE_ENDING, path);
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
        archive_job_over(j, e);
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

void archive_job_new(struct sandbox *sb, bool packs,
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

void archive_jobs_end(struct archives *a)
{
    struct job *j;

    while ((j = a->jobs) != NULL) {
        if (j->pid > 0) {
            kill(j->pid, SIGKILL);
            waitpid(j->pid, NULL, 0);
        }
        job_free(j);
    }
}
