/*
 * privs: what a part may do, and becoming that little.
 *
 * Plain prctl and capset: capabilities cross one execve as ambient ones, so a
 * role that needs CAP_SYS_ADMIN need not be uid 0 for it.
 */
#ifndef HF_PRIVS_H
#define HF_PRIVS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../common/err.h"

#define PRIVS_CAP(n) (UINT64_C(1) << (n))
#define PRIVS_ALL    UINT64_MAX         /* capabilities stay as they are */

struct privs {
    uid_t    uid;
    gid_t    gid;
    gid_t    also;              /* a second group; 0: none */
    uint64_t caps;              /* kept, of CAP_* as PRIVS_CAP(n) | … */
    bool     new_privs;         /* may gain privileges by execve */
};

/* Cannot be undone; call it in a child, last before execve. */
int privs_become(const struct privs *p, struct err *e);

/* uid and primary gid of a user; an error with a sentence if there is none. */
int privs_user(const char *name, uid_t *uid, gid_t *gid, struct err *e);

#endif
