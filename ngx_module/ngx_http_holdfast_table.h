
/*
 * The route table in shared memory (ngx_http_holdfast_table.c specifies it).
 */


#ifndef _NGX_HTTP_HOLDFAST_TABLE_H_INCLUDED_
#define _NGX_HTTP_HOLDFAST_TABLE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "line.h"
#include "ngx_http_holdfast_host.h"


/* of an entry; ABSENT is what a look-up says, FREE is no entry at all */
#define NGX_HTTP_HOLDFAST_FREE     0
#define NGX_HTTP_HOLDFAST_AWAKE    1
#define NGX_HTTP_HOLDFAST_PARKED   2
#define NGX_HTTP_HOLDFAST_GONE     3
#define NGX_HTTP_HOLDFAST_ABSENT   4

#define NGX_HTTP_HOLDFAST_PRIVATE   0x01
#define NGX_HTTP_HOLDFAST_WAKE_ANY  0x02
#define NGX_HTTP_HOLDFAST_DECLARED  0x04

#define NGX_HTTP_HOLDFAST_V6        2
#define NGX_HTTP_HOLDFAST_RATES     1024
#define NGX_HTTP_HOLDFAST_SLOTS     256
#define NGX_HTTP_HOLDFAST_KINDS     5       /* modes that are counted */
#define NGX_HTTP_HOLDFAST_HELD_BUCKETS   11


typedef struct {
    uint32_t           next;            /* index + 1 in chain or free list */
    uint8_t            state;
    uint8_t            flags;
    uint8_t            wakes;           /* enum line_wakes */
    uint8_t            referenced;      /* for eviction */
    uint8_t            id_len;
    uint8_t            host_len;
    uint8_t            nports;
    uint8_t            dirty;           /* to be told to Redis */
    uint16_t           v6[NGX_HTTP_HOLDFAST_V6];    /* ports on ::1 only */
    uint32_t           next_s;          /* idle so long: the next rung */
    uint64_t           share_epoch;
    uint64_t           generation;
    uint64_t           tenant;
    uint64_t           stamp;           /* last activity, monotonic ms */
    u_char             id[NGX_HTTP_HOLDFAST_ID_MAX];
    uint16_t           ports[LINE_PORTS_MAX];
    u_char             host[LINE_HOST_MAX];
    uint16_t           active[];        /* slots + 1, then quiet[] */
} ngx_http_holdfast_entry_t;


typedef struct {                        /* a copy of an entry's fields */
    ngx_uint_t         state;
    uint64_t           generation;
    uint64_t           ask;             /* max(entry, floor) */
    uint64_t           tenant;
    uint64_t           share_epoch;
    ngx_uint_t         flags;
    ngx_uint_t         wakes;
    ngx_uint_t         v6;              /* the port asked for is on ::1 */
    ngx_uint_t         closed;          /* the port is not declared */
    ngx_http_holdfast_entry_t  *entry;  /* that it was copied from, or NULL */
    size_t             host_len;
    u_char             host[LINE_HOST_MAX];
} ngx_http_holdfast_route_t;


typedef struct {
    ngx_atomic_t       asks;            /* W lines */
    ngx_atomic_t       wakes;           /* of these, wake */
    ngx_atomic_t       held;            /* requests that were held */
    ngx_atomic_t       held_ms;
    ngx_atomic_t       overflows;       /* refused: a hold limit */
    ngx_atomic_t       timeouts;        /* held too long */
    ngx_atomic_t       failed;          /* answered "failed" */
    ngx_atomic_t       parks_ok;
    ngx_atomic_t       parks_busy;
    ngx_atomic_t       parks_stale;
    ngx_atomic_t       evicted;
    ngx_atomic_t       full;
    ngx_atomic_t       refused;         /* connects */
    ngx_atomic_t       sockets;         /* taken from the door */
    ngx_atomic_t       unauthorized;
    ngx_atomic_t       denied;          /* private previews */
    ngx_atomic_t       limited;         /* 429 */
    ngx_atomic_t       goodbyes;        /* 1001 */
    ngx_atomic_t       requests[NGX_HTTP_HOLDFAST_KINDS][6];
    ngx_atomic_t       held_below[NGX_HTTP_HOLDFAST_HELD_BUCKETS + 1];
    ngx_atomic_t       held_sum;        /* ms */
} ngx_http_holdfast_counts_t;


typedef struct {
    uint32_t           pid;
    uint8_t            linked;
    uint32_t           holding;
    uint32_t           spares;
    uint32_t           inside;          /* sums of the slot's columns */
    uint32_t           quiet;
    uint32_t           streams;         /* readers of event streams */
} ngx_http_holdfast_slot_t;


