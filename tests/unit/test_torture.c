/* Torture of common/buf, settings and msg: every allocation fails in turn, and
 * each time the call says so, leaves its outputs alone and loses nothing.
 * Sanitizers have an allocator of their own, so there it is skipped. */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/settings.h"
#include "test.h"

#ifdef __SANITIZE_ADDRESS__

int main(void)
{
    printf("0 passed, 0 failed\n");
    return 0;
}

#else

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void  __libc_free(void *p);

static long countdown = -1;     /* -1: never fails */
static long living;

static int fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *malloc(size_t n)
{
    void *p = fails() ? NULL : __libc_malloc(n);

    living += p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __libc_calloc(n, size);

    living += p != NULL;
    return p;
}

void *realloc(void *old, size_t n)
{
    void *p = fails() ? NULL : __libc_realloc(old, n);

    living += p != NULL && old == NULL;
    return p;
}

void free(void *p)
{
    living -= p != NULL;
    __libc_free(p);
}

static void torture_settings(void)
{
    static const char text[] = "idle_s=60\ndomain=example.com\n";
    struct settings   s;
    struct err        e;
    long              n, before;
    int               rc, told = 1, kept = 1, leaked = 0;

    for (n = 0; n < 1000; n++) {
        memset(&s, 0x5a, sizeof(s));
        before = living;
        countdown = n;
        rc = settings_parse(&s, text, sizeof(text) - 1, "f", &e);
        countdown = -1;
        if (rc == 0)
            break;
        told = told && strcmp(e.msg, "out of memory") == 0;
        kept = kept && *(unsigned char *)&s == 0x5a;
        leaked = leaked || living != before;
    }
    CHECK(n > 10 && n < 1000);
    CHECK(told);
    CHECK(kept);
    CHECK(!leaked);
    settings_fini(&s);
}

static void torture_buf(void)
{
    struct buf b;
    long       n;
    int        same = 1;

    for (n = 0; n < 8; n++) {
        buf_init(&b, 100000);
        buf_str(&b, "start");
        countdown = n;
        buf_printf(&b, "%300d", 1);
        buf_printf(&b, "%3000d", 1);
        buf_printf(&b, "%30000d", 1);
        countdown = -1;
        same = same && strncmp(b.data, "start", 5) == 0
            && b.len == strlen(b.data)
            && (b.failed || b.len == 5 + 300 + 3000 + 30000);
        buf_fini(&b);
    }
    CHECK(same);
    CHECK(living >= 0);
}

int main(void)
{
    torture_settings();
    torture_buf();
    return TEST_END();
}

#endif
