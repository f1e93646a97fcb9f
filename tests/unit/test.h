/*
 * test: the little that a unit test needs.
 *
 * CHECK prints one line, `ok` or `FAIL` with its place; TEST_END prints how
 * many of each and gives main's return value. No framework, no forks: a crash
 * is a failure too.
 */
#ifndef HF_TEST_H
#define HF_TEST_H

#include <stdio.h>
#include <string.h>

static int test_passed, test_failed;

static inline void test_check(int ok, const char *what, const char *file,
    int line)
{
    if (ok) {
        test_passed++;
        printf("ok   %s\n", what);
    } else {
        test_failed++;
        printf("FAIL %s:%d: %s\n", file, line, what);
    }
    fflush(stdout);
}

#define CHECK(cond) test_check((cond) ? 1 : 0, #cond, __FILE__, __LINE__)
/* The same with words of its own, for checks in a loop. */
#define CHECK_AS(cond, what) \
    test_check((cond) ? 1 : 0, what, __FILE__, __LINE__)
#define CHECK_STR(got, want) \
    do { \
        const char *g_ = (got), *w_ = (want); \
        int         s_ = strcmp(g_, w_) == 0; \
        test_check(s_, #got " is " #want, __FILE__, __LINE__); \
        if (!s_) \
            printf("     got  \"%s\"\n     want \"%s\"\n", g_, w_); \
    } while (0)

static inline int test_end(void)
{
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed != 0;
}

#define TEST_END() test_end()

#endif
