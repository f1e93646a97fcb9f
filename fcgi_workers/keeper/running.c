/*
 * running: the second part of start.h: what is said to a guest and what it
 * tells, the route of a running sandbox, and a newer generation for it.
 */
#include "start_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/log.h"
#include "boot.h"
#include "guestlink.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "news.h"
#include "notes.h"
#include "peers.h"
#include "store.h"
#include "workspace.h"

void start_published(struct sandbox *sb)
{
    sb->booted_mono_ms = loop_now_ms(sb->k->loop);
    news_awake(sb);
    note_ports(sb);
}

/* ---- a newer generation -------------------------------------------------- */

bool start_renewing(const struct sandbox *sb)
{
    return sb->live != NULL && sb->live->renewing;
}

void start_renew(struct sandbox *sb)
{
    if (sb->rung != RUNG_RUNNING || sb->live == NULL || sb->live->renewing)
        return;
    sb->live->renewing = true;
    sb->live->stale = false;
    sb->reserved = sandbox_next_generation(sb->k);
    machine_defer(sb, ACT_RENEW);
}

static void start_let_go(struct sandbox *sb, const struct err *e)
{
    struct op *op;

    while ((op = sb->live->held) != NULL) {
        sb->live->held = op->next;
        op->next = NULL;
        op->held = false;
        if (e != NULL) {
            op->error = *e;
            op_render(op);
        }
        links_op_done(op);
    }
}

static void start_have_renewed(void *arg, const struct err *e, int fd)
{
    struct sandbox *sb = arg;
    struct live    *live = sb->live;
    struct err      ours;

    if (fd >= 0)
        close(fd);
    if (live == NULL || !live->renewing)
        return;
    live->renewing = false;
    if (sb->rung != RUNG_RUNNING)
        return;
    if (e != NULL) {
        log_warn("sandbox=%s its route could not be renewed: %s", sb->id,
            e->msg);
        live->stale = true;
        err_set(&ours, "unavailable", "it is stored, but the gates could not "
            "be told: %s", e->msg);
        start_let_go(sb, &ours);
        return;
    }
    if (live->door_old != 0)
        peers_door_drop(sb->k, sb->id, live->door_old);
    live->door_old = live->door_gen;    /* requests on their way may use it */
    live->door_gen = sb->reserved;
    sb->generation = sb->reserved;
    store_dirty(sb);
    links_broadcast(sb);
    start_let_go(sb, NULL);
    links_settle(sb);
}

bool start_stale(const struct sandbox *sb)
{
    return sb->live != NULL && sb->live->stale;
}

void start_hold(struct sandbox *sb, struct op *op)
{
    op->held = true;
    op->next = sb->live->held;
    sb->live->held = op;
}

void start_left(struct sandbox *sb)
{
    if (sb->live == NULL)
        return;
    sb->live->renewing = sb->live->stale = false;
    start_let_go(sb, NULL);
}

void start_renewed(struct sandbox *sb)
{
    if (sb->live == NULL || !sb->live->renewing)
        return;
    peers_door_add(sb->k, sb->id, sb->reserved, sb->live->netns,
        start_have_renewed, sb);
}

static void door_back_one(struct sandbox *sb, void *arg)
{
    struct live *live = sb->live;

    (void) arg;
    if (live == NULL || live->netns < 0 || live->door_gen == 0)
        return;
    peers_door_add(sb->k, sb->id, live->door_gen, live->netns, NULL, NULL);
    if (live->stale)
        start_renew(sb);
}

void start_door_back(struct keeper *k)
{
    sandbox_each(k, door_back_one, NULL);
}

/* ---- boot ---------------------------------------------------------------- */

static int boot_input(struct sandbox *sb, struct row *r, char **secrets,
    struct boot_in *in, char shell[128], struct err *e)
{
    int rc = store_row_of(sb->k, sb->id, r, e);

