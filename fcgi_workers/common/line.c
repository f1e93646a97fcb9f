/*
 * line: see line.h.
 *
 * Compiled into nginx workers, too: no allocation, no I/O, no assert, nothing
 * but <string.h>. The parser walks the fields of a line from left to right
 * with a cursor that can only shrink; each line type is one short function.
 * The writer parses what it wrote before it lets it go, so neither end can
 * send what the other would refuse.
 */
#include "line.h"

#include <stdbool.h>
#include <string.h>

#define NUMBER_MAX  INT64_MAX
#define NODE_MAX    64
#define CODE_MAX    40
#define ID_LEN_MAX  40
#define SHARE_MAX   26
#define EPOCH_MAX   999999999999999ULL

struct cursor {
    const char *p;
    const char *end;
    bool        bad;
};

struct word {                   /* a name and its number in an enum */
    const char *name;
    int         value;
};

struct out {
    char  *p;
    size_t len;
    bool   bad;
};

static const struct word how_words[] = {
    { "look", LINE_LOOK }, { "wake", LINE_WAKE },
    { "refused", LINE_REFUSED }, { NULL, 0 }
};
static const struct word state_words[] = {
    { "awake", LINE_AWAKE }, { "asleep", LINE_ASLEEP },
    { "gone", LINE_GONE }, { "failed", LINE_FAILED }, { NULL, 0 }
};
static const struct word pstate_words[] = {
    { "none", LINE_P_NONE }, { "open4", LINE_P_OPEN4 },
    { "open6", LINE_P_OPEN6 }, { "closed", LINE_P_CLOSED },
    { "starting", LINE_P_STARTING }, { NULL, 0 }
};
static const struct word park_words[] = {
    { "ok", LINE_OK }, { "stale", LINE_STALE }, { "busy", LINE_BUSY },
    { NULL, 0 }
};
static const struct word wakes_words[] = {
    { "ondemand", LINE_ONDEMAND }, { "caller", LINE_CALLER },
    { "none", LINE_NOTHING }, { NULL, 0 }
};
static const struct word private_words[] = {
    { "public", 0 }, { "private", 1 }, { NULL, 0 }
};
static const struct word wake_on_words[] = {
    { "visit", 0 }, { "any", 1 }, { NULL, 0 }
};
static const struct word ports_words[] = {
    { "any", 0 }, { "declared", 1 }, { NULL, 0 }
};
static const struct word done_words[] = {
    { "unknown", 0 }, { "done", 1 }, { NULL, 0 }
};
static const struct word share_words[] = {
    { "use", LINE_USE }, { "check", LINE_CHECK }, { NULL, 0 }
};
static const struct word said_words[] = {
    { "ok", LINE_SHARE_OK }, { "gone", LINE_SHARE_GONE },
    { "used", LINE_SHARE_USED }, { "later", LINE_SHARE_LATER }, { NULL, 0 }
};


/* --- reading ----------------------------------------------------------- */

/* The bytes up to `sep` or the end; the separator is taken, too. An empty
 * field is an error: an empty value is written as "-". */
static struct line_str take(struct cursor *c, char sep)
{
    struct line_str s = { c->p, 0 };

    while (c->p < c->end && *c->p != sep) {
        c->p++;
    }

    s.len = (size_t) (c->p - s.p);
    if (s.len == 0) {
        c->bad = true;
    }

    if (c->p < c->end) {
        c->p++;
        if (c->p == c->end) {
            c->bad = true;              /* a separator with nothing behind */
        }
    }

    return s;
}

static bool is_empty(struct line_str s)
{
    return s.len == 1 && s.p[0] == '-';
}

static uint64_t number_of(struct cursor *c, struct line_str s, uint64_t max)
{
    uint64_t n = 0, digit;
    size_t   i;

    if (s.len == 0 || s.len > 19 || (s.len > 1 && s.p[0] == '0')) {
        c->bad = true;
        return 0;
    }

    for (i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            c->bad = true;
            return 0;
        }
        digit = (uint64_t) (s.p[i] - '0');
        n = n * 10 + digit;             /* 19 digits stay below 2^64 */
    }

    if (n > max) {
        c->bad = true;
        return 0;
    }

    return n;
}

