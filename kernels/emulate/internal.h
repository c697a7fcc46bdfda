// SPDX-License-Identifier: MIT
// What the files of the emulator share. One kernel runs at a time, in whichever host thread holds
// the lock (stream.cc); all that is below belongs to it.
#pragma once

#include "kernels/cuda/gpu.cuh"
#include "kernels/emulate/control.h"

#include <stdarg.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATE_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define EMULATE_ASAN                         0
#define __asan_poison_memory_region(at, n)   ((void)(at), (void)(n))
#define __asan_unpoison_memory_region(at, n) ((void)(at), (void)(n))
#endif

#define WARP          32
#define ALL_LANES     0xffffffffu
#define THREADS_MAX   1024
#define STATIC_SHARED (48 * 1024)
#define SHARED_MOST   (227 * 1024) // that a block can have, what sm_90 gives
#define SHARED_GAP    64           // between two pieces of shared memory
#define SHARED_ARENA  (512 * 1024)
#define SITES_MAX     64
#define FILL          0xff // of memory without a value: NaN in f32, f16 and bf16, -1
#define GAP_FILL      0xa5 // of what nobody may touch

// ---- fiber.cc: a launch, its blocks and threads -------------------------------------------------

typedef enum ThreadState {
    THREAD_NEW,
    THREAD_READY,
    THREAD_AT_BARRIER,
    THREAD_IN_WARP,
    THREAD_ENDED,
} ThreadState;

/** A copy that cp_async issued. */
typedef struct AsyncCopy {
    uint8_t *to;
    const uint8_t *from; // NULL: zeros
    uint32_t group;
} AsyncCopy;

typedef struct Context Context; // context.h

typedef struct Thread {
    Context *context; // NULL while it has no stack
    uint32_t index;
    ThreadState state;
    const char *file; // where it waits
    int line;
    EmulateMeeting meeting;
    void *args;
    AsyncCopy *copies; // ring of its own, kept between launches
    uint32_t n_copies, copies_capacity;
    uint32_t group; // of the copies to come
} Thread;

typedef struct Warp {
    uint32_t arrived; // lanes that wait in a meeting
    uint32_t ended;
    uint32_t epoch; // meetings that order memory, for the checker
} Warp;

typedef struct SharedPiece {
    const EmulateSite *site; // NULL: the launch's own bytes
    uint32_t offset, bytes;
} SharedPiece;

typedef struct Launch {
    EmulatePlace place;
    char name[96]; // of the kernel
    dim3 grid;
    uint32_t n_threads;
    uint32_t shared_bytes; // of DYN_SHARED
    const EmulateCall *call;
    int device;
    uint64_t id;     // of launches since the start, from 1
    uint64_t blocks; // run since the start: the running one's number, from 1
    uint64_t random;
    int policy; // 0 in order, as EmulateOptions.seed has them

    Thread threads[THREADS_MAX];
    Warp warps[THREADS_MAX / WARP];
    Thread *current; // NULL: the host
    uint32_t n_ended, n_at_barrier;
    uint32_t epoch;       // barriers passed in this block
    uint32_t fences;      // in this launch
    uint64_t first_block; // of this launch, as blocks counts
    const char *barrier_file;
    int barrier_line;

    uint8_t *shared;
    uint32_t shared_used;
    uint8_t in_flight[SHARED_ARENA / 16]; // pieces of it that a cp_async has not delivered
    SharedPiece pieces[SITES_MAX];
    uint32_t n_pieces;
    bool failed;
} Launch;

extern Launch emulate_current; // the one that runs

/** Run a kernel; false when it had a bug, which is in the faults. */
bool launch_run(EmulatePlace place, dim3 grid, uint32_t n_threads, size_t shared_bytes, int device,
                const EmulateCall *call);
