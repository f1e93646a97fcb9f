
/*
 * The files of event streams, as one worker sees them.
 *
 * A tail is one stream (common/frames.h) with its two open files and those who
 * read it in this worker.  It is there as long as somebody reads.  A stream
 * without files is one that nothing has happened in yet: looked for again at
 * each look.  Files that were removed are read to their end by those who have
 * them open; who comes later sees those that took their place.
 *
 * Files are opened below a descriptor of the folder, which the master opened:
 * workers need no right to the folders above it.
 */


#include "ngx_http_holdfast_module.h"
#include "frames.h"


#define NGX_HTTP_HOLDFAST_TAIL_BACK  512


static ngx_fd_t ngx_http_holdfast_tail_file(ngx_http_holdfast_tail_t *tail,
    const char *ending);
static ngx_int_t ngx_http_holdfast_tail_find(ngx_http_holdfast_tail_t *tail);
static ngx_int_t ngx_http_holdfast_tail_entry(ngx_http_holdfast_tail_t *tail,
    uint64_t n, struct frames_entry *entry);
static ngx_int_t ngx_http_holdfast_tail_read(ngx_http_holdfast_tail_t *tail,
    struct stat *sb);


static ngx_rbtree_t       ngx_http_holdfast_tails;
static ngx_rbtree_node_t  ngx_http_holdfast_tails_sentinel;
static ngx_queue_t        ngx_http_holdfast_tails_all;
static ngx_fd_t           ngx_http_holdfast_tails_dir = NGX_INVALID_FILE;
static ngx_log_t         *ngx_http_holdfast_tails_log;


void
ngx_http_holdfast_tail_init(ngx_fd_t dir, ngx_log_t *log)
{
    ngx_rbtree_init(&ngx_http_holdfast_tails,
                    &ngx_http_holdfast_tails_sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&ngx_http_holdfast_tails_all);

    ngx_http_holdfast_tails_dir = dir;
    ngx_http_holdfast_tails_log = log;
}


/* The tail after one, or the first: held; NULL: no more. */

ngx_http_holdfast_tail_t *
ngx_http_holdfast_tail_next(ngx_http_holdfast_tail_t *tail)
{
    ngx_queue_t  *q;

    q = tail ? &tail->queue : &ngx_http_holdfast_tails_all;
    q = ngx_queue_next(q);

    if (q == ngx_queue_sentinel(&ngx_http_holdfast_tails_all)) {
        return NULL;
    }

    tail = ngx_queue_data(q, ngx_http_holdfast_tail_t, queue);
    tail->refs++;

    return tail;
}


ngx_http_holdfast_tail_t *
ngx_http_holdfast_tail_named(ngx_str_t *name)
{
    return (ngx_http_holdfast_tail_t *)
               ngx_str_rbtree_lookup(&ngx_http_holdfast_tails, name,
                                     ngx_crc32_long(name->data, name->len));
}


/* The tail of a stream, held; NULL: no memory, or it cannot be read. */

ngx_http_holdfast_tail_t *
ngx_http_holdfast_tail_get(ngx_str_t *name)
{
    ngx_http_holdfast_tail_t  *tail;

    tail = ngx_http_holdfast_tail_named(name);

    if (tail) {
        tail->refs++;

        if (ngx_http_holdfast_tail_look(tail) == NGX_ERROR) {
            ngx_http_holdfast_tail_put(tail);
            return NULL;
        }

        if (!tail->gone) {
            return tail;
        }

        ngx_http_holdfast_tail_put(tail);
    }

    tail = ngx_calloc(sizeof(ngx_http_holdfast_tail_t) + name->len,
                      ngx_http_holdfast_tails_log);
    if (tail == NULL) {
        return NULL;
    }

    ngx_memcpy(tail->name, name->data, name->len);

    tail->node.str.data = tail->name;
    tail->node.str.len = name->len;
    tail->node.node.key = ngx_crc32_long(name->data, name->len);
    tail->refs = 1;
    tail->idx = NGX_INVALID_FILE;
    tail->log.fd = NGX_INVALID_FILE;
    tail->log.name = tail->node.str;
    tail->log.log = ngx_http_holdfast_tails_log;
    tail->listed = 1;

    ngx_queue_init(&tail->readers);
    ngx_rbtree_insert(&ngx_http_holdfast_tails, &tail->node.node);
    ngx_queue_insert_tail(&ngx_http_holdfast_tails_all, &tail->queue);

    if (ngx_http_holdfast_tail_look(tail) == NGX_ERROR) {
        ngx_http_holdfast_tail_put(tail);
        return NULL;
    }

    return tail;
}


