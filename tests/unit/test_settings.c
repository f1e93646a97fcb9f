/* Unit test of common/settings: values, errors with their line, what must fit
 * together, and what is written. */
#include "common/settings.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct err last;

static int parse(const char *text)
{
    struct settings s;
    int             rc;

    memset(&last, 0, sizeof(last));
    rc = settings_parse(&s, text, strlen(text), "f.conf", &last);
    if (rc == 0)
        settings_fini(&s);
    return rc;
}

static void test_values(void)
{
    static const char text[] = "# a comment\n\n  idle_s = 600  \r\n"
        "memory_default=4G\nmemory_max=1T\nrun_nginx=off\n"
        "data_dir=/srv/holdfast//\ndomain=example.com";
    struct settings   s;

    CHECK(settings_parse(&s, text, strlen(text), "f.conf", &last) == 0);
    CHECK(s.idle_s == 600);
    CHECK(s.memory_default == 4096);
    CHECK(s.memory_max == 1048576);
    CHECK(!s.run_nginx);
    CHECK_STR(s.data_dir, "/srv/holdfast");
    CHECK_STR(s.domain, "example.com");
    CHECK_STR(s.api_listen, "127.0.0.1:7070");
    CHECK_STR(s.file, "f.conf");
    settings_fini(&s);
    CHECK(settings_load(&s, NULL, &last) == 0);
    CHECK(s.memory_default == 2048);
    CHECK(s.tenant_memory_max == 0);
    settings_fini(&s);
    CHECK(settings_load(&s, "/nonexistent/x", &last) != 0);
    CHECK(settings_load(&s, "/dev/zero", &last) != 0);
}

static void test_errors(void)
{
    CHECK(parse("\nidle_s=5m\n") != 0);
    CHECK_STR(last.msg, "f.conf:2: idle_s must be a number from 10 to "
        "31536000, not \"5m\"");
    CHECK(parse("idle_s=9") != 0);
    CHECK(parse("idel_s=60") != 0);
    CHECK_STR(last.msg, "f.conf:1: no setting \"idel_s\"; did you mean "
        "\"idle_s\"?");
    CHECK(parse("IDLE-S=60") != 0);
    CHECK(strstr(last.msg, "\"idle_s\"?") != NULL);
    CHECK(parse("quite_something_else=60") != 0);
    CHECK(strstr(last.msg, "did you mean") == NULL);
    CHECK(parse("idle_s=60\n#\nidle_s=60") != 0);
    CHECK_STR(last.msg, "f.conf:3: idle_s was set already in line 1");
    CHECK(parse("just words") != 0);
    CHECK(parse("=5") != 0);
    CHECK(parse("domain=\"a.b\"") != 0);
    CHECK(strstr(last.msg, "without quotes") != NULL);
    CHECK(parse("run_nginx=yes") != 0);
    CHECK(strstr(last.msg, "on or off") != NULL);
    CHECK(parse("memory_default=512") != 0);
    CHECK(parse("memory_default=63M") != 0);
    CHECK(parse("memory_default=4096P") != 0);
    CHECK(parse("memory_default=32G") != 0);
    CHECK(strstr(last.msg, "memory_max") != NULL);
}

static void test_secrets(void)
{
    CHECK(parse("auth_tokens=oh no hunter2") != 0);
    CHECK(strstr(last.msg, "hunter2") == NULL);
    CHECK(parse("api_listen=0.0.0.0:7070") != 0);
    CHECK(strstr(last.msg, "auth_tokens or tokens_file must be set") != NULL);
    CHECK(parse("api_listen=0.0.0.0:7070\nauth_tokens=a:b") == 0);
    CHECK(parse("api_listen=*:7070\ntokens_file=/etc/t") == 0);
    CHECK(parse("api_listen=*:7070") != 0);
    CHECK(parse("api_listen=[::]:7070") != 0);
    CHECK(parse("api_listen=[::1]:7070") == 0);
    CHECK(parse("api_listen=127.0.0.2:7070") == 0);
}

