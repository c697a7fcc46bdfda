// SPDX-License-Identifier: MIT
// Exact integer dot products of 16-bit activations with 4-, 8- and 16-bit weights. A block's end is
// the same everywhere:
//   acc = fma((float)dot, d * scale, acc), then for Q4_1 acc = fma(m, scale_sum, acc)
// where dot = sum((q - offset) * x) in int32 (offset 8 for Q4_0, 128 for Q8_0, else 0). Words fill
// an int32 with a quarter of a block: (float)dot is the sum of the four as floats, one
// after the other.
//
// The multiply-add of 16-bit pairs wants weights as pairs of words. Many rows share words that were
// made once for a group of blocks; for few rows that would cost more than it saves, and the words
// are made in registers where they are used.
#pragma once

#include "kernels/cpu/path/vec.h"

#define FIXED_ROWS  (CPU_ISA == CPU_ISA_AVX512 ? 8 : 4)
#define FIXED_PAIRS (CPU_BLOCK / 2)
#define WORDS_BYTES (CPU_BLOCK * LANES * sizeof(int16_t)) // of a block: [pair][16 outputs][2]

INLINE int32_t fixed_offset(const CpuForm form)
{
    return form == CPU_Q8_0 ? 128 : form == CPU_Q4_0 ? 8 : 0;
}

/** d[16], f16 or for words bf16; then f16 m[16] for Q4_1. */
INLINE const uint16_t *block_scales(const CpuForm form, const uint8_t *block)
{
    return (const uint16_t *)(const void *)(block + cpu_quant_bytes(form));
}

/** Quants 2*pair and 2*pair+1 of a block for 16 outputs, as words, without the offset. */
INLINE I16 fixed_pair(const CpuForm form, const uint8_t *block, const int pair)
{
    if (form == CPU_W16) {
        return i_load(block + (size_t)pair * 64);
    }
    const int per_load = form == CPU_Q8_0 ? 8 : 4, group = pair / 2 % per_load;
    const int nibble = form == CPU_Q8_0 ? 0 : pair / 2 / per_load;
    I16 packed = i_load(block + (size_t)group * 64);
    return i_words(packed, pair % 2 * 8 + nibble * 4, form == CPU_Q8_0 ? 0x00ff00ff : 0x000f000f);
}

/** The words of blocks b0 .. b1-1 of a tile, less the offset. */
INLINE void fixed_words(const CpuForm form, const uint8_t *tile, size_t b0, size_t b1,
                        uint8_t *words)
{
    for (size_t b = b0; b < b1; b++) {
        const uint8_t *block = tile + b * cpu_block_bytes(form);
#pragma GCC unroll 16
        for (int pair = 0; pair < FIXED_PAIRS; pair++) {
            I16 w = fixed_pair(form, block, pair);
            w = fixed_offset(form) != 0 ? i_sub_words(w, (int16_t)fixed_offset(form)) : w;
            i_store(words + (size_t)pair * 64, w);
        }
        words += WORDS_BYTES;
    }
}

/** sums[i] += blocks b0 .. b1-1 of one tile times row + i, for n_rows rows of one group of
 * CPU_ROWS. direct: weights as they lie in the tile; else as fixed_words left them. */
