/*
 * running: what concerns a sandbox that is awake already (the second part of
 * start.h): its published route, a newer generation for it, its ports.
 */
#include <string.h>
#include <unistd.h>

#include "../common/log.h"
#include "links.h"
#include "live.h"
#include "machine.h"
#include "news.h"
#include "peers.h"
#include "start.h"
#include "store.h"

void start_published(struct sandbox *sb)
{
    sb->booted_mono_ms = loop_now_ms(sb->k->loop);
    news_awake(sb);
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
    sb->reserved = sandbox_next_generation(sb->k);
    machine_defer(sb, ACT_RENEW);
}

static void start_have_renewed(void *arg, const struct err *e, int fd)
{
    struct sandbox *sb = arg;
    struct live    *live = sb->live;

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
        return;
    }
    if (live->door_old != 0)
        peers_door_drop(sb->k, sb->id, live->door_old);
    live->door_old = live->door_gen;    /* requests on their way may use it */
    live->door_gen = sb->reserved;
    sb->generation = sb->reserved;
    store_dirty(sb);
    links_broadcast(sb);
    links_settle(sb);
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
}

void start_door_back(struct keeper *k)
{
    sandbox_each(k, door_back_one, NULL);
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
    if (ports && sb->rung == RUNG_RUNNING)
        links_ports(sb);
}
