/* Unit test of common/msg: packets, descriptors, long texts, hostile peers. */
#include "common/msg.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static int sp[2];

static int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int  n = 0;

    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void test_fds(void)
{
    char buf[16];
    int  fds[3] = { 0, 1, 2 }, got[MSG_FDS_MAX], n, before = open_fds(), i;

    CHECK(msg_send(sp[0], "hi", 2, fds, 3) == 0);
    n = 2;
    CHECK(msg_recv(sp[1], buf, sizeof(buf), got, &n) == 2);
    CHECK(n == 2 && memcmp(buf, "hi", 2) == 0);
    CHECK((fcntl(got[0], F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(open_fds() == before + 2);
    for (i = 0; i < n; i++)
        close(got[i]);
    CHECK(msg_send(sp[0], "hi", 2, fds, 3) == 0);
    CHECK(msg_recv(sp[1], buf, sizeof(buf), NULL, NULL) == 2);
    CHECK(open_fds() == before);
    CHECK(msg_send(sp[0], "too long", 8, fds, 3) == 0);
    n = 3;
    CHECK(msg_recv(sp[1], buf, 4, got, &n) == -1 && errno == EMSGSIZE);
    CHECK(open_fds() == before);
    CHECK(msg_send(sp[0], "x", 1, fds, MSG_FDS_MAX + 1) == -1);
}

static void test_text(void)
{
    char  *big = malloc(300000), *got;
    size_t len;
    int    before;

    memset(big, 'b', 300000);
    before = open_fds();
    CHECK(msg_send_text(sp[0], "{}", 2) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == 1);
    CHECK_STR(got, "{}");
    free(got);
    CHECK(msg_send_text(sp[0], big, 300000) == 0);
    CHECK(msg_recv_text(sp[1], 300000, &got, &len) == 1);
    CHECK(len == 300000 && memcmp(got, big, len) == 0 && got[len] == '\0');
    free(got);
    CHECK(msg_send_text(sp[0], big, 300000) == 0);
    CHECK(msg_recv_text(sp[1], 299999, &got, &len) == -1);
    CHECK(errno == EMSGSIZE);
    CHECK(msg_send_text(sp[0], big, 50) == 0);
    CHECK(msg_recv_text(sp[1], 49, &got, &len) == -1 && errno == EMSGSIZE);
    CHECK(msg_send_text(sp[0], "", 0) == -1);
    CHECK(open_fds() == before);
    free(big);
}

/* What a hostile peer may send beside {"memfd":N}. */
static void test_unsealed(void)
{
    char  *got;
    size_t len;
    int    fd, before = open_fds();

    fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd, 10) == 0);
    CHECK(msg_send(sp[0], "{\"memfd\":10}", 12, &fd, 1) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == -1 && errno == EBADMSG);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
        == 0);
    CHECK(msg_send(sp[0], "{\"memfd\":11}", 12, &fd, 1) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == -1 && errno == EBADMSG);
    CHECK(msg_send(sp[0], "{\"memfd\":010}", 13, &fd, 1) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == -1 && errno == EBADMSG);
    CHECK(msg_send(sp[0], "nonsense", 8, &fd, 1) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == -1 && errno == EBADMSG);
    close(fd);
    fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK(msg_send(sp[0], "{\"memfd\":10}", 12, &fd, 1) == 0);
    CHECK(msg_recv_text(sp[1], 100, &got, &len) == -1 && errno == EBADMSG);
    close(fd);
    CHECK(open_fds() == before);
}

static void test_listen(void)
{
    char        dir[] = "/tmp/holdfast-msg.XXXXXX", path[64], longer[200];
    struct stat st;
    int         l, c, a, uid = -1;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/s", dir);
    l = msg_listen(path, SOCK_SEQPACKET, 0640, (int)getuid(), (int)getgid());
    CHECK(l >= 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK(msg_accept(l, NULL) == -1 && errno == EAGAIN);
    c = msg_connect(path, SOCK_SEQPACKET);
    CHECK(c >= 0);
    a = msg_accept(l, &uid);
    CHECK(a >= 0 && uid == (int)getuid());
    close(c);
    c = msg_listen(path, SOCK_SEQPACKET, 0600, (int)getuid(), (int)getgid());
    CHECK(c >= 0);              /* a stale one is replaced */
    close(c);
    close(a);
    close(l);
    CHECK(msg_connect(path, SOCK_SEQPACKET) == -1);
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[199] = '\0';
    CHECK(msg_connect(longer, SOCK_STREAM) == -1 && errno == ENAMETOOLONG);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sp) == 0);
    test_fds();
    test_text();
    test_unsealed();
    test_listen();
    close(sp[0]);
    CHECK(msg_recv(sp[1], (char[4]){ 0 }, 4, NULL, NULL) == 0);
    CHECK(msg_send(sp[1], "x", 1, NULL, 0) == -1 && errno == EPIPE);
    return TEST_END();
}
