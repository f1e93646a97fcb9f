/*
 * admission: may this start now?
 *
 * Memory, quotas, and how many containers are being started at once. The rest
 * wait in a queue; a full queue refuses with Retry-After. What a sandbox needed
 * when it last slept is reserved from its grant until it shows in what the
 * machine has left.
 */
#ifndef HF_KEEPER_ADMISSION_H
#define HF_KEEPER_ADMISSION_H

#include "../common/err.h"
#include "sandbox.h"

int  admission_open(struct keeper *k, struct err *e);
void admission_close(struct keeper *k);

/* May a tenant have one more sandbox of these limits? (429, 507, 503) */
int  admission_create(struct keeper *k, const struct tenant *t,
    int64_t memory_mb, int64_t disk_mb, struct err *e);
/* May it be awake, too? For a sandbox that is not. */
int  admission_wake(struct sandbox *sb, struct err *e);

/* May a frozen one have its memory back? */
int  admission_thaw(struct sandbox *sb, struct err *e);

/* Leads to start_granted or start_refused, at once or later. */
void admission_ask(struct sandbox *sb);
/* The start is over, or was given up while it waited. */
void admission_leave(struct sandbox *sb);
/* The same, and its live goes. */
void admission_forget(struct sandbox *sb);

size_t admission_waiting(const struct keeper *k);
size_t admission_starting(const struct keeper *k);
int64_t admission_memory_mb(void);              /* MemAvailable */

#endif
