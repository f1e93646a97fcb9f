/* Unit test of common/crypt: sealing, the key file, known digests. */
#include "common/crypt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static void test_digests(void)
{
    char hex[65];

    crypt_sha256_hex("abc", 3, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223"
        "b00361a396177a9cb410ff61f20015ad");
    CHECK(crypt_tenant_tag("default") == UINT64_C(0x37a8eec1ce19687d));
}

static void test_seal(void)
{
    struct crypt_key k, other;
    unsigned char   *sealed = NULL, *again = NULL, *plain = NULL;
    size_t           len, len2, plain_len;
    size_t           i;
    int              opened = 0;

    crypt_random(&k, sizeof(k));
    crypt_random(&other, sizeof(other));
    CHECK(crypt_seal(&k, "env:a1", "secret", 6, &sealed, &len) == 0);
    CHECK(len == 6 + 30);
    CHECK(crypt_seal(&k, "env:a1", "secret", 6, &again, &len2) == 0);
    CHECK(memcmp(sealed, again, len) != 0);     /* a nonce each */
    free(again);
    CHECK(crypt_open(&k, "env:a1", sealed, len, &plain, &plain_len) == 0);
    CHECK(plain_len == 6 && memcmp(plain, "secret", 7) == 0);
    free(plain);
    CHECK(crypt_open(&k, "env:a2", sealed, len, &plain, &plain_len) != 0);
    CHECK(crypt_open(&other, "env:a1", sealed, len, &plain, &plain_len) != 0);
    for (i = 0; i < len; i++) {
        sealed[i] ^= 1;
        if (crypt_open(&k, "env:a1", sealed, len, &plain, &plain_len) == 0)
            opened++;
        sealed[i] ^= 1;
        if (crypt_open(&k, "env:a1", sealed, i, &plain, &plain_len) == 0)
            opened++;
    }
    CHECK(opened == 0);
    free(sealed);
    CHECK(crypt_seal(&k, "", "", 0, &sealed, &len) == 0);
    CHECK(crypt_open(&k, "", sealed, len, &plain, &plain_len) == 0);
    CHECK(plain_len == 0);
    free(plain);
    free(sealed);
}

static void test_file(void)
{
    char             dir[] = "/tmp/holdfast-key.XXXXXX", path[64], link[64];
    struct crypt_key a, b;
    struct err       e;
    struct stat      st;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/key", dir);
    snprintf(link, sizeof(link), "%s/link", dir);
    CHECK(crypt_key_load(&a, path, 0, &e) != 0);
    CHECK(crypt_key_load(&a, path, 1, &e) == 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    CHECK(crypt_key_load(&b, path, 1, &e) == 0);
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    CHECK(chmod(path, 0640) == 0);
    CHECK(crypt_key_load(&b, path, 0, &e) != 0);
    CHECK(strstr(e.msg, "only its owner") != NULL);
    CHECK(chmod(path, 0600) == 0);
    CHECK(symlink(path, link) == 0);
    CHECK(crypt_key_load(&b, link, 0, &e) != 0);
    CHECK(truncate(path, 64) == 0);
    CHECK(crypt_key_load(&b, path, 1, &e) != 0);
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);      /* untouched on failure */
    unlink(path);
    unlink(link);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(crypt_key_load(&b, path, 0, &e) != 0);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    test_digests();
    test_seal();
    test_file();
    return TEST_END();
}
