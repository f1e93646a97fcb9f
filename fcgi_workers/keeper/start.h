/*
 * start: the chain from "wanted" to "booted", and what a running sandbox's
 * guest tells.
 *
 *   queue → image → its passwd and group → workspace → container → start →
 *   network → door → dial the guest → BOOT → BOOTED → EV_DONE
 *
 * One call is out at a time. What goes wrong meanwhile (the container dies, the
 * time is over, a caller wants it stopped) is kept as `fault` and ends the
 * chain when that call comes back. A container that dies on its way is made
 * anew once. EV_FAILED is told when nothing of it is left.
 */
#ifndef HF_KEEPER_START_H
#define HF_KEEPER_START_H

#include "../../images/guest/proto.h"
#include "../common/err.h"
#include "sandbox.h"

void start_begin(struct sandbox *sb);
/* Thaws first unless it runs already; then only the route is made. */
void start_thaw(struct sandbox *sb, bool frozen);
/* The sandbox ran before this keeper did; frozen: it is not dialled. */
void start_adopt(struct sandbox *sb, bool frozen);
/* A newer generation for a running sandbox: its policy changed, or a gate has
 * seen this one. Ends with a broadcast; gates that wait are answered then. */
void start_renew(struct sandbox *sb);
bool start_renewing(const struct sandbox *sb);
void start_renewed(struct sandbox *sb);         /* its commit is done */
/* The last renewal failed: gates hold an older policy. */
bool start_stale(const struct sandbox *sb);
/* This operation changed what gates know: whoever waits for it is told when
 * the renewal has ended. */
void start_hold(struct sandbox *sb, struct op *op);
/* It does not run any more: no renewal is needed. */
void start_left(struct sandbox *sb);

void start_abort(struct sandbox *sb, const struct err *why);
void start_granted(struct sandbox *sb);         /* by admission.c */
void start_refused(struct sandbox *sb, const struct err *e);
void start_published(struct sandbox *sb);
/* The container of a chain ended by itself. */
void start_fell(struct sandbox *sb);
void start_died_code(struct sandbox *sb, int exit_code, bool oom);
void start_door_back(struct keeper *k);

/* From guestlink.c. */
void start_hello(struct sandbox *sb, bool booted);
void start_booted(struct sandbox *sb, bool ok, const char *text);
void start_status(struct sandbox *sb, const struct guest_status *st);
void start_guest_lost(struct sandbox *sb);

/* What the engine makes the container from. Paths live as long as *p. */
struct workspace_paths;
struct engine_spec;
void start_spec(const struct sandbox *sb, struct engine_spec *spec,
    struct workspace_paths *p);
/* Tells a running guest the env as it is stored now. */
int  start_send_env(struct sandbox *sb, struct err *e);

#endif
