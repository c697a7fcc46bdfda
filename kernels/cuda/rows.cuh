// SPDX-License-Identifier: MIT
// What kernels that make rows share: our exp, sums of a block of threads in one tree, and writing
// eight elements of a row in every form that its readers take. Multiplications and additions that
// must not become one FMA rely on -fmad=false (nvcc) and -ffp-contract=off.
#pragma once

#include "kernels/cuda/backend.cuh"

#define EXP_MAGIC 12582912.0f // 1.5 * 2^23: adding it rounds to an integer

/** exp(x), clamped to [-87, 88]: the operations of the CPU backend, in their order. exp(0) is 1. */
DEVICE inline float exp_of(float x)
{
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    float t = fmaf(x, 0x1.715476p+0f, EXP_MAGIC);
    float n = t - EXP_MAGIC;
    float r = fmaf(n, -0x1.62e4p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 1.0f / 5040;
    p = fmaf(p, r, 1.0f / 720);
    p = fmaf(p, r, 1.0f / 120);
    p = fmaf(p, r, 1.0f / 24);
    p = fmaf(p, r, 1.0f / 6);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return bits_to_float(float_to_bits(p) + (float_to_bits(t) << 23));
}

/** Sum over the lanes of a warp, the same in all of them. */
DEVICE inline float warp_sum(float x)
{
    for (int mask = 16; mask >= 1; mask >>= 1) {
        x += shfl_xor(x, mask);
    }
    return x;
}

DEVICE inline float warp_max(float x)
{
    for (int mask = 16; mask >= 1; mask >>= 1) {
        float y = shfl_xor(x, mask);
        x = y > x ? y : x;
    }
    return x;
}

/** Elements first .. first+7 of a row of n, zeros past its end; first is a multiple of 8. Rows
 * whose length four divides lie at multiples of 16 bytes. */
DEVICE inline void group_load(const float *row, uint32_t first, uint32_t n, float *out)
{
    if (n % 4 == 0 && first + GROUP <= n) {
        float4 a = *(const float4 *)(row + first), b = *(const float4 *)(row + first + 4);
        const float eight[GROUP] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        UNROLL for (int i = 0; i < GROUP; i++)
        {
            out[i] = eight[i];
        }
        return;
    }
    UNROLL for (int i = 0; i < GROUP; i++)
    {
        out[i] = first + (uint32_t)i < n ? row[first + (uint32_t)i] : 0.0f;
    }
}

/** Integer of |x| < 2^22, rounded to even. */
DEVICE inline int round_int(float x)
{
    return (int)(x + EXP_MAGIC - EXP_MAGIC);
}

DEVICE inline uint32_t pack_bytes(int a, int b, int c, int d)
{
    return ((uint32_t)a & 255u) | ((uint32_t)b & 255u) << 8 | ((uint32_t)c & 255u) << 16 |
           (uint32_t)d << 24;
}

/** 16-bit fixed point: four neighbouring lanes hold a block. */
DEVICE inline void emit_fixed(const ActsView &acts, size_t row, uint32_t group, const float *y)
{
    uint32_t most = 0;
    for (int i = 0; i < GROUP; i++) {
        uint32_t bits = float_to_bits(y[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    for (int mask = 1; mask <= 2; mask <<= 1) {
        uint32_t other = shfl_xor(most, mask);
        most = other > most ? other : most;
    }
    float max = bits_to_float(most);
    bool sound = max >= FIXED_TINY && max <= 3e38f;
    float inverse = sound ? FIXED_MAX / max : 0.0f;
    int q[GROUP], total = 0, high[GROUP];
    for (int i = 0; i < GROUP; i++) {
        q[i] = sound ? round_int(y[i] * inverse) : 0;
        total += q[i];
        high[i] = (q[i] + 128) >> 8;
    }
    for (int mask = 1; mask <= 2; mask <<= 1) {
        total += shfl_xor(total, mask);
    }
    uint32_t block = group / 4;
    if (block >= acts.n_blocks) {
        return;
    }
    uint4 bytes =
        make_uint4(pack_bytes(high[0], high[1], high[2], high[3]),
                   pack_bytes(high[4], high[5], high[6], high[7]),
                   pack_bytes(q[0], q[1], q[2], q[3]), pack_bytes(q[4], q[5], q[6], q[7]));
    *(uint4 *)(acts.fixed + (row * acts.n_blocks * 4 + group) * 16) = bytes;
    if (group % 4 == 0) {
        // Not a number or infinite: the scale says so, and every output becomes NaN.
        float scale = sound              ? max / FIXED_MAX
                      : max < FIXED_TINY ? 0.0f
                                         : bits_to_float(0x7fc00000u);
        float *to = acts.scales + ((size_t)block * acts.max_rows + row) * 2;
        *(float2 *)to = make_float2(scale, sound ? scale * (float)total : scale);
    }
}

/**
 * Write elements 8*group .. 8*group+7 of a row in the forms that acts has.
 * shapes  y (8), zero past the row's width. All lanes of a warp call this together, lane l with
 * a group whose remainder by 4 is l's; groups past the row write nothing. */
DEVICE inline void acts_emit(const ActsView &acts, size_t row, uint32_t group, const float *y)
{
    size_t at = (row * acts.n_blocks * 4 + group) * GROUP;
    bool inside = group < acts.n_blocks * 4;
    if (acts.f32 != NULL && inside) {
        *(float4 *)(acts.f32 + at) = make_float4(y[0], y[1], y[2], y[3]);
        *(float4 *)(acts.f32 + at + 4) = make_float4(y[4], y[5], y[6], y[7]);
    }
    if (acts.f16 != NULL && inside) {
        *(uint4 *)(acts.f16 + at) = make_uint4(pack_f16(y[0], y[1]), pack_f16(y[2], y[3]),
                                               pack_f16(y[4], y[5]), pack_f16(y[6], y[7]));
    }
    if (acts.bf16 != NULL && inside) {
        *(uint4 *)(acts.bf16 + at) = make_uint4(pack_bf16(y[0], y[1]), pack_bf16(y[2], y[3]),
                                                pack_bf16(y[4], y[5]), pack_bf16(y[6], y[7]));
    }
    if (acts.fixed != NULL) {
        emit_fixed(acts, row, group, y);
    }
}
