/*
 * test_store: a turn's transaction: what is stored, what a full disk undoes,
 * what is sealed, and what is there after the database was opened again.
 */
#include "keeper/store_in.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/db.h"
#include "keeper/admission.h"
#include "keeper/op.h"
#include "test.h"

static struct settings s;
static char            folder[] = "/tmp/test_store.XXXXXX";

static void open_all(struct keeper *k)
{
    struct err e = { 0 };

    memset(k, 0, sizeof(*k));
    k->s = &s;
    k->loop = loop_new();
    memset(k->key.bytes, 7, sizeof(k->key.bytes));
    CHECK_AS(store_open(k, &e) == 0, e.msg);
    CHECK_AS(sandboxes_open(k, &e) == 0, e.msg);
}

static void close_all(struct keeper *k)
{
    sandboxes_close(k);
    store_close(k);
    loop_free(k->loop);
}

static void make_row(struct keeper *k, struct row *r, const char *id)
{
    memset(r, 0, sizeof(*r));
    snprintf(r->id, sizeof(r->id), "%s", id);
    r->rung = RUNG_CREATING;
    r->tenant = (char *) "default";
    r->image = (char *) "some:image";
    r->ports = (char *) "[3000,5173]";
    r->labels = (char *) "{}";
    r->services = (char *) "[]";
    r->visibility = (char *) "private";
    r->idle_policy = (char *) "sleep";
    r->wake_on = (char *) "visit";
    r->ports_policy = (char *) "any";
    r->host_header = (char *) "public";
    r->node = (char *) "n";
    r->engine = (char *) "docker";
    r->memory_mb = 512;
    r->created_ms = clock_wall_ms();
    r->generation = (int64_t) sandbox_next_generation(k);
    CHECK(sandbox_places(k, &r->uid, &r->addr) == 0);
}

static struct sandbox *make(struct keeper *k, const char *id,
    const char *env)
{
    struct row r;
    struct err e = { 0 };

    make_row(k, &r, id);
    CHECK_AS(store_insert(k, &r, env, &e) == 0, e.msg);
    return sandbox_add(k, &r);
}

/* ---- what is stored ------------------------------------------------------ */

static void test_again(void)
{
    struct keeper   k;
    struct sandbox *sb;
    struct err      e = { 0 };
    char           *env;
    int64_t         uid;

    open_all(&k);
    sb = make(&k, "one", "{\"env\":{\"A\":\"geheim\"}}");
    CHECK(store_commit(&k, &e) == 1);
    CHECK(store_commit(&k, &e) == 0);
    sandbox_rung(sb, RUNG_STOPPED);
    sandbox_next_generation(&k);
    uid = sb->uid;
    CHECK(store_commit(&k, &e) == 1);
    CHECK(sb->dirty == false);
    close_all(&k);

    open_all(&k);
    CHECK(k.generation == 2);
    CHECK(k.epoch == 1);
    sb = sandbox_find(&k, "one");
    CHECK(sb != NULL && sb->rung == RUNG_STOPPED && sb->uid == uid);
    CHECK(sb->is_private && sb->nports == 2 && sb->ports[1] == 5173);
    CHECK(store_env_of(&k, "one", &env, &e) == 0);
    CHECK_STR(env, "{\"env\":{\"A\":\"geheim\"}}");
    free(env);
    CHECK(sandbox_find(&k, "on") == NULL);
    CHECK(sandbox_find_n(&k, "onetwo", 3) == sb);
    close_all(&k);
}

/* Secrets are nowhere in the files as they are. */
static void test_sealed(void)
{
    char    path[200], *text;
    FILE   *f;
    size_t  n;
    int     i;
    static const char *const names[] = { "db", "db-wal" };

    text = malloc(1 << 22);
    for (i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/db/holdfast.%s", folder, names[i]);
        f = fopen(path, "r");
        if (f == NULL)
            continue;
        n = fread(text, 1, 1 << 22, f);
        fclose(f);
        CHECK_AS(memmem(text, n, "geheim", 6) == NULL, names[i]);
    }
    free(text);
}

/* ---- a full disk --------------------------------------------------------- */

static void pages(struct keeper *k, int more)
{
    char          sql[80];
    sqlite3_stmt *q;
    int           n;

    sqlite3_prepare_v2(k->store->db, "PRAGMA page_count", -1, &q, NULL);
    sqlite3_step(q);
    n = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count=%d", n + more);
    db_exec(k->store->db, sql, NULL);
}

