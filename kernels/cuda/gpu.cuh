// SPDX-License-Identifier: MIT
// All that a .cu knows of the GPU, and the only file with CUDA's headers and inline PTX. The same
// source builds twice: nvcc maps these names to CUDA, a C++ compiler with -DMUSTER_EMULATE to
// kernels/emulate/. Nothing else of CUDA may be used: no raw __shared__, no <<<>>>, no intrinsics.
//
// Kernels
//   KERNEL(name)(args) {..}         a kernel
//   KERNEL_BOUNDS(threads, blocks, name)(args) {..}   one with launch bounds
//   DEVICE, HOST_DEVICE             functions of kernels, of both sides
//   LAUNCH(kernel, grid, block, shared_bytes, stream, args...)
//                                   queue it; gpu_last_error() says what went wrong. Blocks have
//                                   one dimension. More than 48 KiB are arranged for. While the
//                                   thread records the stream (GpuRecorder, below) it is kept.
//   LAUNCH_EARLY(kernel, ...)       the same of a kernel that has EARLY_WAIT(): where GPUs can, its
//                                   blocks start before the kernel in front of it is quite done
//   EARLY_WAIT()                    the kernels in front are done. Before it nothing may be
//                                   written, and only what no kernel writes may be read. Every
//                                   thread gets here on every path: a kernel that ended without it
//                                   might end before those in front, and the next one's wait would
//                                   cover nothing
//   EARLY_START()                   the next kernel's blocks may start. They take room, on some
//                                   processors more than on others: not while a large kernel is at
//                                   its main work. EARLY() waits, and does this if the grid is
//                                   small
//   SHARED(type, name, [dims]);     shared memory of a block, aligned to 16 bytes; not initialised
//   DYN_SHARED(type, name);         type *name: the shared_bytes of the launch; aligned to 16 bytes
//   SYNC()                          all threads of the block, none of which has ended
//   SYNC_WARP()                     all lanes of the warp; orders their memory
//   FENCE()                         memory before it is seen by the device before memory after it
//   thread_x() block_x() block_y() block_z() block_dim_x() grid_dim_x() grid_dim_y() grid_dim_z()
//   UNROLL for (..)                 a loop that is unrolled
//
// Between the lanes of a warp, all 32 of them at the same place
//   shfl(v, lane) shfl_xor(v, mask) shfl_down(v, delta) shfl_up(v, delta)   of 4 or 8 bytes
//   ballot(bool) -> uint32_t, any_lane(bool), all_lanes(bool)
//
// Asynchronous copies from global to shared memory
//   cp_async16(shared, global, valid)   16 aligned bytes; zeros and no read when not valid
//   cp_async_commit()                   closes a group; cp_async_wait<N>() leaves the N youngest
//
// Tensor cores, d += a * b with the fragments of the PTX ISA; g = lane / 4, c = lane % 4
//   ldmatrix_x4(uint32_t r[4], shared_row), ldmatrix_x4_trans: lane l gives row l % 8 of matrix l/8
//   mma_m16n8k16_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) and _bf16
//   mma_m16n8k32_s8(int d[4], a[4], b[2]) signed x signed; _u8s8 and _s8u8 with unsigned a or b
//   d: (g, 2c), (g, 2c+1), (g+8, 2c), (g+8, 2c+1)
//   dp4a_ss(uint32_t a, uint32_t b, int acc): four signed bytes each; dp4a_us: a unsigned
//
// Numbers (all exact IEEE, round to nearest even; no fast-math)
//   f16_to_float(uint16_t) bf16_to_float(uint16_t) float_to_f16(float) float_to_bf16(float)
//   pack_f16(low, high) pack_bf16(low, high) -> uint32_t, bits_to_float, float_to_bits
//   popcount(uint32_t), atomic_add(uint32_t *, uint32_t), atomic_max(uint32_t *, uint32_t)
//   atomic_add(uint64_t *, uint64_t)          of global memory
//   atomic_add_shared(uint64_t *, uint64_t)   of shared memory, which none may read meanwhile
//   load_stream(const uint4 * | const uint2 *): a read of what no one else reads
//   prefetch_l2(global, bytes): multiples of 16 that will be wanted in the cache before memory; one
//   lane is enough. For before EARLY_WAIT(), where the compiler does not let loads stay; nothing on
//   GPUs that start no kernel early
//   opaque(uint32_t): the same number, of which the compiler knows nothing: what is made of it is
//   made there, not kept in registers from before
//
// Host: thin functions over the runtime, below. A GpuError is CUDA's number; 0 is none.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <tuple>
#include <utility>

