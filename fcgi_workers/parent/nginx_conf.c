/*
 * nginx_conf: the tree that our nginx runs from (see nginx_conf.h).
 *
 * Values come checked from the settings (settings_form.c): none holds a
 * character that means something to nginx. Must never write outside `dir`.
 */
#include "nginx_conf.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/buf.h"
#include "../common/files.h"
#include "../common/ticket_keys.h"
#include "tokens_file.h"

#define CONF_PIECES   "lua-free-config"
#define CONF_SETTINGS CONF_PIECES "/settings"
#define CONF_MAX      (1024 * 1024)

struct conf {
    const struct settings *s;
    const char            *dir;
    int64_t                nofile;
    int                    ntokens;
};

/* ---- the settings' files ------------------------------------------------ */

static void conf_main(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;

    buf_str(b, "# Settings: gate_user, nginx_workers (0: auto), run_dir, "
        "log_dir, nofile,\n# lib_dir.\n");
    buf_printf(b, "user %s;\n", s->gate_user);
    if (s->nginx_workers == 0)
        buf_str(b, "worker_processes auto;\n");
    else
        buf_printf(b, "worker_processes %lld;\n",
            (long long)s->nginx_workers);
    buf_printf(b, "worker_rlimit_nofile %lld;\n", (long long)c->nofile);
    buf_printf(b, "pid %s/nginx/nginx.pid;\n", s->run_dir);
    buf_printf(b, "error_log %s/nginx-error.log warn;\n\n", s->log_dir);
    buf_str(b, "# After a reload the workers of before keep serving open "
        "WebSockets and\n# streams for so long.\n"
        "worker_shutdown_timeout 60s;\n\n");
    buf_printf(b, "load_module %s/ngx_http_holdfast_module.so;\n",
        s->lib_dir);
}

static void conf_events(const struct conf *c, struct buf *b)
{
    buf_str(b, "# Settings: nofile. A proxied request takes two "
        "descriptors.\n");
    buf_printf(b, "worker_connections %lld;\n", (long long)c->nofile / 2);
}

/* "a,b" as "a b"; nothing as "off". */
static void conf_list(struct buf *b, const char *directive, const char *list)
{
    size_t n;

    buf_str(b, directive);
    if (list[0] == '\0')
        buf_str(b, " off");
    while (list[0] != '\0') {
        n = strcspn(list, ",");
        buf_str(b, " ");
        buf_add(b, list, n);
        list += n + (list[n] == ',');
    }
    buf_str(b, ";\n");
}

static void conf_http_paths(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;

    buf_str(b, "# Settings: run_dir, log_dir.\n");
    buf_printf(b, "client_body_temp_path %s/nginx/body;\n", s->run_dir);
    buf_printf(b, "proxy_temp_path       %s/nginx/proxy;\n", s->run_dir);
    buf_printf(b, "fastcgi_temp_path     %s/nginx/fastcgi;\n", s->run_dir);
    buf_printf(b, "uwsgi_temp_path       %s/nginx/uwsgi;\n", s->run_dir);
    buf_printf(b, "scgi_temp_path        %s/nginx/scgi;\n", s->run_dir);
    buf_printf(b, "access_log            %s/access.log holdfast "
        "buffer=64k flush=1s;\n\n", s->log_dir);
    buf_printf(b, "holdfast_keeper unix:%s/keeper.sock;\n", s->run_dir);
    buf_printf(b, "holdfast_door   unix:%s/door.sock;\n", s->run_dir);
    buf_printf(b, "holdfast_redis  unix:%s/redis.sock;\n\n", s->run_dir);
}

/* Who in front of us is believed. */
static void conf_http_front(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;
    const char            *p = s->trusted_proxies;
    size_t                 n;

    buf_str(b, "# trusted_proxies, proxy_protocol\n");
    for (; *p != '\0'; p += n + (p[n] == ',')) {
        n = strcspn(p, ",");
        buf_printf(b, "set_real_ip_from %.*s;\n", (int)n, p);
    }
    buf_printf(b, "real_ip_header %s;\nreal_ip_recursive on;\n\n",
        strcmp(s->proxy_protocol, "off") == 0 ? "X-Forwarded-For"
        : "proxy_protocol");
}

/* What apps are told of their public address: only when TLS ends before us
 * does it differ from our own. */
