/*
 * engine_image: is an image there, else pull it; and what its /etc/passwd and
 * /etc/group say.
 *
 * Pulls of one image are one pull with many waiters. Its progress is read and
 * thrown away, but for an error in it: Docker answers 200 before it begins. A
 * pull that moves nothing for pull_stall_s has hung.
 *
 * Texts are read from a container that is made for it and never started. The
 * engine packs the one file as a tar; a link there is not followed (a link in
 * a folder above is the engine's matter, and stays within the image).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "engine_docker.h"
#include "engine_tar.h"

#define LINE_MAX_LEN (256 * 1024)
#define TEXT_MAX  (1024 * 1024)
#define NAME_MAX_LEN 400

/* ---- the answer --------------------------------------------------------- */

static char *text_of(struct json_object *o)
{
    return strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN
        | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void append_all(struct json_object *to, struct json_object *list)
{
    struct json_object *v;
    size_t              n = 0;

    if (list != NULL && json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        v = json_object_array_get_idx(list, i);
        if (json_object_is_type(v, json_type_string))
            json_object_array_add(to, json_object_get(v));
    }
}

static char *command_of(struct json_object *config)
{
    struct json_object *all = json_object_new_array();
    char               *text;

    append_all(all, engine_get(config, "Entrypoint"));
    append_all(all, engine_get(config, "Cmd"));
    text = text_of(all);
    json_object_put(all);
    return text;
}

static char *volumes_of(struct json_object *config)
{
    struct json_object *all = json_object_new_array();
    struct json_object *v = engine_get(config, "Volumes");
    char               *text;

    if (v != NULL && json_object_is_type(v, json_type_object)) {
        json_object_object_foreach(v, name, value) {
            (void)value;
            json_object_array_add(all, json_object_new_string(name));
        }
    }
    text = text_of(all);
    json_object_put(all);
    return text;
}

static void image_fini(struct engine_image *im)
{
    free(im->entrypoint);
    free(im->volumes);
    free(im->user);
}

static int image_read(struct json_object *o, struct engine_image *im)
{
    struct json_object *config = engine_get(o, "Config");
    const char         *id = engine_str(o, "Id");

    memset(im, 0, sizeof(*im));
    if (id[0] == 0 || strlen(id) >= sizeof(im->id))
        return -1;
    snprintf(im->id, sizeof(im->id), "%s", id);
    im->entrypoint = command_of(config);
    im->volumes = volumes_of(config);
    im->user = strdup(engine_str(config, "User"));
    if (im->entrypoint != NULL && im->volumes != NULL && im->user != NULL)
        return 0;
    image_fini(im);
    return -1;
}

/* ---- pulls -------------------------------------------------------------- */

struct ensure {
    struct engine_op op;
    struct ensure   *then;      /* the next waiter of the same pull */
    bool             pulled;
    char             image[NAME_MAX_LEN + 1];
};

struct pulls {                  /* one pull */
    struct engine *en;
    struct pulls  *next;
    struct ensure *waiters;
    struct buf     line;
    char           said[200];   /* an error in the progress */
    char           image[NAME_MAX_LEN + 1];
};

static void ensure_look(struct ensure *w);

void pulls_free(struct engine *en)
{
    struct pulls *p;

    while ((p = en->pulls) != NULL) {
        en->pulls = p->next;
        buf_fini(&p->line);
        free(p);
    }
}

static void pull_line(struct pulls *p)
{
    struct json_object *o;
    const char         *text;

    if (p->line.len == 0 || p->line.failed)
        return;
    o = engine_parse(p->line.data, p->line.len);
    text = engine_str(o, "error");
    if (text[0] != 0)
        snprintf(p->said, sizeof(p->said), "%s", text);
    json_object_put(o);
}

/* A line that is too long is no error line: left out. */
static bool pull_bytes(void *arg, const char *data, size_t len)
{
    struct pulls *p = arg;
    const char   *nl;
    size_t        n;

    while (len > 0) {
        nl = memchr(data, '\n', len);
        n = nl != NULL ? (size_t)(nl - data) : len;
        buf_add(&p->line, data, n);
        if (nl == NULL)
            break;
        pull_line(p);
        buf_reset(&p->line);
        data += n + 1;
        len -= n + 1;
    }
    return true;
}

static void pull_unlink(struct pulls *p)
{
    struct pulls **at = &p->en->pulls;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

static void pull_reason(struct pulls *p, const struct dk_answer *a,
    struct err *e)
{
    if (!a->transport) {
        *e = a->error;
    } else if (a->status != 200) {
        engine_refusal(p->en, a, "image_failed", "pull the image", e);
        if (a->status == 404)
            e->code = "image_not_found";
    } else if (p->said[0] != 0) {
        for (char *c = p->said; *c != 0; c++)
            if ((unsigned char)*c < 32 || *c == 127)
                *c = ' ';
        err_set(e, strstr(p->said, "not found") != NULL
            || strstr(p->said, "manifest unknown") != NULL
            ? "image_not_found" : "image_failed",
            "cannot pull image %.100s: %s", p->image, p->said);
    }
}

static void pull_done(void *arg, const struct dk_answer *a)
{
    struct pulls  *p = arg;
    struct ensure *w, *then;
    struct err     e = {0};

    pull_line(p);
    pull_reason(p, a, &e);
    if (e.code != NULL)
        log_warn("%s", e.msg);
    pull_unlink(p);
    for (w = p->waiters; w != NULL; w = then) {
        then = w->then;
        w->pulled = true;
        if (e.code != NULL)
            engine_op_end(&w->op, &e, NULL);
        else
            ensure_look(w);
    }
    buf_fini(&p->line);
    free(p);
}

/* A name without tag and digest would pull every tag there is. */
static void pull_path(const char *image, struct buf *path)
{
    const char *slash = strrchr(image, '/');
    const char *base = slash != NULL ? slash : image;

    buf_str(path, "/images/create?fromImage=");
    engine_escape(path, image);
    if (strchr(base, ':') == NULL && strchr(base, '@') == NULL)
        buf_str(path, "&tag=latest");
}

static void pull_begin(struct ensure *w)
{
    struct dk_request r = { .method = "POST", .doing = "pull the image",
        .max = DK_SMALL, .bytes = pull_bytes, .done = pull_done };
    struct engine    *en = w->op.en;
    struct pulls     *p;
    struct buf        path;

    for (p = en->pulls; p != NULL; p = p->next) {
        if (strcmp(p->image, w->image) == 0) {
            w->then = p->waiters;
            p->waiters = w;
            return;
        }
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        log_fatal("out of memory for a pull");
    p->en = en;
    p->waiters = w;
    p->next = en->pulls;
    en->pulls = p;
    snprintf(p->image, sizeof(p->image), "%s", w->image);
    buf_init(&p->line, LINE_MAX_LEN);
    buf_init(&path, 4096);
    pull_path(p->image, &path);
    r.path = path.data;
    r.arg = p;
    r.deadline_ms = (long)en->s->pull_timeout_s * 1000;
    r.stall_s = (long)en->s->pull_stall_s;
    log_info("pulling image %s", p->image);
    engine_call_with(en, &r);
    buf_fini(&path);
}

/* ---- ensure ------------------------------------------------------------- */

static void ensure_found(struct ensure *w, const struct dk_answer *a)
{
    struct engine_image  im;
    struct engine_result r = { .image = &im };
    struct json_object  *o;
    int                  rc = -1;

    o = engine_json(a, json_type_object, w->op.doing, &w->op.error);
    if (o != NULL) {
        rc = image_read(o, &im);
        if (rc != 0)
            err_set(&w->op.error, "internal",
                "the engine's answer about the image makes no sense");
        json_object_put(o);
    }
    if (rc != 0) {
        engine_op_end(&w->op, &w->op.error, NULL);
        return;
    }
    engine_op_end(&w->op, NULL, &r);
    image_fini(&im);
}

static void got_image(void *arg, const struct dk_answer *a)
{
    struct ensure *w = arg;

    if (a->transport && a->status == 200) {
        ensure_found(w, a);
        return;
    }
    if (a->transport && a->status == 404 && !w->pulled) {
        pull_begin(w);
        return;
    }
    engine_refusal(w->op.en, a, "image_failed", w->op.doing, &w->op.error);
    if (a->transport && a->status == 404)
        w->op.error.code = "image_not_found";
    engine_op_end(&w->op, &w->op.error, NULL);
}

static void ensure_look(struct ensure *w)
{
    struct buf path;

    buf_init(&path, 4096);
    buf_str(&path, "/images/");
    engine_escape(&path, w->image);
    buf_str(&path, "/json");
    engine_call(w->op.en, "GET", path.data, NULL, w->op.doing, DK_CALL_MS,
        got_image, w);
    buf_fini(&path);
}

/* Letters of a reference; "sha256:…" too. */
static bool image_ok(const char *image)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@";
    size_t len = strlen(image);

    return len > 0 && len <= NAME_MAX_LEN && strspn(image, plain) == len
        && image[0] != '/' && image[0] != '.' && image[0] != '-'
        && strstr(image, "..") == NULL && strstr(image, "//") == NULL;
}

static void ensure_bad(struct timer *t)
{
    struct ensure *w = t->owner;

    err_set(&w->op.error, "image_not_found",
        "\"%.100s\" is not the name of an image", w->image);
    engine_op_end(&w->op, &w->op.error, NULL);
}

void engine_image_ensure(struct engine *en, const char *image, engine_done done,
    void *arg)
{
    struct ensure *w;

    w = (void *)engine_op_new(en, sizeof(*w), "find the image", NULL, done,
        arg);
    snprintf(w->image, sizeof(w->image), "%s", image);
    if (image_ok(image)) {
        ensure_look(w);
        return;
    }
    w->op.timer.due = ensure_bad;
    loop_timer_set(en->loop, &w->op.timer, 0);
}

/* ---- texts -------------------------------------------------------------- */

typedef void (*texts_done)(void *arg, const struct err *e,
    const char *passwd, const char *group);

static const char *const text_paths[] = { "/etc/passwd", "/etc/group" };

struct texts {
    struct engine_op op;        /* ref: the probe's container */
    texts_done       told;
    void            *told_arg;
    char            *text[2];
};

static void texts_read(struct texts *t);

static void texts_fini(struct engine_op *op)
{
    struct texts *t = (void *)op;

    free(t->text[0]);
    free(t->text[1]);
}

static void texts_end(struct texts *t, const struct err *e)
{
    if (t->op.ref[0] != 0)
        engine_remove(t->op.en, t->op.ref, NULL, NULL);
    t->told(t->told_arg, e, e != NULL ? NULL : t->text[0],
        e != NULL ? NULL : t->text[1]);
    engine_op_free(&t->op);
}

static void texts_fail(struct texts *t, const struct dk_answer *a)
{
    engine_refusal(t->op.en, a, "image_failed", t->op.doing, &t->op.error);
    texts_end(t, &t->op.error);
}

static void got_text(void *arg, const struct dk_answer *a)
{
    struct texts *t = arg;
    const char   *data = "";
    size_t        size = 0;
    int           i = t->op.tries, rc = 0;

    if (!a->transport || (a->status != 200 && a->status != 404)) {
        texts_fail(t, a);
        return;
    }
    if (a->status == 200)
        rc = tar_first_file(a->body, a->len, TEXT_MAX, &data, &size);
    if (rc != 1)
        size = 0;
    t->text[i] = rc < 0 ? NULL : strndup(data, size);
    if (t->text[i] == NULL) {
        err_set(&t->op.error, "image_failed",
            "cannot read %s of the image", text_paths[i]);
        texts_end(t, &t->op.error);
        return;
    }
    t->op.tries++;
    texts_read(t);
}

static void texts_read(struct texts *t)
{
    struct dk_request r = { .method = "GET", .doing = t->op.doing,
        .deadline_ms = DK_CALL_MS, .max = TEXT_MAX + 65536,
        .done = got_text, .arg = t };
    char              path[192];

    if (t->op.tries == 2) {
        texts_end(t, NULL);
        return;
    }
    snprintf(path, sizeof(path), "/containers/%s/archive?path=%s",
        t->op.ref, text_paths[t->op.tries]);
    r.path = path;
    engine_call_with(t->op.en, &r);
}

static void got_probe(void *arg, const struct dk_answer *a)
{
    struct texts       *t = arg;
    struct json_object *o;
    const char         *id;

    if (!a->transport || a->status != 201) {
        texts_fail(t, a);
        return;
    }
    o = engine_json(a, json_type_object, t->op.doing, &t->op.error);
    id = engine_str(o, "Id");
    if (engine_ref_ok(id))
        snprintf(t->op.ref, sizeof(t->op.ref), "%s", id);
    json_object_put(o);
    if (t->op.ref[0] != 0) {
        texts_read(t);
        return;
    }
    err_set(&t->op.error, "internal", "the engine made a container "
        "without an id");
    texts_end(t, &t->op.error);
}

/* Never started: the entrypoint only has to be there. */
void engine_image_texts(struct engine *en, const char *image,
    void (*done)(void *, const struct err *, const char *, const char *),
    void *arg)
{
    struct texts *t;
    struct buf    body;

    t = (void *)engine_op_new(en, sizeof(*t), "read the image's users", NULL,
        NULL, NULL);
    t->op.fini = texts_fini;
    t->told = done;
    t->told_arg = arg;
    buf_init(&body, 4096);
    buf_printf(&body, "{\"Image\":\"%.400s\",\"Entrypoint\":[\"/-\"],"
        "\"Labels\":{\"" LABEL_PROBE "\":\"true\",\"" LABEL_STACK "\":\"%s\"},"
        "\"HostConfig\":{\"NetworkMode\":\"none\"}}",
        image_ok(image) ? image : "-", en->stack);
    engine_call(en, "POST", "/containers/create", body.data, t->op.doing,
        DK_CALL_MS, got_probe, t);
    buf_fini(&body);
}

/* ---- left-overs --------------------------------------------------------- */

static void got_probes(void *arg, const struct dk_answer *a)
{
    struct engine_op   *op = arg;
    struct json_object *list = NULL, *o;
    size_t              n = 0;

    if (a->transport && a->status == 200)
        list = engine_json(a, json_type_array, op->doing, &op->error);
    if (list != NULL)
        n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        o = json_object_array_get_idx(list, i);
        if (engine_ref_ok(engine_str(o, "Id")))
            engine_remove(op->en, engine_str(o, "Id"), NULL, NULL);
    }
    json_object_put(list);
    engine_op_free(op);
}

void texts_sweep(struct engine *en)
{
    struct engine_op *op = engine_op_new(en, sizeof(*op),
        "look for left-over containers", NULL, NULL, NULL);
    struct buf        path;

    buf_init(&path, 1024);
    buf_str(&path, "/containers/json?all=1&");
    engine_filter(en, "", LABEL_PROBE "=true", &path);
    engine_call(en, "GET", path.data, NULL, op->doing, DK_CALL_MS,
        got_probes, op);
    buf_fini(&path);
}
