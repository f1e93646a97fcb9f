/*
 * clock: the two times. Durations come from the monotonic one, only what is
 * stored or shown to people comes from the wall clock.
 */
#ifndef HF_CLOCK_H
#define HF_CLOCK_H

#include <stdint.h>

#define CLOCK_TEXT_MAX 25       /* 2026-01-02T03:04:05.678Z and its NUL */

int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void);

/* RFC 3339, UTC, milliseconds, into out[CLOCK_TEXT_MAX]. Returns out. */
char *clock_text(int64_t wall_ms, char *out);

#endif
