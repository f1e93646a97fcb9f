/*
 * boot: see boot.h. Turns stored JSON into the fields of BOOT.
 *
 * Owns the env that every sandbox has. Later fields win in the guest, so ours
 * come first and a caller's after them. Never logs a value.
 */
#include "boot.h"

#include <json-c/json.h>
#include <string.h>

/* The usual names under which tools look for certificates. */
static const char *const boot_ca_names[] = {
    "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
    "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"
};

static void field(struct buf *b, char tag, const void *data, size_t len)
{
    unsigned char head[5] = {
        (unsigned char) tag, (unsigned char) (len & 255),
        (unsigned char) (len >> 8 & 255), (unsigned char) (len >> 16 & 255),
        (unsigned char) (len >> 24 & 255)
    };

    buf_add(b, head, sizeof(head));
    buf_add(b, data, len);
}

static void field_str(struct buf *b, char tag, const char *s)
{
    field(b, tag, s, strlen(s));
}

static void field_u32(struct buf *b, char tag, uint32_t n)
{
    unsigned char le[4] = {
        (unsigned char) (n & 255), (unsigned char) (n >> 8 & 255),
        (unsigned char) (n >> 16 & 255), (unsigned char) (n >> 24)
    };

    field(b, tag, le, sizeof(le));
}

static void field_u16(struct buf *b, char tag, unsigned n)
{
    unsigned char le[2] = {
        (unsigned char) (n & 255), (unsigned char) (n >> 8 & 255)
    };

    field(b, tag, le, sizeof(le));
}

static void field_pair(struct buf *b, char tag, const char *name,
    const char *value)
{
    struct buf pair;

    buf_init(&pair, 1024 * 1024);
    buf_str(&pair, name);
    buf_str(&pair, "=");
    buf_str(&pair, value);
    if (pair.failed)
        b->failed = true;
    else
        field(b, tag, pair.data, pair.len);
    buf_fini(&pair);
}

static void env_all(struct buf *b, char tag, struct json_object *env)
{
    if (!json_object_is_type(env, json_type_object))
        return;
    json_object_object_foreach(env, name, value) {
        if (json_object_is_type(value, json_type_string))
            field_pair(b, tag, name, json_object_get_string(value));
    }
}

static void env_ours(struct buf *b, const struct boot_in *in)
{
    size_t i;

    field_pair(b, 'E', "HOME", BOOT_HOME);
    field_pair(b, 'E', "USER", "sandbox");
    field_pair(b, 'E', "LOGNAME", "sandbox");
    field_pair(b, 'E', "SHELL", in->shell);
    field_pair(b, 'E', "LANG", "C.UTF-8");
    field_pair(b, 'E', "HOLDFAST_SANDBOX", in->id);
    if (!in->ca)
        return;
    for (i = 0; i < sizeof(boot_ca_names) / sizeof(boot_ca_names[0]); i++)
        field_pair(b, 'E', boot_ca_names[i], BOOT_CA_PATH);
}

static struct json_object *get(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;

    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, name, &v);
    return v;
}

static void argv_all(struct buf *b, char tag, struct json_object *argv)
{
    size_t i, n = 0;

    if (json_object_is_type(argv, json_type_string)) {
        field_str(b, tag, "/bin/sh");
        field_str(b, tag, "-c");
        field_str(b, tag, json_object_get_string(argv));
        return;
    }
    if (json_object_is_type(argv, json_type_array))
        n = json_object_array_length(argv);
    for (i = 0; i < n; i++)
        field_str(b, tag,
            json_object_get_string(json_object_array_get_idx(argv, i)));
}

static unsigned restart_of(struct json_object *v)
{
    const char *s = v != NULL ? json_object_get_string(v) : "on-failure";

    if (strcmp(s, "no") == 0)
        return 0;
    return strcmp(s, "always") == 0 ? 2 : 1;
}

static void service(struct buf *b, struct json_object *s,
    struct json_object *secrets)
{
    struct json_object *v = get(s, "name");
    const char         *name = v != NULL ? json_object_get_string(v) : "";

    field_str(b, 'S', name);
    argv_all(b, 'c', get(s, "cmd"));
    v = get(s, "cwd");
    if (v != NULL)
        field_str(b, 'd', json_object_get_string(v));
    env_all(b, 'e', get(get(secrets, "services"), name));
    v = get(s, "port");
    if (v != NULL)
        field_u16(b, 'p', (unsigned) json_object_get_int(v) & 65535u);
    v = get(s, "restart");
    field(b, 'r', (unsigned char[]) { (unsigned char) restart_of(v) }, 1);
}

static void setup(struct buf *b, struct json_object *x)
{
    struct json_object *v;

    if (!json_object_is_type(x, json_type_object))
        return;
    field(b, 'X', "", 0);
    argv_all(b, 'c', get(x, "cmd"));
    v = get(x, "cwd");
    if (v != NULL)
        field_str(b, 'd', json_object_get_string(v));
    v = get(x, "timeout_s");
    if (v != NULL)
        field_u32(b, 't', (uint32_t) json_object_get_int64(v));
}

/* 0, or -1: stored JSON that does not parse is a damaged row. */
static int parse(const char *text, struct json_object **out, struct err *e)
{
    *out = NULL;
    if (text == NULL)
        return 0;
    *out = json_tokener_parse(text);
    return *out != NULL ? 0
        : err_set(e, "internal", "a stored text of the sandbox is damaged");
}

int boot_env_body(const struct boot_in *in, struct buf *out, struct err *e)
{
    struct json_object *secrets;

    if (parse(in->secrets, &secrets, e) == -1)
        return -1;
    env_ours(out, in);
    env_all(out, 'E', get(secrets, "env"));
    json_object_put(secrets);
    return out->failed ? err_set(e, "too_large", "the env is too large") : 0;
}

int boot_body(const struct boot_in *in, struct buf *out, struct err *e)
{
    struct json_object *secrets = NULL, *services = NULL, *x = NULL;
    struct json_object *image = NULL;
    size_t              i, n = 0;
    int                 rc = -1;

    if (parse(in->secrets, &secrets, e) == -1
        || parse(in->services, &services, e) == -1
        || parse(in->setup, &x, e) == -1
        || parse(in->entrypoint, &image, e) == -1)
        goto out;
    field_u32(out, 'u', in->uid);
    field_u32(out, 'g', in->uid);
    field_str(out, 'h', BOOT_HOME);
    field_str(out, 's', in->shell);
    field_str(out, 'w', BOOT_APP);
    field_u32(out, 'o', in->output_kb);
    field_u32(out, 'T', in->exec_s);
    env_ours(out, in);
    env_all(out, 'E', get(secrets, "env"));
    if (json_object_is_type(services, json_type_array))
        n = json_object_array_length(services);
    for (i = 0; i < n; i++)
        service(out, json_object_array_get_idx(services, i), secrets);
    setup(out, x);
    argv_all(out, 'I', image);
    rc = out->failed
        ? err_set(e, "too_large", "env and services are too large") : 0;
out:
    json_object_put(secrets);
    json_object_put(services);
    json_object_put(x);
    json_object_put(image);
    return rc;
}
