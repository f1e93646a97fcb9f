/*
 * exec: runs a command for an HTTP request and answers with what it did.
 *
 * Two forms of answer: JSON when the command has ended, or events as things
 * happen (Accept: text/event-stream, v1 only). A client that goes away or a
 * time-out kills the command's whole process tree. What a command that ended
 * by itself left in the background lives on; see linger.h for its pipes.
 */
#ifndef GUEST_EXEC_H
#define GUEST_EXEC_H

#include <stdint.h>

#include "server.h"

/* A whole request is there; its answer is up to exec from now on. */
void exec_request(struct conn *c);

uint32_t exec_count(void);          /* running */
uint32_t exec_output_ago_ms(void);  /* UINT32_MAX: never any */

#endif
