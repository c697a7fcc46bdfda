// SPDX-License-Identifier: MIT
// The inner step of products on the tensor cores: one block of 32 elements of K of 16 outputs
// against 8 rows. Every kernel that multiplies goes through product_step in order of K, so the bits
// of an output do not depend on the kernel that was chosen nor on the rows beside it.
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

/** row_bytes: 0 for a record; of F16 and BF16 that lie plain, the bytes of a row, and record is the
 * block in the first row of a tile. */
template <int TYPE, bool GLOBAL>
DEVICE inline void weights_load(const uint8_t *record, uint32_t lane, RawWeights<TYPE> &out,
                                size_t row_bytes = 0)
{
    if (is_half(TYPE)) {
        const uint8_t *piece =
            record + (row_bytes == 0 ? lane * 16 : lane / 4 * row_bytes + lane % 4 * 16);
        uint4 low = load_piece<GLOBAL, uint4>(piece);
        uint4 high = load_piece<GLOBAL, uint4>(piece + (row_bytes == 0 ? 512 : 8 * row_bytes));
        uint32_t words[8] = {low.x, high.x, low.y, high.y, low.z, high.z, low.w, high.w};
        UNROLL for (int i = 0; i < (is_half(TYPE) ? 8 : 0); i++)
        {
            out.quants[i] = words[i];
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
            out.words[i] = raw.quants[TYPE == K_Q8_0 ? 2 * i : 0];
            out.words[2 + i] = raw.quants[TYPE == K_Q8_0 ? 2 * i + 1 : 0];
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

/** acc[4] += weights * rows: outputs g (0, 1) and g+8 (2, 3), rows 2c (0, 2) and 2c+1 (1, 3). */
template <int TYPE>
DEVICE inline void product_step(const Weights<TYPE> &w, const Rows8 &rows, float *acc)
{
    if (is_half(TYPE)) {
        const uint32_t b0[2] = {rows.x.x, rows.x.y}, b1[2] = {rows.x.z, rows.x.w};
        if (TYPE == K_F16) {
            mma_m16n8k16_f16(acc, w.words, b0);
            mma_m16n8k16_f16(acc, w.words + (is_half(TYPE) ? 4 : 0), b1);
        } else {
            mma_m16n8k16_bf16(acc, w.words, b0);
            mma_m16n8k16_bf16(acc, w.words + (is_half(TYPE) ? 4 : 0), b1);
        }
        return;
    }
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

/** Blocks of segment i. */
DEVICE inline uint32_t segment_start(uint32_t n_blocks, uint32_t i)
{
    return (uint32_t)((uint64_t)i * n_blocks / K_SEGMENTS);
}

/** The fixed tree over the segments. */
DEVICE inline float segment_tree(const float *s)
{
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
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
