// SPDX-License-Identifier: MIT
// One member out of a hostile zip archive.
#include "registry/zip.h"

static bool sink(void *ctx, const uint8_t *data, size_t len, Err *err)
{
    uint64_t *sum = ctx;
    (void)err;
    for (size_t i = 0; i < len; i++) {
        *sum += data[i];
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a.txt", "dir/b.txt", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Err err = ERR_INIT;
        ZipMember member;
        uint64_t sum = 0;
        if (zip_find(data, size, str_from_c(names[i]), &member, &err)) {
            (void)zip_read(&member, sink, &sum, &err);
        }
    }
    return 0;
}
