/* Unit test of common/ticket and ticket_keys: one spelling of everything, no
 * byte of a ticket that may be changed, keys that rotate. */
#include "common/ticket.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/ticket_keys.h"
#include "test.h"

#define TENANT 0x0123456789abcdefULL
#define NOW    1800000000

static struct ticket_keys keys;

static struct ticket sample(void)
{
    struct ticket t = { .kind = 't', .id = "hello", .expires_s = NOW + 60,
        .share = "01jabcdefghjkmnpqrstvwxyz0", .epoch = 1700000000 };

    t.ports[t.nports++] = 3000;
    t.ports[t.nports++] = 5173;
    t.allow = TICKET_EVENTS | TICKET_FILES;
    return t;
}

static enum ticket_verdict look(const char *p, size_t len)
{
    struct ticket t;

    return ticket_check(p, len, &keys, TENANT, NOW, &t);
}

static void make_keys(void)
{
    char   text[TICKET_KEYS_TEXT];
    size_t n = 0;
    int    slot;

    static const char *const words[] = { "previous", "current", "next" };

    for (slot = 0; slot < 3; slot++)
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s %064d\n",
            words[slot], slot + 1);
    CHECK(ticket_keys_parse(text, n, &keys) == 0);
    CHECK(ticket_keys_parse(text, n - 1, &keys) != 0);
    CHECK(ticket_keys_parse("", 0, &keys) != 0);
    CHECK(ticket_keys_parse("next 00\n", 8, &keys) != 0);
    CHECK(ticket_keys_parse(text, n, &keys) == 0);
    CHECK(strlen(keys.key[TICKET_CURRENT].id) == TICKET_KEY_LEN);
}

static void test_round(void)
{
    struct ticket t = sample(), got;
    char          text[TICKET_MAX + 1];
    size_t        len;

    len = ticket_sign(&t, &keys.key[TICKET_CURRENT], TENANT, text);
    CHECK(len > 0 && strlen(text) == len);
    CHECK(ticket_check(text, len, &keys, TENANT, NOW, &got) == TICKET_OK);
    CHECK(got.kind == 't' && strcmp(got.id, "hello") == 0);
    CHECK(strcmp(got.share, t.share) == 0 && got.epoch == t.epoch);
    CHECK(got.expires_s == t.expires_s && got.allow == t.allow);
    CHECK(ticket_opens(&got, 3000) && ticket_opens(&got, 5173));
    CHECK(!ticket_opens(&got, 3001) && !ticket_opens(&got, 0));
    CHECK(ticket_check(text, len, &keys, TENANT, NOW + 59, &got)
        == TICKET_OK);
    CHECK(ticket_check(text, len, &keys, TENANT, NOW + 60, &got)
        == TICKET_EXPIRED);
    CHECK(ticket_check(text, len, &keys, TENANT + 1, NOW, &got)
        == TICKET_BAD);
    t.share[0] = '\0';
    t.nports = 0;
    t.allow = TICKET_PREVIEW;
    t.kind = 'l';
    len = ticket_sign(&t, &keys.key[TICKET_CURRENT], TENANT, text);
    CHECK(ticket_check(text, len, &keys, TENANT, NOW, &got) == TICKET_OK);
    CHECK(got.kind == 'l' && got.share[0] == '\0');
    CHECK(ticket_opens(&got, 1) && ticket_opens(&got, 65535));
}

/* Whatever single byte is changed, left out or added. */
static void test_forged(void)
{
    struct ticket t = sample();
    char          text[TICKET_MAX + 2], bad[TICKET_MAX + 2];
    size_t        len, i;
    int           ch, taken = 0;

    len = ticket_sign(&t, &keys.key[TICKET_CURRENT], TENANT, text);
    CHECK(look(text, len) == TICKET_OK);
    for (i = 0; i < len; i++) {
        for (ch = 0; ch < 256; ch++) {
            memcpy(bad, text, len);
            bad[i] = (char) ch;
            if (bad[i] != text[i])
                taken += look(bad, len) != TICKET_BAD;
        }
        memcpy(bad, text, i);
        memcpy(bad + i, text + i + 1, len - i - 1);
        taken += look(bad, len - 1) != TICKET_BAD;
        memcpy(bad + i + 1, text + i, len - i);
        bad[i] = '.';
        taken += look(bad, len + 1) != TICKET_BAD;
        taken += look(text, i) != TICKET_BAD;
    }
    CHECK(taken == 0);
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "", ".", "h1t.", "h1t.0.a.p.1.-.1.", "Bearer x",
        "h1t.12345678.hello.p.01.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.hello.p-p.1.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.hello.p-p3000.1.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.hello.t-e.1.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.HELLO.p.1.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.hello.p0.1.-.1."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "h1t.12345678.hello.p.1.-.4294967296."
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    struct ticket t;
    char          key[TICKET_KEY_LEN + 1];
    size_t        i;

    CHECK(ticket_parse("h1t.12345678.hello.p.1.-.1."
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 70, &t, key) == 0);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(ticket_parse(bad[i], strlen(bad[i]), &t, key) != 0);
}