static void conf_public(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;

    buf_str(b, "# Settings: preview_scheme, preview_public_port.\n");
    buf_printf(b, "proxy_set_header X-Forwarded-Proto %s;\n",
        strcmp(s->preview_scheme, "https") == 0 ? "https" : "$scheme");
    buf_str(b, "proxy_set_header X-Forwarded-Port  ");
    if (s->preview_public_port == 0)
        buf_str(b, "$server_port;\n");
    else
        buf_printf(b, "%lld;\n", (long long)s->preview_public_port);
}

static void conf_http_streams(const struct settings *s, struct buf *b)
{
    buf_str(b, "# data_dir, stream_tenant_max stream_clients_max, "
        "stream_max_s, stream_ping_s\n");
    buf_printf(b, "holdfast_streams      %s/streams;\n", s->data_dir);
    buf_printf(b, "holdfast_stream_limit %lld %lld;\n",
        (long long)s->stream_tenant_max, (long long)s->stream_clients_max);
    buf_printf(b, "holdfast_stream_max   %llds;\n",
        (long long)s->stream_max_s);
    buf_printf(b, "holdfast_stream_ping  %llds;\n\n",
        (long long)s->stream_ping_s);
}

static void conf_http(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;

    conf_http_paths(c, b);
    buf_str(b, "# table_size, domain\n");
    buf_printf(b, "holdfast_table  %lldm;\n", (long long)s->table_size);
    buf_printf(b, "holdfast_domain %s;\n\n", s->domain);
    conf_http_front(c, b);

    buf_str(b, "# auth_tokens and tokens_file become one file, or off; "
        "api_origins, api_hosts,\n# rate_per_s (0: no limit)\n");
    if (c->ntokens > 0)
        buf_printf(b, "holdfast_tokens  %s/tokens;\n", c->dir);
    else
        buf_str(b, "holdfast_tokens  off;\n");
    conf_list(b, "holdfast_origins", s->api_origins);
    conf_list(b, "holdfast_hosts  ", s->api_hosts);
    buf_printf(b, "holdfast_rate    %lld;\n\n", (long long)s->rate_per_s);

    buf_str(b, "# What signs tickets of private previews: data_dir; "
        "preview_scheme https\n");
    buf_printf(b, "holdfast_ticket_keys   %s/" TICKET_KEYS_FILE ";\n",
        s->data_dir);
    buf_printf(b, "holdfast_secure_cookie %s;\n\n",
        strcmp(s->preview_scheme, "https") == 0 ? "on" : "off");

    buf_str(b, "# hold_max_s, op_hold_max_s, hold_max_per_sandbox "
        "hold_max_total\n");
    buf_printf(b, "holdfast_hold_max    %llds;\n", (long long)s->hold_max_s);
    buf_printf(b, "holdfast_op_hold_max %llds;\n",
        (long long)s->op_hold_max_s);
    buf_printf(b, "holdfast_hold_limit  %lld %lld;\n\n",
        (long long)s->hold_max_per_sandbox, (long long)s->hold_max_total);
    buf_str(b, "# warming_after_ms, quiet_s\n");
    buf_printf(b, "holdfast_warming_after %lldms;\n",
        (long long)s->warming_after_ms);
    buf_printf(b, "holdfast_quiet_after   %llds;\n\n", (long long)s->quiet_s);

    conf_http_streams(s, b);
    buf_printf(b, "upstream holdfast_api {\n    server unix:%s/api.sock;\n"
        "}\n", s->run_dir);
}

static const char *conf_proxied(const struct conf *c, bool api)
{
    const char *word = c->s->proxy_protocol;

    if (strcmp(word, "on") == 0 || (strcmp(word, "previews") == 0 && !api))
        return " proxy_protocol";
    return "";
}

static void conf_listen_api(const struct conf *c, struct buf *b)
{
    buf_str(b, "# Settings: api_listen, proxy_protocol, body_max_kb.\n");
    buf_printf(b, "listen %s%s;\nclient_max_body_size %lldk;\n",
        c->s->api_listen, conf_proxied(c, true),
        (long long)c->s->body_max_kb);
}

static void conf_listen_preview(const struct conf *c, struct buf *b)
{
    buf_str(b, "# Settings: preview_listen, proxy_protocol.\n");
    buf_printf(b, "listen %s%s;\n", c->s->preview_listen,
        conf_proxied(c, false));
}

