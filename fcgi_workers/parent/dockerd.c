/*
 * dockerd: a Docker Engine of our own (see dockerd.h).
 *
 * Everything of it lies in folders of ours, it makes no bridge and no
 * firewall rule: sandboxes have networks of their own, and an engine that the
 * machine has besides is not disturbed. Must never signal a process whose
 * command line does not name our configuration file.
 */
#include "dockerd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/files.h"
#include "../common/msg.h"
#include "spawn.h"

static void dockerd_path(const struct settings *s, const char *name, char *out)
{
    snprintf(out, PATH_MAX, "%s/docker/%s", s->run_dir, name);
}

/* /proc/<pid>/cmdline: arguments, each ended by a NUL. */
static bool dockerd_is_ours(pid_t pid, const char *config)
{
    struct buf b;
    char       path[64];
    size_t     at = 0;
    bool       found = false;

    buf_init(&b, 64 * 1024);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    if (files_read(path, &b, NULL) == 0) {
        while (at < b.len && !found) {
            found = strcmp(b.data + at, config) == 0;
            at += strlen(b.data + at) + 1;
        }
    }
    buf_fini(&b);
    return found;
}

/* The pid in `file` of our folder, if that process names `mark` on its command
 * line; else 0. */
static pid_t dockerd_pid(const struct settings *s, const char *file,
    const char *mark)
{
    struct buf b;
    char       path[PATH_MAX];
    pid_t      pid = 0;

    buf_init(&b, 64);
    dockerd_path(s, file, path);
    if (files_read(path, &b, NULL) == 0 && b.len > 0)
        pid = (pid_t)strtol(b.data, NULL, 10);
    buf_fini(&b);
    dockerd_path(s, mark, path);
    return pid > 1 && dockerd_is_ours(pid, path) ? pid : 0;
}

pid_t dockerd_running(const struct settings *s)
{
    return dockerd_pid(s, "docker.pid", "daemon.json");
}

/* The containerd of an engine that was killed ends a moment after it. A new
 * engine that finds its number still taken, be it by a zombie, believes it is
 * there and waits for it in vain for 15 s. */
static int dockerd_bury_containerd(const struct settings *s, struct err *e)
{
    char  path[PATH_MAX];
    pid_t pid = dockerd_pid(s, "containerd/containerd.pid",
        "containerd/containerd.toml");

    if (pid == 0) {
        dockerd_path(s, "containerd/containerd.pid", path);
        unlink(path);
        return 0;
    }
    kill(pid, SIGTERM);
    return err_set(e, "engine_unavailable", "containerd (pid %d) of the "
        "engine before is still ending", (int)pid);
}

/* live-restore: containers outlive the engine, too. bridge none: nobody but
 * us connects a sandbox. nofile: a container would else get the machine's
 * limit, which may be a thousand million and makes some programs crawl. */
static int dockerd_configure(const struct settings *s, const char *path,
    bool live_restore, struct err *e)
{
    struct buf b;
    int        rc;

    buf_init(&b, 16 * 1024);
    buf_printf(&b, "{\n  \"hosts\": [\"unix://%s\"],\n", s->docker_socket);
    buf_printf(&b, "  \"data-root\": \"%s\",\n", s->docker_data_dir);
    buf_printf(&b, "  \"exec-root\": \"%s/docker\",\n", s->run_dir);
    buf_printf(&b, "  \"pidfile\": \"%s/docker/docker.pid\",\n", s->run_dir);
    buf_printf(&b, "  \"cgroup-parent\": \"/holdfast%s\",\n", s->stack);
    buf_str(&b, "  \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"],\n"
        "  \"bridge\": \"none\",\n"
        "  \"iptables\": false,\n"
        "  \"ip6tables\": false,\n"
        "  \"ip-forward\": false,\n"
        "  \"ip-masq\": false,\n"
        "  \"userland-proxy\": false,\n"
        "  \"oom-score-adjust\": 0,\n"
        "  \"group\": \"root\",\n");
    buf_printf(&b, "  \"live-restore\": %s,\n",
        live_restore ? "true" : "false");
    buf_printf(&b, "  \"default-ulimits\": {\n    \"nofile\": { \"Name\": "
        "\"nofile\", \"Soft\": %lld, \"Hard\": %lld }\n  }\n}\n",
        (long long)s->sandbox_nofile, (long long)s->sandbox_nofile);
    rc = b.failed ? err_set(e, "internal", "out of memory")
        : files_write(path, b.data, b.len, 0644, e);
    buf_fini(&b);
    return rc;
}

