// SPDX-License-Identifier: MIT
// Products of activations with weights. Outputs lie in the lanes and K runs in sequence, so the
// bits of an output do not depend on how many rows or tiles are computed together. 16-bit
// activations are multiplied exactly in int32 (at most 255 * 32512 * 32 < 2^31) and every block of
// 32 ends in one fixed sequence of float operations; f32 activations take one FMA for each k.
#pragma once

#include "kernels/cpu/path/fixed.h"
#include "kernels/cpu/path/vec.h"

#define PART_MAX 8 // rows x tiles of one inner call

/** Sixteen outputs for each of rows x tiles. */
typedef float Part[PART_MAX][LANES];

/** First block of segment i; the segments of a run that is not cut are one. */
INLINE size_t segment_start(size_t n_blocks, size_t i, int n_segments)
{
    return i * n_blocks / (size_t)n_segments;
}

// ---- f32 activations --------------------------------------------------------------------------

/** Block b of a tile as f32 [k][16]: in place for F32, else in buf. Exact but for Q4_1's one sum.
 */
INLINE const float *block_f32(const KMatrix *m, const uint8_t *tile, size_t b, size_t n_k,
                              float *buf)
{
    size_t k0 = b * CPU_BLOCK;
    const uint16_t *halves = (const uint16_t *)(const void *)(tile + k0 * LANES * 2);
    const uint8_t *block = tile + b * cpu_block_bytes(m->type);
    const uint16_t *scales = (const uint16_t *)(const void *)(block + cpu_quant_bytes(m->type));
    V16 d;
    switch (m->type) {
    case K_F32:
        return (const float *)(const void *)(tile + k0 * LANES * sizeof(float));
    case K_F16:
        for (size_t k = 0; k < n_k; k++) {
            v_store(buf + k * LANES, v_load_f16(halves + k * LANES));
        }
        return buf;
    case K_BF16:
        for (size_t k = 0; k < n_k; k++) {
            v_store(buf + k * LANES, v_load_bf16(halves + k * LANES));
        }
        return buf;
    case K_Q8_0:
        d = v_load_f16(scales);
        for (int k = 0; k < CPU_BLOCK; k++) {
            const uint8_t *p = block + (size_t)(k / 4) * 64;
            V16 q = v_sub(v_load_bits(p, k % 4 * 8, 255), v_set1(128.0f));
            v_store(buf + k * LANES, v_mul(d, q));
        }
        return buf;
    case K_Q4_0:
    case K_Q4_1: {
        bool has_min = m->type == K_Q4_1;
        d = v_load_f16(scales);
        V16 min = has_min ? v_load_f16(scales + LANES) : v_zero();
        for (int k = 0; k < CPU_BLOCK; k++) {
            const uint8_t *p = block + (size_t)(k % 16 / 4) * 64;
            V16 q = v_load_bits(p, k % 4 * 8 + k / 16 * 4, 15);
            V16 w = has_min ? v_fma(d, q, min) : v_mul(d, v_sub(q, v_set1(8.0f)));
            v_store(buf + k * LANES, w);
        }
        return buf;
    }
    }
    return NULL;
}

