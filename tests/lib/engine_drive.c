/*
 * engine_drive: the keeper's engine, driven by lines, for the tests.
 *
 *   engine_drive SETTINGS
 *
 * In:  TAG caps | list | ensure IMAGE | texts IMAGE
 *      | create ID IMAGE MEMORY DIR | start REF | stop REF SECONDS
 *      | freeze REF | thaw REF | remove REF
 *      | inspect REF | stats REF | update REF MEMORY
 * Out: TAG ok …, TAG err CODE SENTENCE, and `news EVENT ID REF CODE`.
 *
 * create takes home, logs, passwd, group, resolv, guest and seccomp from DIR.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "keeper/engine.h"

#define WORDS_MAX 8
#define LINE_SIZE 4096

static struct engine     *engine;
static struct loop       *loop;
static struct engine_image last_image;

static void show_state(const struct engine_state *s)
{
    printf(" id=%s ref=%s status=%s pid=%d exit=%d oom=%d hash=%s", s->id,
        s->ref, s->status, s->pid, s->exit_code, s->oom, s->spec_hash);
}

static void keep_image(const struct engine_image *im)
{
    free(last_image.entrypoint);
    free(last_image.volumes);
    free(last_image.user);
    last_image = *im;
    last_image.entrypoint = strdup(im->entrypoint);
    last_image.volumes = strdup(im->volumes);
    last_image.user = strdup(im->user);
    printf(" image=%s command=%s volumes=%s", im->id, im->entrypoint,
        im->volumes);
}

static void done(void *arg, const struct engine_result *r)
{
    char *tag = arg;

    if (r->error != NULL) {
        printf("%s err %s %s\n", tag, r->error->code, r->error->msg);
    } else {
        printf("%s ok", tag);
        if (r->ref != NULL)
            printf(" ref=%s", r->ref);
        if (r->image != NULL)
            keep_image(r->image);
        for (size_t i = 0; i < r->nstates; i++)
            show_state(&r->state[i]);
        if (r->stats != NULL)
            printf(" cpu_ms=%lld memory=%lld limit=%lld pids=%lld",
                (long long)r->stats->cpu_ms,
                (long long)r->stats->memory_bytes,
                (long long)r->stats->memory_limit, (long long)r->stats->pids);
        if (r->caps != NULL)
            printf(" version=%s api=%s arch=%s cpus=%d root=%s",
                r->caps->version, r->caps->api, r->caps->arch, r->caps->cpus,
                r->caps->root_dir);
        printf("\n");
    }
    fflush(stdout);
    free(tag);
}

static void texts(void *arg, const struct err *e, const char *passwd,
    const char *group)
{
    char *tag = arg;

    if (e != NULL)
        printf("%s err %s %s\n", tag, e->code, e->msg);
    else
        printf("%s ok passwd=%zu:%.*s group=%zu\n", tag, strlen(passwd),
            (int)strcspn(passwd, "\n"), passwd, strlen(group));
    fflush(stdout);
    free(tag);
}

static void news(void *arg, enum engine_event ev, const char *id,
    const char *ref,
    int code)
{
    static const char *const names[] = { "DIED", "OOM", "REMOVED", "STARTED",
        "PAUSED", "UNPAUSED", "LOST", "BACK" };

    (void)arg;
    printf("news %s %s %s %d\n", names[ev], id != NULL ? id : "-",
        ref != NULL ? ref : "-", code);
    fflush(stdout);
}

static char *read_text(const char *path)
{
    FILE  *f = fopen(path, "r");
    char  *text = calloc(1, 1 << 20);
    size_t n;

    if (f == NULL || text == NULL)
        log_fatal("cannot read %s", path);
    n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

static void make_spec(struct engine_spec *s, const char *id, const char *image,
    long memory, const char *dir)
{
    static char paths[6][512];
    static const char *const names[6] =
        { "home", "logs", "passwd", "group", "resolv", "guest" };
    static char *seccomp;
    char         path[512];

    for (int i = 0; i < 6; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
    if (seccomp == NULL) {
        snprintf(path, sizeof(path), "%s/seccomp.json", dir);
        seccomp = read_text(path);
    }
    memset(s, 0, sizeof(*s));
    s->id = id;
    s->image = image;
    s->tenant = "default";
    s->memory_mb = memory;
    s->cpus_milli = 64000;      /* more than there are: must be cut */
    s->pids = 100;
    s->tmp_mb = 64;
    s->nofile = 4096;
    s->home = paths[0];
    s->logs = paths[1];
    s->passwd = paths[2];
    s->group = paths[3];
    s->resolv = paths[4];
    s->guest = paths[5];
    s->seccomp = seccomp;
}

