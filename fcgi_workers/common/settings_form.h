/*
 * settings_form: what a text setting may look like. Pure functions.
 */
#ifndef HF_SETTINGS_FORM_H
#define HF_SETTINGS_FORM_H

#include <stdbool.h>
#include <stddef.h>

enum settings_form {
    SET_FORM_NAME,              /* empty or a name */
    SET_FORM_USER,
    SET_FORM_STACK,
    SET_FORM_HOST,
    SET_FORM_HOST_HEADER,
    SET_FORM_HOSTS,
    SET_FORM_ORIGINS,
    SET_FORM_SCHEME,
    SET_FORM_PATH,
    SET_FORM_FILE,              /* empty or a path */
    SET_FORM_LISTEN,
    SET_FORM_TOKENS,
    SET_FORM_IMAGE,
    SET_FORM_TEMPLATES,
    SET_FORM_ADDRS,
    SET_FORM_CIDR,
    SET_FORM_LEVEL,
    SET_FORM_LISTEN0,           /* empty or an address:port */
    SET_FORM_NETS,
    SET_FORM_PROXY,
    SET_FORM_COUNT
};

bool settings_form_ok(enum settings_form form, const char *s, size_t len);

/* What is allowed, to follow "must be ". */
const char *settings_form_text(enum settings_form form);

#endif