static uint64_t take_number(struct cursor *c, uint64_t max)
{
    return number_of(c, take(c, ' '), max);
}

static uint64_t hex_of(struct cursor *c, struct line_str s)
{
    uint64_t n = 0;
    size_t   i;
    char     ch;

    if (s.len != 16) {
        c->bad = true;
        return 0;
    }

    for (i = 0; i < s.len; i++) {
        ch = s.p[i];
        if (ch >= '0' && ch <= '9') {
            n = n << 4 | (uint64_t) (ch - '0');
        } else if (ch >= 'a' && ch <= 'f') {
            n = n << 4 | (uint64_t) (ch - 'a' + 10);
        } else {
            c->bad = true;
            return 0;
        }
    }

    return n;
}

static int word_of(struct cursor *c, struct line_str s, const struct word *w)
{
    for (; w->name; w++) {
        if (strlen(w->name) == s.len && memcmp(w->name, s.p, s.len) == 0) {
            return w->value;
        }
    }

    c->bad = true;
    return 0;
}

/* Every byte of s is a letter, a digit or one of `more`. */
static void check_name(struct cursor *c, struct line_str s, size_t max,
    const char *more)
{
    size_t i;
    char   ch;

    if (s.len > max) {
        c->bad = true;
    }

    for (i = 0; i < s.len && !c->bad; i++) {
        ch = s.p[i];
        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9'))
        {
            continue;
        }
        if (ch == '\0' || strchr(more, ch) == NULL) {
            c->bad = true;
        }
    }
}

static struct line_str take_id(struct cursor *c)
{
    struct line_str s = take(c, ' ');
    size_t          i;

    check_name(c, s, ID_LEN_MAX, "");

    for (i = 0; i < s.len; i++) {
        if (s.p[i] >= 'A' && s.p[i] <= 'Z') {
            c->bad = true;
        }
    }

    return s;
}

static struct line_str take_node(struct cursor *c)
{
    struct line_str s = take(c, ' ');

    if (is_empty(s)) {
        s.len = 0;
        return s;
    }

    check_name(c, s, NODE_MAX, "._-");
    return s;
}

/* A list of ports, "-" for none. */
static uint8_t ports_of(struct cursor *c, struct line_str s, char sep,
    uint16_t *ports)
{
    struct cursor in = { s.p, s.p + s.len, false };
    uint8_t       n = 0;

    if (is_empty(s)) {
        return 0;
    }

    while (in.p < in.end && !in.bad) {
        if (n == LINE_PORTS_MAX) {
            in.bad = true;
            break;
        }
        ports[n] = (uint16_t) number_of(&in, take(&in, sep), 65535);
        if (ports[n] == 0) {
            in.bad = true;
        }
        n++;
    }

    if (in.bad) {
        c->bad = true;
    }

    return n;
}

static void take_policy(struct cursor *c, struct line_policy *o)
{
    struct line_str s = take(c, ' ');
    struct cursor   in = { s.p, s.p + s.len, false };

    o->is_private = word_of(&in, take(&in, ','), private_words) != 0;
    o->tenant = hex_of(&in, take(&in, ','));
    o->wake_any = word_of(&in, take(&in, ','), wake_on_words) != 0;
    o->declared_only = word_of(&in, take(&in, ','), ports_words) != 0;
    o->host_mode = take(&in, ',');
    check_name(&in, o->host_mode, LINE_HOST_MAX, "._:-");
    o->freeze_s = (uint32_t) number_of(&in, take(&in, ','), UINT32_MAX);
    o->share_epoch = number_of(&in, take(&in, ','), EPOCH_MAX);
    o->nports = ports_of(&in, take(&in, ','), '+', o->ports);
    o->wakes = (enum line_wakes) word_of(&in, take(&in, ','), wakes_words);

    if (in.bad || in.p != in.end) {
        c->bad = true;
    }
}

