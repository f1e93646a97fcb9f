/*
 * fuzz_body: what is taken is JSON whose every text is UTF-8 without NUL, and
 * checking the result again takes it again. First byte: which body.
 */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/body.h"
#include "common/ids.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(struct json_object *v)
{
    size_t i;

    if (json_object_is_type(v, json_type_string)) {
        if (strlen(json_object_get_string(v))
            != (size_t) json_object_get_string_len(v))
            abort();
        if (!ids_utf8_ok(json_object_get_string(v),
                (size_t) json_object_get_string_len(v)))
            abort();
    } else if (json_object_is_type(v, json_type_array)) {
        for (i = 0; i < json_object_array_length(v); i++)
            look(json_object_array_get_idx(v, i));
    } else if (json_object_is_type(v, json_type_object)) {
        json_object_object_foreach(v, name, child) {
            (void) name;
            look(child);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings s;
    struct json_object    *args = NULL;
    struct err             e;
    const char            *text = (const char *) data + 1;
    int                    rc = -1;

    if (s.image == NULL && settings_load(&s, NULL, &e) != 0)
        abort();
    if (size < 1)
        return 0;
    memset(&e, 0, sizeof(e));
    switch (data[0] % 6) {
    case 0: rc = body_create(text, size - 1, BODY_BASE, &s, &args, &e); break;
    case 1: rc = body_create(text, size - 1, BODY_V1, &s, &args, &e); break;
    case 2: rc = body_patch(text, size - 1, &s, &args, &e); break;
    case 3: rc = body_env(text, size - 1, &s, &args, &e); break;
    case 4: rc = body_keepalive(text, size - 1, &args, &e); break;
    case 5:
        if (body_none(text, size - 1, &e) == -1 && e.msg[0] == '\0')
            abort();
        return 0;
    }
    if (rc == -1 ? args != NULL || e.msg[0] == '\0' : args == NULL)
        abort();
    look(args);
    json_object_put(args);
    return 0;
}
