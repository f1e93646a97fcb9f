/*
 * boot: what BOOT and ENV frames say (docs/interfaces.md, 4). Pure, fuzzed.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "proto.h"

enum boot_restart {
    RESTART_NO = 0, RESTART_ON_FAILURE = 1, RESTART_ALWAYS = 2
};

struct boot_service {
    char          *name;
    struct strings argv, env;
    char          *cwd;         /* or NULL */
    uint16_t       port;        /* 0: none */
    uint8_t        restart;     /* enum boot_restart */
};

struct boot {
    uint32_t uid, gid;
    char    *home, *shell, *cwd;        /* NULL when not given */
    struct strings env, image;
    struct boot_service services[GUEST_SERVICES_MAX];
    size_t   nservices;
    bool     has_setup;
    struct boot_service setup;  /* name "setup" */
    uint32_t setup_timeout_s;   /* 0: none */
    uint32_t output_kb;         /* an exec keeps, unless it asks; 0: ours */
    uint32_t exec_s;            /* the longest exec; 0: ours */
    char    *store;             /* owns every string above */
};

/* 0, or -1 with a sentence in why; *b is then empty. */
int  boot_parse(const uint8_t *body, size_t n, struct boot *b,
    char why[96]);
/* An ENV frame: env is all there is. */
int  boot_parse_env(const uint8_t *body, size_t n, struct boot *b,
    char why[96]);
void boot_free(struct boot *b);

#endif
