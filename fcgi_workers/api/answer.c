/*
 * answer: the second half of request.h, what goes back to nginx.
 *
 * Every answer carries its request id and must not be cached. Nothing that a
 * client sent gets into a header without a check for line ends.
 */
#include <stdio.h>
#include <string.h>

#include "../common/render.h"
#include "request.h"

static const struct {
    int         status;
    const char *reason;
} answer_reasons[] = {
    { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" },
    { 204, "No Content" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
    { 403, "Forbidden" }, { 404, "Not Found" },
    { 405, "Method Not Allowed" }, { 406, "Not Acceptable" },
    { 409, "Conflict" }, { 411, "Length Required" },
    { 412, "Precondition Failed" }, { 413, "Content Too Large" },
    { 415, "Unsupported Media Type" }, { 422, "Unprocessable Content" },
    { 429, "Too Many Requests" }, { 500, "Internal Server Error" },
    { 501, "Not Implemented" }, { 502, "Bad Gateway" },
    { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
    { 507, "Insufficient Storage" },
};

const char *answer_reason(int status)
{
    size_t i;

    for (i = 0; i < sizeof(answer_reasons) / sizeof(answer_reasons[0]); i++) {
        if (answer_reasons[i].status == status)
            return answer_reasons[i].reason;
    }
    return "Unknown";
}

void answer_header(struct request *r, const char *name, const char *value)
{
    if (strpbrk(value, "\r\n") != NULL)
        return;
    buf_str(&r->headers, name);
    buf_str(&r->headers, ": ");
    buf_str(&r->headers, value);
    buf_str(&r->headers, "\r\n");
}

void answer_json(struct request *r, int status)
{
    r->status = status;
    r->type = "application/json";
}

void answer_text(struct request *r, int status, const char *text)
{
    r->status = status;
    r->type = "text/plain; charset=utf-8";
    buf_reset(&r->out);
    buf_str(&r->out, text);
}

void answer_error(struct request *r, const struct err *e)
{
    char seconds[16];

    buf_reset(&r->out);
    answer_json(r, err_lookup(e->code)->status);
    render_error(&r->out, e, r->v1, r->request_id);
    if (e->retry_after_s > 0) {
        snprintf(seconds, sizeof(seconds), "%d", e->retry_after_s);
        answer_header(r, "Retry-After", seconds);
    }
}

static int answer_write(struct request *r, const struct buf *b)
{
    if (b->len == 0)
        return 0;
    return r->write(r->io, b->data, (int) b->len);
}

/* A head that did not fit its buffer must not go out half. With a redirection
 * nginx would carry Cache-Control over to the answer that comes from there. */
static int answer_head(struct request *r, bool end)
{
    struct buf head;
    int        rc;

    buf_init(&head, 32768);
    buf_printf(&head, "Status: %d %s\r\nX-Request-Id: %s\r\n", r->status,
        answer_reason(r->status), r->request_id);
    if (!r->redirected)
        buf_str(&head, "Cache-Control: no-store\r\n");
    if (r->type != NULL && r->status != 204)
        buf_printf(&head, "Content-Type: %s\r\n", r->type);
    if (end && r->status != 204 && !r->head)
        buf_printf(&head, "Content-Length: %zu\r\n", r->out.len);
    if (r->id[0] != '\0')       /* for nginx' log, which keeps it */
        buf_printf(&head, "X-Holdfast-Sandbox: %s\r\n", r->id);
    buf_add(&head, r->headers.data, r->headers.len);
    buf_str(&head, "\r\n");
    rc = head.failed ? -1 : answer_write(r, &head);
    buf_fini(&head);
    return rc;
}

int answer_flush(struct request *r, bool end)
{
    struct err e;
    int        rc = 0;

    if (!r->sent) {
        if (r->out.failed || r->headers.failed) {
            buf_reset(&r->headers);
            err_set(&e, "internal", "the answer is larger than allowed");
            answer_error(r, &e);
            end = true;
        }
        rc = answer_head(r, end);
        r->sent = true;
    } else if (r->out.failed) {
        return -1;
    }
    if (rc == 0 && !r->head && r->status != 204)
        rc = answer_write(r, &r->out);
    buf_reset(&r->out);
    return rc < 0 ? -1 : 0;
}
