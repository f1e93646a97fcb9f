/*
 * copier: see copier.h.
 *
 * Owns the connection to the keeper and a read-only handle of the database,
 * which is opened anew with each connection: a backup may have been restored
 * while the keeper was away. Without a keeper it looks once a second.
 */
#include "copier.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/buf.h"
#include "../common/clock.h"
#include "../common/crypt.h"
#include "../common/db.h"
#include "../common/frames.h"
#include "../common/log.h"
#include "../common/msg.h"
#include "../common/outbox.h"
#include "../common/render.h"

#define BATCH   256             /* rows of one sync */
#define ROUNDS  16              /* batches before the loop has its turn */
#define TICK_MS 1000
#define COMPLAIN_AT 3           /* the keeper may be making its database */

struct copier {
    struct loop           *loop;
    const struct settings *s;
    struct streams        *streams;
    struct teller         *teller;
    struct watch           keeper;      /* fd -1: not connected */
    struct timer           tick, more;
    sqlite3               *db;
    sqlite3_stmt          *rows;
    char                   node[64];
    int64_t                copied;
    struct buf             data;
    int                    failures;    /* in a row */
};

/* ---- the database -------------------------------------------------------- */

static void copier_shut(struct copier *c)
{
    sqlite3_finalize(c->rows);
    sqlite3_close(c->db);
    c->rows = NULL;
    c->db = NULL;
    c->node[0] = '\0';
    c->copied = 0;
}

static int64_t copier_number(struct copier *c, const char *sql, char *text,
    size_t cap, struct err *e)
{
    sqlite3_stmt *s;
    int64_t       n = 0;

    if (db_prepare(c->db, sql, &s, e) == -1)
        return -1;
    if (sqlite3_step(s) == SQLITE_ROW) {
        n = sqlite3_column_int64(s, 0);
        if (text != NULL)
            snprintf(text, cap, "%s", (const char *)
                sqlite3_column_text(s, 0));
    }
    sqlite3_finalize(s);
    return n;
}

/* Stored with the keeper's first turn, so before any event. */
static int copier_node(struct copier *c, struct err *e)
{
    if (c->node[0] != '\0')
        return 0;
    if (copier_number(c, "SELECT value FROM meta WHERE name='node_name'",
            c->node, sizeof(c->node), e) == -1)
        return -1;
    return c->node[0] != '\0' ? 0
        : err_set(e, "unavailable", "this machine has no name yet");
}

static int copier_db(struct copier *c, struct err *e)
{
    char    path[PATH_MAX];
    int64_t newest;

    if (c->db != NULL)
        return copier_node(c, e);
    snprintf(path, sizeof(path), "%s/db/holdfast.db", c->s->data_dir);
    if (access(path, R_OK) == -1)
        return err_set(e, "unavailable", "there is no database yet");
    if (db_open_reader(&c->db, path, e) == -1)
        return -1;
    newest = copier_number(c, "SELECT seq FROM sqlite_sequence"
        " WHERE name='outbox'", NULL, 0, e);
    if (newest == -1
        || db_prepare(c->db, "SELECT number,at_ms,tenant,sandbox,type,data,"
            "ends FROM outbox WHERE number>?1 ORDER BY number LIMIT ?2",
            &c->rows, e) == -1) {
        copier_shut(c);
        return -1;
    }
    streams_newest(c->streams, (uint64_t) newest);
    return copier_node(c, e);
}

/* ---- rows ---------------------------------------------------------------- */

/* {"at":…,"sandbox":…,"node":…, and what the row says. */
static void row_data(struct copier *c, sqlite3_stmt *s)
{
    const char *sandbox = (const char *) sqlite3_column_text(s, 3);
    const char *data = (const char *) sqlite3_column_text(s, 5);
    struct buf *b = &c->data;

    buf_reset(b);
    buf_str(b, "{\"at\":");
    render_time(b, sqlite3_column_int64(s, 1));
    buf_str(b, ",\"sandbox\":");
    render_string(b, sandbox, strlen(sandbox));
    buf_str(b, ",\"node\":");
    render_string(b, c->node, strlen(c->node));
    if (data[0] == '{' && data[1] != '}') {
        buf_str(b, ",");
        buf_str(b, data + 1);
    } else {
        buf_str(b, "}");
    }
}

/* Frees the stream of a sandbox that is gone; what is before it must be
 * synced and told first, for those who read it. */
static int row_drop(struct copier *c, const char *name, uint64_t pos,
    struct err *e)
{
    if (streams_sync(c->streams, e) == -1)
        return -1;
    teller_flush(c->teller);
    return streams_drop(c->streams, name, pos, e);
}

