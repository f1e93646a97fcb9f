/*
 * fuzz_query: a whole request line and its query, through the parsers and the
 * table of routes. What comes out is UTF-8 without control characters.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const char *text)
{
    const char *p;

    if (!ids_utf8_ok(text, strlen(text)))
        abort();
    for (p = text; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f)
            abort();
    }
}

static void routed(const struct path *p, const char *method)
{
    const struct route *t;
    const char         *id, *name;
    struct buf          allow;
    struct err          e;

    buf_init(&allow, 256);
    if (route_find(method, p, &t, &id, &name, &allow, &e) == 0) {
        if (strstr(t->path, "{id}") != NULL && id == NULL)
            abort();
    } else if (e.msg[0] == '\0' || allow.failed) {
        abort();
    }
    buf_fini(&allow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct path  p;
    static struct query q;
    struct err          e;
    char               *text, *mark;
    int                 i;

    text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (path_parse(&p, text, &e) == 0) {
        for (i = 0; i < p.n; i++) {
            look(p.segments[i]);
            if (strcmp(p.segments[i], "..") == 0
                || p.segments[i][0] == '\0')
                abort();
        }
        routed(&p, "GET");
        routed(&p, "POST");
    }
    mark = strchr(text, '?');
    if (query_parse(&q, mark != NULL ? mark + 1 : text, &e) == 0) {
        for (i = 0; i < q.n; i++) {
            look(q.items[i].name);
            look(q.items[i].value);
        }
    }
    free(text);
    return 0;
}
