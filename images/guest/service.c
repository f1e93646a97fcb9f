/*
 * service: see service.h. Owns the services' shims, timers and log files.
 */
#include "service.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "keeper.h"
#include "bounds.h"
#include "loop.h"
#include "ports.h"

#define LOGS "/.holdfast/logs/"

struct service {
    const struct boot_service *spec;
    struct watch         shim;
    struct timer         timer;         /* back-off, or setup's time-out */
    struct guest_service status;
    int64_t              backoff_ms, started_ms;
    int                  log, old;      /* log file, the one before */
    off_t                log_size;
};

static struct boot_service image = {
    .name = "image", .restart = RESTART_ON_FAILURE
};

static struct service services[GUEST_SERVICES_MAX];
static size_t nservices;
static struct service setup = { .shim.fd = -1, .log = -1, .old = -1 };
static bool stopping;

static void start(struct service *s);


/* ---- logs ---------------------------------------------------------------- */

static int open_log(const char *name, const char *suffix)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), LOGS "%s.log%s", name, suffix);
    fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW
              | O_NONBLOCK, 0600);
    /* Programs open /dev/stdout anew, as the user. The directory is what
     * keeps others out. */
    if (fd >= 0 && fchmod(fd, 0666) != 0) {
        /* then such a program cannot write its log, and says so */
    }
    return fd;
}


static void prepare(struct service *s, const struct boot_service *spec)
{
    memset(s, 0, sizeof(*s));
    s->spec = spec;
    s->shim.fd = -1;
    s->log = open_log(spec->name, "");
    s->old = s->log >= 0 ? open_log(spec->name, ".1") : -1;
    if (s->log < 0)
        s->log = open("/dev/null", O_WRONLY | O_CLOEXEC);
    s->backoff_ms = SERVICE_BACKOFF_MS;
    s->status.state = GUEST_SVC_STARTING;
}


void services_open_logs(void)
{
    const struct boot *b = &guest.boot;
    size_t i;

    nservices = b->nservices;
    for (i = 0; i < nservices; i++)
        prepare(&services[i], &b->services[i]);
    if (nservices == 0 && b->image.n > 0) {
        image.argv = b->image;
        prepare(&services[nservices++], &image);
    }
    setup.shim.fd = setup.log = setup.old = -1;
    if (b->has_setup)
        prepare(&setup, &b->setup);
}


static void close_logs(struct service *s)
{
    if (s->log >= 0)
        close(s->log);
    if (s->old >= 0)
        close(s->old);
    s->log = s->old = -1;
}


void services_close_logs(void)
{
    size_t i;

    for (i = 0; i < nservices; i++)
        close_logs(&services[i]);
    close_logs(&setup);
    nservices = 0;
}


/* The service writes on with O_APPEND while this goes on: a line that comes
 * between the copy and the cut is lost. */
static void rotate(struct service *s, off_t size)
{
    off_t from = size > SERVICE_LOG_MAX ? size - SERVICE_LOG_MAX : 0;
    ssize_t n;

    if (s->old >= 0 && ftruncate(s->old, 0) == 0
        && fcntl(s->old, F_SETFL, 0) == 0)      /* sendfile: no O_APPEND */
    {
        lseek(s->old, 0, SEEK_SET);
        while (from < size) {
            n = sendfile(s->old, s->log, &from, (size_t) (size - from));
            if (n <= 0)
                break;          /* a full disk must not stop the cut */
        }
    }
    if (ftruncate(s->log, 0) != 0) {
        /* tried again at the next look */
    }
}


