/*
 * engine_spec: see engine_spec.h. What a container is made from stands here
 * and nowhere else; a container that differs from it is made anew.
 *
 * Choices that surprise:
 * - Healthcheck NONE: an image's own would run as uid 0 beside the guest.
 * - MemorySwap twice Memory: equal would mean no swap, and then a freeze gives
 *   nothing back.
 * - OomScoreAdj 0: a negative one needs CAP_SYS_RESOURCE on the host.
 * - exec on /tmp: Docker's default noexec breaks pip, go test, npm.
 * - Mounts, not Binds: Binds makes a missing source as root, silently.
 * - Every VOLUME of the image is covered by a tmpfs: it would be a writable
 *   mount on the host's disk without any limit.
 */
#include "engine_spec.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "../common/crypt.h"

#define SPEC_VERSION   "1"      /* a change here makes every container anew */
#define TEXT_MAX       (1024 * 1024)
#define VOLUMES_MAX    32
#define VOLUME_LEN_MAX 255
#define SHM_BYTES      (INT64_C(256) * 1024 * 1024)
#define STOP_TIMEOUT_S 10

typedef struct json_object json;

/* ---- small words -------------------------------------------------------- */

static void put_str(json *o, const char *name, const char *value)
{
    json_object_object_add(o, name, json_object_new_string(value));
}

static void put_int(json *o, const char *name, int64_t value)
{
    json_object_object_add(o, name, json_object_new_int64(value));
}

static void put_bool(json *o, const char *name, bool value)
{
    json_object_object_add(o, name, json_object_new_boolean(value));
}

static json *put_object(json *o, const char *name)
{
    json *child = json_object_new_object();

    json_object_object_add(o, name, child);
    return child;
}

/* A list of strings, ended by NULL. */
static void put_list(json *o, const char *name, const char *const *values)
{
    json *a = json_object_new_array();

    for (; *values != NULL; values++)
        json_object_array_add(a, json_object_new_string(*values));
    json_object_object_add(o, name, a);
}

/* ---- mounts ------------------------------------------------------------- */

struct mount {
    const char *source, *target;
    bool        read_only;
};

#define MOUNTS_MAX 8

static int mounts_of(const struct engine_spec *s, struct mount m[MOUNTS_MAX])
{
    const struct mount all[] = {
        { s->guest,     ENGINE_GUEST,       true  },
        { s->home,      ENGINE_HOME,        false },
        { s->logs,      ENGINE_LOGS,        false },
        { s->passwd,    "/etc/passwd",      true  },
        { s->group,     "/etc/group",       true  },
        { s->resolv,    "/etc/resolv.conf", true  },
        { s->ca_bundle, ENGINE_CA_BUNDLE,   true  },
    };
    int n = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (all[i].source != NULL && all[i].source[0] != 0)
            m[n++] = all[i];
    return n;
}

static void put_mounts(json *host, const struct engine_spec *s)
{
    struct mount m[MOUNTS_MAX];
    json        *list = json_object_new_array(), *o;
    int          n = mounts_of(s, m);

    for (int i = 0; i < n; i++) {
        o = json_object_new_object();
        put_str(o, "Type", "bind");
        put_str(o, "Source", m[i].source);
        put_str(o, "Target", m[i].target);
        put_bool(o, "ReadOnly", m[i].read_only);
        json_object_array_add(list, o);
    }
    json_object_object_add(host, "Mounts", list);
}

/* A VOLUME's path comes from the image: hostile. Only plain absolute paths
 * are covered; Docker refuses the others itself. */
static bool plain_path(const char *p)
{
    size_t len = strlen(p);

    return p[0] == '/' && len > 1 && len <= VOLUME_LEN_MAX
        && strstr(p, "/..") == NULL && strstr(p, "//") == NULL
        && strstr(p, "/./") == NULL && strchr(p, ':') == NULL;
}

