/*
 * workspace: see workspace.h.
 *
 * Owns the layout under data_dir. Must never follow or open anything inside a
 * home: the skeleton of a new one is made under another name and renamed.
 */
#include "workspace.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/log.h"
#include "../net/resolv.h"

#define TEXT_MAX  (256 * 1024)  /* of an image's passwd or group */
#define LINE_KEPT 1024

/* ---- small pieces -------------------------------------------------------- */

static int make_dir(const char *path, mode_t mode, struct err *e)
{
    if (mkdir(path, mode) == -1 && errno != EEXIST) {
        if (errno == ENOSPC || errno == EDQUOT)
            return err_set(e, "disk_full", "no room for a workspace");
        return err_errno(e, "make a folder");
    }
    return 0;
}

/* A whole file at once: readers see the old one or the new one. */
static int put_file(const char *path, const char *data, size_t len,
    mode_t mode, struct err *e)
{
    char    tmp[PATH_MAX];
    ssize_t n;
    int     fd;

    if ((size_t) snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
        return err_set(e, "internal", "data_dir is too long");
    unlink(tmp);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        mode);
    if (fd == -1)
        return err_errno(e, "write a sandbox's generated file");
    while (len > 0) {
        n = write(fd, data, len);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        data += n;
        len -= (size_t) n;
    }
    if (len > 0 || fchmod(fd, mode) == -1 || close(fd) == -1
        || rename(tmp, path) == -1) {
        int why = errno;

        unlink(tmp);
        if (why == ENOSPC || why == EDQUOT)
            return err_set(e, "disk_full", "no room for a workspace");
        return err_errno(e, "write a sandbox's generated file");
    }
    return 0;
}

static char *get_file(const char *path)
{
    char   *data = malloc(TEXT_MAX + 1);
    ssize_t n;
    int     fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd == -1 || data == NULL) {
        free(data);
        if (fd != -1)
            close(fd);
        return NULL;
    }
    n = read(fd, data, TEXT_MAX);
    close(fd);
    if (n < 0) {
        free(data);
        return NULL;
    }
    data[n] = '\0';
    return data;
}

/* ---- what all share ------------------------------------------------------ */

static int resolv_make(struct keeper *k, struct err *e)
{
    struct resolv r;
    struct buf    text;
    char          path[PATH_MAX];
    int           rc;

    if (resolv_find(k->s, &r, e) == -1)
        return -1;
    buf_init(&text, 4096);
    resolv_text(&r, &text);
    snprintf(path, sizeof(path), "%s/etc/resolv.conf", k->s->data_dir);
    rc = put_file(path, text.data, text.len, 0644, e);
    buf_fini(&text);
    return rc;
}

int workspace_open(struct keeper *k, struct err *e)
{
    static const struct {
        const char *name;
        mode_t      mode;
    } dirs[] = { { "sandboxes", 0700 }, { "images", 0700 }, { "etc", 0755 } };
    char   path[PATH_MAX];
    size_t i;

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", k->s->data_dir, dirs[i].name);
        if (make_dir(path, dirs[i].mode, e) == -1)
            return -1;
        if (chmod(path, dirs[i].mode) == -1)
            return err_errno(e, "set the mode of a folder in data_dir");
    }
    return resolv_make(k, e);
}

int workspace_room(struct keeper *k, struct err *e)
{
    struct statvfs v;

    if (k->s->disk_reserve_percent == 0)
        return 0;
    if (statvfs(k->s->data_dir, &v) == -1)
        return err_errno(e, "look how full the disk is");
    if (v.f_blocks == 0 || (uint64_t) v.f_bavail * 100
        >= (uint64_t) v.f_blocks * (uint64_t) k->s->disk_reserve_percent)
        return 0;
    err_set(e, "disk_full", "less than %lld %% of the disk is free",
        (long long) k->s->disk_reserve_percent);
    e->retry_after_s = 60;
    return -1;
}

/* ---- passwd and group ---------------------------------------------------- */

