/*
 * parts: what the parent starts, and with what each is given (see parts.h).
 *
 * Owns the listening sockets of all roles: a role that dies never closes one,
 * so its clients wait in the backlog instead of being refused.
 */
#include "parts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/files.h"
#include "../common/log.h"
#include "../common/msg.h"
#include "dockerd.h"
#include "nginx_conf.h"
#include "orphans.h"
#include "privs.h"
#include "spawn.h"
#include "../common/ticket_keys.h"
#include "tokens_file.h"

#define PARTS_SELF        "/proc/self/exe"
#define PARTS_SETTINGS    "/proc/self/fd/9"
#define PARTS_NGINX_T_MS  15000

/* ---- before the start --------------------------------------------------- */

static int parts_check_file(const char *dir, const char *name, int mode,
    struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s%s%s", dir, name[0] == '\0' ? "" : "/",
        name);
    if (access(path, mode) != 0)
        return err_set(e, "internal", "%s is missing or cannot be used: %s",
            path, strerror(errno));
    return 0;
}

int parts_check(const struct settings *s, struct err *e)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0)
        return err_set(e, "internal", "holdfastd must be started as root: it "
            "gives each part only what that part needs");
    if (privs_user(s->api_user, &uid, &gid, e) != 0
        || privs_user(s->gate_user, &uid, &gid, e) != 0
        || privs_user("nobody", &uid, &gid, e) != 0
        || parts_check_file(s->lib_dir, "guest", X_OK, e) != 0)
    {
        return -1;
    }
    if (s->run_redis && (privs_user(s->redis_user, &uid, &gid, e) != 0
        || parts_check_file(s->redis_program, "", X_OK, e) != 0
        || parts_check_file(s->lib_dir, "redis/redis.conf", R_OK, e) != 0))
    {
        return -1;
    }
    if (s->run_nginx && (parts_check_file(s->nginx_program, "", X_OK, e) != 0
        || parts_check_file(s->lib_dir, "nginx.conf", R_OK, e) != 0
        || parts_check_file(s->lib_dir, "ngx_http_holdfast_module.so", R_OK,
            e) != 0))
    {
        return -1;
    }
    if (tokens_file_write(s, NULL, e) < 0)
        return -1;
    if (s->run_docker
        && parts_check_file(s->dockerd_program, "", X_OK, e) != 0)
    {
        return -1;
    }
    return 0;
}

static int parts_users(struct parts *ps, struct err *e)
{
    const struct settings *s = ps->s;

    if (privs_user(s->api_user, &ps->api_uid, &ps->api_gid, e) != 0
        || privs_user(s->gate_user, &ps->gate_uid, &ps->gate_gid, e) != 0
        || privs_user("nobody", &ps->none_uid, &ps->none_gid, e) != 0)
    {
        return -1;
    }
    return s->run_redis ? privs_user(s->redis_user, &ps->redis_uid,
        &ps->redis_gid, e) : 0;
}

/* Redis makes its socket itself, so it needs a folder of its own; everybody
 * else finds the socket beside the others. */
static int parts_redis_folder(struct parts *ps, struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/redis", ps->s->run_dir);
    if (files_own_dir(path, 0750, ps->redis_uid, ps->gate_gid, e) != 0)
        return -1;
    snprintf(path, sizeof(path), "%s/redis.sock", ps->s->run_dir);
    unlink(path);
    if (symlink("redis/redis.sock", path) != 0)
        return err_errno(e, "make %s", path);
    return 0;
}

static int parts_folders(struct parts *ps, struct err *e)
{
    const struct settings *s = ps->s;
    struct ticket_keys     keys;
    char                   path[PATH_MAX];

    if (files_own_dir(s->run_dir, 0755, 0, 0, e) != 0
        || files_own_dir(s->data_dir, 0750, 0, ps->api_gid, e) != 0
        || files_own_dir(s->log_dir, 0750, 0, ps->gate_gid, e) != 0)
    {
        return -1;
    }
    /* before nginx looks for them */
    if (ticket_keys_load(&keys, s->data_dir, 1, e) != 0)
        return -1;
    explicit_bzero(&keys, sizeof(keys));
    snprintf(path, sizeof(path), "%s/streams", s->data_dir);
    if (files_own_dir(path, 0750, ps->api_uid, ps->gate_gid, e) != 0)
        return -1;
    return s->run_redis ? parts_redis_folder(ps, e) : 0;
}

