/* Unit test of common/err: the list of codes and what fills an error. */
#include "common/err.h"

#include <errno.h>

#include "test.h"

static void test_list(void)
{
    const struct err_code *c, *d;
    int                    sane = 1, unique = 1;

    for (c = err_codes; c->code != NULL; c++) {
        sane = sane && c->status >= 400 && c->status < 600;
        for (d = c + 1; d->code != NULL; d++)
            unique = unique && strcmp(c->code, d->code) != 0;
    }
    CHECK(sane);
    CHECK(unique);
    CHECK(err_lookup("not_found")->status == 404);
    CHECK(err_lookup("low_memory")->retryable);
    CHECK(err_lookup("no such code")->status == 500);
    CHECK(err_lookup(NULL)->status == 500);
}

static void test_fill(void)
{
    struct err e;
    char       code[] = "exists", big[2000];

    memset(&e, 0xff, sizeof(e));
    CHECK(err_set(&e, code, "id %s", "a") == -1);
    CHECK(e.code != code && strcmp(e.code, "exists") == 0);
    CHECK_STR(e.msg, "id a");
    CHECK(e.field[0] == '\0' && e.hint[0] == '\0' && e.retry_after_s == 0);
    CHECK(err_field(&e, "invalid_field", "ports[0]", "bad") == -1);
    CHECK_STR(e.field, "ports[0]");
    CHECK(err_set(NULL, "exists", "x") == -1);
    errno = ENOENT;
    CHECK(err_errno(&e, "open %s", "f") == -1 && errno == ENOENT);
    CHECK_STR(e.msg, "cannot open f: No such file or directory");
    CHECK_STR(e.code, "internal");
    errno = ENOSPC;
    err_errno(&e, "write");
    CHECK_STR(e.code, "disk_full");
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_set(&e, "exists", "%s", big);
    CHECK(strlen(e.msg) == sizeof(e.msg) - 1);
}

int main(void)
{
    test_list();
    test_fill();
    return TEST_END();
}
