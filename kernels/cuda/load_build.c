// SPDX-License-Identifier: MIT
// What build a module is of, compiled into every module. The program calls none of another build,
// whose table of operations may be laid out in another way.
#include "kernels/cuda/load.h"

#include "kernels/module_config.h"

__attribute__((visibility("default"))) const char muster_cuda_build[] = MODULE_BUILD;
