// SPDX-License-Identifier: MIT
// The body of a path_*.c file: all lane functions for one CPU_ISA, gathered in its table. The file
// defines CPU_ISA, PATH (the table's name) and PATH_NAME, and switches the compiler's target first.
#include "kernels/cpu/path/attend.h"
#include "kernels/cpu/path/product.h"
#include "kernels/cpu/path/rows.h"

const CpuPath PATH = {
    .name = PATH_NAME,
    .product = path_product,
#if CPU_ISA == CPU_ISA_AVX512
    .split_row = path_split_row,
#endif
    .gated = path_gated,
    .embed = path_embed,
    .rms_norm = path_rms_norm,
    .quantise = path_quantise,
    .rope = path_rope,
    .pack_kv = path_pack_kv,
    .attend = path_attend,
    .attend_merge = path_attend_merge,
    .attend_finish = path_attend_finish,
    .log_sum = path_log_sum,
    .log_sum_merge = path_log_sum_merge,
};
