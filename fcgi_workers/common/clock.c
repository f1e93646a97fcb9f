/*
 * clock: the two times (see clock.h).
 */
#include "clock.h"

#include <stdio.h>
#include <time.h>

static int64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);     /* cannot fail for these two clocks */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Without the time a suspended machine sleeps: a timer due after one more
 * second is still due after one more second. */
int64_t clock_mono_ms(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
    return clock_read(CLOCK_REALTIME);
}

char *clock_text(int64_t wall_ms, char *out)
{
    struct tm tm;
    time_t    sec;
    int64_t   ms = wall_ms % 1000;

    sec = (time_t)(wall_ms / 1000);
    if (ms < 0) {
        ms += 1000;
        sec--;
    }
    /* Four-digit years only: RFC 3339 has no others. */
    if (sec < -62167219200 || sec > 253402300799
        || gmtime_r(&sec, &tm) == NULL)
    {
        sec = 0;
        ms = 0;
        gmtime_r(&sec, &tm);
    }
    snprintf(out, CLOCK_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
        (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
        (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
        (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
        (unsigned)ms % 1000);
    return out;
}
