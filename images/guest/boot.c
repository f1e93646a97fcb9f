/*
 * boot: see boot.h. Pure: touches nothing but its arguments. The frame comes
 * from the keeper, its contents from an API client.
 */
#include "boot.h"

#include <stdlib.h>
#include <string.h>

#include "bounds.h"

struct field {
    uint8_t        tag;
    const uint8_t *data;
    uint32_t       n;
};

struct reader {
    const uint8_t *p, *end;
    char          *store;       /* next free byte of b->store */
    struct boot_service *at;    /* whose c, d, e, p, r these are */
};


static uint32_t le32(const uint8_t *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
        | (uint32_t) p[3] << 24;
}


static int say(char why[96], const char *text)
{
    size_t n = strlen(text);

    if (n > 95)
        n = 95;
    memcpy(why, text, n);
    why[n] = '\0';
    return -1;
}


/* 1: *f is filled, 0: the end, -1: torn. */
static int next_field(struct reader *r, struct field *f)
{
    if (r->p == r->end)
        return 0;
    if (r->end - r->p < 5)
        return -1;
    f->tag = r->p[0];
    f->n = le32(r->p + 1);
    r->p += 5;
    if (f->n > (size_t) (r->end - r->p))
        return -1;
    f->data = r->p;
    r->p += f->n;
    return 1;
}


/* A field took 5 bytes beside its text, so the store is never too small. */
static char *text_of(struct reader *r, const struct field *f)
{
    char *s = r->store;

    if (memchr(f->data, '\0', f->n) != NULL)
        return NULL;
    memcpy(s, f->data, f->n);
    s[f->n] = '\0';
    r->store += f->n + 1;
    return s;
}


static bool good_name(const char *s)
{
    size_t i;

    for (i = 0; s[i] != '\0'; i++) {
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z')
              || (s[i] >= '0' && s[i] <= '9')
              || (i > 0 && strchr("-_.", s[i]) != NULL)))
        {
            return false;
        }
    }
    return i > 0 && i <= 40;    /* it names a file, too */
}


static int begin_service(struct reader *r, struct boot *b, char *name,
    char why[96])
{
    size_t i;

    if (b->nservices == GUEST_SERVICES_MAX)
        return say(why, "too many services");
    if (!good_name(name) || strcmp(name, "setup") == 0)
        return say(why, "a service's name is not allowed");
    for (i = 0; i < b->nservices; i++)
        if (strcmp(b->services[i].name, name) == 0)
            return say(why, "two services have the same name");
    r->at = &b->services[b->nservices++];
    r->at->name = name;
    return 0;
}


static int add_env(struct strings *env, char *text, char why[96])
{
    if (text[0] == '=' || strchr(text, '=') == NULL)
        return say(why, "an env entry is not NAME=value");
    if (strings_put(env, text, BOOT_LIST_MAX) != 0)
        return say(why, "too many env entries");
    return 0;
}


static int number_field(struct reader *r, struct boot *b,
    const struct field *f, char why[96])
{
    static const char sizes[] = "u4g4t4o4T4p2r1";
    const char *s = strchr(sizes, f->tag);

    if (f->n != (uint32_t) (s[1] - '0'))
        return say(why, "a number has the wrong size");
    switch (f->tag) {
    case 'u':
        b->uid = le32(f->data);
        return 0;
    case 'g':
        b->gid = le32(f->data);
        return 0;
    case 't':
        b->setup_timeout_s = le32(f->data);
        return 0;
    case 'o':
        b->output_kb = le32(f->data);
        return 0;
    case 'T':
        b->exec_s = le32(f->data);
        return 0;
    default:
        break;
    }
    if (r->at == NULL)
        return say(why, "a service's field comes before the service");
    if (f->tag == 'p') {
        r->at->port = (uint16_t) (f->data[0] | f->data[1] << 8);
        return 0;
    }
    if (f->data[0] > RESTART_ALWAYS)
        return say(why, "an unknown restart policy");
    r->at->restart = f->data[0];
    return 0;
}


static int service_field(struct reader *r, uint8_t tag, char *text,
    char why[96])
{
    if (r->at == NULL)
        return say(why, "a service's field comes before the service");
    switch (tag) {
    case 'c':
        if (strings_add(&r->at->argv, text, BOOT_LIST_MAX) != 0)
            return say(why, "a command has too many arguments");
        return 0;
    case 'd':
        r->at->cwd = text;
        return 0;
    default:
        return add_env(&r->at->env, text, why);
    }
}


static int text_field(struct reader *r, struct boot *b,
    const struct field *f, char why[96])
{
    char *text = text_of(r, f);

    if (text == NULL)
        return say(why, "a NUL byte in a text");
    switch (f->tag) {
    case 'h':
        b->home = text;
        return 0;
    case 's':
        b->shell = text;
        return 0;
    case 'w':
        b->cwd = text;
        return 0;
    case 'E':
        return add_env(&b->env, text, why);
    case 'I':
        if (strings_add(&b->image, text, BOOT_LIST_MAX) != 0)
            return say(why, "the image's command is too long");
        return 0;
    case 'S':
        return begin_service(r, b, text, why);
    case 'X':
        if (b->has_setup)
            return say(why, "setup comes twice");
        b->has_setup = true;
        r->at = &b->setup;
        r->at->name = "setup";
        return 0;
    default:
        return service_field(r, f->tag, text, why);
    }
}


static int check(const struct boot *b, char why[96])
{
    size_t i;

    if (b->uid == 0 || b->gid == 0 || b->uid == UINT32_MAX
        || b->gid == UINT32_MAX)
    {
        return say(why, "uid and gid must be given and not be 0");
    }
    for (i = 0; i < b->nservices; i++)
        if (b->services[i].argv.n == 0)
            return say(why, "a service has no command");
    if (b->has_setup && b->setup.argv.n == 0)
        return say(why, "setup has no command");
    return 0;
}


static int parse(const uint8_t *body, size_t n, const char *tags,
    struct boot *b, char why[96])
{
    struct reader r = { .p = body, .end = body + n };
    struct field f;
    int more;

    memset(b, 0, sizeof(*b));
    b->store = r.store = malloc(n + 1);
    if (b->store == NULL)
        return say(why, "out of memory");
    while ((more = next_field(&r, &f)) == 1) {
        if (f.tag == '\0' || strchr(tags, f.tag) == NULL)
            continue;           /* of a newer keeper */
        if (strchr("ugtoTpr", f.tag) != NULL
            ? number_field(&r, b, &f, why) != 0
            : text_field(&r, b, &f, why) != 0)
        {
            return -1;
        }
    }
    return more == 0 ? 0 : say(why, "a field is longer than its frame");
}


int boot_parse(const uint8_t *body, size_t n, struct boot *b, char why[96])
{
    if (parse(body, n, "ughswoTESIXcdeprt", b, why) == 0 && check(b, why) == 0)
        return 0;
    boot_free(b);
    return -1;
}


int boot_parse_env(const uint8_t *body, size_t n, struct boot *b,
    char why[96])
{
    if (parse(body, n, "E", b, why) == 0)
        return 0;
    boot_free(b);
    return -1;
}


void boot_free(struct boot *b)
{
    size_t i;

    for (i = 0; i < b->nservices; i++) {
        strings_free(&b->services[i].argv);
        strings_free(&b->services[i].env);
    }
    strings_free(&b->setup.argv);
    strings_free(&b->setup.env);
    strings_free(&b->env);
    strings_free(&b->image);
    free(b->store);
    memset(b, 0, sizeof(*b));
}
