/*
 * ticket_keys: the file of keys that sign tickets, <data_dir>/ticket_keys.
 *
 * 0600 root; read by the keeper, which signs, and by nginx' master at each
 * start and reload. It holds three keys: previous, current, next. Rotating
 * moves each up by one and makes a new next one: gates know a key before the
 * first ticket is signed with it, and one more rotation after the last.
 */
#ifndef HF_TICKET_KEYS_H
#define HF_TICKET_KEYS_H

#include "err.h"
#include "ticket.h"

#define TICKET_KEYS_FILE "ticket_keys"

/* Makes the file when `make` and it is not there. Refuses one that others may
 * read. */
int ticket_keys_load(struct ticket_keys *keys, const char *data_dir, int make,
    struct err *e);

/* Replaces the file in one step. */
int ticket_keys_rotate(const char *data_dir, struct err *e);

#endif
