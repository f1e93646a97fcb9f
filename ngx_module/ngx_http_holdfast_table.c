
/*
 * The route table in shared memory: what it is and how it is kept.
 *
 * A route says "awake at generation g", or it says nothing that a request
 * could be sent by.  The table is a cache of what the keeper knows: it begins
 * empty, may forget, and never has to be seeded.  This file owns the memory,
 * the slots of the workers and the counts; ngx_http_holdfast_route.c says what
 * a line of the keeper does to it.  Nothing here does I/O.
 *
 * Memory.  One allocation that takes all pages of the zone: the head, then
 * buckets, then entries of one fixed size, linked by index + 1 (0 is the end).
 * Entry: 255 bytes with 8 workers, rounded up to 256.
 *
 * Lock.  The mutex of the zone's slab pool, which the master opens by force if
 * a worker dies inside.  Everything but leave() is done under it; sections are
 * short and never run a request, write a log line or a socket.  What a death
 * may leave behind at each store:
 *   1. an entry is filled before it is linked: lost until the table is made
 *      anew, never seen half-made;
 *   2. a change of a route first takes the state away (ABSENT), then writes
 *      the fields, the state last: a torn route is one that is asked for.
 *
 * Slots.  Each worker has a slot, and each entry a column of counts per slot.
 * A slot is claimed at a worker's start by a record lock on one byte of a
 * memory file that master and workers share: the kernel drops the lock with
 * the process, so a slot whose lock is free belongs to nobody, whatever
 * happened to the pid.  A worker that claims a slot zeroes its column.  If no
 * slot is free (many reloads with old workers still serving), the last column
 * is used, shared by all who have none, and never ignored.
 *
 * Counts.  active[slot] is the number of requests of that worker that are in
 * flight, quiet[slot] that of its connections that carry nothing but
 * heartbeats.  Only the owner of a slot writes its column.
 *
 *   enter   under the lock: the route is awake at the generation that the
 *           caller has seen: active[slot]++, else nothing.
 *   leave   without the lock (but in the overflow column): the time is
 *           stamped, a barrier, active[slot]--.
 *
 * Invariants.
 *   1. An entry with a count in any column is not evicted nor moved, so its
 *      address may be kept by whoever entered.
 *   2. The generation of an entry only grows, but when the table is emptied
 *      for a newer epoch of the database.
 *   3. floor >= the generation of every entry that was evicted: an answer
 *      older than that is not inserted.
 *   4. highest >= every generation seen.
 *   5. A route with generation <= revoked reads as ABSENT: the table was
 *      without any link and may have missed a revocation.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_holdfast_table.h"


#define NGX_HTTP_HOLDFAST_TABLE_VERSION  3

/* entries looked at in search of one to evict, under the lock */
#define NGX_HTTP_HOLDFAST_SWEEP          512


static ngx_uint_t ngx_http_holdfast_entry_busy(ngx_http_holdfast_entry_t *e);
static ngx_http_holdfast_entry_t *ngx_http_holdfast_table_evict(void);
static void ngx_http_holdfast_table_unlink(ngx_http_holdfast_entry_t *e);
static ngx_int_t ngx_http_holdfast_table_lock_slot(int cmd, ngx_uint_t slot,
    struct flock *fl);


#define ngx_http_holdfast_quiet(e)                                           \
    ((uint8_t *) ((e)->active + ngx_http_holdfast_table->nslots + 1))


#define ngx_http_holdfast_refer(e)                                           \
    if (!(e)->referenced) {                                                  \
        (e)->referenced = 1;                                                 \
    }


ngx_http_holdfast_table_t  *ngx_http_holdfast_table;

static ngx_slab_pool_t     *ngx_http_holdfast_shpool;
static ngx_uint_t           ngx_http_holdfast_slot;
static int                  ngx_http_holdfast_slots_fd = -1;


