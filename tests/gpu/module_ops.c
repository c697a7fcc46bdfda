// SPDX-License-Identifier: MIT
// The table that tests of CUDA kernels ask for, from the real module: $MUSTER_CUDA_MODULE or where
// the program would find it.
#include "kernels/cuda/load.h"

#include <stdio.h>
#include <stdlib.h>

const KOps *muster_cuda_ops(void);

const KOps *muster_cuda_ops(void)
{
    CudaModule module;
    cuda_module_load(&module);
    if (module.ops == NULL) {
        printf("Bail out! %s\n", module.why);
        exit(1);
    }
    return module.ops;
}
