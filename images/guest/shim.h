/*
 * shim: runs one command as the sandbox's user and keeps hold of its tree.
 *
 * PID 1 forks a shim (uid 0, out of reach of user code,
 * PR_SET_CHILD_SUBREAPER), the shim forks the command. Whatever the command
 * starts, however often it forks, ends up as the shim's child when its parent
 * dies, so the shim can kill the whole tree (tree.h). When the command ends by
 * itself the shim tells and goes; what was left in the background is then
 * PID 1's child and lives on (unless `kill_rest`).
 *
 * Pipes are made by the command's process after it took the user's id, so the
 * kernel charges their pages to the sandbox's own uid, not to the host's root.
 */
#ifndef GUEST_SHIM_H
#define GUEST_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum shim_kind {
    SHIM_PIPES = 1,             /* descriptors come with it */
    SHIM_STARTED,               /* pid */
    SHIM_FAILED,                /* stage, error; nothing follows */
    SHIM_ENDED,                 /* status as of waitpid; nothing follows */
    SHIM_GONE                   /* the socket is closed; never sent */
};

enum shim_stage {
    STAGE_FORK, STAGE_IDS, STAGE_PIPES, STAGE_CWD, STAGE_EXEC
};

struct shim_msg {
    int32_t kind, pid, stage, error, status;
};

struct command {
    char      **argv, **env;
    const char *cwd;
    bool        cwd_must;       /* else home, then / will do */
    const char *home;
    uid_t       uid;
    gid_t       gid;
    bool        input;          /* a pipe to standard input; else /dev/null */
    int         output;         /* a descriptor for 1 and 2; -1: two pipes */
    bool        kill_rest;
};

/* The socket to the shim, or -1 with errno. */
int  shim_start(const struct command *c);
void shim_kill(int fd);

/* 1: *m is filled (SHIM_GONE at the end), 0: nothing yet. With SHIM_PIPES
 * come the parent's ends: fds[0] of standard input or -1, [1], [2]. */
int  shim_receive(int fd, struct shim_msg *m, int fds[3]);

/* Makes the calling process the sandbox's user, without any capability. */
int  shim_drop(uid_t uid, gid_t gid);

#endif
