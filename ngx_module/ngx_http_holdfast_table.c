
/*
 * The route table in shared memory: what it is and how it is kept.
 *
 * A route says "awake at generation g", or it says nothing that a request
 * could be sent by.  The table is a cache of what the keeper knows: it begins
 * empty, may forget, and never has to be seeded.  This file owns the memory;
 * ngx_http_holdfast_slot.c has the slots of the workers and the counts,
 * ngx_http_holdfast_route.c says what a line of the keeper does to it.  Nothing
 * here does I/O.
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


static ngx_http_holdfast_entry_t *ngx_http_holdfast_table_evict(void);
static void ngx_http_holdfast_table_unlink(ngx_http_holdfast_entry_t *e);


ngx_http_holdfast_table_t  *ngx_http_holdfast_table;

static ngx_slab_pool_t     *ngx_http_holdfast_shpool;


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

    if (ngx_http_holdfast_slots_open(zone->shm.log) != NGX_OK) {
        return NGX_ERROR;
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
