// SPDX-License-Identifier: MIT
// Products of activations with weights. Outputs lie in the lanes and K runs in sequence, so the
// bits of an output do not depend on how many rows or tiles are computed together. 16-bit
// activations are multiplied exactly in int32 (at most 128 * 32512 * 32 < 2^31) and every block of
// 32 ends in one fixed sequence of float operations; f32 activations take one FMA for each k. F16
// and BF16 weights are words unless the device computes in f32 (pack.c).
//
// A tile of 16 outputs goes through K in groups of blocks: a group's weights are unpacked once into
// the first-level cache and meet all rows of the piece; the rows' sums wait in memory in between.
#pragma once

#include "kernels/cpu/path/fixed.h"
#include "kernels/cpu/path/rows.h"
#include "kernels/cpu/path/vec.h"

// Blocks of K in a group: with their activations they fit in 32 KiB.
#define GROUP_F32   8
#define GROUP_FIXED 20

/** First block of segment i; the segments of a run that is not cut are one. */
INLINE size_t segment_start(size_t n_blocks, size_t i, size_t n_segments)
{
    return i * n_blocks / n_segments;
}

// ---- f32 activations --------------------------------------------------------------------------

/** Block b of a tile as f32 [k][16]: in place for F32, else in buf. Exact but for Q4_1's one sum.
 */
INLINE const float *block_f32(const KMatrix *m, const uint8_t *tile, size_t b, size_t n_k,
                              float *buf)
{
    size_t k0 = b * CPU_BLOCK;
    const uint16_t *halves = (const uint16_t *)(const void *)(tile + k0 * LANES * 2);
    const uint8_t *block = tile + b * cpu_block_bytes(m->form);
    const uint16_t *scales = (const uint16_t *)(const void *)(block + cpu_quant_bytes(m->form));
    V16 d;
    switch (m->form) {
    case CPU_F32:
        return (const float *)(const void *)(tile + k0 * LANES * sizeof(float));
    case CPU_F16:
        for (size_t k = 0; k < n_k; k++) {
            v_store(buf + k * LANES, v_load_f16(halves + k * LANES));
        }
        return buf;
    case CPU_BF16:
        for (size_t k = 0; k < n_k; k++) {
            v_store(buf + k * LANES, v_load_bf16(halves + k * LANES));
        }
        return buf;
    case CPU_Q8_0:
        d = v_load_f16(scales);
        for (int k = 0; k < CPU_BLOCK; k++) {
            const uint8_t *p = block + (size_t)(k / 4) * 64;
            V16 q = v_sub(v_load_bits(p, cpu_quant_byte(k) * 8, 255), v_set1(128.0f));
            v_store(buf + k * LANES, v_mul(d, q));
        }
        return buf;
    case CPU_Q4_0:
    case CPU_Q4_1: {
        bool has_min = m->form == CPU_Q4_1;
        d = v_load_f16(scales);
        V16 min = has_min ? v_load_f16(scales + LANES) : v_zero();
        for (int k = 0; k < CPU_BLOCK; k++) {
            const uint8_t *p = block + (size_t)(k % 16 / 4) * 64;
            V16 q = v_load_bits(p, cpu_quant_byte(k) * 8 + k / 16 * 4, 15);
            V16 w = has_min ? v_fma(d, q, min) : v_mul(d, v_sub(q, v_set1(8.0f)));
            v_store(buf + k * LANES, w);
        }
        return buf;
    }
    case CPU_W16: // has no f32 activations to meet
        break;
    }
    return NULL;
}

#define F32_ROWS  (CPU_ISA == CPU_ISA_AVX512 ? 8 : 4)
#define F32_TILES 4 // taken together when there is one row, whose sums alone would wait for another

/** sums[tile*n_rows + row] += n_k elements of K: weights w[tile] [k][16], x as cpu_acts_f32 has it.
 */
