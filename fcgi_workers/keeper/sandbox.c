/*
 * sandbox: see sandbox.h.
 *
 * Owns the hash of sandboxes, the tenants, the counts per rung and per tenant,
 * and which uids and addresses are taken. Never writes to SQLite.
 */
#include "sandbox.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/clock.h"
#include "../common/log.h"
#include "machine.h"
#include "store.h"

#define HASH_MIN      1024
#define ADDR_SKIP     16        /* the range's first addresses stay ours */

struct sandboxes {
    struct sandbox **hash;
    size_t           nhash;     /* a power of two */
    size_t           count;
    size_t           per_rung[RUNG_COUNT];
    struct tenant   *tenants;
    unsigned char   *uids, *addrs;      /* one bit each */
    size_t           nplaces;
    uint32_t         addr_base;
    size_t           next_uid, next_addr;
};

bool rung_at_rest(enum rung r)
{
    return r == RUNG_RUNNING || r == RUNG_FROZEN || r == RUNG_STOPPED
        || r == RUNG_ARCHIVED || r == RUNG_ERROR || r == RUNG_DELETED;
}

bool rung_awake(enum rung r)
{
    return r == RUNG_CREATING || r == RUNG_STARTING || r == RUNG_RUNNING
        || r == RUNG_FREEZING || r == RUNG_THAWING;
}

void sandbox_text(char **field, const char *value)
{
    char *own = NULL;

    if (value != NULL) {
        own = strdup(value);
        if (own == NULL)
            log_fatal("out of memory");
    }
    free(*field);
    *field = own;
}

/* ---- places: uids and addresses ------------------------------------------ */

static int places_open(struct keeper *k, struct err *e)
{
    struct sandboxes *b = k->boxes;
    struct in_addr    in;
    unsigned          bits;
    char              net[32];
    size_t            size;

    if (sscanf(k->s->addr_range, "%31[0-9.]/%u", net, &bits) != 2
        || inet_pton(AF_INET, net, &in) != 1 || bits < 8 || bits > 26)
        return err_set(e, "internal", "addr_range must be an IPv4 range "
            "between /8 and /26");
    b->addr_base = ntohl(in.s_addr) & (uint32_t) ~((1ULL << (32 - bits)) - 1);
    size = (size_t) 1 << (32 - bits);
    b->nplaces = size < 1048576 ? size : 1048576;
    b->uids = calloc(1, b->nplaces / 8 + 1);
    b->addrs = calloc(1, b->nplaces / 8 + 1);
    if (b->uids == NULL || b->addrs == NULL)
        return err_set(e, "internal", "out of memory");
    b->next_addr = ADDR_SKIP;
    return 0;
}

static void place_set(struct sandboxes *b, unsigned char *map, int64_t n,
    bool taken)
{
    if (n < 0 || (uint64_t) n >= b->nplaces)
        return;                 /* of a range that was set once */
    if (taken)
        map[n / 8] |= (unsigned char) (1u << (n % 8));
    else
        map[n / 8] &= (unsigned char) ~(1u << (n % 8));
}

/* Goes on behind the last one given, so that what is freed rests a while. */
static int place_next(struct sandboxes *b, const unsigned char *map,
    size_t from, size_t *next, int64_t *out)
{
    size_t i, n;

    for (i = 0; i < b->nplaces; i++) {
        n = (*next + i) % (b->nplaces - 1);
        if (n < from || (map[n / 8] >> (n % 8) & 1) != 0)
            continue;
        *next = n + 1;
        *out = (int64_t) n;
        return 0;
    }
    return -1;
}

int sandbox_places(struct keeper *k, int64_t *uid, int64_t *addr)
{
    struct sandboxes *b = k->boxes;
    int64_t           nuid, naddr;

    if (place_next(b, b->uids, 0, &b->next_uid, &nuid) == -1
        || place_next(b, b->addrs, ADDR_SKIP, &b->next_addr, &naddr) == -1)
        return -1;
    *uid = k->s->uid_base + nuid;
    *addr = (int64_t) b->addr_base + naddr;
    return 0;
}

