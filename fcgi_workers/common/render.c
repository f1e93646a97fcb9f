/*
 * render: see render.h.
 *
 * Owns the words of the JSON that clients see. Columns that hold JSON were
 * checked when they came in and are copied as they are; one that does not
 * begin and end as its type does is shown empty, so that a damaged row does
 * not break the document around it. Never reads a clock, the disk or a table.
 */
#include "render.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* The port that preview.url shows when none was declared: what most
 * development servers listen on. */

/* ---- pieces ------------------------------------------------------------ */

#define LIT(b, s) buf_add((b), (s), sizeof(s) - 1)

void render_number(struct buf *b, int64_t n)
{
    char     digits[24];
    size_t   i = sizeof(digits);
    uint64_t left = n < 0 ? 0 - (uint64_t) n : (uint64_t) n;

    do {
        digits[--i] = (char) ('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (n < 0)
        digits[--i] = '-';
    buf_add(b, digits + i, sizeof(digits) - i);
}

/* Length of the well-formed UTF-8 sequence at s, 0 if it is none. */
static size_t render_utf8(const unsigned char *s, size_t len)
{
    unsigned char first = s[0], low = 0x80, high = 0xbf;
    size_t        i, n;

    if (first >= 0xc2 && first <= 0xdf)
        n = 2;
    else if (first >= 0xe0 && first <= 0xef)
        n = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        n = 4;
    else
        return 0;
    if (n > len)
        return 0;
    if (first == 0xe0)
        low = 0xa0;             /* overlong */
    else if (first == 0xed)
        high = 0x9f;            /* surrogates */
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (i = 2; i < n; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    }
    return n;
}

static void render_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[][2] = {
        { '"', '"' }, { '\\', '\\' }, { '\n', 'n' }, { '\r', 'r' },
        { '\t', 't' }, { '\b', 'b' }, { '\f', 'f' },
    };
    char   out[6] = { '\\', 'u', '0', '0', 0, 0 };
    size_t i;

    for (i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (c == (unsigned char) shorts[i][0]) {
            out[1] = shorts[i][1];
            buf_add(b, out, 2);
            return;
        }
    }
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    buf_add(b, out, 6);
}

void render_string(struct buf *b, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *) s;
    size_t               i = 0, from = 0, n;

    LIT(b, "\"");
    while (i < len) {
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\') {
            i++;
            continue;
        }
        n = p[i] >= 0x80 ? render_utf8(p + i, len - i) : 0;
        if (n > 0) {
            i += n;
            continue;
        }
        buf_add(b, s + from, i - from);
        if (p[i] >= 0x80)
            LIT(b, "\xef\xbf\xbd");
        else
            render_escape(b, p[i]);
        from = ++i;
    }
    buf_add(b, s + from, i - from);
    LIT(b, "\"");
}

void render_time(struct buf *b, int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];

    LIT(b, "\"");
    buf_str(b, clock_text(wall_ms, text));
    LIT(b, "\"");
}

/* `name` is written as it is: `,"memory_high":`. */
static void render_text(struct buf *b, const char *name, const char *value)
{
    buf_str(b, name);
    if (value == NULL)
        LIT(b, "null");
    else
        render_string(b, value, strlen(value));
}

static void render_text_if(struct buf *b, const char *name,
    const char *value)
{
    if (value != NULL && value[0] != '\0')
        render_text(b, name, value);
}

static void render_int(struct buf *b, const char *name, int64_t n)
{
    buf_str(b, name);
    render_number(b, n);
}

static void render_when(struct buf *b, const char *name, int64_t wall_ms)
{
    buf_str(b, name);
    render_time(b, wall_ms);
}

static void render_when_if(struct buf *b, const char *name, int64_t wall_ms)
{
    if (wall_ms != 0)
        render_when(b, name, wall_ms);
}

/* A column that holds JSON of the type that `type` is without anything in it;
 * `empty` is shown when it does not. */
