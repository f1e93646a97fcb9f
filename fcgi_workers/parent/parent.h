/*
 * parent: binds the sockets, starts the parts, keeps them alive.
 *
 * The parent is the only process that stays root with everything; therefore
 * it parses nothing from outside but its own settings.
 */
#ifndef HF_PARENT_ROLE_H
#define HF_PARENT_ROLE_H

#include <stdbool.h>

#include "../common/settings.h"

/* Runs until SIGTERM; returns the process' exit status. Takes over *s. With
 * `console` the log is copied to standard error. */
int parent_main(struct settings *s, bool console);

#endif
