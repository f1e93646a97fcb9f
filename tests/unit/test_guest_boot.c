/*
 * The guest's BOOT frame: all tags, and every way to get it wrong.
 */
#include "../../images/guest/boot.c"
#include "../../images/guest/bytes.c"
#include "test.h"

static uint8_t frame[65536];
static size_t nframe;

static void put(char tag, const void *data, size_t n)
{
    frame[nframe++] = (uint8_t) tag;
    frame[nframe++] = (uint8_t) n;
    frame[nframe++] = (uint8_t) (n >> 8);
    frame[nframe++] = 0;
    frame[nframe++] = 0;
    memcpy(frame + nframe, data, n);
    nframe += n;
}

static void put_text(char tag, const char *s)
{
    put(tag, s, strlen(s));
}

static void begin(void)
{
    nframe = 0;
    put('u', "\x39\x30\0\0", 4);
    put('g', "\x3a\x30\0\0", 4);
}

static bool fails(const char *with)
{
    struct boot b;
    char why[96] = "";
    int r = boot_parse(frame, nframe, &b, why);

    if (r == 0)
        boot_free(&b);
    else if (strstr(why, with) == NULL)
        printf("     it says: %s\n", why);
    return r != 0 && strstr(why, with) != NULL && b.store == NULL;
}

static void test_all_tags(void)
{
    struct boot b;
    char why[96];

    begin();
    put_text('h', "/home/sandbox");
    put_text('s', "/bin/zsh");
    put_text('w', "/w");
    put('o', "\0\4\0\0", 4);
    put('T', "\x10\x0e\0\0", 4);
    put_text('E', "A=1");
    put_text('E', "B=");
    put_text('E', "A=2");
    put_text('S', "web");
    put_text('c', "npm");
    put_text('c', "start");
    put_text('e', "X=y");
    put_text('d', "/srv");
    put('p', "\xb8\x0b", 2);
    put('r', "\2", 1);
    put_text('?', "of a newer keeper");
    put_text('S', "db");
    put_text('c', "");
    put_text('X', "");
    put_text('c', "make");
    put('t', "\x10\0\0\0", 4);
    put_text('I', "node");
    CHECK(boot_parse(frame, nframe, &b, why) == 0);
    CHECK(b.uid == 12345 && b.gid == 12346);
    CHECK_STR(b.home, "/home/sandbox");
    CHECK_STR(b.shell, "/bin/zsh");
    CHECK_STR(b.cwd, "/w");
    CHECK(b.output_kb == 1024 && b.exec_s == 3600);
    CHECK(b.env.n == 2);
    CHECK_STR(b.env.v[0], "A=2");
    CHECK(b.nservices == 2 && b.services[0].argv.n == 2);
    CHECK_STR(b.services[0].name, "web");
    CHECK_STR(b.services[0].argv.v[1], "start");
    CHECK_STR(b.services[0].env.v[0], "X=y");
    CHECK_STR(b.services[0].cwd, "/srv");
    CHECK(b.services[0].port == 3000
          && b.services[0].restart == RESTART_ALWAYS);
    CHECK_STR(b.services[1].argv.v[0], "");
    CHECK(b.has_setup && b.setup_timeout_s == 16);
    CHECK_STR(b.setup.argv.v[0], "make");
    CHECK(b.image.n == 1);
    boot_free(&b);
}

static void test_refused(void)
{
    size_t whole, i;
    char name[50];

    nframe = 0;
    CHECK(fails("uid and gid"));
    put('u', "\0\0\0\0", 4);
    put('g', "\1\0\0\0", 4);
    CHECK(fails("uid and gid"));
    begin();
    put('u', "\1\0\0", 3);
    CHECK(fails("wrong size"));
    begin();
    put_text('c', "x");
    CHECK(fails("before the service"));
    begin();
    put('p', "\1\1", 2);
    CHECK(fails("before the service"));
    begin();
    put_text('S', "a");
    CHECK(fails("no command"));
    put_text('c', "x");
    put('r', "\3", 1);
    CHECK(fails("restart"));
    begin();
    put_text('E', "NOEQUALS");
    CHECK(fails("NAME=value"));
    begin();
    put_text('E', "=x");
    CHECK(fails("NAME=value"));
    begin();
    put('h', "a\0b", 3);
    CHECK(fails("NUL"));
    for (i = 0; i < 6; i++) {
        static const char *const names[] = {
            "", "..", "a/b", "-x", "setup",
            "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx"
        };
        begin();
        put_text('S', names[i]);
        put_text('c', "x");
        CHECK_AS(fails("not allowed"), names[i]);
    }
    begin();
    for (i = 0; i < 17; i++) {
        snprintf(name, sizeof(name), "s%zu", i);
        put_text('S', name);
        put_text('c', "x");
    }
    CHECK(fails("too many services"));
    begin();
    put_text('S', "a");
    put_text('c', "x");
    put_text('S', "a");
    CHECK(fails("same name"));
    begin();
    put_text('X', "");
    CHECK(fails("no command"));
    put_text('X', "");
    CHECK(fails("twice"));

    begin();
    put_text('h', "/home");
    whole = nframe;
    for (i = 1; i < 9; i++) {
        nframe = whole - i;
        CHECK(fails("longer than its frame"));
    }
    nframe = whole;
    frame[whole - 6] = 0xff;        /* the highest byte of a length */
    CHECK(fails("longer than its frame"));
}

static void test_env_frame(void)
{
    struct boot b;
    char why[96];

    nframe = 0;
    CHECK(boot_parse_env(frame, nframe, &b, why) == 0 && b.env.n == 0);
    boot_free(&b);
    put_text('E', "A=1");
    put_text('S', "ignored here");
    CHECK(boot_parse_env(frame, nframe, &b, why) == 0);
    CHECK(b.env.n == 1 && b.nservices == 0);
    boot_free(&b);
}

int main(void)
{
    test_all_tags();
    test_refused();
    test_env_frame();
    return TEST_END();
}
