/*
 * privs: what a part may do, and becoming that little (see privs.h).
 *
 * Order matters: the bounding set and groups need root's capabilities, the
 * change of uid would drop what is to be kept, ambient ones come last.
 */
#include "privs.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRIVS_CAP_MAX 63

/* The kernel's highest capability answers; the next one is EINVAL. */
static int privs_drop_bounding(uint64_t keep)
{
    unsigned long cap;

    for (cap = 0; cap <= PRIVS_CAP_MAX; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
            break;
        if ((keep & PRIVS_CAP(cap)) == 0
            && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
        {
            return -1;
        }
    }
    return 0;
}

static int privs_set_caps(uint64_t caps)
{
    struct __user_cap_header_struct head = {
        _LINUX_CAPABILITY_VERSION_3, 0
    };
    struct __user_cap_data_struct data[2];
    int                           i;

    for (i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(caps >> (32 * i));
        data[i].permitted = data[i].effective;
        data[i].inheritable = data[i].effective;
    }
    return (int)syscall(SYS_capset, &head, data);
}

static int privs_set_ambient(uint64_t caps)
{
    unsigned long cap;

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return -1;
    for (cap = 0; cap <= PRIVS_CAP_MAX; cap++) {
        if ((caps & PRIVS_CAP(cap)) != 0
            && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
        {
            return -1;
        }
    }
    return 0;
}

int privs_become(const struct privs *p, struct err *e)
{
    bool all = p->caps == PRIVS_ALL;

    if (!all && privs_drop_bounding(p->caps) != 0)
        return err_errno(e, "drop capabilities for good");
    if (setgroups(p->also != 0 ? 1 : 0, &p->also) != 0
        || setresgid(p->gid, p->gid, p->gid) != 0)
        return err_errno(e, "become group %u", (unsigned)p->gid);
    if (prctl(PR_SET_KEEPCAPS, all ? 0 : 1, 0, 0, 0) != 0
        || setresuid(p->uid, p->uid, p->uid) != 0)
    {
        return err_errno(e, "become user %u", (unsigned)p->uid);
    }
    if (!all && (privs_set_caps(p->caps) != 0
        || privs_set_ambient(p->caps) != 0))
    {
        return err_errno(e, "take only the capabilities that are needed");
    }
    if (!p->new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno(e, "give up new privileges");
    return 0;
}

int privs_user(const char *name, uid_t *uid, gid_t *gid, struct err *e)
{
    struct passwd *pw;

    errno = 0;
    pw = getpwnam(name);
    if (pw == NULL)
        return err_set(e, "invalid_field", "there is no user \"%s\" on this "
            "machine; make it: useradd --system --user-group %s", name, name);
    if (pw->pw_uid == 0)
        return err_set(e, "invalid_field", "user \"%s\" is root; name "
            "another", name);
    *uid = pw->pw_uid;
    *gid = pw->pw_gid;
    return 0;
}
