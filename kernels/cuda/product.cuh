// SPDX-License-Identifier: MIT
// The inner step of products on the tensor cores: one block of 32 elements of K of 16 outputs
// against 8 rows. Every kernel that multiplies goes through products_step in order of K, so the
// bits of an output do not depend on the kernel that was chosen nor on the rows beside it.
//   quantised weights  dot = sum(q*x) exact in int32, from the high and the low bytes of x, then
//                      acc = fma((float)dot, d * scale, acc), for Q4_1 acc = fma(m, scale_sum,
//                      acc): the CPU backend's operations and bits
//   F16, BF16          acc += two mma of 16 elements each, accumulated in f32
#pragma once

#include "kernels/cuda/backend.cuh"

HOST_DEVICE constexpr bool is_half(int type)
{
    return type == K_F16 || type == K_BF16;
}

/** What a lane holds of one record, as it lies. */
template <int TYPE> struct RawWeights {
    uint32_t quants[is_half(TYPE) ? 8 : TYPE == K_Q8_0 ? 4 : 2];
    uint32_t scales[TYPE == K_Q4_1 ? 2 : 1];
};

/** The same as operands: outputs g and g+8 in words 0, 2 and 1, 3 (and 4-7 for halves). */
template <int TYPE> struct Weights {
    uint32_t words[is_half(TYPE) ? 8 : 4];
    float d[2];
    float m[2];
};

/** What a lane holds of one block of 8 rows: elements of row g, scales of rows 2c and 2c+1. */
struct Rows8 {
    uint4 x;
    float4 scales; // scale and scale_sum of row 2c, then of row 2c+1
};

/** A piece of a record from global memory, where no one else reads it, or from shared memory. */
template <bool GLOBAL, typename T> DEVICE inline T load_piece(const uint8_t *from)
{
    return GLOBAL ? load_stream((const T *)from) : *(const T *)from;
}

/** From a record; PLAIN: from a block of F16 or BF16 in the first row of a tile, whose rows are
 * row_bytes apart. */
