/*
 * schema: the SQL of the database, one string per version.
 *
 * Index n holds what brings version n to n + 1; db.c runs them in order, each
 * in a transaction with its user_version. A released step is never changed.
 * JSON columns hold text that the api has checked; `env` and `ops.args` are
 * sealed (crypt.h). Room that is kept without code: root, runtime, subid,
 * ws_epoch, archive_ref.
 */
#include "schema.h"

const char *const schema_steps[SCHEMA_VERSION] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;"
    "CREATE TABLE nodes(name TEXT PRIMARY KEY, engine TEXT NOT NULL,"
    "  arch TEXT NOT NULL, made_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE sandboxes("
    "  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, rung INTEGER NOT NULL,"
    "  generation INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 1,"
    "  key TEXT, project_id TEXT, project_user TEXT,"
    "  ext_user TEXT, ext_project TEXT, ext_workspace TEXT,"
    "  image TEXT NOT NULL, template_name TEXT, git_remote_url TEXT,"
    "  ports TEXT NOT NULL DEFAULT '[]', labels TEXT NOT NULL DEFAULT '{}',"
    "  services TEXT NOT NULL DEFAULT '[]', setup TEXT, env BLOB,"
    "  visibility TEXT NOT NULL, idle_policy TEXT NOT NULL,"
    "  wake_on TEXT NOT NULL, ports_policy TEXT NOT NULL,"
    "  host_header TEXT NOT NULL,"
    "  memory_mb INTEGER NOT NULL, cpus_milli INTEGER NOT NULL,"
    "  pids INTEGER NOT NULL, disk_mb INTEGER NOT NULL,"
    "  idle_s INTEGER NOT NULL, freeze_s INTEGER NOT NULL,"
    "  ttl_s INTEGER NOT NULL DEFAULT 0,"
    "  node TEXT NOT NULL, engine TEXT NOT NULL, engine_ref TEXT, pid INTEGER,"
    "  uid INTEGER NOT NULL, addr INTEGER NOT NULL,"
    "  isolation TEXT, spec_hash TEXT, last_status TEXT, error_message TEXT,"
    "  stopped_by INTEGER NOT NULL DEFAULT 0,"
    "  share_epoch INTEGER NOT NULL DEFAULT 0,"
    "  root TEXT NOT NULL DEFAULT 'readonly', runtime TEXT, subid INTEGER,"
    "  ws_epoch INTEGER NOT NULL DEFAULT 0, arch TEXT, archive_ref TEXT,"
    "  created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,"
    "  active_ms INTEGER NOT NULL, started_ms INTEGER, stopped_ms INTEGER,"
    "  keepalive_ms INTEGER, expires_ms INTEGER) STRICT;"
    "CREATE UNIQUE INDEX sandboxes_key ON sandboxes(tenant, key)"
    "  WHERE key IS NOT NULL;"
    "CREATE UNIQUE INDEX sandboxes_project"
    "  ON sandboxes(tenant, project_id, project_user)"
    "  WHERE project_id IS NOT NULL;"
    "CREATE UNIQUE INDEX sandboxes_addr ON sandboxes(node, addr);"
    "CREATE UNIQUE INDEX sandboxes_uid ON sandboxes(node, uid);"
    "CREATE INDEX sandboxes_created ON sandboxes(tenant, created_ms, id);"
    "CREATE INDEX sandboxes_ext_user ON sandboxes(tenant, ext_user)"
    "  WHERE ext_user IS NOT NULL;"
    "CREATE INDEX sandboxes_ext_project ON sandboxes(tenant, ext_project)"
    "  WHERE ext_project IS NOT NULL;"
    "CREATE TABLE ops("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL,"
    "  kind TEXT NOT NULL, sandbox TEXT, shape TEXT NOT NULL,"
    "  idem_key TEXT, idem_hash TEXT, args BLOB, actor TEXT, request_id TEXT,"
    "  state INTEGER NOT NULL, http_status INTEGER, answer TEXT,"
    "  created_ms INTEGER NOT NULL, ended_ms INTEGER) STRICT;"
    "CREATE UNIQUE INDEX ops_idem ON ops(tenant, idem_key)"
    "  WHERE idem_key IS NOT NULL;"
    "CREATE INDEX ops_open ON ops(state) WHERE state < 2;"
    "CREATE INDEX ops_ended ON ops(ended_ms) WHERE ended_ms IS NOT NULL;"
    "CREATE TABLE leases("
    "  id TEXT PRIMARY KEY, sandbox TEXT NOT NULL REFERENCES sandboxes(id)"
    "  ON DELETE CASCADE, reason TEXT NOT NULL, until_ms INTEGER NOT NULL,"
    "  made_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX leases_sandbox ON leases(sandbox);"
    "CREATE TABLE audit("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "  tenant TEXT NOT NULL, actor TEXT, action TEXT NOT NULL, sandbox TEXT,"
    "  remote TEXT, request_id TEXT, result TEXT) STRICT;"
    "CREATE INDEX audit_tenant ON audit(tenant, number);"
    "CREATE TABLE outbox("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "  tenant TEXT NOT NULL, sandbox TEXT NOT NULL, type TEXT NOT NULL,"
    "  data TEXT NOT NULL) STRICT;",

    /* Shares. The epoch begins with the moment of creation, so that a ticket
     * of a sandbox that was purged never fits one made again by its name. */
    "CREATE TABLE shares("
    "  id TEXT PRIMARY KEY, sandbox TEXT NOT NULL REFERENCES sandboxes(id)"
    "  ON DELETE CASCADE, port INTEGER, label TEXT NOT NULL DEFAULT '',"
    "  max_uses INTEGER NOT NULL, uses INTEGER NOT NULL DEFAULT 0,"
    "  last_use INTEGER, actor TEXT, made_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX shares_sandbox ON shares(sandbox);"
    "CREATE INDEX shares_expires ON shares(expires_ms);"
    "UPDATE sandboxes SET share_epoch = created_ms / 1000;",
};
