/*
 * watcher: running Holdfast on a machine without systemd.
 *
 * A tiny process that starts the parent again when it dies; `start`, `stop`
 * and `reload` of the command line. Who runs is known by locks (pidfile.h).
 */
#ifndef HF_WATCHER_H
#define HF_WATCHER_H

#include <stdbool.h>

#include "../common/settings.h"

/* Each returns an exit status and says what it did. */
int watcher_start(const struct settings *s);
int watcher_stop(const struct settings *s, bool engine);
int watcher_reload(const struct settings *s);
int watcher_status(const struct settings *s);

#endif
