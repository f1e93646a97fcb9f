/*
 * workspace: the folders and generated files of a sandbox.
 *
 *   <data_dir>/sandboxes/<id>/home     the user's, 0700, owner its uid
 *                             spool    for writes that are renamed into home
 *                             logs     root's
 *                             passwd, group    the image's, plus `sandbox`
 *   <data_dir>/images/<sha>.passwd, .group     as read from images
 *   <data_dir>/etc/resolv.conf
 *
 *                             home.packed, home.unpack     archive.c's, to go
 *   <data_dir>/archives/<id>.tar.zst           homes of archived ones
 *
 * `sandboxes` is 0700 root. The keeper makes folders and removes empty ones; it
 * never walks what a sandbox wrote: purge.c does, in a child with its uid.
 */
#ifndef HF_KEEPER_WORKSPACE_H
#define HF_KEEPER_WORKSPACE_H

#include <limits.h>

#include "../common/err.h"
#include "sandbox.h"

struct workspace_paths {
    char home[PATH_MAX], logs[PATH_MAX];
    char passwd[PATH_MAX], group[PATH_MAX], resolv[PATH_MAX];
    char guest[PATH_MAX];
};

/* The folders that all share, and resolv.conf. */
int  workspace_open(struct keeper *k, struct err *e);
void workspace_paths(const struct sandbox *sb, struct workspace_paths *p);
/* Everything that a container's mounts need; what is there is kept. */
int  workspace_make(struct sandbox *sb, const char *passwd,
    const char *group, struct err *e);
/* The image's texts from the cache, malloced. 0, or -1: not there. */
int  workspace_texts_get(struct keeper *k, const char *image_id,
    char **passwd, char **group);
int  workspace_texts_put(struct keeper *k, const char *image_id,
    const char *passwd, const char *group, struct err *e);
/* The shell of root in a passwd, into out; "/bin/sh" if it has none. */
void workspace_shell(const char *passwd, char *out, size_t size);

/* Is there room above disk_reserve_percent? 0, or -1 with "disk_full". */
int  workspace_room(struct keeper *k, struct err *e);

/* Removes the workspace; `done` tells the bytes that were freed. */
void workspace_purge(struct sandbox *sb,
    void (*done)(void *arg, const struct err *e, int64_t freed), void *arg);

/* Removes only what packing and unpacking leave beside a home. `done` is told
 * in a later turn. */
void workspace_clear(struct sandbox *sb,
    void (*done)(void *arg, const struct err *e, int64_t freed), void *arg);

#endif
