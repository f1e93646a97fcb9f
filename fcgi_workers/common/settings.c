/*
 * settings: one file of NAME=value lines (see settings.h).
 *
 *   # a comment
 *   idle_s=600
 *
 * Blanks around name and value are dropped; a value has no quotes. Owns the
 * texts of a struct settings. Must never read the environment, and never show
 * the value of a setting that holds secrets.
 */
#include "settings.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "files.h"
#include "ids.h"
#include "settings_form.h"
#include "tokens.h"

#define SET_FILE_MAX (1024 * 1024)
#define SET_RUN_MAX  64         /* longer, and sockets in it do not fit */

enum set_kind { SET_KIND_GROUP, SET_KIND_NUM, SET_KIND_SIZE, SET_KIND_TEXT,
    SET_KIND_FLAG };

struct setting {
    enum set_kind      kind;
    enum settings_form form;    /* of texts */
    const char        *name;    /* of a group: its title */
    const char        *def;     /* as it is written in a file */
    size_t             offset;  /* in struct settings */
    int64_t            min, max;
    const char        *doc;
};

#define SET_AT(name) offsetof(struct settings, name)
#define SET_GROUP(title) \
    { SET_KIND_GROUP, 0, title, "", 0, 0, 0, "" },
#define SET_NUM(name, def, min, max, doc) \
    { SET_KIND_NUM, 0, #name, #def, SET_AT(name), min, max, doc },
#define SET_SIZE(name, def, min, max, doc) \
    { SET_KIND_SIZE, 0, #name, def, SET_AT(name), min, max, doc },
#define SET_STR(name, def, form, doc) \
    { SET_KIND_TEXT, form, #name, def, SET_AT(name), 0, 0, doc },
#define SET_PATH(name, def, doc) \
    { SET_KIND_TEXT, SET_FORM_PATH, #name, def, SET_AT(name), 0, 0, doc },
#define SET_LISTEN(name, def, doc) \
    { SET_KIND_TEXT, SET_FORM_LISTEN, #name, def, SET_AT(name), 0, 0, doc },
#define SET_FLAG(name, def, doc) \
    { SET_KIND_FLAG, 0, #name, (def) ? "on" : "off", SET_AT(name), 0, 0, doc },

static const struct setting table[] = {
#include "settings_table.h"
};

#define SET_COUNT (sizeof(table) / sizeof(table[0]))

/* ---- one value ---------------------------------------------------------- */

static int64_t *set_number_at(struct settings *s, const struct setting *t)
{
    return (int64_t *)(void *)((char *)s + t->offset);
}

static char **set_text_at(struct settings *s, const struct setting *t)
{
    return (char **)(void *)((char *)s + t->offset);
}

static bool *set_flag_at(struct settings *s, const struct setting *t)
{
    return (bool *)((char *)s + t->offset);
}

/* 512M, 4G, 1T; "0" needs no unit. In MiB. */
static int set_size(const char *p, size_t len, int64_t min, int64_t max,
    int64_t *out)
{
    static const char units[] = "MGT";
    const char       *unit;
    int64_t           value;

    if (len == 1 && p[0] == '0') {
        value = 0;
    } else {
        if (len < 2)
            return -1;
        unit = memchr(units, toupper((unsigned char)p[len - 1]), 3);
        if (unit == NULL || ids_number(p, len - 1, 0, 1 << 30, &value) != 0)
            return -1;
        value <<= 10 * (unit - units);
    }
    if (value < min || value > max)
        return -1;
    *out = value;
    return 0;
}

static void set_size_text(int64_t mib, char *out, size_t size)
{
    if (mib == 0)
        snprintf(out, size, "0");
    else if (mib % 1024 == 0)
        snprintf(out, size, "%lldG", (long long)(mib / 1024));
    else
        snprintf(out, size, "%lldM", (long long)mib);
}

static void set_allowed(const struct setting *t, char *out, size_t size)
{
    char low[24], high[24];

    switch (t->kind) {
    case SET_KIND_NUM:
        snprintf(out, size, "a number from %lld to %lld", (long long)t->min,
            (long long)t->max);
        break;
    case SET_KIND_SIZE:
        set_size_text(t->min, low, sizeof(low));
        set_size_text(t->max, high, sizeof(high));
        snprintf(out, size, "a size such as 512M or 4G, from %s to %s", low,
            high);
        break;
    case SET_KIND_FLAG:
        snprintf(out, size, "on or off");
        break;
    default:
        snprintf(out, size, "%s", settings_form_text(t->form));
    }
}

/* 0 set; 1 not allowed; -1 out of memory. */
static int set_value(struct settings *s, const struct setting *t, const char *p,
    size_t len)
{
    char *copy;

    switch (t->kind) {
    case SET_KIND_NUM:
        return ids_number(p, len, t->min, t->max, set_number_at(s, t)) != 0;
    case SET_KIND_SIZE:
        return set_size(p, len, t->min, t->max, set_number_at(s, t)) != 0;
    case SET_KIND_FLAG:
        if (!(len == 2 && memcmp(p, "on", 2) == 0)
            && !(len == 3 && memcmp(p, "off", 3) == 0))
        {
            return 1;
        }
        *set_flag_at(s, t) = len == 2;
        return 0;
    default:
        if (memchr(p, '\0', len) != NULL || !settings_form_ok(t->form, p, len))
            return 1;
        while (t->form == SET_FORM_PATH && len > 1 && p[len - 1] == '/')
            len--;
        copy = strndup(p, len);
        if (copy == NULL)
            return -1;
        free(*set_text_at(s, t));
        *set_text_at(s, t) = copy;
        return 0;
    }
}

/* ---- names -------------------------------------------------------------- */

static const struct setting *set_find(const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind != SET_KIND_GROUP && strlen(table[i].name) == len
            && memcmp(table[i].name, name, len) == 0)
        {
            return &table[i];
        }
    }
    return NULL;
}

static char set_fold(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

/* Levenshtein's distance, one row at a time; names are short. */
static unsigned set_distance(const char *a, size_t alen, const char *b)
{
    unsigned row[65], before, here;
    size_t   i, j, blen = strlen(b);

    if (alen >= 64 || blen >= 64)
        return 64;
    for (j = 0; j <= blen; j++)
        row[j] = (unsigned)j;
    for (i = 1; i <= alen; i++) {
        before = row[0];
        row[0] = (unsigned)i;
        for (j = 1; j <= blen; j++) {
            here = row[j];
            row[j] = before + (set_fold(a[i - 1]) != b[j - 1]);
            if (row[j] > here + 1)
                row[j] = here + 1;
            if (row[j] > row[j - 1] + 1)
                row[j] = row[j - 1] + 1;
            before = here;
        }
    }
    return row[blen];
}

static const char *set_nearest(const char *name, size_t len)
{
    const char *best = NULL;
    unsigned    d, least = (unsigned)(len / 3) + 2;
    size_t      i;

    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind == SET_KIND_GROUP)
            continue;
        d = set_distance(name, len, table[i].name);
        if (d < least) {
            least = d;
            best = table[i].name;
        }
    }
    return best;
}

/* ---- lines -------------------------------------------------------------- */

struct set_reader {
    struct settings *s;
    const char      *file;
    int              line;
    int              seen[SET_COUNT];   /* line of each, 0: not set */
};

static void set_trim(const char **p, size_t *len)
{
    while (*len > 0 && isspace((unsigned char)(*p)[0])) {
        (*p)++;
        (*len)--;
    }
    while (*len > 0 && isspace((unsigned char)(*p)[*len - 1]))
        (*len)--;
}

static int set_unknown(const struct set_reader *r, const char *name, size_t len,
    struct err *e)
{
    const char *near = set_nearest(name, len);
    int         n = len > 40 ? 40 : (int)len;

    if (near != NULL)
        return err_set(e, "invalid_field", "%s:%d: no setting \"%.*s\"; did "
            "you mean \"%s\"?", r->file, r->line, n, name, near);
    return err_set(e, "invalid_field", "%s:%d: no setting \"%.*s\"", r->file,
        r->line, n, name);
}

static int set_refuse(const struct set_reader *r, const struct setting *t,
    const char *value, size_t len, struct err *e)
{
    char allowed[128];

    set_allowed(t, allowed, sizeof(allowed));
    if (t->form == SET_FORM_TOKENS)
        return err_set(e, "invalid_field", "%s:%d: %s must be %s", r->file,
            r->line, t->name, allowed);
    if (len > 1 && (value[0] == '"' || value[0] == '\''))
        return err_set(e, "invalid_field", "%s:%d: %s is written without "
            "quotes", r->file, r->line, t->name);
    return err_set(e, "invalid_field", "%s:%d: %s must be %s, not \"%.*s\"",
        r->file, r->line, t->name, allowed, len > 40 ? 40 : (int)len, value);
}

static int set_line(struct set_reader *r, const char *p, size_t len,
    struct err *e)
{
    const struct setting *t;
    const char           *eq, *value;
    size_t                nlen, vlen;
    int                   rc;

    set_trim(&p, &len);
    if (len == 0 || p[0] == '#')
        return 0;
    eq = memchr(p, '=', len);
    if (eq == NULL || eq == p)
        return err_set(e, "invalid_field", "%s:%d: a line is NAME=value",
            r->file, r->line);
    nlen = (size_t)(eq - p);
    value = eq + 1;
    vlen = len - nlen - 1;
    set_trim(&p, &nlen);
    set_trim(&value, &vlen);

    t = set_find(p, nlen);
    if (t == NULL)
        return set_unknown(r, p, nlen, e);
    if (r->seen[t - table] != 0)
        return err_set(e, "invalid_field", "%s:%d: %s was set already in "
            "line %d", r->file, r->line, t->name, r->seen[t - table]);
    r->seen[t - table] = r->line;
    rc = set_value(r->s, t, value, vlen);
    if (rc < 0)
        return err_set(e, "internal", "out of memory");
    if (rc > 0)
        return set_refuse(r, t, value, vlen, e);
    return 0;
}

static int set_lines(struct set_reader *r, const char *text, size_t len,
    struct err *e)
{
    const char *end = text + len, *nl;

    while (text < end) {
        r->line++;
        nl = memchr(text, '\n', (size_t)(end - text));
        if (nl == NULL)
            nl = end;
        if (set_line(r, text, (size_t)(nl - text), e) != 0)
            return -1;
        text = nl + 1;
    }
    return 0;
}

/* ---- what must fit together --------------------------------------------- */

bool settings_is_loopback(const char *listen)
{
    return strncmp(listen, "127.", 4) == 0
        || strncmp(listen, "[::1]:", 6) == 0;
}

static int set_check_listen(const struct settings *s, const char *file,
    struct err *e)
{
    if (s->auth_tokens[0] == '\0' && s->tokens_file[0] == '\0'
        && !settings_is_loopback(s->api_listen))
    {
        return err_set(e, "invalid_field", "%s: api_listen=%s can be reached "
            "from other machines, so auth_tokens or tokens_file must be set "
            "(or listen on 127.0.0.1)", file, s->api_listen);
    }
    if (strcmp(s->api_listen, s->preview_listen) == 0
        || strcmp(s->api_listen, s->metrics_listen) == 0
        || strcmp(s->preview_listen, s->metrics_listen) == 0)
    {
        return err_set(e, "invalid_field", "%s: api_listen, preview_listen "
            "and metrics_listen must differ", file);
    }
    return 0;
}

/* What stands in front of nginx. */
static int set_check_front(const struct settings *s, const char *file,
    struct err *e)
{
    if (strcmp(s->proxy_protocol, "off") != 0
        && s->trusted_proxies[0] == '\0')
    {
        return err_set(e, "invalid_field", "%s: proxy_protocol=%s needs "
            "trusted_proxies: who may speak it", file, s->proxy_protocol);
    }
    if (s->tls_listen[0] == '\0')
        return 0;
    if (s->tls_certificate[0] == '\0' || s->tls_key[0] == '\0')
        return err_set(e, "invalid_field", "%s: tls_listen needs "
            "tls_certificate and tls_key", file);
    if (strcmp(s->tls_listen, s->preview_listen) == 0
        || strcmp(s->tls_listen, s->api_listen) == 0
        || strcmp(s->tls_listen, s->metrics_listen) == 0)
    {
        return err_set(e, "invalid_field", "%s: tls_listen must differ from "
            "the other addresses", file);
    }
    return 0;
}

static int set_check(const struct settings *s, const char *file, struct err *e)
{
    if (set_check_listen(s, file, e) != 0
        || set_check_front(s, file, e) != 0)
        return -1;
    if (s->memory_default > s->memory_max)
        return err_set(e, "invalid_field", "%s: memory_default must not be "
            "over memory_max", file);
    if (strlen(s->run_dir) > SET_RUN_MAX)
        return err_set(e, "invalid_field", "%s: run_dir must have at most %d "
            "characters, or sockets in it have no room", file, SET_RUN_MAX);
    if (strcmp(s->run_dir, s->data_dir) == 0
        || strcmp(s->run_dir, s->log_dir) == 0
        || strcmp(s->data_dir, s->log_dir) == 0)
    {
        return err_set(e, "invalid_field", "%s: data_dir, run_dir and "
            "log_dir must differ", file);
    }
    return 0;
}

/* ---- reading ------------------------------------------------------------ */

static int set_defaults(struct settings *s)
{
    size_t i;

    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind != SET_KIND_GROUP
            && set_value(s, &table[i], table[i].def,
                   strlen(table[i].def)) != 0)
        {
            return -1;
        }
    }
    return 0;
}

int settings_parse(struct settings *s, const char *text, size_t len,
    const char *file, struct err *e)
{
    struct settings   made;
    struct set_reader r;

    memset(&made, 0, sizeof(made));
    memset(&r, 0, sizeof(r));
    r.s = &made;
    r.file = file;
    made.file = strdup(file);
    if (made.file == NULL || set_defaults(&made) != 0) {
        err_set(e, "internal", "out of memory");
        goto failed;
    }
    if (set_lines(&r, text, len, e) != 0 || set_check(&made, file, e) != 0)
        goto failed;
    *s = made;
    return 0;
failed:
    settings_fini(&made);
    return -1;
}

int settings_load(struct settings *s, const char *file, struct err *e)
{
    struct buf text;
    int        rc;

    if (file == NULL)
        return settings_parse(s, "", 0, "(no settings file)", e);
    buf_init(&text, SET_FILE_MAX);
    rc = files_read(file, &text, e);
    if (rc == 0)
        rc = settings_parse(s, text.data, text.len, file,
            e);
    buf_fini(&text);
    return rc;
}

void settings_fini(struct settings *s)
{
    size_t i;

    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind == SET_KIND_TEXT)
            free(*set_text_at(s, &table[i]));
    }
    free(s->file);
    memset(s, 0, sizeof(*s));
}

