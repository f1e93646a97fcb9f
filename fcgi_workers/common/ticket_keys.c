/*
 * ticket_keys: see ticket_keys.h.
 *
 * A crash leaves the old file or the new one, never half of one. Must never
 * log a key.
 */
#include "ticket_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypt.h"

static const char *const slot_words[TICKET_KEYS] = {
    "previous", "current", "next"
};

static int
keys_path(char out[PATH_MAX], const char *data_dir, const char *more,
    struct err *e)
{
    if ((size_t) snprintf(out, PATH_MAX, "%s/" TICKET_KEYS_FILE "%s",
            data_dir, more) >= PATH_MAX)
        return err_set(e, "internal", "the path of the ticket keys is too "
            "long");
    return 0;
}

static int
keys_read(struct ticket_keys *keys, int fd, const char *path, struct err *e)
{
    struct stat st;
    char        text[TICKET_KEYS_TEXT];
    ssize_t     n;
    int         rc = 0;

    if (fstat(fd, &st) != 0)
        return err_errno(e, "look at the ticket keys %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(e, "internal", "the ticket keys %s must be a file "
            "that only its owner may read (chmod 600)", path);
    n = read(fd, text, sizeof(text));
    if (n <= 0 || n == (ssize_t) sizeof(text)
        || ticket_keys_parse(text, (size_t) n, keys) != 0)
    {
        rc = err_set(e, "internal", "the ticket keys %s must hold lines "
            "\"previous|current|next <64 hexadecimal digits>\"", path);
    }
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

static size_t
keys_text(const struct ticket_keys *keys, char out[TICKET_KEYS_TEXT])
{
    size_t n = 0, i;
    int    slot;

    for (slot = 0; slot < TICKET_KEYS; slot++) {
        if (!keys->key[slot].there)
            continue;
        n += (size_t) snprintf(out + n, TICKET_KEYS_TEXT - n, "%s ",
            slot_words[slot]);
        for (i = 0; i < sizeof(keys->key[slot].secret); i++)
            n += (size_t) snprintf(out + n, TICKET_KEYS_TEXT - n, "%02x",
                keys->key[slot].secret[i]);
        n += (size_t) snprintf(out + n, TICKET_KEYS_TEXT - n, "\n");
    }
    return n;
}

static int
keys_sync_dir(const char *data_dir)
{
    int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return -1;
    rc = fsync(fd);
    close(fd);
    return rc;
}

/* `over`: takes the place of one that is there; else it stays. */
static int
keys_write(const struct ticket_keys *keys, const char *data_dir, int over,
    struct err *e)
{
    char   path[PATH_MAX], temp[PATH_MAX], text[TICKET_KEYS_TEXT];
    size_t n;
    int    fd, rc = -1;

    if (keys_path(path, data_dir, "", e) != 0
        || keys_path(temp, data_dir, ".new", e) != 0)
        return -1;
    n = keys_text(keys, text);
    unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        0600);
    if (fd >= 0) {
        if (write(fd, text, n) == (ssize_t) n && fsync(fd) == 0
            && (over ? rename(temp, path) == 0
                : link(temp, path) == 0 || errno == EEXIST)
            && keys_sync_dir(data_dir) == 0)
        {
            rc = 0;
        }
        close(fd);
    }
    if (rc != 0)
        err_errno(e, "write the ticket keys %s", path);
    unlink(temp);
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

static int
keys_new(struct ticket_key *key, struct err *e)
{
    key->there = 1;
    if (crypt_random(key->secret, sizeof(key->secret)) != 0)
        return err_errno(e, "make a ticket key");
    return 0;
}

static int
keys_make(const char *data_dir, struct err *e)
{
    struct ticket_keys keys;
    int                rc;

    memset(&keys, 0, sizeof(keys));
    rc = keys_new(&keys.key[TICKET_CURRENT], e);
    if (rc == 0)
        rc = keys_new(&keys.key[TICKET_NEXT], e);
    if (rc == 0)
        rc = keys_write(&keys, data_dir, 0, e);
    OPENSSL_cleanse(&keys, sizeof(keys));
    return rc;
}

int
ticket_keys_load(struct ticket_keys *keys, const char *data_dir, int make,
    struct err *e)
{
    struct ticket_keys got;
    char               path[PATH_MAX];
    int                fd, rc;

    if (keys_path(path, data_dir, "", e) != 0)
        return -1;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make) {
        if (keys_make(data_dir, e) != 0)
            return -1;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }
    if (fd < 0)
        return err_errno(e, "open the ticket keys %s", path);
    rc = keys_read(&got, fd, path, e);
    close(fd);
    if (rc == 0)
        *keys = got;
    OPENSSL_cleanse(&got, sizeof(got));
    return rc;
}

int
ticket_keys_rotate(const char *data_dir, struct err *e)
{
    struct ticket_keys keys;
    int                rc;

    if (ticket_keys_load(&keys, data_dir, 1, e) != 0)
        return -1;
    rc = 0;
    if (!keys.key[TICKET_NEXT].there)
        rc = keys_new(&keys.key[TICKET_NEXT], e);
    keys.key[TICKET_PREVIOUS] = keys.key[TICKET_CURRENT];
    keys.key[TICKET_CURRENT] = keys.key[TICKET_NEXT];
    if (rc == 0)
        rc = keys_new(&keys.key[TICKET_NEXT], e);
    if (rc == 0)
        rc = keys_write(&keys, data_dir, 1, e);
    OPENSSL_cleanse(&keys, sizeof(keys));
    return rc;
}
