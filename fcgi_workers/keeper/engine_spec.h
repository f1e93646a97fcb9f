/*
 * engine_spec: the isolation record as Docker's create message. Pure.
 */
#ifndef HF_ENGINE_SPEC_H
#define HF_ENGINE_SPEC_H

#include "../common/buf.h"
#include "engine.h"

struct spec_context {
    const char *stack;          /* label value, never empty */
    const char *mark;           /* of this one attempt to create */
    int64_t     cpus_milli_max; /* of the host; 0 unknown */
};

/* The JSON text; -1 when out of memory or a text is not what it must be. */
int spec_json(const struct engine_spec *spec, const struct engine_image *image,
    const struct spec_context *c, struct buf *out);
/* Body of an update: limits only. */
int spec_limits_json(const struct engine_spec *spec, int64_t cpus_milli_max,
    struct buf *out);

#endif