    if (rc != 1)
        return rc == 0 ? err_set(e, "not_found", "no sandbox %s", sb->id)
            : -1;
    if (store_env_of(sb->k, sb->id, secrets, e) == -1) {
        row_fini(r);
        return -1;
    }
    snprintf(shell, 128, "/bin/sh");
    if (sb->live->passwd != NULL)
        workspace_shell(sb->live->passwd, shell, 128);
    memset(in, 0, sizeof(*in));
    in->uid = (uint32_t) sb->uid;
    in->id = sb->id;
    in->shell = shell;
    in->secrets = *secrets;
    in->services = r->services;
    in->setup = r->setup;
    in->entrypoint = sb->live->image.entrypoint;
    in->ca = sb->k->s->ca_bundle[0] != '\0';
    in->output_kb = (uint32_t) sb->k->s->exec_output_kb;
    in->exec_s = (uint32_t) sb->k->s->exec_timeout_s;
    return 0;
}

static int boot_frame(struct sandbox *sb, uint8_t type, struct err *e)
{
    struct boot_in in;
    struct row     r;
    struct buf     body;
    char           shell[128], *secrets = NULL;
    int            rc;

    if (boot_input(sb, &r, &secrets, &in, shell, e) == -1)
        return -1;
    buf_init(&body, GUEST_FRAME_MAX - 1);
    rc = type == GUEST_BOOT ? boot_body(&in, &body, e)
        : boot_env_body(&in, &body, e);
    if (rc == 0 && guestlink_send(sb, type, body.data, body.len) == -1)
        rc = err_set(e, "start_failed", "the guest does not take its orders");
    if (body.data != NULL)
        explicit_bzero(body.data, body.len);
    buf_fini(&body);
    if (secrets != NULL)
        explicit_bzero(secrets, strlen(secrets));
    free(secrets);
    row_fini(&r);
    return rc;
}

int start_send_env(struct sandbox *sb, struct err *e)
{
    if (sb->rung != RUNG_RUNNING || sb->live == NULL
        || sb->live->guest == NULL)
        return 0;               /* it is told when it boots */
    return boot_frame(sb, GUEST_ENV, e);
}

void start_hello(struct sandbox *sb, bool booted)
{
    struct live *live = sb->live;
    struct err   e;

    live->retry_ms = 0;
    if (live->step == STEP_NONE) {
        if (!booted && sb->rung == RUNG_RUNNING)
            machine_event(sb, EV_DIED);     /* another container's guest */
        return;
    }
    if (live->step != STEP_HELLO)
        return;
    if (booted) {
        start_done(sb);
        return;
    }
    if (live->mode != MODE_START) {
        err_set(&e, "start_failed", "its container was restarted by "
            "somebody else");
        start_fault(sb, &e);
        return;
    }
    live->step = STEP_BOOT;
    if (boot_frame(sb, GUEST_BOOT, &e) == -1)
        start_fault(sb, &e);
}

void start_booted(struct sandbox *sb, bool ok, const char *text)
{
    struct err e;

    if (sb->live->step != STEP_BOOT)
        return;
    if (ok) {
        start_done(sb);
        return;
    }
    err_set(&e, "start_failed", "the guest could not boot: %s", text);
    start_fault(sb, &e);
}

void start_guest_lost(struct sandbox *sb)
{
    struct live *live = sb->live;

    live->has_status = false;
    if (live->step == STEP_HELLO || live->step == STEP_BOOT)
        live->step = STEP_DIAL;
    else if (sb->rung != RUNG_RUNNING)
        return;
    start_dial_later(sb);
}

/* ---- what the guest tells ------------------------------------------------ */

void start_status(struct sandbox *sb, const struct guest_status *st)
{
    struct live *live = sb->live;
    bool         ports;

    ports = !live->has_status || live->status.nports != st->nports
        || memcmp(live->status.ports, st->ports, sizeof(st->ports)) != 0;
    live->status = *st;
    live->has_status = true;
    live->status_mono_ms = loop_now_ms(sb->k->loop);
    if (ports && sb->rung == RUNG_RUNNING) {
        links_ports(sb);
        note_ports(sb);
    }
}
