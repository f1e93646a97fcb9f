/* Unit test of common/frames: what is written is found whole, anything less
 * is not. */
#include "common/frames.h"

#include <stdlib.h>

#include "test.h"

static void test_frame(void)
{
    char   out[FRAMES_MAX + 1], *big;
    size_t n, i;

    n = frames_write(out, sizeof(out), 7, "sandbox.running",
        "{\"state\":\"running\"}", 19);
    CHECK(n == strlen("id: 7\nevent: sandbox.running\n"
        "data: {\"state\":\"running\"}\n\n"));
    CHECK(n > 0 && memcmp(out, "id: 7\nevent: sandbox.running\n"
        "data: {\"state\":\"running\"}\n\n", n) == 0);
    CHECK(frames_check(out, n, 7));
    CHECK(!frames_check(out, n, 8));
    CHECK(!frames_check(out, n, 70));
    CHECK(!frames_check(out, 0, 7));
    for (i = 1; i < n; i++) {
        if (frames_check(out, i, 7) || frames_check(out + i, n - i, 7))
            break;
    }
    CHECK_AS(i == n, "no part of a frame is one");
    out[n] = '\n';
    CHECK(!frames_check(out, n + 1, 7));
    out[n - 1] = '\0';
    CHECK(!frames_check(out, n, 7));

    CHECK(frames_write(out, 20, 7, "a", "{}", 2) == 0);
    CHECK(frames_write(out, 25, 7, "a", "{}", 2) == 0);
    CHECK(frames_write(out, 26, 7, "a", "{}", 2) == 25);
    CHECK(frames_write(out, sizeof(out), 7, "", "{}", 2) == 0);
    CHECK(frames_write(out, sizeof(out), 7, "a\nb", "{}", 2) == 0);
    CHECK(frames_write(out, sizeof(out), 7, "a b", "{}", 2) == 0);
    CHECK(frames_write(out, sizeof(out), 7, "a", "{\n}", 3) == 0);
    CHECK(frames_write(out, sizeof(out), 7, "a", "{\r}", 3) == 0);
    CHECK(frames_write(out, sizeof(out), 7, "a", "{\0}", 3) == 0);

    big = malloc(FRAMES_MAX + 1);
    memset(big, 'x', FRAMES_MAX + 1);
    CHECK(frames_write(out, sizeof(out), 1, "a", big, FRAMES_MAX) == 0);
    n = frames_write(out, sizeof(out), 1, "a", big, FRAMES_MAX - 23);
    CHECK(n == FRAMES_MAX && frames_check(out, n, 1));
    free(big);
}

static void test_index(void)
{
    unsigned char       raw[FRAMES_ENTRY], head[FRAMES_HEAD];
    struct frames_entry e = { 0x0102030405060708, 12345, true }, got;
    uint64_t            first;

    frames_head_write(head, 0xfedc);
    CHECK(frames_head_read(head, &first) == 0 && first == 0xfedc);
    CHECK(memcmp(head, "HFSTREAM\xdc\xfe\0\0\0\0\0\0", 16) == 0);
    head[0] = 'h';
    CHECK(frames_head_read(head, &first) == -1);

    frames_entry_write(raw, &e);
    CHECK(raw[0] == 8 && raw[7] == 1);
    frames_entry_read(raw, &got);
    CHECK(got.end == e.end && got.pos == e.pos && got.ends);
    e.ends = false;
    frames_entry_write(raw, &e);
    frames_entry_read(raw, &got);
    CHECK(got.pos == e.pos && !got.ends);

    CHECK(frames_count(0) == 0 && frames_count(15) == 0
        && frames_count(16) == 0 && frames_count(31) == 0
        && frames_count(32) == 1 && frames_count(47) == 1);
    CHECK(frames_place(0) == 16 && frames_place(2) == 48);

    e.end = 100;
    CHECK(frames_entry_fits(&e, 0, 100));
    CHECK(frames_entry_fits(&e, 99, 200));
    CHECK(!frames_entry_fits(&e, 0, 99));
    CHECK(!frames_entry_fits(&e, 100, 100));
    CHECK(!frames_entry_fits(&e, 101, 200));
    e.end = FRAMES_MAX + 1;
    CHECK(!frames_entry_fits(&e, 0, UINT64_MAX));
    CHECK(frames_entry_fits(&e, 1, UINT64_MAX));
    e.end = UINT64_MAX;
    CHECK(!frames_entry_fits(&e, 0, UINT64_MAX));
}

int main(void)
{
    test_frame();
    test_index();
    return TEST_END();
}