static const struct {
    const char *name;
    int         type;
    unsigned    mode;
    enum { PARTS_GROUP_ROOT, PARTS_GROUP_API, PARTS_GROUP_GATE } group;
} parts_socket_table[PARTS_SOCK_COUNT] = {
    [PARTS_SOCK_OPS] =     { "ops.sock", SOCK_SEQPACKET, 0660,
                             PARTS_GROUP_API },
    [PARTS_SOCK_KEEPER] =  { "keeper.sock", SOCK_STREAM, 0660,
                             PARTS_GROUP_GATE },
    [PARTS_SOCK_DOOR] =    { "door.sock", SOCK_SEQPACKET, 0660,
                             PARTS_GROUP_GATE },
    [PARTS_SOCK_DOORCTL] = { "doorctl.sock", SOCK_SEQPACKET, 0600,
                             PARTS_GROUP_ROOT },
    [PARTS_SOCK_NET] =     { "net.sock", SOCK_SEQPACKET, 0600,
                             PARTS_GROUP_ROOT },
    [PARTS_SOCK_API] =     { "api.sock", SOCK_STREAM, 0660,
                             PARTS_GROUP_GATE },
    [PARTS_SOCK_OUTBOX] =  { "outbox.sock", SOCK_SEQPACKET, 0660,
                             PARTS_GROUP_API },
};

static int parts_bind(struct parts *ps, struct err *e)
{
    char path[PATH_MAX];
    int  i, gid;

    for (i = 0; i < PARTS_SOCK_COUNT; i++) {
        gid = parts_socket_table[i].group == PARTS_GROUP_API
            ? (int)ps->api_gid : parts_socket_table[i].group
            == PARTS_GROUP_GATE ? (int)ps->gate_gid : 0;
        snprintf(path, sizeof(path), "%s/%s", ps->s->run_dir,
            parts_socket_table[i].name);
        ps->sockets[i] = msg_listen(path, parts_socket_table[i].type,
            parts_socket_table[i].mode, 0, gid);
        if (ps->sockets[i] < 0)
            return err_errno(e, "listen on %s", path);
    }
    return 0;
}

void parts_unlink(struct parts *ps)
{
    char path[PATH_MAX];
    int  i;

    for (i = 0; i < PARTS_SOCK_COUNT; i++) {
        snprintf(path, sizeof(path), "%s/%s", ps->s->run_dir,
            parts_socket_table[i].name);
        unlink(path);
    }
}

/* Up to the setting if we may, else up to what the machine allows. */
static int64_t parts_limit(int64_t wanted)
{
    struct rlimit r, more;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 1024;
    more.rlim_cur = (rlim_t)wanted;
    more.rlim_max = r.rlim_max < (rlim_t)wanted ? (rlim_t)wanted : r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return wanted;
    r.rlim_cur = r.rlim_max < (rlim_t)wanted ? r.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        log_warn("the descriptor limit stays as it is: %s", strerror(errno));
    log_warn("nofile=%lld, but the machine allows only %lld",
        (long long)wanted, (long long)r.rlim_cur);
    return (int64_t)r.rlim_cur;
}

/* In memory, so that a role that starts again reads what its siblings read,
 * whatever was meanwhile written into the settings file. */
