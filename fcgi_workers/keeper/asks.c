/*
 * asks: W lines: who asked about which sandbox, and when each is answered.
 *
 * Owns the asks. An answer goes to every gate and port that is decided, at
 * every change (machine_look and the guest's status call links_settle). An
 * answer releases all waiters of an id in its gate; those that still need
 * something ask anew, so answering early is never wrong, only busy.
 *
 * Generations: what a gate sends is the highest that it holds for this id. If
 * ours is not greater, an answer would be ignored and the gate would ask for
 * ever: a new one is made first. On the way up none is needed, because the one
 * reserved for the awake route is newer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "../common/maintenance.h"
#include "guestlink.h"
#include "links_in.h"
#include "live.h"
#include "machine.h"
#include "start.h"
#include "store.h"

#define WATCH_MS 5000
#define ASKS_MAX 256            /* of one sandbox, by port */
#define FIRST_REPORT_MS 500     /* by then a guest has begun its services */

enum verdict { WAIT, ANSWER, RENEW };

static void ask_free(struct ask *a)
{
    struct ask **at = &a->sb->asks;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    *a->prev_all = a->next_all;
    if (a->next_all != NULL)
        a->next_all->prev_all = a->prev_all;
    a->link->k->links->nasks--;
    free(a);
}

void asks_link_gone(struct link *l)
{
    struct ask *a, *next;

    for (a = l->k->links->asks; a != NULL; a = next) {
        next = a->next_all;
        if (a->link == l)
            ask_free(a);
    }
}

/* ---- ports --------------------------------------------------------------- */

static const struct guest_port *port_open(const struct sandbox *sb,
    uint16_t port)
{
    const struct guest_status *st;
    unsigned                   i;

    if (sb->live == NULL || !sb->live->has_status)
        return NULL;
    st = &sb->live->status;
    for (i = 0; i < st->nports; i++) {
        if (st->ports[i].port == port)
            return &st->ports[i];
    }
    return NULL;
}

/* Is anything inside still on its way that could open a port? */
static bool services_coming(const struct sandbox *sb)
{
    const struct guest_status *st = &sb->live->status;
    unsigned                   i;

    for (i = 0; i < st->nservices; i++) {
        if (st->services[i].state == GUEST_SVC_STARTING
            || st->services[i].state == GUEST_SVC_READY
            || st->services[i].state == GUEST_SVC_BACKOFF)
            return true;
    }
    return false;
}

static bool port_was_open(const struct sandbox *sb, uint16_t port)
{
    char word[24];

    if (sb->last_status == NULL)
        return false;
    snprintf(word, sizeof(word), "\"port\":%u,", port);
    return strstr(sb->last_status, word) != NULL;
}

static bool port_declared(const struct sandbox *sb, uint16_t port)
{
    unsigned i;

    for (i = 0; i < sb->nports; i++) {
        if (sb->ports[i] == port)
            return true;
    }
    for (i = 0; i < sb->nservice_ports; i++) {
        if (sb->service_ports[i] == port)
            return true;
    }
    return false;
}

/* Milliseconds for which a closed port may still open; 0: it will not. Only
 * after a boot, and only for a port that somebody promised. */
static int64_t port_may_open(const struct sandbox *sb, uint16_t port)
{
    int64_t wait_ms = sb->k->s->port_wait_s * 1000;
    int64_t age = loop_now_ms(sb->k->loop) - sb->booted_mono_ms;

    if (sb->booted_mono_ms == 0 || age >= wait_ms)
        return 0;
    if (port_was_open(sb, port)
        || (port_declared(sb, port)
            && (age < FIRST_REPORT_MS || services_coming(sb))))
        return wait_ms - age;
    return 0;
}

static void ports_wait(struct sandbox *sb, int64_t ms)
{
    struct live *live = sb->live;
    int64_t      now = loop_now_ms(sb->k->loop);

    if (ms > WATCH_MS)
        ms = WATCH_MS;          /* then the watch is renewed */
    if (live->ports.slot != 0 && live->ports.at_ms <= now + ms)
        return;
    guestlink_watch(sb, WATCH_MS);
    loop_timer_set(sb->k->loop, &live->ports, ms);
}

