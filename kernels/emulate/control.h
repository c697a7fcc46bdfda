// SPDX-License-Identifier: MIT
// What tests say to the emulated GPU and hear from it. Plain C. The environment sets the same
// options for programs that know nothing of emulation: MUSTER_EMULATE_SEED, _LAZY, _GUARD,
// _DEVICES, _MEMORY (bytes of a device), _FAIL ("alloc:3": the third from the start fails).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMULATE_DEVICES_MAX 64

typedef struct EmulateOptions {
    uint64_t seed;       // 0: threads in order. Else which schedule: 1 + (seed - 1) % 4 is reverse,
                         // uniform, priorities of warps, priorities of threads; blocks shuffled
    bool lazy;           // nothing runs before something waits for it, streams in random order
    bool guard;          // device memory can not be touched by the host
    int n_devices;       // -1: no driver; 0: 1
    size_t memory_bytes; // of a device; 0: 4 GiB
    size_t shared_bytes; // that a block can have; 0: 227 KiB, as on sm_90 (sm_86: 99)
} EmulateOptions;

/** Set the options; no work may be queued. The devices, and what lives on them, stay. */
void emulate_configure(const EmulateOptions *options);
void emulate_options(EmulateOptions *out);

/** The oldest bug found that was not taken yet, "file:line: what"; NULL none. Borrowed until
 * emulate_reset. A program that ends with bugs not taken prints them and exits with 70. */
const char *emulate_take_fault(void);
/** Forget all faults and failures to come, and bring lost devices back. */
void emulate_reset(void);

typedef enum EmulateFailure {
    EMULATE_FAIL_ALLOC,  // gpu_malloc: out of memory
    EMULATE_FAIL_HOST,   // gpu_malloc_host: out of memory
    EMULATE_FAIL_CREATE, // streams, events, graphs: out of memory
    EMULATE_FAIL_LAUNCH, // the kernel can not be launched
    EMULATE_FAIL_KERNEL, // the kernel fails while it runs; the device is lost
    EMULATE_FAIL_COPY,   // a copy fails when it runs; the device is lost
    EMULATE_FAIL_NCCL,   // a call of NCCL
    EMULATE_FAIL_BLAS,   // a call of cuBLAS
    EMULATE_FAIL_GRAPH,  // the launch of a graph
    EMULATE_FAILURES,
} EmulateFailure;

/** Let the nth from now of its kind fail, once; 0: none. */
void emulate_fail(EmulateFailure what, uint64_t nth);
/** How many of a kind there were since the start. */
uint64_t emulate_count(EmulateFailure what);

/** A barrier of a kernel, SYNC or SYNC_WARP, as its source names it. */
typedef struct EmulateBarrier {
    const char *file;
    int line;
} EmulateBarrier;

/** Note every barrier that a kernel comes to from now on; forget those that were noted. */
void emulate_note_barriers(void);
/** The nth that was noted; false past the last. */
bool emulate_barrier(size_t n, EmulateBarrier *out);
/** Let kernels run as if this barrier were not written; NULL: with all of them. */
void emulate_leave_out(const EmulateBarrier *barrier);

typedef struct EmulateLive {
    size_t allocations, bytes; // of the devices
    size_t host_allocations;   // pinned
    size_t streams, events, graphs;
    size_t blas_handles, nccl_ranks;
} EmulateLive;
void emulate_live(EmulateLive *out);

/** A matrix product that cuBLAS was asked for. */
typedef struct EmulateBlasCall {
    int m, n, k;
    int type_a, type_b, type_d, type_compute;
    int algo;    // id of the algorithm; -1: the library's choice
    int split_k; // 1: none
    size_t workspace;
    int trans_a, trans_b;
    int64_t lead_a, lead_b, lead_d; // leading dimensions
    float beta;
    int device;
} EmulateBlasCall;
/** The calls since emulate_reset, oldest first; false past the last. */
bool emulate_blas_call(size_t i, EmulateBlasCall *out);

/** From here on these libraries are not there; the environment says the same as
 * MUSTER_EMULATE_WITHOUT=blas,nccl. Whoever holds their tables keeps them. */
void emulate_without(bool blas, bool nccl);

#ifdef __cplusplus
}
#endif
