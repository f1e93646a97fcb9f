/*
 * log: one line per event on standard error (see log.h).
 *
 * One write() per line: lines of at most PIPE_BUF bytes do not mix in the
 * parent's pipe, whoever writes at the same time. A pipe that is full or gone
 * loses the line: no role may hang because nobody reads its log.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define LOG_LINE_MAX 2000

static const char *const log_names[] = { "debug", "info", "warn", "error" };
static const char *log_role = "holdfastd";
static enum log_level log_least = LOG_INFO_;

int log_level_named(const char *name, size_t len)
{
    int i;

    for (i = LOG_DEBUG_; i <= LOG_ERROR_; i++) {
        if (strlen(log_names[i]) == len
            && memcmp(log_names[i], name, len) == 0)
        {
            return i;
        }
    }
    return -1;
}

void log_open(const char *role, enum log_level least)
{
    log_role = role;
    log_least = least;
}

/* UTF-8 goes through; control characters would forge lines or reach a
 * terminal, so they are written as \xNN. */
static size_t log_escape(const char *in, char *out, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char     c;
    size_t            n = 0;

    for (; *in != '\0'; in++) {
        c = (unsigned char)*in;
        if (c >= 0x20 && c != 0x7f) {
            if (n + 1 > size)
                break;
            out[n++] = (char)c;
            continue;
        }
        if (n + 4 > size)
            break;
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return n;
}

static void log_write(enum log_level level, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void log_write(enum log_level level, const char *fmt, va_list ap)
{
    char    text[LOG_LINE_MAX], line[LOG_LINE_MAX], when[CLOCK_TEXT_MAX];
    int     head, saved = errno;
    size_t  len;
    ssize_t n;

    vsnprintf(text, sizeof(text), fmt, ap);
    head = snprintf(line, sizeof(line), "%s %s %s ",
        clock_text(clock_wall_ms(), when), log_names[level], log_role);
    len = (size_t)head;
    len += log_escape(text, line + len, sizeof(line) - len - 1);
    line[len++] = '\n';
    do {
        n = write(STDERR_FILENO, line, len);
    } while (n < 0 && errno == EINTR);
    errno = saved;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level < log_least)
        return;
    va_start(ap, fmt);
    log_write(level, fmt, ap);
    va_end(ap);
}

void log_fatal(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_write(LOG_ERROR_, fmt, ap);
    va_end(ap);
    exit(111);
}
