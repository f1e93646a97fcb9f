/*
 * tasks: the role that writes every event stream.
 */
#ifndef HF_TASKS_H
#define HF_TASKS_H

#include "../common/settings.h"

int tasks_main(const struct settings *s);

#endif
