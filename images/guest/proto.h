/*
 * proto: the frames between keeper and guest (docs/interfaces.md, 4).
 *
 * Included by both. Little endian, packed by hand: no struct of this file has
 * padding. The host believes nothing in it: every number is bounded by the
 * keeper when it reads.
 */
#ifndef HF_PROTO_H
#define HF_PROTO_H

#include <stdint.h>

#define GUEST_VERSION     1
#define GUEST_HTTP        "holdfast"          /* abstract: a NUL before it */
#define GUEST_KEEPER      "holdfast.keeper"
#define GUEST_FRAME_MAX   (1024 * 1024)
#define GUEST_PORTS_MAX   64
#define GUEST_SERVICES_MAX 16

enum guest_frame {
    GUEST_BOOT = 1, GUEST_WATCH = 2, GUEST_ENV = 3, GUEST_STOP = 4,
    GUEST_HELLO = 16, GUEST_BOOTED = 17, GUEST_STATUS = 18
};

/* A port that something inside listens on. */
#define GUEST_PORT_4 1          /* reached by 127.0.0.1 */
#define GUEST_PORT_6 2          /* reached by ::1 */

struct guest_port {
    uint16_t port;
    uint8_t  families;          /* GUEST_PORT_4 | GUEST_PORT_6 */
    uint8_t  pad;
};

enum guest_service_state {
    GUEST_SVC_NONE = 0, GUEST_SVC_STARTING = 1, GUEST_SVC_READY = 2,
    GUEST_SVC_BACKOFF = 3, GUEST_SVC_EXITED = 4, GUEST_SVC_FAILED = 5
};

struct guest_service {          /* by index, as they came in BOOT */
    uint8_t  state;
    uint8_t  exit_signal;       /* 0: exited by itself */
    int16_t  exit_code;
    uint32_t starts;
};

struct guest_status {
    uint16_t            version;
    uint8_t             nports;
    uint8_t             nservices;
    uint32_t            execs;          /* running */
    uint32_t            output_ago_ms;  /* of execs and processes */
    uint32_t            input_ago_ms;   /* of terminals; UINT32_MAX: never */
    struct guest_port   ports[GUEST_PORTS_MAX];
    struct guest_service services[GUEST_SERVICES_MAX];
    struct guest_service setup;         /* NONE if BOOT brought no setup */
};

_Static_assert(sizeof(struct guest_status) == 16 + 64 * 4 + 17 * 8,
    "guest_status has padding");

#endif
