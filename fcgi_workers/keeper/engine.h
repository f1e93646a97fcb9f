/*
 * engine: what runs containers, as one header. Docker's is engine_docker.c.
 *
 * Every call returns at once; the completion comes from the loop, exactly once
 * per call, also after a deadline, also when the engine dies (error
 * "engine_unavailable", retryable). Calls about one sandbox are made one at a
 * time by its queue (machine.c); calls about different ones run side by side.
 * An engine's own id of a container (`ref`) is opaque and may change; our
 * label `holdfast.id` is the identity. Containers without our labels (and our
 * stack's name) are never touched.
 */
#ifndef HF_ENGINE_H
#define HF_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/err.h"
#include "../common/loop.h"
#include "../common/settings.h"

/* Where things are inside a sandbox. */
#define ENGINE_GUEST     "/.holdfast/guest"
#define ENGINE_LOGS      "/.holdfast/logs"
#define ENGINE_CA_BUNDLE "/.holdfast/ca.pem"
#define ENGINE_HOME      "/home/sandbox"

struct engine;

struct engine_caps {
    char version[32], api[16], arch[16], root_dir[256];
    bool answers, userns_remap, rootless, cgroup2, freeze, update, swap;
    int  cpus;
    int64_t memory_mb;
};

/* What a container is made from: the isolation record. Borrowed strings. */
struct engine_spec {
    const char *id, *image, *tenant;
    int64_t     memory_mb, cpus_milli, pids, tmp_mb, nofile;
    const char *home;           /* host path → /home/sandbox */
    const char *logs;           /* host path → /.holdfast/logs */
    const char *passwd, *group; /* host paths → /etc, read-only */
    const char *resolv;         /* host path → /etc/resolv.conf, read-only */
    const char *guest;          /* host path → /.holdfast/guest, read-only */
    const char *ca_bundle;      /* or NULL */
    const char *seccomp;        /* profile text */
};

struct engine_image {           /* answers of image_ensure */
    char  id[80];
    char *entrypoint;           /* JSON array text of ENTRYPOINT + CMD, owned */
    char *volumes;              /* JSON array text, owned */
    char *user;                 /* owned */
};

struct engine_state {           /* answers of inspect and list */
    char    id[48];             /* sandbox, from the label */
    char    ref[80];
    char    spec_hash[72];
    char    status[16];         /* created running paused exited dead */
    int32_t pid;
    int     exit_code;
    bool    oom;
};

struct engine_stats {
    int64_t cpu_ms, memory_bytes, memory_limit, pids, swap_bytes;
};

/* One completion for every call: fields that do not apply are empty. */
struct engine_result {
    const struct err          *error;   /* NULL: it went well */
    const char                *ref;     /* create */
    const struct engine_image *image;   /* image_ensure */
    const struct engine_state *state;   /* inspect, start; list: an array */
    size_t                     nstates;
    const struct engine_stats *stats;
    const struct engine_caps  *caps;
};

typedef void (*engine_done)(void *arg, const struct engine_result *r);

/* What the event stream says. LOST is told once when the engine stops
 * answering (id, ref NULL), BACK when it answers again, and also when it does
 * for the first time: the keeper then lists and reconciles. */
enum engine_event {
    ENGINE_DIED, ENGINE_OOM, ENGINE_REMOVED, ENGINE_STARTED, ENGINE_PAUSED,
    ENGINE_UNPAUSED, ENGINE_LOST, ENGINE_BACK
};
typedef void (*engine_news)(void *arg, enum engine_event ev, const char *id,
    const char *ref, int exit_code);

struct engine *engine_docker_new(struct loop *l, const struct settings *s,
    engine_news news, void *arg, struct err *e);
void engine_free(struct engine *en);

void engine_ask_caps(struct engine *en, engine_done done, void *arg);
/* Every container of the stack; states without pid, exit_code and oom. */
void engine_list(struct engine *en, engine_done done, void *arg);
/* There, or pulled; calls for one image share one pull. `image` of the answer
 * is borrowed until done returns. */
void engine_image_ensure(struct engine *en, const char *image,
    engine_done done, void *arg);
/* /etc/passwd and /etc/group as they are in the image ("" where there is none,
 * or one that is no plain file). To be kept by the caller, by image id. */
void engine_image_texts(struct engine *en, const char *image,
    void (*done)(void *arg, const struct err *e, const char *passwd,
        const char *group), void *arg);
/* A container of the same sandbox that is there already goes first. After an
 * error none is left behind, also when the engine makes it only later. */
void engine_create(struct engine *en, const struct engine_spec *spec,
    const struct engine_image *image, engine_done done, void *arg);
/* Starts, then inspects: `state` has the pid. After "timeout" the container
 * is removed, however long the engine takes. */
void engine_start(struct engine *en, const char *ref, engine_done done,
    void *arg);
/* SIGTERM, `timeout_s`, SIGKILL. One that does not run is well. Thaw first. */
void engine_stop(struct engine *en, const char *ref, int timeout_s,
    engine_done done, void *arg);
void engine_freeze(struct engine *en, const char *ref, engine_done done,
    void *arg);
void engine_thaw(struct engine *en, const char *ref, engine_done done,
    void *arg);
/* Limits of a running container. */
void engine_update(struct engine *en, const char *ref,
    const struct engine_spec *spec, engine_done done, void *arg);
/* Kills if need be, removes, with its anonymous volumes. No such container
 * counts as done. */
void engine_remove(struct engine *en, const char *ref, engine_done done,
    void *arg);
/* "not_found" when there is none. */
void engine_inspect(struct engine *en, const char *ref, engine_done done,
    void *arg);
void engine_stats(struct engine *en, const char *ref, engine_done done,
    void *arg);

/* SHA-256 in hex of everything in the spec and our own version of it. */
void engine_spec_hash(const struct engine_spec *spec, char out[65]);

#endif
