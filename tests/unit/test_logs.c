/*
 * test_logs: a log that its writer holds open is moved away under it.
 */
#include "parent/logs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char folder[] = "/tmp/test_logs.XXXXXX";
static char block[4096];

static const char *place(const char *name)
{
    static char path[96];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static long long size_of(const char *name)
{
    struct stat st;

    return lstat(place(name), &st) == 0 ? (long long)st.st_size : -1;
}

static void fill(int fd, char mark, int blocks)
{
    memset(block, mark, sizeof(block));
    while (blocks-- > 0) {
        if (write(fd, block, sizeof(block)) != sizeof(block))
            CHECK_AS(0, "write");
    }
}

static char first_of(const char *name)
{
    char ch = '\0';
    int  fd = open(place(name), O_RDONLY);

    if (fd < 0 || read(fd, &ch, 1) != 1)
        ch = '-';
    close(fd);
    return ch;
}

int main(void)
{
    struct settings s;
    struct err      e = { 0 };
    struct loop    *l = loop_new();
    char            text[128];
    int             fd, i;

    CHECK(mkdtemp(folder) != NULL);
    snprintf(text, sizeof(text), "log_dir=%s\nlog_size=1M\nlog_keep=2\n",
        folder);
    CHECK_AS(settings_parse(&s, text, strlen(text), "test", &e) == 0, e.msg);
    CHECK_AS(logs_open(l, &s, false, &e) == 0, e.msg);
    fd = open(place("held.log"), O_WRONLY | O_APPEND | O_CREAT, 0640);
    for (i = 0; i < 3; i++) {
        fill(fd, (char)('a' + i), 255);
        logs_rotate_held("held.log");
        CHECK(size_of("held.log") == 255 * 4096);       /* not yet */
        fill(fd, (char)('a' + i), 1);
        logs_rotate_held("held.log");
        CHECK(size_of("held.log") == 0);
        CHECK(size_of("held.log.1") == 256 * 4096);
    }
    CHECK(first_of("held.log.1") == 'c');
    CHECK(first_of("held.log.2") == 'b');
    CHECK(size_of("held.log.3") == -1);
    fill(fd, 'd', 1);
    CHECK(size_of("held.log") == 4096 && first_of("held.log") == 'd');

    /* A link that somebody put there leads nowhere. */
    unlink(place("held.log.1"));
    snprintf(text, sizeof(text), "%s/target", folder);
    CHECK(symlink(text, place("held.log.1")) == 0);
    unlink(place("held.log.2"));
    CHECK(mkdir(place("held.log.2"), 0700) == 0);
    fill(fd, 'd', 256);
    logs_rotate_held("held.log");
    CHECK(size_of("held.log") == 0);
    CHECK(size_of("target") == -1);

    close(fd);
    settings_fini(&s);
    for (i = 0; i < 2; i++) {
        unlink(place("held.log"));
        unlink(place("held.log.1"));
        unlink(place("held.log.2"));
        rmdir(place("held.log.2"));
        unlink(place("holdfastd.log"));
        rmdir(folder);
    }
    return test_end();
}