static int row_copy(struct copier *c, sqlite3_stmt *s, struct err *e)
{
    const char         *tenant = (const char *) sqlite3_column_text(s, 2);
    const char         *sandbox = (const char *) sqlite3_column_text(s, 3);
    int                 ends = sqlite3_column_int(s, 6);
    struct stream_event ev;
    char                name[96];
    uint64_t            tag = crypt_tenant_tag(tenant);

    row_data(c, s);
    if (c->data.failed)
        return err_set(e, "internal", "out of memory");
    ev.type = (const char *) sqlite3_column_text(s, 4);
    ev.data = c->data.data;
    ev.pos = (uint64_t) sqlite3_column_int64(s, 0);
    ev.ends = false;
    snprintf(name, sizeof(name), "%016" PRIx64 "/all", tag);
    if (streams_append(c->streams, name, &ev, e) == -1)
        return -1;
    ev.ends = ends != OUTBOX_GOES_ON;
    snprintf(name, sizeof(name), "%016" PRIx64 "/s-%s", tag, sandbox);
    if (streams_append(c->streams, name, &ev, e) == -1)
        return -1;
    return ends == OUTBOX_DROPS ? row_drop(c, name, ev.pos, e) : 0;
}

static void copier_say(struct copier *c)
{
    struct outbox_said said = { .number = (uint64_t) c->copied };

    if (c->keeper.fd != -1 && c->copied > 0)
        msg_send(c->keeper.fd, &said, sizeof(said), NULL, 0);
}

/* Rows copied, or -1: what was not copied stays for the next time. */
static int copier_batch(struct copier *c, struct err *e)
{
    int64_t last = c->copied;
    int     n = 0, rc = 0, step = SQLITE_DONE;

    if (copier_db(c, e) == -1)
        return -1;
    sqlite3_bind_int64(c->rows, 1, c->copied);
    sqlite3_bind_int(c->rows, 2, BATCH);
    while (rc == 0 && (step = sqlite3_step(c->rows)) == SQLITE_ROW) {
        rc = row_copy(c, c->rows, e);
        if (rc == 0) {
            last = sqlite3_column_int64(c->rows, 0);
            n++;
        }
    }
    sqlite3_reset(c->rows);
    if (rc == 0 && step != SQLITE_DONE && (step & 0xff) != SQLITE_BUSY)
        rc = db_error(c->db, "reading the outbox", e);
    if (n > 0 && streams_sync(c->streams, e) == -1)
        return -1;
    c->copied = last;
    teller_flush(c->teller);
    if (n > 0)
        copier_say(c);
    return rc == -1 ? -1 : n;
}

static void copier_copy(struct copier *c)
{
    struct err e = { 0 };
    int        n = 0, i;

    for (i = 0; i < ROUNDS; i++) {
        n = copier_batch(c, &e);
        if (n < BATCH)
            break;
    }
    if (n != -1 && c->failures >= COMPLAIN_AT)
        log_info("events are copied again");
    c->failures = n == -1 ? c->failures + 1 : 0;
    if (c->failures == COMPLAIN_AT)
        log_warn("events wait to be copied: %s", e.msg);
    if (n == BATCH)
        loop_timer_set(c->loop, &c->more, 0);
}

static void copier_more(struct timer *t)
{
    copier_copy(t->owner);
}

/* ---- the keeper ---------------------------------------------------------- */

static void copier_left(struct copier *c)
{
    loop_remove(c->loop, &c->keeper);
    close(c->keeper.fd);
    c->keeper.fd = -1;
}

static void copier_told(struct watch *w, uint32_t events)
{
    struct copier     *c = w->owner;
    struct outbox_said said;
    ssize_t            n;
    bool               any = false;

    (void) events;
    while ((n = msg_recv(w->fd, &said, sizeof(said), NULL, NULL))
        == (ssize_t) sizeof(said))
        any = true;
    if (n != -1 || (errno != EAGAIN && errno != EWOULDBLOCK))
        copier_left(c);
    if (any)
        copier_copy(c);
}

static void copier_connect(struct copier *c)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/outbox.sock", c->s->run_dir);
    c->keeper.fd = msg_connect(path, SOCK_SEQPACKET);
    if (c->keeper.fd == -1)
        return;
    c->keeper.owner = c;
    c->keeper.ready = copier_told;
    if (loop_add(c->loop, &c->keeper, EPOLLIN) == -1) {
        close(c->keeper.fd);
        c->keeper.fd = -1;
        return;
    }
    copier_shut(c);
}

static void copier_tick(struct timer *t)
{
    struct copier *c = t->owner;

    if (c->keeper.fd == -1)
        copier_connect(c);
    copier_copy(c);
    loop_timer_set(c->loop, t, TICK_MS);
}

struct copier *copier_open(struct loop *l, const struct settings *s,
    struct streams *streams, struct teller *teller)
{
    struct copier *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->loop = l;
    c->s = s;
    c->streams = streams;
    c->teller = teller;
    c->keeper.fd = -1;
    buf_init(&c->data, FRAMES_MAX);
    c->tick.owner = c->more.owner = c;
    c->tick.due = copier_tick;
    c->more.due = copier_more;
    loop_timer_set(l, &c->tick, 0);
    return c;
}

void copier_close(struct copier *c)
{
    if (c == NULL)
        return;
    loop_timer_clear(c->loop, &c->tick);
    loop_timer_clear(c->loop, &c->more);
    if (c->keeper.fd != -1)
        copier_left(c);
    copier_shut(c);
    buf_fini(&c->data);
    free(c);
}
