/*
 * log: one line per event on standard error, `time level role message k=v`.
 *
 * The parent collects the roles' standard error into the log file. Bytes that
 * are not printable are escaped, a line is at most 2,000 bytes. Never log a
 * secret, an env value or a request's body.
 */
#ifndef HF_LOG_H
#define HF_LOG_H

#include <stddef.h>

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_ };

/* The level of a name such as "info", or -1. */
int  log_level_named(const char *name, size_t len);
void log_open(const char *role, enum log_level least);
void log_line(enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_line(LOG_DEBUG_, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO_, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN_, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR_, __VA_ARGS__)

/* For main() and start-up only: logs and exits with 111 (system failure). */
void log_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

#endif
