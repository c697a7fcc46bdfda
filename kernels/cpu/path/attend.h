// SPDX-License-Identifier: MIT
// Attention of some query rows to one chunk of at most 256 positions, and the merge of chunks. Keys
// lie in groups of 16 slots with the slots in the lanes, so a score is one chain of FMAs over the
// head's elements wherever its slot is; values are added in order of position, elements in the
// lanes.
#pragma once

#include "kernels/cpu/path/vec.h"

#define SCORE_ROWS (CPU_ISA == CPU_ISA_AVX512 ? 8 : 4)
#define VALUE_ROWS (CPU_ISA == CPU_ISA_AVX512 ? 6 : 2)

/** Scores of n_rows queries with the 16 slots of one group; lanes from .. to-1 go to scores[row].
 */
INLINE void score_part(const float *const *query, const int n_rows, const float *keys,
                       V16 key_scale, size_t head_dim, float *const *scores, size_t from, size_t to)
{
    V16 acc[SCORE_ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        acc[r] = v_zero();
    }
    for (size_t d = 0; d < head_dim; d++) {
        V16 key = v_load(keys + d * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            acc[r] = v_fma(v_set1(query[r][d]), key, acc[r]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
        V16 score = v_mul(acc[r], key_scale);
        if (from == 0 && to == LANES) {
            v_store(scores[r], score);
        } else {
            v_store_lanes(scores[r], score, from, to);
        }
    }
}

static void score_parts(const float *const *query, size_t n_rows, const float *keys, V16 key_scale,
                        size_t head_dim, float *const *scores, size_t from, size_t to)
{
    switch (n_rows) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        score_part(query, n, keys, key_scale, head_dim, scores, from, to);                         \
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

/** Scores of all queries with the slots first .. first+n-1 of one group, which hold positions from
 *  `at` on in the chunk. */
static void score_group(const CpuAttend *a, size_t slot, size_t n, size_t at, float *scores,
                        float *buf)
{
    size_t from = slot % CPU_TILE, head_dim = a->kv->heads.head_dim;
    size_t first = cpu_kv_at(a->kv, a->layer, a->kv_head, slot - from);
    const uint8_t *stored = a->kv->keys + first * head_dim * a->kv->element_bytes;
    const float *keys = (const float *)(const void *)stored;
    V16 key_scale = v_set1(1.0f);
    if (!a->kv->f32) {
        const int16_t *words = (const int16_t *)(const void *)stored;
        for (size_t d = 0; d < head_dim; d++) {
            v_store(buf + d * LANES, v_load_i16(words + d * LANES));
        }
        keys = buf;
        key_scale = v_load(a->kv->key_scale + first);
    }
    for (size_t r = 0, n_rows; r < a->n_queries; r += n_rows) {
        n_rows = a->n_queries - r < SCORE_ROWS ? a->n_queries - r : SCORE_ROWS;
        float *row_scores[SCORE_ROWS];
        for (size_t i = 0; i < n_rows; i++) {
            // Lane `from` is position `at`; the pointer is to where lane 0 would be.
            row_scores[i] = scores + (r + i) * K_CHUNK + at - from;
        }
        score_parts(a->query + r, n_rows, keys, key_scale, head_dim, row_scores, from, from + n);
    }
}

/** Scores become weights exp(score - max); {max, sum} go to the query's partial, and the weights
 * take in the values' scales. */
static void weigh(float *scores, size_t n, const float *value_scale, float *partial)
{
    V16 sum = v_zero();
    float most = max_of(scores, n);
    for (size_t i = 0; i < n; i += LANES) {
        V16 weight = v_exp(v_sub(v_load_n(scores + i, n - i), v_set1(most)));
        sum = v_add(sum, v_first(weight, n - i));
        if (value_scale != NULL) {
            weight = v_mul(weight, v_load_n(value_scale + i, n - i));
        }
        v_store_n(scores + i, weight, n - i);
    }
    partial[0] = most;
    partial[1] = v_sum(sum);
}

/** n_rows x n_vecs sums over positions from .. to-1. */
INLINE void value_part(const CpuAttend *a, const int n_rows, const int n_vecs, const float *weights,
                       const uint32_t *slots, size_t element, size_t from, size_t to,
                       float *const *out)
{
    const size_t slot_bytes = a->kv->value_stride * a->kv->element_bytes;
    const uint8_t *values = a->kv->values + cpu_kv_at(a->kv, a->layer, a->kv_head, 0) * slot_bytes;
    V16 acc[VALUE_ROWS * 4];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
#pragma GCC unroll 16
        for (int v = 0; v < n_vecs; v++) {
            acc[r * n_vecs + v] = v_load(out[r] + CPU_ATTEND_HEADER + element + (size_t)v * LANES);
        }
    }
    for (size_t p = from; p < to; p++) {
        const uint8_t *value = values + slots[p] * slot_bytes;
        const float *floats = (const float *)(const void *)value + element;
        const int16_t *words = (const int16_t *)(const void *)value + element;
#pragma GCC unroll 16
        for (int v = 0; v < n_vecs; v++) {
            V16 x = a->kv->f32 ? v_load(floats + v * LANES) : v_load_i16(words + v * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < n_rows; r++) {
                V16 weight = v_set1(weights[(size_t)r * K_CHUNK + p]);
                acc[r * n_vecs + v] = v_fma(weight, x, acc[r * n_vecs + v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++) {
#pragma GCC unroll 16
        for (int v = 0; v < n_vecs; v++) {
            v_store(out[r] + CPU_ATTEND_HEADER + element + (size_t)v * LANES, acc[r * n_vecs + v]);
        }
    }
}

/** All elements of the values for n_rows queries, positions from .. to-1. */
static void value_parts(const CpuAttend *a, size_t n_rows, const float *weights,
                        const uint32_t *slots, size_t from, size_t to, float *const *out)
{
    for (size_t e = 0, n; e < a->kv->value_stride; e += n) {
        n = a->kv->value_stride - e >= 4 * LANES ? 4 * LANES : LANES;
#define CASE(rows)                                                                                 \
    case rows:                                                                                     \
        if (n == LANES) {                                                                          \
            value_part(a, rows, 1, weights, slots, e, from, to, out);                              \
        } else {                                                                                   \
            value_part(a, rows, 4, weights, slots, e, from, to, out);                              \
        }                                                                                          \
        break
        switch (n_rows) {
            CASE(1);
            CASE(2);
#if CPU_ISA == CPU_ISA_AVX512
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
#endif
        }
#undef CASE
    }
}

/** Weighted sums of values for all queries. Positions that all queries of a tile see are taken
 *  together, the rest query by query, so nothing that a query does not see is ever touched. */
static void value_sums(const CpuAttend *a, const float *weights, const uint32_t *slots)
{
    for (size_t r = 0, n_rows; r < a->n_queries; r += n_rows) {
        n_rows = a->n_queries - r < VALUE_ROWS ? a->n_queries - r : VALUE_ROWS;
        size_t common = K_CHUNK;
        for (size_t i = r; i < r + n_rows; i++) {
            memset(a->out[i] + CPU_ATTEND_HEADER, 0, a->kv->value_stride * sizeof(float));
            common = a->query_keys[i] < common ? a->query_keys[i] : common;
        }
        value_parts(a, n_rows, weights + r * K_CHUNK, slots, 0, common, a->out + r);
        for (size_t i = r; i < r + n_rows; i++) {
            if (a->query_keys[i] > common) {
                value_parts(a, 1, weights + i * K_CHUNK, slots, common, a->query_keys[i],
                            a->out + i);
            }
        }
    }
}

static void path_attend(const CpuAttend *a)
{
    // A group's first lanes may belong before a row's start (and are then left out by the mask).
    float *scores = a->scratch + LANES;
    float *value_scale = scores + CPU_ATTEND_QUERIES * K_CHUNK;
    uint32_t *slots = (uint32_t *)(void *)(value_scale + K_CHUNK);
    float *buf = value_scale + 2 * K_CHUNK;
    size_t at = 0;
    for (uint32_t e = 0; e < a->n_extents && at < a->n_keys; e++) {
        size_t slot = a->extents[e].slot, left = a->extents[e].n;
        left = left < a->n_keys - at ? left : a->n_keys - at;
        for (size_t n; left > 0; slot += n, left -= n, at += n) {
            size_t room = CPU_TILE - slot % CPU_TILE;
            n = left < room ? left : room;
            score_group(a, slot, n, at, scores, buf);
            for (size_t i = 0; i < n; i++) {
                slots[at + i] = (uint32_t)(slot + i);
            }
        }
    }
    if (!a->kv->f32) {
        for (size_t p = 0; p < a->n_keys; p++) {
            size_t i = cpu_kv_at(a->kv, a->layer, a->kv_head, slots[p]);
            value_scale[p] = a->kv->value_scale[i];
        }
    }
    for (size_t i = 0; i < a->n_queries; i++) {
        weigh(scores + i * K_CHUNK, a->query_keys[i], a->kv->f32 ? NULL : value_scale, a->out[i]);
    }
    value_sums(a, scores, slots);
}

static void path_attend_merge(float *a, const float *b, size_t n)
{
    float max = b[0] > a[0] ? b[0] : a[0];
    float scale_a = exp_one(a[0] - max), scale_b = exp_one(b[0] - max);
    a[1] = a[1] * scale_a + b[1] * scale_b;
    a[0] = max;
    for (size_t i = 0; i < n; i += LANES) {
        V16 sum = v_mul(v_load(a + CPU_ATTEND_HEADER + i), v_set1(scale_a));
        sum = v_fma(v_load(b + CPU_ATTEND_HEADER + i), v_set1(scale_b), sum);
        v_store(a + CPU_ATTEND_HEADER + i, sum);
    }
}

static void path_attend_finish(const float *partial, size_t n, float *out)
{
    V16 scale = v_set1(1.0f / partial[1]);
    for (size_t i = 0; i < n; i += LANES) {
        v_store_n(out + i, v_mul(v_load_n(partial + CPU_ATTEND_HEADER + i, n - i), scale), n - i);
    }
}
