/* One file out of a tar: what is taken, and what is refused. */
#include "test.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "keeper/engine_tar.h"

static char   tar[16384];
static size_t len;

static void member(char type, const char *body, size_t size)
{
    char    *h = tar + len;
    unsigned sum = 0;

    memset(h, 0, 512);
    snprintf(h, 100, "passwd");
    snprintf(h + 124, 12, "%011zo", size);
    h[156] = type;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    len += 512;
    if (body != NULL) {
        memcpy(tar + len, body, size);
        len += (size + 511) / 512 * 512;
    }
}

static void begin(void)
{
    memset(tar, 0, sizeof(tar));
    len = 0;
}

static void test_taken(void)
{
    const char *data = NULL;
    size_t      size = 0;

    begin();
    member('0', "root:x", 6);
    CHECK(tar_first_file(tar, len, 100, &data, &size) == 1);
    CHECK(size == 6 && memcmp(data, "root:x", 6) == 0);
    CHECK(tar_first_file(tar, len, 5, &data, &size) == 0);

    begin();
    member('x', "30 path=a/very/long/name/here\n", 30);
    member('L', "a/very/long/name", 17);
    member('0', "", 0);
    CHECK(tar_first_file(tar, len, 100, &data, &size) == 1 && size == 0);
}

static void test_refused(void)
{
    const char *data = NULL;
    size_t      size = 0;
    static const char types[] = { '1', '2', '3', '4', '5', '6', '7', 'S' };

    for (size_t i = 0; i < sizeof(types); i++) {
        begin();
        member(types[i], NULL, 0);
        CHECK_AS(tar_first_file(tar, len, 100, &data, &size) == 0,
            "a member that is no plain file");
    }
    begin();
    CHECK(tar_first_file(tar, 0, 100, &data, &size) == 0);
    CHECK(tar_first_file(tar, 1024, 100, &data, &size) == 0);
    CHECK(tar_first_file(tar, 511, 100, &data, &size) == -1);

    member('0', "root:x", 6);
    CHECK(tar_first_file(tar, 512 + 5, 100, &data, &size) == -1);
    tar[0] ^= 1;
    CHECK(tar_first_file(tar, len, 100, &data, &size) == -1);

    begin();
    member('0', NULL, 0xffffffff);
    CHECK(tar_first_file(tar, len, SIZE_MAX, &data, &size) == -1);

    begin();
    for (int i = 0; i < 20; i++)
        member('x', NULL, 0);
    CHECK(tar_first_file(tar, len, 100, &data, &size) == -1);
}

int main(void)
{
    test_taken();
    test_refused();
    return TEST_END();
}
