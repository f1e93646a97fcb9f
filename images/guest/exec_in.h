/*
 * exec_in: what exec.c and answer.c share. exec.c runs the command and decides
 * when; answer.c says what the client gets to see.
 */
#ifndef GUEST_EXEC_IN_H
#define GUEST_EXEC_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "loop.h"
#include "server.h"

enum { IN, OUT, ERR };

struct stream {                 /* stdout or stderr */
    struct watch w;
    struct bytes kept;          /* JSON: all of it; events: a cut character */
    size_t       limit, seen;   /* bytes that are passed on, were passed on */
    size_t       left;          /* in the pipe when the command had ended */
    bool         ended, cut;
};

enum piece_form { PLAIN, TEXT, BASE64 };

struct piece {                  /* of a JSON answer */
    enum piece_form form;
    const char     *p;
    size_t          n;
};

struct exec {
    struct conn  *conn;         /* NULL: the client is gone */
    bool          v1, events;
    struct watch  shim, input;
    struct stream stream[3];    /* OUT and ERR */
    struct bytes  body;         /* the request; its stdin is sent from it */
    const char   *stdin_at;
    size_t        stdin_left;
    struct timer  timer;        /* time-out, then the kill's own */
    struct timer  comment;
    int64_t       started_ms, duration_ms, timeout_ms;
    bool          running, killing, timed_out;
    int           status;       /* as of waitpid */
    int           code;         /* 126, 127: it could not be executed */
    struct bytes  text;         /* of the answer: what is not output */
    struct piece  pieces[7];
    size_t        npieces, at;
    struct exec  *next, *prev;
};

void exec_free(struct exec *e);

/* JSON, when the command has ended. Both free the exec when the answer is
 * out; _more goes on when there is room. */
void answer_begin(struct exec *e);
void answer_more(struct exec *e);

/* Events. _end frees the exec. */
void events_begin(struct exec *e, int pid);
void events_pass(struct exec *e, int which, const char *p, size_t n);
void events_comment(struct timer *t);
void events_end(struct exec *e);

#endif
