/*
 * boot: what a guest is told when it boots, as one BOOT frame. Pure.
 */
#ifndef HF_KEEPER_BOOT_H
#define HF_KEEPER_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/buf.h"
#include "../common/err.h"

struct boot_in {
    uint32_t    uid;
    const char *id, *shell;
    const char *secrets;        /* {"env":{},"services":{"name":{}}} */
    const char *services;       /* [{"name","cmd","cwd","port","restart"}] */
    const char *setup;          /* {"cmd","cwd","timeout_s"} or NULL */
    const char *entrypoint;     /* ["…"] of the image, or NULL */
    bool        ca;             /* there is a CA bundle */
    uint32_t    output_kb, exec_s;      /* limits of an exec */
};

#define BOOT_CA_PATH "/etc/ssl/certs/holdfast.pem"
#define BOOT_HOME    "/home/sandbox"
#define BOOT_APP     "/home/sandbox/workspace/app"

/* Appends the body of BOOT. -1 with a sentence when it is too large or a text
 * that we stored is not what we stored. */
int boot_body(const struct boot_in *in, struct buf *out, struct err *e);
/* The body of ENV: the same env, for new processes. */
int boot_env_body(const struct boot_in *in, struct buf *out, struct err *e);

#endif