static enum line_pstate port_state(const struct sandbox *sb, uint16_t port)
{
    const struct guest_port *p;

    if (port == 0)
        return LINE_P_NONE;
    p = port_open(sb, port);
    if (p == NULL)
        return LINE_P_CLOSED;
    return (p->families & GUEST_PORT_4) != 0 ? LINE_P_OPEN4 : LINE_P_OPEN6;
}

/* ---- deciding ------------------------------------------------------------ */

static enum verdict ask_port(struct sandbox *sb, const struct ask *a)
{
    int64_t ms, age = loop_now_ms(sb->k->loop) - a->asked_ms;

    if (a->port == 0 || a->how == LINE_LOOK || sb->live == NULL)
        return ANSWER;
    ms = sb->k->s->port_wait_s * 1000 - age;
    if (!sb->live->has_status && ms > 0) {
        ports_wait(sb, ms);     /* its first report is to come */
        return WAIT;
    }
    if (port_open(sb, a->port) == NULL) {
        ms = port_may_open(sb, a->port);
        if (ms == 0)
            return ANSWER;
        ports_wait(sb, ms);
        return WAIT;
    }
    /* Refused, and we think it is open: the guest looks again first. */
    if (a->how != LINE_REFUSED || age >= REFUSED_MS
        || sb->live->status_mono_ms > a->asked_ms)
        return ANSWER;
    ports_wait(sb, REFUSED_MS - age);
    return WAIT;
}

static enum verdict ask_verdict(struct sandbox *sb, const struct ask *a)
{
    if (sb->unproven)
        return WAIT;
    if (sb->rung == RUNG_RUNNING) {
        if (start_renewing(sb))
            return WAIT;
        if (a->gen > sb->generation
            || (a->gen == sb->generation && a->how != LINE_REFUSED))
            return RENEW;
        return ask_port(sb, a);
    }
    if (rung_is_gone(sb->rung) || sb->erased)
        return ANSWER;
    if (a->how != LINE_LOOK)
        return WAIT;
    return rung_at_rest(sb->rung) || a->gen < sb->generation ? ANSWER : WAIT;
}

static void ask_answer(struct sandbox *sb, struct ask *a)
{
    struct line line;

    link_describe(sb, &line, 'A');
    line.port = a->port;
    if (line.state == LINE_AWAKE)
        line.pstate = port_state(sb, a->port);
    link_say(a->link, &line);
    ask_free(a);
}

void links_settle(struct sandbox *sb)
{
    struct ask *a, *next;

    for (a = sb->asks; a != NULL; a = next) {
        next = a->next;
        switch (ask_verdict(sb, a)) {
        case WAIT:
            break;
        case RENEW:
            start_renew(sb);
            break;
        case ANSWER:
            if (sb->rung != RUNG_RUNNING && a->gen >= sb->generation) {
                if (a->gen > sb->k->generation)
                    sb->k->generation = a->gen;
                sb->generation = sandbox_next_generation(sb->k);
                store_dirty(sb);
            }
            ask_answer(sb, a);
            break;
        }
    }
}

bool links_wanted(const struct sandbox *sb)
{
    const struct ask *a;

    for (a = sb->asks; a != NULL; a = a->next) {
        if (a->how != LINE_LOOK)
            return true;
    }
    return false;
}

void links_asleep(struct sandbox *sb)
{
    struct ask *a, *next;

    for (a = sb->asks; a != NULL; a = next) {
        next = a->next;
        a->port = 0;
        ask_answer(sb, a);
    }
}

/* The text of a failure is one line of printable characters, cut to fit. */
static void failed_text(const char *from, char out[200])
{
    size_t i;

    for (i = 0; i < 199 && from[i] != '\0'; i++)
        out[i] = from[i] < 32 || from[i] > 126 ? ' ' : from[i];
    out[i] = '\0';
}

