/*
 * test_machine: the table of rung × event is whole and makes sense.
 */
#include "keeper/machine.h"

#include "test.h"

static void each_cell(
    void (*check)(int r, int ev, const struct cell *c, const char *what))
{
    char what[80];
    int  r, ev;

    for (r = 0; r < RUNG_COUNT; r++) {
        for (ev = 0; ev < EV_COUNT; ev++) {
            snprintf(what, sizeof(what), "%s × %s", rung_name((enum rung) r),
                event_name((enum event) ev));
            check(r, ev, &machine_table[r][ev], what);
        }
    }
}

static bool rung_later(enum rung r)
{
    return !rung_at_rest(r);
}

/* Every pair is decided, and stays within the table. */
static void decided(int r, int ev, const struct cell *c, const char *what)
{
    (void) ev;
    CHECK_AS(c->act != ACT_UNDECIDED, what);
    CHECK_AS(c->act < ACT_COUNT && c->act != ACT_RENEW, what);
    CHECK_AS(c->next < RUNG_COUNT, what);
    if (c->act == ACT_LATER)
        CHECK_AS(c->next == (enum rung) r && c->route == ROUTE_KEEP
            && rung_later((enum rung) r), what);
}

/* From a new row every rung can be reached, and each can be left. */
static void test_reachable(void)
{
    bool seen[RUNG_COUNT] = { false }, more = true;
    int  r, ev, ways;

    seen[RUNG_CREATING] = true;
    while (more) {
        more = false;
        for (r = 0; r < RUNG_COUNT; r++) {
            for (ev = 0; seen[r] && ev < EV_COUNT; ev++) {
                if (!seen[machine_table[r][ev].next]) {
                    seen[machine_table[r][ev].next] = true;
                    more = true;
                }
            }
        }
    }
    for (r = 0; r < RUNG_COUNT; r++) {
        CHECK_AS(seen[r], rung_name((enum rung) r));
        ways = 0;
        for (ev = 0; ev < EV_COUNT; ev++)
            ways += machine_table[r][ev].next != (enum rung) r
                || machine_table[r][ev].act == ACT_ERASE;
        CHECK_AS(ways > 0, rung_name((enum rung) r));
    }
}

/* What is on its way ends: well, or not. At rest there is nothing to end. */
static void test_ends(void)
{
    const struct cell *done, *failed;
    int                r;

    for (r = 0; r < RUNG_COUNT; r++) {
        done = &machine_table[r][EV_DONE];
        failed = &machine_table[r][EV_FAILED];
        if (rung_at_rest((enum rung) r)) {
            CHECK_AS(done->next == (enum rung) r && done->act == ACT_NONE,
                rung_name((enum rung) r));
            CHECK_AS(failed->next == (enum rung) r
                && failed->act == ACT_NONE, rung_name((enum rung) r));
        } else {
            CHECK_AS(done->act == ACT_ERASE || done->next != (enum rung) r,
                rung_name((enum rung) r));
            CHECK_AS(failed->next != (enum rung) r,
                rung_name((enum rung) r));
        }
    }
}

/* What a rung is doing is deferred to the end of the turn: an event that stays
 * in it must not put something else in its place. */
static void stays(int r, int ev, const struct cell *c, const char *what)
{
    if (c->next == (enum rung) r && ev != EV_CREATE && ev != EV_DONE)
        CHECK_AS(c->act == ACT_NONE || c->act == ACT_LATER, what);
}

/* A route is awake exactly when the rung is running, and only by way of a
 * reserved generation; leaving it is always told. */
static void routes(int r, int ev, const struct cell *c, const char *what)
{
    (void) ev;
    CHECK_AS((c->route == ROUTE_AWAKE) == (c->next == RUNG_RUNNING
        && r != RUNG_RUNNING), what);
    /* Frozen goes by a park, which has told them already. */
    if (r == RUNG_RUNNING && c->next != RUNG_RUNNING
        && c->next != RUNG_FREEZING)
        CHECK_AS(c->route == ROUTE_ASLEEP || c->route == ROUTE_GONE,
            what);
    if (rung_is_gone(c->next) && !rung_is_gone((enum rung) r))
        CHECK_AS(c->route == ROUTE_GONE, what);
}

/* Wherever it is, delete and purge are heard: done, under way, or later. */
static void test_delete(void)
{
    const struct cell *c;
    int                r;

    for (r = 0; r < RUNG_COUNT; r++) {
        c = &machine_table[r][EV_PURGE];
        CHECK_AS(c->next == RUNG_PURGING || c->act == ACT_LATER,
            rung_name((enum rung) r));
        c = &machine_table[r][EV_DELETE];
        CHECK_AS(c->next == RUNG_DELETING || c->act == ACT_LATER
            || rung_is_gone((enum rung) r), rung_name((enum rung) r));
        c = &machine_table[r][EV_WANT];
        CHECK_AS(c->act == ACT_LATER || c->next == RUNG_RUNNING
            || !rung_at_rest(c->next) || r == RUNG_DELETED,
            rung_name((enum rung) r));
    }
}

int main(void)
{
    each_cell(decided);
    test_reachable();
    test_ends();
    each_cell(stays);
    each_cell(routes);
    test_delete();
    return test_end();
}
