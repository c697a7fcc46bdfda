// SPDX-License-Identifier: MIT
// Products of F16 and BF16 weights under --fast, for tests in emulation and on a device.
#pragma once

#include "rig.h"

static inline void open_side(Side *side, bool fast, const char *ranks)
{
    KDeviceOptions options = {.fast = fast, .path = ranks};
    Err err = ERR_INIT;
    side->ops = muster_cuda_ops();
    need(side->ops->device_open(&options, &side->device, &err) &&
             side->ops->stream_create(side->device, &side->stream, &err),
         &err);
}

static inline void check_description(const Side *side, const char *part)
{
    const char *words = side->ops->device_describe(side->device);
    bool there = strstr(words, part) != NULL;
    if (!there) {
        printf("# '%s' is not in '%s'\n", part, words);
    }
    CHECK(there);
}

typedef struct Shape {
    int line;
    KType type;
    size_t n_out, n_in, n_rows;
    int n_segments;
    bool add;
    int algo; // of the stand-in; -1: cuBLASLt is not asked
} Shape;

/** Weights of 2 bytes, in size under 2. */
static inline uint16_t *random_halves(KType type, uint64_t seed, size_t n)
{
    uint16_t *data = ARENA_ARRAY(&arena, uint16_t, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)(rng_at(seed, 1, i) * 65536);
        data[i] = (uint16_t)(type == K_F16 ? bits & 0xbbff : (bits & 0x80ff) | 0x3f00);
    }
    return data;
}

static inline float *run_product(const Side *side, const Shape *s)
{
    size_t n = s->n_rows * s->n_out;
    uint16_t *weights = random_halves(s->type, 11, s->n_out * s->n_in);
    KMatrix *matrix = side_matrix(side, s->type, s->n_out, s->n_in, weights);
    KActs *acts = side_acts(side, s->n_rows, s->n_in, matrix);
    // Whole numbers up to 6, which every type of activation holds.
    float *sizes = ARENA_ARRAY(&arena, float, s->n_in);
    for (size_t i = 0; i < s->n_in; i++) {
        sizes[i] = (float)(i % 4);
    }
    float *rows = ARENA_ARRAY(&arena, float, (s->n_in + 3) / 4 * 4 * s->n_rows);
    memcpy(rows, unit_rows(12, s->n_rows, s->n_in), s->n_rows * s->n_in * sizeof(float));
    side_fill_acts(side, acts, rows, sizes, s->n_rows, s->n_in);
    KBuffer *out = side_buffer(side, n, s->add ? random_floats(13, n, 4) : NULL);
    KProduct product = {matrix, out, s->add, s->n_segments};
    Err err = ERR_INIT;
    CHECK_OK(side->ops->products(side->stream, &product, 1, acts, s->n_rows, &err), &err);
    float *got = side_read(side, out, n);
    side->ops->buffer_destroy(out);
    side->ops->acts_destroy(acts);
    side->ops->matrix_destroy(matrix);
    return got;
}
