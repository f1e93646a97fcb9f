/*
 * resp: the little of Redis' protocol that a subscriber reads. Pure.
 *
 * What arrives on a subscribed connection is an array of three: the kind
 * ("message", "subscribe"), the channel, and the text or a number.
 */
#ifndef HF_RESP_H
#define HF_RESP_H

#include <stddef.h>

#define RESP_TEXT_MAX 512       /* bytes of one element */

struct resp_push {
    const char *kind, *channel, *text;          /* into the caller's bytes */
    size_t      kind_len, channel_len, text_len;
};

/* Takes one push from the front. How many bytes it has; 0: it is not all
 * there yet; -1: this is not one. A number's text is its digits. */
long resp_push_take(const char *p, size_t len, struct resp_push *out);

#endif
