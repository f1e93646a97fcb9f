/*
 * engine_tar: one plain file out of a tar, as the engine sends it. Pure; the
 * bytes are hostile (they come from an image).
 */
#ifndef HF_ENGINE_TAR_H
#define HF_ENGINE_TAR_H

#include <stddef.h>

/* The first member, if it is a plain file of at most `max` bytes: 1, with
 * *data inside `tar`. 0: it is something else (a link, a folder), or there is
 * none. -1: this is no tar, or it ends too early. Pax and GNU long-name
 * headers before it are skipped. */
int tar_first_file(const char *tar, size_t len, size_t max,
    const char **data, size_t *size);

#endif
