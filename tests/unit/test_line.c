/*
 * line: every line of docs/interfaces.md, section 1, survives reading and
 * writing; whatever does not fit its form is refused.
 */
#include <stdio.h>
#include <string.h>

#include "common/line.h"

static int failures;

#define POLICY "private,00000000deadbeef,any,declared,localhost,120,7," \
    "3000+5173,caller"

static void check(int ok, const char *what)
{
    if (!ok) {
        printf("FAIL %s\n", what);
        failures++;
    }
}

static void round_trip(const char *text, int up)
{
    struct line l;
    char        out[LINE_MAX_LEN];
    size_t      n;

    if (line_parse(text, strlen(text), up, &l) != 0) {
        check(0, text);
        return;
    }

    n = line_write(&l, out);
    check(n == strlen(text) + 1 && memcmp(out, text, n - 1) == 0
          && out[n - 1] == '\n', text);
    check(line_parse(text, strlen(text), !up, &l) != 0
          || text[0] == 'H' || text[0] == 'O', "other direction");
}

static void refused(const char *text, int up)
{
    struct line l;

    check(line_parse(text, strlen(text), up, &l) == -1, text);
}

static void test_forms(void)
{
    round_trip("H 1 - 0 0123456789abcdef 4711 3 0", 1);
    round_trip("H 1 node-1.x 2 0123456789abcdef 1 65535 99", 1);
    round_trip("H 1 node-1 2 9223372036854775807", 0);
    round_trip("W abc 3000 look 0", 1);
    round_trip("W abc 0 wake 12", 1);
    round_trip("W 01hzzzzzzzzzzzzzzzzzzzzzzz 65535 refused 12", 1);
    round_trip("T 17 abc 01jabcdefghjkmnpqrstvwxyz0 use 1700000000123", 1);
    round_trip("T 17 abc - check 1700000000123", 1);
    round_trip("T 17 ok", 0);
    round_trip("T 17 used", 0);
    round_trip("S abc 1700000000123 private", 0);
    round_trip("S abc 0 public", 0);
    refused("T 17 abc - check 1000000000000000", 1);
    refused("T 17 abc a$b use 1", 1);
    refused("T 17 maybe", 0);
    refused("S abc 1 secret", 0);
    round_trip("O 17", 1);
    round_trip("K 5 ok 0 0", 1);
    round_trip("K 5 stale 0 0", 1);
    round_trip("K 5 busy 3 1500", 1);
    round_trip("J 5 3 2 1500", 1);
    round_trip("A abc 12 awake 3000 open4 " POLICY " 3000,5173", 0);
    round_trip("A abc 12 awake 3000 closed " POLICY " -", 0);
    round_trip("R abc 12 asleep 0 none public,ffffffffffffffff,visit,any,"
               "app.example.org:3000,0,0,-,ondemand -", 0);
    round_trip("A abc 0 gone", 0);
    round_trip("A abc 12 failed 30 no_memory not enough memory, try later", 0);
    round_trip("A abc 12 failed 0 internal -", 0);
    round_trip("P 9 abc 12 1000", 0);
    round_trip("I 9 abc", 0);
    round_trip("C abc", 0);
    round_trip("O 17 done", 0);
    round_trip("O 17 unknown", 0);
}

static void test_values(void)
{
    struct line l;
    const char *t = "A abc 12 awake 3000 open6 " POLICY " 3000,5173";

    check(line_parse(t, strlen(t), 0, &l) == 0, "parses");
    check(l.type == 'A' && l.gen == 12 && l.port == 3000, "numbers");
    check(l.state == LINE_AWAKE && l.pstate == LINE_P_OPEN6, "words");
    check(l.policy.is_private && l.policy.wake_any && l.policy.declared_only,
          "flags");
    check(l.policy.tenant == 0xdeadbeef && l.policy.freeze_s == 120
          && l.policy.share_epoch == 7, "policy numbers");
    check(l.policy.nports == 2 && l.policy.ports[1] == 5173, "declared");
    check(l.policy.wakes == LINE_CALLER, "wakes");
    check(l.nopen == 2 && l.open[0] == 3000, "open");
    check(l.policy.host_mode.len == 9, "host");

    t = "A abc 12 failed 30 no_memory two words";
    check(line_parse(t, strlen(t), 0, &l) == 0 && l.text.len == 9
          && l.code.len == 9 && l.retry_after_s == 30, "failed");
}

static void test_refusals(void)
{
    refused("", 1);
    refused("W", 1);
    refused("W ", 1);
    refused("Wabc 0 look 0", 1);
    refused("W abc 0 look", 1);
    refused("W abc 0 look 0 ", 1);
    refused("W abc 0 look 0 x", 1);
    refused("W  abc 0 look 0", 1);
    refused("W Abc 0 look 0", 1);
    refused("W a-c 0 look 0", 1);
    refused("W 01234567890123456789012345678901234567890 0 look 0", 1);
    refused("W abc 65536 look 0", 1);
    refused("W abc 00 look 0", 1);
    refused("W abc -1 look 0", 1);
    refused("W abc 0 peek 0", 1);
    refused("W abc 0 look 9223372036854775808", 1);
    refused("W abc 0 look 99999999999999999999", 1);
    refused("W abc 0 look 0\r", 1);
    refused("W abc\t0 look 0", 1);
    refused("X abc", 1);
    refused("A abc 1 gone", 1);
    refused("W abc 0 look 0", 0);
    refused("H 1 - 0 0123456789ABCDEF 1 1 0", 1);
    refused("H 1 - 0 0123 1 1 0", 1);
    refused("H 1 a/b 0 0", 0);
    refused("A abc 1 gone 1", 0);
    refused("A abc 1 failed 1 bad-code text", 0);
    refused("A abc 1 failed 1 code", 0);
    refused("A abc 1 awake 1 open4 " POLICY, 0);
    refused("A abc 1 awake 1 open4 " POLICY ",x -", 0);
    refused("A abc 1 awake 1 open4 public,x -", 0);
    refused("A abc 1 awake 1 open4 " POLICY " 0", 0);
    refused("A abc 1 awake 1 open4 " POLICY " 1,", 0);
    refused("A abc 1 awake 1 open4 " POLICY
            " 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", 0);
    refused("O 17 maybe", 0);
    refused("K 1 ok 0", 1);
}

static void test_length(void)
{
    struct line l;
    char        text[LINE_MAX_LEN + 1], out[LINE_MAX_LEN];
    size_t      head;

    memset(text, 'x', sizeof(text));
    memcpy(text, "A abc 1 failed 0 c ", 19);
    check(line_parse(text, LINE_MAX_LEN - 1, 0, &l) == 0, "longest");
    check(line_write(&l, out) == LINE_MAX_LEN, "longest is written");
    check(line_parse(text, LINE_MAX_LEN, 0, &l) == -1, "too long");

    head = l.text.len + 1;
    l.text.p = text;
    l.text.len = head;
    check(line_write(&l, out) == 0, "too long is not written");

    memset(&l, 0, sizeof(l));
    l.type = 'W';
    l.up = 1;
    l.id.p = "a b";
    l.id.len = 3;
    check(line_write(&l, out) == 0, "an id with a space is not written");
    l.id.p = "abc";
    l.how = (enum line_how) 9;
    check(line_write(&l, out) == 0, "an unknown word is not written");
    l.how = LINE_WAKE;
    l.gen = UINT64_MAX;
    check(line_write(&l, out) == 0, "a number out of range is not written");
}

int main(void)
{
    test_forms();
    test_values();
    test_refusals();
    test_length();
    printf("%s\n", failures ? "failed" : "ok");
    return failures != 0;
}
