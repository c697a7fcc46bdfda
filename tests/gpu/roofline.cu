// SPDX-License-Identifier: MIT
// What this GPU can do at most, measured: memory read and copied, tensor cores fed from registers
// with the instructions that our kernels use. Prints a JSON object. Exit code 77 without a GPU.
#include "kernels/cuda/gpu.cuh"

#include <stdio.h>
#include <stdlib.h>

#ifdef SMALL_SHAPES // for an emulated GPU
enum { ROUNDS = 2, MMA_LOOPS = 2, BYTES_MOST = 1 << 20 };
#else
enum { ROUNDS = 8, MMA_LOOPS = 4096, BYTES_MOST = 1 << 30 };
#endif
enum { THREADS = 256, MMA_WIDE = 8, READS = 8 };

static void check(GpuError error, const char *what)
{
    if (error != GPU_OK) {
        fprintf(stderr, "%s: %s\n", what, gpu_error_string(error));
        exit(error == GPU_ERROR_NO_DRIVER || error == GPU_ERROR_NO_DEVICE ? 77 : 1);
    }
}

/** Every element once; the sum is written only so that it is not left out. */
KERNEL(read_all)(const uint4 *from, size_t n, uint32_t *out)
{
    size_t stride = (size_t)grid_dim_x() * block_dim_x();
    uint32_t sum = 0;
    size_t i = (size_t)block_x() * block_dim_x() + thread_x();
    for (; i + (READS - 1) * stride < n; i += READS * stride) {
        uint4 v[READS];
        UNROLL for (int k = 0; k < READS; k++)
        {
            v[k] = load_stream(from + i + k * stride);
        }
        UNROLL for (int k = 0; k < READS; k++)
        {
            sum += v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
        }
    }
    if (sum == 0x12345678u) {
        *out = sum;
    }
}

KERNEL(mma_f16)(float *out)
{
    float d[MMA_WIDE][4] = {};
    uint32_t a[4] = {thread_x(), 1, 2, 3}, b[2] = {4, thread_x()};
    for (int i = 0; i < MMA_LOOPS; i++) {
        UNROLL for (int k = 0; k < MMA_WIDE; k++)
        {
            mma_m16n8k16_f16(d[k], a, b);
        }
    }
    float sum = 0;
    UNROLL for (int k = 0; k < MMA_WIDE; k++)
    {
        sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
    }
    if (sum == 1.5f) {
        *out = sum;
    }
}

KERNEL(mma_bf16)(float *out)
{
    float d[MMA_WIDE][4] = {};
    uint32_t a[4] = {thread_x(), 1, 2, 3}, b[2] = {4, thread_x()};
    for (int i = 0; i < MMA_LOOPS; i++) {
        UNROLL for (int k = 0; k < MMA_WIDE; k++)
        {
            mma_m16n8k16_bf16(d[k], a, b);
        }
    }
    float sum = 0;
    UNROLL for (int k = 0; k < MMA_WIDE; k++)
    {
        sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
    }
    if (sum == 1.5f) {
        *out = sum;
    }
}

KERNEL(mma_s8)(int *out)
{
    int d[MMA_WIDE][4] = {};
    uint32_t a[4] = {thread_x(), 1, 2, 3}, b[2] = {4, thread_x()};
    for (int i = 0; i < MMA_LOOPS; i++) {
        UNROLL for (int k = 0; k < MMA_WIDE; k++)
        {
            mma_m16n8k32_s8(d[k], a, b);
        }
    }
    int sum = 0;
    UNROLL for (int k = 0; k < MMA_WIDE; k++)
    {
        sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
    }
    if (sum == 0x12345678) {
        *out = sum;
    }
}

typedef struct Rig {
    GpuStream stream;
    GpuEvent from, to;
    uint4 *memory, *other;
    size_t bytes; // of each
    int blocks;
} Rig;

enum What { READ, COPY, F16, BF16, S8 };

static void once(const Rig *rig, enum What what)
{
    dim3 grid((unsigned)rig->blocks), block(THREADS);
    switch (what) {
    case READ:
        LAUNCH(read_all, grid, block, 0, rig->stream, rig->memory, rig->bytes / 16,
               (uint32_t *)rig->other);
        break;
    case COPY:
        check(gpu_copy_d2d_async(rig->other, rig->memory, rig->bytes, rig->stream), "copy");
        break;
    case F16:
        LAUNCH(mma_f16, grid, block, 0, rig->stream, (float *)rig->other);
        break;
    case BF16:
        LAUNCH(mma_bf16, grid, block, 0, rig->stream, (float *)rig->other);
        break;
    case S8:
        LAUNCH(mma_s8, grid, block, 0, rig->stream, (int *)rig->other);
        break;
    }
    check(gpu_last_error(), "launch");
}

/** Seconds of the fastest of some rounds. */
static double fastest(const Rig *rig, enum What what)
{
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) { // the first warms up, and counts for nothing
        float ms = 0;
        check(gpu_event_record(rig->from, rig->stream), "event");
        once(rig, what);
        check(gpu_event_record(rig->to, rig->stream), "event");
        check(gpu_event_sync(rig->to), "kernel");
        check(gpu_event_elapsed_ms(&ms, rig->from, rig->to), "time");
        if (round > 0 && ms * 1e-3 < best) {
            best = ms * 1e-3;
        }
    }
    return best;
}

int main(void)
{
    int n = 0;
    GpuInfo info;
    Rig rig = {};
    size_t free_bytes = 0, total = 0;
    check(gpu_device_count(&n), "devices");
    if (n == 0) {
        fprintf(stderr, "no device\n");
        return 77;
    }
    check(gpu_device_info(0, &info), "device");
    check(gpu_set_device(0), "device");
    check(gpu_memory_info(&free_bytes, &total), "memory");
    rig.bytes = free_bytes / 4 > (size_t)4 * BYTES_MOST ? (size_t)4 * BYTES_MOST
                                                        : free_bytes / 4 & ~(size_t)255;
    rig.blocks = info.n_processors * 8;
    check(gpu_stream_create(&rig.stream), "stream");
    check(gpu_event_create(&rig.from), "event");
    check(gpu_event_create(&rig.to), "event");
    check(gpu_malloc((void **)&rig.memory, rig.bytes), "memory");
    check(gpu_malloc((void **)&rig.other, rig.bytes), "memory");
    check(gpu_memset_async(rig.memory, 1, rig.bytes, rig.stream), "memory");
    double warps = (double)rig.blocks * THREADS / 32;
    double macs = warps * MMA_LOOPS * MMA_WIDE * 16 * 8 * 16; // of m16n8k16
    printf("{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"processors\": %d, "
           "\"memory_bytes\": %zu, ",
           info.name, info.major, info.minor, info.n_processors, total);
    printf("\"read_bytes_per_s\": %.6g, ", (double)rig.bytes / fastest(&rig, READ));
    printf("\"copy_bytes_per_s\": %.6g, ", 2.0 * (double)rig.bytes / fastest(&rig, COPY));
    printf("\"mma_f16_flops\": %.6g, ", 2 * macs / fastest(&rig, F16));
    printf("\"mma_bf16_flops\": %.6g, ", 2 * macs / fastest(&rig, BF16));
    printf("\"mma_s8_ops\": %.6g}\n", 4 * macs / fastest(&rig, S8));
    return 0;
}