typedef int GpuError;
#define GPU_OK                     0
#define GPU_ERROR_VALUE            1
#define GPU_ERROR_MEMORY           2
#define GPU_ERROR_CONFIG           9
#define GPU_ERROR_NO_DRIVER        35
#define GPU_ERROR_NO_DEVICE        100
#define GPU_ERROR_DEVICE           101
#define GPU_ERROR_HANDLE           400
#define GPU_ERROR_NOT_READY        600
#define GPU_ERROR_ADDRESS          700
#define GPU_ERROR_LAUNCH_RESOURCES 701
#define GPU_ERROR_LAUNCH           719
#define GPU_ERROR_CAPTURE          901

typedef struct GpuInfo {
    char name[128];
    char pci[32]; // "0000:3b:00.0"
    size_t memory_bytes;
    int major, minor; // compute capability
    int n_processors;
    size_t l2_bytes;
    int shared_bytes; // the most one block can have
} GpuInfo;

#ifdef MUSTER_EMULATE
#include "kernels/emulate/emulate.h"
#else

#include <atomic>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

typedef cudaStream_t GpuStream;
typedef cudaEvent_t GpuEvent;
typedef cudaGraph_t GpuGraph;
typedef cudaGraphExec_t GpuGraphExec;

#define DEVICE       __device__
#define HOST_DEVICE  __host__ __device__
#define KERNEL(name) static __global__ void name
#define KERNEL_BOUNDS(threads, blocks, name)                                                       \
    static __global__ void __launch_bounds__(threads, blocks) name
#define UNROLL                   _Pragma("unroll")
#define SHARED(type, name, dims) __shared__ __align__(16) type name dims
#define DYN_SHARED(type, name)                                                                     \
    extern __shared__ __align__(16) unsigned char gpu_dyn_shared[];                                \
    type *name = (type *)gpu_dyn_shared
#define SYNC()            __syncthreads()
#define SYNC_WARP()       __syncwarp()
#define FENCE()           __threadfence()
#define LAUNCH(...)       gpu_launch(GpuPlace{false}, __VA_ARGS__)
#define LAUNCH_EARLY(...) gpu_launch(GpuPlace{true}, __VA_ARGS__)

/** How a launch stands in the source. */
typedef struct GpuPlace {
    bool early;
} GpuPlace;

// PTX ISA, griddepcontrol; code for older GPUs starts when all before is done.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define EARLY_START() asm volatile("griddepcontrol.launch_dependents;" ::: "memory")
#define EARLY_WAIT()  asm volatile("griddepcontrol.wait;" ::: "memory")
#else
#define EARLY_START() ((void)0)
#define EARLY_WAIT()  ((void)0)
#endif

#define GPU_WARP 0xffffffffu

// ---- Kernels ------------------------------------------------------------------------------------

__device__ inline uint32_t thread_x(void)
{
    return threadIdx.x;
}
__device__ inline uint32_t block_x(void)
{
    return blockIdx.x;
}
__device__ inline uint32_t block_y(void)
{
    return blockIdx.y;
}
__device__ inline uint32_t block_z(void)
{
    return blockIdx.z;
}
__device__ inline uint32_t block_dim_x(void)
{
    return blockDim.x;
}
__device__ inline uint32_t grid_dim_x(void)
{
    return gridDim.x;
}
__device__ inline uint32_t grid_dim_y(void)
{
    return gridDim.y;
}
__device__ inline uint32_t grid_dim_z(void)
{
    return gridDim.z;
}
#define EARLY()                                                                                    \
    do {                                                                                           \
        EARLY_WAIT();                                                                              \
        if (grid_dim_x() * grid_dim_y() <= 64) {                                                   \
            EARLY_START();                                                                         \
        }                                                                                          \
    } while (0)

