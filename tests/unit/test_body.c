/*
 * test_body: strict JSON, and each field with what it may and may not be.
 */
#include <stdlib.h>

#include "api/body.h"
#include "api/json.h"
#include "test.h"

static struct settings s;

static void test_json(void)
{
    static const char *const bad[] = {
        "", "{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "{a:1}",
        "{'a':1}", "{\"a\":1}x", "{\"a\":1} {}", "{\"a\":NaN}",
        "{\"a\":Infinity}", "{\"a\":-Infinity}", "{\"a\":01}",
        "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}",
        "{\"a\":0x10}", "{\"a\":True}", "{\"a\":nul}", "{/**/}",
        "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\ud800x\"",
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
        "{\"b\":{\"a\":1,\"a\":{\"c\":1}}}", "[{\"a\":1,\"a\":1}]",
        "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "\xef\xbb\xbf{}",
        "{\"a\":\"\xed\xa0\x80\"}", "{\"a\" 1}", "{:1}", "{\"a\"::1}",
        "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]",
    };
    static const char *const good[] = {
        "{}", " { } ", "{\"a\":1}\n", "{\"a\":[1,2,{\"b\":null}]}",
        "{\"a\":-0.5e+3}", "{\"a\":\"\\u00e4\\n\\\"\"}", "[]",
        "{\"a\":\":\",\"b\":\"{\"}", "{\"a\":{},\"b\":{\"a\":1}}",
        "{\"\":1}", "{\"a\":0}", "{\"a\":\"\xf0\x9f\x98\x80\"}",
    };
    struct json_object *v;
    struct err          e;
    size_t              i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        v = NULL;
        CHECK_AS(json_strict(bad[i], strlen(bad[i]), &v, &e) == -1, bad[i]);
        CHECK_AS(v == NULL && e.msg[0] != '\0', "and nothing came out");
    }
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        v = NULL;
        CHECK_AS(json_strict(good[i], strlen(good[i]), &v, &e) == 0,
            good[i]);
        json_object_put(v);
    }
    CHECK(json_strict("{\"a\":\"\0\"}", 9, &v, &e) == -1);
}

