// SPDX-License-Identifier: MIT
// Plain C, for any machine; the reference that the other paths must equal bit for bit.
#include "kernels/cpu/cpu_internal.h"

#define CPU_ISA   CPU_ISA_PORTABLE
#define PATH      cpu_path_portable
#define PATH_NAME "portable"

#include "kernels/cpu/path/path.h"