/** Whether kernels wait for what is before them by themselves: on the current device, and in the
 * code that it runs, which may have been made for an older one. */
static __global__ void gpu_code_of(void)
{
}
inline bool gpu_starts_early(void)
{
    static std::atomic<signed char> known[64]; // by device: 1 yes, -1 no
    int device = 0;
    cudaFuncAttributes code;
    if (cudaGetDevice(&device) != cudaSuccess || device < 0 || device >= 64) {
        return false;
    }
    if (known[device] == 0) {
        bool can = cudaFuncGetAttributes(&code, (const void *)gpu_code_of) == cudaSuccess &&
                   code.ptxVersion >= 90;
        known[device] = can ? 1 : -1;
    }
    return known[device] > 0;
}

template <typename... P, typename... A>
inline void gpu_issue(GpuPlace place, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t shared_bytes, GpuStream stream, const A &...args)
{
    if (shared_bytes > 48 * 1024 &&
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)shared_bytes) != cudaSuccess) {
        return; // the error stays for gpu_last_error
    }
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = place.early && gpu_starts_early() ? 1 : 0;
    (void)cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}
inline void gpu_place_copy(GpuPlace *to, const GpuPlace &from)
{
    *to = from;
}

// ---- Warps --------------------------------------------------------------------------------------

template <typename T> __device__ inline T shfl(T v, int lane)
{
    return __shfl_sync(GPU_WARP, v, lane);
}
template <typename T> __device__ inline T shfl_xor(T v, int mask)
{
    return __shfl_xor_sync(GPU_WARP, v, mask);
}
template <typename T> __device__ inline T shfl_down(T v, int delta)
{
    return __shfl_down_sync(GPU_WARP, v, (unsigned)delta);
}
template <typename T> __device__ inline T shfl_up(T v, int delta)
{
    return __shfl_up_sync(GPU_WARP, v, (unsigned)delta);
}
#define ballot(p) gpu_ballot(p) // CUDA has an outdated one of that name
__device__ inline uint32_t gpu_ballot(bool p)
{
    return __ballot_sync(GPU_WARP, p);
}
__device__ inline bool any_lane(bool p)
{
    return __any_sync(GPU_WARP, p) != 0;
}
__device__ inline bool all_lanes(bool p)
{
    return __all_sync(GPU_WARP, p) != 0;
}

// ---- Copies and tensor cores --------------------------------------------------------------------

__device__ inline uint32_t gpu_shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}
__device__ inline void cp_async16(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gpu_shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ inline void cp_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> __device__ inline void cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
__device__ inline void ldmatrix_x4(uint32_t *r, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(row))
                 : "memory");
}
__device__ inline void ldmatrix_x4_trans(uint32_t *r, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(row))
                 : "memory");
}
#define GPU_MMA(shape_and_types, constraint)                                                       \
    asm("mma.sync.aligned." shape_and_types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "      \
        "{%0, %1, %2, %3};"                                                                        \
        : constraint(d[0]), constraint(d[1]), constraint(d[2]), constraint(d[3])                   \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
__device__ inline void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b)
{
    GPU_MMA("m16n8k16.row.col.f32.f16.f16.f32", "+f");
}
__device__ inline void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b)
{
    GPU_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", "+f");
}
__device__ inline void mma_m16n8k32_s8(int *d, const uint32_t *a, const uint32_t *b)
{
    GPU_MMA("m16n8k32.row.col.s32.s8.s8.s32", "+r");
}
__device__ inline void mma_m16n8k32_u8s8(int *d, const uint32_t *a, const uint32_t *b)
{
    GPU_MMA("m16n8k32.row.col.s32.u8.s8.s32", "+r");
}
__device__ inline void mma_m16n8k32_s8u8(int *d, const uint32_t *a, const uint32_t *b)
{
    GPU_MMA("m16n8k32.row.col.s32.s8.u8.s32", "+r");
}
#undef GPU_MMA
__device__ inline int dp4a_ss(uint32_t a, uint32_t b, int acc)
{
    return __dp4a((int)a, (int)b, acc);
}
__device__ inline int dp4a_us(uint32_t a, uint32_t b, int acc)
{
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(acc));
    return d;
}