/* Whether the line names `sandbox` or holds the number in its third field. */
static bool line_is_ours(const char *p, size_t len, int64_t number)
{
    const char *end = p + len, *name, *pass;
    char        digits[24];
    size_t      n;

    name = memchr(p, ':', len);
    if (name == NULL || len > LINE_KEPT)
        return true;            /* no line of such a file: left out */
    if (name - p == 7 && memcmp(p, "sandbox", 7) == 0)
        return true;
    pass = memchr(name + 1, ':', (size_t) (end - name - 1));
    if (pass == NULL)
        return true;
    n = (size_t) snprintf(digits, sizeof(digits), "%lld:",
        (long long) number);
    return (size_t) (end - pass - 1) >= n
        && memcmp(pass + 1, digits, n) == 0;
}

static void texts_filter(struct buf *out, const char *text, int64_t number)
{
    const char *end;
    size_t      len;

    while (text != NULL && *text != '\0') {
        end = strchr(text, '\n');
        len = end != NULL ? (size_t) (end - text) : strlen(text);
        if (len > 0 && !line_is_ours(text, len, number)) {
            buf_add(out, text, len);
            buf_str(out, "\n");
        }
        text = end != NULL ? end + 1 : NULL;
    }
}

void workspace_shell(const char *passwd, char *out, size_t size)
{
    const char *line = passwd, *end, *at;
    size_t      len, i;

    snprintf(out, size, "/bin/sh");
    while (line != NULL && strncmp(line, "root:", 5) != 0) {
        end = strchr(line, '\n');
        line = end != NULL ? end + 1 : NULL;
    }
    if (line == NULL)
        return;
    len = strcspn(line, "\r\n");
    for (at = line + len; at > line && at[-1] != ':'; at--)
        continue;
    len = (size_t) (line + len - at);
    if (len < 2 || len >= size || len > 100 || at[0] != '/')
        return;
    for (i = 0; i < len; i++) {
        if (!isalnum((unsigned char) at[i]) && strchr("/._-+", at[i]) == NULL)
            return;
    }
    memcpy(out, at, len);
    out[len] = '\0';
}

static int texts_make(struct sandbox *sb, const struct workspace_paths *p,
    const char *passwd, const char *group, struct err *e)
{
    struct buf b;
    char       shell[128];
    int        rc;

    workspace_shell(passwd, shell, sizeof(shell));
    buf_init(&b, 2 * TEXT_MAX);
    texts_filter(&b, passwd, sb->uid);
    if (b.len == 0)
        buf_str(&b, "root:x:0:0:root:/root:/bin/sh\n");
    buf_printf(&b, "sandbox:x:%lld:%lld:sandbox:/home/sandbox:%s\n",
        (long long) sb->uid, (long long) sb->uid, shell);
    rc = b.failed ? err_set(e, "image_failed", "the image's passwd is too "
        "large") : put_file(p->passwd, b.data, b.len, 0644, e);
    buf_reset(&b);
    texts_filter(&b, group, sb->uid);
    if (b.len == 0)
        buf_str(&b, "root:x:0:\n");
    buf_printf(&b, "sandbox:x:%lld:\n", (long long) sb->uid);
    if (rc == 0)
        rc = b.failed ? err_set(e, "image_failed", "the image's group is too "
            "large") : put_file(p->group, b.data, b.len, 0644, e);
    buf_fini(&b);
    return rc;
}

static void cache_path(struct keeper *k, const char *image_id,
    const char *what, char out[PATH_MAX])
{
    char   name[72];
    size_t i, n = 0;

    for (i = 0; image_id[i] != '\0' && n < sizeof(name) - 1; i++) {
        if (isalnum((unsigned char) image_id[i]))
            name[n++] = image_id[i];
    }
    name[n] = '\0';
    snprintf(out, PATH_MAX, "%s/images/%s.%s", k->s->data_dir, name, what);
}