static void
ngx_http_holdfast_tail_unlist(ngx_http_holdfast_tail_t *tail)
{
    if (tail->listed) {
        ngx_rbtree_delete(&ngx_http_holdfast_tails, &tail->node.node);
        tail->listed = 0;
    }
}


void
ngx_http_holdfast_tail_put(ngx_http_holdfast_tail_t *tail)
{
    if (--tail->refs) {
        return;
    }

    ngx_http_holdfast_tail_unlist(tail);
    ngx_queue_remove(&tail->queue);

    if (tail->idx != NGX_INVALID_FILE) {
        (void) ngx_close_file(tail->idx);
    }

    if (tail->log.fd != NGX_INVALID_FILE) {
        (void) ngx_close_file(tail->log.fd);
    }

    ngx_free(tail);
}


static ngx_fd_t
ngx_http_holdfast_tail_file(ngx_http_holdfast_tail_t *tail,
    const char *ending)
{
    u_char    path[NGX_HTTP_HOLDFAST_STREAM_NAME + sizeof(".log")];
    ngx_fd_t  fd;

    *ngx_sprintf(path, "%V.%s", &tail->node.str, ending) = '\0';

    fd = openat(ngx_http_holdfast_tails_dir, (char *) path,
                O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC);

    if (fd == NGX_INVALID_FILE && ngx_errno != NGX_ENOENT) {
        ngx_log_error(NGX_LOG_CRIT, ngx_http_holdfast_tails_log, ngx_errno,
                      "event stream \"%s\" cannot be opened", path);
    }

    return fd;
}


/* NGX_DECLINED: there are no files yet. */

