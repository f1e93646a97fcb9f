/*
 * notify: telling systemd how we are (see notify.h).
 *
 * The two variables are systemd's protocol, not settings of ours.
 */
#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/ids.h"

static struct sockaddr_un notify_to;
static socklen_t          notify_len;
static int                notify_fd = -1;
static int64_t            notify_dog_ms;

static void notify_read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    int64_t     value;

    if (usec != NULL && ids_number(usec, strlen(usec), 1, INT64_MAX,
        &value) == 0)
    {
        notify_dog_ms = value / 2000;   /* twice as often as it must be */
    }
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t      len;

    if (path == NULL || (path[0] != '/' && path[0] != '@'))
        return;
    len = strlen(path);
    if (len < 2 || len >= sizeof(notify_to.sun_path))
        return;
    notify_read_watchdog();
    notify_to.sun_family = AF_UNIX;
    memcpy(notify_to.sun_path, path, len);
    if (path[0] == '@')
        notify_to.sun_path[0] = '\0';
    notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* Lost when systemd does not read: the next watchdog message comes soon. */
void notify_send(const char *text)
{
    if (notify_fd >= 0)
        (void)!sendto(notify_fd, text, strlen(text), MSG_NOSIGNAL,
            (struct sockaddr *)&notify_to, notify_len);
}

int64_t notify_watchdog_ms(void)
{
    return notify_fd >= 0 ? notify_dog_ms : 0;
}
