// SPDX-License-Identifier: MIT
// Streams are queues of operations, and nothing runs but here. An operation may run when it is the
// first of its stream and what it waits for has happened. Eager, a stream is run as far as it goes
// at every call; lazy, only when the host waits, streams in random order, so that a result that is
// read too early was not computed yet. One lock; whoever waits runs what there is.
#include "kernels/emulate/stream.h"

#include <chrono>

#include <stdio.h>

#define WAIT_SECONDS 60 // for another host thread, then it is a deadlock

namespace emulate
{

std::mutex lock;
EmulateOptions options = {0, false, false, 1, (size_t)4 << 30, SHARED_MOST};
std::list<EmulateStream> *streams;
std::set<const void *> *handles;
EmulateStream *defaults[EMULATE_DEVICES_MAX];
bool lost[EMULATE_DEVICES_MAX];
thread_local int current_device;
thread_local GpuError last_error;

} // namespace emulate

using namespace emulate;

static std::condition_variable changed;
static uint64_t n_changes; // operations added or done
static uint64_t random_state;

/** No time that means something: what is chosen by it shall be another one with another seed, and
 * the same one again with the same seed. */
static double clock_ms(void)
{
    static uint64_t n_looks;
    static double ms;
    uint64_t state = options.seed * 31 + ++n_looks;
    ms += (double)(1 + random_next(&state) % 1000) / 64;
    return ms;
}

// ---- Options ------------------------------------------------------------------------------------

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? (uint64_t)strtoll(text, NULL, 10) : otherwise;
}

static void options_set(const EmulateOptions *from)
{
    options = *from;
    options.n_devices = options.n_devices == 0 ? 1 : options.n_devices;
    options.n_devices =
        options.n_devices > EMULATE_DEVICES_MAX ? EMULATE_DEVICES_MAX : options.n_devices;
    options.memory_bytes = options.memory_bytes == 0 ? (size_t)4 << 30 : options.memory_bytes;
    options.shared_bytes = options.shared_bytes == 0            ? SHARED_MOST
                           : options.shared_bytes > SHARED_MOST ? SHARED_MOST
                                                                : options.shared_bytes;
    random_state = options.seed * 77 + 1;
}

void emulate::begin(void)
{
    if (streams != NULL) {
        return;
    }
    streams = new std::list<EmulateStream>;
    handles = new std::set<const void *>;
    EmulateOptions wish = {
        from_environment("MUSTER_EMULATE_SEED", options.seed),
        from_environment("MUSTER_EMULATE_LAZY", options.lazy) != 0,
        from_environment("MUSTER_EMULATE_GUARD", options.guard) != 0,
        (int)from_environment("MUSTER_EMULATE_DEVICES", (uint64_t)options.n_devices),
        from_environment("MUSTER_EMULATE_MEMORY", options.memory_bytes),
        from_environment("MUSTER_EMULATE_SHARED", options.shared_bytes)};
    options_set(&wish);
}

void emulate_configure(const EmulateOptions *wish)
{
    Locked locked;
    memory_open();
    options_set(wish);
    memory_close();
}

void emulate_options(EmulateOptions *out)
{
    Locked locked;
    *out = options;
}

EmulateOptions *stream_options(void)
{
    return &options;
}

void emulate_reset(void)
{
    {
        Locked locked;
        for (bool &l : lost) {
            l = false;
        }
        for (EmulateStream &s : *streams) {
            s.queue.clear();
            s.graph_at = 0;
        }
        last_error = GPU_OK;
    }
    blas_reset();
    fault_reset();
}

// ---- Running operations -------------------------------------------------------------------------

static bool range_check(const char *what, const void *at, size_t bytes)
{
    if (!memory_valid(at, bytes)) {
        char text[300];
        memory_explain(at, bytes, text, sizeof(text));
        fault(NULL, 0, "%s: %s", what, text);
        return false;
    }
    return true;
}