// ---- Numbers ------------------------------------------------------------------------------------

HOST_DEVICE inline float bits_to_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}
HOST_DEVICE inline uint32_t float_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}
HOST_DEVICE inline float f16_to_float(uint16_t h)
{
    return __half2float(__half(__half_raw{h}));
}
HOST_DEVICE inline uint16_t float_to_f16(float x)
{
    return __half_raw(__float2half_rn(x)).x;
}
HOST_DEVICE inline float bf16_to_float(uint16_t h)
{
    return bits_to_float((uint32_t)h << 16);
}
HOST_DEVICE inline uint16_t float_to_bf16(float x)
{
    return __nv_bfloat16_raw(__float2bfloat16_rn(x)).x;
}
HOST_DEVICE inline uint32_t pack_f16(float low, float high)
{
    return (uint32_t)float_to_f16(high) << 16 | float_to_f16(low);
}
HOST_DEVICE inline uint32_t pack_bf16(float low, float high)
{
    return (uint32_t)float_to_bf16(high) << 16 | float_to_bf16(low);
}
__device__ inline int popcount(uint32_t x)
{
    return __popc(x);
}
__device__ inline uint32_t atomic_add(uint32_t *at, uint32_t x)
{
    return atomicAdd(at, x);
}
__device__ inline uint64_t atomic_add(uint64_t *at, uint64_t x)
{
    return atomicAdd((unsigned long long *)at, (unsigned long long)x);
}
/** By words: of 64 bits the hardware only compares and swaps, which is slow where many wait. */
__device__ inline void atomic_add_shared(uint64_t *at, uint64_t x)
{
    unsigned *words = (unsigned *)at, low = (unsigned)x, high = (unsigned)(x >> 32);
    unsigned before = atomicAdd(&words[0], low);
    high += before + low < before ? 1 : 0;
    if (high != 0) {
        atomicAdd(&words[1], high);
    }
}
__device__ inline uint32_t atomic_max(uint32_t *at, uint32_t x)
{
    return atomicMax(at, x);
}
__device__ inline uint32_t opaque(uint32_t x)
{
    asm volatile("" : "+r"(x));
    return x;
}
__device__ inline uint4 load_stream(const uint4 *at)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}
__device__ inline uint2 load_stream(const uint2 *at)
{
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(at));
    return v;
}
/** PTX ISA, cp.async.bulk.prefetch: the size is exact, where one address's prefetch is of a line,
 * whatever that is. */
__device__ inline void prefetch_l2(const void *global, uint32_t bytes)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
#else
    (void)global;
    (void)bytes;
#endif
}

// ---- Host ---------------------------------------------------------------------------------------

