/*
 * test_render: every document is valid JSON whatever is in the row, and both
 * families say what the contract says.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "common/render.h"
#include "test.h"

static struct settings s;

static struct row full_row(void)
{
    struct row r;

    memset(&r, 0, sizeof(r));
    memcpy(r.id, "abc", 4);
    r.rung = RUNG_FROZEN;
    r.tenant = "default";
    r.ext_user = "u\"1\\";
    r.image = "holdfast/base:latest";
    r.ports = "[3000,5173]";
    r.labels = "{\"team\":\"a\"}";
    r.services = "[{\"name\":\"web\"}]";
    r.visibility = "private";
    r.idle_policy = "sleep";
    r.wake_on = "visit";
    r.ports_policy = "any";
    r.host_header = "public";
    r.engine = "docker";
    r.engine_ref = "0123456789ab";
    r.node = "here";
    r.error_message = "line\none\ttab \x01 \xff end";
    r.memory_mb = 1536;
    r.cpus_milli = 1250;
    r.pids = 512;
    r.disk_mb = 10240;
    r.idle_s = 900;
    r.version = 7;
    r.created_ms = 1767323045678;
    r.updated_ms = r.active_ms = r.started_ms = r.created_ms;
    r.keepalive_ms = 1767323999000;
    r.pid = 4242;
    return r;
}

static struct json_object *parsed(struct buf *b)
{
    struct json_tokener *t = json_tokener_new();
    struct json_object  *v;

    json_tokener_set_flags(t,
        JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    v = b->failed ? NULL : json_tokener_parse_ex(t, b->data, (int) b->len);
    CHECK(v != NULL);
    if (v == NULL)
        printf("     %s\n", b->data != NULL ? b->data : "(nothing)");
    json_tokener_free(t);
    return v;
}

static const char *text_at(struct json_object *v, const char *name)
{
    struct json_object *o = json_object_object_get(v, name);

    return o == NULL ? "(none)" : json_object_get_string(o);
}

static void test_base(void)
{
    struct row          r = full_row();
    struct buf          b;
    struct json_object *v;

    buf_init(&b, 65536);
    render_base(&b, &r, &s);
    v = parsed(&b);
    CHECK_STR(text_at(v, "status"), "stopped");
    CHECK_STR(text_at(v, "state"), "frozen");
    CHECK_STR(text_at(v, "memory_high"), "1536M");
    CHECK_STR(text_at(v, "created_at"), "2026-01-02T03:04:05.678Z");
    CHECK_STR(text_at(v, "keepalive_until"), "1767323999");
    CHECK_STR(text_at(v, "external_user_id"), "u\"1\\");
    CHECK_STR(text_at(v, "error_message"),
        "line\none\ttab \x01 \xef\xbf\xbd end");
    CHECK_STR(text_at(json_object_object_get(v, "preview_urls"), "5173"),
        "http://s-abc-5173.preview.localhost:7080");
    CHECK_STR(text_at(v, "stopped_at"), "(none)");
    CHECK(json_object_object_get(v, "labels") == NULL);
    json_object_put(v);
    buf_fini(&b);
}

static void test_v1(void)
{
    struct row          r = full_row();
    struct buf          b;
    struct json_object *v;

    buf_init(&b, 65536);
    render_v1(&b, &r, &s);
    v = parsed(&b);
    CHECK_STR(text_at(json_object_object_get(v, "limits"), "cpus"), "1.25");
    CHECK_STR(text_at(json_object_object_get(v, "labels"), "team"), "a");
    CHECK_STR(text_at(json_object_object_get(v, "preview"), "status"),
        "asleep");
    CHECK_STR(text_at(v, "root"), "readonly");
    CHECK(json_object_object_get(v, "setup") == NULL);
    json_object_put(v);

    r.rung = RUNG_CREATING;
    r.ports = "[]";
    r.setup = "{\"cmd\":[\"true\"]}";
    buf_reset(&b);
    render_v1(&b, &r, &s);
    v = parsed(&b);
    CHECK_STR(text_at(json_object_object_get(v, "preview"), "url"),
        "http://s-abc-3000.preview.localhost:7080");
    CHECK_STR(text_at(json_object_object_get(v, "preview"), "status"),
        "starting");
    CHECK(json_object_object_get(v, "setup") != NULL);
    json_object_put(v);

    r.ports_policy = "declared";
    buf_reset(&b);
    render_v1(&b, &r, &s);
    v = parsed(&b);
    CHECK_STR(text_at(json_object_object_get(v, "preview"), "url"),
        "(none)");
    json_object_put(v);
    buf_fini(&b);
}

static void test_live(void)
{
    struct row          r = full_row();
    struct buf          b;
    struct json_object *v, *live;

    buf_init(&b, 65536);
    render_live(&b, &r, &s);
    v = parsed(&b);
    live = json_object_object_get(v, "live_state");
    CHECK_STR(text_at(live, "Id"), "0123456789ab");
    CHECK_STR(text_at(json_object_object_get(live, "State"), "Status"),
        "paused");
    CHECK_STR(text_at(json_object_object_get(live, "State"), "Pid"), "4242");
    json_object_put(v);

    r.engine_ref = NULL;
    buf_reset(&b);
    render_live(&b, &r, &s);
    v = parsed(&b);
    CHECK(json_object_object_get(v, "row") != NULL);
    CHECK(json_object_object_get(v, "live_state") == NULL);
    CHECK(json_object_object_get(v, "runtime") == NULL);
    json_object_put(v);
    buf_fini(&b);
}

/* Everything missing, and JSON columns that hold something else. */
static void test_damaged(void)
{
    struct row r;
    struct buf b;

    memset(&r, 0, sizeof(r));
    buf_init(&b, 65536);
    render_v1(&b, &r, &s);
    json_object_put(parsed(&b));
    r.ports = "{3000";
    r.labels = "[";
    r.services = "null";
    r.setup = "x";
    buf_reset(&b);
    render_v1(&b, &r, &s);
    json_object_put(parsed(&b));
    buf_reset(&b);
    render_live(&b, &r, &s);
    json_object_put(parsed(&b));
    buf_fini(&b);
}