static GpuError run_copy(const Op &op)
{
    const uint8_t *from = op.staged != NULL ? op.staged->data() : op.from;
    bool sound = (!memory_in_arena(op.to) || range_check("copy to", op.to, op.bytes)) &&
                 (!memory_in_arena(from) || range_check("copy from", from, op.bytes));
    if (!sound) {
        return GPU_ERROR_ADDRESS;
    }
    memmove(op.to, from, op.bytes);
    return failure_now(EMULATE_FAIL_COPY) ? GPU_ERROR_LAUNCH : GPU_OK;
}

static GpuError run_kernel(const Op &op, int device)
{
    if (failure_now(EMULATE_FAIL_KERNEL)) {
        return GPU_ERROR_LAUNCH;
    }
    bool sound =
        launch_run(op.place, op.grid, op.n_threads, op.shared_bytes, device, &op.closure->call);
    return sound ? GPU_OK : GPU_ERROR_LAUNCH;
}

/** Run one operation; false when it has to wait. */
static bool run_op(EmulateStream *stream, const Op &op)
{
    GpuError e = GPU_OK;
    bool gone = lost[stream->device];
    switch (op.kind) {
    case OP_KERNEL:
        e = gone ? GPU_OK : run_kernel(op, stream->device);
        break;
    case OP_COPY:
        e = gone ? GPU_OK : run_copy(op);
        break;
    case OP_FILL:
        if (!gone && range_check("fill", op.to, op.bytes)) {
            memset(op.to, op.byte, op.bytes);
        }
        break;
    case OP_RECORD:
        if (handles->count(op.event) != 0) {
            op.event->done = op.ticket > op.event->done ? op.ticket : op.event->done;
            op.event->time_ms = clock_ms();
        }
        break;
    case OP_WAIT:
        if (handles->count(op.event) != 0 && op.event->done < op.ticket && !gone) {
            return false;
        }
        break;
    case OP_WORK:
        if (gone && op.closure->work.cancel != NULL) {
            op.closure->work.cancel(op.closure->work.self);
        } else if (!gone) {
            if (op.closure->work.ready != NULL && !op.closure->work.ready(op.closure->work.self)) {
                return false;
            }
            e = op.closure->work.run(op.closure->work.self);
        }
        break;
    case OP_GRAPH:
        while (stream->graph_at < op.graph->size()) {
            if (!run_op(stream, (*op.graph)[stream->graph_at])) {
                return false;
            }
            stream->graph_at++;
        }
        stream->graph_at = 0;
        break;
    }
    if (e != GPU_OK) {
        lost[stream->device] = true;
    }
    return true;
}

/** Run the head of a stream; false when there is none or it has to wait. */
static bool run_head(EmulateStream *stream)
{
    if (stream->queue.empty()) {
        return false;
    }
    if (!run_op(stream, stream->queue.front())) {
        return false;
    }
    stream->queue.pop_front();
    n_changes++;
    return true;
}

bool emulate::run_any(void)
{
    size_t n = streams->size();
    size_t first = options.lazy && n > 0 ? (size_t)(random_next(&random_state) % n) : 0;
    for (size_t pass = 0; pass < 2; pass++) {
        size_t i = 0;
        for (EmulateStream &s : *streams) {
            if ((i++ >= first) == (pass == 0) && run_head(&s)) {
                return true;
            }
        }
    }
    return false;
}

GpuError emulate::run_until(Locked &locked, int device, const std::function<bool()> &done)
{
    memory_open();
    bool stuck = false;
    while (!done() && !stuck) {
        if (!run_any()) {
            memory_close();
            uint64_t seen = n_changes;
            changed.notify_all();
            stuck = !changed.wait_for(locked.held, std::chrono::seconds(WAIT_SECONDS),
                                      [seen] { return n_changes != seen; });
            memory_open();
        }
    }
    if (stuck) {
        fault(NULL, 0, "deadlock of streams: the host waits for what nothing will make happen");
        lost[device] = true;
    }
    memory_gaps_whole();
    memory_close();
    changed.notify_all();
    return lost[device] ? GPU_ERROR_LAUNCH : GPU_OK;
}

