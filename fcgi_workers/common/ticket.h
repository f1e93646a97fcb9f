/*
 * ticket: what opens a private preview, as text that fits a URL.
 *
 *   h1<kind>.<key>.<sandbox>.<allow>.<expires>.<share>.<epoch>.<mac>
 *
 *   kind     t: valid as it is. l: a link that can be used so many times; it
 *            has to be exchanged for a `t` first
 *   key      8 hex digits: which key signed it
 *   allow    joined by "-": p any port, p3000 one, e events, t terminal,
 *            f files:read
 *   expires  seconds since 1970
 *   share    id of the share it comes from, or -
 *   epoch    the sandbox's share epoch when it was signed
 *   mac      HMAC-SHA256, base64url, of all before it and the owner's tag: an
 *            id that another tenant takes over later is another sandbox
 *
 * The only parser and writer, compiled into the keeper and the gate. Pure: no
 * I/O, no clock. What ticket_check takes is byte for byte what ticket_sign
 * would write.
 */
#ifndef HF_TICKET_H
#define HF_TICKET_H

#include <stddef.h>
#include <stdint.h>

#define TICKET_MAX        200   /* bytes of text */
#define TICKET_ID_MAX     40
#define TICKET_SHARE_MAX  26
#define TICKET_PORTS_MAX  6
#define TICKET_KEY_LEN    8     /* of a key's id */

#define TICKET_PREVIEW    1     /* any port */
#define TICKET_EVENTS     2
#define TICKET_TERMINAL   4
#define TICKET_FILES      8

struct ticket {
    char     kind;                              /* t or l */
    char     id[TICKET_ID_MAX + 1];
    char     share[TICKET_SHARE_MAX + 1];       /* "": none */
    unsigned allow;                             /* TICKET_*, or-ed */
    uint16_t ports[TICKET_PORTS_MAX];
    unsigned nports;
    int64_t  expires_s;
    uint32_t epoch;
};

/* In the order of the file. The second signs; the first is the one before it;
 * the third is the next, known to gates before it is used. */
enum ticket_slot {
    TICKET_PREVIOUS, TICKET_CURRENT, TICKET_NEXT, TICKET_KEYS
};

struct ticket_key {
    int           there;
    char          id[TICKET_KEY_LEN + 1];
    unsigned char secret[32];
};

struct ticket_keys {
    struct ticket_key key[TICKET_KEYS];
};

#define TICKET_KEYS_TEXT 512    /* room for the file */

enum ticket_verdict { TICKET_OK, TICKET_BAD, TICKET_EXPIRED };

/* Its form only: 0 or -1. */
int ticket_parse(const char *p, size_t len, struct ticket *t,
    char key[TICKET_KEY_LEN + 1]);

/* Form, signature and time. *t is filled unless it is TICKET_BAD. */
enum ticket_verdict ticket_check(const char *p, size_t len,
    const struct ticket_keys *keys, uint64_t tenant, int64_t now_s,
    struct ticket *t);

/* Into out[TICKET_MAX + 1]: its length, or 0 when it is not a ticket. */
size_t ticket_sign(const struct ticket *t, const struct ticket_key *key,
    uint64_t tenant, char *out);

int ticket_opens(const struct ticket *t, unsigned port);

/* A file of lines "previous|current|next <64 hex digits>". 0 or -1. */
int ticket_keys_parse(const char *p, size_t len, struct ticket_keys *keys);

/* Takes every `name=value` out of a list whose items are separated by `sep`
 * ('&' of a query, ';' of a cookie, blanks around items are dropped): the rest
 * goes to out[len], its length is returned. The first `max` values are found;
 * they point into `in`. */
struct ticket_found {
    const char *p;
    size_t      len;
};
size_t ticket_cut(const char *in, size_t len, char sep, const char *name,
    char *out, struct ticket_found *found, size_t max, size_t *nfound);

#endif
