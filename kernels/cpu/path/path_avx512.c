// SPDX-License-Identifier: MIT
// AVX-512 F, BW, VL, DQ and VNNI (Ice Lake, Zen 4 and later). Built on x86-64 only; the pragma, not
// the build's flags, lets the compiler use these instructions, and device_open checks the
// processor.
#include "kernels/cpu/cpu_internal.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))),        \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#endif

#define CPU_ISA   CPU_ISA_AVX512
#define PATH      cpu_path_avx512
#define PATH_NAME "avx512"

#include "kernels/cpu/path/path.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
