/*
 * notify: telling systemd how we are, by its datagram protocol.
 *
 * Everything does nothing when systemd did not ask (no NOTIFY_SOCKET).
 */
#ifndef HF_NOTIFY_H
#define HF_NOTIFY_H

#include <stdint.h>

/* Reads and removes systemd's variables. */
void notify_open(void);
/* "READY=1", "STATUS=…"; lines separated by \n. */
void notify_send(const char *text);
/* How often to say "WATCHDOG=1"; 0: not wanted. */
int64_t notify_watchdog_ms(void);

#endif