/* text, form, field that the error names (NULL: it is taken) */
static const struct {
    const char    *text;
    enum body_form form;
    const char    *field;
} creates[] = {
    { "", BODY_BASE, NULL },
    { "{}", BODY_V1, NULL },
    { "[]", BODY_V1, "" },
    { "{\"id\":\"Ab9\"}", BODY_BASE, NULL },
    { "{\"id\":\"a-b\"}", BODY_BASE, "id" },
    { "{\"id\":\"\"}", BODY_BASE, "id" },
    { "{\"id\":5}", BODY_V1, "id" },
    { "{\"id\":\"a\\u0000b\"}", BODY_V1, "id" },
    { "{\"id\":null}", BODY_V1, NULL },
    { "{\"tomorrow\":1}", BODY_BASE, NULL },
    { "{\"tomorrow\":1}", BODY_V1, "tomorrow" },
    { "{\"idle_s\":\"x\"}", BODY_BASE, NULL },
    { "{\"idle_s\":9}", BODY_V1, "idle_s" },
    { "{\"idle_s\":60.0}", BODY_V1, "idle_s" },
    { "{\"idle_s\":99999999999999999999999}", BODY_V1, "idle_s" },
    { "{\"ports\":[3000,3000]}", BODY_BASE, NULL },
    { "{\"ports\":[80]}", BODY_BASE, "ports[0]" },
    { "{\"ports\":[3000,70000]}", BODY_BASE, "ports[1]" },
    { "{\"ports\":[49983]}", BODY_V1, "ports[0]" },
    { "{\"ports\":\"3000\"}", BODY_BASE, "ports" },
    { "{\"ports\":[true]}", BODY_BASE, "ports[0]" },
    { "{\"ports\":[2001,2002,2003,2004,2005,2006,2007,2008,2009,2010,2011,"
      "2012,2013,2014,2015,2016,2017]}", BODY_BASE, "ports" },
    { "{\"env\":{\"A_1\":\"x\"}}", BODY_BASE, NULL },
    { "{\"env\":{\"1A\":\"x\"}}", BODY_BASE, "env" },
    { "{\"env\":{\"A\":1}}", BODY_BASE, "env.A" },
    { "{\"env\":{\"A\":null}}", BODY_BASE, "env.A" },
    { "{\"env\":{\"A\":\"a\\u0000\"}}", BODY_BASE, "env.A" },
    { "{\"memory_high\":\"4G\"}", BODY_BASE, NULL },
    { "{\"memory_high\":\"1T\"}", BODY_BASE, "memory_high" },
    { "{\"memory_high\":\"4Q\"}", BODY_BASE, "memory_high" },
    { "{\"memory_high\":1073741824}", BODY_BASE, NULL },
    { "{\"memory_high\":{}}", BODY_BASE, "memory_high" },
    { "{\"memory_mb\":128,\"memory_high\":\"1G\"}", BODY_V1, "memory_high" },
    { "{\"memory_high\":\"1G\",\"memory_mb\":128}", BODY_V1, "memory_high" },
    { "{\"memory_mb\":63}", BODY_V1, "memory_mb" },
    { "{\"cpus\":0.5}", BODY_V1, NULL },
    { "{\"cpus\":0}", BODY_V1, "cpus" },
    { "{\"cpus\":1e99}", BODY_V1, "cpus" },
    { "{\"cpus\":\"1\"}", BODY_V1, "cpus" },
    { "{\"visibility\":\"secret\"}", BODY_BASE, "visibility" },
    { "{\"visibility\":\"public|private\"}", BODY_BASE, "visibility" },
    { "{\"visibility\":\"\"}", BODY_BASE, "visibility" },
    { "{\"external\":{\"user_id\":\"u\"}}", BODY_BASE, NULL },
    { "{\"external\":{\"user_id\":1}}", BODY_BASE, "external.user_id" },
    { "{\"external\":{\"user\":\"u\"}}", BODY_V1, "external.user" },
    { "{\"external\":{\"user_id\":\"a\\nb\"}}", BODY_V1,
      "external.user_id" },
    { "{\"project\":{\"id\":\"p\",\"user_id\":\"u\"}}", BODY_V1, NULL },
    { "{\"project\":{\"user_id\":\"u\"}}", BODY_V1, "project.id" },
    { "{\"image\":\"a/b:1\"}", BODY_V1, NULL },
    { "{\"image\":\"-v\"}", BODY_V1, "image" },
    { "{\"image\":\"a b\"}", BODY_V1, "image" },
    { "{\"template\":\"vite\"}", BODY_BASE, NULL },
    { "{\"template\":\"vite=x\"}", BODY_BASE, "template" },
    { "{\"template\":\"vit\"}", BODY_BASE, "template" },
    { "{\"template\":\"vite\",\"image\":\"x\"}", BODY_V1, "image" },
    { "{\"git_remote_url\":\"https://h/r.git\"}", BODY_BASE, NULL },
    { "{\"git_remote_url\":\"https://t:x@h/r\"}", BODY_BASE,
      "git_remote_url" },
    { "{\"git_remote_url\":\"--upload-pack=x\"}", BODY_BASE,
      "git_remote_url" },
    { "{\"git_remote_url\":\"https://h/r.git\"}", BODY_V1,
      "git_remote_url" },
    { "{\"labels\":{\"a/b\":\"c\"}}", BODY_V1, NULL },
    { "{\"labels\":{\"a b\":\"c\"}}", BODY_V1, "labels" },
    { "{\"labels\":{\"a\":null}}", BODY_V1, "labels.a" },
    { "{\"services\":[{\"name\":\"web\",\"cmd\":[\"x\"],\"port\":3000,"
      "\"restart\":\"always\",\"env\":{\"A\":\"1\"},\"cwd\":\"app\"}]}",
      BODY_V1, NULL },
    { "{\"services\":[{\"cmd\":\"x\"}]}", BODY_V1, "services[0].name" },
    { "{\"services\":[{\"name\":\"w\"}]}", BODY_V1, "services[0].cmd" },
    { "{\"services\":[{\"name\":\"w\",\"cmd\":[]}]}", BODY_V1,
      "services[0].cmd" },
    { "{\"services\":[{\"name\":\"w\",\"cmd\":[\"\"]}]}", BODY_V1,
      "services[0].cmd[0]" },
    { "{\"services\":[{\"name\":\"w\",\"cmd\":\"x\"},{\"name\":\"w\","
      "\"cmd\":\"x\"}]}", BODY_V1, "services[1].name" },
    { "{\"services\":[5]}", BODY_V1, "services[0]" },
    { "{\"services\":[null]}", BODY_V1, "services[0]" },
    { "{\"services\":[{\"name\":\"w\",\"cmd\":\"x\",\"restart\":\"x\"}]}",
      BODY_V1, "services[0].restart" },
    { "{\"setup\":{\"cmd\":\"make\",\"timeout_s\":5}}", BODY_V1, NULL },
    { "{\"setup\":{\"cmd\":\"make\",\"timeout_s\":0}}", BODY_V1,
      "setup.timeout_s" },
    { "{\"setup\":{}}", BODY_V1, "setup.cmd" },
    { "{\"setup\":[]}", BODY_V1, "setup" },
    { "{\"root\":\"readonly\"}", BODY_V1, NULL },
    { "{\"root\":\"writable\"}", BODY_V1, "root" },
    { "{\"files\":{\"a\":\"b\"}}", BODY_V1, "files" },
    { "{\"preview_host_header\":\"app.test\"}", BODY_V1, NULL },
    { "{\"preview_host_header\":\"a\\r\\nb\"}", BODY_V1,
      "preview_host_header" },
    { "{\"idle_s\":60}", BODY_PATCH, NULL },
    { "{\"idle_s\":null}", BODY_PATCH, NULL },
    { "{\"labels\":{\"a\":null}}", BODY_PATCH, NULL },
    { "{\"id\":\"x\"}", BODY_PATCH, "id" },
    { "{\"image\":\"x\"}", BODY_PATCH, "image" },
};

