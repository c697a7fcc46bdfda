// SPDX-License-Identifier: MIT
// The part of a product that differs between instruction sets: exact integer dot products of 16-bit
// activations with 4- and 8-bit weights. A block's end is the same everywhere:
//   acc = fma((float)dot, d * scale, acc), then for Q4_1 acc = fma(m, scale_sum, acc)
// where dot = sum(q*x) - offset*sum(x) in int32 (offset 8 for Q4_0, 128 for Q8_0, 0 for Q4_1).
#pragma once

#include "kernels/cpu/path/vec.h"

/** Rows of fixed activations, cut out of KActs. */
typedef struct FixedRows {
    const uint8_t *fixed;
    const float *scale;
    const int32_t *sum;
    const float *scale_sum;
    size_t n_blocks;
} FixedRows;

INLINE FixedRows fixed_rows(const KActs *x, size_t row)
{
    size_t at = row * x->n_blocks;
    return (FixedRows){x->fixed + at * 64, x->scale + at, x->sum + at, x->scale_sum + at,
                       x->n_blocks};
}

INLINE int32_t fixed_offset(const KType type)
{
    return type == K_Q8_0 ? 128 : type == K_Q4_0 ? 8 : 0;
}

/** f16 d[16], then m[16] for Q4_1. */
INLINE const uint16_t *block_scales(const KType type, const uint8_t *block)
{
    return (const uint16_t *)(const void *)(block + cpu_quant_bytes(type));
}

#define PREFETCH_BYTES 4096

/** Ask for weights ahead: the first rows that meet a tile wait for memory, the others find it in
 * cache. */
INLINE void prefetch_block(const KType type, const bool first, const uint8_t *block)
{
    if (first) {
        for (size_t i = 0; i < cpu_block_bytes(type); i += 64) {
            __builtin_prefetch(block + PREFETCH_BYTES + i);
        }
    }
}

#if CPU_ISA == CPU_ISA_AVX512

#define FIXED_ROWS 6

/** Eight words of high bytes, then eight of low bytes. */
INLINE const int32_t *fixed_bytes(FixedRows x, int r, size_t b)
{
    return (const int32_t *)(const void *)(x.fixed + ((size_t)r * x.n_blocks + b) * 64);
}