uint32_t sandbox_ifnumber(const struct sandbox *sb)
{
    return (uint32_t) (sb->addr - (int64_t) sb->k->boxes->addr_base);
}

/* ---- tenants and counts -------------------------------------------------- */

struct tenant *tenant_of(struct keeper *k, const char *name)
{
    struct tenant *t;

    for (t = k->boxes->tenants; t != NULL; t = t->next) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    t = calloc(1, sizeof(*t) + strlen(name) + 1);
    if (t == NULL)
        log_fatal("out of memory");
    memcpy(t->name, name, strlen(name) + 1);
    t->tag = crypt_tenant_tag(name);
    t->next = k->boxes->tenants;
    k->boxes->tenants = t;
    return t;
}

/* Takes the sandbox out of every sum, or puts it in as it stands now. */
static void sandbox_account(struct sandbox *sb, bool in)
{
    struct tenant *t = sb->tenant;
    bool           counts, awake;

    counts = in && !rung_is_gone(sb->rung);
    awake = in && rung_awake(sb->rung);
    if (sb->counted) {
        t->count--;
        t->disk_mb -= sb->disk_mb;
    }
    if (sb->counted_awake) {
        t->awake--;
        t->awake_mb -= sb->memory_mb;
    }
    sb->counted = counts;
    sb->counted_awake = awake;
    if (counts) {
        t->count++;
        t->disk_mb += sb->disk_mb;
    }
    if (awake) {
        t->awake++;
        t->awake_mb += sb->memory_mb;
    }
}

void sandbox_rung(struct sandbox *sb, enum rung r)
{
    struct sandboxes *b = sb->k->boxes;

    b->per_rung[sb->rung]--;
    sb->rung = r;
    b->per_rung[r]++;
    sandbox_account(sb, true);
    store_dirty(sb);
}

uint64_t sandbox_next_generation(struct keeper *k)
{
    return ++k->generation;
}

void sandbox_why(struct sandbox *sb, const struct err *e)
{
    sb->error_code = e == NULL ? NULL : e->code;
    sb->retry_after_s = e == NULL ? 0 : e->retry_after_s;
    sandbox_text(&sb->error_message, e == NULL ? NULL : e->msg);
    store_dirty(sb);
}

void sandbox_error(const struct sandbox *sb, struct err *e)
{
    err_set(e, sb->error_code != NULL ? sb->error_code : "start_failed",
        "%s", sb->error_message != NULL ? sb->error_message
        : "the sandbox could not be started");
    e->retry_after_s = sb->retry_after_s;
}

/* ---- the hash ------------------------------------------------------------ */

static size_t hash_of(const struct sandboxes *b, const char *id, size_t len)
{
    uint64_t h = 1469598103934665603u;
    size_t   i;

    for (i = 0; i < len; i++)
        h = (h ^ (unsigned char) id[i]) * 1099511628211u;
    return (size_t) (h ^ h >> 32) & (b->nhash - 1);
}

static int hash_grow(struct sandboxes *b)
{
    struct sandbox **old = b->hash, *sb, *next;
    size_t           nold = b->nhash, i, slot;

    b->hash = calloc(nold == 0 ? HASH_MIN : nold * 2, sizeof(*b->hash));
    if (b->hash == NULL) {
        b->hash = old;
        return -1;
    }
    b->nhash = nold == 0 ? HASH_MIN : nold * 2;
    for (i = 0; i < nold; i++) {
        for (sb = old[i]; sb != NULL; sb = next) {
            next = sb->next_hash;
            slot = hash_of(b, sb->id, strlen(sb->id));
            sb->next_hash = b->hash[slot];
            b->hash[slot] = sb;
        }
    }
    free(old);
    return 0;
}

struct sandbox *sandbox_find_n(struct keeper *k, const char *id, size_t len)
{
    struct sandbox *sb;