INLINE void fixed_part(const CpuForm form, const bool direct, const int n_rows, const uint8_t *tile,
                       const uint8_t *words, const KActs *x, size_t row, bool fresh, size_t b0,
                       size_t b1, float (*sums)[LANES])
{
    // One row alone would wait for each of its products; the order of integer sums is free.
    const int n_chains = n_rows == 1 ? 4 : n_rows == 2 ? 2 : 1;
    const int n_parts = form == CPU_W16 ? 4 : 1, part_pairs = FIXED_PAIRS / n_parts;
    const size_t first = cpu_acts_at(x, row);
    V16 acc[FIXED_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        acc[r] = fresh ? v_zero() : v_load(sums[r]);
    }
    for (size_t b = b0; b < b1; b++) {
        const uint8_t *block = tile + b * cpu_block_bytes(form);
        const size_t at = first + b * CPU_ROWS; // of the first row
        V16 sum[FIXED_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < FIXED_ROWS; r++) { // of all rows, or gcc doubts that those used are set
            sum[r] = v_zero();
        }
#pragma GCC unroll 16
        for (int part = 0; part < n_parts; part++) {
            I16 dot[FIXED_ROWS > 4 ? FIXED_ROWS : 4];
#pragma GCC unroll 16
            for (int i = 0; i < n_rows * n_chains; i++) {
                int32_t start = 0;
                if (direct && fixed_offset(form) != 0 && i % n_chains == 0) {
                    start = -fixed_offset(form) * x->sum[at + (size_t)(i / n_chains)];
                }
                dot[i] = i_set1(start);
            }
#pragma GCC unroll 16
            for (int i = 0; i < part_pairs; i++) {
                const int pair = part * part_pairs + i;
                I16 w = direct ? fixed_pair(form, block, pair)
                               : i_load(words + (b - b0) * WORDS_BYTES + (size_t)pair * 64);
#pragma GCC unroll 16
                for (int r = 0; r < n_rows; r++) {
                    const int16_t *q = x->fixed + (at + (size_t)r) * CPU_BLOCK + pair * 2;
                    const int d = r * n_chains + pair % n_chains;
                    dot[d] = i_dot(dot[d], w, (const int32_t *)(const void *)q);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; r < n_rows; r++) {
                I16 whole = dot[r * n_chains];
#pragma GCC unroll 16
                for (int c = 1; c < n_chains; c++) {
                    whole = i_add(whole, dot[r * n_chains + c]);
                }
                V16 of_part = i_float(whole);
                sum[r] = n_parts == 1 ? of_part : v_add(sum[r], of_part);
            }
        }
        const uint16_t *scales = block_scales(form, block);
        V16 d = form == CPU_W16 ? v_load_bf16(scales) : v_load_f16(scales);
        V16 min = form == CPU_Q4_1 ? v_load_f16(scales + LANES) : v_zero();
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            size_t i = at + (size_t)r;
            acc[r] = v_fma(sum[r], v_mul(d, v_set1(x->scale[i])), acc[r]);
            if (form == CPU_Q4_1) {
                acc[r] = v_fma(min, v_set1(x->scale_sum[i]), acc[r]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        v_store(sums[r], acc[r]);
    }
}

#if CPU_ISA == CPU_ISA_AVX512
/** One row's words take a shift and a mask for each 32 quants, bytes for each 64; more rows share
 * the words. The integers are the same. */
INLINE void fixed_bytes(const CpuForm form, const uint8_t *tile, const int8_t *bytes,
                        const KActs *x, bool fresh, size_t b0, size_t b1, float (*sums)[LANES])
{
    V16 acc = fresh ? v_zero() : v_load(sums[0]);
    for (size_t b = b0; b < b1; b++) {
        const uint8_t *block = tile + b * cpu_block_bytes(form);
        const int8_t *high = bytes + b * 2 * CPU_BLOCK, *low = high + CPU_BLOCK;
        const size_t at = b * CPU_ROWS;
        I16 highs[2] = {i_set1(0), i_set1(0)};
        I16 lows[2] = {i_set1(-fixed_offset(form) * x->sum[at]), i_set1(0)};
#pragma GCC unroll 16
        for (int group = 0; group < CPU_BLOCK / 4; group++) {
            const int chain = group % 2, load = form == CPU_Q8_0 ? group : group % 4;
            I16 w = i_load(block + (size_t)load * 64);
            if (form != CPU_Q8_0) {
                w = i_words(w, group / 4 * 4, 0x0f0f0f0f);
            }
            highs[chain] = i_dot_bytes(highs[chain], w, high + (size_t)group * 4);
            lows[chain] = i_dot_bytes(lows[chain], w, low + (size_t)group * 4);
        }
        I16 dot = i_add(i_shift_up(i_add(highs[0], highs[1]), 8), i_add(lows[0], lows[1]));
        const uint16_t *scales = block_scales(form, block);
        acc = v_fma(i_float(dot), v_mul(v_load_f16(scales), v_set1(x->scale[at])), acc);
        if (form == CPU_Q4_1) {
            acc = v_fma(v_load_f16(scales + LANES), v_set1(x->scale_sum[at]), acc);
        }
    }
    v_store(sums[0], acc);
}

static void path_split_row(const KActs *acts, int8_t *out)
{
    for (size_t b = 0; b < acts->n_blocks; b++, out += 2 * CPU_BLOCK) {
        i_split_words(acts->fixed + b * CPU_ROWS * CPU_BLOCK, out, out + CPU_BLOCK);
    }
}
#endif

/** fixed_part for the form and number of rows at hand, each compiled for its constants. */
INLINE void fixed_part_of(const CpuForm form, int n_rows, const uint8_t *tile, const uint8_t *words,
                          const KActs *x, size_t row, bool fresh, size_t b0, size_t b1,
                          float (*sums)[LANES])
{
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        if (words == NULL) {                                                                       \
            fixed_part(form, true, n, tile, NULL, x, row, fresh, b0, b1, sums);                    \
        } else {                                                                                   \
            fixed_part(form, false, n, tile, words, x, row, fresh, b0, b1, sums);                  \
        }                                                                                          \
        break
    switch (n_rows) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
#if CPU_ISA == CPU_ISA_AVX512
        CASE(5);
        CASE(6);
        CASE(7);
        CASE(8);
#endif
    }
#undef CASE
}

/** Blocks b0 .. b1-1 of one tile times rows row0 .. row1-1: sums[row - row0], begun or gone on. */
INLINE void fixed_group(const CpuForm form, const CpuProduct *piece, const uint8_t *tile,
                        bool fresh, size_t b0, size_t b1, uint8_t *words, float (*sums)[LANES])
{
    size_t n_rows = piece->row1 - piece->row0;
#if CPU_ISA == CPU_ISA_AVX512
    if (piece->bytes != NULL && form != CPU_W16) {
        fixed_bytes(form, tile, piece->bytes, piece->x, fresh, b0, b1, sums);
        return;
    }
#endif
    bool few = n_rows <= 2 * FIXED_ROWS, direct = form == CPU_W16 || few;
    if (!direct) {
        fixed_words(form, tile, b0, b1, words);
    }
    // Under many rows the next group comes from memory meanwhile; the next tile follows this one.
    const uint8_t *next = tile + b1 * cpu_block_bytes(form);
    size_t n_next = few ? 0 : (b1 - b0) * cpu_block_bytes(form), fetched = 0;
    for (size_t r = 0, n; r < n_rows; r += n) {
        n = n_rows - r < FIXED_ROWS ? n_rows - r : FIXED_ROWS;
        for (; fetched * n_rows < n_next * (r + n); fetched += CPU_ALIGN) {
            __builtin_prefetch(next + fetched);
        }
        fixed_part_of(form, (int)n, tile, direct ? NULL : words, piece->x, piece->row0 + r, fresh,
                      b0, b1, sums + r);
    }
}

/** The same for the form at hand. */
static void fixed_groups(const CpuProduct *piece, const uint8_t *tile, bool fresh, size_t b0,
                         size_t b1, uint8_t *words, float (*sums)[LANES])
{
    CpuForm form = piece->matrix->form;
    switch (form) {
#define CASE(f)                                                                                    \
    case f:                                                                                        \
        fixed_group(f, piece, tile, fresh, b0, b1, words, sums);                                   \
        break
        CASE(CPU_Q4_0);
        CASE(CPU_Q4_1);
        CASE(CPU_Q8_0);
        CASE(CPU_W16);
#undef CASE
    case CPU_F32: // these take f32 activations
    case CPU_F16:
    case CPU_BF16:
        break;
    }
}
