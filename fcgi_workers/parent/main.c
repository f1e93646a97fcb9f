/*
 * main: the command line of holdfastd.
 *
 * Exit status: 0 well, 100 wrong usage or settings, 111 the system failed; of
 * `status` 1 and 3 as init scripts have them.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../api/api.h"
#include "../common/clock.h"
#include "../common/log.h"
#include "../common/maintenance.h"
#include "../common/settings.h"
#include "../common/ticket_keys.h"
#include "../door/door_role.h"
#include "../keeper/keeper.h"
#include "../net/net_role.h"
#include "../tasks/tasks.h"
#include "nginx_conf.h"
#include "parent.h"
#include "parts.h"
#include "spawn.h"
#include "watcher.h"

#define MAIN_FILE  "/etc/holdfast/holdfast.conf"
#define MAIN_HANDED "/proc/self/fd/9"   /* by the parent, SPAWN_SETTINGS_FD */
#define MAIN_USAGE 100

struct main_args {
    const char      *command;
    const char      *arg;       /* what follows it, or "" */
    struct settings *s;
};

static const char main_help[] =
    "usage: holdfastd [-c FILE] COMMAND\n"
    "\n"
    "  run                   run in the foreground (systemd, containers)\n"
    "  start                 run in the background, restarted if it dies\n"
    "  stop [--engine]       stop; with --engine an own Docker Engine, too\n"
    "  reload                read the settings anew\n"
    "  rotate-keys           sign tickets with a new key; reloads\n"
    "  status                each part, its pid, since when, restarts\n"
    "  maintenance [on|off]  nothing new is made or woken; or how it is\n"
    "  check                 read the settings and look whether all is there\n"
    "  settings --markdown   the documentation of all settings\n"
    "  settings --example    a settings file with every default\n"
    "  nginx-conf DIR        write nginx' configuration into DIR\n"
    "  net-clean             remove interfaces and firewall rules\n"
    "  version\n"
    "\n"
    "  keeper, api, tasks, door, net are the parts; `run` starts them.\n"
    "\n"
    "FILE is " MAIN_FILE " unless given; without one there the\n"
    "defaults are in force.\n";

/* ---- commands ----------------------------------------------------------- */

static int main_run(struct main_args *a)
{
    return parent_main(a->s, true);
}

static int main_start(struct main_args *a)
{
    return watcher_start(a->s);
}

static int main_stop(struct main_args *a)
{
    return watcher_stop(a->s, strcmp(a->arg, "--engine") == 0);
}

static int main_reload(struct main_args *a)
{
    return watcher_reload(a->s);
}

/* Tickets that the key before the last one signed are void from now on. */
static int main_rotate_keys(struct main_args *a)
{
    struct err e;

    if (ticket_keys_rotate(a->s->data_dir, &e) != 0) {
        fprintf(stderr, "holdfastd: %s\n", e.msg);
        return 111;
    }
    printf("tickets are signed with a new key\n");
    return watcher_reload(a->s);
}

static int main_status(struct main_args *a)
{
    return watcher_status(a->s);
}

static int main_maintenance(struct main_args *a)
{
    struct err e;
    int64_t    since_ms;
    char       text[CLOCK_TEXT_MAX];

    if (a->arg[0] != '\0'
        && maintenance_set(a->s, strcmp(a->arg, "on") == 0, &e) == -1)
    {
        fprintf(stderr, "holdfastd: %s\n", e.msg);
        return 111;
    }
    if (maintenance_on(a->s, &since_ms))
        printf("maintenance is on since %s: nothing new is made or woken, "
            "what is awake runs on\n", clock_text(since_ms, text));
    else
        printf("maintenance is off\n");
    return 0;
}

static int main_check(struct main_args *a)
{
    struct err e;

    if (parts_check(a->s, &e) != 0) {
        fprintf(stderr, "holdfastd: %s\n", e.msg);
        return 111;
    }
    printf("the settings in %s are well\n", a->s->file);
    return 0;
}

static int main_nginx_conf(struct main_args *a)
{
    struct err e;

    if (nginx_conf_write(a->s, a->arg, a->s->nofile, &e) != 0) {
        fprintf(stderr, "holdfastd: %s\n", e.msg);
        return 111;
    }
    return 0;
}

/* For uninstalling: sandboxes that still run lose their network. */
static int main_net_clean(struct main_args *a)
{
    return net_clean(a->s) == 0 ? 0 : 111;
}

static int main_settings(struct main_args *a)
{
    if (strcmp(a->arg, "--markdown") == 0)
        settings_print_markdown(stdout);
    else
        settings_print_example(stdout);
    return fflush(stdout) == 0 ? 0 : 111;
}

static int main_version(struct main_args *a)
{
    (void)a;
    printf("holdfastd " HOLDFAST_VERSION "\n");
    return 0;
}

/* A role: its name is what ps shows. Its sockets came over execve; what it
 * starts itself must not get them. */