    sb = k->boxes->hash[hash_of(k->boxes, id, len)];
    while (sb != NULL && (sb->erased || strncmp(sb->id, id, len) != 0
            || sb->id[len] != '\0'))
        sb = sb->next_hash;
    return sb;
}

struct sandbox *sandbox_find(struct keeper *k, const char *id)
{
    return sandbox_find_n(k, id, strlen(id));
}

void sandbox_each(struct keeper *k, void (*fn)(struct sandbox *, void *),
    void *arg)
{
    struct sandbox *sb, *next;
    size_t          i;

    for (i = 0; i < k->boxes->nhash; i++) {
        for (sb = k->boxes->hash[i]; sb != NULL; sb = next) {
            next = sb->next_hash;
            fn(sb, arg);
        }
    }
}

size_t sandbox_count(const struct keeper *k)
{
    return k->boxes->count;
}

size_t sandbox_count_rung(const struct keeper *k, enum rung r)
{
    return k->boxes->per_rung[r];
}

/* ---- rows ---------------------------------------------------------------- */

/* The numbers of a list, or of its objects' member `port`. */
static uint8_t sandbox_ports(const char *text, uint16_t out[LINE_PORTS_MAX])
{
    struct json_object *list = text != NULL ? json_tokener_parse(text) : NULL;
    struct json_object *one, *port;
    size_t              i, len = 0;
    int64_t             number;
    uint8_t             n = 0;

    if (json_object_is_type(list, json_type_array))
        len = json_object_array_length(list);
    for (i = 0; i < len && n < LINE_PORTS_MAX; i++) {
        one = json_object_array_get_idx(list, i);
        if (json_object_is_type(one, json_type_object)) {
            if (!json_object_object_get_ex(one, "port", &port))
                continue;
            one = port;
        }
        number = json_object_get_int64(one);
        if (number > 0 && number <= 65535)
            out[n++] = (uint16_t) number;
    }
    json_object_put(list);
    return n;
}

static bool is(const char *s, const char *word)
{
    return s != NULL && strcmp(s, word) == 0;
}

int sandbox_configure(struct sandbox *sb, const struct row *r)
{
    sandbox_account(sb, false);
    sandbox_text(&sb->image, r->image);
    sandbox_text(&sb->host_mode,
        r->host_header != NULL ? r->host_header : "public");
    sb->nports = sandbox_ports(r->ports, sb->ports);
    sb->nservice_ports = sandbox_ports(r->services, sb->service_ports);
    sb->is_private = is(r->visibility, "private");
    sb->wake_any = is(r->wake_on, "any");
    sb->declared_only = is(r->ports_policy, "declared");
    sb->always_on = is(r->idle_policy, "always_on");
    sb->memory_mb = r->memory_mb;
    sb->cpus_milli = r->cpus_milli;
    sb->pids = r->pids;
    sb->disk_mb = r->disk_mb;
    sb->idle_s = r->idle_s;
    sb->freeze_s = r->freeze_s;
    sb->share_epoch = r->share_epoch;
    sb->keepalive_ms = r->keepalive_ms;
    sb->expires_ms = r->expires_ms;
    machine_expiry(sb);
    sandbox_account(sb, true);
    return 0;
}

static void sandbox_again_due(struct timer *t)
{
    machine_look(t->owner);
}

/* What stop.c wrote when it last slept. */
static int64_t sandbox_needed(const char *last_status)
{
    static const char word[] = "\"memory_mb\":";
    const char       *at = last_status != NULL ? strstr(last_status, word)
        : NULL;

    return at != NULL ? strtoll(at + sizeof(word) - 1, NULL, 10) : 0;
}

struct sandbox *sandbox_add(struct keeper *k, const struct row *r)
{
    struct sandboxes *b = k->boxes;
    struct sandbox   *sb;
    size_t            slot;