static bool check_log(struct service *s)
{
    struct stat st;
    bool grown;

    if (s->log < 0 || fstat(s->log, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    grown = st.st_size != s->log_size;
    if (st.st_size > SERVICE_LOG_MAX) {
        rotate(s, st.st_size);
        if (fstat(s->log, &st) != 0)
            return true;
    }
    s->log_size = st.st_size;
    return grown;
}


bool services_check_logs(void)
{
    bool grown = false;
    size_t i;

    for (i = 0; i < nservices; i++)
        grown |= check_log(&services[i]);
    return check_log(&setup) || grown;
}


/* ---- start and end ------------------------------------------------------- */

static void set_state(struct service *s, enum guest_service_state state)
{
    s->status.state = (uint8_t) state;
    keeper_changed();
    ports_wake();
}


static void note_ready(struct service *s)
{
    bool open = s->spec->port == 0 || ports_families(s->spec->port) != 0;

    if (s->status.state == GUEST_SVC_STARTING && open && s->shim.fd >= 0)
        set_state(s, GUEST_SVC_READY);
}


static void start_services(void)
{
    size_t i;

    for (i = 0; i < nservices && !stopping; i++)
        start(&services[i]);
}


static bool to_restart(const struct service *s, bool failed)
{
    if (stopping || s == &setup)
        return false;
    return s->spec->restart == RESTART_ALWAYS
        || (s->spec->restart == RESTART_ON_FAILURE && failed);
}


/* It ended, or could not be started. */
static void ended(struct service *s, int exit_code, int signo)
{
    bool failed = exit_code != 0 || signo != 0;

    loop_close(&s->shim);
    loop_timer_clear(&s->timer);
    s->status.exit_code = (int16_t) exit_code;
    s->status.exit_signal = (uint8_t) signo;
    if (loop_now_ms() - s->started_ms >= SERVICE_STABLE_MS)
        s->backoff_ms = SERVICE_BACKOFF_MS;
    if (to_restart(s, failed)) {
        set_state(s, GUEST_SVC_BACKOFF);
        loop_timer(&s->timer, s->backoff_ms);
        s->backoff_ms *= 2;
        if (s->backoff_ms > SERVICE_BACKOFF_MAX_MS)
            s->backoff_ms = SERVICE_BACKOFF_MAX_MS;
    } else {
        set_state(s, failed ? GUEST_SVC_FAILED : GUEST_SVC_EXITED);
    }
    if (s == &setup)
        start_services();       /* failed or not: people need to look at it */
}


static void say(struct service *s, const char *what, int error)
{
    char line[160];
    int n;

    n = snprintf(line, sizeof(line), "holdfast: %s: %s\n", what,
                 strerror(error));
    if (n > 0 && write(s->log, line, (size_t) n) < 0) {
        /* the state tells, too */
    }
}


static void on_shim(struct watch *w, uint32_t events)
{
    static const char *const stages[] = {
        "cannot start a process", "cannot take the user's id",
        "cannot open its standard files", "cannot enter its directory",
        "cannot execute it"
    };
    struct service *s = w->owner;
    struct shim_msg m = { 0 };
    int fds[3];

    (void) events;
    while (w->fd >= 0 && shim_receive(w->fd, &m, fds) == 1) {
        switch (m.kind) {
        case SHIM_STARTED:
            if (s->spec->port == 0)
                note_ready(s);
            break;
        case SHIM_FAILED:
            say(s, stages[m.stage], m.error);
            ended(s, m.stage == STAGE_EXEC ? 127 : 126, 0);
            break;
        case SHIM_ENDED:
            if (WIFSIGNALED(m.status))
                ended(s, 128 + WTERMSIG(m.status), WTERMSIG(m.status));
            else
                ended(s, WEXITSTATUS(m.status), 0);
            break;
        case SHIM_GONE:
            ended(s, 128 + 9, 9);
            break;
        default:
            break;
        }
    }
}


static void due(struct timer *t)
{
    struct service *s = t->owner;

    if (s->shim.fd >= 0) {
        say(s, "timed out", 0);
        shim_kill(s->shim.fd);          /* setup took too long */
    } else if (!stopping) {
        start(s);
    }
}


static void start(struct service *s)
{
    struct strings env = { 0 };
    struct command c;
    int fd;

    guest_command(&c);
    if (s->spec->cwd != NULL)
        c.cwd = s->spec->cwd;
    c.cwd_must = s->spec->cwd != NULL;
    c.argv = s->spec->argv.v;
    c.output = s->log;
    c.kill_rest = s != &setup;
    s->timer.owner = s;
    s->timer.due = due;
    s->started_ms = loop_now_ms();
    s->status.starts++;
    s->status.state = GUEST_SVC_STARTING;
    fd = -1;
    if (guest_environ(&s->spec->env, &env) == 0) {
        c.env = env.v;
        fd = shim_start(&c);
    }
    strings_free(&env);
    if (fd < 0) {
        ended(s, 126, 0);       /* the pids limit, most likely: tries again */
        return;
    }
    s->shim = (struct watch) { .fd = fd, .ready = on_shim, .owner = s };
    loop_watch(&s->shim, EPOLLIN);
    if (s == &setup && guest.boot.setup_timeout_s > 0)
        loop_timer(&s->timer, (int64_t) guest.boot.setup_timeout_s * 1000);
    keeper_changed();
    ports_wake();
}


void services_start(void)
{
    if (guest.boot.has_setup)
        start(&setup);
    else
        start_services();
}


void services_stop(void)
{
    stopping = true;
}


/* ---- for others ---------------------------------------------------------- */

bool services_waiting(void)
{
    size_t i;

    for (i = 0; i < nservices; i++)
        if (services[i].shim.fd >= 0
            && services[i].status.state == GUEST_SVC_STARTING
            && loop_now_ms() - services[i].started_ms < PORTS_FAST_FOR_MS)
        {
            return true;
        }
    return false;
}


bool services_running(void)
{
    size_t i;

    for (i = 0; i < nservices; i++)
        if (services[i].shim.fd >= 0)
            return true;
    return setup.shim.fd >= 0 && guest.boot.has_setup;
}


void services_looked(void)
{
    size_t i;

    for (i = 0; i < nservices; i++)
        note_ready(&services[i]);
}


uint8_t services_fill(struct guest_service *out, struct guest_service *set)
{
    size_t i;

    for (i = 0; i < nservices; i++)
        out[i] = services[i].status;
    *set = setup.status;
    return (uint8_t) nservices;
}