inline GpuError gpu_device_count(int *out_n)
{
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    *out_n = e == cudaSuccess ? n : 0;
    return e;
}
inline GpuError gpu_set_device(int index)
{
    return cudaSetDevice(index);
}
inline GpuError gpu_device_info(int index, GpuInfo *out)
{
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, index);
    if (e != cudaSuccess) {
        return e;
    }
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "%.127s", p.name);
    out->memory_bytes = p.totalGlobalMem;
    out->major = p.major;
    out->minor = p.minor;
    out->n_processors = p.multiProcessorCount;
    out->l2_bytes = (size_t)p.l2CacheSize;
    out->shared_bytes = (int)p.sharedMemPerBlockOptin;
    return cudaDeviceGetPCIBusId(out->pci, sizeof(out->pci), index);
}
inline GpuError gpu_memory_info(size_t *out_free, size_t *out_total)
{
    return cudaMemGetInfo(out_free, out_total);
}
inline GpuError gpu_malloc(void **out, size_t bytes)
{
    return cudaMalloc(out, bytes);
}
inline GpuError gpu_free(void *device)
{
    return cudaFree(device);
}
/** Pinned memory of the host: copies to and from it are asynchronous. */
inline GpuError gpu_malloc_host(void **out, size_t bytes)
{
    return cudaMallocHost(out, bytes);
}
inline GpuError gpu_free_host(void *host)
{
    return cudaFreeHost(host);
}
inline GpuError gpu_copy_h2d_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
}
inline GpuError gpu_copy_d2h_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream);
}
inline GpuError gpu_copy_d2d_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
inline GpuError gpu_copy_peer_async(void *to, int to_device, const void *from, int from_device,
                                    size_t bytes, GpuStream stream)
{
    return cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, stream);
}
/** Let a device read another one's memory without detours, where the machine can. */
inline GpuError gpu_peer_enable(int device, int other)
{
    int can = 0;
    cudaError_t e = cudaDeviceCanAccessPeer(&can, device, other);
    if (e != cudaSuccess || !can) {
        return e;
    }
    if ((e = cudaSetDevice(device)) != cudaSuccess) {
        return e;
    }
    e = cudaDeviceEnablePeerAccess(other, 0);
    if (e == cudaErrorPeerAccessAlreadyEnabled) {
        (void)cudaGetLastError();
        e = cudaSuccess;
    }
    return e;
}
inline GpuError gpu_memset_async(void *to, int byte, size_t bytes, GpuStream stream)
{
    return cudaMemsetAsync(to, byte, bytes, stream);
}
inline GpuError gpu_stream_create(GpuStream *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamNonBlocking);
}
inline GpuError gpu_stream_destroy(GpuStream stream)
{
    return cudaStreamDestroy(stream);
}
inline GpuError gpu_stream_sync(GpuStream stream)
{
    return cudaStreamSynchronize(stream);
}
inline GpuError gpu_stream_wait_event(GpuStream stream, GpuEvent event)
{
    return cudaStreamWaitEvent(stream, event, 0);
}
inline GpuError gpu_device_sync(void)
{
    return cudaDeviceSynchronize();
}
inline GpuError gpu_event_create(GpuEvent *out)
{
    return cudaEventCreate(out);
}
inline GpuError gpu_event_destroy(GpuEvent event)
{
    return cudaEventDestroy(event);
}
inline GpuError gpu_event_record(GpuEvent event, GpuStream stream)
{
    return cudaEventRecord(event, stream);
}
inline GpuError gpu_event_sync(GpuEvent event)
{
    return cudaEventSynchronize(event);
}
/** GPU_ERROR_NOT_READY while work before the event's record is under way. */
inline GpuError gpu_event_query(GpuEvent event)
{
    return cudaEventQuery(event);
}
inline GpuError gpu_event_elapsed_ms(float *out_ms, GpuEvent from, GpuEvent to)
{
    return cudaEventElapsedTime(out_ms, from, to);
}
/** What is queued on the stream from here to gpu_capture_end becomes a graph and does not run. */
inline GpuError gpu_capture_begin(GpuStream stream)
{
    return cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
}
inline GpuError gpu_capture_end(GpuStream stream, GpuGraph *out)
{
    return cudaStreamEndCapture(stream, out);
}
inline GpuError gpu_graph_destroy(GpuGraph graph)
{
    return cudaGraphDestroy(graph);
}
inline GpuError gpu_graph_instantiate(GpuGraphExec *out, GpuGraph graph)
{
    return cudaGraphInstantiateWithFlags(out, graph, 0);
}
inline GpuError gpu_graph_launch(GpuGraphExec exec, GpuStream stream)
{
    return cudaGraphLaunch(exec, stream);
}
inline GpuError gpu_graph_exec_destroy(GpuGraphExec exec)
{
    return cudaGraphExecDestroy(exec);
}
/** The error of a launch, and forget it. */
inline GpuError gpu_last_error(void)
{
    return cudaGetLastError();
}
inline const char *gpu_error_string(GpuError error)
{
    return cudaGetErrorString((cudaError_t)error);
}