static void command(char **w, int n)
{
    struct engine_spec spec;
    char              *tag = strdup(w[0]);
    const char        *cmd = n > 1 ? w[1] : "", *a = n > 2 ? w[2] : "";

    if (strcmp(cmd, "caps") == 0) {
        engine_ask_caps(engine, done, tag);
    } else if (strcmp(cmd, "list") == 0) {
        engine_list(engine, done, tag);
    } else if (strcmp(cmd, "ensure") == 0) {
        engine_image_ensure(engine, a, done, tag);
    } else if (strcmp(cmd, "texts") == 0) {
        engine_image_texts(engine, a, texts, tag);
    } else if (strcmp(cmd, "create") == 0 && n == 6) {
        make_spec(&spec, a, w[3], strtol(w[4], NULL, 10), w[5]);
        engine_create(engine, &spec, &last_image, done, tag);
    } else if (strcmp(cmd, "start") == 0) {
        engine_start(engine, a, done, tag);
    } else if (strcmp(cmd, "stop") == 0 && n == 4) {
        engine_stop(engine, a, (int)strtol(w[3], NULL, 10), done, tag);
    } else if (strcmp(cmd, "freeze") == 0) {
        engine_freeze(engine, a, done, tag);
    } else if (strcmp(cmd, "thaw") == 0) {
        engine_thaw(engine, a, done, tag);
    } else if (strcmp(cmd, "remove") == 0) {
        engine_remove(engine, a, done, tag);
    } else if (strcmp(cmd, "inspect") == 0) {
        engine_inspect(engine, a, done, tag);
    } else if (strcmp(cmd, "stats") == 0) {
        engine_stats(engine, a, done, tag);
    } else if (strcmp(cmd, "update") == 0 && n == 4) {
        memset(&spec, 0, sizeof(spec));
        spec.memory_mb = strtol(w[3], NULL, 10);
        spec.cpus_milli = 500;
        spec.pids = 50;
        engine_update(engine, a, &spec, done, tag);
    } else {
        log_fatal("no such command: %s", cmd);
    }
}

static void input(struct watch *watch, uint32_t events)
{
    static char   buf[LINE_SIZE];
    static size_t len;
    char         *nl, *rest, *w[WORDS_MAX];
    ssize_t       got;
    int           n;

    (void)events;
    got = read(watch->fd, buf + len, sizeof(buf) - 1 - len);
    if (got <= 0) {
        loop_stop(loop);
        return;
    }
    len += (size_t)got;
    buf[len] = 0;
    while ((nl = strchr(buf, '\n')) != NULL) {
        *nl = 0;
        n = 0;
        rest = buf;
        while (n < WORDS_MAX && (w[n] = strsep(&rest, " ")) != NULL)
            n++;
        if (n > 0)
            command(w, n);
        len -= (size_t)(nl + 1 - buf);
        memmove(buf, nl + 1, len + 1);
    }
}

int main(int argc, char **argv)
{
    static struct settings s;
    static struct watch    in;
    struct err             e = {0};

    if (argc != 2 || settings_load(&s, argv[1], &e) != 0) {
        fprintf(stderr, "engine_drive: %s\n", e.msg);
        return 100;
    }
    log_open("drive", LOG_DEBUG_);
    loop = loop_new();
    in.fd = 0;
    in.ready = input;
    engine = engine_docker_new(loop, &s, news, NULL, &e);
    if (engine == NULL || loop_handle_signals(loop, NULL, NULL) != 0
        || loop_add(loop, &in, EPOLLIN) != 0)
        log_fatal("%s", e.msg);
    loop_run(loop);
    engine_free(engine);
    free(last_image.entrypoint);
    free(last_image.volumes);
    free(last_image.user);
    settings_fini(&s);
    loop_free(loop);
    return 0;
}
