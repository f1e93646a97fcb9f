/*
 * files: small whole files and folders of our own.
 *
 * Only for folders that nobody but root may write to: paths are not checked
 * for links. Anything but a regular file is refused.
 */
#ifndef HF_FILES_H
#define HF_FILES_H

#include <stddef.h>
#include <sys/types.h>

#include "buf.h"
#include "err.h"

/* Appends the file to b, up to its ceiling. */
int files_read(const char *path, struct buf *b, struct err *e);

/* Replaces the file in one step; not synced, for run_dir and its like. */
int files_write(const char *path, const void *data, size_t len, mode_t mode,
    struct err *e);

/* The folder and what is missing above it; an existing one stays as it is. */
int files_mkdir(const char *path, mode_t mode, struct err *e);

/* The folder with this owner and mode, made or put right. */
int files_own_dir(const char *path, mode_t mode, uid_t uid, gid_t gid,
    struct err *e);

#endif
