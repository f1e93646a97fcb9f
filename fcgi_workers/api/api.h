/*
 * api: entry of the role. Returns the process' exit status.
 */
#ifndef HF_API_ROLE_H
#define HF_API_ROLE_H

#include "../common/settings.h"

int api_main(const struct settings *s);

#endif
