/*
 * tree: finds and kills everything that descends from the calling process.
 *
 * The caller is a subreaper, so a descendant whose parent dies becomes its
 * child, and no one escapes. Killing alone would not end a fork bomb: what is
 * not killed yet takes the places that become free. So all are stopped first;
 * a stopped process keeps its place and makes no other.
 */
#ifndef GUEST_TREE_H
#define GUEST_TREE_H

#include <sys/types.h>

/* Returns when no child is left, however long that takes. *status is what
 * waitpid told of that one child, untouched if it was reaped before. */
void tree_kill(pid_t child, int *status);

#endif