/* ---- writing ------------------------------------------------------------ */

void settings_print_markdown(FILE *out)
{
    char   allowed[128];
    size_t i;

    fprintf(out, "# Settings\n\n"
        "One file of `name=value` lines, `/etc/holdfast/holdfast.conf` unless"
        " `-c` names another.\nA line that begins with `#` is a comment. A"
        " wrong value stops the start and says\nwhat is allowed; `holdfastd"
        " check` looks without starting. The environment is not\nread. This"
        " page is made by `holdfastd settings --markdown`.\n");
    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind == SET_KIND_GROUP) {
            fprintf(out, "\n## %s\n\n| name | default | what it does | "
                "allowed |\n|---|---|---|---|\n", table[i].name);
            continue;
        }
        set_allowed(&table[i], allowed, sizeof(allowed));
        fprintf(out, "| `%s` | %s%s%s | %s | %s |\n", table[i].name,
            table[i].def[0] == '\0' ? "" : "`", table[i].def[0] == '\0'
            ? "empty" : table[i].def, table[i].def[0] == '\0' ? "" : "`",
            table[i].doc, allowed);
    }
}

/* A sentence as comment lines of at most 78 columns. */
static void set_print_comment(FILE *out, const char *text)
{
    size_t n, col = 0;

    while (*text != '\0') {
        n = strcspn(text, " ");
        if (col == 0 || col + 1 + n > 78) {
            fprintf(out, "%s#", col == 0 ? "" : "\n");
            col = 1;
        }
        fprintf(out, " %.*s", (int)n, text);
        col += n + 1;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

void settings_print_example(FILE *out)
{
    char   allowed[128], line[160];
    size_t i;

    fprintf(out, "# Settings of Holdfast. Every line below is the default;"
        " take away the # to\n# change it. `holdfastd check` says whether all"
        " is well.\n");
    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind == SET_KIND_GROUP) {
            fprintf(out, "\n\n# ---- %s ----\n", table[i].name);
            continue;
        }
        fputc('\n', out);
        set_print_comment(out, table[i].doc);
        set_allowed(&table[i], allowed, sizeof(allowed));
        snprintf(line, sizeof(line), "Allowed: %s.", allowed);
        set_print_comment(out, line);
        fprintf(out, "#%s=%s\n", table[i].name, table[i].def);
    }
}