static void test_strings(void)
{
    /* two bytes each, in every combination, and all of them cut off */
    struct buf          b;
    struct json_object *v;
    char                two[2];
    int                 i, j, bad = 0;

    buf_init(&b, 4096);
    for (i = 0; i < 256; i++) {
        for (j = 0; j < 256; j++) {
            two[0] = (char) i;
            two[1] = (char) j;
            buf_reset(&b);
            buf_str(&b, "[");
            render_string(&b, two, 2);
            buf_str(&b, "]");
            v = json_tokener_parse(b.data);
            bad += v == NULL;
            if (i < 128 && j < 128 && v != NULL)
                bad += json_object_get_string_len(
                    json_object_array_get_idx(v, 0)) != 2;
            json_object_put(v);
        }
    }
    CHECK(bad == 0);
    buf_reset(&b);
    render_string(&b, "\xe2\x82\xac\xf0\x9f\x98\x80", 7);
    CHECK_STR(b.data, "\"\xe2\x82\xac\xf0\x9f\x98\x80\"");
    buf_reset(&b);
    render_string(&b, "\xed\xa0\x80", 3);       /* a surrogate */
    CHECK_STR(b.data, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    buf_reset(&b);
    render_string(&b, "\xe0\x80\x80", 3);       /* overlong */
    CHECK_STR(b.data, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    buf_reset(&b);
    render_number(&b, INT64_MIN);
    CHECK_STR(b.data, "-9223372036854775808");
    buf_fini(&b);
}

static void test_errors(void)
{
    struct err          e;
    struct buf          b;
    struct json_object *v, *error;

    buf_init(&b, 4096);
    err_field(&e, "invalid_field", "ports[0]", "ports[0] must be a \"port\"");
    render_error(&b, &e, false, "req-12345");
    CHECK_STR(b.data, "{\"error\":\"ports[0] must be a \\\"port\\\"\"}");
    buf_reset(&b);
    render_error(&b, &e, true, "req-12345");
    v = parsed(&b);
    error = json_object_object_get(v, "error");
    CHECK_STR(text_at(error, "code"), "invalid_field");
    CHECK_STR(text_at(error, "field"), "ports[0]");
    CHECK_STR(text_at(error, "retryable"), "false");
    CHECK_STR(text_at(error, "request_id"), "req-12345");
    json_object_put(v);
    buf_reset(&b);
    err_set(&e, "workspace_owner_mismatch", "it is another tenant's");
    render_error(&b, &e, false, NULL);
    CHECK(strstr(b.data, "workspace_owner_mismatch") != NULL);
    buf_fini(&b);
}

static void test_urls(void)
{
    struct settings other = s;
    struct buf      b;

    buf_init(&b, 256);
    other.preview_scheme = "https";
    other.preview_public_port = 443;
    render_preview_url(&b, &other, "a", 3000);
    CHECK_STR(b.data, "https://s-a-3000.preview.localhost");
    buf_reset(&b);
    other.preview_public_port = 8443;
    render_preview_url(&b, &other, "a", 3000);
    CHECK_STR(b.data, "https://s-a-3000.preview.localhost:8443");
    buf_reset(&b);
    other.preview_scheme = "http";
    other.preview_public_port = 0;
    other.preview_listen = "0.0.0.0:80";
    render_preview_url(&b, &other, "a", 3000);
    CHECK_STR(b.data, "http://s-a-3000.preview.localhost");
    buf_fini(&b);
}

int main(void)
{
    struct err e;

    if (settings_load(&s, NULL, &e) != 0)
        return 1;
    test_base();
    test_v1();
    test_live();
    test_damaged();
    test_strings();
    test_errors();
    test_urls();
    settings_fini(&s);
    return TEST_END();
}
