/*
 * row: one sandbox as it stands in the table.
 *
 * Texts are owned by the row (row_fini). JSON columns are kept as text: only
 * render and whoever needs a part parses them.
 */
#ifndef HF_ROW_H
#define HF_ROW_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "ids.h"

/* The rungs, in the order of the enum's numbers in the table. */
enum rung {
    RUNG_CREATING, RUNG_STARTING, RUNG_RUNNING, RUNG_FREEZING, RUNG_FROZEN,
    RUNG_THAWING, RUNG_STOPPING, RUNG_STOPPED, RUNG_ARCHIVING, RUNG_ARCHIVED,
    RUNG_UNPACKING, RUNG_ERROR, RUNG_DELETING, RUNG_DELETED, RUNG_PURGING,
    RUNG_COUNT
};

struct row {
    char      id[ID_MAX + 1];
    enum rung rung;
    int64_t   generation;
    char     *tenant, *key, *project_id, *project_user;
    char     *ext_user, *ext_project, *ext_workspace;
    char     *image, *template_name, *git_remote_url;
    char     *ports;            /* JSON [3000] */
    char     *labels;           /* JSON {} */
    char     *services;         /* JSON [], env values left out */
    char     *setup;            /* JSON or NULL */
    char     *visibility, *idle_policy, *wake_on, *ports_policy, *host_header;
    char     *error_message, *engine_ref, *node, *engine;
    char     *last_status;      /* JSON of ports at the last park, or NULL */
    int64_t   memory_mb, cpus_milli, pids, disk_mb;
    int64_t   idle_s, freeze_s, ttl_s;
    int64_t   uid, addr;
    int64_t   stopped_by;       /* 0 nobody, 1 idle, 2 caller */
    int64_t   share_epoch, version;
    int64_t   created_ms, updated_ms, active_ms, stopped_ms, started_ms;
    int64_t   keepalive_ms, expires_ms, pid;
};

/* The columns, in the order that row_load reads them:
 * "SELECT " ROW_COLUMNS " FROM sandboxes WHERE …" */
#define ROW_COLUMNS \
    "id,rung,generation,tenant,key,project_id,project_user,ext_user," \
    "ext_project,ext_workspace,image,template_name,git_remote_url,ports," \
    "labels,services,setup,visibility,idle_policy,wake_on,ports_policy," \
    "host_header,error_message,engine_ref,node,engine,last_status," \
    "memory_mb,cpus_milli,pids,disk_mb,idle_s,freeze_s,ttl_s,uid,addr," \
    "stopped_by,share_epoch,version,created_ms,updated_ms,active_ms," \
    "stopped_ms,started_ms,keepalive_ms,expires_ms,pid"

int  row_load(struct row *r, sqlite3_stmt *s);  /* after SQLITE_ROW */
void row_fini(struct row *r);
/* The same without copies: texts belong to `s` until its next step or reset,
 * and row_fini must not be called. For whoever only renders. */
int  row_borrow(struct row *r, sqlite3_stmt *s);

const char *rung_name(enum rung r);             /* "running", … */
/* The `state` of the API: creating running frozen stopped archived error, and
 * deleted for a kept workspace. On its way up a sandbox keeps the state that
 * it comes from; a first start (no started_ms yet) reads `creating`. */
const char *row_state(const struct row *r);
/* The base vocabulary of `status`: creating running stopped error deleted. */
const char *row_status(const struct row *r);
/* Being deleted or purged, or deleted with its workspace kept: 404. */
bool rung_is_gone(enum rung r);
/* Awake, or on the way up. */
bool rung_waking(enum rung r);

#endif
