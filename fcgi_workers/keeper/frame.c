/*
 * frame: see frame.h. Touches nothing but its arguments.
 */
#include "frame.h"

#include <string.h>

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
        | (uint32_t) p[3] << 24;
}

static int take_hello(const unsigned char *body, size_t len,
    struct frame *out)
{
    if (len != 2 || body[0] != GUEST_VERSION)
        return -1;
    out->flag = body[1] != 0;
    return 0;
}

static int take_booted(const unsigned char *body, size_t len,
    struct frame *out)
{
    size_t i;

    if (len < 1)
        return -1;
    out->flag = body[0] != 0;
    for (i = 0; i + 1 < len && i + 1 < sizeof(out->text); i++)
        out->text[i] = body[i + 1] < 32 || body[i + 1] > 126 ? ' '
            : (char) body[i + 1];
    out->text[i] = '\0';
    return 0;
}

static int take_status(const unsigned char *body, size_t len,
    struct frame *out)
{
    if (len != sizeof(out->status))
        return -1;
    memcpy(&out->status, body, sizeof(out->status));
    if (out->status.nports > GUEST_PORTS_MAX)
        out->status.nports = GUEST_PORTS_MAX;
    if (out->status.nservices > GUEST_SERVICES_MAX)
        out->status.nservices = GUEST_SERVICES_MAX;
    return 0;
}

int frame_take(const unsigned char *p, size_t len, struct frame *out)
{
    uint32_t n;
    int      rc;

    if (len < 4)
        return 0;
    n = le32(p);
    if (n < 1 || n > FRAME_IN_MAX)
        return -1;
    if (len < 4 + (size_t) n)
        return 0;
    memset(out, 0, sizeof(*out));
    out->type = (enum guest_frame) p[4];
    switch (out->type) {
    case GUEST_HELLO:
        rc = take_hello(p + FRAME_HEAD, n - 1, out);
        break;
    case GUEST_BOOTED:
        rc = take_booted(p + FRAME_HEAD, n - 1, out);
        break;
    case GUEST_STATUS:
        rc = take_status(p + FRAME_HEAD, n - 1, out);
        break;
    default:
        rc = -1;
        break;
    }
    return rc == -1 ? -1 : (int) (4 + n);
}