static void test_fields(void)
{
    struct json_object *args;
    struct err          e;
    size_t              i;
    int                 rc;

    for (i = 0; i < sizeof(creates) / sizeof(creates[0]); i++) {
        args = NULL;
        memset(&e, 0, sizeof(e));
        if (creates[i].form == BODY_PATCH)
            rc = body_patch(creates[i].text, strlen(creates[i].text), &s,
                &args, &e);
        else
            rc = body_create(creates[i].text, strlen(creates[i].text),
                creates[i].form, &s, &args, &e);
        CHECK_AS(rc == (creates[i].field == NULL ? 0 : -1),
            creates[i].text);
        if (creates[i].field != NULL && rc == -1) {
            CHECK_STR(e.field, creates[i].field);
            CHECK(e.msg[0] != '\0' && args == NULL);
        }
        json_object_put(args);
    }
}

static struct json_object *created(const char *text, enum body_form form)
{
    struct json_object *args = NULL;
    struct err          e;

    CHECK(body_create(text, strlen(text), form, &s, &args, &e) == 0);
    return args;
}

static const char *arg(struct json_object *args, const char *name)
{
    struct json_object *v = json_object_object_get(args, name);

    return v == NULL ? "(none)" : json_object_to_json_string_ext(v,
        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void test_normalised(void)
{
    struct json_object *args;
    struct err          e;

    args = created("{\"id\":\"AbC\",\"ports\":[3000,5173,3000],"
        "\"memory_high\":\"1.5G\",\"template\":\"vite\"}", BODY_BASE);
    CHECK_STR(arg(args, "id"), "\"abc\"");
    CHECK_STR(arg(args, "ports"), "[3000,5173]");
    CHECK_STR(arg(args, "memory_mb"), "1536");
    CHECK_STR(arg(args, "memory_high"), "(none)");
    CHECK_STR(arg(args, "image"), "\"my/vite:2\"");
    CHECK_STR(arg(args, "template"), "\"vite\"");
    CHECK_STR(arg(args, "idle_s"), "900");
    CHECK_STR(arg(args, "visibility"), "\"public\"");
    json_object_put(args);

    args = created("{\"services\":[{\"name\":\"w\",\"cmd\":\"npm start\"}],"
        "\"project\":{\"id\":\"p\"}}", BODY_V1);
    CHECK_STR(arg(args, "services"), "[{\"name\":\"w\",\"cmd\":[\"/bin/sh\","
        "\"-c\",\"npm start\"],\"restart\":\"on-failure\"}]");
    CHECK_STR(arg(args, "project"), "{\"id\":\"p\",\"user_id\":\"\"}");
    CHECK_STR(arg(args, "project_key"), "true");
    json_object_put(args);

    CHECK(body_patch("{\"idle_s\":null,\"cpus\":2}", 24, &s, &args, &e)
        == 0);
    CHECK_STR(arg(args, "idle_s"), "900");
    CHECK(json_object_object_length(args) == 2);
    json_object_put(args);

    CHECK(body_create("{\"prots\":[]}", 12, BODY_V1, &s, &args, &e) == -1);
    CHECK_STR(e.msg, "unknown field \"prots\"; did you mean \"ports\"?");
    CHECK_STR(e.code, "unknown_field");
}

static void test_other_bodies(void)
{
    struct json_object *args = NULL;
    struct err          e;

    CHECK(body_env("{\"env\":{\"A\":\"b\"}}", 17, &s, &args, &e) == 0);
    CHECK_STR(arg(args, "env"), "{\"A\":\"b\"}");
    json_object_put(args);
    CHECK(body_env("{\"A\":\"b\"}", 9, &s, &args, &e) == 0);
    CHECK_STR(arg(args, "env"), "{\"A\":\"b\"}");
    json_object_put(args);
    CHECK(body_env("{\"A\":{}}", 8, &s, &args, &e) == -1);
    CHECK(body_keepalive("", 0, &args, &e) == 0);
    CHECK(json_object_object_length(args) == 0);
    json_object_put(args);
    CHECK(body_keepalive("{\"until\":1767323045}", 20, &args, &e) == 0);
    CHECK_STR(arg(args, "until_ms"), "1767323045000");
    json_object_put(args);
    CHECK(body_keepalive("{\"until\":\"2026-01-02T03:04:05Z\"}", 32, &args,
        &e) == 0);
    CHECK_STR(arg(args, "until_ms"), "1767323045000");
    json_object_put(args);
    CHECK(body_keepalive("{\"until\":-1}", 12, &args, &e) == -1);
    CHECK(body_keepalive("{\"until\":true}", 14, &args, &e) == -1);
    CHECK(body_none("", 0, &e) == 0);
    CHECK(body_none("{\"a\":1}", 7, &e) == -1);
}

static void test_parsers(void)
{
    static const char *const no_size[] = {
        "", "G", "-1G", "1GG", "1e3", "0x1G", "1.2.3", " 1G", "1 G", "nan",
        "inf", "999999999999999999999999"
    };
    static const char *const no_time[] = {
        "", "2026", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z", "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+1", "now"
    };
    size_t i;

    CHECK(body_size_mb("4G") == 4096 && body_size_mb("512m") == 512);
    CHECK(body_size_mb("1.5GiB") == 1536);
    CHECK(body_size_mb("2147483648") == 2048);
    for (i = 0; i < sizeof(no_size) / sizeof(no_size[0]); i++)
        CHECK_AS(body_size_mb(no_size[i]) == -1, no_size[i]);
    CHECK(body_time_ms("2026-01-02T03:04:05.678Z") == 1767323045678);
    CHECK(body_time_ms("2026-01-02T05:04:05+02:00") == 1767323045000);
    for (i = 0; i < sizeof(no_time) / sizeof(no_time[0]); i++)
        CHECK_AS(body_time_ms(no_time[i]) == -1, no_time[i]);
}

int main(void)
{
    static const char text[] = "templates=vite=my/vite:2,next=my/next\n";
    struct err        e;

    if (settings_parse(&s, text, sizeof(text) - 1, "test", &e) != 0) {
        printf("FAIL settings: %s\n", e.msg);
        return 1;
    }
    test_json();
    test_fields();
    test_normalised();
    test_other_bodies();
    test_parsers();
    settings_fini(&s);
    return TEST_END();
}