static void ask_failed(struct link *l, const struct sandbox *sb,
    const char *code, const char *message, int retry_after_s)
{
    struct line line;
    char        text[200];

    failed_text(message, text);
    memset(&line, 0, sizeof(line));
    line.type = 'A';
    line.id = (struct line_str) { sb->id, strlen(sb->id) };
    line.gen = sb->generation;
    line.state = LINE_FAILED;
    line.retry_after_s = retry_after_s > 0 ? (uint32_t) retry_after_s : 5;
    line.code = (struct line_str) { code, strlen(code) };
    line.text = (struct line_str) { text, strlen(text) };
    link_say(l, &line);
}

void links_failed(struct sandbox *sb)
{
    struct ask *a, *next;

    for (a = sb->asks; a != NULL; a = next) {
        next = a->next;
        if (a->how == LINE_LOOK)
            continue;
        ask_failed(a->link, sb, sb->error_code != NULL ? sb->error_code
            : "wake_failed", sb->error_message != NULL ? sb->error_message
            : "the sandbox could not be started", sb->retry_after_s);
        ask_free(a);
    }
}

void links_ports(struct sandbox *sb)
{
    if (sb->asks != NULL)
        links_settle(sb);
}

void links_forget(struct sandbox *sb)
{
    struct ask *a, *next;

    for (a = sb->asks; a != NULL; a = next) {
        next = a->next;
        ask_answer(sb, a);
    }
}

/* ---- asking -------------------------------------------------------------- */

/* No such sandbox. A gate that tried to enter one holds an entry, which must
 * be overruled; any other stores nothing (so that made-up ids cost nothing). */
static void ask_unknown(struct link *l, const struct line *in)
{
    struct line line;

    memset(&line, 0, sizeof(line));
    line.type = 'A';
    line.id = in->id;
    line.state = LINE_GONE;
    if (in->how == LINE_REFUSED) {
        if (in->gen > l->k->generation)
            l->k->generation = in->gen;
        if (in->gen == l->k->generation)
            sandbox_next_generation(l->k);
        line.gen = l->k->generation;
    }
    link_say(l, &line);
}

/* Visits to all the ports of one sandbox must not make a long list: what is
 * too much is asked about no port, and its gates look again. */
static struct ask *ask_find(struct sandbox *sb, const struct link *l,
    const struct line *in, uint16_t *port)
{
    struct ask *a;
    unsigned    n = 0;

    *port = in->port;
    for (a = sb->asks; a != NULL; a = a->next, n++) {
        if (a->link == l && a->port == *port && a->how == in->how)
            return a;
    }
    if (n < ASKS_MAX || *port == 0)
        return NULL;
    *port = 0;
    for (a = sb->asks; a != NULL; a = a->next) {
        if (a->link == l && a->port == 0 && a->how == in->how)
            return a;
    }
    return NULL;
}

void asks_heard(struct link *l, const struct line *in)
{
    struct links   *all = l->k->links;
    struct sandbox *sb = sandbox_find_n(l->k, in->id.p, in->id.len);
    struct ask     *a;
    struct err      e;
    uint16_t        port;

    if (sb == NULL) {
        ask_unknown(l, in);
        return;
    }
    if (in->how != LINE_LOOK && !rung_waking(sb->rung)
        && !rung_is_gone(sb->rung) && maintenance_check(l->k->s, &e) == -1) {
        ask_failed(l, sb, e.code, e.msg, e.retry_after_s);
        return;
    }
    a = ask_find(sb, l, in, &port);
    if (a == NULL) {
        a = calloc(1, sizeof(*a));
        if (a == NULL) {
            l->broken = true;
            return;
        }
        a->sb = sb;
        a->link = l;
        a->port = port;
        a->how = in->how;
        a->next = sb->asks;
        sb->asks = a;
        a->next_all = all->asks;
        a->prev_all = &all->asks;
        if (all->asks != NULL)
            all->asks->prev_all = &a->next_all;
        all->asks = a;
        all->nasks++;
    }
    a->gen = in->gen;
    a->asked_ms = loop_now_ms(l->k->loop);
    machine_look(sb);
}