static void check_cut(const char *in, char sep, const char *rest, size_t n,
    const char *first)
{
    struct ticket_found found[2];
    char                out[256];
    size_t              got, len = strlen(in);

    memset(out, '#', sizeof(out));
    len = ticket_cut(in, len, sep, "hf_ticket", out, found, 2, &got);
    CHECK(len == strlen(rest) && memcmp(out, rest, len) == 0);
    CHECK(out[strlen(in)] == '#');
    CHECK(got == n);
    if (n > 0)
        CHECK(found[0].len == strlen(first)
            && memcmp(found[0].p, first, found[0].len) == 0);
}

static void test_cut(void)
{
    check_cut("hf_ticket=abc", '&', "", 1, "abc");
    check_cut("a=1&hf_ticket=abc&b=2", '&', "a=1&b=2", 1, "abc");
    check_cut("a=1&hf_ticket=x&hf_ticket=y", '&', "a=1", 2, "x");
    check_cut("hf_ticket=x&hf_ticket=y&hf_ticket=z", '&', "", 2, "x");
    check_cut("a=1&b", '&', "a=1&b", 0, NULL);
    check_cut("&&a&&", '&', "&&a&&", 0, NULL);
    check_cut("xhf_ticket=1&hf_ticketx=2", '&', "xhf_ticket=1&hf_ticketx=2",
        0, NULL);
    check_cut("hf_ticket", '&', "hf_ticket", 0, NULL);
    check_cut("hf_ticket=", '&', "", 1, "");
    check_cut("", '&', "", 0, NULL);
    check_cut("sid=1; hf_ticket=abc; theme=dark", ';', "sid=1; theme=dark",
        1, "abc");
    check_cut("hf_ticket=abc; theme=dark", ';', "theme=dark", 1, "abc");
    check_cut("a=1;  hf_ticket=abc", ';', "a=1", 1, "abc");
    check_cut(" a = 1 ; b", ';', " a = 1 ; b", 0, NULL);
}

/* A ticket lives through one rotation, and not through two. */
static void test_rotate(void)
{
    char               dir[] = "/tmp/test_ticket.XXXXXX", path[64];
    struct ticket_keys first, second, third;
    struct ticket      t = sample(), got;
    struct stat        st;
    struct err         e;
    char               text[TICKET_MAX + 1];
    size_t             len;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/" TICKET_KEYS_FILE, dir);
    CHECK(ticket_keys_load(&first, dir, 0, &e) != 0);
    CHECK(ticket_keys_load(&first, dir, 1, &e) == 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    CHECK(ticket_keys_load(&second, dir, 1, &e) == 0);
    CHECK(memcmp(&first, &second, sizeof(first)) == 0);
    len = ticket_sign(&t, &first.key[TICKET_CURRENT], TENANT, text);
    CHECK(ticket_keys_rotate(dir, &e) == 0);
    CHECK(ticket_keys_load(&second, dir, 0, &e) == 0);
    CHECK(strcmp(second.key[TICKET_CURRENT].id,
        first.key[TICKET_NEXT].id) == 0);
    CHECK(ticket_check(text, len, &second, TENANT, NOW, &got) == TICKET_OK);
    CHECK(ticket_keys_rotate(dir, &e) == 0);
    CHECK(ticket_keys_load(&third, dir, 0, &e) == 0);
    CHECK(ticket_check(text, len, &third, TENANT, NOW, &got) == TICKET_BAD);
    /* a gate that has not been told yet takes what the new key signs */
    len = ticket_sign(&t, &second.key[TICKET_CURRENT], TENANT, text);
    CHECK(ticket_check(text, len, &first, TENANT, NOW, &got) == TICKET_OK);
    CHECK(chmod(path, 0644) == 0);
    CHECK(ticket_keys_load(&third, dir, 0, &e) != 0);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    make_keys();
    test_round();
    test_forged();
    test_refused();
    test_cut();
    test_rotate();
    return TEST_END();
}
