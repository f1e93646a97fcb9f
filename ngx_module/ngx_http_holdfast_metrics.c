
/*
 * The gate's figures, for people (JSON) and for Prometheus.
 *
 * All are in shared memory: any worker answers for all of them, and those of a
 * worker that died are not lost.  What is counted at the end of a request is
 * counted here; the rest where it happens.
 */


#include "ngx_http_holdfast_module.h"


typedef struct {
    const char  *name;
    const char  *help;
    size_t       offset;
} ngx_http_holdfast_figure_t;


typedef struct {                    /* of all workers that live */
    ngx_uint_t   workers;
    ngx_uint_t   links;
    ngx_uint_t   holding;
    ngx_uint_t   spares;
    ngx_uint_t   inside;
    ngx_uint_t   quiet;
    ngx_uint_t   streams;
} ngx_http_holdfast_now_t;


static ngx_int_t ngx_http_holdfast_metrics_log(ngx_http_request_t *r);
static void ngx_http_holdfast_now(ngx_http_holdfast_now_t *now);
static u_char *ngx_http_holdfast_metrics_requests(u_char *p);
static u_char *ngx_http_holdfast_metrics_held(u_char *p);


#define ngx_http_holdfast_figure(field, help)                                \
    { #field, help, offsetof(ngx_http_holdfast_counts_t, field) }

static const ngx_http_holdfast_figure_t  ngx_http_holdfast_figures[] = {
    ngx_http_holdfast_figure(asks, "Lines W sent to the keeper."),
    ngx_http_holdfast_figure(wakes, "Of these, asks for a wake."),
    ngx_http_holdfast_figure(held, "Requests that were held."),
    ngx_http_holdfast_figure(held_ms, "Milliseconds that they were held."),
    ngx_http_holdfast_figure(overflows, "Requests refused by a hold limit."),
    ngx_http_holdfast_figure(timeouts, "Requests held for too long."),
    ngx_http_holdfast_figure(failed, "Wakes that failed."),
    ngx_http_holdfast_figure(parks_ok, "Parks that were agreed to."),
    ngx_http_holdfast_figure(parks_busy, "Parks refused: in use."),
    ngx_http_holdfast_figure(parks_stale, "Parks of an older generation."),
    ngx_http_holdfast_figure(evicted, "Routes evicted from the table."),
    ngx_http_holdfast_figure(full, "Routes that found no place."),
    ngx_http_holdfast_figure(refused, "Connects refused by sandboxes."),
    ngx_http_holdfast_figure(sockets, "Sockets made by the door."),
    ngx_http_holdfast_figure(unauthorized, "Calls without a known token."),
    ngx_http_holdfast_figure(denied, "Visits of private previews refused."),
    ngx_http_holdfast_figure(limited, "Calls over the rate of a token."),
    ngx_http_holdfast_figure(goodbyes, "WebSockets closed before a stop."),
    { NULL, NULL, 0 }
};


static const ngx_http_holdfast_figure_t  ngx_http_holdfast_nows[] = {
    { "workers", "Workers that live.",
      offsetof(ngx_http_holdfast_now_t, workers) },
    { "links", "Of these, such that are linked to the keeper.",
      offsetof(ngx_http_holdfast_now_t, links) },
    { "holding", "Requests that are held now.",
      offsetof(ngx_http_holdfast_now_t, holding) },
    { "spares", "Sockets kept ready inside sandboxes.",
      offsetof(ngx_http_holdfast_now_t, spares) },
    { "inside", "Requests and connections in flight in sandboxes now.",
      offsetof(ngx_http_holdfast_now_t, inside) },
    { "quiet", "Of the long-lived, such that carry nothing but heartbeats.",
      offsetof(ngx_http_holdfast_now_t, quiet) },
    { "streams", "Event streams that are open now.",
      offsetof(ngx_http_holdfast_now_t, streams) },
    { NULL, NULL, 0 }
};


/* modes of "holdfast_gate" that are counted */

static const char  *ngx_http_holdfast_kinds[NGX_HTTP_HOLDFAST_KINDS] = {
    NULL, "preview", "exec", "api", "api"
};


static const ngx_msec_t  ngx_http_holdfast_buckets[] = {
    10, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000
};

static const char  *ngx_http_holdfast_bucket_names[] = {
    "0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60"
};


ngx_int_t
ngx_http_holdfast_metrics_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_holdfast_metrics_log;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_metrics_log(ngx_http_request_t *r)
{
    ngx_uint_t                   i, class;
    ngx_http_holdfast_ctx_t     *ctx;
    ngx_http_holdfast_counts_t  *counts;

    ctx = ngx_http_holdfast_find_ctx(r->main);

    if (ctx == NULL || ctx->mode >= NGX_HTTP_HOLDFAST_KINDS
        || ngx_http_holdfast_kinds[ctx->mode] == NULL)
    {
        return NGX_OK;
    }

    counts = &ngx_http_holdfast_table->counts;

    class = (r->err_status ? r->err_status : r->headers_out.status) / 100;

    if (class >= 6) {
        class = 0;
    }

    (void) ngx_atomic_fetch_add(&counts->requests[ctx->mode][class], 1);

    if (ctx->deadline == 0 || ctx->op || ctx->streaming) {
        return NGX_OK;
    }

    for (i = 0; i < NGX_HTTP_HOLDFAST_HELD_BUCKETS; i++) {
        if (ctx->held_ms <= ngx_http_holdfast_buckets[i]) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&counts->held_below[i], 1);
    (void) ngx_atomic_fetch_add(&counts->held_sum, ctx->held_ms);

    return NGX_OK;
}


static void
ngx_http_holdfast_now(ngx_http_holdfast_now_t *now)
{
    uint32_t                    i;
    ngx_http_holdfast_table_t  *t;

    t = ngx_http_holdfast_table;

    ngx_memzero(now, sizeof(ngx_http_holdfast_now_t));

    for (i = 0; i < t->nslots; i++) {

        if (t->slots[i].pid == 0 || !ngx_http_holdfast_slot_lives(i)) {
            continue;
        }

        now->workers++;
        now->links += t->slots[i].linked;
        now->holding += t->slots[i].holding;
        now->spares += t->slots[i].spares;
        now->inside += t->slots[i].inside;
        now->quiet += t->slots[i].quiet;
        now->streams += t->slots[i].streams;
    }
}


ngx_int_t
ngx_http_holdfast_json_handler(ngx_http_request_t *r)
{
    u_char                            *p;
    ngx_str_t                          body;
    ngx_http_holdfast_now_t            now;
    ngx_http_holdfast_table_t         *t;
    const ngx_http_holdfast_figure_t  *f;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    t = ngx_http_holdfast_table;

    ngx_http_holdfast_now(&now);

    p = ngx_pnalloc(r->pool, 4096);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;

    p = ngx_sprintf(p, "{\"table\":{\"name\":\"%016xL\",\"epoch\":%uL,"
                    "\"entries\":%uD,\"used\":%uD,\"entry_size\":%uz,"
                    "\"highest\":%uL,\"floor\":%uL}",
                    t->name, t->epoch, t->nentries, t->used, t->entry_size,
                    t->highest, t->floor);

    for (f = ngx_http_holdfast_nows; f->name; f++) {
        p = ngx_sprintf(p, ",\"%s\":%ui", f->name,
                        *(ngx_uint_t *) ((u_char *) &now + f->offset));
    }

    for (f = ngx_http_holdfast_figures; f->name; f++) {
        p = ngx_sprintf(p, ",\"%s\":%uA", f->name,
                        *(ngx_atomic_t *) ((u_char *) &t->counts + f->offset));
    }

    p = ngx_sprintf(p, "}\n");

    body.len = p - body.data;

    return ngx_http_holdfast_send(r, NGX_HTTP_OK, "application/json", &body);
}


ngx_int_t
ngx_http_holdfast_prometheus_handler(ngx_http_request_t *r)
{
    u_char                            *p;
    ngx_str_t                          body;
    ngx_http_holdfast_now_t            now;
    ngx_http_holdfast_table_t         *t;
    const ngx_http_holdfast_figure_t  *f;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    t = ngx_http_holdfast_table;

    ngx_http_holdfast_now(&now);

    p = ngx_pnalloc(r->pool, 16384);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;

    p = ngx_sprintf(p,
                    "# HELP holdfast_gate_table_entries Routes that fit.\n"
                    "# TYPE holdfast_gate_table_entries gauge\n"
                    "holdfast_gate_table_entries %uD\n"
                    "# HELP holdfast_gate_table_used Routes that are known.\n"
                    "# TYPE holdfast_gate_table_used gauge\n"
                    "holdfast_gate_table_used %uD\n",
                    t->nentries, t->used);

    for (f = ngx_http_holdfast_nows; f->name; f++) {
        p = ngx_sprintf(p, "# HELP holdfast_gate_%s %s\n"
                        "# TYPE holdfast_gate_%s gauge\n"
                        "holdfast_gate_%s %ui\n",
                        f->name, f->help, f->name, f->name,
                        *(ngx_uint_t *) ((u_char *) &now + f->offset));
    }

    for (f = ngx_http_holdfast_figures; f->name; f++) {
        p = ngx_sprintf(p, "# HELP holdfast_gate_%s_total %s\n"
                        "# TYPE holdfast_gate_%s_total counter\n"
                        "holdfast_gate_%s_total %uA\n",
                        f->name, f->help, f->name, f->name,
                        *(ngx_atomic_t *) ((u_char *) &t->counts + f->offset));
    }

    p = ngx_http_holdfast_metrics_requests(p);
    p = ngx_http_holdfast_metrics_held(p);

    body.len = p - body.data;

    return ngx_http_holdfast_send(r, NGX_HTTP_OK,
                                  "text/plain; version=0.0.4", &body);
}


static u_char *
ngx_http_holdfast_metrics_requests(u_char *p)
{
    ngx_uint_t                   class;
    ngx_atomic_uint_t            n;
    ngx_http_holdfast_counts_t  *counts;

    static const ngx_uint_t   *mode;
    static const ngx_uint_t    modes[] = {
        NGX_HTTP_HOLDFAST_PREVIEW, NGX_HTTP_HOLDFAST_GUEST,
        NGX_HTTP_HOLDFAST_API, 0
    };

    counts = &ngx_http_holdfast_table->counts;

    p = ngx_sprintf(p, "# HELP holdfast_gate_requests_total Requests that "
                    "came to the gate, by what they were for and class of "
                    "status (0xx: the client left).\n"
                    "# TYPE holdfast_gate_requests_total counter\n");

    for (mode = modes; *mode; mode++) {

        for (class = 0; class < 6; class++) {

            n = counts->requests[*mode][class];

            if (*mode == NGX_HTTP_HOLDFAST_API) {
                n += counts->requests[NGX_HTTP_HOLDFAST_OP][class];
            }

            p = ngx_sprintf(p, "holdfast_gate_requests_total{for=\"%s\","
                            "class=\"%uixx\"} %uA\n",
                            ngx_http_holdfast_kinds[*mode], class, n);
        }
    }

    return p;
}


/* How long visits and execs that had to wait did wait. */

static u_char *
ngx_http_holdfast_metrics_held(u_char *p)
{
    ngx_uint_t                   i;
    ngx_atomic_uint_t            sum;
    ngx_http_holdfast_counts_t  *counts;

    counts = &ngx_http_holdfast_table->counts;
    sum = 0;

    p = ngx_sprintf(p, "# HELP holdfast_gate_held_seconds How long requests "
                    "that had to wait for a sandbox were held.\n"
                    "# TYPE holdfast_gate_held_seconds histogram\n");

    for (i = 0; i < NGX_HTTP_HOLDFAST_HELD_BUCKETS; i++) {
        sum += counts->held_below[i];
        p = ngx_sprintf(p, "holdfast_gate_held_seconds_bucket{le=\"%s\"} "
                        "%uA\n", ngx_http_holdfast_bucket_names[i], sum);
    }

    sum += counts->held_below[i];

    return ngx_sprintf(p, "holdfast_gate_held_seconds_bucket{le=\"+Inf\"} "
                       "%uA\nholdfast_gate_held_seconds_sum %uA.%03uA\n"
                       "holdfast_gate_held_seconds_count %uA\n", sum,
                       counts->held_sum / 1000, counts->held_sum % 1000, sum);
}
