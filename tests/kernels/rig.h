// SPDX-License-Identifier: MIT
// What the tests of kernels share: a device on a chosen path, random inputs, buffers.
#pragma once

#include "kernels/cpu/cpu_internal.h"

#include "../unit/tap.h"

static const KOps *const ops = &k_cpu_ops;

/** The paths that results are compared over; the first is the reference. */
static const char *const rig_paths[] = {"portable", "avx2", "avx512"};
enum { RIG_PATHS = sizeof(rig_paths) / sizeof(rig_paths[0]) };

typedef struct Rig {
    KDevice *device;
    KStream *stream;
} Rig;

/** False when this processor lacks the path. */
static inline bool rig_open(Rig *rig, const char *path, int threads, bool f32)
{
    KDeviceOptions options = {.n_threads = threads, .f32 = f32, .path = path};
    Err err = ERR_INIT;
    *rig = (Rig){0};
    if (!ops->device_open(&options, &rig->device, &err)) {
        CHECK_INT(err.code, ERR_ENVIRONMENT);
        return false;
    }
    return CHECK_OK(ops->stream_create(rig->device, &rig->stream, &err), &err);
}

static inline void rig_close(Rig *rig)
{
    ops->stream_destroy(rig->stream);
    ops->device_close(rig->device);
}

static inline KBuffer *rig_buffer(const Rig *rig, size_t n, const float *data)
{
    KBuffer *buffer = NULL;
    Err err = ERR_INIT;
    CHECK_OK(ops->buffer_create(rig->device, n, &buffer, &err), &err);
    if (data != NULL) {
        CHECK_OK(ops->buffer_write(rig->stream, buffer, 0, data, n, &err), &err);
    }
    return buffer;
}

static inline KMatrix *rig_matrix(const Rig *rig, KType type, size_t n_out, size_t n_in,
                                  const void *data)
{
    KMatrix *matrix = NULL;
    Err err = ERR_INIT;
    CHECK_OK(ops->matrix_create(rig->device, type, n_out, n_in, data, &matrix, &err), &err);
    return matrix;
}

static inline KActs *rig_acts(const Rig *rig, size_t n_rows, size_t width, const KMatrix *consumer)
{
    KActs *acts = NULL;
    Err err = ERR_INIT;
    CHECK_OK(ops->acts_create(rig->device, n_rows, width, &consumer, 1, &acts, &err), &err);
    return acts;
}

/** The identity as F32: its products give an operation's activations exactly (on an f32 device, or
 *  where nothing else consumes them). */
static inline KMatrix *rig_identity(const Rig *rig, size_t n)
{
    float *data = mem_zalloc(n * n, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        data[i * n + i] = 1;
    }
    KMatrix *matrix = rig_matrix(rig, K_F32, n, n, data);
    mem_free(data);
    return matrix;
}

/** Activations as plain numbers, through the identity. */
static inline void rig_read_acts(const Rig *rig, const KMatrix *identity, const KActs *acts,
                                 size_t n_rows, float *out)
{
    Err err = ERR_INIT;
    size_t n = n_rows * identity->n_in;
    KBuffer *buffer = rig_buffer(rig, n, NULL);
    KProduct product = {identity, buffer, false, 1};
    CHECK_OK(ops->products(rig->stream, &product, 1, acts, n_rows, &err), &err);
    CHECK_OK(ops->buffer_read(rig->stream, buffer, 0, out, n, &err), &err);
    ops->buffer_destroy(buffer);
}

/** In -1 .. 1, the same for equal (seed, i). */
static inline float rig_random(uint64_t seed, uint64_t i)
{
    return (float)(2 * rng_at(seed, 0, i) - 1);
}

static inline float *rig_random_floats(Arena *arena, uint64_t seed, size_t n, float scale)
{
    float *x = arena_alloc(arena, n, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        x[i] = rig_random(seed, i) * scale;
    }
    return x;
}