static void render_json(struct buf *b, const char *name, const char *json,
    const char *type, const char *empty)
{
    size_t len = json != NULL ? strlen(json) : 0;

    buf_str(b, name);
    if (len >= 2 && json[0] == type[0] && json[len - 1] == type[1])
        buf_add(b, json, len);
    else
        buf_str(b, empty);
}

/* ---- previews ---------------------------------------------------------- */

static const char *render_preview_port(const struct settings *s)
{
    const char *colon = strrchr(s->preview_listen, ':');
    const char *usual;

    usual = strcmp(s->preview_scheme, "https") == 0 ? ":443" : ":80";
    if (colon == NULL || strcmp(colon, usual) == 0)
        return "";
    return colon;
}

void render_preview_url(struct buf *b, const struct settings *s,
    const char *id, unsigned port)
{
    bool https = strcmp(s->preview_scheme, "https") == 0;

    buf_str(b, s->preview_scheme);
    LIT(b, "://s-");
    buf_str(b, id);
    LIT(b, "-");
    render_number(b, port);
    LIT(b, ".preview.");
    buf_str(b, s->domain);
    if (s->preview_public_port == 0) {
        buf_str(b, render_preview_port(s));
    } else if (s->preview_public_port != (https ? 443 : 80)) {
        LIT(b, ":");
        render_number(b, s->preview_public_port);
    }
}

/* The next number of a JSON array of ports; *p moves on. 0 at the end. */
static unsigned render_next_port(const char **p)
{
    const char *s = *p;
    unsigned    n = 0;

    while (*s != '\0' && (*s < '0' || *s > '9'))
        s++;
    while (*s >= '0' && *s <= '9' && n <= 65535)
        n = n * 10 + (unsigned) (*s++ - '0');
    *p = s;
    return n <= 65535 ? n : 0;
}

static void render_ports(struct buf *b, const struct row *r)
{
    const char *p = r->ports != NULL ? r->ports : "";
    const char *before = ",\"ports\":[";
    unsigned    port;

    for (port = render_next_port(&p); port != 0; port = render_next_port(&p)) {
        buf_str(b, before);
        render_number(b, port);
        before = ",";
    }
    if (before[1] != '\0')
        buf_str(b, before);
    LIT(b, "]");
}

static void render_preview_urls(struct buf *b, const struct row *r,
    const struct settings *s)
{
    const char *p = r->ports != NULL ? r->ports : "";
    const char *before = "";
    unsigned    port;

    LIT(b, ",\"preview_urls\":{");
    for (port = render_next_port(&p); port != 0; port = render_next_port(&p)) {
        buf_str(b, before);
        LIT(b, "\"");
        render_number(b, port);
        LIT(b, "\":\"");
        render_preview_url(b, s, r->id, port);
        LIT(b, "\"");
        before = ",";
    }
    LIT(b, "}");
}

/* Whether the page behind it would answer at once: what may be said from the
 * row alone. */
static const char *render_preview_status(const struct row *r)
{
    const char *state = row_state(r);

    if (strcmp(state, "running") == 0)
        return "ready";
    if (strcmp(state, "creating") == 0)
        return "starting";
    if (strcmp(state, "error") == 0)
        return "error";
    return "asleep";
}

static void render_preview(struct buf *b, const struct row *r,
    const struct settings *s)
{
    const char *p = r->ports != NULL ? r->ports : "";
    unsigned    port = render_next_port(&p);
    bool        declared;

    declared = r->ports_policy != NULL
        && strcmp(r->ports_policy, "declared") == 0;
    LIT(b, ",\"preview\":{\"url\":");
    if (port == 0 && declared) {
        LIT(b, "null");
    } else {
        LIT(b, "\"");
        render_preview_url(b, s, r->id, port != 0 ? port : RENDER_PORT);
        LIT(b, "\"");
    }
    render_text(b, ",\"status\":", render_preview_status(r));
    LIT(b, "}");
}

/* ---- rows -------------------------------------------------------------- */

/* As callers write it: 4G, 1536M. */
static void render_memory_high(struct buf *b, int64_t mb)
{
    LIT(b, ",\"memory_high\":\"");
    if (mb % 1024 == 0) {
        render_number(b, mb / 1024);
        LIT(b, "G\"");
    } else {
        render_number(b, mb);
        LIT(b, "M\"");
    }
}

