/*
 * door: entry of the role. Returns the process' exit status.
 */
#ifndef HF_DOOR_ROLE_H
#define HF_DOOR_ROLE_H

#include "../common/settings.h"

int door_main(const struct settings *s);

#endif