INLINE void fixed_part(const KType type, const int n_rows, const uint8_t *tile, FixedRows x,
                       const bool first, size_t b0, size_t b1, float (*out)[LANES])
{
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512 acc[FIXED_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        acc[r] = _mm512_setzero_ps();
    }
    for (size_t b = b0; b < b1; b++) {
        const uint8_t *block = tile + b * cpu_block_bytes(type);
        prefetch_block(type, first, block);
        __m512i w[8]; // [4 elements of K][16 outputs][element]
        if (type == K_Q8_0) {
#pragma GCC unroll 16
            for (int g = 0; g < 8; g++) {
                w[g] = _mm512_loadu_si512(block + (size_t)g * 64);
            }
        } else {
#pragma GCC unroll 16
            for (int g = 0; g < 4; g++) {
                __m512i packed = _mm512_loadu_si512(block + (size_t)g * 64);
                w[g] = _mm512_and_si512(packed, nibble);
                w[g + 4] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
            }
        }
        const uint16_t *at = block_scales(type, block);
        __m512 d = v_load_f16(at);
        __m512 min = type == K_Q4_1 ? v_load_f16(at + LANES) : _mm512_setzero_ps();
        // Rows are interleaved: each one's sixteen products in a chain leave the multipliers idle.
        __m512i dot[FIXED_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            dot[r] = _mm512_setzero_si512();
        }
#pragma GCC unroll 16
        for (int half = 0; half < 2; half++) { // high bytes, then low ones
#pragma GCC unroll 16
            for (int g = 0; g < 8; g++) {
#pragma GCC unroll 16
                for (int r = 0; r < n_rows; r++) {
                    __m512i four = _mm512_set1_epi32(fixed_bytes(x, r, b)[half * 8 + g]);
                    dot[r] = _mm512_dpbusd_epi32(dot[r], w[g], four);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; half == 0 && r < n_rows; r++) {
                dot[r] = _mm512_slli_epi32(dot[r], 8);
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            size_t i = (size_t)r * x.n_blocks + b;
            if (type != K_Q4_1) {
                __m512i offset = _mm512_set1_epi32(fixed_offset(type) * x.sum[i]);
                dot[r] = _mm512_sub_epi32(dot[r], offset);
            }
            __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale[i]));
            acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), scale, acc[r]);
            if (type == K_Q4_1) {
                acc[r] = _mm512_fmadd_ps(min, _mm512_set1_ps(x.scale_sum[i]), acc[r]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        _mm512_storeu_ps(out[r], acc[r]);
    }
}

#elif CPU_ISA == CPU_ISA_AVX2

#define FIXED_ROWS 4

/** Weights of elements (0,2) or (1,3) of each group of four as int16, for 8 outputs. */
INLINE __m256i fixed_words(__m256i packed, const int shift, const int mask)
{
    return _mm256_and_si256(_mm256_srli_epi32(packed, shift), _mm256_set1_epi32(mask));
}

INLINE void fixed_part(const KType type, const int n_rows, const uint8_t *tile, FixedRows x,
                       const bool first, size_t b0, size_t b1, float (*out)[LANES])
{
    const int n_loads = type == K_Q8_0 ? 8 : 4;
    const int n_parts = type == K_Q8_0 ? 1 : 2; // a load holds so many groups of four elements
    V16 acc[FIXED_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        acc[r] = v_zero();
    }
    for (size_t b = b0; b < b1; b++) {
        const uint8_t *block = tile + b * cpu_block_bytes(type);
        prefetch_block(type, first, block);
        __m256i dot[FIXED_ROWS][2];
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            dot[r][0] = dot[r][1] = _mm256_setzero_si256();
        }
        for (int g = 0; g < n_loads; g++) {
            const uint8_t *p = block + (size_t)g * 64;
#pragma GCC unroll 16
            for (int half = 0; half < 2; half++) {
                __m256i packed = _mm256_loadu_si256((const void *)(p + half * 32));
                for (int part = 0; part < n_parts; part++) {
                    const int mask = type == K_Q8_0 ? 0x00ff00ff : 0x000f000f;
                    __m256i even = fixed_words(packed, part * 4, mask);
                    __m256i odd = fixed_words(packed, part * 4 + 8, mask);
#pragma GCC unroll 16
                    for (int r = 0; r < n_rows; r++) {
                        size_t i = (size_t)r * x.n_blocks + b;
                        const int32_t *pairs =
                            (const int32_t *)(const void *)(x.fixed + i * 64) + (g + part * 4) * 2;
                        __m256i sum =
                            _mm256_add_epi32(_mm256_madd_epi16(even, _mm256_set1_epi32(pairs[0])),
                                             _mm256_madd_epi16(odd, _mm256_set1_epi32(pairs[1])));
                        dot[r][half] = _mm256_add_epi32(dot[r][half], sum);
                    }
                }
            }
        }
        const uint16_t *at = block_scales(type, block);
        V16 d = v_load_f16(at);
        V16 min = type == K_Q4_1 ? v_load_f16(at + LANES) : v_zero();
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            size_t i = (size_t)r * x.n_blocks + b;
            __m256i offset = _mm256_set1_epi32(fixed_offset(type) * x.sum[i]);
            V16 f = {_mm256_cvtepi32_ps(_mm256_sub_epi32(dot[r][0], offset)),
                     _mm256_cvtepi32_ps(_mm256_sub_epi32(dot[r][1], offset))};
            acc[r] = v_fma(f, v_mul(d, v_set1(x.scale[i])), acc[r]);
            if (type == K_Q4_1) {
                acc[r] = v_fma(min, v_set1(x.scale_sum[i]), acc[r]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        v_store(out[r], acc[r]);
    }
}

#else // portable

#define FIXED_ROWS 4

/** Place of element k of a block in CPU_ACTS_WORDS: 0 2 1 3 within each four. */
INLINE int fixed_place(int k)
{
    return (k & ~3) | (k & 1) << 1 | (k >> 1 & 1);
}

/** dot[16] of one block with the activations of one row. */
INLINE void fixed_dot(const KType type, const uint8_t *block, const int16_t *x, int32_t dot[LANES])
{
    for (int lane = 0; lane < LANES; lane++) {
        int32_t sum = 0;
        for (int g = 0; g < (type == K_Q8_0 ? 8 : 4); g++) {
            for (int j = 0; j < 4; j++) {
                int byte = block[g * 64 + lane * 4 + j];
                if (type == K_Q8_0) {
                    sum += byte * x[fixed_place(g * 4 + j)];
                } else {
                    sum += (byte & 15) * x[fixed_place(g * 4 + j)];
                    sum += (byte >> 4) * x[fixed_place(16 + g * 4 + j)];
                }
            }
        }
        dot[lane] = sum;
    }
}

INLINE void fixed_part(const KType type, const int n_rows, const uint8_t *tile, FixedRows x,
                       const bool first, size_t b0, size_t b1, float (*out)[LANES])
{
    (void)first;
    for (int r = 0; r < n_rows; r++) {
        V16 acc = v_zero();
        for (size_t b = b0; b < b1; b++) {
            size_t i = (size_t)r * x.n_blocks + b;
            const uint8_t *block = tile + b * cpu_block_bytes(type);
            const uint16_t *at = block_scales(type, block);
            int32_t dot[LANES];
            fixed_dot(type, block, (const int16_t *)(const void *)(x.fixed + i * 64), dot);
            V16 f;
            for (int lane = 0; lane < LANES; lane++) {
                f.x[lane] = (float)(dot[lane] - fixed_offset(type) * x.sum[i]);
            }
            acc = v_fma(f, v_mul(v_load_f16(at), v_set1(x.scale[i])), acc);
            if (type == K_Q4_1) {
                acc = v_fma(v_load_f16(at + LANES), v_set1(x.scale_sum[i]), acc);
            }
        }
        v_store(out[r], acc);
    }
}

#endif

/** fixed_part for the type and number of rows at hand, each compiled for its constants. */
static void fixed_parts(const CpuProduct *piece, int n_rows, size_t tile, size_t row, size_t b0,
                        size_t b1, float (*out)[LANES])
{
    const KMatrix *m = piece->matrix;
    const uint8_t *at = m->tiles + tile * m->tile_bytes;
    FixedRows x = fixed_rows(piece->x, row);
    bool first = row == piece->row0;
#define CASE(type, n)                                                                              \
    case (int)(type)*8 + (n):                                                                      \
        fixed_part((type), (n), at, x, first, b0, b1, out);                                        \
        break
#define CASES(n)                                                                                   \
    CASE(K_Q4_0, n);                                                                               \
    CASE(K_Q4_1, n);                                                                               \
    CASE(K_Q8_0, n)
    switch ((int)m->type * 8 + n_rows) {
        CASES(1);
        CASES(2);
        CASES(3);
        CASES(4);
#if FIXED_ROWS > 4
        CASES(5);
        CASES(6);
#endif
    }
#undef CASES
#undef CASE
}
