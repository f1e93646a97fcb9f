/*
 * store: see store.h. Statements, marks and the commit of a turn.
 *
 * Owns the database handle and the lists of what a turn changed. Reading and
 * single-row writes are in store_rows.c. Never calls back into the state
 * machine, and never sends anything.
 */
#include "store_in.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../common/clock.h"
#include "../common/db.h"
#include "../common/log.h"
#include "op.h"
#include "outbox.h"

#define RESERVE_BYTES (8 * 1024 * 1024)

static const char *const store_sql[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_META] = "INSERT INTO meta(name,value) VALUES(?1,?2)"
        " ON CONFLICT(name) DO UPDATE SET value=?2",
    [ST_META_GET] = "SELECT value FROM meta WHERE name=?1",
    [ST_SAVE] = "UPDATE sandboxes SET rung=?2, generation=?3, engine_ref=?4,"
        " spec_hash=?5, pid=?6, error_message=?7, stopped_by=?8,"
        " last_status=?9, updated_ms=?10, active_ms=?11, started_ms=?12,"
        " stopped_ms=?13, ws_epoch=?14, archive_ref=?15,"
        " version=version+1 WHERE id=?1",
    [ST_ERASE] = "DELETE FROM sandboxes WHERE id=?1",
    [ST_NOTE] = "INSERT INTO outbox(at_ms,tenant,sandbox,type,data,ends)"
        " VALUES(?1,?2,?3,?4,?5,?6)",
    [ST_NOTED] = "SELECT coalesce(min(number),1)-1,"
        "coalesce(max(number),0) FROM outbox",
    [ST_COPIED] = "DELETE FROM outbox WHERE number<=?1",
    [ST_AUDIT] = "INSERT INTO audit(at_ms,tenant,actor,action,sandbox,"
        "remote,request_id,result) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
    [ST_OP_END] = "UPDATE ops SET state=2, http_status=?2, answer=?3,"
        " ended_ms=?4, args=NULL,"
        " idem_key=CASE WHEN ?2>=500 THEN NULL ELSE idem_key END"
        " WHERE number=?1",
    [ST_OP_INSERT] = "INSERT INTO ops(tenant,kind,sandbox,shape,idem_key,"
        "idem_hash,args,actor,request_id,state,created_ms)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,0,?10)",
    [ST_INSERT] = "INSERT INTO sandboxes(id,tenant,rung,generation,key,"
        "project_id,project_user,ext_user,ext_project,ext_workspace,image,"
        "template_name,git_remote_url,ports,labels,services,setup,env,"
        "visibility,idle_policy,wake_on,ports_policy,host_header,memory_mb,"
        "cpus_milli,pids,disk_mb,idle_s,freeze_s,ttl_s,node,engine,uid,addr,"
        "created_ms,updated_ms,active_ms,expires_ms,share_epoch)"
        " VALUES(?1,?2,?3,?4,?5,"
        "?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,"
        "?23,?24,?25,?26,?27,?28,?29,?30,?31,?32,?33,?34,?35,?35,?35,?36,"
        "?35)",
    [ST_REATTACH] = "UPDATE sandboxes SET rung=?2, generation=?3, key=?4,"
        "project_id=?5, project_user=?6, ext_user=?7, ext_project=?8,"
        "ext_workspace=?9, image=?10, template_name=?11, git_remote_url=?12,"
        "ports=?13, labels=?14, services=?15, setup=?16, env=?17,"
        "visibility=?18, idle_policy=?19, wake_on=?20, ports_policy=?21,"
        "host_header=?22, memory_mb=?23, cpus_milli=?24, pids=?25,"
        "disk_mb=?26, idle_s=?27, freeze_s=?28, ttl_s=?29, created_ms=?30,"
        "updated_ms=?30, active_ms=?30, expires_ms=?31, started_ms=NULL,"
        "stopped_ms=NULL, keepalive_ms=NULL, error_message=NULL,"
        "stopped_by=0, ws_epoch=ws_epoch+1, version=version+1,"
        "share_epoch=max(share_epoch+1,?30) WHERE id=?1",
    [ST_UPDATE] = "UPDATE sandboxes SET labels=?2, visibility=?3,"
        " idle_policy=?4, wake_on=?5, ports_policy=?6, host_header=?7,"
        " ports=?8, memory_mb=?9, cpus_milli=?10, pids=?11, disk_mb=?12,"
        " idle_s=?13, freeze_s=?14, ttl_s=?15, expires_ms=?16,"
        " keepalive_ms=?17, updated_ms=?18, version=version+1 WHERE id=?1",
    [ST_ENV] = "UPDATE sandboxes SET env=?2, updated_ms=?3,"
        " version=version+1 WHERE id=?1",
    [ST_ENV_GET] = "SELECT env FROM sandboxes WHERE id=?1",
    [ST_ROW] = "SELECT " ROW_COLUMNS " FROM sandboxes WHERE id=?1",
    [ST_ROWS] = "SELECT " ROW_COLUMNS ",spec_hash,archive_ref,ws_epoch"
        " FROM sandboxes",
    [ST_KEY] = "SELECT id FROM sandboxes WHERE tenant=?1 AND key=?2",
    [ST_PROJECT] = "SELECT id FROM sandboxes WHERE tenant=?1"
        " AND project_id=?2 AND project_user IS ?3",
    [ST_EXT_USER] = "SELECT id FROM sandboxes WHERE tenant=?1"
        " AND ext_user=?2",
    [ST_EXT_PROJECT] = "SELECT id FROM sandboxes WHERE tenant=?1"
        " AND ext_project=?2",
    [ST_ANSWER] = "SELECT number,state,http_status,answer,sandbox,idem_hash"
        " FROM ops WHERE number=?2 AND tenant=?1",
    [ST_ANSWER_IDEM] = "SELECT number,state,http_status,answer,sandbox,"
        "idem_hash FROM ops WHERE tenant=?1 AND idem_key=?2",
    [ST_OPS_OPEN] = "SELECT number,tenant,kind,sandbox,shape,actor,"
        "request_id,args FROM ops WHERE state<2 ORDER BY number",
    [ST_KNEW] = "SELECT 1 FROM audit WHERE sandbox=?1 LIMIT 1",
    [ST_OP_KNOWN] = "SELECT 1 FROM ops WHERE number=?1",
    [ST_PRUNE] = "DELETE FROM ops WHERE number IN (SELECT number FROM ops"
        " WHERE ended_ms IS NOT NULL AND ended_ms<?1 LIMIT 500)",
    [ST_OP_DONE] = "INSERT INTO ops(tenant,kind,sandbox,shape,idem_key,"
        "idem_hash,actor,request_id,state,http_status,answer,created_ms,"
        "ended_ms) VALUES(?1,?2,?3,'v1',?4,?5,?6,?7,2,?8,?9,?10,?10)",
    [ST_SHARE_INSERT] = "INSERT INTO shares(id,sandbox,port,label,max_uses,"
        "actor,made_ms,expires_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
    [ST_SHARE_COUNT] = "SELECT count(*) FROM shares WHERE sandbox=?1"
        " AND expires_ms>?2",
    [ST_SHARE_CHECK] = "SELECT 1 FROM shares WHERE id=?1 AND sandbox=?2"
        " AND expires_ms>?3",
    [ST_SHARE_USE] = "UPDATE shares SET uses=uses+(last_use IS NOT ?3),"
        " last_use=?3 WHERE id=?1 AND sandbox=?2"
        " AND (max_uses=0 OR uses<max_uses OR last_use IS ?3)",
    [ST_SHARE_DELETE] = "DELETE FROM shares WHERE id=?1 AND sandbox=?2",
    [ST_SHARES_END] = "DELETE FROM shares WHERE sandbox=?1",
    [ST_SHARE_EPOCH] = "UPDATE sandboxes SET share_epoch=?2 WHERE id=?1",
    [ST_SHARE_PRUNE] = "DELETE FROM shares WHERE id IN (SELECT id FROM shares"
        " WHERE expires_ms<?1 LIMIT 500)",
    [ST_LEASE] = "INSERT INTO leases(id,sandbox,reason,until_ms,made_ms)"
        " VALUES(?1,?2,?3,?4,?5)",
    [ST_LEASE_TIDY] = "DELETE FROM leases WHERE sandbox=?1 AND until_ms<?2",
    [ST_LEASE_DROP] = "DELETE FROM leases WHERE id=?1 AND sandbox=?2",
    [ST_LEASES] = "SELECT id,reason,until_ms,made_ms FROM leases"
        " WHERE sandbox=?1 AND until_ms>?2 ORDER BY made_ms,id",
    [ST_LEASE_ENDS] = "SELECT sandbox,max(until_ms) FROM leases"
        " GROUP BY sandbox",
    [ST_USAGE] = "INSERT INTO usage(tenant,sandbox,day,cpu_us,memory_mb_ms,"
        "egress_bytes,awake_ms) VALUES(?1,?2,?3,?4,?5,?6,?7)"
        " ON CONFLICT DO UPDATE SET cpu_us=cpu_us+excluded.cpu_us,"
        " memory_mb_ms=memory_mb_ms+excluded.memory_mb_ms,"
        " egress_bytes=egress_bytes+excluded.egress_bytes,"
        " awake_ms=awake_ms+excluded.awake_ms",
    [ST_USAGE_PRUNE] = "DELETE FROM usage WHERE day<?1",
};