INLINE void f32_part(const int n_tiles, const int n_rows, const float *const *w, const float *x,
                     bool fresh, size_t n_k, float (*sums)[LANES])
{
    V16 acc[F32_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < n_tiles * n_rows; i++) {
        acc[i] = fresh ? v_zero() : v_load(sums[i]);
    }
    for (size_t from = 0; from < n_k; from += CPU_TILE, x += CPU_ROWS * CPU_TILE) {
        size_t n = n_k - from < CPU_TILE ? n_k - from : CPU_TILE;
#pragma GCC unroll 4
        for (size_t k = 0; k < n; k++) {
#pragma GCC unroll 16
            for (int t = 0; t < n_tiles; t++) {
                V16 wk = v_load(w[t] + (from + k) * LANES);
#pragma GCC unroll 16
                for (int r = 0; r < n_rows; r++) {
                    V16 xk = v_set1(x[(size_t)r * CPU_TILE + k]);
                    acc[t * n_rows + r] = v_fma(xk, wk, acc[t * n_rows + r]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < n_tiles * n_rows; i++) {
        v_store(sums[i], acc[i]);
    }
}

static void f32_rows(int n_rows, const float *w, const float *x, bool fresh, size_t n_k,
                     float (*sums)[LANES])
{
    switch (n_rows) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        f32_part(1, n, &w, x, fresh, n_k, sums);                                                   \
        break
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
#undef CASE
    }
}

/** Blocks b0 .. b1-1 of one tile, as f32, are contiguous in buf, or in place. */
INLINE const float *group_f32(const KMatrix *m, const uint8_t *tile, size_t b0, size_t n_k,
                              float *buf)
{
    const float *w = NULL;
    for (size_t k = 0; k < n_k; k += CPU_BLOCK) {
        size_t n = n_k - k < CPU_BLOCK ? n_k - k : CPU_BLOCK;
        const float *block = block_f32(m, tile, b0 + k / CPU_BLOCK, n, buf + k * LANES);
        w = k == 0 ? block : w;
    }
    return w;
}

/** As fixed_groups. */
static void f32_groups(const CpuProduct *piece, const uint8_t *tile, bool fresh, size_t b0,
                       size_t b1, float *buf, float (*sums)[LANES])
{
    const KMatrix *m = piece->matrix;
    size_t k0 = b0 * CPU_BLOCK, k1 = b1 * CPU_BLOCK < m->n_in ? b1 * CPU_BLOCK : m->n_in;
    size_t n_rows = piece->row1 - piece->row0;
    const float *w = group_f32(m, tile, b0, k1 - k0, buf);
    for (size_t r = 0, n; r < n_rows; r += n) {
        n = n_rows - r < F32_ROWS ? n_rows - r : F32_ROWS;
        const float *x = cpu_acts_f32(piece->x, piece->row0 + r, k0);
        f32_rows((int)n, w, x, fresh, k1 - k0, sums + r);
    }
}

/** The same for one row and F32_TILES tiles of matrices of one shape and type: sums[i] of tiles[i].
 */
static void f32_wide(const CpuProduct *piece, const uint8_t *const *tiles, size_t b0, size_t b1,
                     float *buf, float (*sums)[LANES])
{
    const KMatrix *m = piece->matrix;
    if (b0 == b1) {
        memset(sums, 0, F32_TILES * sizeof(*sums));
    }
    for (size_t b = b0; b < b1; b++) {
        size_t k = b * CPU_BLOCK, n_k = m->n_in - k < CPU_BLOCK ? m->n_in - k : CPU_BLOCK;
        const float *w[F32_TILES];
        for (size_t t = 0; t < F32_TILES; t++) {
            w[t] = block_f32(m, tiles[t], b, n_k, buf + t * CPU_BLOCK * LANES);
        }
        const float *x = cpu_acts_f32(piece->x, piece->row0, k);
        f32_part(F32_TILES, 1, w, x, b == b0, n_k, sums);
    }
}

// ---- Both -------------------------------------------------------------------------------------

typedef float Sums[CPU_PANEL_ROWS][LANES]; // of one tile, or of one row and several tiles

/** One piece's memory. */
typedef struct Workspace {
    _Alignas(CPU_ALIGN) float weights[GROUP_FIXED * WORDS_BYTES / sizeof(float)]; // unpacked
    _Alignas(CPU_ALIGN) Sums sums[K_SEGMENTS];
} Workspace;

static bool wants_f32(const CpuProduct *piece)
{
    return piece->f32 || cpu_form_f32(piece->matrix->form);
}

static size_t k_blocks(const KMatrix *m)
{
    return (m->n_in + CPU_BLOCK - 1) / CPU_BLOCK;
}

/** sums[segment][row] of one tile for all rows of the piece. */
static void run_tile(const CpuProduct *piece, size_t tile, Workspace *space, Sums *sums)
{
    const KMatrix *m = piece->matrix;
    const uint8_t *at = m->tiles + tile * m->tile_bytes;
    bool f32 = wants_f32(piece);
    size_t n_blocks = k_blocks(m), n_segments = (size_t)piece->n_segments;
    for (size_t s = 0; s < n_segments; s++) {
        size_t from = segment_start(n_blocks, s, n_segments);
        size_t to = segment_start(n_blocks, s + 1, n_segments);
        if (from == to) {
            memset(sums[s], 0, sizeof(sums[s]));
        }
        size_t most = f32 ? GROUP_F32 : GROUP_FIXED, n_groups = (to - from + most - 1) / most;
        for (size_t g = 0; g < n_groups; g++) { // of nearly the same size
            size_t b0 = from + (to - from) * g / n_groups;
            size_t b1 = from + (to - from) * (g + 1) / n_groups;
            if (f32) {
                f32_groups(piece, at, b0 == from, b0, b1, space->weights, sums[s]);
            } else {
                fixed_groups(piece, at, b0 == from, b0, b1, (uint8_t *)space->weights, sums[s]);
            }
        }
    }
}

/** sums[segment][i] of F32_TILES tiles from `tile` on for one row. */
static void run_wide(const CpuProduct *piece, size_t tile, Workspace *space)
{
    const KMatrix *m = piece->matrix;
    const uint8_t *tiles[F32_TILES];
    for (size_t t = 0; t < F32_TILES; t++) {
        tiles[t] = m->tiles + (tile + t) * m->tile_bytes;
    }
    size_t n_segments = (size_t)piece->n_segments;
    for (size_t s = 0; s < n_segments; s++) {
        f32_wide(piece, tiles, segment_start(k_blocks(m), s, n_segments),
                 segment_start(k_blocks(m), s + 1, n_segments), space->weights, space->sums[s]);
    }
}

/** A sum of the whole of K: the segments as a fixed tree. */
INLINE V16 sum_segments(const Workspace *space, int n_segments, size_t i)
{
    if (n_segments == 1) {
        return v_load(space->sums[0][i]);
    }
    V16 p[K_SEGMENTS];
#pragma GCC unroll 16
    for (int s = 0; s < K_SEGMENTS; s++) {
        p[s] = v_load(space->sums[s][i]);
    }
    return v_add(v_add(v_add(p[0], p[1]), v_add(p[2], p[3])),
                 v_add(v_add(p[4], p[5]), v_add(p[6], p[7])));
}

/** Write the sums from `first` on, one a row, to the outputs of one tile. */
static void write_tile(const CpuProduct *piece, size_t tile, const Workspace *space, size_t first)
{
    size_t n_out = piece->matrix->n_out, n_rows = piece->row1 - piece->row0;
    size_t n = n_out - tile * LANES < LANES ? n_out - tile * LANES : LANES;
    float *out = piece->out + piece->row0 * n_out + tile * LANES;
    for (size_t r = 0; r < n_rows; r++, out += n_out) {
        V16 y = sum_segments(space, piece->n_segments, first + r);
        v_store_n(out, piece->add ? v_add(v_load_n(out, n), y) : y, n);
    }
}

static void path_product(const CpuProduct *piece)
{
    bool one_f32_row = wants_f32(piece) && piece->row1 - piece->row0 == 1;
    Workspace space;
    for (size_t tile = piece->tile0; tile < piece->tile1;) {
        if (one_f32_row && piece->tile1 - tile >= F32_TILES) {
            run_wide(piece, tile, &space);
            for (size_t t = 0; t < F32_TILES; t++) {
                write_tile(piece, tile++, &space, t);
            }
        } else {
            run_tile(piece, tile, &space, space.sums);
            write_tile(piece, tile++, &space, 0);
        }
    }
}

// ---- Gated ------------------------------------------------------------------------------------

/** sums[0] and sums[1] of two tiles of the gate, sums[2] and sums[3] of the same tiles of up. */
static void run_gated_tiles(const CpuProduct *gate, const CpuProduct *up, size_t tile,
                            size_t n_tiles, Workspace *space)
{
    bool wide = n_tiles == 2 && gate->row1 - gate->row0 == 1 && wants_f32(gate) && wants_f32(up) &&
                gate->matrix->form == up->matrix->form;
    if (wide) {
        const uint8_t *tiles[F32_TILES];
        for (size_t t = 0; t < F32_TILES; t++) {
            const KMatrix *m = t < 2 ? gate->matrix : up->matrix;
            tiles[t] = m->tiles + (tile + t % 2) * m->tile_bytes;
        }
        f32_wide(gate, tiles, 0, k_blocks(gate->matrix), space->weights, space->sums[0]);
        for (size_t t = 1; t < F32_TILES; t++) {
            memcpy(space->sums[t][0], space->sums[0][t], sizeof(space->sums[t][0]));
        }
        return;
    }
    for (size_t t = 0; t < n_tiles; t++) {
        run_tile(gate, tile + t, space, &space->sums[t]);
        run_tile(up, tile + t, space, &space->sums[2 + t]);
    }
}

static void path_gated(const CpuProduct *gate, const CpuProduct *up, KActs *acts)
{
    Workspace space;
    for (size_t tile = gate->tile0; tile < gate->tile1; tile += 2) {
        size_t n_tiles = gate->tile1 - tile < 2 ? 1 : 2;
        run_gated_tiles(gate, up, tile, n_tiles, &space);
        for (size_t row = gate->row0; row < gate->row1; row++) {
            size_t r = row - gate->row0;
            V16 y[2] = {v_zero(), v_zero()};
            for (size_t t = 0; t < n_tiles; t++) {
                y[t] = v_swiglu(v_load(space.sums[t][r]), v_load(space.sums[2 + t][r]));
                size_t first = (tile + t) * LANES, n = acts->width - first;
                if (acts->f32 != NULL) {
                    v_store_n(cpu_acts_f32(acts, row, first), y[t], n);
                }
            }
            if (acts->fixed != NULL) {
                quantise_block(acts, cpu_acts_at(acts, row) + tile / 2 * CPU_ROWS, y[0], y[1]);
            }
        }
    }
}

/** The same of words; exact. */
static void embed_words(const KMatrix *table, const uint8_t *tile, size_t lane, float *out)
{
    for (size_t k = 0; k < table->n_in; k++) {
        const uint8_t *block = tile + k / CPU_BLOCK * cpu_block_bytes(CPU_W16);
        const int16_t *words = (const int16_t *)(const void *)block;
        uint32_t d = (uint32_t)block_scales(CPU_W16, block)[lane] << 16;
        float scale;
        memcpy(&scale, &d, sizeof(scale));
        out[k] = (float)words[(k % CPU_BLOCK / 2 * LANES + lane) * 2 + k % 2] * scale;
    }
}

static void path_embed(const KMatrix *table, size_t row, float *out)
{
    const uint8_t *tile = table->tiles + row / LANES * table->tile_bytes;
    if (table->form == CPU_W16) {
        embed_words(table, tile, row % LANES, out);
        return;
    }
    float buf[CPU_BLOCK * LANES];
    for (size_t k0 = 0; k0 < table->n_in; k0 += CPU_BLOCK) {
        size_t n_k = table->n_in - k0 < CPU_BLOCK ? table->n_in - k0 : CPU_BLOCK;
        const float *w = block_f32(table, tile, k0 / CPU_BLOCK, n_k, buf);
        for (size_t k = 0; k < n_k; k++) {
            out[k0 + k] = w[k * LANES + row % LANES];
        }
    }
}