static bool is_mounted(const struct engine_spec *s, const json *tmpfs,
    const char *path)
{
    struct mount m[MOUNTS_MAX];
    int          n = mounts_of(s, m);

    for (int i = 0; i < n; i++)
        if (strcmp(m[i].target, path) == 0)
            return true;
    return json_object_object_get_ex((json *)(uintptr_t)tmpfs, path, NULL);
}

static void cover_volumes(json *tmpfs, const struct engine_spec *s,
    const char *volumes,
    const char *options)
{
    json  *list = json_tokener_parse(volumes);
    char   path[VOLUME_LEN_MAX + 1];
    const char *v;
    size_t n, len;

    if (list != NULL && json_object_is_type(list, json_type_array)) {
        n = json_object_array_length(list);
        for (size_t i = 0; i < n && i < VOLUMES_MAX; i++) {
            v = json_object_get_string(json_object_array_get_idx(list, i));
            if (v == NULL || !plain_path(v))
                continue;
            len = strlen(v);
            memcpy(path, v, len + 1);
            if (path[len - 1] == '/')
                path[len - 1] = 0;
            if (!is_mounted(s, tmpfs, path))
                put_str(tmpfs, path, options);
        }
    }
    json_object_put(list);
}

static void put_tmpfs(json *host, const struct engine_spec *s,
    const struct engine_image *image)
{
    json *tmpfs = put_object(host, "Tmpfs");
    char  options[80];

    snprintf(options, sizeof(options),
        "rw,exec,nosuid,nodev,mode=1777,size=%lldm", (long long)s->tmp_mb);
    put_str(tmpfs, "/tmp", options);
    put_str(tmpfs, "/var/tmp", options);
    put_str(tmpfs, "/run", "rw,noexec,nosuid,nodev,mode=755,size=16m");
    if (image != NULL && image->volumes != NULL)
        cover_volumes(tmpfs, s, image->volumes, options);
}

/* ---- limits and isolation ----------------------------------------------- */

/* Docker refuses more cpus than the host has. */
static void put_limits(json *host, const struct engine_spec *s,
    int64_t cpus_max)
{
    int64_t cpus = s->cpus_milli;
    int64_t bytes = s->memory_mb * 1024 * 1024;

    if (cpus_max > 0 && cpus > cpus_max)
        cpus = cpus_max;
    put_int(host, "Memory", bytes);
    put_int(host, "MemorySwap", 2 * bytes);
    put_int(host, "NanoCpus", cpus * 1000000);
    put_int(host, "PidsLimit", s->pids);
}

static void put_ulimit(json *list, const char *name, int64_t value)
{
    json *o = json_object_new_object();

    put_str(o, "Name", name);
    put_int(o, "Soft", value);
    put_int(o, "Hard", value);
    json_object_array_add(list, o);
}

static void put_security(json *host, const struct engine_spec *s)
{
    static const char *const dropped[] = { "ALL", NULL };
    static const char *const kept[] =
        { "KILL", "SETGID", "SETPCAP", "SETUID", NULL };
    json       *opts = json_object_new_array();
    struct buf  b;

    put_list(host, "CapDrop", dropped);
    put_list(host, "CapAdd", kept);
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "seccomp=%s", s->seccomp);
    json_object_array_add(opts, json_object_new_string("no-new-privileges"));
    if (b.data != NULL && !b.failed)
        json_object_array_add(opts, json_object_new_string(b.data));
    buf_fini(&b);
    json_object_object_add(host, "SecurityOpt", opts);
}

static void put_log(json *host)
{
    json *log = put_object(host, "LogConfig"), *config;

    put_str(log, "Type", "local");
    config = put_object(log, "Config");
    put_str(config, "max-size", "1m");
    put_str(config, "max-file", "1");
    put_str(config, "compress", "false");
}