/* ---- a full disk --------------------------------------------------------- */

static void reserve_path(struct keeper *k, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/db/reserve", k->s->data_dir);
}

static void reserve_make(struct keeper *k)
{
    char path[PATH_MAX];
    int  fd;

    reserve_path(k, path);
    fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1)
        return;
    k->store->reserve = posix_fallocate(fd, 0, RESERVE_BYTES) == 0;
    close(fd);
    if (!k->store->reserve)
        unlink(path);
}

bool store_give_reserve(struct keeper *k)
{
    char path[PATH_MAX];

    if (!k->store->reserve)
        return false;
    k->store->reserve = false;
    reserve_path(k, path);
    log_error("the disk is full: the database lives on its reserve now");
    return unlink(path) == 0;
}

int store_may_grow(struct keeper *k, struct err *e)
{
    if (!k->store->reserve)
        reserve_make(k);
    if (k->store->reserve)
        return 0;
    err_set(e, "disk_full", "the disk of the database is full");
    e->retry_after_s = 5;
    return -1;
}

void store_refuse_endings(struct keeper *k, const struct err *e)
{
    struct op *op;

    for (op = k->store->ending; op != NULL; op = op->next_ending) {
        if (op->after == NULL)
            continue;
        op->error = *e;
        op->after = NULL;
    }
}

