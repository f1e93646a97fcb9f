/*
 * The guest's JSON: what it reads, what it refuses, what it writes; and the
 * body of an exec call.
 */
#include "../../images/guest/bytes.c"
#include "../../images/guest/json.c"
#include "../../images/guest/request.c"
#include "test.h"

#include <stdlib.h>

static char text[4096];

static void begin(struct json *j, const char *s)
{
    size_t n = strlen(s);

    memcpy(text, s, n + 1);
    json_init(j, text, n);
}

static bool valid(const char *s)
{
    struct json j;

    begin(&j, s);
    return json_skip(&j) == 0 && json_end(&j) == 0;
}

static bool reads(const char *s, const char *want, size_t nwant)
{
    struct json j;
    char *got;
    size_t n;

    begin(&j, s);
    return json_string(&j, &got, &n) == 0 && json_end(&j) == 0
        && n == nwant && memcmp(got, want, n) == 0 && got[n] == '\0';
}

static void test_values(void)
{
    static const char *const good[] = {
        "0", "-0", "12", "1.5e-7", "true", "false", "null", "\"\"", "[]",
        "{}", " [ 1 , [ ] , { \"a\" : { } } ] ", "{\"a\":1,\"b\":[null]}"
    };
    static const char *const bad[] = {
        "", " ", "01", "1.", ".5", "+1", "1e", "-", "nul", "tru", "True",
        "[1,]", "[,1]", "[1 2]", "[1", "{\"a\"}", "{\"a\":}", "{a:1}",
        "{\"a\":1,}", "{,}", "[}", "{]", "1 1", "\"", "\"\\\"", "\"\\x\"",
        "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"\xff\"", "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\\ud800\"",
        "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\xe2\x82\""
    };
    char deep[200];
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_AS(valid(good[i]), good[i]);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_AS(!valid(bad[i]), bad[i]);
    memset(deep, '[', 100);
    memset(deep + JSON_DEPTH_MAX, ']', 100);
    deep[2 * JSON_DEPTH_MAX] = '\0';
    CHECK(valid(deep));
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    deep[2 * JSON_DEPTH_MAX + 2] = '\0';
    CHECK(!valid(deep));
}

static void test_strings(void)
{
    struct json j;
    int64_t v;

    CHECK(reads("\"a\\n\\\"\\\\\\/b\"", "a\n\"\\/b", 6));
    CHECK(reads("\"\\u00e9\\u20ac\\ud83d\\ude00\"",
                "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9));
    CHECK(reads("\"a\\u0000b\"", "a\0b", 3));
    begin(&j, "-9223372036854775");
    CHECK(json_int(&j, &v) == 0 && v == -9223372036854775);
    begin(&j, "99999999999999999999");
    CHECK(json_int(&j, &v) != 0);
    begin(&j, "1.0");
    CHECK(json_int(&j, &v) != 0);
}

static void test_writing(void)
{
    static const char raw[] = "a\"\\\n\x01\xff\xc3\xa9";
    struct bytes b = { 0 };
    char code[16];

    json_quote(&b, raw);
    bytes_mem(&b, "", 1);
    CHECK_STR(b.data, "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\"");
    CHECK(json_length(raw, strlen(raw)) == strlen(b.data) - 2);
    bytes_free(&b);

    base64_add(&b, "\0\xff~", 3);
    base64_add(&b, "ab", 2);
    base64_add(&b, "a", 1);
    bytes_mem(&b, "", 1);
    CHECK_STR(b.data, "AP9+YWI=YQ==");
    memcpy(code, b.data, 12);
    CHECK(base64_decode(code, 4) == 3 && memcmp(code, "\0\xff~", 3) == 0);
    memcpy(code, "YWI=", 4);
    CHECK(base64_decode(code, 4) == 2 && memcmp(code, "ab", 2) == 0);
    memcpy(code, "Y===YWI", 7);
    CHECK(base64_decode(code, 4) < 0);
    CHECK(base64_decode(code, 3) < 0);
    CHECK(base64_decode(code, 0) == 0);
    bytes_free(&b);
    bytes_number(&b, INT64_MIN);
    bytes_mem(&b, "", 1);
    CHECK_STR(b.data, "-9223372036854775808");
    bytes_free(&b);
    CHECK(bytes_total() == 0);
}

static void test_ceiling(void)
{
    struct bytes a = { 0 }, b = { 0 }, v = { .vital = true };
    char *block = calloc(1, 1 << 20);
    size_t n = 0;

    while (bytes_add(&a, block, 1 << 20, SIZE_MAX) == 0)
        n += 1 << 20;
    CHECK(n > 0 && bytes_total() <= BYTES_SOFT);
    CHECK(bytes_size(&a) == n);
    while (bytes_add(&b, block, 4096, SIZE_MAX) == 0)
        /* void */;
    CHECK(bytes_add(&b, block, 1 << 20, SIZE_MAX) != 0);
    CHECK(bytes_add(&v, block, 4096, SIZE_MAX) == 0);
    CHECK(bytes_add(&v, block, 4096, 4096) != 0);
    bytes_mem(&b, block, 64u << 20 > BYTES_HARD ? 1 << 20 : 1);
    bytes_free(&a);
    bytes_free(&b);
    bytes_free(&v);
    CHECK(bytes_total() == 0);
    free(block);
}

static int parse_text(const char *s, bool strict, struct request *r,
    struct refusal *why)
{
    size_t n = strlen(s);

    memcpy(text, s, n + 1);
    return request_parse(text, n, strict, r, why);
}

static void test_request(void)
{
    struct request r;
    struct refusal why;

    CHECK(parse_text("{\"env\":{\"A\":\"\\u0062\",\"LONG\":\"\",\"A\":\"c\"},"
                     "\"cmd\":[\"a\",\"\"],\"cwd\":\"/\",\"stdin\":{\"b64\":"
                     "\"YWI=\"},\"timeout_ms\":5,\"max_output\":6}", true, &r,
                     &why) == 0);
    CHECK(r.argv.n == 2 && r.env.n == 2 && r.ninput == 2);
    CHECK_STR(r.argv.v[0], "a");
    CHECK_STR(r.env.v[0], "A=c");
    CHECK_STR(r.env.v[1], "LONG=");
    CHECK_STR(r.cwd, "/");
    CHECK(r.argv.v[2] == NULL && memcmp(r.input, "ab", 2) == 0);
    request_free(&r);

    CHECK(parse_text("{\"prots\":1,\"cmd\":\"x\"}", true, &r, &why) != 0);
    CHECK_STR(why.code, "unknown_field");
    CHECK_STR(why.field, "prots");
    CHECK(parse_text("{\"prots\":1,\"cmd\":\"x\"}", false, &r, &why) == 0);
    CHECK_STR(r.line, "x");
    request_free(&r);
    CHECK(parse_text("{\"cmd\":\"x\"", true, &r, &why) != 0);
    CHECK_STR(why.code, "bad_request");
    CHECK(parse_text("{\"cmd\":[\"x\"],\"timeout_ms\":\"5\"}", true, &r,
                     &why) != 0);
    CHECK_STR(why.field, "timeout_ms");
    CHECK(r.argv.v == NULL);
}

int main(void)
{
    test_values();
    test_strings();
    test_writing();
    test_ceiling();
    test_request();
    return TEST_END();
}
