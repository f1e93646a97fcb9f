/*
 * status: how the parts are (see status.h).
 *
 *   holdfast <pid> <state> <reloads> <message …>
 *   <part> <state> <pid> <since, ms> <restarts>
 */
#include "status.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/files.h"

int status_write(const struct parts *ps, const struct status_head *h,
    struct err *e)
{
    const struct part *p;
    struct buf         b;
    char               path[PATH_MAX];
    int                i, rc;

    buf_init(&b, 16 * 1024);
    buf_printf(&b, "holdfast %d %s %d %s\n", h->pid, h->state, h->reloads,
        h->message);
    for (i = 0; i < PARTS_COUNT; i++) {
        p = &ps->part[i];
        if (ps->enabled[i])
            buf_printf(&b, "%s %s %d %" PRId64 " %d\n", p->name,
                part_state_name(p->state), (int)p->pid, p->since_wall_ms,
                p->restarts);
    }
    snprintf(path, sizeof(path), "%s/status", ps->s->run_dir);
    rc = b.failed ? -1 : files_write(path, b.data, b.len, 0644, e);
    buf_fini(&b);
    return rc;
}

static int status_load(const char *run_dir, struct buf *b)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/status", run_dir);
    return files_read(path, b, NULL) == 0 && b->len > 0 ? 0 : -1;
}

static int status_parse_head(const char *text, struct status_head *h)
{
    memset(h, 0, sizeof(*h));
    return sscanf(text, "holdfast %d %15s %d %255[^\n]", &h->pid, h->state,
        &h->reloads, h->message) >= 3 ? 0 : -1;
}

int status_read(const char *run_dir, struct status_head *h)
{
    struct buf b;
    int        rc;

    buf_init(&b, 16 * 1024);
    rc = status_load(run_dir, &b);
    if (rc == 0)
        rc = status_parse_head(b.data, h);
    buf_fini(&b);
    return rc;
}

static void status_age(int64_t ms, char *out, size_t size)
{
    int64_t s = ms < 0 ? 0 : ms / 1000;

    if (s < 120)
        snprintf(out, size, "%" PRId64 " s", s);
    else if (s < 7200)
        snprintf(out, size, "%" PRId64 " min", s / 60);
    else if (s < 172800)
        snprintf(out, size, "%" PRId64 " h", s / 3600);
    else
        snprintf(out, size, "%" PRId64 " days", s / 86400);
}

/* False for a part that is not up. */
static bool status_print_part(const char *line, FILE *out)
{
    char    name[16], state[16], pid_text[16], age[32];
    int64_t since;
    int     pid, restarts;

    if (sscanf(line, "%15s %15s %d %" SCNd64 " %d", name, state, &pid,
        &since, &restarts) != 5)
    {
        return false;
    }
    snprintf(pid_text, sizeof(pid_text), "%d", pid);
    status_age(clock_wall_ms() - since, age, sizeof(age));
    fprintf(out, "%-9s %-9s %9s %10s %9d\n", name, state,
        pid == 0 ? "-" : pid_text, age, restarts);
    return strcmp(state, "up") == 0;
}

bool status_print(const char *run_dir, FILE *out)
{
    struct buf  b;
    const char *line;
    bool        well = true;

    buf_init(&b, 16 * 1024);
    if (status_load(run_dir, &b) != 0) {
        buf_fini(&b);
        return false;
    }
    fprintf(out, "%-9s %-9s %9s %10s %9s\n", "part", "state", "pid", "for",
        "restarts");
    line = strchr(b.data, '\n');
    while (line != NULL && line[1] != '\0') {
        well = status_print_part(line + 1, out) && well;
        line = strchr(line + 1, '\n');
    }
    buf_fini(&b);
    return well;
}
