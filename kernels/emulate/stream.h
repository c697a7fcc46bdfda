// SPDX-License-Identifier: MIT
// What stream.cc (running what is queued) and runtime.cc (the functions of gpu.cuh) share. All of
// it under the lock, but what belongs to a host thread.
#pragma once

#include "kernels/emulate/internal.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <stdlib.h>

enum OpKind { OP_KERNEL, OP_COPY, OP_FILL, OP_RECORD, OP_WAIT, OP_WORK, OP_GRAPH };

struct Closure { // arguments of a kernel, or a library's work
    EmulateCall call = {NULL, NULL, NULL, 0};
    StreamWork work = {NULL, NULL, NULL, NULL, NULL};
    ~Closure()
    {
        if (call.self != NULL) {
            call.destroy(call.self);
            free(call.self);
        }
        if (work.self != NULL && work.destroy != NULL) {
            work.destroy(work.self);
        }
    }
};

struct Op {
    OpKind kind;
    EmulatePlace place = {"", NULL, 0};
    dim3 grid;
    uint32_t n_threads = 0;
    size_t shared_bytes = 0;
    std::shared_ptr<Closure> closure;
    uint8_t *to = NULL;
    const uint8_t *from = NULL;
    std::shared_ptr<std::vector<uint8_t>> staged; // a copy of what pageable memory held
    size_t bytes = 0;
    int byte = 0;
    GpuEvent event = NULL;
    uint64_t ticket = 0; // of the record that is made or waited for
    std::shared_ptr<std::vector<Op>> graph;
};

struct EmulateStream {
    int device;
    std::deque<Op> queue;
    size_t graph_at = 0; // operations done of the graph at the head
    bool capturing = false;
    std::vector<Op> captured;
    GpuError capture_error = GPU_OK;
};

struct EmulateEvent {
    uint64_t recorded = 0; // tickets given
    uint64_t done = 0;     // the latest that happened
    double time_ms = 0;
    bool captured = false; // its last record was in a capture
};

struct EmulateGraph {
    std::shared_ptr<std::vector<Op>> ops;
};
struct EmulateGraphExec {
    std::shared_ptr<std::vector<Op>> ops;
};

namespace emulate
{

extern std::mutex lock;
extern EmulateOptions options;
extern std::list<EmulateStream> *streams;
extern std::set<const void *> *handles; // of streams, events, graphs that exist
extern EmulateStream *defaults[EMULATE_DEVICES_MAX];
extern bool lost[EMULATE_DEVICES_MAX];
extern thread_local int current_device;
extern thread_local GpuError last_error;

/** First thing under the lock. */
void begin(void);

struct Locked {
    std::unique_lock<std::mutex> held;
    Locked() : held(lock)
    {
        begin();
    }
};

/** A stream that exists, NULL the device's own; NULL when it does not. */
EmulateStream *stream_of(GpuStream stream);
/** Queue an operation, or capture it. */
GpuError add(GpuStream stream, Op &&op);
/** Run one operation of any stream, in random order when lazy; false when none can run. */
bool run_any(void);
/** Run until done() holds; waits for other host threads when nothing can run. */
GpuError run_until(Locked &locked, int device, const std::function<bool()> &done);

} // namespace emulate
