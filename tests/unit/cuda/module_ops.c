// SPDX-License-Identifier: MIT
// For tests on a device: the table of the module that nvcc built ($MUSTER_CUDA_MODULE) instead of
// the emulated one that is linked in. Where there is no module or no device the program is skipped.
#include "kernels/kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const KOps *muster_cuda_ops(void);

static void skip(const char *reason)
{
    printf("1..0 # SKIP %.200s\n", reason);
    exit(0);
}

const KOps *muster_cuda_ops(void)
{
    static const KOps *ops;
    if (ops != NULL) {
        return ops;
    }
    const char *path = getenv("MUSTER_CUDA_MODULE");
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library != NULL ? dlsym(library, "muster_cuda_ops") : NULL;
    if (symbol == NULL) {
        skip("no CUDA module in $MUSTER_CUDA_MODULE");
    }
    const KOps *(*get)(void) = NULL;
    memcpy(&get, &symbol, sizeof(get)); // ISO C has no cast from an object to a function
    KDeviceOptions options = {.index = 0};
    KDevice *device = NULL;
    Err err = ERR_INIT;
    if (!get()->device_open(&options, &device, &err)) {
        if (err.code == ERR_ENVIRONMENT) {
            skip(err.message);
        }
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    get()->device_close(device);
    ops = get();
    return ops;
}
