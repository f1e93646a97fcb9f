/*
 * child: what every child of the keeper that touches a sandbox's files does
 * first. What a sandbox made is hostile: the keeper never walks it itself.
 */
#ifndef HF_KEEPER_CHILD_H
#define HF_KEEPER_CHILD_H

#include <stdint.h>
#include <sys/types.h>

/* Descriptors of the keeper must not outlive it, or its gates would not see
 * it go: closes all from 3 up but those. Signals count again. */
void child_begin(const int *keep, int n);
/* The sandbox's uid for good, with these capabilities (PRIVS_CAP), and death
 * with the keeper. 0, or -1 with errno. */
int  child_become(uid_t uid, uint64_t caps, pid_t keeper);

#endif