ngx_int_t
ngx_http_holdfast_table_zone(ngx_shm_zone_t *zone, void *data)
{
    size_t                      size, head;
    uint32_t                    n;
    ngx_cycle_t                *cycle;
    ngx_core_conf_t            *ccf;
    ngx_slab_pool_t            *shpool;
    ngx_http_holdfast_table_t  *t;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (ngx_http_holdfast_slots_fd == -1) {
        ngx_http_holdfast_slots_fd = memfd_create("holdfast-slots",
                                                  MFD_CLOEXEC);
        if (ngx_http_holdfast_slots_fd == -1) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, ngx_errno,
                          "memfd_create() failed");
            return NGX_ERROR;
        }
    }

    if (data || zone->shm.exists) {
        zone->data = shpool->data;
        ngx_http_holdfast_table = shpool->data;
        ngx_http_holdfast_shpool = shpool;
        return NGX_OK;
    }

    /* what is free, less a little for the slab pool's own arithmetic */

    size = shpool->pfree * ngx_pagesize;

    t = ngx_slab_alloc(shpool, size);
    if (t == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "holdfast table does not fit into its zone");
        return NGX_ERROR;
    }

    cycle = zone->data;
    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    ngx_memzero(t, sizeof(ngx_http_holdfast_table_t));

    t->version = NGX_HTTP_HOLDFAST_TABLE_VERSION;
    t->nslots = ngx_min(2 * ngx_max(ccf->worker_processes, 1) + 8,
                        NGX_HTTP_HOLDFAST_SLOTS);
    t->entry_size = ngx_align(offsetof(ngx_http_holdfast_entry_t, active)
                              + (t->nslots + 1) * (sizeof(uint16_t)
                                                + sizeof(uint8_t)), 8);

    /* as many buckets as entries, to a power of two below */

    head = sizeof(ngx_http_holdfast_table_t);
    n = (size - head) / (t->entry_size + sizeof(uint32_t));

    for (t->nbuckets = 64; t->nbuckets * 2 <= n; t->nbuckets *= 2) {
        /* void */
    }

    head = ngx_align(head + t->nbuckets * sizeof(uint32_t), 64);

    t->nentries = (size - head) / t->entry_size;

    if (t->nentries < 16) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "\"holdfast_table\" is too small");
        return NGX_ERROR;
    }

    ngx_memzero(t->buckets, t->nbuckets * sizeof(uint32_t));

    t->name = ((uint64_t) ngx_random() << 33) ^ ((uint64_t) ngx_random() << 12)
              ^ ((uint64_t) ngx_time() << 20) ^ (uint64_t) ngx_pid;

    shpool->data = t;
    zone->data = t;

    ngx_http_holdfast_table = t;
    ngx_http_holdfast_shpool = shpool;

    return NGX_OK;
}


ngx_int_t
ngx_http_holdfast_table_attach(ngx_cycle_t *cycle)
{
    uint32_t                    i, n;
    ngx_uint_t                  slot;
    struct flock                fl;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    ngx_http_holdfast_table_lock();

    for (slot = 0; slot < t->nslots; slot++) {
        if (ngx_http_holdfast_table_lock_slot(F_SETLK, slot, &fl) == NGX_OK) {
            break;
        }
    }

    ngx_http_holdfast_slot = slot;

    if (slot < t->nslots) {

        for (i = 0; i < t->fresh; i++) {
            e = ngx_http_holdfast_table_entry(i);
            e->active[slot] = 0;
            e->dirty = 0;           /* its worker may be dead */
            ngx_http_holdfast_quiet(e)[slot] = 0;
        }

        ngx_memzero(&t->slots[slot], sizeof(ngx_http_holdfast_slot_t));
        t->slots[slot].pid = (uint32_t) ngx_pid;
    }

    n = t->nslots;

    ngx_http_holdfast_table_unlock();

    if (slot == n) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "all %uD slots of the holdfast table are taken, "
                      "sharing the last", n);
    }

    return NGX_OK;
}


void
ngx_http_holdfast_table_detach(void)
{
    if (ngx_http_holdfast_slot < ngx_http_holdfast_table->nslots) {
        ngx_http_holdfast_table->slots[ngx_http_holdfast_slot].pid = 0;
        ngx_http_holdfast_table->slots[ngx_http_holdfast_slot].linked = 0;
    }
}


ngx_http_holdfast_slot_t *
ngx_http_holdfast_table_slot(ngx_uint_t *n)
{
    if (n) {
        *n = ngx_http_holdfast_slot;
    }

    return &ngx_http_holdfast_table->slots[ngx_http_holdfast_slot];
}


/* The kernel says so, not a pid: that may belong to another by now. */

ngx_uint_t
ngx_http_holdfast_slot_lives(ngx_uint_t slot)
{
    struct flock  fl;

    if (slot == ngx_http_holdfast_slot
        || slot == ngx_http_holdfast_table->nslots)
    {
        return 1;
    }

    if (ngx_http_holdfast_table_lock_slot(F_GETLK, slot, &fl) != NGX_OK) {
        return 1;
    }

    return fl.l_type != F_UNLCK;
}