pid_t dockerd_spawn(const struct settings *s, struct err *e)
{
    struct spawn sp;
    char         config[PATH_MAX], path[PATH_MAX];
    char         names[32], plugins[32];
    pid_t        pid;
    int          log;

    snprintf(path, sizeof(path), "%s/docker", s->run_dir);
    if (dockerd_bury_containerd(s, e) != 0
        || files_mkdir(path, 0711, e) != 0
        || files_mkdir(s->docker_data_dir, 0711, e) != 0)
    {
        return -1;
    }
    dockerd_path(s, "daemon.json", config);
    if (dockerd_configure(s, config, true, e) != 0)
        return -1;
    dockerd_path(s, "docker.pid", path);
    unlink(path);               /* of a dead one, or it would refuse */
    /* Its own log: a pipe to us would end it when we die. */
    snprintf(path, sizeof(path), "%s/dockerd.log", s->log_dir);
    log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
        0640);
    if (log < 0)
        return err_errno(e, "open %s", path);
    spawn_init(&sp, s->dockerd_program);
    spawn_arg(&sp, "dockerd");
    spawn_arg(&sp, "--config-file");
    spawn_arg(&sp, config);
    /* In a containerd that the machine has already, we have our own corner.
     * Not in the file: Docker 20.10 refuses the second of them there. */
    snprintf(names, sizeof(names), "holdfast%s", s->stack);
    snprintf(plugins, sizeof(plugins), "holdfast%s-plugins", s->stack);
    spawn_arg(&sp, "--containerd-namespace");
    spawn_arg(&sp, names);
    spawn_arg(&sp, "--containerd-plugins-namespace");
    spawn_arg(&sp, plugins);
    sp.out = log;
    sp.privs.new_privs = true;
    pid = spawn_run(&sp, e);
    close(log);
    return pid;
}

/* Asks /info and looks for one text in the answer. Blocking, but bounded: a
 * command of the command line, never the parent. */
static bool dockerd_says(const struct settings *s, const char *text)
{
    static const char ask[] = "GET /info HTTP/1.0\r\nHost: docker\r\n\r\n";
    struct pollfd     p = { .events = POLLIN };
    struct buf        b;
    char             *room;
    ssize_t           n = -1;
    bool              found;

    buf_init(&b, 1024 * 1024);
    p.fd = msg_connect(s->docker_socket, SOCK_STREAM);
    if (p.fd >= 0 && write(p.fd, ask, sizeof(ask) - 1) > 0) {
        while (n != 0 && poll(&p, 1, 5000) == 1) {
            room = buf_room(&b, 4096);
            n = room == NULL ? 0 : read(p.fd, room, 4096);
            if (n > 0)
                b.len += (size_t)n;
        }
    }
    if (p.fd >= 0)
        close(p.fd);
    found = b.data != NULL && memmem(b.data, b.len, text, strlen(text))
        != NULL;
    buf_fini(&b);
    return found;
}

/* With live-restore the engine would leave its containers running without
 * anybody to look after them, so that is taken back first. */
int dockerd_stop(const struct settings *s, pid_t pid, struct err *e)
{
    char config[PATH_MAX];
    int  tries;

    dockerd_path(s, "daemon.json", config);
    if (dockerd_configure(s, config, false, e) != 0)
        return -1;
    kill(pid, SIGHUP);
    for (tries = 0; tries < 100; tries++) {
        if (dockerd_says(s, "\"LiveRestoreEnabled\":false"))
            break;
        poll(NULL, 0, 50);
    }
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH)
        return err_errno(e, "stop the Docker Engine (pid %d)", (int)pid);
    return 0;
}
