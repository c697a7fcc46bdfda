// SPDX-License-Identifier: MIT
// The inner step of products on the tensor cores: one block of 32 elements of K of 16 outputs
// against 8 rows, or 4. Every kernel that multiplies goes through these steps in order of K, so the
// bits of an output do not depend on the kernel that was chosen nor on the rows beside it.
//   quantised weights  dot = sum(q*x) exact, from sums of the high and of the low bytes of x, then
//                      acc = fma((float)dot, d * scale, acc), for Q4_1 acc = fma(m, scale_sum,
//                      acc): the CPU backend's operations and bits
//   F16, BF16          acc += two mma of 16 elements each, accumulated in f32
#pragma once

#include "kernels/cuda/backend.cuh"

// The bits of 1.5 * 2^23. What integers sum up to from there is, as the bits of a float, that float
// plus their sum: a conversion for nothing, as long as sums stay below 2^22. A block's of bytes are
// 32 * 128 * 128 at most.
#define SUM_START 0x4b400000

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

/** The same of 4 rows as fixed point: columns 2n and 2n+1 of the mma are the high and the low bytes
 * of row n, so that one mma does what takes two, and every sum is one of a row. */
struct Rows4 {
    uint2 x;       // elements of row g / 2, high or low bytes
    float2 scales; // of row c
};

DEVICE inline void rows_load(const uint8_t *from, Rows8 &to)
{
    to.x = *(const uint4 *)from;
}
DEVICE inline void rows_load(const uint8_t *from, Rows4 &to)
{
    to.x = *(const uint2 *)from;
}
DEVICE inline void scales_load(const float *from, Rows8 &to)
{
    to.scales = *(const float4 *)from;
}
DEVICE inline void scales_load(const float *from, Rows4 &to)
{
    to.scales = *(const float2 *)from;
}

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

/** Sums of bytes, all elements of a block; they begin at SUM_START. */
template <int TYPE>
DEVICE inline void quants_sums(const Weights<TYPE> &w, uint32_t x, uint32_t y, int *sums)
{
    const uint32_t b[2] = {x, y};
    UNROLL for (int i = 0; i < 4; i++)
    {
        sums[i] = SUM_START;
    }
    mma_m16n8k32_s8(sums, w.words, b);
}

/** (float)dot of the sums over high and low bytes; those of Q4_0 are 16-fold. The first step is
 * exact, as 256 * high less what the other one begins with is a multiple of 256 below 2^32; the
 * second rounds as a conversion of dot does. */
template <int TYPE> DEVICE inline float quants_dot(int high, int low)
{
    constexpr float LOW = TYPE == K_Q4_0 ? 1 / 16.0f : 1.0f, HIGH = 256 * LOW;
    const float start = bits_to_float(SUM_START) * (HIGH + LOW);
    return fmaf(bits_to_float((uint32_t)low), LOW,
                fmaf(bits_to_float((uint32_t)high), HIGH, -start));
}

/** acc += one block of output o of the lane's two. */
template <int TYPE>
DEVICE inline void quants_add(const Weights<TYPE> &w, int o, float dot, float scale,
                              float scale_sum, float &acc)
{
    acc = fmaf(dot, w.d[o] * scale, acc);
    if (TYPE == K_Q4_1) {
        acc = fmaf(w.m[o], scale_sum, acc);
    }
}

/** half_step of quantised weights, all elements of a block. */
template <int TYPE>
DEVICE inline void quants_step(const Weights<TYPE> &w, const Rows8 &rows, float *acc)
{
    int high[4], low[4];
    quants_sums<TYPE>(w, rows.x.x, rows.x.y, high);
    quants_sums<TYPE>(w, rows.x.z, rows.x.w, low);
    for (int i = 0; i < 4; i++) {
        quants_add<TYPE>(w, i / 2, quants_dot<TYPE>(high[i], low[i]),
                         i % 2 == 0 ? rows.scales.x : rows.scales.z,
                         i % 2 == 0 ? rows.scales.y : rows.scales.w, acc[i]);
    }
}

/** acc[2]: outputs g and g+8 of row c. */
template <int TYPE>
DEVICE inline void quants_step(const Weights<TYPE> &w, const Rows4 &rows, float *acc)
{
    int sums[4];
    quants_sums<TYPE>(w, rows.x.x, rows.x.y, sums);
    for (int o = 0; o < 2; o++) {
        quants_add<TYPE>(w, o, quants_dot<TYPE>(sums[2 * o], sums[2 * o + 1]), rows.scales.x,
                         rows.scales.y, acc[o]);
    }
}

/** One block of K of a tile. */
template <int TYPE, class ROWS>
DEVICE inline void product_step(const Weights<TYPE> &w, const ROWS &rows, float *acc)
{
    if constexpr (is_half(TYPE)) {
        half_step<TYPE>(w, rows, 0, acc);
        half_step<TYPE>(w, rows, 1, acc);
    } else {
        quants_step<TYPE>(w, rows, acc);
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