void store_forget_unused(struct keeper *k)
{
    struct store *st = k->store;

    if (st->dirty != NULL || st->notes != NULL || st->ending != NULL)
        return;
    k->generation = st->generation;
}

/* ---- opening ------------------------------------------------------------- */

static gid_t store_gid(const char *user)
{
    struct passwd *pw = getpwnam(user);

    return pw != NULL ? pw->pw_gid : (gid_t) -1;
}

static int64_t store_meta_get(struct store *st, const char *name, int64_t def)
{
    sqlite3_stmt *s = st->stmt[ST_META_GET];
    int64_t       value = def;

    st_text(s, 1, name);
    if (sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return value;
}

static int store_meta_set(struct store *st, const char *name, int64_t value,
    struct err *e)
{
    sqlite3_stmt *s = st->stmt[ST_META];

    st_text(s, 1, name);
    sqlite3_bind_int64(s, 2, value);
    return st_run(st, s, "storing a counter", e);
}

/* The node's name is fixed at the first start: rows carry it. */
static int store_node(struct keeper *k, struct err *e)
{
    struct store *st = k->store;
    sqlite3_stmt *s = st->stmt[ST_META_GET];
    char          host[64] = "";
    int           rc = 0;

    st_text(s, 1, "node_name");
    if (sqlite3_step(s) == SQLITE_ROW)
        snprintf(k->node, sizeof(k->node), "%s",
            (const char *) sqlite3_column_text(s, 0));
    sqlite3_reset(s);
    if (k->node[0] != '\0')
        return 0;
    if (gethostname(host, sizeof(host) - 1) == -1 || host[0] == '\0')
        snprintf(host, sizeof(host), "node");
    snprintf(k->node, sizeof(k->node), "%s",
        k->s->node_name[0] != '\0' ? k->s->node_name : host);
    if (st_begin(st, e) == -1)
        return -1;
    s = st->stmt[ST_META];
    st_text(s, 1, "node_name");
    st_text(s, 2, k->node);
    rc = st_run(st, s, "storing the node's name", e);
    if (rc == 0)
        rc = store_meta_set(st, "made_at", clock_wall_ms(), e);
    return rc;
}

/* What is left from before. */
static void store_outbox(struct store *st)
{
    sqlite3_stmt *s = st->stmt[ST_NOTED];

    if (sqlite3_step(s) == SQLITE_ROW) {
        st->copied = st->removed = sqlite3_column_int64(s, 0);
        st->noted = sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
}

int store_open(struct keeper *k, struct err *e)
{
    struct store *st;
    char          path[PATH_MAX];
    gid_t         gid = store_gid(k->s->api_user);
    int           i;

    st = k->store = calloc(1, sizeof(*st));
    if (st == NULL)
        return err_set(e, "internal", "out of memory");
    st->k = k;
    st->ending_end = &st->ending;
    st->ended_end = &st->ended;
    st->notes_end = &st->notes;
    snprintf(path, sizeof(path), "%s/db", k->s->data_dir);
    if (mkdir(path, 0750) == 0 && chown(path, 0, gid) == -1)
        return err_errno(e, "give the database's folder to the api's group");
    snprintf(path, sizeof(path), "%s/db/holdfast.db", k->s->data_dir);
    if (db_open_writer(&st->db, path, (int) gid, e) == -1)
        return -1;
    for (i = 0; i < ST_COUNT; i++) {
        if (db_prepare(st->db, store_sql[i], &st->stmt[i], e) == -1)
            return -1;
    }
    k->generation = (uint64_t) store_meta_get(st, "generation", 0);
    k->epoch = (uint64_t) store_meta_get(st, "epoch", 0);
    st->generation = k->generation;
    st->epoch = k->epoch;
    store_outbox(st);
    if (k->epoch == 0)
        k->epoch = 1;
    reserve_make(k);
    return store_node(k, e);
}

void store_close(struct keeper *k)
{
    int i;

    if (k->store == NULL)
        return;
    for (i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(k->store->stmt[i]);
    sqlite3_close(k->store->db);
    free(k->store);
    k->store = NULL;
}

/* ---- statements ---------------------------------------------------------- */

void st_text(sqlite3_stmt *s, int n, const char *text)
{
    if (text == NULL)
        sqlite3_bind_null(s, n);
    else
        sqlite3_bind_text(s, n, text, -1, SQLITE_TRANSIENT);
}

/* 0 becomes NULL: no such moment. */
void st_when(sqlite3_stmt *s, int n, int64_t ms)
{
    if (ms == 0)
        sqlite3_bind_null(s, n);
    else
        sqlite3_bind_int64(s, n, ms);
}

int st_run(struct store *st, sqlite3_stmt *s, const char *doing,
    struct err *e)
{
    int rc = sqlite3_step(s);

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW)
        return 0;
    /* A constraint undoes its statement only, anything else the turn. */
    if ((rc & 0xff) != SQLITE_CONSTRAINT)
        st->broken = true;
    return db_error(st->db, doing, e);
}

int st_begin(struct store *st, struct err *e)
{
    if (st->broken)
        return err_set(e, "disk_full", "the database cannot be written now");
    if (st->begun)
        return 0;
    if (st_run(st, st->stmt[ST_BEGIN], "beginning", e) == -1)
        return -1;
    st->begun = true;
    return 0;
}

/* ---- marks --------------------------------------------------------------- */

void store_dirty(struct sandbox *sb)
{
    struct store *st = sb->k->store;

    if (sb->dirty)
        return;
    sb->dirty = true;
    sb->next_dirty = st->dirty;
    st->dirty = sb;
}

void store_ending(struct keeper *k, struct op *op)
{
    op->next_ending = NULL;
    *k->store->ending_end = op;
    k->store->ending_end = &op->next_ending;
}

struct op *store_next_ended(struct keeper *k)
{
    struct store *st = k->store;
    struct op    *op = st->ended;

    if (op == NULL)
        return NULL;
    st->ended = op->next_ending;
    if (st->ended == NULL)
        st->ended_end = &st->ended;
    return op;
}

struct sandbox *store_next_gone(struct keeper *k)
{
    struct sandbox *sb = k->store->gone;

    if (sb != NULL)
        k->store->gone = sb->next_dirty;
    return sb;
}

static char *dup_or_null(const char *s)
{
    return s == NULL ? NULL : strdup(s);
}

static struct note *note_new(struct store *st, const char *tenant,
    const char *sandbox)
{
    struct note *n = calloc(1, sizeof(*n));

    if (n == NULL)
        log_fatal("out of memory");
    n->at_ms = clock_wall_ms();
    n->tenant = dup_or_null(tenant);
    n->sandbox = dup_or_null(sandbox);
    *st->notes_end = n;
    st->notes_end = &n->next;
    return n;
}

static void note_free(struct note *n)
{
    free(n->tenant);
    free(n->sandbox);
    free(n->type);
    free(n->data);
    free(n->actor);
    free(n->remote);
    free(n->request_id);
    free(n);
}

void store_note(struct sandbox *sb, const char *type, const char *data,
    int ends)
{
    struct note *n = note_new(sb->k->store, sb->tenant->name, sb->id);

    n->type = strdup(type);
    n->data = strdup(data);
    n->ends = ends;
}

void store_audit(struct keeper *k, const char *tenant, const char *actor,
    const char *action, const char *sandbox, const char *remote,
    const char *request_id, const char *result)
{
    struct note *n = note_new(k->store, tenant, sandbox);

    n->is_audit = true;
    n->type = strdup(action);
    n->data = strdup(result);
    n->actor = dup_or_null(actor);
    n->remote = dup_or_null(remote);
    n->request_id = dup_or_null(request_id);
}

/* ---- the end of a turn --------------------------------------------------- */

static int store_save(struct store *st, struct sandbox *sb, struct err *e)
{
    sqlite3_stmt *s = st->stmt[sb->erased ? ST_ERASE : ST_SAVE];

    st_text(s, 1, sb->id);
    if (sb->erased)
        return st_run(st, s, "removing a sandbox's row", e);
    sb->updated_ms = clock_wall_ms();
    sqlite3_bind_int(s, 2, (int) sb->rung);
    sqlite3_bind_int64(s, 3, (int64_t) sb->generation);
    st_text(s, 4, sb->engine_ref);
    st_text(s, 5, sb->spec_hash);
    st_when(s, 6, sb->pid);
    st_text(s, 7, sb->error_message);
    sqlite3_bind_int(s, 8, sb->stopped_by);
    st_text(s, 9, sb->last_status);
    sqlite3_bind_int64(s, 10, sb->updated_ms);
    sqlite3_bind_int64(s, 11, sb->active_ms);
    st_when(s, 12, sb->started_ms);
    st_when(s, 13, sb->stopped_ms);
    sqlite3_bind_int64(s, 14, sb->ws_epoch);
    st_text(s, 15, sb->archive_ref);
    return st_run(st, s, "storing a sandbox", e);
}

static int store_write_note(struct store *st, struct note *n, struct err *e)
{
    sqlite3_stmt *s = st->stmt[n->is_audit ? ST_AUDIT : ST_NOTE];

    sqlite3_bind_int64(s, 1, n->at_ms);
    st_text(s, 2, n->tenant);
    if (n->is_audit) {
        st_text(s, 3, n->actor);
        st_text(s, 4, n->type);
        st_text(s, 5, n->sandbox);
        st_text(s, 6, n->remote);
        st_text(s, 7, n->request_id);
        st_text(s, 8, n->data);
        return st_run(st, s, "storing an audit line", e);
    }
    st_text(s, 3, n->sandbox);
    st_text(s, 4, n->type);
    st_text(s, 5, n->data);
    sqlite3_bind_int(s, 6, n->ends);
    if (st_run(st, s, "storing an event", e) == -1)
        return -1;
    n->number = sqlite3_last_insert_rowid(st->db);
    return 0;
}

static int store_end_op(struct store *st, struct op *op, struct err *e)
{
    sqlite3_stmt *s;

    op_render(op);
    if (op->number == 0)
        return 0;               /* our own: has no row */
    s = st->stmt[ST_OP_END];
    sqlite3_bind_int64(s, 1, op->number);
    sqlite3_bind_int(s, 2, op->http_status);
    st_text(s, 3, op->answer);
    sqlite3_bind_int64(s, 4, clock_wall_ms());
    return st_run(st, s, "storing the end of an operation", e);
}

/* Events that are in their streams leave with whatever else is stored; for
 * them alone nothing is committed until store_prune. */
static int store_write_copied(struct store *st, struct err *e)
{
    if (st->copied == st->removed)
        return 0;
    sqlite3_bind_int64(st->stmt[ST_COPIED], 1, st->copied);
    return st_run(st, st->stmt[ST_COPIED], "removing copied events", e);
}

void store_copied(struct keeper *k, int64_t number)
{
    if (number > k->store->copied && number <= k->store->noted)
        k->store->copied = number;
}

int64_t store_uncopied(const struct keeper *k)
{
    return k->store->noted - k->store->copied;
}

static int store_write_marks(struct keeper *k, struct err *e)
{
    struct store   *st = k->store;
    struct sandbox *sb;
    struct note    *n;
    struct op      *op;

    for (sb = st->dirty; sb != NULL; sb = sb->next_dirty) {
        if (store_save(st, sb, e) == -1)
            return -1;
    }
    for (op = st->ending; op != NULL; op = op->next_ending) {
        if (store_end_op(st, op, e) == -1)
            return -1;
    }
    for (n = st->notes; n != NULL; n = n->next) {
        if (store_write_note(st, n, e) == -1)
            return -1;
    }
    if (store_write_copied(st, e) == -1)
        return -1;
    if (k->generation != st->generation && store_meta_set(st, "generation",
            (int64_t) k->generation, e) == -1)
        return -1;
    if (k->epoch != st->epoch
        && store_meta_set(st, "epoch", (int64_t) k->epoch, e) == -1)
        return -1;
    return 0;
}

/* The commit went well: marks are gone, ended ops wait to be told. */
static void store_clear_marks(struct keeper *k)
{
    struct store   *st = k->store;
    struct sandbox *sb, *next;
    struct note    *n;

    for (sb = st->dirty; sb != NULL; sb = next) {
        next = sb->next_dirty;
        sb->dirty = false;
        if (sb->erased) {
            sb->next_dirty = st->gone;
            st->gone = sb;
        }
    }
    st->dirty = NULL;
    while ((n = st->notes) != NULL) {
        st->notes = n->next;
        if (!n->is_audit) {
            if (st->noted == st->copied)
                st->copied = n->number - 1;
            st->noted = n->number;
            outbox_tell(k, n->number);
        }
        note_free(n);
    }
    st->notes_end = &st->notes;
    if (st->ending != NULL) {
        *st->ended_end = st->ending;
        st->ended_end = st->ending_end;
        st->ending = NULL;
        st->ending_end = &st->ending;
    }
    st->removed = st->copied;
    st->generation = k->generation;
    st->epoch = k->epoch;
}

static int64_t mono_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int store_commit(struct keeper *k, struct err *e)
{
    struct store *st = k->store;
    int64_t       began, took;

    if (!st->begun && !st->broken && st->dirty == NULL && st->notes == NULL
        && st->ending == NULL && st->generation == k->generation
        && st->epoch == k->epoch)
        return 0;
    began = mono_us();
    if (st_begin(st, e) == -1 || store_write_marks(k, e) == -1
        || st_run(st, st->stmt[ST_COMMIT], "committing", e) == -1) {
        if (!sqlite3_get_autocommit(st->db))
            db_exec(st->db, "ROLLBACK", NULL);
        st->begun = false;
        st->broken = false;
        return -1;
    }
    st->begun = false;
    took = mono_us() - began;
    st->commits++;
    if (took > st->longest_us)
        st->longest_us = took;
    store_clear_marks(k);
    return 1;
}

void store_figures(const struct keeper *k, int64_t *longest_us,
    int64_t *commits)
{
    *longest_us = k->store->longest_us;
    *commits = k->store->commits;
}
