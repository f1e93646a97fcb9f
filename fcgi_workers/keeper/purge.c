/*
 * purge: removes a workspace (the last part of workspace.h).
 *
 * What a sandbox made is hostile: names, depth, modes, links. So a child takes
 * the sandbox's uid for good, gets nothing but the two folders' descriptors,
 * and unlinks without following anything. It needs no depth: a folder found
 * inside a folder is renamed to the top first, so two descriptors are enough
 * for any tree. Then the keeper removes its own files by their names.
 */
#include "workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/log.h"
#include "child.h"

#define PURGE_MS      600000    /* a child that takes longer is killed */
#define PURGE_ENTRIES 50000000
#define LOGS_MAX      4096
#define TOPS_MAX      4

struct purge {
    struct sandbox *sb;
    bool            clears;     /* what archive.c set aside, no more */
    pid_t           pid;
    struct watch    watch;      /* the pipe that it tells its result by */
    struct timer    deadline;
    void          (*done)(void *arg, const struct err *e, int64_t freed);
    void           *arg;
};

struct purge_result {
    int64_t freed;
    int     error;
};

/* ---- in the child -------------------------------------------------------- */

struct walk {
    int      top;
    uint64_t moved, seen;
    int64_t  freed;
};

static void count(struct walk *w, const struct stat *st)
{
    if (S_ISDIR(st->st_mode) || st->st_nlink == 1)
        w->freed += (int64_t) st->st_blocks * 512;
}

/* Opens a folder for writing into it, whatever its mode is. */
static int open_any(int at, const char *name)
{
    char path[64];
    int  fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int  rw;

    if (fd == -1)
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (chmod(path, 0700) == -1) {
        close(fd);
        return -1;
    }
    rw = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(fd);
    return rw;
}

/* Empties one folder: files go, folders move to the top. */
static int walk_flatten(struct walk *w, int fd)
{
    struct dirent *d;
    struct stat    st;
    char           name[40];
    DIR           *dir = fdopendir(fd);
    int            sub;

    if (dir == NULL) {
        close(fd);
        return -1;
    }
    while ((d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (++w->seen > PURGE_ENTRIES)
            goto failed;
        if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
            if (errno == ENOENT)
                continue;       /* a purge that was interrupted ends, too */
            goto failed;
        }
        if (!S_ISDIR(st.st_mode)) {
            count(w, &st);
            if (unlinkat(fd, d->d_name, 0) == -1 && errno != ENOENT)
                goto failed;
            continue;
        }
        if (unlinkat(fd, d->d_name, AT_REMOVEDIR) == 0) {
            count(w, &st);
            continue;
        }
        sub = open_any(fd, d->d_name);      /* a move writes its ".." */
        if (sub == -1) {
            if (errno == ENOENT)
                continue;
            goto failed;
        }
        close(sub);
        snprintf(name, sizeof(name), ".purge-%d-%llu", (int) getpid(),
            (unsigned long long) w->moved++);
        if (renameat(fd, d->d_name, w->top, name) == -1 && errno != ENOENT)
            goto failed;
    }
    closedir(dir);
    return 0;

failed:
    closedir(dir);
    return -1;
}

/* One pass over the top; 1: something is left, so pass again. */
static int walk_pass(struct walk *w)
{
    struct dirent *d;
    struct stat    st;
    DIR           *dir;
    int            fd, sub, left = 0;

    fd = openat(w->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd != -1 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return -1;
    while ((d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        left = 1;
        if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
            if (errno == ENOENT)
                continue;
            goto failed;
        }
        count(w, &st);
        if (!S_ISDIR(st.st_mode)) {
            if (unlinkat(fd, d->d_name, 0) == -1 && errno != ENOENT)
                goto failed;
            continue;
        }
        sub = open_any(fd, d->d_name);
        if (sub != -1 && walk_flatten(w, sub) == -1)
            goto failed;
        if ((sub == -1 || unlinkat(fd, d->d_name, AT_REMOVEDIR) == -1)
            && errno != ENOENT)
            goto failed;
    }
    closedir(dir);
    return left;

failed:
    closedir(dir);
    return -1;
}

static void purge_child(const int *tops, int ntops, uid_t uid, int out,
    pid_t keeper)
{
    struct purge_result r = { 0, 0 };
    struct walk         w = { 0 };
    int                 keep[TOPS_MAX + 1], i, rc;

    for (i = 0; i < ntops; i++)
        keep[i] = tops[i];
    keep[ntops] = out;
    child_begin(keep, ntops + 1);
    rc = child_become(uid, 0, keeper);
    for (i = 0; i < ntops && rc != -1; i++) {
        w.top = tops[i];
        fchmod(w.top, 0700);
        do {
            rc = walk_pass(&w);
        } while (rc == 1);
    }
    r.freed = w.freed;
    r.error = rc == -1 ? errno : 0;
    rc = (int) write(out, &r, sizeof(r));
    _exit(rc == (int) sizeof(r) ? 0 : 1);
}

/* ---- in the keeper ------------------------------------------------------- */

/* The logs are root's and flat: the guest alone writes there. Names are
 * unlinked, nothing is opened or followed; a folder there is not ours. */
static int64_t purge_logs(int at)
{
    struct dirent *d;
    struct stat    st;
    int64_t        freed = 0;
    int            fd, left = LOGS_MAX;
    DIR           *dir;

    fd = openat(at, "logs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd == -1)
        return 0;
    dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return 0;
    }
    while ((d = readdir(dir)) != NULL && left-- > 0) {
        if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0
            && !S_ISDIR(st.st_mode) && unlinkat(fd, d->d_name, 0) == 0)
            freed += (int64_t) st.st_blocks * 512;
    }
    closedir(dir);
    return freed;
}

