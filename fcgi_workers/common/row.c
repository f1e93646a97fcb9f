/*
 * row: see row.h. Two tables say which column goes where, in the order of
 * ROW_COLUMNS; a test counts them against the macro.
 */
#include "row.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (int) (sizeof(a) / sizeof((a)[0]))

/* Column 0 is the id, 1 the rung, 2 the generation. */
#define FIRST_TEXT 3

#define AT(field) offsetof(struct row, field)

static const size_t row_texts[] = {
    AT(tenant), AT(key), AT(project_id), AT(project_user), AT(ext_user),
    AT(ext_project), AT(ext_workspace), AT(image), AT(template_name),
    AT(git_remote_url), AT(ports), AT(labels), AT(services), AT(setup),
    AT(visibility), AT(idle_policy), AT(wake_on), AT(ports_policy),
    AT(host_header), AT(error_message), AT(engine_ref), AT(node),
    AT(engine), AT(last_status),
};

static const size_t row_numbers[] = {
    AT(memory_mb), AT(cpus_milli), AT(pids), AT(disk_mb), AT(idle_s),
    AT(freeze_s), AT(ttl_s), AT(uid), AT(addr), AT(stopped_by),
    AT(share_epoch), AT(version), AT(created_ms), AT(updated_ms),
    AT(active_ms), AT(stopped_ms), AT(started_ms), AT(keepalive_ms),
    AT(expires_ms), AT(pid),
};

struct rung_words {
    const char *name, *state, *status;
};

static const struct rung_words rung_table[RUNG_COUNT] = {
    [RUNG_CREATING]  = { "creating",  "creating", "creating" },
    [RUNG_STARTING]  = { "starting",  "stopped",  "stopped" },
    [RUNG_RUNNING]   = { "running",   "running",  "running" },
    [RUNG_FREEZING]  = { "freezing",  "running",  "running" },
    [RUNG_FROZEN]    = { "frozen",    "frozen",   "stopped" },
    [RUNG_THAWING]   = { "thawing",   "frozen",   "stopped" },
    [RUNG_STOPPING]  = { "stopping",  "stopped",  "stopped" },
    [RUNG_STOPPED]   = { "stopped",   "stopped",  "stopped" },
    [RUNG_ARCHIVING] = { "archiving", "stopped",  "stopped" },
    [RUNG_ARCHIVED]  = { "archived",  "archived", "stopped" },
    [RUNG_UNPACKING] = { "unpacking", "archived", "stopped" },
    [RUNG_ERROR]     = { "error",     "error",    "error" },
    [RUNG_DELETING]  = { "deleting",  "deleted",  "deleted" },
    [RUNG_DELETED]   = { "deleted",   "deleted",  "deleted" },
    [RUNG_PURGING]   = { "purging",   "deleted",  "deleted" },
};

static char **row_text(struct row *r, int i)
{
    return (char **) (void *) ((char *) r + row_texts[i]);
}

static int64_t *row_number(struct row *r, int i)
{
    return (int64_t *) (void *) ((char *) r + row_numbers[i]);
}

int row_borrow(struct row *r, sqlite3_stmt *s)
{
    const char *id = (const char *) sqlite3_column_text(s, 0);
    int         rung = sqlite3_column_int(s, 1);
    int         i;

    if (id == NULL || strlen(id) > ID_MAX || rung < 0 || rung >= RUNG_COUNT)
        return -1;
    memcpy(r->id, id, strlen(id) + 1);
    r->rung = (enum rung) rung;
    r->generation = sqlite3_column_int64(s, 2);

    for (i = 0; i < COUNT(row_texts); i++)
        *row_text(r, i) = (char *) sqlite3_column_text(s, FIRST_TEXT + i);
    for (i = 0; i < COUNT(row_numbers); i++)
        *row_number(r, i) = sqlite3_column_int64(s,
            FIRST_TEXT + COUNT(row_texts) + i);
    return 0;
}

int row_load(struct row *r, sqlite3_stmt *s)
{
    struct row own;
    char      *copy;
    int        i, failed = 0;

    if (row_borrow(&own, s) == -1)
        return -1;
    for (i = 0; i < COUNT(row_texts); i++) {
        if (*row_text(&own, i) == NULL)
            continue;
        copy = strdup(*row_text(&own, i));
        failed |= copy == NULL;
        *row_text(&own, i) = copy;
    }
    if (failed) {
        row_fini(&own);
        return -1;
    }
    *r = own;
    return 0;
}

void row_fini(struct row *r)
{
    int i;

    for (i = 0; i < COUNT(row_texts); i++) {
        free(*row_text(r, i));
        *row_text(r, i) = NULL;
    }
}

const char *rung_name(enum rung r)
{
    return rung_table[r].name;
}

static const struct rung_words *row_words(const struct row *r)
{
    if (r->rung == RUNG_STARTING && r->started_ms == 0)
        return &rung_table[RUNG_CREATING];
    return &rung_table[r->rung];
}

const char *row_state(const struct row *r)
{
    return row_words(r)->state;
}

const char *row_status(const struct row *r)
{
    return row_words(r)->status;
}

bool rung_waking(enum rung r)
{
    return r == RUNG_RUNNING || r == RUNG_STARTING || r == RUNG_THAWING
        || r == RUNG_CREATING || r == RUNG_UNPACKING;
}

bool rung_is_gone(enum rung r)
{
    return r == RUNG_DELETING || r == RUNG_DELETED || r == RUNG_PURGING;
}
