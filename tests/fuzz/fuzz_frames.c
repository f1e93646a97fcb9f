/*
 * fuzz_frames: an index and a log of any bytes: what fits is inside the log,
 * what is a frame is written again as the same bytes. First two bytes: how
 * much of the input is the index.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const char *p, size_t len, uint64_t id)
{
    char        out[FRAMES_MAX + 1], type[FRAMES_TYPE_MAX + 1];
    const char *event, *payload;
    size_t      n;

    event = (const char *) memchr(p, '\n', len) + sizeof("\nevent: ") - 1;
    n = (size_t) ((const char *) memchr(event, '\n', FRAMES_TYPE_MAX + 1)
        - event);
    memcpy(type, event, n);
    type[n] = '\0';
    payload = event + n + sizeof("\ndata: ") - 1;
    n = frames_write(out, sizeof(out), id, type, payload,
        (size_t) (p + len - 2 - payload));
    if (n != len || memcmp(out, p, n) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frames_entry entry;
    const uint8_t      *log;
    uint64_t            first, n, i, start = 0;
    size_t              idx, left;

    if (size < 2)
        return 0;
    idx = (size_t) (data[0] | data[1] << 8);
    data += 2;
    size -= 2;
    if (idx > size)
        idx = size;
    log = data + idx;
    left = size - idx;
    if (idx < FRAMES_HEAD || frames_head_read(data, &first) != 0)
        first = 0;
    n = frames_count(idx);
    for (i = 0; i < n; i++) {
        frames_entry_read(data + frames_place(i), &entry);
        if (!frames_entry_fits(&entry, start, left))
            break;
        if (entry.end > left || entry.end - start > FRAMES_MAX)
            abort();
        if (frames_check((const char *) log + start, entry.end - start,
            first + i))
            same((const char *) log + start, entry.end - start, first + i);
        start = entry.end;
    }
    if (frames_check((const char *) log, left, 0))
        same((const char *) log, left, 0);
    return 0;
}