static void set_print_tokens(const char *tokens, FILE *out)
{
    struct token t;
    char         digest[65];
    size_t       n;

    for (; *tokens != '\0'; tokens += n + (tokens[n] == ',')) {
        n = strcspn(tokens, ",");
        if (tokens_parse(tokens, n, &t, NULL) != 0)
            continue;           /* cannot be: it was checked when read */
        tokens_digest(&t, digest);
        fprintf(out, "%.*s/%.*s:%.*s=sha256:%s%s", (int)t.tenant_len,
            t.tenant, (int)t.name_len, t.name, (int)t.scope_len, t.scope,
            digest, tokens[n] == ',' ? "," : "");
    }
}

static void set_print_value(struct settings *s, const struct setting *t,
    FILE *out)
{
    char text[24];

    switch (t->kind) {
    case SET_KIND_NUM:
        fprintf(out, "%lld", (long long)*set_number_at(s, t));
        break;
    case SET_KIND_SIZE:
        set_size_text(*set_number_at(s, t), text, sizeof(text));
        fputs(text, out);
        break;
    case SET_KIND_FLAG:
        fputs(*set_flag_at(s, t) ? "on" : "off", out);
        break;
    default:
        if (t->form == SET_FORM_TOKENS)
            set_print_tokens(*set_text_at(s, t), out);
        else
            fputs(*set_text_at(s, t), out);
    }
}

int settings_print_effective(const struct settings *s, FILE *out)
{
    struct settings copy = *s;  /* borrowed texts; only to be read */
    size_t          i;

    fprintf(out, "# What is in force, written at the start from\n# %s\n"
        "# Change that one.\n", s->file);
    for (i = 0; i < SET_COUNT; i++) {
        if (table[i].kind == SET_KIND_GROUP)
            continue;
        fprintf(out, "%s=", table[i].name);
        set_print_value(&copy, &table[i], out);
        fputc('\n', out);
    }
    return ferror(out) ? -1 : 0;
}