static ngx_int_t
ngx_http_holdfast_tail_find(ngx_http_holdfast_tail_t *tail)
{
    ngx_err_t  err;

    tail->idx = ngx_http_holdfast_tail_file(tail, "idx");

    if (tail->idx == NGX_INVALID_FILE) {
        return ngx_errno == NGX_ENOENT ? NGX_DECLINED : NGX_ERROR;
    }

    tail->log.fd = ngx_http_holdfast_tail_file(tail, "log");

    if (tail->log.fd == NGX_INVALID_FILE) {
        err = ngx_errno;
        (void) ngx_close_file(tail->idx);
        tail->idx = NGX_INVALID_FILE;
        return err == NGX_ENOENT ? NGX_DECLINED : NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_tail_entry(ngx_http_holdfast_tail_t *tail, uint64_t n,
    struct frames_entry *entry)
{
    u_char  raw[FRAMES_ENTRY];

    if (pread(tail->idx, raw, FRAMES_ENTRY, (off_t) frames_place(n))
        != FRAMES_ENTRY)
    {
        ngx_log_error(NGX_LOG_CRIT, ngx_http_holdfast_tails_log, ngx_errno,
                      "the index of event stream \"%V\" cannot be read",
                      &tail->node.str);
        return NGX_ERROR;
    }

    frames_entry_read(raw, entry);

    return NGX_OK;
}


/* Where event n begins in the log. */

ngx_int_t
ngx_http_holdfast_tail_start(ngx_http_holdfast_tail_t *tail, uint64_t n,
    off_t *offset)
{
    struct frames_entry  entry;

    *offset = 0;

    if (n == 0) {
        return NGX_OK;
    }

    if (ngx_http_holdfast_tail_entry(tail, n - 1, &entry) != NGX_OK) {
        return NGX_ERROR;
    }

    *offset = (off_t) entry.end;

    return NGX_OK;
}


/*
 * The events from *next on that fit into `most` bytes, at least one: *next and
 * *end are moved behind them.
 */

ngx_int_t
ngx_http_holdfast_tail_range(ngx_http_holdfast_tail_t *tail, uint64_t *next,
    off_t start, off_t most, off_t *end)
{
    off_t     at;
    uint64_t  low, high, mid;

    if (tail->end - start <= most) {
        *next = tail->count;
        *end = tail->end;
        return NGX_OK;
    }

    /* the largest n such that n's start is not behind start + most */

    low = *next + 1;
    high = tail->count;

    while (low < high) {
        mid = low + (high - low + 1) / 2;

        if (ngx_http_holdfast_tail_start(tail, mid, &at) != NGX_OK) {
            return NGX_ERROR;
        }

        if (at - start <= most) {
            low = mid;

        } else {
            high = mid - 1;
        }
    }

    *next = low;

    return ngx_http_holdfast_tail_start(tail, low, end);
}


/*
 * NGX_OK: what is known of the files is what they are now.  Entries that do
 * not fit are what a crash left, and are not there: the writer removes them.
 */

ngx_int_t
ngx_http_holdfast_tail_look(ngx_http_holdfast_tail_t *tail)
{
    ngx_int_t    rc;
    struct stat  sb;

    if (tail->idx == NGX_INVALID_FILE) {

        rc = ngx_http_holdfast_tail_find(tail);

        if (rc != NGX_OK) {
            return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
        }
    }

    if (fstat(tail->idx, &sb) == -1) {
        return NGX_ERROR;
    }

    if (sb.st_nlink == 0 && !tail->gone) {
        tail->gone = 1;
        ngx_http_holdfast_tail_unlist(tail);
    }

    if (sb.st_size == tail->size
        && sb.st_mtim.tv_sec == tail->mtime.tv_sec
        && sb.st_mtim.tv_nsec == tail->mtime.tv_nsec)
    {
        return NGX_OK;
    }

    if (ngx_http_holdfast_tail_read(tail, &sb) != NGX_OK) {
        return NGX_ERROR;
    }

    tail->size = sb.st_size;
    tail->mtime = sb.st_mtim;

    return NGX_OK;
}


static ngx_int_t
ngx_http_holdfast_tail_read(ngx_http_holdfast_tail_t *tail, struct stat *sb)
{
    off_t                start;
    u_char               head[FRAMES_HEAD];
    uint64_t             n, least;
    struct stat          log;
    struct frames_entry  last;

    if (pread(tail->idx, head, FRAMES_HEAD, 0) != FRAMES_HEAD) {

        /* just made, its head is not written yet */

        return NGX_OK;
    }

    n = frames_count((uint64_t) sb->st_size);

    if (frames_head_read(head, &tail->first) != 0 || tail->first > n
        || fstat(tail->log.fd, &log) == -1)
    {
        ngx_log_error(NGX_LOG_CRIT, ngx_http_holdfast_tails_log, 0,
                      "the index of event stream \"%V\" is not one",
                      &tail->node.str);
        return NGX_ERROR;
    }

    if (ngx_http_holdfast_tail_start(tail, tail->first, &tail->base)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a crash cannot leave more than one batch of the writer */

    least = n > tail->first + NGX_HTTP_HOLDFAST_TAIL_BACK
            ? n - NGX_HTTP_HOLDFAST_TAIL_BACK : tail->first;

    for ( /* void */ ; n > least; n--) {

        if (ngx_http_holdfast_tail_start(tail, n - 1, &start) != NGX_OK
            || ngx_http_holdfast_tail_entry(tail, n - 1, &last) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (frames_entry_fits(&last, (uint64_t) start,
                              (uint64_t) log.st_size))
        {
            tail->count = n;
            tail->end = (off_t) last.end;
            tail->ended = last.ends;
            return NGX_OK;
        }
    }

    if (n == tail->first) {
        tail->count = n;
        tail->end = tail->base;
        tail->ended = 0;
    }

    return NGX_OK;
}
