/*
 * sandbox: what the keeper holds in memory about each sandbox.
 *
 * Every row of the table is here from the start, compactly: what gates ask
 * about and what the state machine needs. The rest (labels, services, env)
 * stays in SQLite and is read when it is needed. Memory runs ahead of the
 * table by at most one turn (core.h); nobody but store.c writes rows.
 */
#ifndef HF_KEEPER_SANDBOX_H
#define HF_KEEPER_SANDBOX_H

#include "../common/ids.h"
#include "../common/line.h"
#include "../common/row.h"
#include "core.h"

struct op;
struct ask;
struct live;
struct job;

enum stopped_by { STOPPED_NOBODY, STOPPED_IDLE, STOPPED_CALLER };

struct tenant {                 /* one per name, kept to the end */
    struct tenant *next;
    uint64_t       tag;
    int64_t        count;       /* sandboxes, kept workspaces not */
    int64_t        awake;
    int64_t        awake_mb, disk_mb;
    char           name[];
};

struct sandbox {
    struct keeper  *k;
    struct sandbox *next_hash, *next_dirty, *next_act;
    struct tenant  *tenant;
    struct live    *live;       /* NULL unless awake or on its way */
    struct op      *queue;      /* operations, the oldest first */
    struct op     **queue_end;
    struct ask     *asks;       /* gates that wait for an answer */
    struct job     *job;        /* of archive.c, on it or waiting */
    void          (*fetched)(struct sandbox *sb, const struct err *e);
    struct timer    expires, again;
    char            id[ID_MAX + 1];
    enum rung       rung;
    uint64_t        generation; /* of the route, as last published */
    uint64_t        reserved;   /* given out for the next awake route */
    int64_t         uid, addr;
    int64_t         memory_mb, cpus_milli, pids, disk_mb, ws_epoch;
    int64_t         idle_s, freeze_s, share_epoch;
    int64_t         created_ms, updated_ms, active_ms, started_ms, stopped_ms;
    int64_t         keepalive_ms, expires_ms, booted_mono_ms;
    int64_t         lease_ms;   /* the last of its leases ends */
    int64_t         archive_again_ms;   /* monotonic: not before that */
    int64_t         need_mb;    /* of memory, when it last slept; 0: unknown */
    int64_t         wake_mono_ms;       /* its last way up began; 0: none */
    char           *image, *engine_ref, *spec_hash, *last_status;
    char           *host_mode, *error_message;
    char           *archive_ref;        /* its home is there, not in `home` */
    const char     *error_code; /* static; of the last failure */
    int32_t         pid;
    int             retry_after_s;
    int             stopped_by;
    int             falls;      /* deaths in a row, for the back-off */
    uint16_t        ports[LINE_PORTS_MAX];
    uint16_t        service_ports[LINE_PORTS_MAX];
    uint8_t         nports, nservice_ports;
    uint8_t         act;        /* enum action, to be run after the commit */
    bool            is_private, wake_any, declared_only, always_on;
    bool            dirty, acting, erased, counted, counted_awake;
    bool            claimed;    /* a create of this turn takes it up */
    bool            oom;        /* the kernel killed something in it */
    bool            plugged;    /* it may have an interface, door handles */
    bool            small;      /* frozen, and holds next to no memory */
    bool            set_aside;  /* packed, what was before is going */
    bool            unpacked;   /* its way up goes on after that */
    bool            unproven;   /* said to run, not yet seen to */
};

int  sandboxes_open(struct keeper *k, struct err *e);   /* loads every row */
void sandboxes_close(struct keeper *k);

struct sandbox *sandbox_find(struct keeper *k, const char *id);
/* By a name of `len` bytes that need not end in NUL. */
struct sandbox *sandbox_find_n(struct keeper *k, const char *id, size_t len);
/* NULL when out of memory. The id must be new. */
struct sandbox *sandbox_add(struct keeper *k, const struct row *r);
/* Takes over what may change by an operation: policy, limits, texts. */
int  sandbox_configure(struct sandbox *sb, const struct row *r);
void sandbox_free(struct sandbox *sb);
void sandbox_each(struct keeper *k, void (*fn)(struct sandbox *, void *),
    void *arg);
size_t sandbox_count(const struct keeper *k);
size_t sandbox_count_rung(const struct keeper *k, enum rung r);

struct tenant *tenant_of(struct keeper *k, const char *name);

/* Changes the rung and keeps the counts; marks the sandbox dirty. */
void sandbox_rung(struct sandbox *sb, enum rung r);
/* The next generation of the counter; stored with this turn. */
uint64_t sandbox_next_generation(struct keeper *k);
/* Remembers why something failed (shown as error_message). NULL: forget. */
void sandbox_why(struct sandbox *sb, const struct err *e);
/* The same as an error again, for whoever waits. */
void sandbox_error(const struct sandbox *sb, struct err *e);
/* A new value for an owned text. */
void sandbox_text(char **field, const char *value);

bool rung_at_rest(enum rung r);
bool rung_awake(enum rung r);   /* its container uses memory */

/* The lowest free uid and address; both are unique while data exists. 0, or
 * -1 when the range is full. Not taken until sandbox_add. */
int  sandbox_places(struct keeper *k, int64_t *uid, int64_t *addr);
/* Number of the network interface, from the address. */
uint32_t sandbox_ifnumber(const struct sandbox *sb);

#endif
