/*
 * notes: see notes.h. Owns the names of events and what is in them; state
 * words are those of the API.
 */
#include "notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../common/buf.h"
#include "../common/outbox.h"
#include "../common/render.h"
#include "links.h"
#include "live.h"
#include "stop.h"
#include "store.h"

#define NOTE_MAX      4096
#define PORTS_EACH_MS 1000

/* ---- rungs --------------------------------------------------------------- */

static void note_waking(struct sandbox *sb, enum rung from)
{
    char        data[96];
    const char *cause = "always_on";

    if (sb->unpacked && sb->rung == RUNG_STARTING) {
        sb->unpacked = false;   /* told when the unpacking began */
        return;
    }
    if (!rung_at_rest(from) || from == RUNG_RUNNING)
        return;                 /* a start that goes on after a stop */
    if (sb->queue != NULL)
        cause = "call";
    else if (links_wanted(sb))
        cause = "visit";
    snprintf(data, sizeof(data), "{\"from\":\"%s\",\"cause\":\"%s\"}",
        rung_name(from), cause);
    store_note(sb, "sandbox.waking", data, OUTBOX_GOES_ON);
}

static void note_running(struct sandbox *sb, enum rung from)
{
    char    data[96];
    int64_t took = loop_now_ms(sb->k->loop) - sb->wake_mono_ms;

    if (sb->wake_mono_ms == 0 || !rung_waking(from))
        snprintf(data, sizeof(data), "{\"state\":\"running\"}");
    else
        snprintf(data, sizeof(data), "{\"state\":\"running\","
            "\"wake_duration_ms\":%" PRId64 "}", took);
    store_note(sb, "sandbox.running", data, OUTBOX_GOES_ON);
}

static void note_stopped(struct sandbox *sb)
{
    static const char *const reasons[] = {
        [STOPPED_NOBODY] = "ended", [STOPPED_IDLE] = "idle",
        [STOPPED_CALLER] = "call"
    };
    char data[96];

    snprintf(data, sizeof(data), "{\"state\":\"stopped\",\"reason\":\"%s\"}",
        sb->oom && sb->stopped_by == STOPPED_NOBODY ? "out_of_memory"
        : reasons[sb->stopped_by]);
    store_note(sb, "sandbox.stopped", data, OUTBOX_GOES_ON);
}

static void note_error(struct sandbox *sb)
{
    struct buf b;

    buf_init(&b, NOTE_MAX);
    buf_str(&b, "{\"state\":\"error\"");
    if (sb->error_message != NULL) {
        buf_str(&b, ",\"message\":");
        render_string(&b, sb->error_message, strlen(sb->error_message));
    }
    buf_str(&b, "}");
    store_note(sb, "sandbox.error", b.failed ? "{\"state\":\"error\"}"
        : b.data, OUTBOX_GOES_ON);
    buf_fini(&b);
}

void note_moved(struct sandbox *sb, enum rung from)
{
    if (from == sb->rung && sb->rung != RUNG_CREATING)
        return;
    switch (sb->rung) {
    case RUNG_CREATING:
        store_note(sb, "sandbox.creating", "{\"state\":\"creating\"}",
            OUTBOX_GOES_ON);
        break;
    case RUNG_STARTING:
    case RUNG_THAWING:
    case RUNG_UNPACKING:
        note_waking(sb, from);
        break;
    case RUNG_RUNNING:
        note_running(sb, from);
        break;
    case RUNG_STOPPED:
        sb->unpacked = from == RUNG_UNPACKING;
        if (!sb->unpacked && from != RUNG_ARCHIVING)
            note_stopped(sb);
        break;
    case RUNG_ERROR:
        note_error(sb);
        break;
    case RUNG_FROZEN:
        store_note(sb, "sandbox.frozen", "{\"state\":\"frozen\"}",
            OUTBOX_GOES_ON);
        break;
    case RUNG_ARCHIVED:
        store_note(sb, "sandbox.archived", "{\"state\":\"archived\"}",
            OUTBOX_GOES_ON);
        break;
    case RUNG_DELETED:
        store_note(sb, "sandbox.deleted", "{\"state\":\"deleted\"}",
            OUTBOX_ENDS);
        break;
    default:
        break;                  /* on its way */
    }
}

void note_purged(struct sandbox *sb)
{
    store_note(sb, "sandbox.purged", "{\"state\":\"purged\"}",
        OUTBOX_DROPS);
}

/* ---- ports --------------------------------------------------------------- */

/* A keeper that finds a sandbox running knows from its row what was told:
 * each telling puts it there, in the transaction of the event. */
static void ports_recall(struct live *live)
{
    struct json_object *all, *list;
    size_t              i, n = 0;

    if (live->told_known)
        return;
    live->told_known = true;
    if (live->mode == MODE_START || live->sb->last_status == NULL)
        return;
    all = json_tokener_parse(live->sb->last_status);
    list = json_object_object_get(all, "ports");
    if (json_object_is_type(list, json_type_array))
        n = json_object_array_length(list);
    for (i = 0; i < n && i < GUEST_PORTS_MAX; i++)
        live->told_ports[i] = (uint16_t) json_object_get_int(
            json_object_object_get(json_object_array_get_idx(list, i),
                "port"));
    live->told_nports = (uint16_t) i;
    json_object_put(all);
}

static bool ports_told(const struct live *live)
{
    const struct guest_status *st = &live->status;
    unsigned                   i;

    if (live->told_nports != st->nports)
        return false;
    for (i = 0; i < st->nports; i++) {
        if (live->told_ports[i] != st->ports[i].port)
            return false;
    }
    return true;
}

static void ports_tell(struct live *live)
{
    const struct guest_status *st = &live->status;
    struct buf                 b;
    unsigned                   i;

    buf_init(&b, NOTE_MAX);
    buf_str(&b, "{\"ports\":[");
    for (i = 0; i < st->nports; i++) {
        buf_printf(&b, "%s%u", i > 0 ? "," : "", st->ports[i].port);
        live->told_ports[i] = st->ports[i].port;
    }
    buf_str(&b, "]}");
    live->told_nports = st->nports;
    live->told_mono_ms = loop_now_ms(live->sb->k->loop);
    if (!b.failed)
        store_note(live->sb, "sandbox.ports", b.data, OUTBOX_GOES_ON);
    stop_keep_status(live->sb);
    buf_fini(&b);
}

static void ports_due(struct timer *t)
{
    struct live *live = t->owner;

    note_ports(live->sb);
}

void note_ports(struct sandbox *sb)
{
    struct live *live = sb->live;
    int64_t      wait;

    if (sb->rung != RUNG_RUNNING || live == NULL || !live->has_status
        || live->tell.slot != 0)
        return;
    ports_recall(live);
    if (ports_told(live))
        return;
    wait = live->told_mono_ms == 0 ? 0 : live->told_mono_ms + PORTS_EACH_MS
        - loop_now_ms(sb->k->loop);
    if (wait <= 0) {
        ports_tell(live);
        return;
    }
    live->tell.owner = live;
    live->tell.due = ports_due;
    loop_timer_set(sb->k->loop, &live->tell, wait);
}