static ngx_int_t
ngx_http_holdfast_table_lock_slot(int cmd, ngx_uint_t slot, struct flock *fl)
{
    ngx_memzero(fl, sizeof(struct flock));

    fl->l_type = F_WRLCK;
    fl->l_whence = SEEK_SET;
    fl->l_start = (off_t) slot;
    fl->l_len = 1;

    return fcntl(ngx_http_holdfast_slots_fd, cmd, fl) == -1 ? NGX_ERROR
                                                            : NGX_OK;
}


void
ngx_http_holdfast_table_lock(void)
{
    ngx_shmtx_lock(&ngx_http_holdfast_shpool->mutex);
}


void
ngx_http_holdfast_table_unlock(void)
{
    ngx_shmtx_unlock(&ngx_http_holdfast_shpool->mutex);
}


ngx_http_holdfast_entry_t *
ngx_http_holdfast_table_entry(uint32_t n)
{
    u_char                     *p;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    p = (u_char *) t + ngx_align(sizeof(ngx_http_holdfast_table_t)
                                 + t->nbuckets * sizeof(uint32_t), 64);

    return (ngx_http_holdfast_entry_t *) (p + n * t->entry_size);
}


uint32_t
ngx_http_holdfast_table_number(ngx_http_holdfast_entry_t *e)
{
    return ((u_char *) e - (u_char *) ngx_http_holdfast_table_entry(0))
           / ngx_http_holdfast_table->entry_size;
}


ngx_http_holdfast_entry_t *
ngx_http_holdfast_table_find(const u_char *id, size_t len)
{
    uint32_t                    n, hash, steps;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    hash = ngx_crc32_long((u_char *) id, len);
    n = t->buckets[hash & (t->nbuckets - 1)];

    for (steps = 0; n && n <= t->nentries && steps < t->nentries; steps++) {

        e = ngx_http_holdfast_table_entry(n - 1);

        if (e->id_len == len && ngx_memcmp(e->id, id, len) == 0) {
            return e;
        }

        n = e->next;
    }

    return NULL;
}


/* A new entry in state ABSENT, or NULL: all are in flight. */

ngx_http_holdfast_entry_t *
ngx_http_holdfast_table_insert(const u_char *id, size_t len)
{
    uint32_t                    n, *bucket;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    if (t->free) {
        e = ngx_http_holdfast_table_entry(t->free - 1);
        n = t->free;
        t->free = e->next;

    } else if (t->fresh < t->nentries) {
        n = ++t->fresh;
        e = ngx_http_holdfast_table_entry(n - 1);

    } else {
        e = ngx_http_holdfast_table_evict();
        if (e == NULL) {
            ngx_http_holdfast_count(full);
            return NULL;
        }

        n = t->free;
        t->free = e->next;
    }

    ngx_memzero(e, t->entry_size);

    e->state = NGX_HTTP_HOLDFAST_ABSENT;
    e->stamp = ngx_current_msec;
    e->referenced = 1;
    e->id_len = (uint8_t) len;
    ngx_memcpy(e->id, id, len);

    bucket = &t->buckets[ngx_crc32_long((u_char *) id, len)
                         & (t->nbuckets - 1)];
    e->next = *bucket;
    ngx_memory_barrier();
    *bucket = n;

    t->used++;

    return e;
}


/*
 * A clock over the entries: one that was used since the hand last passed gets
 * another round.  The victim lies on the free list afterwards.
 */

static ngx_http_holdfast_entry_t *
ngx_http_holdfast_table_evict(void)
{
    ngx_uint_t                  i;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    for (i = 0; i < NGX_HTTP_HOLDFAST_SWEEP; i++) {

        t->hand = (t->hand + 1) % t->nentries;
        e = ngx_http_holdfast_table_entry(t->hand);

        if (e->state == NGX_HTTP_HOLDFAST_FREE
            || ngx_http_holdfast_entry_busy(e))
        {
            continue;
        }

        if (e->referenced && i < NGX_HTTP_HOLDFAST_SWEEP / 2) {
            e->referenced = 0;
            continue;
        }

        t->floor = ngx_max(t->floor, e->generation);
        ngx_http_holdfast_count(evicted);
        ngx_http_holdfast_table_unlink(e);

        return e;
    }

    return NULL;
}


static void
ngx_http_holdfast_table_unlink(ngx_http_holdfast_entry_t *e)
{
    uint32_t                   *link, n, steps;
    ngx_http_holdfast_entry_t  *o;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    n = ngx_http_holdfast_table_number(e) + 1;

    link = &t->buckets[ngx_crc32_long(e->id, e->id_len) & (t->nbuckets - 1)];

    for (steps = 0; *link && *link != n && steps < t->nentries; steps++) {
        o = ngx_http_holdfast_table_entry(*link - 1);
        link = &o->next;
    }

    if (*link == n) {
        *link = e->next;
    }

    e->state = NGX_HTTP_HOLDFAST_FREE;
    e->id_len = 0;
    e->next = t->free;
    t->free = n;
    t->used--;
}


