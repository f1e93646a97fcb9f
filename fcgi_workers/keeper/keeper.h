/*
 * keeper: entry of the role. Returns the process' exit status.
 */
#ifndef HF_KEEPER_ROLE_H
#define HF_KEEPER_ROLE_H

#include "../common/settings.h"

int keeper_main(const struct settings *s);

#endif
