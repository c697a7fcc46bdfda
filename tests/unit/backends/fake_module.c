// SPDX-License-Identifier: MIT
// A CUDA module without CUDA: the CPU's kernels under another name, as two devices, which may work
// together ("tp=2"). FAKE_CUDA_FAIL makes opening fail with its text.
#include "kernels/cuda/load.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef OTHER_BUILD
__attribute__((visibility("default"))) const char muster_cuda_build[] = "0.0.0-0";
#endif

__attribute__((visibility("default"))) const KOps *muster_cuda_ops(void);

static char described[64];

static bool fake_open(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.path = NULL;
    snprintf(described, sizeof(described), "cuda Fake 9000%s%s", options->path != NULL ? ", " : "",
             options->path != NULL ? options->path : "");
    const char *fail = getenv("FAKE_CUDA_FAIL");
    if (fail != NULL) {
        return ERR_SET(err, ERR_DEVICE, "%s", fail);
    }
    if (options->index > 1) {
        return ERR_SET(err, ERR_DEVICE, "there is no device %d, only 2", options->index);
    }
    return k_cpu_ops.device_open(&own, out, err);
}

static const char *fake_describe(const KDevice *device)
{
    (void)device;
    return described;
}

const KOps *muster_cuda_ops(void)
{
    static KOps ops;
    ops = k_cpu_ops;
    ops.name = "cuda";
    ops.device_open = fake_open;
    ops.device_describe = fake_describe;
    return &ops;
}