typedef struct {
    uint32_t           version;
    uint32_t           nslots;          /* the overflow column is nslots */
    uint32_t           nentries;
    uint32_t           nbuckets;
    uint32_t           used;
    uint32_t           free;            /* index + 1 */
    uint32_t           fresh;           /* entries never used begin here */
    uint32_t           hand;
    size_t             entry_size;
    uint64_t           name;            /* of this table, random */
    uint64_t           epoch;
    uint64_t           floor;           /* of inserts: evicted generations */
    uint64_t           revoked;         /* routes up to here are asked again */
    uint64_t           highest;         /* generation seen */
    u_char             node[65];
    size_t             node_len;
    ngx_http_holdfast_counts_t  counts;
    ngx_http_holdfast_slot_t    slots[NGX_HTTP_HOLDFAST_SLOTS + 1];
    uint64_t           rates[NGX_HTTP_HOLDFAST_RATES];  /* in us */
    uint32_t           buckets[];       /* index + 1; the entries follow */
} ngx_http_holdfast_table_t;


/* set when the zone is made; NULL in a process without the module's http{} */
extern ngx_http_holdfast_table_t  *ngx_http_holdfast_table;

#define ngx_http_holdfast_count(field)                                       \
    (void) ngx_atomic_fetch_add(&ngx_http_holdfast_table->counts.field, 1)


#define ngx_http_holdfast_quiet(e)                                           \
    ((uint8_t *) ((e)->active + ngx_http_holdfast_table->nslots + 1))


#define ngx_http_holdfast_refer(e)                                           \
    if (!(e)->referenced) {                                                  \
        (e)->referenced = 1;                                                 \
    }


ngx_int_t ngx_http_holdfast_table_zone(ngx_shm_zone_t *zone, void *data);
ngx_int_t ngx_http_holdfast_slots_open(ngx_log_t *log);
ngx_int_t ngx_http_holdfast_table_attach(ngx_cycle_t *cycle);
void ngx_http_holdfast_table_detach(void);
ngx_http_holdfast_slot_t *ngx_http_holdfast_table_slot(ngx_uint_t *n);
ngx_uint_t ngx_http_holdfast_slot_lives(ngx_uint_t slot);

void ngx_http_holdfast_table_lock(void);
void ngx_http_holdfast_table_unlock(void);

/* under the lock */
ngx_http_holdfast_entry_t *ngx_http_holdfast_table_find(const u_char *id,
    size_t len);
ngx_http_holdfast_entry_t *ngx_http_holdfast_table_insert(const u_char *id,
    size_t len);
ngx_http_holdfast_entry_t *ngx_http_holdfast_table_entry(uint32_t n);
uint32_t ngx_http_holdfast_table_number(ngx_http_holdfast_entry_t *e);
void ngx_http_holdfast_table_empty(void);
ngx_uint_t ngx_http_holdfast_entry_busy(ngx_http_holdfast_entry_t *e);
ngx_uint_t ngx_http_holdfast_entry_active(ngx_http_holdfast_entry_t *e);
ngx_uint_t ngx_http_holdfast_entry_quiet(ngx_http_holdfast_entry_t *e);

/* take the lock themselves */
void ngx_http_holdfast_table_read(const u_char *id, size_t len,
    ngx_uint_t port, ngx_http_holdfast_route_t *route);
ngx_http_holdfast_entry_t *ngx_http_holdfast_table_enter(
    ngx_http_holdfast_route_t *route, const u_char *id, size_t len,
    ngx_uint_t stamp);
void ngx_http_holdfast_table_leave(ngx_http_holdfast_entry_t *e,
    ngx_uint_t stamp);
ngx_uint_t ngx_http_holdfast_table_rate(uint32_t key, ngx_uint_t per_s);

/* quiet connections (ngx_http_holdfast_quiet.c) */
void ngx_http_holdfast_table_hush(ngx_http_holdfast_entry_t *e);
ngx_uint_t ngx_http_holdfast_table_rouse(ngx_http_holdfast_entry_t *e);
void ngx_http_holdfast_table_part(ngx_http_holdfast_entry_t *e);

/* what is there already is not written: other workers read the same line */
#define ngx_http_holdfast_table_stamp(e)                                     \
    if ((e)->stamp != ngx_current_msec) {                                    \
        (e)->stamp = ngx_current_msec;                                       \
    }

/* what a line of the keeper does to the table (ngx_http_holdfast_route.c) */

#define NGX_HTTP_HOLDFAST_APPLIED  0
#define NGX_HTTP_HOLDFAST_IGNORED  1
#define NGX_HTTP_HOLDFAST_FULL     2

ngx_uint_t ngx_http_holdfast_route_apply(const struct line *line);
void ngx_http_holdfast_route_epoch(const struct line *line);
void ngx_http_holdfast_route_park(const struct line *in, struct line *out);
void ngx_http_holdfast_route_inflight(const struct line *in,
    struct line *out);
void ngx_http_holdfast_route_hello(struct line *out, u_char *node);
ngx_int_t ngx_http_holdfast_route_greeted(const struct line *in,
    ngx_log_t *log);
void ngx_http_holdfast_route_unlinked(void);


#endif /* _NGX_HTTP_HOLDFAST_TABLE_H_INCLUDED_ */
