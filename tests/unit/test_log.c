/* Unit test of common/log: one line per event, nothing forged, levels. */
#include "common/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static char out[8192];

static void take(int fd)
{
    ssize_t n = read(fd, out, sizeof(out) - 1);

    out[n > 0 ? n : 0] = '\0';
}

int main(void)
{
    char big[5000];
    int  fd[2], keep, status = 0;

    keep = dup(STDERR_FILENO);
    CHECK(pipe2(fd, O_NONBLOCK) == 0);
    dup2(fd[1], STDERR_FILENO);
    log_open("tester", LOG_INFO_);
    log_debug("not said");
    take(fd[0]);
    CHECK_STR(out, "");
    log_warn("a=%d %s", 1, "x\ny\x1b[0m \xc3\xa4");
    take(fd[0]);
    CHECK(strlen(out) > 25 && out[10] == 'T' && out[23] == 'Z');
    CHECK_STR(out + 25, "warn tester a=1 x\\x0ay\\x1b[0m \xc3\xa4\n");
    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_info("%s", big);
    take(fd[0]);
    CHECK(strlen(out) <= 2000 && strchr(out, '\n') == out + strlen(out) - 1);
    if (fork() == 0)
        log_fatal("gone");
    wait(&status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 111);
    take(fd[0]);
    CHECK_STR(out + 25, "error tester gone\n");
    CHECK(log_level_named("warn", 4) == LOG_WARN_);
    CHECK(log_level_named("loud", 4) == -1);
    dup2(keep, STDERR_FILENO);
    return TEST_END();
}
