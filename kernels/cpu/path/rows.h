// SPDX-License-Identifier: MIT
// Operations on one row: RMSNorm, 16-bit fixed point, rotary embedding, int16 keys and
// values, and the log-sum-exp of a row of logits. Each reduces its row in 16 lanes, then down one
// tree.
#pragma once

#include "kernels/cpu/path/vec.h"

static void path_rms_norm(const float *x, const float *weight, float eps, size_t dim, float *out)
{
    V16 squares = v_zero();
    for (size_t i = 0; i < dim; i += LANES) {
        V16 v = v_load_n(x + i, dim - i);
        squares = v_fma(v, v, squares);
    }
    float scale = 1.0f / sqrtf(v_sum(squares) / (float)dim + eps);
    for (size_t i = 0; i < dim; i += LANES) {
        size_t n = dim - i;
        V16 y = v_mul(v_mul(v_load_n(x + i, n), v_set1(scale)), v_load_n(weight + i, n));
        v_store_n(out + i, y, n);
    }
}

#define FIXED_MAX  32512.0f // 127 * 256: q also splits into two signed bytes, for byte products
#define FIXED_TINY 1e-30f   // below, 32512 / max could overflow: the block is zero

/** Integers of x * scale, rounded to even, |x * scale| < 2^22. */
INLINE I16 round_lanes(V16 x, V16 scale)
{
    return v_integers(v_add(v_mul(x, scale), v_set1(EXP_MAGIC)));
}

/** 32 values of one row as 16-bit fixed point, to block `at` of acts. */
INLINE void quantise_block(KActs *acts, size_t at, V16 low, V16 high)
{
    int16_t *q = acts->fixed + at * CPU_BLOCK;
    float max = v_max_abs_lane(v_max_abs(v_max_abs(v_zero(), low), high));
    if (!(max >= FIXED_TINY && max <= 3e38f)) {
        // Not a number or infinite: the scale says so, and every output becomes NaN.
        memset(q, 0, CPU_BLOCK * sizeof(*q));
        acts->sum[at] = 0;
        acts->scale[at] = acts->scale_sum[at] = max < FIXED_TINY ? 0.0f : NAN;
        return;
    }
    V16 inverse = v_set1(FIXED_MAX / max);
    I16 q_low = round_lanes(low, inverse), q_high = round_lanes(high, inverse);
    i_store_words(q, q_low);
    i_store_words(q + LANES, q_high);
    int32_t sum = i_sum(i_add(q_low, q_high));
    float scale = max / FIXED_MAX;
    acts->sum[at] = sum;
    acts->scale[at] = scale;
    acts->scale_sum[at] = scale * (float)sum;
}

static void path_quantise(const float *x, KActs *acts, size_t row)
{
    size_t at = cpu_acts_at(acts, row);
    for (size_t b = 0; b < acts->n_blocks; b++, at += CPU_ROWS, x += CPU_BLOCK) {
        quantise_block(acts, at, v_load(x), v_load(x + LANES));
    }
}

/** gate * sigmoid(gate) * up */
INLINE V16 v_swiglu(V16 gate, V16 up)
{
    V16 e = v_exp(v_sub(v_zero(), gate));
    return v_mul(v_div(gate, v_add(v_set1(1.0f), e)), up);
}

/** The FMAs are spelled out: gcc 12 turns x0*c - x1*s into one of its choice whatever
 * -ffp-contract. */
static void path_rope(const float *x, const float *angles, size_t n_pairs, size_t head_dim,
                      float scale, float *out)
{
    for (size_t i = 0; i < n_pairs; i++) {
        float c = angles[2 * i], s = angles[2 * i + 1];
        float x0 = x[2 * i], x1 = x[2 * i + 1];
        out[2 * i] = fmaf(x0, c, -(x1 * s)) * scale;
        out[2 * i + 1] = fmaf(x0, s, x1 * c) * scale;
    }
    for (size_t i = 2 * n_pairs; i < head_dim; i++) {
        out[i] = x[i] * scale;
    }
}

static float path_pack_kv(const float *x, size_t n, int16_t *out)
{
    V16 abs = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        abs = v_max_abs(abs, v_load_n(x + i, n - i));
    }
    float max = v_max_abs_lane(abs);
    if (!(max >= FIXED_TINY && max <= 3e38f)) {
        memset(out, 0, n * sizeof(*out));
        return max < FIXED_TINY ? 0.0f : NAN;
    }
    V16 inverse = v_set1(32767.0f / max);
    for (size_t i = 0; i < n; i += LANES) {
        int16_t q[LANES];
        i_store_words(q, round_lanes(v_load_n(x + i, n - i), inverse));
        memcpy(out + i, q, (n - i < LANES ? n - i : LANES) * sizeof(*q));
    }
    return max / 32767.0f;
}

/** The largest value's lowest index, and sum(exp(x - max)). */
static CpuLogSum path_log_sum(const float *logits, size_t n, int32_t first_id)
{
    CpuLogSum out = {.max = -INFINITY, .argmax = first_id, .finite = true};
    V16 abs = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        abs = v_max_abs(abs, v_load_n(logits + i, n - i));
    }
    out.max = max_of(logits, n);
    out.finite = v_max_abs_lane(abs) <= 3.4028235e38f;
    for (size_t i = 0; i < n; i++) {
        if (logits[i] == out.max) {
            out.argmax = first_id + (int32_t)i;
            break;
        }
    }
    V16 sum = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        V16 e = v_exp(v_sub(v_load_n(logits + i, n - i), v_set1(out.max)));
        sum = v_add(sum, v_first(e, n - i));
    }
    out.sum = v_sum(sum);
    return out;
}

static CpuLogSum path_log_sum_merge(CpuLogSum a, CpuLogSum b)
{
    CpuLogSum out = b.max > a.max ? b : a;
    float sum_a = a.sum * exp_one(a.max - out.max), sum_b = b.sum * exp_one(b.max - out.max);
    out.sum = sum_a + sum_b;
    out.finite = a.finite && b.finite;
    return out;
}
