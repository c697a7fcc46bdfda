// SPDX-License-Identifier: MIT
// What the tests of CUDA kernels share: the same operation on two backends, the CPU's and CUDA's
// (emulated, or on a device), random inputs, and activations read back as numbers.
#pragma once

#include "kernels/kernels.h"

#include "../tap.h"

#include <stdlib.h>

/** Of the module that is linked in. */
const KOps *muster_cuda_ops(void);

typedef struct Side {
    const KOps *ops;
    KDevice *device;
    KStream *stream;
} Side;

typedef struct Rig {
    Side cpu;
    Side cuda;
} Rig;

static Arena arena;

/** What everything after it needs; a kernel that failed before shows here, too. */
static inline void need(bool ok, const Err *err)
{
    if (!tap_ok(ok, err, __FILE__, __LINE__, "an object")) {
        fflush(stdout);
        exit(1);
    }
}

static inline void side_open(Side *side, const KOps *ops, bool f32)
{
    KDeviceOptions options = {.n_threads = 1, .f32 = f32};
    Err err = ERR_INIT;
    side->ops = ops;
    need(ops->device_open(&options, &side->device, &err) &&
             ops->stream_create(side->device, &side->stream, &err),
         &err);
}

static inline void side_close(Side *side)
{
    side->ops->stream_destroy(side->stream);
    side->ops->device_close(side->device);
}

static inline void rig_open(Rig *rig, bool f32)
{
    side_open(&rig->cpu, &k_cpu_ops, f32);
    side_open(&rig->cuda, muster_cuda_ops(), f32);
}

static inline void rig_close(Rig *rig)
{
    side_close(&rig->cpu);
    side_close(&rig->cuda);
}

/** Element i of a stream of numbers in -1 .. 1. */
static inline float random_at(uint64_t seed, size_t i)
{
    return (float)(rng_at(seed, 3, i) * 2 - 1);
}

static inline float *random_floats(uint64_t seed, size_t n, float scale)
{
    float *x = ARENA_ARRAY(&arena, float, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = random_at(seed, i) * scale;
    }
    return x;
}

/** NULL data: zeros. */
static inline KBuffer *side_buffer(const Side *side, size_t n, const float *data)
{
    KBuffer *buffer = NULL;
    Err err = ERR_INIT;
    need(side->ops->buffer_create(side->device, n, &buffer, &err), &err);
    if (data != NULL) {
        CHECK_OK(side->ops->buffer_write(side->stream, buffer, 0, data, n, &err), &err);
    }
    return buffer;
}

static inline KMatrix *side_matrix(const Side *side, KType type, size_t n_out, size_t n_in,
                                   const void *data)
{
    KMatrix *matrix = NULL;
    Err err = ERR_INIT;
    need(side->ops->matrix_create(side->device, type, n_out, n_in, data, &matrix, &err), &err);
    return matrix;
}

static inline KActs *side_acts(const Side *side, size_t n_rows, size_t width,
                               const KMatrix *consumer)
{
    KActs *acts = NULL;
    Err err = ERR_INIT;
    need(side->ops->acts_create(side->device, n_rows, width, &consumer, 1, &acts, &err), &err);
    return acts;
}

/** Rows whose mean square is 1 in any order of summation: of 1, 2 and 0, with signs. width a
 *  multiple of 4. */
static inline float *unit_rows(uint64_t seed, size_t n_rows, size_t width)
{
    float *x = ARENA_ARRAY(&arena, float, n_rows *width);
    for (size_t i = 0; i < n_rows * width; i += 4) {
        uint32_t kind = (uint32_t)(rng_at(seed, 1, i) * 8); // 0-3: that one is 2
        for (size_t k = 0; k < 4; k++) {
            float size = kind >= 4 ? 1 : kind == k ? 2 : 0;
            x[i + k] = random_at(seed, i + k) < 0 ? -size : size;
        }
    }
    return x;
}

/** Activations x * weight, to the last bit: x as unit_rows gives it, or rows of zeros. */
static inline void side_fill_acts(const Side *side, KActs *acts, const float *x,
                                  const float *weight, size_t n_rows, size_t width)
{
    Err err = ERR_INIT;
    KBuffer *a = side_buffer(side, n_rows * width, x), *b = side_buffer(side, width, weight);
    CHECK_OK(side->ops->rms_norm(side->stream, a, b, 1e-12f, width, NULL, n_rows, acts, &err),
             &err);
    CHECK_OK(side->ops->stream_sync(side->stream, &err), &err);
    side->ops->buffer_destroy(a);
    side->ops->buffer_destroy(b);
}

static inline float *side_read(const Side *side, const KBuffer *buffer, size_t n)
{
    float *out = ARENA_ARRAY(&arena, float, n);
    Err err = ERR_INIT;
    CHECK_OK(side->ops->buffer_read(side->stream, buffer, 0, out, n, &err), &err);
    return out;
}

/** The identity as F32, or as Q8_0, whose products give that form of activations as numbers. */
static inline KMatrix *side_identity(const Side *side, KType type, size_t n)
{
    size_t row = type == K_Q8_0 ? n / 32 * 34 : n * sizeof(float);
    uint8_t *data = arena_alloc(&arena, n, row);
    for (size_t i = 0; i < n; i++) {
        if (type == K_Q8_0) {
            uint8_t *block = data + i * row + i / 32 * 34;
            block[1] = 0x3c; // f16 1
            block[2 + i % 32] = 1;
        } else {
            ((float *)(void *)(data + i * row))[i] = 1;
        }
    }
    return side_matrix(side, type, n, n, data);
}

static inline float *side_read_acts(const Side *side, const KMatrix *identity, const KActs *acts,
                                    size_t n_rows, size_t width)
{
    Err err = ERR_INIT;
    KBuffer *buffer = side_buffer(side, n_rows * width, NULL);
    KProduct product = {identity, buffer, false, 1};
    CHECK_OK(side->ops->products(side->stream, &product, 1, acts, n_rows, &err), &err);
    float *out = side_read(side, buffer, n_rows * width);
    side->ops->buffer_destroy(buffer);
    return out;
}

/** Count of elements whose bits differ. */
static inline size_t count_unequal(const float *a, const float *b, size_t n)
{
    size_t unequal = 0;
    for (size_t i = 0; i < n; i++) {
        unequal += memcmp(&a[i], &b[i], sizeof(*a)) != 0;
    }
    return unequal;
}

/** Largest |a - b| where it is a number; infinity when one of them is not. */
static inline double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        largest = d > largest ? d : d <= largest ? largest : (double)INFINITY;
    }
    return largest;
}
