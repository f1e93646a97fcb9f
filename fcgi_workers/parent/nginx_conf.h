/*
 * nginx_conf: the tree that our nginx runs from (docs/interfaces.md, 8).
 *
 * The pieces are copied from lib_dir as they are; lua-free-config/settings/
 * and the tokens are written from the settings. For default settings the
 * result is byte for byte what is shipped.
 */
#ifndef HF_NGINX_CONF_H
#define HF_NGINX_CONF_H

#include <stdint.h>

#include "../common/err.h"
#include "../common/settings.h"

/* Writes the tree into `dir`, which is made; `nofile` is the limit that nginx
 * will really have. Each file is replaced in one step. */
int nginx_conf_write(const struct settings *s, const char *dir,
    int64_t nofile, struct err *e);

#endif