static void test_full(void)
{
    struct keeper   k;
    struct sandbox *sb;
    struct row      r;
    struct err      e = { 0 };
    char           *big = malloc(200001);

    memset(big, 'x', 200000);
    big[200000] = '\0';
    open_all(&k);
    sb = sandbox_find(&k, "one");
    pages(&k, 0);
    make_row(&k, &r, "two");
    r.labels = big;
    CHECK(store_insert(&k, &r, NULL, &e) == -1);
    CHECK_STR(e.code, "disk_full");
    sandbox_rung(sb, RUNG_ERROR);       /* of the same turn */
    store_note(sb, "sandbox.error", "{}", 0);
    CHECK(store_commit(&k, &e) == -1);
    CHECK_STR(e.code, "disk_full");
    CHECK(sb->dirty && k.store->notes != NULL);
    pages(&k, 1000);
    CHECK(store_commit(&k, &e) == 1);   /* what was marked is stored now */
    CHECK(!sb->dirty && k.store->notes == NULL);
    CHECK(store_row_of(&k, "two", &r, &e) == 0);
    CHECK(store_row_of(&k, "one", &r, &e) == 1 && r.rung == RUNG_ERROR);
    row_fini(&r);
    close_all(&k);
    free(big);
}

/* ---- operations ---------------------------------------------------------- */

static void test_ops(void)
{
    struct keeper       k;
    struct op          *op;
    struct store_answer a;
    struct err          e = { 0 };
    struct err          bad = { 0 };

    open_all(&k);
    op = op_new(&k, OP_WAKE, "default");
    snprintf(op->sandbox_id, sizeof(op->sandbox_id), "one");
    CHECK(store_op_insert(&k, op, "POST k", "hash", NULL, &e) == 0);
    CHECK(op->number > 0);
    CHECK(store_answer_of(&k, "default", 0, "POST k", &a, &e) == 1
        && a.state == 0);
    free(a.answer);
    CHECK(store_answer_of(&k, "other", 0, "POST k", &a, &e) == 0);
    CHECK(store_answer_of(&k, "other", op->number, NULL, &a, &e) == 0);
    CHECK(store_commit(&k, &e) == 1);
    op_end(op, NULL);
    op_end(op, &bad);           /* only the first counts */
    CHECK(store_commit(&k, &e) == 1);
    CHECK(store_next_ended(&k) == op && store_next_ended(&k) == NULL);
    CHECK(op->http_status == 200);
    CHECK(store_answer_of(&k, "default", 0, "POST k", &a, &e) == 1);
    CHECK(a.state == 2 && a.http_status == 200);
    CHECK(strstr(a.answer, "\"wake_duration_ms\":") != NULL);
    free(a.answer);
    op_free(op);

    /* A 5xx is not kept under its key. */
    op = op_new(&k, OP_WAKE, "default");
    CHECK(store_op_insert(&k, op, "POST k2", "hash", NULL, &e) == 0);
    err_set(&bad, "start_failed", "no \"luck\"\n");
    op_end(op, &bad);
    CHECK(store_commit(&k, &e) == 1);
    CHECK(store_answer_of(&k, "default", 0, "POST k2", &a, &e) == 0);
    CHECK(store_answer_of(&k, "default", op->number, NULL, &a, &e) == 1
        && a.http_status == 503);
    CHECK(strstr(a.answer, "no \\\"luck\\\"\\n") != NULL);
    free(a.answer);
    CHECK(store_next_ended(&k) == op);
    op_free(op);
    CHECK(store_knew(&k, "one") && !store_knew(&k, "never"));
    close_all(&k);
}

/* ---- places -------------------------------------------------------------- */

static void test_places(void)
{
    struct keeper   k;
    struct sandbox *a, *b;
    struct err      e = { 0 };
    int64_t         uid, addr;

    open_all(&k);
    a = make(&k, "pa", NULL);
    b = make(&k, "pb", NULL);
    CHECK(a->uid != b->uid && a->addr != b->addr);
    uid = a->uid;
    addr = a->addr;
    a->erased = true;
    store_dirty(a);
    CHECK(store_commit(&k, &e) == 1);
    CHECK(store_next_gone(&k) == a);
    sandbox_free(a);
    a = make(&k, "pc", NULL);   /* what was freed rests a while */
    CHECK(a->uid != uid && a->addr != addr);
    CHECK(store_commit(&k, &e) == 1);
    close_all(&k);
}

int main(void)
{
    struct err e = { 0 };
    char       text[200], clean[64];

    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(text, sizeof(text), "data_dir=%s\n", folder);
    if (settings_parse(&s, text, strlen(text), "test", &e) != 0) {
        printf("FAIL %s\n", e.msg);
        return 1;
    }
    test_again();
    test_sealed();
    test_full();
    test_ops();
    test_places();
    snprintf(clean, sizeof(clean), "%s/db", folder);
    settings_fini(&s);
    snprintf(text, sizeof(text), "%s/holdfast.db", clean);
    unlink(text);
    snprintf(text, sizeof(text), "%s/holdfast.db-wal", clean);
    unlink(text);
    snprintf(text, sizeof(text), "%s/holdfast.db-shm", clean);
    unlink(text);
    rmdir(clean);
    rmdir(folder);
    return test_end();
}