static int main_role(struct main_args *a, int (*role)(const struct settings *s))
{
    char name[16];

    snprintf(name, sizeof(name), "hf-%s", a->command);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    close_range(3, 3 + SPAWN_FDS_MAX, CLOSE_RANGE_CLOEXEC);
    return role(a->s);
}

static int main_keeper(struct main_args *a)
{
    return main_role(a, keeper_main);
}

static int main_api(struct main_args *a)
{
    return main_role(a, api_main);
}

static int main_tasks(struct main_args *a)
{
    return main_role(a, tasks_main);
}

static int main_door(struct main_args *a)
{
    return main_role(a, door_main);
}

static int main_net(struct main_args *a)
{
    return main_role(a, net_main);
}

static const struct main_command {
    const char *name;
    const char *args;           /* allowed after it, separated by |; "DIR"
                                 * is any; "?" before them: or nothing */
    bool        settings;       /* reads the file */
    int       (*run)(struct main_args *a);
} commands[] = {
    { "run",        "",                     true,  main_run },
    { "start",      "",                     true,  main_start },
    { "stop",       "?--engine",            true,  main_stop },
    { "reload",     "",                     true,  main_reload },
    { "rotate-keys", "",                    true,  main_rotate_keys },
    { "status",     "",                     true,  main_status },
    { "maintenance", "?on|off",             true,  main_maintenance },
    { "check",      "",                     true,  main_check },
    { "nginx-conf", "DIR",                  true,  main_nginx_conf },
    { "net-clean",  "",                     true,  main_net_clean },
    { "settings",   "--markdown|--example", false, main_settings },
    { "version",    "",                     false, main_version },
    { "keeper",     "",                     true,  main_keeper },
    { "api",        "",                     true,  main_api },
    { "tasks",      "",                     true,  main_tasks },
    { "door",       "",                     true,  main_door },
    { "net",        "",                     true,  main_net },
};

/* ---- the command line --------------------------------------------------- */

static const struct main_command *main_find(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool main_arg_ok(const char *allowed, const char *arg)
{
    size_t len = strlen(arg);

    if (len == 0)
        return allowed[0] == '\0' || allowed[0] == '?';
    if (allowed[0] == '?')
        allowed++;
    if (strcmp(allowed, "DIR") == 0)
        return len > 0 && arg[0] != '-';
    while (*allowed != '\0') {
        if (strcspn(allowed, "|") == len && strncmp(allowed, arg, len) == 0)
            return true;
        allowed += strcspn(allowed, "|");
        allowed += *allowed == '|';
    }
    return false;
}

/* The file by its full name: the parent reads it again at a reload, from
 * another folder. */
static int main_load(struct settings *s, const char *file, struct err *e)
{
    char *full;
    int   rc;

    if (file == NULL && access(MAIN_FILE, F_OK) != 0)
        return settings_load(s, NULL, e);
    if (file == NULL)
        file = MAIN_FILE;
    if (strcmp(file, MAIN_HANDED) == 0) {
        rc = settings_load(s, file, e);
        close(SPAWN_SETTINGS_FD);
        return rc;
    }
    full = realpath(file, NULL);
    if (full == NULL)
        return err_errno(e, "open the settings file %s", file);
    rc = settings_load(s, full, e);
    free(full);
    return rc;
}

static int main_usage(const char *wrong)
{
    if (wrong != NULL)
        fprintf(stderr, "holdfastd: %s\n", wrong);
    fputs(main_help, stderr);
    return MAIN_USAGE;
}

int main(int argc, char **argv)
{
    const struct main_command *c;
    struct settings            s;
    struct main_args           a = { NULL, "", &s };
    struct err                 e;
    const char                *file = NULL;
    int                        at = 1, rc;

    if (argc > 2 && strcmp(argv[1], "-c") == 0) {
        file = argv[2];
        at = 3;
    }
    if (at < argc && (strcmp(argv[at], "--help") == 0
        || strcmp(argv[at], "-h") == 0))
    {
        fputs(main_help, stdout);
        return 0;
    }
    if (at >= argc)
        return main_usage(NULL);
    c = main_find(argv[at]);
    if (c == NULL)
        return main_usage("no such command");
    a.command = c->name;
    if (argc > at + 1)
        a.arg = argv[at + 1];
    if (argc > at + 2 || !main_arg_ok(c->args, a.arg))
        return main_usage("wrong arguments");

    memset(&s, 0, sizeof(s));
    if (c->settings && main_load(&s, file, &e) != 0) {
        fprintf(stderr, "holdfastd: %s\n", e.msg);
        return MAIN_USAGE;
    }
    if (s.log_level != NULL)
        log_open(strcmp(c->name, "run") == 0 ? "parent"
            : strcmp(c->name, "start") == 0 ? "watcher" : c->name,
            (enum log_level)log_level_named(s.log_level,
            strlen(s.log_level)));
    rc = c->run(&a);
    settings_fini(&s);
    return rc;
}
