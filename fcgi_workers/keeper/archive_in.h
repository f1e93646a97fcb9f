/*
 * archive_in: what the files of archive have in common: archive.c moves
 * sandboxes, archive_job.c runs the children, archive_store.c knows the names
 * and references.
 */
#ifndef HF_KEEPER_ARCHIVE_IN_H
#define HF_KEEPER_ARCHIVE_IN_H

#include <limits.h>
#include <sys/types.h>

#include "../common/loop.h"
#include "archive.h"
#include "pack.h"

#define ARCHIVE_ENDING ".tar.zst"
#define ARCHIVE_HALF   ".tmp"

struct job {
    struct job     *next;
    struct sandbox *sb;
    bool            packs, running, given_up, overdue;
    pid_t           pid;
    struct watch    watch;      /* the pipe that the child tells by */
    struct timer    deadline;
    struct err      why;        /* kept while what is half is removed */
    void          (*done)(struct sandbox *sb, const struct err *e);
};

struct archives {
    struct keeper *k;
    struct job    *jobs;        /* the oldest first */
    int            empty;       /* folder of that name */
    int            packing, unpacking;
    int64_t        bytes;       /* of all archives that rows name */
    struct timer   look;
};

/* ---- names and references (archive_store.c) ------------------------------ */

void archive_path(const struct sandbox *sb, const char *ending,
    char out[PATH_MAX]);
int  archive_dir(const struct sandbox *sb);     /* of the sandbox; -1: errno */
bool archive_has_home(const struct sandbox *sb);
/* archive_ref is `file:<name> <sha256> <bytes> <made, ms>`. */
void archive_ref_make(const struct sandbox *sb, const struct pack_result *r,
    char *out, size_t size);
/* Is this what its reference says was packed? */
bool archive_ref_fits(const struct sandbox *sb, const struct pack_result *r);
void archive_ref_set(struct sandbox *sb, const char *ref);

/* ---- jobs (archive_job.c) ------------------------------------------------ */

/* Packs a home, or unpacks an archive; `done` comes once, in a later turn. */
void archive_job_new(struct sandbox *sb, bool packs,
    void (*done)(struct sandbox *sb, const struct err *e));
/* Ends a job that has no child. */
void archive_job_over(struct job *j, const struct err *e);
void archive_jobs_end(struct archives *a);

/* ---- those that are due (archive.c) -------------------------------------- */

#define ARCHIVE_LOOK_SOON_MS 1000

void archive_tick(struct timer *t);

#endif
