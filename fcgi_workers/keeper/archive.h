/*
 * archive: the last rung: a stopped sandbox's home becomes one file, its
 * container goes; and back.
 *
 *   <data_dir>/archives/<id>.tar.zst    whole, if a row's archive_ref names it
 *                       <id>.tmp        being written
 *                       empty           the root of children
 *   <data_dir>/sandboxes/<id>/home      whole, whenever there is one
 *                             home.packed, home.unpack    junk
 *
 * Down: pack into .tmp, sync, read back, rename; commit archive_ref; rename
 * home to home.packed; remove container and home.packed. Up: unpack into
 * home.unpack, compare the digest, sync, rename to home; commit without
 * archive_ref; unlink the archive. So whatever is killed when, a row and what
 * is on disk say together where the files are: in `home` if there is one, else
 * in the archive. Both ways begin anew after a crash.
 *
 * A pack is given up as soon as somebody needs the sandbox.
 */
#ifndef HF_KEEPER_ARCHIVE_H
#define HF_KEEPER_ARCHIVE_H

#include "../common/err.h"
#include "sandbox.h"

/* The folder; what a keeper of before left in it is taken up or removed. */
int  archive_open(struct keeper *k, struct err *e);
void archive_close(struct keeper *k);   /* ends the children */

void archive_begin(struct sandbox *sb);         /* of rung archiving */
void archive_unpack(struct sandbox *sb);        /* of rung unpacking */
/* The same for a start that finds a workspace archived. */
void archive_fetch(struct sandbox *sb,
    void (*done)(struct sandbox *sb, const struct err *e));
/* Its queue or its gates have changed: give up what is not wanted. */
void archive_look(struct sandbox *sb);
/* The archive of a sandbox that does not need it any more: unlinked. */
void archive_drop(struct sandbox *sb);
/* Its archive's size; 0: it has none. */
int64_t archive_bytes(const struct sandbox *sb);
/* Of all archives together. */
int64_t archive_total(const struct keeper *k);

#endif
