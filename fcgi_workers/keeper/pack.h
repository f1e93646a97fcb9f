/*
 * pack: a home into one zstd tar and back: the part that runs in a child.
 *
 * Both functions are for a fresh child process (child.h): they take the
 * sandbox's uid and never return. Their root is an empty folder: no library
 * may take a file of its own from a place that a sandbox could fill. The home
 * is the working directory; nothing in it is followed.
 * The result goes through a pipe; a pipe that ends without one is a failure.
 *
 * What is kept: names as bytes, modes, times, links of both kinds, holes,
 * extended attributes of users, FIFOs. Owners are not: all in a home belongs
 * to its sandbox, and an archive says 0:0. Sockets and device nodes are left
 * out; POSIX ACLs become plain modes.
 */
#ifndef HF_KEEPER_PACK_H
#define HF_KEEPER_PACK_H

#include <stdint.h>
#include <sys/types.h>

enum pack_stage { PACK_BEGIN, PACK_READ, PACK_WRITE, PACK_CHECK };

struct pack_result {
    int64_t       bytes;        /* of the archive */
    int64_t       entries;
    int           error;        /* errno, 0: it went well */
    int           stage;        /* enum pack_stage, at which it went wrong */
    unsigned char sha256[32];   /* of the archive */
};

struct pack_job {
    int      empty;             /* a folder of root's, with nothing in it */
    int      home;              /* to be packed, or empty and to be filled */
    int      file;              /* the archive, open for both */
    int      out;               /* the pipe for the result */
    uid_t    uid;
    pid_t    keeper;
    int      level;             /* of zstd */
    int      reserve_percent;   /* of the disk, that must stay free */
};

/* Packs, syncs, reads the whole of it back and compares. */
void pack_child(const struct pack_job *j) __attribute__((noreturn));
/* Unpacks, syncs. Whether the digest is right is for the keeper to see. */
void unpack_child(const struct pack_job *j) __attribute__((noreturn));

#endif
