/*
 * archive_store: see archive_in.h and archive.h. Where archives are, and what a
 * row says of its own; at the keeper's start both are made to agree.
 */
#include "archive_in.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "store.h"
#include "workspace.h"

/* ---- names and references ------------------------------------------------ */

void archive_path(const struct sandbox *sb, const char *ending,
    char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/archives/%s%s", sb->k->s->data_dir, sb->id,
        ending);
}

int archive_dir(const struct sandbox *sb)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/sandboxes/%s", sb->k->s->data_dir,
        sb->id);
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool archive_has_home(const struct sandbox *sb)
{
    struct workspace_paths p;
    struct stat            st;

    workspace_paths(sb, &p);
    return lstat(p.home, &st) == 0 && S_ISDIR(st.st_mode);
}

void archive_ref_make(const struct sandbox *sb, const struct pack_result *r,
    char *out, size_t size)
{
    char     hex[65];
    unsigned i;

    for (i = 0; i < sizeof(r->sha256); i++)
        snprintf(hex + 2 * i, 3, "%02x", r->sha256[i]);
    snprintf(out, size, "file:%s" ARCHIVE_ENDING " %s %" PRId64 " %" PRId64,
        sb->id, hex, r->bytes, clock_wall_ms());
}

bool archive_ref_fits(const struct sandbox *sb, const struct pack_result *r)
{
    char        ours[256];
    const char *end;

    if (strstr(sb->archive_ref, ARCHIVE_ENDING " - ") != NULL)
        return true;            /* taken up from disk: nobody knows */
    archive_ref_make(sb, r, ours, sizeof(ours));
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

void archive_ref_set(struct sandbox *sb, const char *ref)
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

/* ---- opening ------------------------------------------------------------- */

/* A database from a backup may know less than the disk: what is only in an
 * archive stays there. */
static void archive_found(struct keeper *k, const char *name, int64_t bytes)
{
    const char     *end = strstr(name, ARCHIVE_ENDING);
    struct sandbox *sb;
    char            text[256];

    if (end == NULL || end[strlen(ARCHIVE_ENDING)] != '\0')
        return;
    sb = sandbox_find_n(k, name, (size_t) (end - name));
    if (sb == NULL) {
        log_warn("archive %s is of a sandbox that this database does not "
            "have: left alone", name);
    } else if (sb->archive_ref == NULL && archive_has_home(sb)) {
        archive_drop(sb);
    } else if (sb->archive_ref == NULL && sb->rung != RUNG_PURGING) {
        log_warn("sandbox=%s has no home, but an archive: taken up", sb->id);
        snprintf(text, sizeof(text), "file:%s - %" PRId64 " 0", name, bytes);
        archive_ref_set(sb, text);
        sb->unproven = false;
        if (!rung_is_gone(sb->rung))
            sandbox_rung(sb, RUNG_ARCHIVED);
    }
}

static int archive_sweep(struct keeper *k, const char *path, struct err *e)
{
    struct dirent *d;
    struct stat    st;
    size_t         len, half = strlen(ARCHIVE_HALF);
    DIR           *dir = opendir(path);

    if (dir == NULL)
        return err_errno(e, "read %s", path);
    while ((d = readdir(dir)) != NULL) {
        len = strlen(d->d_name);
        if (len > half && strcmp(d->d_name + len - half, ARCHIVE_HALF) == 0)
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

    if (a == NULL)
        return;
    loop_timer_clear(k->loop, &a->look);
    archive_jobs_end(a);
    if (a->empty >= 0)
        close(a->empty);
    free(a);
    k->archives = NULL;
}