    if (b->count >= b->nhash && hash_grow(b) == -1)
        return NULL;
    sb = calloc(1, sizeof(*sb));
    if (sb == NULL)
        return NULL;
    sb->k = k;
    sb->queue_end = &sb->queue;
    sb->again.owner = sb;
    sb->again.due = sandbox_again_due;
    memcpy(sb->id, r->id, sizeof(sb->id));
    sb->rung = r->rung;
    sb->tenant = tenant_of(k, r->tenant);
    sb->generation = (uint64_t) r->generation;
    sb->uid = r->uid;
    sb->addr = r->addr;
    sb->stopped_by = (int) r->stopped_by;
    sb->created_ms = r->created_ms;
    sb->updated_ms = r->updated_ms;
    sb->active_ms = r->active_ms;
    sb->started_ms = r->started_ms;
    sb->stopped_ms = r->stopped_ms;
    sb->pid = (int32_t) r->pid;
    sandbox_text(&sb->engine_ref, r->engine_ref);
    sandbox_text(&sb->last_status, r->last_status);
    sb->need_mb = sandbox_needed(r->last_status);
    sandbox_text(&sb->error_message, r->error_message);
    slot = hash_of(b, sb->id, strlen(sb->id));
    sb->next_hash = b->hash[slot];
    b->hash[slot] = sb;
    b->count++;
    b->per_rung[sb->rung]++;
    place_set(b, b->uids, sb->uid - k->s->uid_base, true);
    place_set(b, b->addrs, sb->addr - (int64_t) b->addr_base, true);
    sandbox_configure(sb, r);
    return sb;
}

void sandbox_free(struct sandbox *sb)
{
    struct sandboxes *b = sb->k->boxes;
    struct sandbox  **at;

    at = &b->hash[hash_of(b, sb->id, strlen(sb->id))];
    while (*at != sb)
        at = &(*at)->next_hash;
    *at = sb->next_hash;
    b->count--;
    b->per_rung[sb->rung]--;
    sandbox_account(sb, false);
    place_set(b, b->uids, sb->uid - sb->k->s->uid_base, false);
    place_set(b, b->addrs, sb->addr - (int64_t) b->addr_base, false);
    loop_timer_clear(sb->k->loop, &sb->expires);
    loop_timer_clear(sb->k->loop, &sb->again);
    free(sb->image);
    free(sb->engine_ref);
    free(sb->spec_hash);
    free(sb->last_status);
    free(sb->host_mode);
    free(sb->error_message);
    free(sb->archive_ref);
    free(sb);
}

static int sandbox_loaded(void *arg, const struct row *r, const char *hash,
    const char *archive_ref, int64_t ws_epoch)
{
    struct sandbox *sb = sandbox_add(arg, r);

    if (sb == NULL)
        return -1;
    sb->ws_epoch = ws_epoch;
    sandbox_text(&sb->spec_hash, hash);
    sandbox_text(&sb->archive_ref, archive_ref);
    sb->unproven = rung_awake(sb->rung) || sb->rung == RUNG_FROZEN;
    sb->plugged = sb->unproven || !rung_at_rest(sb->rung);
    return 0;
}

int sandboxes_open(struct keeper *k, struct err *e)
{
    k->boxes = calloc(1, sizeof(*k->boxes));
    if (k->boxes == NULL || hash_grow(k->boxes) == -1)
        return err_set(e, "internal", "out of memory");
    if (places_open(k, e) == -1)
        return -1;
    return store_each_row(k->store, sandbox_loaded, k, e);
}

void sandboxes_close(struct keeper *k)
{
    struct sandboxes *b = k->boxes;
    struct sandbox   *sb, *next;
    struct tenant    *t;
    size_t            i;

    if (b == NULL)
        return;
    for (i = 0; i < b->nhash; i++) {
        for (sb = b->hash[i]; sb != NULL; sb = next) {
            next = sb->next_hash;
            sandbox_free(sb);
        }
    }
    while ((t = b->tenants) != NULL) {
        b->tenants = t->next;
        free(t);
    }
    free(b->hash);
    free(b->uids);
    free(b->addrs);
    free(b);
    k->boxes = NULL;
}