#endif

// ---- Recording ----------------------------------------------------------------------------------

/** A launch that is kept: what follows are kernel, sizes and arguments, whose bytes are the same
 * for the same launch. */
typedef struct GpuCall {
    void (*issue)(const struct GpuCall *call, GpuStream stream);
    size_t bytes; // with all that follows; a multiple of 16
} GpuCall;

/** The launches of one stream, one behind the other. */
typedef struct GpuRecorder {
    GpuStream stream;
    uint8_t *calls; // realloc's
    size_t n_bytes, capacity;
    bool failed; // no memory: a launch is missing
} GpuRecorder;

/** While set, the thread's launches on its stream are kept instead of queued. */
inline thread_local GpuRecorder *gpu_recorder;

/** Zeroed memory behind the calls that are there; NULL when there is none. */
inline void *gpu_record(GpuRecorder *recorder, size_t bytes)
{
    if (bytes > recorder->capacity - recorder->n_bytes) {
        size_t capacity = 2 * recorder->capacity + bytes + 4096;
        uint8_t *calls = (uint8_t *)realloc(recorder->calls, capacity);
        if (calls == NULL) {
            recorder->failed = true;
            return NULL;
        }
        recorder->calls = calls;
        recorder->capacity = capacity;
    }
    void *at = recorder->calls + recorder->n_bytes;
    recorder->n_bytes += bytes;
    return memset(at, 0, bytes);
}

/** An argument as the kernel takes it. Bytes between a struct's members come along, so that what
 * was zeroed stays comparable. */
template <typename P, typename A> inline void gpu_argument(P *to, const A &from)
{
    *to = static_cast<P>(from);
}
template <typename P> inline void gpu_argument(P *to, const P &from)
{
    memcpy((void *)to, (const void *)&from, sizeof(P));
}

template <typename... P> struct GpuKernelCall {
    GpuCall call; // first
    GpuPlace place;
    void (*kernel)(P...);
    dim3 grid, block;
    size_t shared_bytes;
    std::tuple<P...> args;

    template <size_t... I, typename... A> void keep(std::index_sequence<I...>, const A &...from)
    {
        (gpu_argument(&std::get<I>(args), from), ...);
    }
    template <size_t... I> void spread(std::index_sequence<I...>, GpuStream stream) const
    {
        gpu_issue(place, kernel, grid, block, shared_bytes, stream, std::get<I>(args)...);
    }
    static void issue(const GpuCall *call, GpuStream stream)
    {
        ((const GpuKernelCall *)call)->spread(std::index_sequence_for<P...>(), stream);
    }
};

template <typename... P, typename... A>
inline void gpu_launch(GpuPlace place, void (*kernel)(P...), dim3 grid, dim3 block,
                       size_t shared_bytes, GpuStream stream, const A &...args)
{
    if (gpu_recorder == NULL || gpu_recorder->stream != stream) {
        gpu_issue(place, kernel, grid, block, shared_bytes, stream, args...);
        return;
    }
    typedef GpuKernelCall<P...> Kept;
    static_assert(alignof(Kept) <= 16, "calls lie at multiples of 16");
    size_t bytes = (sizeof(Kept) + 15) / 16 * 16;
    Kept *kept = (Kept *)gpu_record(gpu_recorder, bytes);
    if (kept != NULL) {
        kept->call.issue = Kept::issue;
        kept->call.bytes = bytes;
        gpu_place_copy(&kept->place, place);
        kept->kernel = kernel;
        kept->grid = grid;
        kept->block = block;
        kept->shared_bytes = shared_bytes;
        kept->keep(std::index_sequence_for<P...>(), args...);
    }
}