/** True in a fiber, and in no other host thread meanwhile. */
bool launch_inside(void);
/** Leave the kernel from within, for good. */
[[noreturn]] void launch_abandon(void);
/** The running thread waits in the state given until someone wakes it. */
void thread_wait(ThreadState state);
void thread_wake(Thread *thread);
/** The running thread woke others: let any go on, itself included. */
void thread_let_others(void);
/** Whether a barrier is not to be there (emulate_leave_out); notes it. */
extern bool barriers_watched;
bool barrier_left_out(const char *file, int line);
uint64_t random_next(uint64_t *state);
/** The lowest and highest address of the running thread's stack. */
void thread_stack(uintptr_t *out_low, uintptr_t *out_high);

// ---- warp.cc ------------------------------------------------------------------------------------

/** A thread has ended: its warp may wait for it in vain. */
void warp_thread_ended(Thread *thread);
/** A thread begins or ends: no copy of it is under way. */
void warp_copies_forget(Thread *thread);

// ---- fault.cc -----------------------------------------------------------------------------------

/** A bug of the kernel or its host: remember it, say so, and in a kernel leave it. The place
 * NULL: where the running thread waits, or the launch. */
void fault(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fault_v(const char *file, int line, const char *format, va_list args);
/** The same at the place of an instruction of the kernel. */
void fault_at(const void *instruction, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** "block (0,0,0) thread 5" of the running thread. */
const char *fault_who(void);
/** The newest fault's words, or NULL. */
const char *fault_last(void);
void fault_reset(void);
/** Catch stray accesses of this host thread. */
void fault_install(void);
/** Whether the nth of its kind is to fail now; counts it. */
bool failure_now(EmulateFailure what);

// ---- memory.cc ----------------------------------------------------------------------------------

typedef struct Allocation {
    uint8_t *start;
    size_t bytes;
    int device;
    bool live;
} Allocation;

bool memory_in_arena(const void *at);
/** Where the arena begins, and how long it is. */
void memory_arena(uintptr_t *out_start, size_t *out_bytes);
/** The allocation around an address, live or freed last there; false when there is none. */
bool memory_find(const void *at, Allocation *out);
/** Changes with every allocation. */
uint64_t memory_generation(void);
/** Whether all of it lies in one live allocation. */
bool memory_valid(const void *at, size_t bytes);
bool memory_pinned(const void *at, size_t bytes);
/** Say what is wrong with an address of the arena. */
void memory_explain(const void *at, size_t bytes, char *out, size_t size);
/** Open and close device memory to this process (EmulateOptions.guard). */
void memory_open(void);
void memory_close(void);
/** Memory past the end of allocations that a kernel wrote; true when all is well. */
bool memory_gaps_whole(void);
/** gpu_free and gpu_free_host once nothing is queued that may use it. */
GpuError memory_free(void *device);
GpuError memory_free_host(void *host);
void memory_live(EmulateLive *out);

// ---- stream.cc ----------------------------------------------------------------------------------

/** Work of a library in stream order. ready NULL: always. Both under the lock. */
typedef struct StreamWork {
    bool (*ready)(void *self); // false: not yet; asked again
    GpuError (*run)(void *self);
    void (*cancel)(void *self); // its device is lost; NULL: nothing to tell
    void (*destroy)(void *self);
    void *self;
} StreamWork;

/** Queue work on a stream; NULL is the device's own. Takes work over. */
GpuError stream_add(GpuStream stream, StreamWork work);
int stream_device(GpuStream stream);
int stream_current_device(void);
EmulateOptions *stream_options(void);
/** The thread's last error, for gpu_last_error; returns it. */
GpuError stream_error(GpuError error);
/** Whether this thread captures a stream, when what is asked for is a fault. */
bool stream_capturing(const char *what);
void stream_lock(void);
void stream_unlock(void);

// ---- blas.cc, nccl.cc
// -----------------------------------------------------------------------------

/** Whether emulate_without or the environment takes a library away: "blas", "nccl". */
bool library_absent(const char *name);
void blas_reset(void);
size_t blas_live(void);
size_t nccl_live(void);

// ---- check.cc, when kernels were compiled for it
// -------------------------------------------------

/** What the emulator itself reads and writes for a thread. */
typedef struct Checker {
    void (*access)(const Thread *whose, const void *at, size_t bytes, bool write);
} Checker;
extern const Checker *emulate_checker; // NULL: none