static void read_hello(struct cursor *c, struct line *o)
{
    o->proto = (uint32_t) take_number(c, UINT32_MAX);
    o->node = take_node(c);
    o->epoch = take_number(c, NUMBER_MAX);

    if (o->up) {
        o->table = hex_of(c, take(c, ' '));
        o->pid = (uint32_t) take_number(c, INT32_MAX);
        o->slot = (uint32_t) take_number(c, UINT16_MAX);
    }

    o->gen = take_number(c, NUMBER_MAX);
}

static void read_ask(struct cursor *c, struct line *o)
{
    o->id = take_id(c);
    o->port = (uint16_t) take_number(c, UINT16_MAX);
    o->how = (enum line_how) word_of(c, take(c, ' '), how_words);
    o->gen = take_number(c, NUMBER_MAX);
}

static void read_op(struct cursor *c, struct line *o)
{
    o->number = take_number(c, NUMBER_MAX);

    if (!o->up) {
        o->op_done = word_of(c, take(c, ' '), done_words) != 0;
    }
}

static void read_parked(struct cursor *c, struct line *o)
{
    o->seq = take_number(c, NUMBER_MAX);
    o->park = (enum line_park) word_of(c, take(c, ' '), park_words);
    o->active = (uint32_t) take_number(c, UINT32_MAX);
    o->idle_ms = take_number(c, NUMBER_MAX);
}

static void read_inflight(struct cursor *c, struct line *o)
{
    o->seq = take_number(c, NUMBER_MAX);
    o->active = (uint32_t) take_number(c, UINT32_MAX);
    o->quiet = (uint32_t) take_number(c, UINT32_MAX);
    o->idle_ms = take_number(c, NUMBER_MAX);
}

static void read_answer(struct cursor *c, struct line *o)
{
    o->id = take_id(c);
    o->gen = take_number(c, NUMBER_MAX);
    o->state = (enum line_state) word_of(c, take(c, ' '), state_words);

    switch (o->state) {

    case LINE_GONE:
        break;

    case LINE_FAILED:
        o->retry_after_s = (uint32_t) take_number(c, UINT32_MAX);
        o->code = take(c, ' ');
        check_name(c, o->code, CODE_MAX, "_");
        o->text.p = c->p;
        o->text.len = (size_t) (c->end - c->p);
        if (o->text.len == 0) {
            c->bad = true;
        } else if (is_empty(o->text)) {
            o->text.len = 0;
        }
        c->p = c->end;
        break;

    case LINE_AWAKE:
    case LINE_ASLEEP:
        o->port = (uint16_t) take_number(c, UINT16_MAX);
        o->pstate = (enum line_pstate) word_of(c, take(c, ' '), pstate_words);
        take_policy(c, &o->policy);
        o->nopen = ports_of(c, take(c, ' '), ',', o->open);
        break;
    }
}

static void read_park(struct cursor *c, struct line *o)
{
    o->seq = take_number(c, NUMBER_MAX);
    o->id = take_id(c);
    o->gen = take_number(c, NUMBER_MAX);
    o->idle_ms = take_number(c, NUMBER_MAX);
}

static void read_inquiry(struct cursor *c, struct line *o)
{
    o->seq = take_number(c, NUMBER_MAX);
    o->id = take_id(c);
}

static void read_share(struct cursor *c, struct line *o)
{
    o->number = take_number(c, NUMBER_MAX);

    if (!o->up) {
        o->said = (enum line_said) word_of(c, take(c, ' '), said_words);
        return;
    }

    o->id = take_id(c);
    o->share = take(c, ' ');

    if (is_empty(o->share)) {
        o->share.len = 0;
    } else {
        check_name(c, o->share, SHARE_MAX, "");
    }

    o->ask = (enum line_share) word_of(c, take(c, ' '), share_words);
    o->share_epoch = take_number(c, EPOCH_MAX);
}

