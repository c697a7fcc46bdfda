// SPDX-License-Identifier: MIT
// One element of a record of weights as f32 (record_bytes in backend.cuh says how they lie), for
// the embedding and the products in plain f32, with the CPU backend's roundings.
#pragma once

#include "kernels/cuda/backend.cuh"

/** Output o (0 .. 15), element k (0 .. 31) of a record. */
DEVICE inline float weight_at(int type, const uint8_t *record, uint32_t o, uint32_t k)
{
    uint32_t g = o % 8, half = o / 8, c = k / GROUP, e = k % GROUP, lane = g * 4 + c;
    switch (type) {
    case K_F32:
        return ((const float *)record)[o * BLOCK + k];
    case K_F16:
        return f16_to_float(((const uint16_t *)record)[half_at(half, lane, e)]);
    case K_BF16:
        return bf16_to_float(((const uint16_t *)record)[half_at(half, lane, e)]);
    default:
        break;
    }
    const uint16_t *scales = (const uint16_t *)(record + record_quants(type));
    if (type == K_Q8_0) {
        int8_t q = (int8_t)record[byte_at(half, lane, e)];
        return f16_to_float(scales[g * 2 + half]) * (float)q;
    }
    uint8_t byte = record[(lane * 2 + half) * 4 + e % 4];
    int q = e < 4 ? byte & 15 : byte >> 4;
    if (type == K_Q4_0) {
        return f16_to_float(scales[g * 2 + half]) * (float)((q ^ 8) - 8);
    }
    return fmaf(f16_to_float(scales[g * 4 + half]), (float)q,
                f16_to_float(scales[g * 4 + 2 + half]));
}
