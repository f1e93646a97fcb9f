/* Unit test of common/clock: how times are written. */
#include "common/clock.h"

#include "test.h"

int main(void)
{
    char    out[CLOCK_TEXT_MAX];
    int64_t a, b;

    CHECK_STR(clock_text(0, out), "1970-01-01T00:00:00.000Z");
    CHECK_STR(clock_text(1767323045678, out), "2026-01-02T03:04:05.678Z");
    CHECK_STR(clock_text(951782399999, out), "2000-02-28T23:59:59.999Z");
    CHECK_STR(clock_text(-1, out), "1969-12-31T23:59:59.999Z");
    CHECK_STR(clock_text(INT64_MAX, out), "1970-01-01T00:00:00.000Z");
    CHECK_STR(clock_text(INT64_MIN, out), "1970-01-01T00:00:00.000Z");
    a = clock_mono_ms();
    b = clock_mono_ms();
    CHECK(b >= a);
    CHECK(clock_wall_ms() > 1700000000000);
    return TEST_END();
}
