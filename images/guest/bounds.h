/*
 * bounds: every bound of the guest in one table.
 *
 * The guest shares the sandbox's memory limit, so its own use has a ceiling:
 * BYTES_SOFT for what clients send and commands print, BYTES_HARD with the
 * answers on their way out. What does not fit is refused or cut, and says so.
 */
#ifndef GUEST_BOUNDS_H
#define GUEST_BOUNDS_H

/* ---- memory ------------------------------------------------------------ */
#define BYTES_SOFT        (24u << 20)   /* bodies and kept output, together */
#define BYTES_HARD        (32u << 20)   /* the same, and answers */

/* ---- HTTP -------------------------------------------------------------- */
#define HTTP_CONNS_MAX    256
#define HTTP_HEAD_MAX     (16u << 10)
#define HTTP_HEADERS_MAX  100
#define HTTP_TARGET_MAX   2048
#define HTTP_BODY_MAX     (1u << 20)
#define HTTP_CHUNK_LINE   256           /* size, extensions; one trailer */
#define HTTP_TRAILERS_MAX (4u << 10)
#define HTTP_IDLE_MS      75000         /* kept connection, no request */
#define HTTP_REQUEST_MS   30000         /* first byte to last of a request */
#define HTTP_SEND_MS      60000         /* an answer that does not move */
#define HTTP_DRAIN_MS     2000          /* after a refusal */

/* ---- exec -------------------------------------------------------------- */
#define EXECS_MAX         64            /* running at once */
#define EXEC_ARGS_MAX     4096
#define EXEC_ENV_MAX      1024
#define EXEC_OUTPUT       (4u << 20)    /* kept per stream, unless told */
#define EXEC_OUTPUT_MAX   (16u << 20)
#define EXEC_TIMEOUT_MAX_MS (24 * 3600 * 1000)
#define EXEC_KILL_MS      5000          /* then answer without waiting */
#define EXEC_STREAM_HIGH  (64u << 10)   /* unsent bytes: stop reading */
#define EXEC_STREAM_READ  (8u << 10)    /* one stdout or stderr event */
#define EXEC_COMMENT_MS   15000         /* a comment keeps proxies quiet */
#define LINGER_MAX        256           /* pipes held by what execs left */

/* ---- JSON -------------------------------------------------------------- */
#define JSON_DEPTH_MAX    32

/* ---- services ---------------------------------------------------------- */
#define SERVICE_BACKOFF_MS     100
#define SERVICE_BACKOFF_MAX_MS 10000
#define SERVICE_STABLE_MS      10000    /* ran so long: back-off starts anew */
#define SERVICE_LOG_MAX        (4u << 20)
#define SERVICE_KILL_MS        10000    /* TERM to KILL when PID 1 gets TERM */

/* ---- boot -------------------------------------------------------------- */
#define BOOT_LIST_MAX     4096          /* argv or env of one process */

/* ---- time -------------------------------------------------------------- */
#define TICK_MS           200           /* longest turn while time matters */
#define TICK_SLACK_MS     300           /* later than that: we were frozen */
#define PORTS_FAST_MS     50
#define PORTS_FAST_FOR_MS 60000         /* a service that opens no port */
#define QUIET_FIRST_MS    2000          /* look at ports and logs so often */
#define QUIET_MAX_MS      15000         /* … at most so rarely */

#endif