int parts_publish(struct parts *ps, struct err *e)
{
    FILE *f;
    int   fd, copy;

    fd = memfd_create("holdfast-settings", MFD_CLOEXEC);
    copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    f = copy < 0 ? NULL : fdopen(copy, "w");
    if (f == NULL) {
        err_errno(e, "hand out the settings");
        if (copy >= 0)
            close(copy);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (settings_print_effective(ps->s, f) != 0 || fflush(f) != 0) {
        err_errno(e, "hand out the settings");
        fclose(f);
        close(fd);
        return -1;
    }
    fclose(f);
    if (ps->settings >= 0)
        close(ps->settings);
    ps->settings = fd;
    return 0;
}

int parts_write_nginx(struct parts *ps, struct err *e)
{
    char dir[PATH_MAX];

    /* Also for an nginx that is not ours: it includes the pieces. */
    snprintf(dir, sizeof(dir), "%s/nginx", ps->s->run_dir);
    return nginx_conf_write(ps->s, dir, ps->nofile, e);
}

/* ---- the parts ---------------------------------------------------------- */

/* A role of our own program: PR_SET_PDEATHSIG ends it with the parent. */
static pid_t parts_spawn_role(struct part *p, const int *fds, int nfds,
    uid_t uid,
    gid_t gid, gid_t also, uint64_t caps, int death_signal, struct err *e)
{
    struct parts *ps = p->owner;
    struct spawn  sp;
    int           i;

    spawn_init(&sp, PARTS_SELF);
    spawn_arg(&sp, "holdfastd");
    spawn_arg(&sp, "-c");
    spawn_arg(&sp, PARTS_SETTINGS);
    spawn_arg(&sp, p->name);
    for (i = 0; i < nfds; i++)
        sp.fds[i] = ps->sockets[fds[i]];
    sp.nfds = nfds;
    sp.out = p->log.out;
    sp.settings = ps->settings;
    sp.marker = ps->marker;
    sp.death_signal = death_signal;
    sp.privs.uid = uid;
    sp.privs.gid = gid;
    sp.privs.also = also;
    sp.privs.caps = caps;
    return spawn_run(&sp, e);
}

static pid_t parts_spawn_keeper(struct part *p, struct err *e)
{
    static const int fds[] = { PARTS_SOCK_OPS, PARTS_SOCK_KEEPER,
        PARTS_SOCK_OUTBOX };

    return parts_spawn_role(p, fds, 3, 0, 0, 0, PRIVS_ALL, SIGKILL, e);
}

/* SIGTERM: it has workers of its own to end. */
static pid_t parts_spawn_api(struct part *p, struct err *e)
{
    static const int fds[] = { PARTS_SOCK_API };
    struct parts    *ps = p->owner;

    return parts_spawn_role(p, fds, 1, ps->api_uid, ps->api_gid, 0, 0,
        SIGTERM, e);
}

/* What it writes belongs to the group that nginx' workers are in; the other
 * group may read the database and talk to the keeper. */
static pid_t parts_spawn_tasks(struct part *p, struct err *e)
{
    struct parts *ps = p->owner;

    return parts_spawn_role(p, NULL, 0, ps->api_uid, ps->gate_gid,
        ps->api_gid, 0, SIGKILL, e);
}

/* setns into another network namespace. */
static pid_t parts_spawn_door(struct part *p, struct err *e)
{
    static const int fds[] = { PARTS_SOCK_DOOR, PARTS_SOCK_DOORCTL };
    struct parts    *ps = p->owner;

    return parts_spawn_role(p, fds, 2, ps->none_uid, ps->none_gid, 0,
        PRIVS_CAP(CAP_SYS_ADMIN), SIGKILL, e);
}

/* Interfaces and rules; setns; /proc/<pid>/ns of another user's process. Uid 0
 * for iptables' lock file, RAW for the older of its two kinds. */
static pid_t parts_spawn_net(struct part *p, struct err *e)
{
    static const int fds[] = { PARTS_SOCK_NET };

    return parts_spawn_role(p, fds, 1, 0, 0, 0, PRIVS_CAP(CAP_NET_ADMIN)
        | PRIVS_CAP(CAP_NET_RAW) | PRIVS_CAP(CAP_SYS_ADMIN)
        | PRIVS_CAP(CAP_SYS_PTRACE), SIGKILL, e);
}

static pid_t parts_spawn_redis(struct part *p, struct err *e)
{
    struct parts *ps = p->owner;
    struct spawn  sp;
    char          conf[PATH_MAX], dir[PATH_MAX], sock[PATH_MAX];
    char          acl[PATH_MAX];

    snprintf(conf, sizeof(conf), "%s/redis/redis.conf", ps->s->lib_dir);
    snprintf(acl, sizeof(acl), "%s/redis/users.acl", ps->s->lib_dir);
    snprintf(dir, sizeof(dir), "%s/redis", ps->s->run_dir);
    snprintf(sock, sizeof(sock), "%s/redis/redis.sock", ps->s->run_dir);
    spawn_init(&sp, ps->s->redis_program);
    spawn_arg(&sp, "redis-server");
    spawn_arg(&sp, conf);
    spawn_arg(&sp, "--unixsocket");
    spawn_arg(&sp, sock);
    spawn_arg(&sp, "--unixsocketperm");
    spawn_arg(&sp, "660");
    spawn_arg(&sp, "--dir");
    spawn_arg(&sp, dir);
    if (access(acl, R_OK) == 0) {
        spawn_arg(&sp, "--aclfile");
        spawn_arg(&sp, acl);
    }
    sp.out = p->log.out;
    sp.marker = ps->marker;
    sp.death_signal = SIGKILL;  /* it keeps nothing that lasts */
    sp.privs.uid = ps->redis_uid;
    sp.privs.gid = ps->gate_gid;        /* the socket's group */
    sp.privs.caps = 0;
    return spawn_run(&sp, e);
}

static bool parts_answers(const char *path)
{
    int fd = msg_connect(path, SOCK_STREAM);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static bool parts_redis_ready(struct part *p)
{
    struct parts *ps = p->owner;
    char          path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/redis.sock", ps->s->run_dir);
    return parts_answers(path);
}

static pid_t parts_run_nginx(struct parts *ps, struct part *p, const char *dir,
    const char *option, struct err *e)
{
    struct spawn sp;
    char         conf[PATH_MAX];

    snprintf(conf, sizeof(conf), "%s/nginx.conf", dir);
    spawn_init(&sp, ps->s->nginx_program);
    spawn_arg(&sp, "nginx");
    spawn_arg(&sp, "-p");
    spawn_arg(&sp, dir);
    spawn_arg(&sp, "-c");
    spawn_arg(&sp, conf);
    spawn_arg(&sp, "-e");
    spawn_arg(&sp, "stderr");
    spawn_arg(&sp, "-g");
    spawn_arg(&sp, "daemon off;");
    if (option != NULL)
        spawn_arg(&sp, option);
    sp.out = p->log.out;
    sp.marker = ps->marker;
    sp.death_signal = SIGTERM;  /* the master ends its workers */
    return spawn_run(&sp, e);
}

static pid_t parts_spawn_nginx(struct part *p, struct err *e)
{
    struct parts *ps = p->owner;
    char          dir[PATH_MAX];

    snprintf(dir, sizeof(dir), "%s/nginx", ps->s->run_dir);
    return parts_run_nginx(ps, p, dir, NULL, e);
}

/* It writes its pid file when it listens. */
static bool parts_nginx_ready(struct part *p)
{
    struct parts *ps = p->owner;
    struct buf    b;
    char          path[PATH_MAX];
    bool          ready;

    buf_init(&b, 64);
    snprintf(path, sizeof(path), "%s/nginx/nginx.pid", ps->s->run_dir);
    ready = files_read(path, &b, NULL) == 0 && b.len > 0
        && strtol(b.data, NULL, 10) == p->pid;
    buf_fini(&b);
    return ready;
}

/* The one place where the parent waits for a child: for the fraction of a
 * second that `nginx -t` takes, and with a limit. */
int parts_try_nginx(struct parts *ps, const struct settings *s, struct err *e)
{
    struct pollfd p = { .events = POLLIN };
    char          dir[PATH_MAX];
    pid_t         pid;
    int           status = 0;

    if (!s->run_nginx)
        return 0;
    snprintf(dir, sizeof(dir), "%s/nginx/next", s->run_dir);
    if (nginx_conf_write(s, dir, ps->nofile, e) != 0)
        return -1;
    pid = parts_run_nginx(ps, &ps->part[PARTS_NGINX], dir, "-t", e);
    if (pid < 0)
        return -1;
    p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p.fd < 0 || poll(&p, 1, PARTS_NGINX_T_MS) != 1)
        kill(pid, SIGKILL);
    if (p.fd >= 0)
        close(p.fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(e, "invalid_field", "nginx refuses the new "
            "configuration; holdfastd.log says why");
    return 0;
}

/* ---- Docker ------------------------------------------------------------- */

static void parts_adopted_ended(struct watch *w, uint32_t events)
{
    struct parts *ps = w->owner;
    struct part  *p = &ps->part[PARTS_DOCKER];

    (void)events;
    loop_remove(p->loop, w);
    close(w->fd);
    w->fd = -1;
    p->status = 0;
    part_event(p, PART_DIED);
}

/* One that runs from before is taken over: sandboxes outlive the parent. */
static pid_t parts_spawn_docker(struct part *p, struct err *e)
{
    struct parts *ps = p->owner;
    pid_t         pid = dockerd_running(ps->s);

    if (pid == 0)
        return dockerd_spawn(ps->s, e);
    ps->adopted.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (ps->adopted.fd < 0)
        return err_errno(e, "watch the Docker Engine");
    ps->adopted.owner = ps;
    ps->adopted.ready = parts_adopted_ended;
    if (loop_add(p->loop, &ps->adopted, EPOLLIN) != 0) {
        close(ps->adopted.fd);
        return err_errno(e, "watch the Docker Engine");
    }
    log_info("Docker Engine pid %d of an earlier start taken over",
        (int)pid);
    return pid;
}

static bool parts_docker_ready(struct part *p)
{
    struct parts *ps = p->owner;

    return parts_answers(ps->s->docker_socket);
}

/* ---- the table ---------------------------------------------------------- */

static const struct {
    const char *name;
    bool        ours;           /* logs in our form */
    int         stop_signal;
    pid_t     (*spawn)(struct part *p, struct err *e);
    bool      (*ready)(struct part *p);
} parts_table[PARTS_COUNT] = {
    [PARTS_DOCKER] = { "docker", false, SIGTERM, parts_spawn_docker,
                       parts_docker_ready },
    [PARTS_REDIS] =  { "redis", false, SIGTERM, parts_spawn_redis,
                       parts_redis_ready },
    [PARTS_NET] =    { "net", true, SIGTERM, parts_spawn_net, NULL },
    [PARTS_DOOR] =   { "door", true, SIGTERM, parts_spawn_door, NULL },
    [PARTS_TASKS] =  { "tasks", true, SIGTERM, parts_spawn_tasks, NULL },
    [PARTS_KEEPER] = { "keeper", true, SIGTERM, parts_spawn_keeper, NULL },
    [PARTS_API] =    { "api", true, SIGTERM, parts_spawn_api, NULL },
    [PARTS_NGINX] =  { "nginx", false, SIGQUIT, parts_spawn_nginx,
                       parts_nginx_ready },
};

static void parts_enable(struct parts *ps)
{
    const struct settings *s = ps->s;
    int                    i;

    for (i = 0; i < PARTS_COUNT; i++)
        ps->enabled[i] = true;
    ps->enabled[PARTS_NGINX] = s->run_nginx;
    ps->enabled[PARTS_REDIS] = s->run_redis;
    /* Somebody else's engine that answers is used as it is. */
    ps->enabled[PARTS_DOCKER] = s->run_docker
        && (dockerd_running(s) != 0 || !parts_answers(s->docker_socket));
}

static int parts_init(struct parts *ps, struct loop *l, struct err *e)
{
    struct part *p;
    int          i;

    for (i = 0; i < PARTS_COUNT; i++) {
        p = &ps->part[i];
        p->name = parts_table[i].name;
        p->stop_signal = parts_table[i].stop_signal;
        p->spawn = parts_table[i].spawn;
        p->ready = parts_table[i].ready;
        p->drain_ms = ps->s->drain_s * 1000;
        p->lives_on = i == PARTS_DOCKER;
        p->owner = ps;
        part_init(p, l);
        if (ps->enabled[i] && logs_source(l, &p->log, p->name,
            parts_table[i].ours, e) != 0)
        {
            return -1;
        }
    }
    return 0;
}

int parts_prepare(struct parts *ps, struct loop *l, struct err *e)
{
    ps->settings = -1;
    ps->nofile = parts_limit(ps->s->nofile);
    if (parts_users(ps, e) != 0 || parts_folders(ps, e) != 0)
        return -1;
    ps->marker = orphans_marker(ps->s->run_dir, e);
    if (ps->marker < 0)
        return -1;
    parts_enable(ps);
    if (parts_init(ps, l, e) != 0 || parts_publish(ps, e) != 0
        || parts_write_nginx(ps, e) != 0)
    {
        return -1;
    }
    return parts_bind(ps, e);
}

struct part *parts_by_pid(struct parts *ps, pid_t pid)
{
    int i;

    for (i = 0; i < PARTS_COUNT; i++) {
        if (ps->part[i].pid == pid)
            return &ps->part[i];
    }
    return NULL;
}
