/* Unit test of parent/nginx_conf: what is shipped in lua-free-config/settings/
 * is byte for byte what the defaults make, and settings arrive where they
 * should. Run it from the repository's root. */
#include "parent/nginx_conf.h"

#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/files.h"
#include "test.h"

static const char *const written[] = {
    "main.conf", "events.conf", "http.conf", "listen_api.conf",
    "listen_preview.conf", "listen_metrics.conf", "public.conf",
    "tls.conf",
};

static struct err e;
static char       cwd[PATH_MAX], dir[] = "/tmp/holdfast-conf.XXXXXX";

static void read_conf(const char *root, const char *name, struct buf *b)
{
    char path[PATH_MAX * 2];

    snprintf(path, sizeof(path), "%s/lua-free-config/settings/%s", root,
        name);
    buf_reset(b);
    if (files_read(path, b, &e) != 0)
        printf("     %s\n", e.msg);
}

static int write_conf(const char *more)
{
    struct settings s;
    char            text[PATH_MAX + 1000];
    int             rc;

    snprintf(text, sizeof(text), "lib_dir=%s\n%s", cwd, more);
    rc = settings_parse(&s, text, strlen(text), "t.conf", &e);
    if (rc == 0) {
        rc = nginx_conf_write(&s, dir, s.nofile, &e);
        settings_fini(&s);
    }
    if (rc != 0)
        printf("     %s\n", e.msg);
    return rc;
}

/* lib_dir has to be this checkout for the copying, so what follows its name is
 * compared with what follows the default's. */
static void same_file(struct buf *got, struct buf *want, const char *name)
{
    const char *def = "/usr/lib/holdfast", *g, *w;
    size_t      head;

    read_conf(dir, name, got);
    read_conf(cwd, name, want);
    g = strstr(got->data, cwd);
    w = strstr(want->data, def);
    if (g == NULL) {
        CHECK_AS(strcmp(got->data, want->data) == 0, name);
        return;
    }
    head = (size_t)(g - got->data);
    CHECK_AS(w != NULL && (size_t)(w - want->data) == head
        && memcmp(got->data, want->data, head) == 0
        && strcmp(g + strlen(cwd), w + strlen(def)) == 0, name);
}

static void test_shipped(void)
{
    struct buf got, want;
    size_t     i;

    buf_init(&got, 100000);
    buf_init(&want, 100000);
    CHECK(write_conf("") == 0);
    for (i = 0; i < sizeof(written) / sizeof(written[0]); i++)
        same_file(&got, &want, written[i]);
    buf_fini(&got);
    buf_fini(&want);
}

static void test_values(void)
{
    struct buf  b;
    struct stat st;
    char        path[PATH_MAX];

    buf_init(&b, 100000);
    CHECK(write_conf("nginx_workers=3\ngate_user=games\nrun_dir=/x/y\n"
        "api_origins=https://a.b,http://c\napi_hosts=h.example\n"
        "rate_per_s=7\nauth_tokens=ci:abc,t/n:a1+b2=sha256:ba7816bf8f01cfea"
        "414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
        "table_size=1G\nbody_max_kb=64\n") == 0);
    read_conf(dir, "main.conf", &b);
    CHECK(strstr(b.data, "\nworker_processes 3;\n") != NULL);
    CHECK(strstr(b.data, "\nuser games;\n") != NULL);
    CHECK(strstr(b.data, "\npid /x/y/nginx/nginx.pid;\n") != NULL);
    read_conf(dir, "http.conf", &b);
    CHECK(strstr(b.data, "\nholdfast_origins https://a.b http://c;\n")
        != NULL);
    CHECK(strstr(b.data, "\nholdfast_hosts   h.example;\n") != NULL);
    CHECK(strstr(b.data, "\nholdfast_rate    7;\n") != NULL);
    CHECK(strstr(b.data, "\nholdfast_table  1024m;\n") != NULL);
    CHECK(strstr(b.data, "/tokens;\n") != NULL);
    read_conf(dir, "listen_api.conf", &b);
    CHECK(strstr(b.data, "client_max_body_size 64k;") != NULL);

    CHECK(strstr(b.data, "proxy_protocol;") == NULL);

    CHECK(write_conf("trusted_proxies=10.0.0.0/8,fd00::1\n"
        "proxy_protocol=previews\npreview_scheme=https\n"
        "preview_public_port=443\ntls_listen=*:443\n"
        "tls_certificate=/t/c.pem\ntls_key=/t/k.pem\n") == 0);
    read_conf(dir, "http.conf", &b);
    CHECK(strstr(b.data, "\nset_real_ip_from 10.0.0.0/8;\n"
        "set_real_ip_from fd00::1;\nreal_ip_header proxy_protocol;\n")
        != NULL);
    read_conf(dir, "public.conf", &b);
    CHECK(strstr(b.data, "X-Forwarded-Proto https;\n") != NULL);
    CHECK(strstr(b.data, "X-Forwarded-Port  443;\n") != NULL);
    read_conf(dir, "listen_api.conf", &b);
    CHECK(strstr(b.data, " proxy_protocol;") == NULL);
    read_conf(dir, "listen_preview.conf", &b);
    CHECK(strstr(b.data, "\nlisten 127.0.0.1:7080 proxy_protocol;\n")
        != NULL);
    read_conf(dir, "tls.conf", &b);
    CHECK(strstr(b.data, "    listen *:443 ssl http2 proxy_protocol;\n")
        != NULL);
    CHECK(strstr(b.data, "ssl_certificate_key /t/k.pem;") != NULL);
    CHECK(write_conf("auth_tokens=ci:abc,t/n:a1+b2=sha256:ba7816bf8f01cfea"
        "414140de5dae2223b00361a396177a9cb410ff61f20015ad\n") == 0);

    snprintf(path, sizeof(path), "%s/tokens", dir);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    buf_reset(&b);
    CHECK(files_read(path, &b, &e) == 0);
    CHECK_STR(b.data, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff"
        "61f20015ad default 37a8eec1ce19687d ci admin\n"
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad t "
        "e3b98a4da31a127d n ids:a1+b2\n");
    CHECK(write_conf("") == 0);
    CHECK(stat(path, &st) != 0);        /* no tokens, no file */
    buf_fini(&b);
}

static void tokens_from(const char *text, int well, const char *says)
{
    char path[PATH_MAX], more[PATH_MAX + 20];

    snprintf(path, sizeof(path), "%s/mine", dir);
    snprintf(more, sizeof(more), "tokens_file=%s\n", path);
    files_write(path, text, strlen(text), 0600, NULL);
    memset(&e, 0, sizeof(e));
    CHECK_AS((write_conf(more) == 0) == well, text);
    CHECK_AS(strstr(e.msg, says) != NULL, says);
}

static void test_tokens_file(void)
{
    tokens_from("# none\n\n", 0, "holds no token");
    tokens_from("t/a:ro=plain\n", 0, ":1: token \"a\" must be given as sha");
    tokens_from("\nt/a:zz zz=plain\n", 0, ":2: the scope of");
    tokens_from("# mine\nt/a:ro=sha256:ba7816bf8f01cfea414140de5dae2223b00361"
        "a396177a9cb410ff61f20015ad\r\n", 1, "");
    CHECK(write_conf("tokens_file=/nonexistent\n") != 0);
}

static int remove_one(const char *path, const struct stat *st, int type,
    struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int main(void)
{
    if (getcwd(cwd, sizeof(cwd)) == NULL || mkdtemp(dir) == NULL)
        return 111;
    test_shipped();
    test_values();
    test_tokens_file();
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return TEST_END();
}
