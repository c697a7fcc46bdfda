// SPDX-License-Identifier: MIT
// Plain C, for any machine; the reference that the other paths must equal bit for bit.
#include "kernels/cpu/cpu_internal.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" // loops over lanes inside need no unrolling
#endif

#define CPU_ISA   CPU_ISA_PORTABLE
#define PATH      cpu_path_portable
#define PATH_NAME "portable"

#include "kernels/cpu/path/path.h"
