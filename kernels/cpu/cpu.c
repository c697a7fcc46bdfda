// SPDX-License-Identifier: MIT
// The CPU backend's table: devices, streams (which run at once), buffers.
#include "kernels/cpu/cpu_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
    // Every processor with AVX2 has F16C, which clang 14 can not be asked for.
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

/** The paths, best first. */
static const struct {
    const CpuPath *path;
    bool (*works_here)(void);
} cpu_paths[] = {
#if defined(__x86_64__)
    {&cpu_path_avx512, has_avx512},
    {&cpu_path_avx2, has_avx2},
#endif
    {&cpu_path_portable, always},
};

static const CpuPath *choose_path(const char *name, Err *err)
{
    for (size_t i = 0; i < sizeof(cpu_paths) / sizeof(cpu_paths[0]); i++) {
        const CpuPath *path = cpu_paths[i].path;
        bool named = name == NULL || strcmp(name, path->name) == 0;
        if (named && cpu_paths[i].works_here()) {
            return path;
        }
        if (named && name != NULL) {
            ERR_SET(err, ERR_ENVIRONMENT, "this processor cannot run the CPU path '%s'", name);
            return NULL;
        }
    }
    ERR_SET(err, ERR_USAGE, "unknown CPU path '%s' (portable, avx2 or avx512)", name);
    return NULL;
}

static void device_close(KDevice *device)
{
    if (device != NULL) {
        pool_destroy(device->pool);
        cpu_slab_leave(device->slab);
        cpu_free(device->scratch);
        mem_free(device);
    }
}

static bool device_open(const KDeviceOptions *options, KDevice **out, Err *err)
{
    const char *name = options->path;
    if (name == NULL) {
        const char *wanted = getenv("MUSTER_CPU");
        name = wanted != NULL && wanted[0] != '\0' ? wanted : NULL;
    }
    const CpuPath *path = choose_path(name, err);
    if (path == NULL) {
        return false;
    }
    int n_threads = options->n_threads > 0 ? options->n_threads : threads_usable_cpus();
    if (n_threads > 1024) {
        return ERR_SET(err, ERR_USAGE, "%d threads are more than 1024", n_threads);
    }
    KDevice *device = mem_zalloc(1, sizeof(*device));
    device->path = path;
    device->f32 = options->f32;
    device->n_threads = n_threads;
    snprintf(device->description, sizeof(device->description), "cpu %s, %d thread%s%s", path->name,
             n_threads, n_threads == 1 ? "" : "s", options->f32 ? ", f32" : "");
    if (!pool_create(n_threads, &device->pool, err)) {
        device_close(device);
        return false;
    }
    *out = device;
    return true;
}

static const char *device_describe(const KDevice *device)
{
    return device->description;
}

static size_t device_free_bytes(const KDevice *device)
{
    (void)device;
    return SIZE_MAX;
}

static bool stream_create(KDevice *device, KStream **out, Err *err)
{
    (void)err;
    KStream *stream = mem_zalloc(1, sizeof(*stream));
    stream->device = device;
    *out = stream;
    return true;
}

static void stream_destroy(KStream *stream)
{
    mem_free(stream);
}

static bool stream_sync(KStream *stream, Err *err)
{
    (void)stream;
    (void)err;
    return true;
}

/** Everything runs at once, so a step is nothing of its own. */
static bool step_begin(KStream *stream, bool repeats, Err *err)
{
    (void)stream;
    (void)repeats;
    (void)err;
    return true;
}

static bool step_end(KStream *stream, Err *err)
{
    (void)stream;
    (void)err;
    return true;
}

static bool buffer_create(KDevice *device, size_t n, KBuffer **out, Err *err)
{
    (void)device;
    if (n > SIZE_MAX / 2 / sizeof(float)) {
        return ERR_SET(err, ERR_LIMIT, "a buffer of %zu floats does not fit in memory", n);
    }
    KBuffer *buffer = mem_zalloc(1, sizeof(*buffer));
    buffer->n = n;
    buffer->data = cpu_alloc(n * sizeof(float));
    memset(buffer->data, 0, n * sizeof(float));
    *out = buffer;
    return true;
}

static void buffer_destroy(KBuffer *buffer)
{
    if (buffer != NULL) {
        cpu_free(buffer->data);
        mem_free(buffer);
    }
}

static bool buffer_write(KStream *stream, KBuffer *buffer, size_t offset, const float *from,
                         size_t n, Err *err)
{
    (void)stream;
    (void)err;
    memcpy(buffer->data + offset, from, n * sizeof(float));
    return true;
}

static bool buffer_read(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                        Err *err)
{
    (void)stream;
    (void)err;
    memcpy(to, buffer->data + offset, n * sizeof(float));
    return true;
}

const KOps k_cpu_ops = {
    .name = "cpu",
    .batch_rows = 64,
    .max_rows = 512,
    .device_open = device_open,
    .device_close = device_close,
    .device_describe = device_describe,
    .device_free_bytes = device_free_bytes,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_sync = stream_sync,
    .step_begin = step_begin,
    .step_end = step_end,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .matrix_create = cpu_matrix_create,
    .matrix_destroy = cpu_matrix_destroy,
    .acts_create = cpu_acts_create,
    .acts_destroy = cpu_acts_destroy,
    .kv_slot_bytes = cpu_kv_slot_bytes,
    .kv_create = cpu_kv_create,
    .kv_destroy = cpu_kv_destroy,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .products = cpu_products,
    .rope_store = cpu_rope_store,
    .attention = cpu_attention,
    .gated = cpu_gated,
    .gather = cpu_gather,
    .logprobs = cpu_logprobs,
    .pick = cpu_pick,
};
