/*
 * parts: what the parent starts, and with what each is given.
 *
 * The list is in the order of starting; stopping goes backwards, so that
 * nginx, which holds the clients, ends first.
 */
#ifndef HF_PARTS_H
#define HF_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../common/err.h"
#include "../common/loop.h"
#include "../common/settings.h"
#include "part.h"

enum parts_which {
    PARTS_DOCKER, PARTS_REDIS, PARTS_NET, PARTS_DOOR, PARTS_TASKS,
    PARTS_KEEPER, PARTS_API, PARTS_NGINX, PARTS_COUNT
};

enum parts_socket {
    PARTS_SOCK_OPS, PARTS_SOCK_KEEPER, PARTS_SOCK_DOOR, PARTS_SOCK_DOORCTL,
    PARTS_SOCK_NET, PARTS_SOCK_API, PARTS_SOCK_OUTBOX, PARTS_SOCK_COUNT
};

struct parts {
    const struct settings *s;           /* borrowed, what is in force */
    struct part            part[PARTS_COUNT];
    bool                   enabled[PARTS_COUNT];
    int                    sockets[PARTS_SOCK_COUNT];
    int                    settings;    /* memfd that the roles read */
    int                    marker;
    int64_t                nofile;
    uid_t                  api_uid, gate_uid, redis_uid, none_uid;
    gid_t                  api_gid, gate_gid, redis_gid, none_gid;
    struct watch           adopted;     /* pidfd of a Docker Engine of ours
                                         * from before */
};

/* Whether everything is there that a start needs: users, programs, files.
 * Changes nothing. */
int parts_check(const struct settings *s, struct err *e);

/* Folders, sockets, files and limits. */
int parts_prepare(struct parts *ps, struct loop *l, struct err *e);
/* What the roles read at their next start. */
int parts_publish(struct parts *ps, struct err *e);
/* nginx' opinion of the tree for new settings, made beside the one in use. */
int parts_try_nginx(struct parts *ps, const struct settings *s,
    struct err *e);
int parts_write_nginx(struct parts *ps, struct err *e);
void parts_unlink(struct parts *ps);

/* The part that has this pid, or NULL. */
struct part *parts_by_pid(struct parts *ps, pid_t pid);

#endif