template <int TYPE, bool GLOBAL, bool PLAIN>
DEVICE inline void weights_load(const uint8_t *record, size_t row_bytes, uint32_t lane,
                                RawWeights<TYPE> &out)
{
    if (is_half(TYPE)) {
        const uint8_t *piece = record + (PLAIN ? lane / 4 * row_bytes + lane % 4 * 16 : lane * 16);
        uint4 a = load_piece<GLOBAL, uint4>(piece);
        uint4 b = load_piece<GLOBAL, uint4>(piece + (PLAIN ? 8 * row_bytes : 512));
        uint32_t in_order[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        uint32_t of_rows[8] = {a.x, b.x, a.y, b.y, a.z, b.z, a.w, b.w};
        UNROLL for (int i = 0; i < (is_half(TYPE) ? 8 : 0); i++)
        {
            out.quants[i] = PLAIN ? of_rows[i] : in_order[i];
        }
        return;
    }
    if (TYPE == K_Q8_0) {
        uint4 q = load_piece<GLOBAL, uint4>(record + lane * 16);
        uint32_t words[4] = {q.x, q.y, q.z, q.w};
        for (int i = 0; i < (TYPE == K_Q8_0 ? 4 : 0); i++) {
            out.quants[i] = words[i];
        }
    } else {
        uint2 q = load_piece<GLOBAL, uint2>(record + lane * 8);
        out.quants[0] = q.x;
        out.quants[1] = q.y;
    }
    const uint8_t *scales = record + record_quants(TYPE);
    if (TYPE == K_Q4_1) {
        uint2 s = *(const uint2 *)(scales + lane / 4 * 8);
        out.scales[0] = s.x;
        out.scales[TYPE == K_Q4_1 ? 1 : 0] = s.y;
    } else {
        out.scales[0] = *(const uint32_t *)(scales + lane / 4 * 4);
    }
}

template <int TYPE>
DEVICE inline void weights_unpack(const RawWeights<TYPE> &raw, Weights<TYPE> &out)
{
    if (is_half(TYPE)) {
        UNROLL for (int i = 0; i < (is_half(TYPE) ? 8 : 0); i++)
        {
            out.words[i] = raw.quants[i];
        }
        return;
    }
    if (TYPE == K_Q8_0) {
        for (int i = 0; i < 2; i++) {
            out.words[i] = raw.quants[i];
            out.words[2 + i] = raw.quants[TYPE == K_Q8_0 ? 2 + i : 0];
        }
    } else {
        for (int i = 0; i < 2; i++) {
            // Q4_0: a signed nibble in the high half of a byte is 16 times its value.
            uint32_t w = raw.quants[i];
            out.words[i] = TYPE == K_Q4_0 ? w << 4 & 0xf0f0f0f0u : w & 0x0f0f0f0fu;
            out.words[2 + i] = TYPE == K_Q4_0 ? w & 0xf0f0f0f0u : w >> 4 & 0x0f0f0f0fu;
        }
    }
    for (int i = 0; i < 2; i++) {
        out.d[i] = f16_to_float((uint16_t)(raw.scales[0] >> 16 * i));
        out.m[i] = f16_to_float((uint16_t)(raw.scales[TYPE == K_Q4_1 ? 1 : 0] >> 16 * i));
    }
}

/** acc[4] += weights * rows, elements 4m .. 4m+3 of each lane's: outputs g (0, 1) and g+8 (2, 3),
 * rows 2c (0, 2) and 2c+1 (1, 3). */
template <int TYPE>
DEVICE inline void half_step(const Weights<TYPE> &w, const Rows8 &rows, int m, float *acc)
{
    const uint32_t b[2] = {m == 0 ? rows.x.x : rows.x.z, m == 0 ? rows.x.y : rows.x.w};
    const uint32_t *a = w.words + (is_half(TYPE) ? 4 * m : 0);
    if (TYPE == K_F16) {
        mma_m16n8k16_f16(acc, a, b);
    } else {
        mma_m16n8k16_bf16(acc, a, b);
    }
}

/** The same of quantised weights, all elements of a block. */
template <int TYPE>
DEVICE inline void quants_step(const Weights<TYPE> &w, const Rows8 &rows, float *acc)
{
    const uint32_t high[2] = {rows.x.x, rows.x.y}, low[2] = {rows.x.z, rows.x.w};
    int dot[4] = {0, 0, 0, 0};
    mma_m16n8k32_s8(dot, w.words, high);
    for (int i = 0; i < 4; i++) {
        dot[i] *= 256;
    }
    mma_m16n8k32_s8(dot, w.words, low);
    for (int i = 0; i < 4; i++) {
        int o = i / 2;
        float scale = i % 2 == 0 ? rows.scales.x : rows.scales.z;
        float scale_sum = i % 2 == 0 ? rows.scales.y : rows.scales.w;
        acc[i] = fmaf((float)(TYPE == K_Q4_0 ? dot[i] >> 4 : dot[i]), w.d[o] * scale, acc[i]);
        if (TYPE == K_Q4_1) {
            acc[i] = fmaf(w.m[o], scale_sum, acc[i]);
        }
    }
}

/** One block of K of N tiles by 8 rows; the sums of tile t are acc[t * stride]. */
template <int TYPE, int N>
DEVICE inline void products_step(const Weights<TYPE> *w, const Rows8 &rows, float (*acc)[4],
                                 int stride)
{
    UNROLL for (int m = 0; m < (is_half(TYPE) ? 2 : 1); m++)
    {
        UNROLL for (int t = 0; t < N; t++) // neighbours do not wait for each other's sums
        {
            if (is_half(TYPE)) {
                half_step<TYPE>(w[t], rows, m, acc[t * stride]);
            } else {
                quants_step<TYPE>(w[t], rows, acc[t * stride]);
            }
        }
    }
}

/** Blocks of segment i. */
DEVICE inline uint32_t segment_start(uint32_t n_blocks, uint32_t i)
{
    return (uint32_t)((uint64_t)i * n_blocks / K_SEGMENTS);
}

/** The fixed tree over N parts: the segments, or the sums of two neighbours. */
template <int N> DEVICE inline float parts_tree(const float *s)
{
    float sums[N];
    UNROLL for (int i = 0; i < N; i++)
    {
        sums[i] = s[i];
    }
    UNROLL for (int n = N / 2; n >= 1; n /= 2)
    {
        UNROLL for (int i = 0; i < n; i++)
        {
            sums[i] = sums[2 * i] + sums[2 * i + 1];
        }
    }
    return sums[0];
}

/** Which product of a launch a cut of the grid belongs to. */
DEVICE inline int product_of_cut(const ProductsView &view, uint32_t cut)
{
    int p = 0;
    while (p + 1 < view.n_products && cut >= view.products[p + 1].first_cut) {
        p++;
    }
    return p;
}

DEVICE inline void product_store(const ProductView &product, uint32_t n_rows, uint32_t row,
                                 uint32_t output, float value)
{
    if (row < n_rows && output < product.n_out) {
        float *to = product.out + (size_t)row * product.n_out + output;
        *to = product.add ? *to + value : value;
    }
}
