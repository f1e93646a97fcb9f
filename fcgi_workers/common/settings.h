/*
 * settings: one file of NAME=value lines, one table that says what is allowed.
 *
 * settings_table.h is the table: the struct, the parser, the documentation
 * (docs/settings.md) and the example file are all made from it. A wrong value
 * stops the start with its line and what is allowed. The environment is not
 * read.
 */
#ifndef HF_SETTINGS_H
#define HF_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

/* NUM: int64 within [min, max]; STR: text of a form (settings_form.h); PATH:
 * absolute path; FLAG: on|off; LISTEN: address:port; SIZE: MiB as 512M, 4G */
struct settings {
#define SET_NUM(name, def, min, max, doc)   int64_t name;
#define SET_SIZE(name, def, min, max, doc)  int64_t name;   /* MiB */
#define SET_STR(name, def, form, doc)       char *name;
#define SET_PATH(name, def, doc)            char *name;
#define SET_FLAG(name, def, doc)            bool name;
#define SET_LISTEN(name, def, doc)          char *name;
#define SET_GROUP(title)
#include "settings_table.h"
    char *file;                 /* where it was read from */
};

/* file NULL: the defaults. On failure *s is untouched. */
int  settings_load(struct settings *s, const char *file, struct err *e);
/* The same from memory; `file` is only the name in errors. Pure. */
int  settings_parse(struct settings *s, const char *text, size_t len,
    const char *file, struct err *e);
void settings_fini(struct settings *s);

/* Whether an address:port of a LISTEN setting is the machine's own. */
bool settings_is_loopback(const char *listen);

void settings_print_markdown(FILE *out);
void settings_print_example(FILE *out);
/* What is in force, as a file that settings_load reads: the roles read this
 * one. Secrets of auth_tokens are replaced by their SHA-256. */
int  settings_print_effective(const struct settings *s, FILE *out);

#endif
