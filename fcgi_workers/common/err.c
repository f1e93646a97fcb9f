/*
 * err: errors as values (see err.h).
 *
 * Owns the closed list of error codes, the one place that ties a code to its
 * HTTP status and to whether trying again may help. Must never allocate: an
 * error about memory has to be told too.
 */
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* By status. `retryable`: the same call may succeed later, unchanged. */
const struct err_code err_codes[] = {
    { "bad_request",              400, false },
    { "unknown_field",            400, false },
    { "invalid_field",            400, false },
    { "unauthorized",             401, false },
    { "forbidden",                403, false },
    { "origin_refused",           403, false },
    { "host_refused",             403, false },
    { "not_found",                404, false },
    { "method_not_allowed",       405, false },
    { "not_acceptable",           406, false },
    { "exists",                   409, false },
    { "workspace_owner_mismatch", 409, false },
    { "task_in_progress",         409, true  },
    { "idempotency_in_progress",  409, true  },
    { "limit_below_use",          409, false },
    { "conflict",                 409, false },
    { "length_required",          411, false },
    { "precondition_failed",      412, false },
    { "too_large",                413, false },
    { "unsupported_media_type",   415, false },
    { "idempotency_mismatch",     422, false },
    { "no_shell",                 422, false },
    { "image_not_found",          422, false },
    { "image_failed",             422, false },
    { "setup_failed",             422, false },
    { "rate_limited",             429, true  },
    { "quota_exceeded",           429, false },
    { "internal",                 500, false },
    { "not_implemented",          501, false },
    { "bad_gateway",              502, true  },
    { "port_closed",              502, true  },
    { "unavailable",              503, true  },
    { "engine_unavailable",       503, true  },
    { "low_memory",               503, true  },
    { "queue_full",               503, true  },
    { "start_failed",             503, true  },
    { "wake_failed",              503, true  },
    { "asleep",                   503, true  },
    { "hold_timeout",             503, true  },
    { "maintenance",              503, true  },
    { "timeout",                  504, true  },
    { "disk_full",                507, true  },
    { NULL,                       0,   false }
};

static const struct err_code err_internal = { "internal", 500, false };

const struct err_code *err_lookup(const char *code)
{
    const struct err_code *c;

    if (code == NULL)
        return &err_internal;
    for (c = err_codes; c->code != NULL; c++) {
        if (strcmp(c->code, code) == 0)
            return c;
    }
    return &err_internal;
}

static void err_fill(struct err *e, const char *code, const char *fmt,
    va_list ap) __attribute__((format(printf, 3, 0)));

/* The code is taken from the list, so that it is static whatever came in. */
static void err_fill(struct err *e, const char *code, const char *fmt,
    va_list ap)
{
    memset(e, 0, sizeof(*e));
    e->code = err_lookup(code)->code;
    vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
}

int err_set(struct err *e, const char *code, const char *fmt, ...)
{
    va_list ap;

    if (e == NULL)
        return -1;
    va_start(ap, fmt);
    err_fill(e, code, fmt, ap);
    va_end(ap);
    return -1;
}

int err_field(struct err *e, const char *code, const char *field,
    const char *fmt, ...)
{
    va_list ap;

    if (e == NULL)
        return -1;
    va_start(ap, fmt);
    err_fill(e, code, fmt, ap);
    va_end(ap);
    snprintf(e->field, sizeof(e->field), "%s", field);
    return -1;
}

int err_errno(struct err *e, const char *fmt, ...)
{
    char    what[160];
    int     saved = errno;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    err_set(e, saved == ENOSPC || saved == EDQUOT ? "disk_full" : "internal",
        "cannot %s: %s", what, strerror(saved));
    errno = saved;
    return -1;
}