static void test_forms(void)
{
    static const char *const bad[] = {
        "data_dir=relative", "data_dir=/a/../b", "data_dir=/a b",
        "data_dir=/a;b", "data_dir=/..", "data_dir=", "api_user=root",
        "api_user=", "stack=UP", "stack=toolong", "domain=-a", "domain=a..b",
        "domain=a_b", "api_listen=127.0.0.1", "api_listen=:80",
        "api_listen=127.0.0.1:0", "api_listen=127.0.0.1:65536",
        "api_listen=::1:80", "api_listen=localhost:80", "dns=1.2.3",
        "dns=1.1.1.1,", "addr_range=10.0.0.5/8", "addr_range=10.0.0.0",
        "addr_range=10.0.0.0/33", "trusted_proxies=10.0.0.5/8",
        "trusted_proxies=10.0.0.0/33", "trusted_proxies=a",
        "trusted_proxies=fd00::/129", "trusted_proxies=fd00::1/64",
        "trusted_proxies=10.0.0.1;", "trusted_proxies=10.0.0.0/",
        "proxy_protocol=on", "proxy_protocol=yes",
        "tls_listen=127.0.0.1:443", "tls_listen=a",
        "tls_listen=127.0.0.1:7080\ntls_certificate=/a\ntls_key=/b",
        "templates=a", "templates=a=b c",
        "api_origins=https://a.b/", "api_origins=a.b", "api_hosts=a,,b",
        "image=", "image=-x", "tokens_file=x", "preview_scheme=ftp",
        "auth_tokens=a", "auth_tokens=a:b,", "auth_tokens=a/b",
        "auth_tokens=t/a:RW=x", "auth_tokens=a b:c",
        "auth_tokens=a:sha256:12", "api_listen=127.0.0.1:7080",
        "run_dir=/var/lib/holdfast", "uid_base=99999",
        "run_dir=/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    static const char *const good[] = {
        "dns=1.1.1.1,::1", "addr_range=10.0.0.0/8",
        "trusted_proxies=10.0.0.0/8,127.0.0.1,fd00::/8,::1/128,0.0.0.0/0",
        "trusted_proxies=::1\nproxy_protocol=previews",
        "tls_listen=[::]:443\ntls_certificate=/a\ntls_key=/b",
        "templates=a=b:1,c=d",
        "api_origins=https://a.b,http://localhost:3000", "api_hosts=a,b.c",
        "auth_tokens=a:b:c=d/e,t/n:ro=x,t/n:a1+b2=y",
        "stack=ci2", "docker_socket=/x/docker.sock", "node_name=",
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_AS(parse(bad[i]) != 0, bad[i]);
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_AS(parse(good[i]) == 0, good[i]);
}

/* What is written is read again and means the same. */
static void test_effective(void)
{
    static const char text[] = "idle_s=77\nauth_tokens=ci:hunter2,t/n:ro=x\n"
        "memory_max=17G\nrun_redis=off\n";
    struct settings   a, b;
    char             *out = NULL;
    size_t            len;
    FILE             *f = open_memstream(&out, &len);

    CHECK(settings_parse(&a, text, strlen(text), "f.conf", &last) == 0);
    CHECK(settings_print_effective(&a, f) == 0);
    fclose(f);
    CHECK(strstr(out, "hunter2") == NULL);
    CHECK(settings_parse(&b, out, len, "g.conf", &last) == 0);
    CHECK(b.idle_s == 77 && b.memory_max == 17408 && !b.run_redis);
    CHECK(strncmp(b.auth_tokens, "default/ci:admin=sha256:f52fbd32", 32) == 0);
    settings_fini(&b);
    settings_fini(&a);
    free(out);
}

/* The example with every # of a setting taken away says the defaults. */
static void test_example(void)
{
    struct settings s;
    char           *out = NULL, *p;
    size_t          len;
    FILE           *f = open_memstream(&out, &len);

    settings_print_example(f);
    fclose(f);
    for (p = out; (p = strstr(p, "\n#")) != NULL; p++) {
        if (p[2] != ' ')
            p[1] = ' ';
    }
    CHECK(settings_parse(&s, out, len, "e.conf", &last) == 0);
    CHECK(s.idle_s == 900);
    settings_fini(&s);
    free(out);
}

int main(void)
{
    test_values();
    test_errors();
    test_secrets();
    test_forms();
    test_effective();
    test_example();
    return TEST_END();
}