/** n_rows rows against n_tiles tiles over blocks b0 .. b1-1: out[tile*n_rows + row]. */
INLINE void f32_part(const CpuProduct *piece, const int n_tiles, const int n_rows, size_t tile,
                     size_t row, size_t b0, size_t b1, Part out)
{
    const KMatrix *m = piece->matrix;
    const float *x = piece->x->f32 + row * piece->x->stride;
    const size_t stride = piece->x->stride;
    float buf[4][CPU_BLOCK * LANES];
    V16 acc[PART_MAX];
#pragma GCC unroll 16
    for (int i = 0; i < n_tiles * n_rows; i++) {
        acc[i] = v_zero();
    }
    for (size_t b = b0; b < b1; b++) {
        size_t k0 = b * CPU_BLOCK, n_k = m->n_in - k0 < CPU_BLOCK ? m->n_in - k0 : CPU_BLOCK;
        const float *w[4];
        for (int t = 0; t < n_tiles; t++) {
            w[t] = block_f32(m, m->tiles + (tile + (size_t)t) * m->tile_bytes, b, n_k, buf[t]);
        }
        for (size_t k = 0; k < n_k; k++) {
#pragma GCC unroll 16
            for (int t = 0; t < n_tiles; t++) {
                V16 wk = v_load(w[t] + k * LANES);
#pragma GCC unroll 16
                for (int r = 0; r < n_rows; r++) {
                    V16 xk = v_set1(x[(size_t)r * stride + k0 + k]);
                    acc[t * n_rows + r] = v_fma(xk, wk, acc[t * n_rows + r]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < n_tiles * n_rows; i++) {
        v_store(out[i], acc[i]);
    }
}

/** Rows that f32_part takes together, and tiles when there is one row. */
#define F32_ROWS  (CPU_ISA == CPU_ISA_AVX512 ? 8 : 4)
#define F32_TILES 4

static void f32_parts(const CpuProduct *piece, int n_tiles, int n_rows, size_t tile, size_t row,
                      size_t b0, size_t b1, Part out)
{
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        f32_part(piece, 1, n, tile, row, b0, b1, out);                                             \
        break
    if (n_tiles == F32_TILES) {
        f32_part(piece, F32_TILES, 1, tile, row, b0, b1, out);
        return;
    }
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

// ---- Both -------------------------------------------------------------------------------------

static void any_parts(const CpuProduct *piece, bool f32, int n_tiles, int n_rows, size_t tile,
                      size_t row, size_t b0, size_t b1, Part out)
{
    if (f32) {
        f32_parts(piece, n_tiles, n_rows, tile, row, b0, b1, out);
    } else {
        fixed_parts(piece, n_rows, tile, row, b0, b1, out);
    }
}

/** The whole of K for some rows and tiles; the segments are summed as a fixed tree. */
static void run_parts(const CpuProduct *piece, bool f32, int n_tiles, int n_rows, size_t tile,
                      size_t row, Part out)
{
    size_t n_blocks = (piece->matrix->n_in + CPU_BLOCK - 1) / CPU_BLOCK;
    if (piece->n_segments == 1) {
        any_parts(piece, f32, n_tiles, n_rows, tile, row, 0, n_blocks, out);
        return;
    }
    Part parts[K_SEGMENTS];
    for (size_t s = 0; s < K_SEGMENTS; s++) {
        any_parts(piece, f32, n_tiles, n_rows, tile, row, segment_start(n_blocks, s, K_SEGMENTS),
                  segment_start(n_blocks, s + 1, K_SEGMENTS), parts[s]);
    }
    for (int i = 0; i < n_tiles * n_rows; i++) {
        V16 p[K_SEGMENTS];
#pragma GCC unroll 16
        for (int s = 0; s < K_SEGMENTS; s++) {
            p[s] = v_load(parts[s][i]);
        }
        V16 low = v_add(v_add(p[0], p[1]), v_add(p[2], p[3]));
        V16 high = v_add(v_add(p[4], p[5]), v_add(p[6], p[7]));
        v_store(out[i], v_add(low, high));
    }
}

static void path_product(const CpuProduct *piece)
{
    const KMatrix *m = piece->matrix;
    bool f32 = piece->f32 || m->type == K_F32 || m->type == K_F16 || m->type == K_BF16;
    size_t most_rows = f32 ? F32_ROWS : FIXED_ROWS;
    for (size_t tile = piece->tile0, n_tiles; tile < piece->tile1; tile += n_tiles) {
        bool wide = f32 && piece->row1 - piece->row0 == 1 && piece->tile1 - tile >= F32_TILES;
        n_tiles = wide ? F32_TILES : 1;
        for (size_t row = piece->row0, n_rows; row < piece->row1; row += n_rows) {
            n_rows = piece->row1 - row < most_rows ? piece->row1 - row : most_rows;
            Part part;
            run_parts(piece, f32, (int)n_tiles, (int)n_rows, tile, row, part);
            for (size_t i = 0; i < n_tiles * n_rows; i++) {
                size_t first = (tile + i / n_rows) * LANES;
                size_t n = m->n_out - first < LANES ? m->n_out - first : LANES;
                float *out = piece->out + (row + i % n_rows) * m->n_out + first;
                V16 y = v_load(part[i]);
                v_store_n(out, piece->add ? v_add(v_load_n(out, n), y) : y, n);
            }
        }
    }
}

static void path_embed(const KMatrix *table, size_t row, float *out)
{
    const uint8_t *tile = table->tiles + row / LANES * table->tile_bytes;
    float buf[CPU_BLOCK * LANES];
    for (size_t k0 = 0; k0 < table->n_in; k0 += CPU_BLOCK) {
        size_t n_k = table->n_in - k0 < CPU_BLOCK ? table->n_in - k0 : CPU_BLOCK;
        const float *w = block_f32(table, tile, k0 / CPU_BLOCK, n_k, buf);
        for (size_t k = 0; k < n_k; k++) {
            out[k0 + k] = w[k * LANES + row % LANES];
        }
    }
}
