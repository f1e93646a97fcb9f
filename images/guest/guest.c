/*
 * guest: see guest.h. Owns the phase, ids and environment of PID 1.
 */
#include "guest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keeper.h"
#include "bounds.h"
#include "loop.h"
#include "ports.h"
#include "server.h"
#include "service.h"

#define USER "sandbox"          /* its name in the /etc/passwd we mount */
#define PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

struct guest guest;

static struct timer stop_timer;
static bool killed;


/* ---- environment --------------------------------------------------------- */

static int put_all(struct strings *to, char *const *from)
{
    for ( ; from != NULL && *from != NULL; from++)
        if (strchr(*from, '=') != NULL
            && strings_put(to, *from, 4 * BOOT_LIST_MAX) != 0)
        {
            return -1;
        }
    return 0;
}


/* "NAME=value" that stays for as long as PID 1 does. */
static int put_default(struct strings *to, const char *name,
    const char *value)
{
    size_t n = strlen(name), v = strlen(value);
    char *text = malloc(n + v + 2);

    if (text == NULL)
        return -1;
    memcpy(text, name, n);
    text[n] = '=';
    memcpy(text + n + 1, value, v + 1);
    return strings_put(to, text, 4 * BOOT_LIST_MAX);
}


/* Docker's HOME is root's; the rest are what a login would set. */
static int make_base(const struct boot *env, struct strings *base)
{
    const char *shell = guest_shell();

    if (put_all(base, environ) != 0
        || put_default(base, "HOME", guest.boot.home ? guest.boot.home : "/")
        || put_default(base, "USER", USER)
        || put_default(base, "LOGNAME", USER)
        || put_default(base, "SHELL", shell ? shell : "/bin/sh")
        || (getenv("PATH") == NULL && put_default(base, "PATH", PATH)))
    {
        return -1;
    }
    return put_all(base, env->env.v);
}


int guest_env(const uint8_t *body, size_t n, char why[96])
{
    struct strings base = { 0 };
    struct boot env;

    if (boot_parse_env(body, n, &env, why) != 0)
        return -1;
    if (make_base(&env, &base) != 0) {
        strings_free(&base);
        boot_free(&env);
        return -1;
    }
    strings_free(&guest.base);
    boot_free(&guest.env);
    guest.env = env;
    guest.base = base;
    return 0;
}


int guest_environ(const struct strings *over, struct strings *out)
{
    if (put_all(out, guest.base.v) != 0 || put_all(out, over->v) != 0) {
        strings_free(out);
        return -1;
    }
    return 0;
}


const char *guest_shell(void)
{
    const char *shells[] = { guest.boot.shell, "/bin/bash", "/bin/sh" };
    size_t i;

    for (i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
        if (shells[i] != NULL && access(shells[i], X_OK) == 0)
            return shells[i];
    return NULL;
}


void guest_command(struct command *c)
{
    memset(c, 0, sizeof(*c));
    c->uid = guest.boot.uid;
    c->gid = guest.boot.gid;
    c->home = guest.boot.home;
    c->cwd = guest.boot.cwd != NULL ? guest.boot.cwd : guest.boot.home;
    c->output = -1;
}


/* ---- boot ---------------------------------------------------------------- */

/* From here on PID 1 touches every file as the user: whatever path user code
 * can make it open, it gains nothing by it. */
static int take_ids(char why[96])
{
    const struct boot *b = &guest.boot;

    setfsgid(b->gid);
    setfsuid(b->uid);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);     /* a change of ids resets it */
    if ((uint32_t) setfsgid((gid_t) -1) == b->gid
        && (uint32_t) setfsuid((uid_t) -1) == b->uid)
    {
        return 0;
    }
    snprintf(why, 96, "cannot take uid %u, gid %u", b->uid, b->gid);
    return -1;
}


int guest_boot(const uint8_t *body, size_t n, char why[96])
{
    if (guest.phase != PHASE_WAITING) {
        snprintf(why, 96, "%s", guest.phase == PHASE_BOOTED
                 ? "already booted" : "stopping");
        return -1;
    }
    if (boot_parse(body, n, &guest.boot, why) != 0)
        return -1;
    services_open_logs();       /* root's directory: before the ids go */
    if (take_ids(why) != 0)
        goto failed;
    if (make_base(&guest.boot, &guest.base) != 0) {
        snprintf(why, 96, "out of memory");
        goto failed;
    }
    guest.phase = PHASE_BOOTED;
    services_start();
    ports_wake();
    return 0;

failed:

    services_close_logs();
    strings_free(&guest.base);
    boot_free(&guest.boot);
    return -1;
}


/* ---- the end ------------------------------------------------------------- */

static void end(struct timer *t)
{
    if (killed || t == NULL)
        _exit(0);               /* takes with it whatever is left */
    killed = true;
    kill(-1, SIGKILL);
    loop_timer(&stop_timer, 1000);
}


void guest_childless(void)
{
    if (guest.phase == PHASE_STOPPING && !server_busy())
        end(NULL);
}


void guest_stop(int64_t ms)
{
    if (guest.phase != PHASE_STOPPING) {
        guest.phase = PHASE_STOPPING;
        services_stop();
        kill(-1, SIGTERM);      /* shims ignore it */
        stop_timer.due = end;
    } else if (stop_timer.set && stop_timer.at_ms - loop_now_ms() < ms) {
        return;                 /* a later stop can only be sooner */
    }
    loop_timer(&stop_timer, ms);
}
