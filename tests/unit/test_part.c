/* Unit test of parent/part: real children; what each state does with each
 * event that can happen to it, and the back-off. */
#include "parent/part.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "test.h"

static struct loop *l;
static struct part  p;
static int          spawned, ready_after, fail_spawn, ignore_term;
static int64_t      spawned_at[64];
static int          wanted_state;
static pid_t        grandchild;

static pid_t spawn(struct part *part, struct err *e)
{
    sigset_t none;
    pid_t    pid;
    int      fd[2];

    (void)part;
    if (spawned < 64)
        spawned_at[spawned] = clock_mono_ms();
    spawned++;
    if (fail_spawn)
        return err_set(e, "internal", "no");
    if (pipe(fd) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (ignore_term)
            signal(SIGTERM, SIG_IGN);
        grandchild = fork();
        if (grandchild == 0) {
            for (;;)
                pause();
        }
        if (write(fd[1], &grandchild, sizeof(grandchild)) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    if (read(fd[0], &grandchild, sizeof(grandchild)) < 0)
        return -1;
    close(fd[0]);
    close(fd[1]);
    return pid;
}

static bool ready(struct part *part)
{
    (void)part;
    return --ready_after <= 0;
}

static void changed(struct part *part)
{
    if ((int)part->state == wanted_state)
        loop_stop(l);
}

static void on_signal(int signo, void *arg)
{
    int status;

    (void)arg;
    (void)signo;
    while (waitpid(p.pid == 0 ? -1 : p.pid, &status, WNOHANG) > 0) {
        p.status = status;
        part_event(&p, PART_DIED);
    }
}

static void late(struct timer *t)
{
    (void)t;
    CHECK(!"came in time");
    loop_stop(l);
}

/* Runs until the part is in the state, 10 s at most. */
static void until(enum part_state s)
{
    struct timer t = { .due = late };

    if (p.state == s)
        return;
    wanted_state = (int)s;
    loop_timer_set(l, &t, 10000);
    loop_run(l);
    loop_timer_clear(l, &t);
    wanted_state = -1;
    CHECK_AS(p.state == s, part_state_name(s));
}

static bool gone(pid_t pid)
{
    int64_t end = clock_mono_ms() + 5000;
    char    path[64], state = '?';
    FILE   *f;

    while (clock_mono_ms() < end) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        f = fopen(path, "r");
        if (f == NULL)
            return true;
        if (fscanf(f, "%*d %*s %c", &state) != 1)
            state = '?';
        fclose(f);
        if (state == 'Z')
            return true;
    }
    return false;
}

static void test_life(void)
{
    pid_t first, child;

    ready_after = 3;
    part_event(&p, PART_STOP);          /* stopped already */
    CHECK(p.state == PART_STOPPED);
    part_event(&p, PART_START);
    CHECK(p.state == PART_STARTING && spawned == 1);
    part_event(&p, PART_START);
    CHECK(spawned == 1);
    until(PART_UP);
    CHECK(ready_after == 0);

    first = p.pid;
    child = grandchild;
    kill(p.pid, SIGKILL);
    until(PART_BACKOFF);
    CHECK(p.restarts == 1 && gone(child));      /* its group went along */
    until(PART_UP);
    CHECK(p.pid != first && spawned == 2);

    part_restart(&p);
    CHECK(p.state == PART_STOPPING);
    first = p.pid;
    until(PART_STARTING);
    until(PART_UP);
    CHECK(p.pid != first && spawned == 3);

    part_event(&p, PART_STOP);
    part_event(&p, PART_START);
    part_event(&p, PART_STOP);          /* the last word counts */
    until(PART_STOPPED);
    CHECK(spawned == 3 && p.pid == 0);
}

static void test_backoff(void)
{
    int64_t gap[4];
    int     i, first = spawned;

    fail_spawn = 1;
    p.backoff_ms = 50;
    part_event(&p, PART_START);
    while (spawned < first + 5) {
        wanted_state = PART_BACKOFF;
        loop_run(l);
    }
    wanted_state = -1;
    for (i = 0; i < 4; i++)
        gap[i] = spawned_at[first + i + 1] - spawned_at[first + i];
    CHECK(gap[0] >= 50 && gap[1] >= 100 && gap[2] >= 200 && gap[3] >= 400);
    CHECK(p.backoff_ms == 1600);
    part_event(&p, PART_DIED);
    CHECK(p.state == PART_BACKOFF);
    part_event(&p, PART_STOP);
    CHECK(p.state == PART_STOPPED);
    p.backoff_ms = 4000;
    part_event(&p, PART_START);
    CHECK(p.backoff_ms == 5000);
    part_event(&p, PART_STOP);
    fail_spawn = 0;
}

/* One that does not want to end is made to. */
static void test_stubborn(void)
{
    ignore_term = 1;
    ready_after = 1;
    p.drain_ms = 10;
    part_event(&p, PART_START);
    until(PART_UP);
    part_event(&p, PART_STOP);
    part_event(&p, PART_TIMER);         /* as when somebody is in a hurry */
    part_event(&p, PART_TIMER);
    until(PART_STOPPED);
    CHECK(p.strikes >= 2);
    ignore_term = 0;
}

int main(void)
{
    log_open("test", LOG_ERROR_ + 1);
    l = loop_new();
    if (l == NULL || loop_handle_signals(l, on_signal, NULL) != 0)
        return 111;
    wanted_state = -1;
    p.name = "child";
    p.stop_signal = SIGTERM;
    p.drain_ms = 1000;
    p.spawn = spawn;
    p.ready = ready;
    p.changed = changed;
    part_init(&p, l);
    test_life();
    test_backoff();
    test_stubborn();
    loop_free(l);
    return TEST_END();
}
