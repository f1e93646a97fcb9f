
/*
 * The slots of the workers in the route table, and the counts in them.
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
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_holdfast_table.h"


static ngx_int_t ngx_http_holdfast_table_lock_slot(int cmd, ngx_uint_t slot,
    struct flock *fl);


static ngx_uint_t  ngx_http_holdfast_slot;
static int         ngx_http_holdfast_slots_fd = -1;


/* Once; the descriptor stays with the master and its workers. */

ngx_int_t
ngx_http_holdfast_slots_open(ngx_log_t *log)
{
    if (ngx_http_holdfast_slots_fd != -1) {
        return NGX_OK;
    }

    ngx_http_holdfast_slots_fd = memfd_create("holdfast-slots", MFD_CLOEXEC);

    if (ngx_http_holdfast_slots_fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno, "memfd_create() failed");
        return NGX_ERROR;
    }

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


/* What a dead worker left counts, too: it may not be evicted. */

ngx_uint_t
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
