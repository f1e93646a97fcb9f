/*
 * BOOT and ENV frames: memory ends where the frame does.
 */
#include "../../images/guest/boot.c"
#include "../../images/guest/bytes.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot b;
    uint8_t *frame;
    char why[96] = "";
    size_t i, k, sum = 0;

    frame = malloc(size > 0 ? size : 1);
    if (size > 0)
        memcpy(frame, data, size);
    if (boot_parse(frame, size, &b, why) == 0) {
        for (i = 0; i < b.nservices; i++)
            for (k = 0; k < b.services[i].argv.n; k++)
                sum += strlen(b.services[i].argv.v[k]);
        if (b.uid == 0 || b.gid == 0)
            abort();
        boot_free(&b);
    } else if (why[0] == '\0' || b.store != NULL) {
        abort();
    }
    if (boot_parse_env(frame, size, &b, why) == 0)
        boot_free(&b);
    free(frame);
    return sum == (size_t) -1;
}
