/*
 * logs: what the parts write on standard output and error, in one file.
 *
 * Each part writes into a pipe of its own; whole lines go to
 * <log_dir>/holdfastd.log and, in the foreground, to the console. A pipe that
 * is full loses lines: no part waits for the log. Files that grow over the
 * limit are moved to .1, .2, …
 */
#ifndef HF_LOGS_H
#define HF_LOGS_H

#include <stdbool.h>

#include "../common/buf.h"
#include "../common/err.h"
#include "../common/loop.h"
#include "../common/settings.h"

struct log_source {
    const char   *name;
    bool          ours;         /* lines have time and level already */
    int           out;          /* write end, for the part */
    struct watch  watch;        /* read end */
    struct buf    line;
};

/* `console`: a copy of each line to standard error as it is now. The parent's
 * own standard error becomes a source. */
int  logs_open(struct loop *l, const struct settings *s, bool console,
    struct err *e);
int  logs_source(struct loop *l, struct log_source *src, const char *name,
    bool ours, struct err *e);

/* Takes what is in the pipes; for the end of the process. */
void logs_drain(void);

/* After somebody else moved the file. */
void logs_reopen(void);

/* Moves a file of log_dir that has grown too large; true if it did. */
bool logs_rotate(const char *name);
/* The same for a file that its writer never opens anew, but appends to: it is
 * copied and emptied. Lines that come in between are lost. */
void logs_rotate_held(const char *name);

#endif
