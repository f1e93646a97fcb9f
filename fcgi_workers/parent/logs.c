/*
 * logs: what the parts write, in one file (see logs.h).
 *
 * Owns the log file, the console's copy and the pipes. Must never block: not
 * on a pipe, not on the console.
 */
#include "logs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/clock.h"

#define LOGS_FILE    "holdfastd.log"
#define LOGS_LINE    4000
#define LOGS_SOURCES 12

static struct {
    char               dir[PATH_MAX - 64];
    int64_t            size;            /* bytes */
    int                keep;
    int                file;
    int64_t            written;         /* in the file */
    int                console;         /* -1: none */
    struct log_source *sources[LOGS_SOURCES];
    int                nsources;
    struct log_source  self;
} logs = { .file = -1, .console = -1 };

static void logs_path(char *out, const char *name, int number)
{
    if (number == 0)
        snprintf(out, PATH_MAX, "%s/%s", logs.dir, name);
    else
        snprintf(out, PATH_MAX, "%s/%s.%d", logs.dir, name, number);
}

static int logs_open_file(void)
{
    struct stat st;
    char        path[PATH_MAX];
    int         fd;

    logs_path(path, LOGS_FILE, 0);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
        0640);
    if (fd < 0)
        return -1;
    if (logs.file >= 0)
        close(logs.file);
    logs.file = fd;
    logs.written = fstat(fd, &st) == 0 ? st.st_size : 0;
    return 0;
}

void logs_reopen(void)
{
    logs_open_file();           /* if it fails, the old one stays */
}

static bool logs_is_large(const char *name)
{
    struct stat st;
    char        path[PATH_MAX];

    logs_path(path, name, 0);
    return logs.size != 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode)
        && st.st_size >= logs.size;
}

static void logs_shift(const char *name, int first)
{
    char from[PATH_MAX], to[PATH_MAX];
    int  i;

    for (i = logs.keep; i > first; i--) {
        logs_path(from, name, i - 1);
        logs_path(to, name, i);
        rename(from, to);       /* not every number is there */
    }
}

bool logs_rotate(const char *name)
{
    if (!logs_is_large(name))
        return false;
    logs_shift(name, 0);
    return true;
}

/* All that is in `from` at this moment, within the kernel. */
static int logs_copy(int from, int to)
{
    struct stat st;
    off_t       left;
    ssize_t     n;

    if (fstat(from, &st) != 0)
        return -1;
    for (left = st.st_size; left > 0; left -= n) {
        n = sendfile(to, from, NULL, (size_t)left);
        if (n <= 0)
            return -1;
    }
    return 0;
}

void logs_rotate_held(const char *name)
{
    char path[PATH_MAX];
    int  from, to;

    if (!logs_is_large(name))
        return;
    logs_shift(name, 1);
    logs_path(path, name, 0);
    from = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    logs_path(path, name, 1);
    to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
        0640);
    /* What cannot be kept is given up: a disk that is full needs the room. */
    if (from >= 0 && (to < 0 || logs_copy(from, to) != 0))
        unlink(path);
    if (from >= 0)
        (void)!ftruncate(from, 0);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
}

static void logs_write(const char *line, size_t len)
{
    struct pollfd p = { .fd = logs.console, .events = POLLOUT };

    if (logs.file >= 0) {
        if (write(logs.file, line, len) > 0)
            logs.written += (int64_t)len;
        if (logs.written >= logs.size && logs_rotate(LOGS_FILE))
            logs_open_file();
    }
    if (logs.console >= 0 && poll(&p, 1, 0) == 1)
        (void)!write(logs.console, line, len);
}

/* One line without its end. What a foreign program writes gets our head, and
 * nobody's control characters reach a terminal. */
static void logs_line(struct log_source *src, char *text, size_t len)
{
    char   line[LOGS_LINE + 128], when[CLOCK_TEXT_MAX];
    size_t i, n = 0;

    if (!src->ours)
        n = (size_t)snprintf(line, sizeof(line), "%s info %s ",
            clock_text(clock_wall_ms(), when), src->name);
    for (i = 0; i < len && n < sizeof(line) - 1; i++) {
        line[n++] = (unsigned char)text[i] < 0x20 && text[i] != '\t'
            ? '?' : text[i];
    }
    line[n++] = '\n';
    logs_write(line, n);
}

static void logs_take_lines(struct log_source *src)
{
    char  *nl;
    size_t n;

    while (src->line.len > 0) {
        nl = memchr(src->line.data, '\n', src->line.len);
        if (nl == NULL && src->line.len < LOGS_LINE)
            return;
        n = nl == NULL ? LOGS_LINE : (size_t)(nl - src->line.data);
        if (n > LOGS_LINE)
            n = LOGS_LINE;
        logs_line(src, src->line.data, n);
        buf_consume(&src->line, nl != NULL && n == (size_t)(nl
            - src->line.data) ? n + 1 : n);
    }
}

/* At most so much per turn that one chatty part does not starve the rest. */
static void logs_read(struct log_source *src, int turns)
{
    char   *room;
    ssize_t n;

    while (turns-- > 0) {
        room = buf_room(&src->line, 4096);
        if (room == NULL) {
            buf_reset(&src->line);
            return;
        }
        n = read(src->watch.fd, room, 4096);
        if (n <= 0)
            return;
        src->line.len += (size_t)n;
        logs_take_lines(src);
    }
}

static void logs_ready(struct watch *w, uint32_t events)
{
    (void)events;
    logs_read(w->owner, 4);
}

/* We keep the write end, too: the pipe outlives the part, and what it wrote
 * last is not lost. */
int logs_source(struct loop *l, struct log_source *src, const char *name,
    bool ours, struct err *e)
{
    int ends[2];

    if (logs.nsources == LOGS_SOURCES)
        return err_set(e, "internal", "too many log sources");
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        return err_errno(e, "make a pipe for the log");
    memset(src, 0, sizeof(*src));
    src->name = name;
    src->ours = ours;
    src->out = ends[1];
    src->watch.fd = ends[0];
    src->watch.ready = logs_ready;
    src->watch.owner = src;
    buf_init(&src->line, 64 * 1024);
    if (loop_add(l, &src->watch, EPOLLIN) != 0)
        return err_errno(e, "watch the log's pipe");
    logs.sources[logs.nsources++] = src;
    return 0;
}

void logs_drain(void)
{
    int i;

    for (i = 0; i < logs.nsources; i++)
        logs_read(logs.sources[i], 64);
}

/* As under the watcher: a copy would be every line twice. */
static bool logs_is_file(int fd)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && fstat(logs.file, &b) == 0
        && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int logs_open(struct loop *l, const struct settings *s, bool console,
    struct err *e)
{
    snprintf(logs.dir, sizeof(logs.dir), "%s", s->log_dir);
    logs.size = s->log_size * 1024 * 1024;
    logs.keep = (int)s->log_keep;
    if (logs.nsources > 0)
        return 0;               /* a reload: only the limits are new */
    if (logs_open_file() != 0)
        return err_errno(e, "open %s/" LOGS_FILE, s->log_dir);
    if (logs_source(l, &logs.self, "parent", true, e) != 0)
        return -1;
    if (console && !logs_is_file(STDERR_FILENO))
        logs.console = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (dup2(logs.self.out, STDERR_FILENO) < 0)
        return err_errno(e, "redirect the log");
    return 0;
}