static void read_epoch(struct cursor *c, struct line *o)
{
    o->id = take_id(c);
    o->share_epoch = take_number(c, EPOCH_MAX);
    o->policy.is_private = word_of(c, take(c, ' '), private_words) ? 1 : 0;
}

static void read_closing(struct cursor *c, struct line *o)
{
    o->id = take_id(c);
}

static const struct {
    char type;
    int  up;                    /* 1, 0; 2: both */
    void (*read)(struct cursor *c, struct line *o);
} readers[] = {
    { 'H', 2, read_hello }, { 'W', 1, read_ask }, { 'O', 2, read_op },
    { 'K', 1, read_parked }, { 'J', 1, read_inflight },
    { 'C', 0, read_closing },
    { 'A', 0, read_answer }, { 'R', 0, read_answer },
    { 'P', 0, read_park }, { 'I', 0, read_inquiry },
    { 'T', 2, read_share }, { 'S', 0, read_epoch },
};

int line_parse(const char *p, size_t len, int up, struct line *out)
{
    struct cursor c = { p, p + len, false };
    struct line   o;
    size_t        i;

    if (len < 3 || len >= LINE_MAX_LEN || p[1] != ' ') {
        return -1;
    }

    for (i = 0; i < len; i++) {
        if ((unsigned char) p[i] < 0x20 || p[i] == 0x7f) {
            return -1;
        }
    }

    memset(&o, 0, sizeof(o));
    o.type = p[0];
    o.up = up ? 1 : 0;
    c.p = p + 2;

    for (i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {

        if (readers[i].type != o.type
            || (readers[i].up != 2 && readers[i].up != (up ? 1 : 0)))
        {
            continue;
        }

        readers[i].read(&c, &o);

        if (c.bad || c.p != c.end) {
            return -1;
        }

        *out = o;
        return 0;
    }

    return -1;
}


/* --- writing ----------------------------------------------------------- */

static void put(struct out *o, const char *p, size_t len)
{
    /* one byte stays free for the '\n' */
    if (o->bad || len > LINE_MAX_LEN - 1 - o->len) {
        o->bad = true;
        return;
    }

    if (len) {
        memcpy(o->p + o->len, p, len);
        o->len += len;
    }
}

static void put_number(struct out *o, char before, uint64_t n)
{
    char   digits[21];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    digits[--i] = before;
    put(o, digits + i, sizeof(digits) - i);
}

static void put_hex(struct out *o, char before, uint64_t n)
{
    static const char hex[] = "0123456789abcdef";
    char              digits[17];
    int               i;

    digits[0] = before;
    for (i = 16; i > 0; i--) {
        digits[i] = hex[n & 15];
        n >>= 4;
    }

    put(o, digits, sizeof(digits));
}

static void put_str(struct out *o, char before, struct line_str s)
{
    put(o, &before, 1);

    if (s.len == 0) {
        put(o, "-", 1);
        return;
    }

    put(o, s.p, s.len);
}

static void put_word(struct out *o, char before, int value,
    const struct word *w)
{
    for (; w->name; w++) {
        if (w->value == value) {
            put(o, &before, 1);
            put(o, w->name, strlen(w->name));
            return;
        }
    }

    o->bad = true;
}

static void put_ports(struct out *o, char before, const uint16_t *ports,
    uint8_t n,
    char sep)
{
    uint8_t i;

    if (n > LINE_PORTS_MAX) {
        o->bad = true;
        return;
    }

    if (n == 0) {
        put(o, &before, 1);
        put(o, "-", 1);
        return;
    }

    for (i = 0; i < n; i++) {
        put_number(o, i ? sep : before, ports[i]);
    }
}

static void put_policy(struct out *o, const struct line_policy *p)
{
    put_word(o, ' ', p->is_private, private_words);
    put_hex(o, ',', p->tenant);
    put_word(o, ',', p->wake_any, wake_on_words);
    put_word(o, ',', p->declared_only, ports_words);
    put_str(o, ',', p->host_mode);
    put_number(o, ',', p->freeze_s);
    put_number(o, ',', p->share_epoch);
    put_ports(o, ',', p->ports, p->nports, '+');
    put_word(o, ',', (int) p->wakes, wakes_words);
}

static void write_hello(struct out *o, const struct line *in)
{
    put_number(o, ' ', in->proto);
    put_str(o, ' ', in->node);
    put_number(o, ' ', in->epoch);

    if (in->up) {
        put_hex(o, ' ', in->table);
        put_number(o, ' ', in->pid);
        put_number(o, ' ', in->slot);
    }

    put_number(o, ' ', in->gen);
}

static void write_answer(struct out *o, const struct line *in)
{
    put_str(o, ' ', in->id);
    put_number(o, ' ', in->gen);
    put_word(o, ' ', (int) in->state, state_words);

    if (in->state == LINE_FAILED) {
        put_number(o, ' ', in->retry_after_s);
        put_str(o, ' ', in->code);
        put_str(o, ' ', in->text);
    }

    if (in->state == LINE_AWAKE || in->state == LINE_ASLEEP) {
        put_number(o, ' ', in->port);
        put_word(o, ' ', (int) in->pstate, pstate_words);
        put_policy(o, &in->policy);
        put_ports(o, ' ', in->open, in->nopen, ',');
    }
}

static void write_rest(struct out *o, const struct line *in)
{
    switch (in->type) {

    case 'W':
        put_str(o, ' ', in->id);
        put_number(o, ' ', in->port);
        put_word(o, ' ', (int) in->how, how_words);
        put_number(o, ' ', in->gen);
        break;

    case 'O':
        put_number(o, ' ', in->number);
        if (!in->up) {
            put_word(o, ' ', in->op_done, done_words);
        }
        break;

    case 'K':
        put_number(o, ' ', in->seq);
        put_word(o, ' ', (int) in->park, park_words);
        put_number(o, ' ', in->active);
        put_number(o, ' ', in->idle_ms);
        break;

    case 'J':
        put_number(o, ' ', in->seq);
        put_number(o, ' ', in->active);
        put_number(o, ' ', in->quiet);
        put_number(o, ' ', in->idle_ms);
        break;

    case 'C':
        put_str(o, ' ', in->id);
        break;

    case 'P':
        put_number(o, ' ', in->seq);
        put_str(o, ' ', in->id);
        put_number(o, ' ', in->gen);
        put_number(o, ' ', in->idle_ms);
        break;

    case 'I':
        put_number(o, ' ', in->seq);
        put_str(o, ' ', in->id);
        break;

    case 'T':
        put_number(o, ' ', in->number);
        if (!in->up) {
            put_word(o, ' ', (int) in->said, said_words);
            break;
        }
        put_str(o, ' ', in->id);
        put_str(o, ' ', in->share);
        put_word(o, ' ', (int) in->ask, share_words);
        put_number(o, ' ', in->share_epoch);
        break;

    case 'S':
        put_str(o, ' ', in->id);
        put_number(o, ' ', in->share_epoch);
        put_word(o, ' ', in->policy.is_private, private_words);
        break;

    default:
        o->bad = true;
    }
}

size_t line_write(const struct line *in, char *out)
{
    struct out  o = { out, 0, false };
    struct line check;

    put(&o, &in->type, 1);

    if (in->type == 'H') {
        write_hello(&o, in);
    } else if (in->type == 'A' || in->type == 'R') {
        write_answer(&o, in);
    } else {
        write_rest(&o, in);
    }

    if (o.bad || line_parse(out, o.len, in->up, &check) != 0) {
        return 0;
    }

    out[o.len] = '\n';
    return o.len + 1;
}
