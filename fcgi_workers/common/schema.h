/*
 * schema: see schema.c. `schema_steps[n]` brings version n to n + 1.
 */
#ifndef HF_SCHEMA_H
#define HF_SCHEMA_H

#define SCHEMA_VERSION 2        /* number of steps */

extern const char *const schema_steps[SCHEMA_VERSION];

#endif