int workspace_texts_get(struct keeper *k, const char *image_id,
    char **passwd, char **group)
{
    char path[PATH_MAX];

    cache_path(k, image_id, "passwd", path);
    *passwd = get_file(path);
    cache_path(k, image_id, "group", path);
    *group = get_file(path);
    if (*passwd != NULL && *group != NULL)
        return 0;
    free(*passwd);
    free(*group);
    *passwd = *group = NULL;
    return -1;
}

int workspace_texts_put(struct keeper *k, const char *image_id,
    const char *passwd, const char *group, struct err *e)
{
    char path[PATH_MAX];

    cache_path(k, image_id, "passwd", path);
    if (put_file(path, passwd, strlen(passwd), 0600, e) == -1)
        return -1;
    cache_path(k, image_id, "group", path);
    return put_file(path, group, strlen(group), 0600, e);
}

/* ---- one sandbox --------------------------------------------------------- */

void workspace_paths(const struct sandbox *sb, struct workspace_paths *p)
{
    const char *data = sb->k->s->data_dir, *id = sb->id;

    memset(p, 0, sizeof(*p));
    snprintf(p->home, PATH_MAX, "%s/sandboxes/%s/home", data, id);
    snprintf(p->logs, PATH_MAX, "%s/sandboxes/%s/logs", data, id);
    snprintf(p->passwd, PATH_MAX, "%s/sandboxes/%s/passwd", data, id);
    snprintf(p->group, PATH_MAX, "%s/sandboxes/%s/group", data, id);
    snprintf(p->resolv, PATH_MAX, "%s/etc/resolv.conf", data);
    snprintf(p->guest, PATH_MAX, "%s/guest", sb->k->s->lib_dir);
}

/* One folder of a skeleton that nobody else has seen yet. */
static int skeleton_dir(int at, const char *name, uid_t uid, mode_t mode,
    struct err *e)
{
    if ((mkdirat(at, name, mode) == -1 && errno != EEXIST)
        || fchownat(at, name, uid, uid, AT_SYMLINK_NOFOLLOW) == -1
        || fchmodat(at, name, mode, 0) == -1)
        return err_errno(e, "make a new home");
    return 0;
}

/* home.new is ours alone until it is renamed: a crash leaves only that. */
static int home_make(int at, uid_t uid, struct err *e)
{
    struct stat st;
    int         fresh;

    if (fstatat(at, "home", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISDIR(st.st_mode) || st.st_uid != uid)
            return err_set(e, "internal", "the workspace's home is not its "
                "user's");
        return 0;
    }
    if (skeleton_dir(at, "home.new", uid, 0700, e) == -1)
        return -1;
    fresh = openat(at, "home.new", O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        | O_CLOEXEC);
    if (fresh == -1)
        return err_errno(e, "make a new home");
    if (skeleton_dir(fresh, "workspace", uid, 0755, e) == -1
        || skeleton_dir(fresh, "workspace/app", uid, 0755, e) == -1
        || fsync(fresh) == -1
        || renameat(at, "home.new", at, "home") == -1) {
        close(fresh);
        return e != NULL && e->code != NULL ? -1
            : err_errno(e, "make a new home");
    }
    close(fresh);
    return 0;
}

int workspace_make(struct sandbox *sb, const char *passwd, const char *group,
    struct err *e)
{
    struct workspace_paths p;
    char                   path[PATH_MAX];
    int                    at, rc;

    e->code = NULL;
    snprintf(path, sizeof(path), "%s/sandboxes/%s", sb->k->s->data_dir,
        sb->id);
    if (make_dir(path, 0700, e) == -1)
        return -1;
    at = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at == -1)
        return err_errno(e, "open a workspace");
    rc = home_make(at, (uid_t) sb->uid, e);
    if (rc == 0)
        rc = skeleton_dir(at, "spool", (uid_t) sb->uid, 0700, e);
    if (rc == 0)
        rc = skeleton_dir(at, "logs", 0, 0700, e);
    workspace_paths(sb, &p);
    if (rc == 0)
        rc = texts_make(sb, &p, passwd, group, e);
    if (rc == 0)
        fsync(at);
    close(at);
    return rc;
}
