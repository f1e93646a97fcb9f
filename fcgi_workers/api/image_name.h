/*
 * image_name: is this the name of an image, by the grammar of registries?
 *
 * A pure function, so that a name that no engine would take is refused before
 * anything else is done for it.
 */
#ifndef HF_IMAGE_NAME_H
#define HF_IMAGE_NAME_H

#include <stdbool.h>

/* [host[:port]/]path[:tag][@sha256:digest], 1..255 characters. */
bool image_name_ok(const char *s);

#endif
