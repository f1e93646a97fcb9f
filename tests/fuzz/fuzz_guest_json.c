/*
 * The body of an exec call: base64 and JSON decoded in place, in memory that
 * ends where the text does.
 */
#include "../../images/guest/bytes.c"
#include "../../images/guest/json.c"
#include "../../images/guest/request.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request r;
    struct refusal why;
    struct bytes b = { 0 };
    size_t i, sum = 0;
    char *body;

    if (size < 1 || size > 65536)
        return 0;
    body = malloc(size);
    memcpy(body, data + 1, size - 1);
    if (request_parse(body, size - 1, data[0] & 1, &r, &why) == 0) {
        if ((r.argv.n == 0) == (r.line == NULL))
            abort();
        for (i = 0; i < r.argv.n; i++)
            sum += strlen(r.argv.v[i]);
        for (i = 0; i < r.env.n; i++)
            if (strchr(r.env.v[i], '=') == NULL)
                abort();
        for (i = 0; i < r.ninput; i++)
            sum += (unsigned char) r.input[i];
        request_free(&r);
    } else if (why.status < 400 || why.message[0] == '\0') {
        abort();
    }
    free(body);

    json_add(&b, (const char *) data, size);
    if (bytes_size(&b) != json_length((const char *) data, size))
        abort();
    bytes_free(&b);
    if (bytes_total() != 0)
        abort();
    return sum == (size_t) -1;
}