/* Our own files, by name; the homes are empty by now. */
static int purge_rest(struct sandbox *sb, int at)
{
    static const char *const files[] = { "passwd", "group", "passwd.new",
        "group.new" };
    static const char *const dirs[] = { "home", "home.new/workspace/app",
        "home.new/workspace", "home.new", "home.packed", "home.unpack",
        "spool", "logs" };
    char   path[PATH_MAX];
    size_t i;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        unlinkat(at, files[i], 0);
    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        unlinkat(at, dirs[i], AT_REMOVEDIR);
    snprintf(path, sizeof(path), "%s/sandboxes/%s", sb->k->s->data_dir,
        sb->id);
    return rmdir(path) == -1 && errno != ENOENT ? -1 : 0;
}

/* All that archive.c may have left is gone? */
static int purge_aside(int at)
{
    if ((unlinkat(at, "home.packed", AT_REMOVEDIR) == -1 && errno != ENOENT)
        || (unlinkat(at, "home.unpack", AT_REMOVEDIR) == -1
            && errno != ENOENT))
        return -1;
    return 0;
}

static void purge_end(struct purge *p, const struct err *e, int64_t freed)
{
    void (*done)(void *, const struct err *, int64_t) = p->done;
    void *arg = p->arg;

    loop_timer_clear(p->sb->k->loop, &p->deadline);
    if (p->watch.added)
        loop_remove(p->sb->k->loop, &p->watch);
    if (p->watch.fd >= 0)
        close(p->watch.fd);
    free(p);
    done(arg, e, freed);
}

static void purge_ready(struct watch *w, uint32_t events)
{
    struct purge       *p = w->owner;
    struct purge_result r;
    struct err          e = { 0 };
    char                path[PATH_MAX];
    int                 at, status;

    (void) events;
    if (read(w->fd, &r, sizeof(r)) != (ssize_t) sizeof(r)) {
        r.freed = 0;
        r.error = ECANCELED;
    }
    waitpid(p->pid, &status, 0);
    if (r.error != 0) {
        errno = r.error;
        err_errno(&e, "remove the workspace of %s", p->sb->id);
        purge_end(p, &e, r.freed);
        return;
    }
    snprintf(path, sizeof(path), "%s/sandboxes/%s", p->sb->k->s->data_dir,
        p->sb->id);
    at = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at != -1 && !p->clears)
        r.freed += purge_logs(at);
    if ((at == -1 && errno != ENOENT)
        || (at != -1 && (p->clears ? purge_aside(at)
            : purge_rest(p->sb, at)) == -1))
        err_errno(&e, "remove the workspace of %s", p->sb->id);
    if (at != -1)
        close(at);
    purge_end(p, e.code != NULL ? &e : NULL, r.freed);
}

static void purge_overdue(struct timer *t)
{
    struct purge *p = t->owner;

    log_error("sandbox=%s purge takes too long, killed", p->sb->id);
    kill(p->pid, SIGKILL);      /* the pipe's end tells the rest */
}

/* From the loop also when there is nothing to do: one way for callers. */
static void purge_nothing(struct timer *t)
{
    purge_end(t->owner, NULL, 0);
}

static void purge_failed(struct timer *t)
{
    struct err e;

    err_set(&e, "internal", "a process for the purge could not be started");
    purge_end(t->owner, &e, 0);
}

static int purge_fork(struct purge *p, int at)
{
    static const char *const names[TOPS_MAX] = { "home.packed",
        "home.unpack", "home", "spool" };
    pid_t keeper = getpid();
    int   tops[TOPS_MAX], n = 0, out[2], i, fd;

    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) == -1)
        return -1;
    for (i = 0; i < (p->clears ? 2 : TOPS_MAX); i++) {
        fd = openat(at, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW
            | O_CLOEXEC);
        if (fd != -1)
            tops[n++] = fd;
    }
    p->pid = fork();
    if (p->pid == 0)
        purge_child(tops, n, (uid_t) p->sb->uid, out[1], keeper);
    close(out[1]);
    for (i = 0; i < n; i++)
        close(tops[i]);
    if (p->pid == -1) {
        close(out[0]);
        return -1;
    }
    p->watch.fd = out[0];
    p->watch.owner = p;
    p->watch.ready = purge_ready;
    p->deadline.due = purge_overdue;
    loop_timer_set(p->sb->k->loop, &p->deadline, PURGE_MS);
    return loop_add(p->sb->k->loop, &p->watch, EPOLLIN);
}

static void purge_begin(struct sandbox *sb, bool clears,
    void (*done)(void *arg, const struct err *e, int64_t freed), void *arg)
{
    struct purge *p = calloc(1, sizeof(*p));
    char          path[PATH_MAX];
    int           at;

    if (p == NULL)
        log_fatal("out of memory");
    p->sb = sb;
    p->clears = clears;
    p->done = done;
    p->arg = arg;
    p->watch.fd = -1;
    p->deadline.owner = p;
    snprintf(path, sizeof(path), "%s/sandboxes/%s", sb->k->s->data_dir,
        sb->id);
    at = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at != -1 && purge_fork(p, at) == 0) {
        close(at);
        return;
    }
    if (at != -1)
        close(at);
    p->deadline.due = at == -1 && errno == ENOENT ? purge_nothing
        : purge_failed;
    loop_timer_set(sb->k->loop, &p->deadline, 0);
}

void workspace_purge(struct sandbox *sb,
    void (*done)(void *arg, const struct err *e, int64_t freed), void *arg)
{
    purge_begin(sb, false, done, arg);
}

void workspace_clear(struct sandbox *sb,
    void (*done)(void *arg, const struct err *e, int64_t freed), void *arg)
{
    purge_begin(sb, true, done, arg);
}
