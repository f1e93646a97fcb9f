/*
 * line: the lines between gate and keeper (docs/interfaces.md, 1).
 *
 * The only parser and writer of them, compiled into both ends. Pure: no
 * allocation, no I/O; a parsed line points into the caller's bytes. Whoever
 * reads is hostile to whoever writes: every number is bounded, every id
 * checked, a line that does not fit its form is refused whole.
 */
#ifndef HF_LINE_H
#define HF_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_LEN    512
#define LINE_PORTS_MAX  16
#define LINE_HOST_MAX   60      /* a fixed host name in a policy */
#define LINE_PROTO      1

struct line_str {
    const char *p;
    size_t      len;
};

enum line_how { LINE_LOOK, LINE_WAKE, LINE_REFUSED };
enum line_state { LINE_AWAKE, LINE_ASLEEP, LINE_GONE, LINE_FAILED };
enum line_pstate {
    LINE_P_NONE, LINE_P_OPEN4, LINE_P_OPEN6, LINE_P_CLOSED, LINE_P_STARTING
};
enum line_park { LINE_OK, LINE_STALE, LINE_BUSY };
enum line_wakes { LINE_ONDEMAND, LINE_CALLER, LINE_NOTHING };
enum line_share { LINE_USE, LINE_CHECK };
enum line_said { LINE_SHARE_OK, LINE_SHARE_GONE, LINE_SHARE_USED,
    LINE_SHARE_LATER };

struct line_policy {
    unsigned        is_private:1;
    unsigned        wake_any:1;         /* wake_on "any" */
    unsigned        declared_only:1;
    enum line_wakes wakes;
    uint64_t        tenant;             /* tag */
    uint32_t        freeze_s;
    uint32_t        share_epoch;
    struct line_str host_mode;
    uint16_t        ports[LINE_PORTS_MAX];
    uint8_t         nports;
};

struct line {
    char            type;               /* H W O K J T A R P I S */
    unsigned        up:1;               /* gate to keeper */
    struct line_str id;
    struct line_str node;               /* H */
    struct line_str code, text;         /* A failed */
    uint64_t        gen, epoch, table, number, seq;
    uint32_t        proto, pid, slot, active, quiet, retry_after_s;
    uint64_t        idle_ms;            /* K, J, P: min_idle */
    uint16_t        port;
    uint16_t        open[LINE_PORTS_MAX];
    uint8_t         nopen;
    enum line_how   how;
    enum line_state state;
    enum line_pstate pstate;
    enum line_park  park;
    unsigned        op_done:1;          /* O down: done, else unknown */
    struct line_str share;              /* T: empty for a plain ticket */
    uint32_t        share_epoch;        /* T, S */
    enum line_share ask;                /* T up */
    enum line_said  said;               /* T down */
    struct line_policy policy;
};

/* Parses one line without its '\n'; `up` says which direction it came from.
 * 0, or -1 (nothing in *out is then of use). */
int line_parse(const char *p, size_t len, int up, struct line *out);

/* Writes a whole line with '\n' into out[LINE_MAX_LEN]. Its length, or 0 when
 * it does not fit or is not a valid line. */
size_t line_write(const struct line *in, char *out);

#endif