static void run_eagerly(EmulateStream *stream)
{
    if (options.lazy) {
        changed.notify_all();
        return;
    }
    memory_open();
    // Others may wait for an event that this one records.
    for (bool again = run_head(stream); again;) {
        while (run_head(stream)) {
        }
        again = false;
        for (EmulateStream &s : *streams) {
            while (run_head(&s)) {
                again = true;
            }
        }
    }
    memory_close();
    changed.notify_all();
}

// ---- Queueing -----------------------------------------------------------------------------------

EmulateStream *emulate::stream_of(GpuStream stream)
{
    if (stream != NULL) {
        return handles->count(stream) != 0 ? stream : NULL;
    }
    if (defaults[current_device] == NULL) {
        streams->emplace_back();
        defaults[current_device] = &streams->back();
        streams->back().device = current_device;
        handles->insert(&streams->back());
    }
    return defaults[current_device];
}

GpuError emulate::add(GpuStream handle, Op &&op)
{
    EmulateStream *stream = stream_of(handle);
    if (stream == NULL) {
        fault(op.place.file, op.place.line, "a stream that does not exist");
        return GPU_ERROR_HANDLE;
    }
    if (lost[stream->device]) {
        return GPU_ERROR_LAUNCH;
    }
    n_changes++;
    if (stream->capturing) {
        stream->captured.push_back(std::move(op));
        return GPU_OK;
    }
    stream->queue.push_back(std::move(op));
    run_eagerly(stream);
    return lost[stream->device] && !options.lazy ? GPU_ERROR_LAUNCH : GPU_OK;
}

void *emulate_call_memory(size_t bytes)
{
    void *at = malloc(bytes);
    if (at == NULL) {
        abort();
    }
    return at;
}

void emulate_launch(EmulatePlace place, dim3 grid, dim3 block, size_t shared_bytes,
                    GpuStream stream, EmulateCall call)
{
    Locked locked;
    Op op;
    op.kind = OP_KERNEL;
    op.place = place;
    op.grid = grid;
    op.n_threads = block.x;
    op.shared_bytes = shared_bytes;
    op.closure = std::make_shared<Closure>();
    op.closure->call = call;
    bool fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= INT32_MAX && grid.y <= 65535 &&
                grid.z <= 65535 && block.x > 0 && block.x <= THREADS_MAX && block.y == 1 &&
                block.z == 1;
    GpuError e = !fits                                 ? GPU_ERROR_CONFIG
                 : shared_bytes > options.shared_bytes ? GPU_ERROR_VALUE
                 : failure_now(EMULATE_FAIL_LAUNCH)    ? GPU_ERROR_LAUNCH_RESOURCES
                                                       : add(stream, std::move(op));
    if (!fits || shared_bytes > options.shared_bytes) {
        fault(place.file, place.line,
              "launch of (%u,%u,%u) blocks of (%u,%u,%u) threads with %zu bytes", grid.x, grid.y,
              grid.z, block.x, block.y, block.z, shared_bytes);
    }
    if (e != GPU_OK) {
        last_error = e;
    }
}

GpuError stream_add(GpuStream stream, StreamWork work)
{
    Locked locked;
    Op op;
    op.kind = OP_WORK;
    op.closure = std::make_shared<Closure>();
    op.closure->work = work;
    return add(stream, std::move(op));
}

int stream_device(GpuStream stream)
{
    Locked locked;
    EmulateStream *s = stream_of(stream);
    return s != NULL ? s->device : 0;
}

int stream_current_device(void)
{
    return current_device;
}

void stream_lock(void)
{
    lock.lock();
    begin();
}

void stream_unlock(void)
{
    lock.unlock();
}
