/*
 * tasks: the role that writes every event stream.
 *
 * What it writes today is what the keeper put into its outbox. Runs as
 * api_user, in the group that nginx' workers are in, so that they can read
 * what it writes. Has no socket of its own and must never hold Docker's.
 */
#include "tasks.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/log.h"
#include "../common/loop.h"
#include "copier.h"
#include "streams.h"
#include "teller.h"

struct tasks {
    struct loop    *loop;
    struct teller  *teller;
    struct streams *streams;
    struct copier  *copier;
};

static void tasks_told(void *arg, const char *name, uint64_t count)
{
    struct tasks *t = arg;

    teller_tell(t->teller, name, count);
}

static int tasks_open(struct tasks *t, const struct settings *s,
    struct err *e)
{
    char path[PATH_MAX];

    t->loop = loop_new();
    if (t->loop == NULL || loop_handle_signals(t->loop, NULL, NULL) != 0)
        return err_errno(e, "start tasks");
    snprintf(path, sizeof(path), "%s/redis.sock", s->run_dir);
    t->teller = teller_open(t->loop, path);
    if (t->teller == NULL)
        return err_set(e, "internal", "out of memory");
    snprintf(path, sizeof(path), "%s/streams", s->data_dir);
    t->streams = streams_open(path, (uint64_t) s->stream_log_kb * 1024,
        tasks_told, t, e);
    if (t->streams == NULL)
        return -1;
    t->copier = copier_open(t->loop, s, t->streams, t->teller);
    if (t->copier == NULL)
        return err_set(e, "internal", "out of memory");
    return 0;
}

int tasks_main(const struct settings *s)
{
    struct tasks t;
    struct err   e;
    int          rc;

    memset(&t, 0, sizeof(t));
    umask(0027);
    if (tasks_open(&t, s, &e) != 0)
        log_fatal("%s", e.msg);
    rc = loop_run(t.loop);
    copier_close(t.copier);
    streams_close(t.streams);
    teller_close(t.teller);
    loop_free(t.loop);
    return rc == 0 ? 0 : 111;
}
