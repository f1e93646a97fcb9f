/* The isolation record: what Docker is told, and when a container is made
 * anew. */
#include "test.h"

#include <json-c/json.h>
#include <stdlib.h>

#include "keeper/engine_spec.h"

static const struct spec_context context = { "default", "mark", 2000 };

static struct engine_spec spec(void)
{
    struct engine_spec s = { .id = "box", .image = "some/image:1",
        .tenant = "default", .memory_mb = 512, .cpus_milli = 1500,
        .pids = 100, .tmp_mb = 64, .nofile = 4096, .home = "/d/home",
        .logs = "/d/logs", .passwd = "/d/passwd", .group = "/d/group",
        .resolv = "/d/resolv", .guest = "/l/guest", .seccomp = "{}" };

    return s;
}

/* "a.b.c" of the create message, as JSON text; static. */
static const char *part(const struct engine_spec *s,
    const struct engine_image *im,
    const char *path)
{
    static char  out[8192];
    struct buf   b;
    json_object *top, *o;
    char         name[64];
    size_t       n;

    buf_init(&b, 1 << 20);
    if (spec_json(s, im, &context, &b) != 0)
        return "failed";
    top = o = json_tokener_parse(b.data);
    while (o != NULL && *path != 0) {
        n = strcspn(path, ">");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        path += path[n] != 0 ? n + 1 : n;
        o = json_object_object_get(o, name);
    }
    snprintf(out, sizeof(out), "%s", o == NULL ? "nothing"
        : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN
            | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(top);
    buf_fini(&b);
    return out;
}

static void test_isolation(void)
{
    struct engine_spec s = spec();

    CHECK_STR(part(&s, NULL, "User"), "\"0:0\"");
    CHECK_STR(part(&s, NULL, "Entrypoint"), "[\"/.holdfast/guest\"]");
    CHECK_STR(part(&s, NULL, "Env"), "[]");
    CHECK_STR(part(&s, NULL, "Healthcheck>Test"), "[\"NONE\"]");
    CHECK_STR(part(&s, NULL, "HostConfig>NetworkMode"), "\"none\"");
    CHECK_STR(part(&s, NULL, "HostConfig>ReadonlyRootfs"), "true");
    CHECK_STR(part(&s, NULL, "HostConfig>CapDrop"), "[\"ALL\"]");
    CHECK_STR(part(&s, NULL, "HostConfig>CapAdd"),
        "[\"KILL\",\"SETGID\",\"SETPCAP\",\"SETUID\"]");
    CHECK_STR(part(&s, NULL, "HostConfig>SecurityOpt"),
        "[\"no-new-privileges\",\"seccomp={}\"]");
    CHECK_STR(part(&s, NULL, "HostConfig>Binds"), "nothing");
    CHECK_STR(part(&s, NULL, "HostConfig>Privileged"), "nothing");
    CHECK_STR(part(&s, NULL, "HostConfig>UsernsMode"), "\"host\"");
    CHECK_STR(part(&s, NULL, "HostConfig>Memory"), "536870912");
    CHECK_STR(part(&s, NULL, "HostConfig>MemorySwap"), "1073741824");
    CHECK_STR(part(&s, NULL, "HostConfig>NanoCpus"), "1500000000");
    CHECK_STR(part(&s, NULL, "Labels>holdfast.stack"), "\"default\"");
    CHECK_STR(part(&s, NULL, "Labels>holdfast.id"), "\"box\"");
    s.cpus_milli = 64000;
    CHECK_STR(part(&s, NULL, "HostConfig>NanoCpus"), "2000000000");
    s.seccomp = NULL;
    CHECK_STR(part(&s, NULL, "User"), "failed");
}

static void test_mounts(void)
{
    struct engine_spec s = spec();
    const char        *m = part(&s, NULL, "HostConfig>Mounts");

    CHECK(strstr(m, "{\"Type\":\"bind\",\"Source\":\"/l/guest\",\"Target\":"
        "\"/.holdfast/guest\",\"ReadOnly\":true}") != NULL);
    CHECK(strstr(m, "\"/d/home\",\"Target\":\"/home/sandbox\",\"ReadOnly\":"
        "false") != NULL);
    CHECK(strstr(m, "ca.pem") == NULL);
    s.ca_bundle = "/etc/ours.pem";
    CHECK(strstr(part(&s, NULL, "HostConfig>Mounts"), "\"/etc/ours.pem\","
        "\"Target\":\"/.holdfast/ca.pem\",\"ReadOnly\":true") != NULL);
}

/* An image's VOLUMEs are hostile text. */
static void test_volumes(void)
{
    struct engine_spec  s = spec();
    struct engine_image im = { .volumes = (char[]){
        "[\"/data\",\"/deep/er/\",\"/home/sandbox\",\"/tmp\",\"relative\","
        "\"/../up\",\"/a/../b\",\"//x\",\"/\",\"\",7,null,\"/etc/passwd\","
        "\"/c:rw\"]" } };
    const char         *t = part(&s, &im, "HostConfig>Tmpfs");
    json_object        *o = json_tokener_parse(t);

    CHECK(json_object_object_length(o) == 5);
    CHECK(json_object_object_get_ex(o, "/data", NULL));
    CHECK(json_object_object_get_ex(o, "/deep/er", NULL));
    CHECK_STR(json_object_get_string(json_object_object_get(o, "/tmp")),
        "rw,exec,nosuid,nodev,mode=1777,size=64m");
    CHECK(!json_object_object_get_ex(o, "/home/sandbox", NULL));
    json_object_put(o);
    im.volumes = (char[]){ "not json" };
    CHECK(strstr(part(&s, &im, "HostConfig>Tmpfs"), "/run") != NULL);
}

static void test_hash(void)
{
    struct engine_spec s = spec();
    char               first[65], second[65];

    engine_spec_hash(&s, first);
    engine_spec_hash(&s, second);
    CHECK(strlen(first) == 64 && strcmp(first, second) == 0);

#define DIFFERS(change, back) \
    do { \
        change; \
        engine_spec_hash(&s, second); \
        CHECK_AS(strcmp(first, second) != 0, "another hash: " #change); \
        back; \
        engine_spec_hash(&s, second); \
        CHECK_AS(strcmp(first, second) == 0, "the hash is back"); \
    } while (0)

    DIFFERS(s.image = "other", s.image = "some/image:1");
    DIFFERS(s.memory_mb = 513, s.memory_mb = 512);
    DIFFERS(s.cpus_milli = 1, s.cpus_milli = 1500);
    DIFFERS(s.pids = 1, s.pids = 100);
    DIFFERS(s.tmp_mb = 1, s.tmp_mb = 64);
    DIFFERS(s.nofile = 1, s.nofile = 4096);
    DIFFERS(s.home = "/x", s.home = "/d/home");
    DIFFERS(s.guest = "/x", s.guest = "/l/guest");
    DIFFERS(s.seccomp = "{ }", s.seccomp = "{}");
    DIFFERS(s.ca_bundle = "/x", s.ca_bundle = NULL);
}

int main(void)
{
    test_isolation();
    test_mounts();
    test_volumes();
    test_hash();
    return TEST_END();
}
