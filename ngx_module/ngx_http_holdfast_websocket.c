
/*
 * Where a WebSocket's frames begin and end (see ngx_http_holdfast_websocket.h).
 */


#include "ngx_http_holdfast_websocket.h"


#define NGX_HTTP_HOLDFAST_CLOSE  0x8


static unsigned ngx_http_holdfast_websocket_head(const unsigned char *head,
    unsigned n);


void
ngx_http_holdfast_websocket_read(ngx_http_holdfast_websocket_t *frames,
    const unsigned char *p, size_t n)
{
    unsigned              i, size;
    const unsigned char  *last;

    last = p + n;

    while (p < last) {

        if (frames->left) {

            if (frames->left >= (uint64_t) (last - p)) {
                frames->left -= (uint64_t) (last - p);
                return;
            }

            p += frames->left;
            frames->left = 0;
            continue;
        }

        frames->head[frames->nhead++] = *p++;

        size = ngx_http_holdfast_websocket_head(frames->head, frames->nhead);

        if (frames->nhead < size) {
            continue;
        }

        frames->nhead = 0;

        if ((frames->head[0] & 0x0f) == NGX_HTTP_HOLDFAST_CLOSE) {
            frames->ended = 1;
        }

        frames->left = frames->head[1] & 0x7f;

        if (frames->left < 126) {
            continue;
        }

        size = (frames->left == 126) ? 2 : 8;
        frames->left = 0;

        for (i = 0; i < size; i++) {
            frames->left = frames->left << 8 | frames->head[2 + i];
        }
    }
}


/* Length of the header that begins so; at least one more than is there yet. */

static unsigned
ngx_http_holdfast_websocket_head(const unsigned char *head, unsigned n)
{
    unsigned  size;

    if (n < 2) {
        return 2;
    }

    size = 2;

    if ((head[1] & 0x7f) == 126) {
        size += 2;

    } else if ((head[1] & 0x7f) == 127) {
        size += 8;
    }

    if (head[1] & 0x80) {
        size += 4;
    }

    return size;
}


int
ngx_http_holdfast_websocket_between(const ngx_http_holdfast_websocket_t *frames)
{
    return frames->left == 0 && frames->nhead == 0 && !frames->ended;
}
