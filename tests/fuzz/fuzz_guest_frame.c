/*
 * fuzz_guest_frame: what a guest sends to the keeper. Frames are taken from
 * the front until one is torn or none; what was taken is within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    int          n;

    while ((n = frame_take(data, size, &f)) > 0) {
        if ((size_t) n > size || n > FRAME_IN_MAX + 4)
            abort();
        if (memchr(f.text, '\0', sizeof(f.text)) == NULL)
            abort();
        if (f.status.nports > GUEST_PORTS_MAX
            || f.status.nservices > GUEST_SERVICES_MAX)
            abort();
        data += n;
        size -= (size_t) n;
    }
    return 0;
}
