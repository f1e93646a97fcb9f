/*
 * account: what each sandbox used, by day (table `usage`).
 *
 * While a sandbox runs its counters are read every `usage_s` and when it stops
 * running; what they grew by is added to the day's row of its tenant and id. A
 * frozen or stopped one costs nothing. A keeper that is killed loses at most
 * what was used since the last reading; rows outlive the sandbox.
 */
#ifndef HF_KEEPER_ACCOUNT_H
#define HF_KEEPER_ACCOUNT_H

#include "sandbox.h"

/* It runs now. `fresh`: its container has just started, counters at 0. */
void account_begin(struct sandbox *sb, bool fresh);
/* It does not any more; its counters can perhaps still be read. */
void account_end(struct sandbox *sb);
/* Its live is dropped. */
void account_forget(struct sandbox *sb);

#endif