static void conf_tls(const struct conf *c, struct buf *b)
{
    const struct settings *s = c->s;

    buf_str(b, "# Settings: tls_listen, tls_certificate, tls_key, "
        "proxy_protocol.\n");
    if (s->tls_listen[0] == '\0') {
        buf_str(b, "# No TLS here: tls_listen is empty.\n");
        return;
    }
    buf_printf(b, "server {\n    listen %s ssl http2%s;\n    server_name _;\n"
        "    ssl_certificate     %s;\n    ssl_certificate_key %s;\n"
        "    include lua-free-config/tls.conf;\n"
        "    include lua-free-config/preview_server.conf;\n}\n",
        s->tls_listen, conf_proxied(c, false), s->tls_certificate,
        s->tls_key);
}

static void conf_listen_metrics(const struct conf *c, struct buf *b)
{
    buf_str(b, "# Settings: metrics_listen.\n");
    buf_printf(b, "listen %s;\n", c->s->metrics_listen);
}

static const struct {
    const char *path;
    void      (*write)(const struct conf *c, struct buf *b);
} conf_files[] = {
    { CONF_SETTINGS "/main.conf",           conf_main },
    { CONF_SETTINGS "/events.conf",         conf_events },
    { CONF_SETTINGS "/http.conf",           conf_http },
    { CONF_SETTINGS "/listen_api.conf",     conf_listen_api },
    { CONF_SETTINGS "/listen_preview.conf", conf_listen_preview },
    { CONF_SETTINGS "/listen_metrics.conf", conf_listen_metrics },
    { CONF_SETTINGS "/public.conf",         conf_public },
    { CONF_SETTINGS "/tls.conf",            conf_tls },
};

static int conf_write_settings(const struct conf *c, struct err *e)
{
    struct buf b;
    char       path[PATH_MAX];
    size_t     i;
    int        rc = 0;

    buf_init(&b, CONF_MAX);
    for (i = 0; rc == 0 && i < sizeof(conf_files) / sizeof(conf_files[0]);
        i++)
    {
        buf_reset(&b);
        conf_files[i].write(c, &b);
        snprintf(path, sizeof(path), "%s/%s", c->dir, conf_files[i].path);
        rc = b.failed ? err_set(e, "internal", "out of memory")
            : files_write(path, b.data, b.len, 0644, e);
    }
    buf_fini(&b);
    return rc;
}

/* ---- the pieces --------------------------------------------------------- */

static int conf_copy(const struct conf *c, const char *name, struct err *e)
{
    struct buf b;
    char       path[PATH_MAX];
    int        rc;

    buf_init(&b, CONF_MAX);
    snprintf(path, sizeof(path), "%s/%s", c->s->lib_dir, name);
    rc = files_read(path, &b, e);
    if (rc == 0) {
        snprintf(path, sizeof(path), "%s/%s", c->dir, name);
        rc = files_write(path, b.data, b.len, 0644, e);
    }
    buf_fini(&b);
    return rc;
}

static int conf_copy_pieces(const struct conf *c, struct err *e)
{
    char           path[PATH_MAX];
    struct dirent *d;
    DIR           *dir;
    size_t         len;
    int            rc;

    rc = conf_copy(c, "nginx.conf", e);
    if (rc != 0)
        return rc;
    snprintf(path, sizeof(path), "%s/" CONF_PIECES, c->s->lib_dir);
    dir = opendir(path);
    if (dir == NULL)
        return err_errno(e, "read %s", path);
    while (rc == 0 && (d = readdir(dir)) != NULL) {
        len = strlen(d->d_name);
        if (len < 6 || strcmp(d->d_name + len - 5, ".conf") != 0)
            continue;
        snprintf(path, sizeof(path), CONF_PIECES "/%s", d->d_name);
        rc = conf_copy(c, path, e);
    }
    closedir(dir);
    return rc;
}

int nginx_conf_write(const struct settings *s, const char *dir, int64_t nofile,
    struct err *e)
{
    struct conf c = { s, dir, nofile, 0 };
    char        path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" CONF_SETTINGS, dir);
    if (files_mkdir(path, 0755, e) != 0)
        return -1;
    snprintf(path, sizeof(path), "%s/tokens", dir);
    c.ntokens = tokens_file_write(s, path, e);
    if (c.ntokens < 0 || conf_copy_pieces(&c, e) != 0)
        return -1;
    return conf_write_settings(&c, e);
}