static void put_host(json *top, const struct engine_spec *s,
    const struct engine_image *image, int64_t cpus_max)
{
    json *host = put_object(top, "HostConfig"), *limits, *restart;

    put_bool(host, "Init", false);
    put_str(host, "NetworkMode", "none");
    put_bool(host, "ReadonlyRootfs", true);
    put_str(host, "IpcMode", "private");
    put_str(host, "CgroupnsMode", "private");
    put_str(host, "UsernsMode", "host");
    restart = put_object(host, "RestartPolicy");
    put_str(restart, "Name", "no");
    put_limits(host, s, cpus_max);
    put_int(host, "OomScoreAdj", 0);
    put_int(host, "ShmSize", SHM_BYTES);
    limits = json_object_new_array();
    put_ulimit(limits, "nofile", s->nofile);
    put_ulimit(limits, "core", 0);
    json_object_object_add(host, "Ulimits", limits);
    put_log(host);
    put_security(host, s);
    put_tmpfs(host, s, image);
    put_mounts(host, s);
}

/* ---- the whole ---------------------------------------------------------- */

/* Without labels: what the hash is made of, too. */
static json *spec_object(const struct engine_spec *s,
    const struct engine_image *image,
    int64_t cpus_max)
{
    static const char *const entrypoint[] = { ENGINE_GUEST, NULL };
    static const char *const none[] = { NULL };
    static const char *const no_check[] = { "NONE", NULL };
    json *top = json_object_new_object(), *check;

    put_str(top, "Image", image != NULL && image->id[0] != 0 ? image->id
        : s->image);
    put_str(top, "Hostname", s->id);
    put_str(top, "User", "0:0");
    put_str(top, "WorkingDir", "/");
    put_list(top, "Entrypoint", entrypoint);
    put_list(top, "Cmd", none);
    put_list(top, "Env", none);
    put_bool(top, "NetworkDisabled", false);
    check = put_object(top, "Healthcheck");
    put_list(check, "Test", no_check);
    put_str(top, "StopSignal", "SIGTERM");
    put_int(top, "StopTimeout", STOP_TIMEOUT_S);
    put_host(top, s, image, cpus_max);
    return top;
}

static int finish(json *top, struct buf *out)
{
    const char *text;

    text = json_object_to_json_string_ext(top, JSON_C_TO_STRING_PLAIN
        | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text != NULL)
        buf_str(out, text);
    json_object_put(top);
    return text != NULL && !out->failed ? 0 : -1;
}

int spec_json(const struct engine_spec *spec, const struct engine_image *image,
    const struct spec_context *c, struct buf *out)
{
    json *top, *labels;
    char  hash[65];

    if (spec->seccomp == NULL || spec->guest == NULL || spec->home == NULL)
        return -1;
    engine_spec_hash(spec, hash);
    top = spec_object(spec, image, c->cpus_milli_max);
    labels = put_object(top, "Labels");
    put_str(labels, "holdfast.managed", "true");
    put_str(labels, "holdfast.stack", c->stack);
    put_str(labels, "holdfast.id", spec->id);
    put_str(labels, "holdfast.spec", hash);
    put_str(labels, "holdfast.mark", c->mark);
    if (spec->tenant != NULL)
        put_str(labels, "holdfast.tenant", spec->tenant);
    return finish(top, out);
}

int spec_limits_json(const struct engine_spec *spec, int64_t cpus_max,
    struct buf *out)
{
    json *top = json_object_new_object();

    put_limits(top, spec, cpus_max);
    return finish(top, out);
}

/* The image by its name, the cpus as they were asked for: neither a pull of a
 * newer image nor another host makes a container anew by itself. */
void engine_spec_hash(const struct engine_spec *spec, char out[65])
{
    struct buf b;

    buf_init(&b, TEXT_MAX);
    buf_str(&b, "holdfast spec " SPEC_VERSION "\n");
    finish(spec_object(spec, NULL, 0), &b);
    crypt_sha256_hex(b.data != NULL ? b.data : "", b.len, out);
    buf_fini(&b);
}