/* For a newer epoch: counts stay, for their owners still hold the address. */

void
ngx_http_holdfast_table_empty(void)
{
    uint32_t                    i;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    for (i = 0; i < t->fresh; i++) {

        e = ngx_http_holdfast_table_entry(i);

        if (e->state == NGX_HTTP_HOLDFAST_FREE) {
            continue;
        }

        e->state = NGX_HTTP_HOLDFAST_ABSENT;
        e->generation = 0;

        if (!ngx_http_holdfast_entry_busy(e)) {
            ngx_http_holdfast_table_unlink(e);
        }
    }

    t->floor = 0;
    t->revoked = 0;
    t->highest = 0;
}


static ngx_uint_t
ngx_http_holdfast_entry_busy(ngx_http_holdfast_entry_t *e)
{
    uint32_t   i;
    uint8_t   *quiet;

    quiet = ngx_http_holdfast_quiet(e);

    for (i = 0; i <= ngx_http_holdfast_table->nslots; i++) {
        if (e->active[i] || quiet[i]) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_holdfast_entry_active(ngx_http_holdfast_entry_t *e)
{
    uint32_t    i;
    ngx_uint_t  n;

    n = 0;

    for (i = 0; i <= ngx_http_holdfast_table->nslots; i++) {
        if (e->active[i] && ngx_http_holdfast_slot_lives(i)) {
            n += e->active[i];
        }
    }

    return n;
}


ngx_uint_t
ngx_http_holdfast_entry_quiet(ngx_http_holdfast_entry_t *e)
{
    uint32_t    i;
    uint8_t    *quiet;
    ngx_uint_t  n;

    n = 0;
    quiet = ngx_http_holdfast_quiet(e);

    for (i = 0; i <= ngx_http_holdfast_table->nslots; i++) {
        if (quiet[i] && ngx_http_holdfast_slot_lives(i)) {
            n += quiet[i];
        }
    }

    return n;
}


void
ngx_http_holdfast_table_read(const u_char *id, size_t len, ngx_uint_t port,
    ngx_http_holdfast_route_t *route)
{
    ngx_uint_t                  i;
    ngx_http_holdfast_entry_t  *e;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    ngx_memzero(route, offsetof(ngx_http_holdfast_route_t, host));

    ngx_http_holdfast_table_lock();

    e = ngx_http_holdfast_table_find(id, len);

    if (e == NULL) {
        route->state = NGX_HTTP_HOLDFAST_ABSENT;
        route->ask = t->floor;
        ngx_http_holdfast_table_unlock();
        return;
    }

    ngx_http_holdfast_refer(e);

    route->entry = e;
    route->state = e->generation > t->revoked ? e->state
                                              : NGX_HTTP_HOLDFAST_ABSENT;
    route->generation = e->generation;
    route->ask = ngx_max(e->generation, t->floor);
    route->tenant = e->tenant;
    route->share_epoch = e->share_epoch;
    route->flags = e->flags;
    route->wakes = e->wakes;
    route->host_len = e->host_len;
    ngx_memcpy(route->host, e->host, ngx_min(e->host_len, LINE_HOST_MAX));

    for (i = 0; i < NGX_HTTP_HOLDFAST_V6; i++) {
        route->v6 |= (port && e->v6[i] == port);
    }

    route->closed = (e->flags & NGX_HTTP_HOLDFAST_DECLARED) && port;

    for (i = 0; i < ngx_min(e->nports, LINE_PORTS_MAX); i++) {
        if (e->ports[i] == port) {
            route->closed = 0;
        }
    }

    ngx_http_holdfast_table_unlock();
}


/*
 * The count goes up only if the route still is what the caller looked at:
 * what it decided about access belongs to that generation.  The entry may have
 * become another's since, or nobody's, so it is asked whose it is.
 */

ngx_http_holdfast_entry_t *
ngx_http_holdfast_table_enter(ngx_http_holdfast_route_t *route,
    const u_char *id, size_t len, ngx_uint_t stamp)
{
    ngx_http_holdfast_entry_t  *e;

    e = route->entry;

    if (e == NULL) {
        return NULL;
    }

    ngx_http_holdfast_table_lock();

    if (e->state != NGX_HTTP_HOLDFAST_AWAKE
        || e->generation != route->generation
        || e->id_len != len
        || ngx_memcmp(e->id, id, len) != 0
        || e->generation <= ngx_http_holdfast_table->revoked
        || e->active[ngx_http_holdfast_slot] == 65535)
    {
        ngx_http_holdfast_table_unlock();
        return NULL;
    }

    e->active[ngx_http_holdfast_slot]++;
    ngx_http_holdfast_refer(e);
    ngx_http_holdfast_table_slot(NULL)->inside++;

    if (stamp) {
        ngx_http_holdfast_table_stamp(e);
    }

    ngx_http_holdfast_table_unlock();

    return e;
}


void
ngx_http_holdfast_table_leave(ngx_http_holdfast_entry_t *e, ngx_uint_t stamp)
{
    ngx_uint_t  shared;

    shared = (ngx_http_holdfast_slot == ngx_http_holdfast_table->nslots);

    if (shared) {
        ngx_http_holdfast_table_lock();
    }

    if (stamp) {
        ngx_http_holdfast_table_stamp(e);
        ngx_memory_barrier();
    }

    if (e->active[ngx_http_holdfast_slot]) {
        e->active[ngx_http_holdfast_slot]--;
        ngx_http_holdfast_table_slot(NULL)->inside--;
    }

    if (shared) {
        ngx_http_holdfast_table_unlock();
    }
}


/*
 * An active connection becomes a quiet one.  quiet[] has room for 255 of a
 * worker; what is over is not counted, which only an inquiry can see.
 */

void
ngx_http_holdfast_table_hush(ngx_http_holdfast_entry_t *e)
{
    uint8_t  *quiet;

    ngx_http_holdfast_table_lock();

    quiet = ngx_http_holdfast_quiet(e);

    if (quiet[ngx_http_holdfast_slot] < 255) {
        quiet[ngx_http_holdfast_slot]++;
    }

    if (e->active[ngx_http_holdfast_slot]) {
        e->active[ngx_http_holdfast_slot]--;
        ngx_http_holdfast_table_slot(NULL)->inside--;
    }

    ngx_http_holdfast_table_slot(NULL)->quiet++;

    ngx_http_holdfast_table_unlock();
}


/* And active again; 0: the route is not awake, the caller has to ask. */

ngx_uint_t
ngx_http_holdfast_table_rouse(ngx_http_holdfast_entry_t *e)
{
    uint8_t     *quiet;
    ngx_uint_t   awake;

    ngx_http_holdfast_table_lock();

    awake = e->state == NGX_HTTP_HOLDFAST_AWAKE
            && e->active[ngx_http_holdfast_slot] < 65535;

    if (awake) {
        quiet = ngx_http_holdfast_quiet(e);

        e->active[ngx_http_holdfast_slot]++;
        e->stamp = ngx_current_msec;
        ngx_http_holdfast_table_slot(NULL)->inside++;
        ngx_http_holdfast_table_slot(NULL)->quiet--;

        /* 255 may stand for more: it stays until the slot is claimed anew */

        if (quiet[ngx_http_holdfast_slot] < 255
            && quiet[ngx_http_holdfast_slot])
        {
            quiet[ngx_http_holdfast_slot]--;
        }
    }

    ngx_http_holdfast_table_unlock();

    return awake;
}


/* A quiet connection has ended. */

void
ngx_http_holdfast_table_part(ngx_http_holdfast_entry_t *e)
{
    uint8_t  *quiet;

    ngx_http_holdfast_table_lock();

    quiet = ngx_http_holdfast_quiet(e);

    if (quiet[ngx_http_holdfast_slot] < 255 && quiet[ngx_http_holdfast_slot]) {
        quiet[ngx_http_holdfast_slot]--;
    }

    ngx_http_holdfast_table_slot(NULL)->quiet--;

    ngx_http_holdfast_table_unlock();
}


/*
 * Calls per second of one key, a burst of one second: 0, or the seconds after
 * which to try again.  A cell keeps the moment at which the caller has used
 * up what it had (in us); keys that meet in one cell share it.
 */

ngx_uint_t
ngx_http_holdfast_table_rate(uint32_t key, ngx_uint_t per_s)
{
    uint64_t         now, cost, *cell;
    ngx_uint_t       wait;
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    now = (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    cost = 1000000 / per_s;

    cell = &ngx_http_holdfast_table->rates[key % NGX_HTTP_HOLDFAST_RATES];

    ngx_http_holdfast_table_lock();

    if (*cell < now) {
        *cell = now;
    }

    wait = 0;

    if (*cell + cost > now + 1000000) {
        wait = (*cell + cost - now) / 1000000;
        wait = ngx_max(wait, 1);

    } else {
        *cell += cost;
    }

    ngx_http_holdfast_table_unlock();

    return wait;
}
