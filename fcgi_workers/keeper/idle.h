/*
 * idle: GET …/idle: why a sandbox is awake, as it is at this moment.
 */
#ifndef HF_KEEPER_IDLE_H
#define HF_KEEPER_IDLE_H

#include "ops.h"

int idle_request(struct request *r, struct err *e);

#endif
