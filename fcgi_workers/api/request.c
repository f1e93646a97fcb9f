/*
 * request: see request.h. Parsing of what a client sent; nothing in here
 * looks anything up.
 */
#include "request.h"

#include <string.h>
#include <strings.h>

#define HEX_BAD 255

static unsigned request_hex(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned) (c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned) (c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned) (c - 'A') + 10;
    return HEX_BAD;
}

/* The byte that %xx at s stands for, or -1. */
static int request_percent(const char *s)
{
    unsigned high = request_hex(s[1]);
    unsigned low = high == HEX_BAD ? HEX_BAD : request_hex(s[2]);

    return low == HEX_BAD ? -1 : (int) (high << 4 | low);
}

/* ---- path -------------------------------------------------------------- */

static int path_byte(const char **s, char *out, struct err *e)
{
    unsigned char c = (unsigned char) **s;
    int           n = c;

    if (c == '%') {
        n = request_percent(*s);
        if (n == -1)
            return err_set(e, "bad_request",
                "the path has a '%%' without two hex digits behind it");
        if (n == '/' || n == '\\')
            return err_set(e, "bad_request",
                "the path has a percent-encoded separator");
        *s += 2;
    } else if (c >= 0x7f || c <= 0x20 || c == '\\' || c == '#') {
        return err_set(e, "bad_request",
            "the path has a byte that must be percent-encoded");
    }
    if (n < 0x20 || n == 0x7f)
        return err_set(e, "bad_request", "the path has a control character");
    *s += 1;
    *out = (char) n;
    return 0;
}