/* The fields that both families have, without the brackets around. */
static void render_common(struct buf *b, const struct row *r,
    const struct settings *s)
{
    render_text(b, "\"id\":", r->id);
    render_text(b, ",\"status\":", row_status(r));
    render_text(b, ",\"state\":", row_state(r));
    render_text(b, ",\"image\":", r->image);
    render_text_if(b, ",\"container_id\":", r->engine_ref);
    render_memory_high(b, r->memory_mb);
    render_text_if(b, ",\"error_message\":", r->error_message);
    render_ports(b, r);
    render_preview_urls(b, r, s);
    render_when(b, ",\"created_at\":", r->created_ms);
    render_when(b, ",\"updated_at\":", r->updated_ms);
    render_when(b, ",\"last_active_at\":", r->active_ms);
    render_when_if(b, ",\"stopped_at\":", r->stopped_ms);
    if (r->keepalive_ms != 0)
        render_int(b, ",\"keepalive_until\":", r->keepalive_ms / 1000);
    render_text_if(b, ",\"external_user_id\":", r->ext_user);
    render_text_if(b, ",\"external_project_id\":", r->ext_project);
    render_text_if(b, ",\"external_workspace_id\":", r->ext_workspace);
    render_text(b, ",\"visibility\":", r->visibility);
    render_text(b, ",\"idle_policy\":", r->idle_policy);
}

void render_base(struct buf *b, const struct row *r,
    const struct settings *s)
{
    LIT(b, "{");
    render_common(b, r, s);
    LIT(b, "}");
}