static int path_segment_ok(const char *s, size_t len, struct err *e)
{
    if (len == 0)
        return err_set(e, "bad_request", "the path has an empty segment");
    if (strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return err_set(e, "bad_request", "the path has a dot segment");
    if (!ids_utf8_ok(s, len))
        return err_set(e, "bad_request", "the path is not UTF-8");
    return 0;
}

int path_parse(struct path *p, const char *text, struct err *e)
{
    char *to = p->bytes, *end = p->bytes + sizeof(p->bytes) - 1, *from;

    p->n = 0;
    if (*text != '/')
        return err_set(e, "bad_request", "the path does not begin with '/'");
    while (*text == '/') {
        text++;
        if (p->n == REQUEST_SEGMENTS_MAX)
            return err_set(e, "not_found", "there is no such route");
        from = to;
        while (*text != '\0' && *text != '/' && *text != '?') {
            if (to >= end)
                return err_set(e, "bad_request", "the path is longer than "
                    "%d bytes", REQUEST_PATH_MAX);
            if (path_byte(&text, to, e) == -1)
                return -1;
            to++;
        }
        if (to >= end)
            return err_set(e, "bad_request", "the path is longer than %d "
                "bytes", REQUEST_PATH_MAX);
        *to++ = '\0';
        if (p->n == 0 && from[0] == '\0' && (*text == '\0' || *text == '?'))
            return 0;           /* "/" has no segment */
        if (path_segment_ok(from, strlen(from), e) == -1)
            return -1;
        p->segments[p->n++] = from;
    }
    return 0;
}

/* ---- query ------------------------------------------------------------- */

/* Decodes up to '&', or '=' when it is a name. */
static int query_text(const char **s, char **to, char *end, bool name,
    struct err *e)
{
    const char *from = *to;
    int         n;

    while (**s != '\0' && **s != '&' && !(name && **s == '=')) {
        n = (unsigned char) **s;
        if (n == '+') {
            n = ' ';
        } else if (n == '%') {
            n = request_percent(*s);
            if (n == -1)
                return err_set(e, "bad_request", "the query has a '%%' "
                    "without two hex digits behind it");
            *s += 2;
        }
        if (n < 0x20 || n == 0x7f)
            return err_set(e, "bad_request",
                "the query has a control character");
        if (*to >= end)
            return err_set(e, "bad_request",
                "the query is longer than %d bytes", REQUEST_QUERY_MAX);
        *(*to)++ = (char) n;
        *s += 1;
    }
    if (*to >= end)
        return err_set(e, "bad_request", "the query is longer than %d bytes",
            REQUEST_QUERY_MAX);
    *(*to)++ = '\0';
    if (!ids_utf8_ok(from, strlen(from)))
        return err_set(e, "bad_request", "the query is not UTF-8");
    return 0;
}

int query_parse(struct query *q, const char *text, struct err *e)
{
    char *to = q->bytes, *end = q->bytes + sizeof(q->bytes);

    q->n = 0;
    while (*text != '\0') {
        if (*text == '&') {
            text++;
            continue;
        }
        if (q->n == REQUEST_ITEMS_MAX)
            return err_set(e, "bad_request",
                "the query has more than %d items", REQUEST_ITEMS_MAX);
        q->items[q->n].name = to;
        if (query_text(&text, &to, end, true, e) == -1)
            return -1;
        q->items[q->n].value = to;
        if (*text == '=')
            text++;
        if (query_text(&text, &to, end, false, e) == -1)
            return -1;
        q->n++;
    }
    return 0;
}

const char *query_get(const struct query *q, const char *name)
{
    int i;

    for (i = 0; i < q->n; i++) {
        if (strcmp(q->items[i].name, name) == 0)
            return q->items[i].value;
    }
    return NULL;
}

static bool query_named(const char *name, const char *const *names)
{
    size_t len;

    for (; *names != NULL; names++) {
        len = strlen(*names);
        if (strcmp(name, *names) == 0)
            return true;
        if ((*names)[len - 1] == '.' && strncmp(name, *names, len) == 0
            && name[len] != '\0')
            return true;
    }
    return false;
}

int query_only(const struct query *q, const char *const *names,
    struct err *e)
{
    int i, j;

    for (i = 0; i < q->n; i++) {
        if (!query_named(q->items[i].name, names))
            return err_field(e, "unknown_field", q->items[i].name,
                "unknown query parameter \"%.40s\"", q->items[i].name);
        for (j = 0; j < i; j++) {
            if (strcmp(q->items[i].name, q->items[j].name) == 0)
                return err_field(e, "bad_request", q->items[i].name,
                    "query parameter \"%.40s\" is there twice",
                    q->items[i].name);
        }
    }
    return 0;
}

int query_number(const struct query *q, const char *name, int64_t min,
    int64_t max, int64_t none, int64_t *out, struct err *e)
{
    const char *value = query_get(q, name);

    if (value == NULL) {
        *out = none;
        return 0;
    }
    if (ids_number(value, strlen(value), min, max, out) == -1)
        return err_field(e, "invalid_field", name, "query parameter %s must "
            "be a whole number from %lld to %lld", name, (long long) min,
            (long long) max);
    return 0;
}

int query_flag(const struct query *q, const char *name, bool *out,
    struct err *e)
{
    const char *value = query_get(q, name);

    *out = false;
    if (value == NULL || strcmp(value, "false") == 0
        || strcmp(value, "0") == 0)
        return 0;
    if (value[0] != '\0' && strcmp(value, "true") != 0
        && strcmp(value, "1") != 0)
        return err_field(e, "invalid_field", name,
            "query parameter %s must be true or false", name);
    *out = true;
    return 0;
}

/* ---- the whole --------------------------------------------------------- */

/* Empty is as good as absent: nginx sends empty parameters. */
static const char *request_param(char *const *params, const char *name)
{
    size_t len = strlen(name);

    for (; *params != NULL; params++) {
        if (strncmp(*params, name, len) == 0 && (*params)[len] == '=')
            return (*params)[len + 1] == '\0' ? NULL : *params + len + 1;
    }
    return NULL;
}

static void request_set_scope(struct request *r, const char *scope)
{
    r->scope = SCOPE_NONE;
    if (scope == NULL)
        return;
    if (strcmp(scope, "admin") == 0)
        r->scope = SCOPE_ADMIN;
    else if (strcmp(scope, "rw") == 0)
        r->scope = SCOPE_RW;
    else if (strcmp(scope, "ro") == 0)
        r->scope = SCOPE_RO;
    else if (strncmp(scope, "ids:", 4) == 0) {
        r->scope = SCOPE_IDS;
        r->ids = scope + 4;
    }
}

static void request_set_id(struct request *r, char *const *params)
{
    const char *given = request_param(params, "HOLDFAST_REQUEST_ID");

    if (given == NULL || !ids_request_ok(given, strlen(given)))
        given = request_param(params, "HTTP_X_REQUEST_ID");
    if (given != NULL && ids_request_ok(given, strlen(given)))
        memcpy(r->request_id, given, strlen(given) + 1);
    else
        ids_request_new(r->request_id);
}

/* Whether a comma-separated header has `word` as one of its values. */
static bool request_prefers(const char *prefer, const char *word)
{
    size_t len = strlen(word);

    while (prefer != NULL) {
        prefer += strspn(prefer, " \t,");
        if (strncasecmp(prefer, word, len) == 0
            && strchr(" \t,;", prefer[len]) != NULL)
            return true;
        prefer = strchr(prefer, ',');
    }
    return false;
}

static int request_length(struct request *r, char *const *params,
    struct err *e)
{
    const char *text = request_param(params, "CONTENT_LENGTH");

    r->content_length = -1;
    r->chunked = request_param(params, "HTTP_TRANSFER_ENCODING") != NULL;
    if (text == NULL)
        return 0;
    if (ids_number(text, strlen(text), 0, INT64_MAX, &r->content_length)
        == -1)
        return err_set(e, "bad_request", "Content-Length is not a number");
    return 0;
}

static int request_op(struct request *r, char *const *params, struct err *e)
{
    const char *text = request_param(params, "HOLDFAST_OP");

    r->op = 0;
    if (text == NULL)
        return 0;
    if (ids_number(text, strlen(text), 1, INT64_MAX, &r->op) == -1)
        return err_set(e, "internal", "the gate sent a bad operation");
    return 0;
}

int request_init(struct request *r, char *const *params, size_t out_max,
    struct err *e)
{
    const char *uri = request_param(params, "REQUEST_URI");
    const char *query;

    memset(r, 0, offsetof(struct request, path));
    memset(r->id, 0, sizeof(r->id));
    r->path.n = r->query.n = 0;
    r->name = NULL;
    r->status = 0;
    r->type = NULL;
    r->sent = r->redirected = false;
    buf_init(&r->body, 0);
    buf_init(&r->headers, 16384);
    buf_init(&r->out, out_max);
    request_set_id(r, params);

    if (uri == NULL)
        uri = "/";
    r->v1 = strncmp(uri, "/v1/", 4) == 0 || strcmp(uri, "/v1") == 0;
    r->method = request_param(params, "REQUEST_METHOD");
    if (r->method == NULL)
        r->method = "GET";
    r->head = strcmp(r->method, "HEAD") == 0;
    r->content_type = request_param(params, "CONTENT_TYPE");
    r->content_encoding = request_param(params, "HTTP_CONTENT_ENCODING");
    r->remote = request_param(params, "REMOTE_ADDR");
    r->tenant = request_param(params, "HOLDFAST_TENANT");
    r->actor = request_param(params, "HOLDFAST_KEY");
    r->own_listener = r->tenant == NULL;
    r->if_match = request_param(params, "HTTP_IF_MATCH");
    r->idem_key = request_param(params, "HTTP_IDEMPOTENCY_KEY");
    r->last_event_id = request_param(params, "HTTP_LAST_EVENT_ID");
    r->respond_async = request_prefers(request_param(params, "HTTP_PREFER"),
        "respond-async");
    request_set_scope(r, request_param(params, "HOLDFAST_SCOPE"));

    query = strchr(uri, '?');
    if (path_parse(&r->path, uri, e) == -1
        || query_parse(&r->query, query != NULL ? query + 1 : "", e) == -1
        || request_length(r, params, e) == -1
        || request_op(r, params, e) == -1)
        return -1;
    return 0;
}

void request_fini(struct request *r)
{
    buf_fini(&r->body);
    buf_fini(&r->headers);
    buf_fini(&r->out);
}

bool request_may(const struct request *r, const char *id)
{
    const char *p = r->ids;
    size_t      len = strlen(id);

    if (r->scope != SCOPE_IDS)
        return true;
    while (p != NULL && *p != '\0') {
        if (strncmp(p, id, len) == 0 && (p[len] == '+' || p[len] == '\0'))
            return true;
        p = strchr(p, '+');
        if (p != NULL)
            p++;
    }
    return false;
}

/* ---- body -------------------------------------------------------------- */

/* The media type without its parameters is `type`. */
static bool request_type_is(const char *given, const char *type)
{
    size_t len = strlen(type);

    return strncasecmp(given, type, len) == 0
        && strchr(" \t;", given[len]) != NULL;
}

static bool request_charset_ok(const char *given)
{
    const char *p = strcasestr(given, "charset=");

    if (p == NULL)
        return true;
    p += 8;
    p += *p == '"';
    return strncasecmp(p, "utf-8", 5) == 0 || strncasecmp(p, "utf8", 4) == 0;
}

/* Clients of the base routes often leave the type out, or leave what curl -d
 * says; on /v1 it has to be right. */
static int request_type(const struct request *r, struct err *e)
{
    const char *given = r->content_type;
    bool        ok;

    if (r->content_encoding != NULL
        && strcasecmp(r->content_encoding, "identity") != 0)
        return err_set(e, "unsupported_media_type",
            "a body must come without Content-Encoding");
    if (given == NULL)
        ok = !r->v1;
    else
        ok = request_type_is(given, "application/json")
            || (r->v1 && strcmp(r->method, "PATCH") == 0
                && request_type_is(given, "application/merge-patch+json"))
            || (!r->v1 && request_type_is(given,
                "application/x-www-form-urlencoded"));
    if (!ok || (given != NULL && !request_charset_ok(given)))
        return err_set(e, "unsupported_media_type",
            "a body must be application/json in UTF-8");
    return 0;
}

int request_body(struct request *r, size_t max, struct err *e)
{
    size_t want;
    char  *room;
    int    n;

    if (r->content_length == -1 && r->chunked)
        return err_set(e, "length_required", "Content-Length is missing");
    if (r->content_length <= 0)
        return 0;
    if ((uint64_t) r->content_length > max)
        return err_set(e, "too_large", "the body is larger than %zu bytes",
            max);
    if (request_type(r, e) == -1)
        return -1;

    want = (size_t) r->content_length;
    r->body.max = max;
    room = buf_room(&r->body, want);
    if (room == NULL)
        return err_set(e, "unavailable", "no memory for the body");
    while (r->body.len < want) {
        n = r->read(r->io, room + r->body.len, (int) (want - r->body.len));
        if (n <= 0)
            return err_set(e, "bad_request",
                "the body ended after %zu of %zu bytes", r->body.len, want);
        r->body.len += (size_t) n;
    }
    r->body.data[want] = '\0';
    return 0;
}