/* Thousandths as a decimal number: 2000 is 2, 1500 is 1.5. */
static void render_milli(struct buf *b, int64_t milli)
{
    char    digits[4];
    int     i, rest = (int) (milli % 1000);
    size_t  n = 3;

    render_number(b, milli / 1000);
    if (rest <= 0)
        return;
    for (i = 2; i >= 0; i--) {
        digits[i] = (char) ('0' + rest % 10);
        rest /= 10;
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    LIT(b, ".");
    buf_add(b, digits, n);
}

static void render_limits(struct buf *b, const struct row *r)
{
    render_int(b, ",\"limits\":{\"memory_mb\":", r->memory_mb);
    LIT(b, ",\"cpus\":");
    render_milli(b, r->cpus_milli);
    render_int(b, ",\"pids\":", r->pids);
    render_int(b, ",\"disk_mb\":", r->disk_mb);
    LIT(b, "}");
}

static void render_project(struct buf *b, const struct row *r)
{
    if (r->project_id == NULL)
        return;
    render_text(b, ",\"project\":{\"id\":", r->project_id);
    render_text_if(b, ",\"user_id\":", r->project_user);
    LIT(b, "}");
}

void render_v1(struct buf *b, const struct row *r, const struct settings *s)
{
    LIT(b, "{");
    render_common(b, r, s);
    render_text_if(b, ",\"key\":", r->key);
    render_project(b, r);
    render_limits(b, r);
    render_preview(b, r, s);
    render_text(b, ",\"template\":", r->template_name);
    render_text_if(b, ",\"git_remote_url\":", r->git_remote_url);
    render_json(b, ",\"labels\":", r->labels, "{}", "{}");
    render_json(b, ",\"services\":", r->services, "[]", "[]");
    render_json(b, ",\"setup\":", r->setup, "{}", "null");
    render_int(b, ",\"idle_s\":", r->idle_s);
    render_int(b, ",\"freeze_s\":", r->freeze_s);
    render_int(b, ",\"ttl_s\":", r->ttl_s);
    render_when_if(b, ",\"started_at\":", r->started_ms);
    render_when_if(b, ",\"expires_at\":", r->expires_ms);
    render_text(b, ",\"wake_on\":", r->wake_on);
    render_text(b, ",\"ports_policy\":", r->ports_policy);
    render_text(b, ",\"preview_host_header\":", r->host_header);
    LIT(b, ",\"root\":\"readonly\"");
    render_text(b, ",\"engine\":", r->engine);
    render_text(b, ",\"node\":", r->node);
    render_int(b, ",\"version\":", r->version);
    LIT(b, "}");
}

/* ---- GET /sandbox/{id} ------------------------------------------------- */

/* In the words of an engine's inspection, from our own state: no address and
 * no path of the host is in it. */
static void render_live_state(struct buf *b, const struct row *r)
{
    const char *state = row_state(r);
    const char *word = "exited";
    bool        running;
    const char *p = r->ports != NULL ? r->ports : "";
    const char *before = "";
    unsigned    port;

    if (strcmp(state, "running") == 0)
        word = "running";
    else if (strcmp(state, "frozen") == 0)
        word = "paused";
    else if (strcmp(state, "creating") == 0)
        word = "created";
    running = strcmp(word, "running") == 0 || strcmp(word, "paused") == 0;

    render_text(b, "{\"Id\":", r->engine_ref);
    render_text(b, ",\"State\":{\"Status\":", word);
    buf_str(b, running ? ",\"Running\":true" : ",\"Running\":false");
    buf_str(b, word[0] == 'p' ? ",\"Paused\":true" : ",\"Paused\":false");
    render_int(b, ",\"Pid\":", running ? r->pid : 0);
    render_text(b, "},\"Config\":{\"Image\":", r->image);
    render_text(b, ",\"Labels\":{\"holdfast.id\":", r->id);
    LIT(b, "}},\"NetworkSettings\":{\"IPAddress\":\"\",\"Networks\":{},"
        "\"Ports\":{");
    for (port = render_next_port(&p); port != 0; port = render_next_port(&p)) {
        buf_str(b, before);
        render_int(b, "\"", port);
        LIT(b, "/tcp\":null");
        before = ",";
    }
    LIT(b, "}}}");
}

void render_live(struct buf *b, const struct row *r,
    const struct settings *s)
{
    bool there = r->engine_ref != NULL && r->engine_ref[0] != '\0';

    LIT(b, "{\"row\":");
    render_base(b, r, s);
    LIT(b, ",\"live_state\":");
    if (there)
        render_live_state(b, r);
    else
        LIT(b, "null");
    LIT(b, ",\"runtime\":");
    if (there) {
        render_text(b, "{\"engine\":", r->engine);
        render_text(b, ",\"node\":", r->node);
        render_text(b, ",\"rung\":", rung_name(r->rung));
        render_when_if(b, ",\"started_at\":", r->started_ms);
        LIT(b, "}");
    } else {
        LIT(b, "null");
    }
    LIT(b, "}");
}

/* ---- errors ------------------------------------------------------------ */

/* Clients of the base routes look for this word in the text. */
static bool render_names_code(const char *code)
{
    return strcmp(code, "workspace_owner_mismatch") == 0;
}

static void render_error_base(struct buf *b, const struct err *e,
    const struct err_code *c)
{
    struct buf text;

    buf_init(&text, 1024);
    if (render_names_code(c->code)) {
        buf_str(&text, c->code);
        LIT(&text, ": ");
    }
    buf_str(&text, e->msg);
    LIT(b, "{\"error\":");
    render_string(b, text.data != NULL ? text.data : "", text.len);
    LIT(b, "}");
    buf_fini(&text);
}

void render_error(struct buf *b, const struct err *e, bool v1,
    const char *request_id)
{
    const struct err_code *c = err_lookup(e->code);

    if (!v1) {
        render_error_base(b, e, c);
        return;
    }
    render_text(b, "{\"error\":{\"code\":", c->code);
    render_text(b, ",\"message\":", e->msg);
    buf_str(b, c->retryable ? ",\"retryable\":true" : ",\"retryable\":false");
    render_text_if(b, ",\"field\":", e->field);
    render_text_if(b, ",\"hint\":", e->hint);
    render_text(b, ",\"request_id\":", request_id);
    LIT(b, "}}");
}
