// SPDX-License-Identifier: MIT
// The runtime: streams are queues of operations, and nothing runs but here. An operation may run
// when it is the first of its stream and what it waits for has happened. Eager, a stream is run as
// far as it goes at every call; lazy, only when the host waits, streams in random order, so that a
// result that is read too early was not computed yet. One lock; whoever waits runs what there is.
#include "kernels/emulate/internal.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <stdio.h>
#include <stdlib.h>

#define WAIT_SECONDS 60 // for another host thread, then it is a deadlock

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

static std::mutex lock;
static std::condition_variable changed;
static uint64_t n_changes; // operations added or done
static EmulateOptions options = {0, false, false, 1, (size_t)4 << 30};
static std::list<EmulateStream> *streams;
static std::set<const void *> *handles; // of events, graphs; streams too
static EmulateStream *defaults[EMULATE_DEVICES_MAX];
static bool lost[EMULATE_DEVICES_MAX];
static size_t n_events, n_graphs;
static uint64_t random_state;
static thread_local int current_device;
static thread_local GpuError last_error;

static double clock_ms(void)
{
    return std::chrono::duration<double, std::milli>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
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
    random_state = options.seed * 77 + 1;
}

/** First thing under the lock. */
static void begin(void)
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
        from_environment("MUSTER_EMULATE_MEMORY", options.memory_bytes)};
    options_set(&wish);
}

struct Locked {
    std::unique_lock<std::mutex> held;
    Locked() : held(lock)
    {
        begin();
    }
};

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

/** Run one operation of any stream, in random order when lazy. */
static bool run_any(void)
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

/** Run until done() holds. */
template <typename Done> static GpuError run_until(Locked &locked, int device, Done done)
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

static EmulateStream *stream_of(GpuStream stream)
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

static GpuError add(GpuStream handle, Op &&op)
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
    GpuError e = !fits                              ? GPU_ERROR_CONFIG
                 : shared_bytes > SHARED_MAX        ? GPU_ERROR_VALUE
                 : failure_now(EMULATE_FAIL_LAUNCH) ? GPU_ERROR_LAUNCH_RESOURCES
                                                    : add(stream, std::move(op));
    if (!fits || shared_bytes > SHARED_MAX) {
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

/** Queue a copy; host memory that is not pinned is read now, or written before this returns. */
static GpuError copy(void *to, const void *from, size_t bytes, GpuStream stream, bool to_device,
                     bool from_device)
{
    if (bytes == 0) {
        return GPU_OK;
    }
    Locked locked;
    if (memory_in_arena(to) != to_device || memory_in_arena(from) != from_device) {
        fault(NULL, 0, "copy %s -> %s: %p -> %p is something else", from_device ? "device" : "host",
              to_device ? "device" : "host", from, to);
        return GPU_ERROR_VALUE;
    }
    Op op;
    op.kind = OP_COPY;
    op.to = (uint8_t *)to;
    op.from = (const uint8_t *)from;
    op.bytes = bytes;
    EmulateStream *s = stream_of(stream);
    bool capturing = s != NULL && s->capturing;
    bool pageable =
        (!from_device && !memory_pinned(from, bytes)) || (!to_device && !memory_pinned(to, bytes));
    if (pageable && capturing) {
        fault(NULL, 0, "a graph copies memory of the host that is not pinned");
        return GPU_ERROR_CAPTURE;
    }
    if (pageable && !from_device) {
        op.staged = std::make_shared<std::vector<uint8_t>>(op.from, op.from + bytes);
    }
    GpuError e = add(stream, std::move(op));
    if (e == GPU_OK && pageable && from_device) {
        e = run_until(locked, s->device, [s] { return s->queue.empty(); });
    }
    return e;
}

GpuError gpu_copy_h2d_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return copy(to, from, bytes, stream, true, false);
}

GpuError gpu_copy_d2h_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return copy(to, from, bytes, stream, false, true);
}

GpuError gpu_copy_d2d_async(void *to, const void *from, size_t bytes, GpuStream stream)
{
    return copy(to, from, bytes, stream, true, true);
}

GpuError gpu_copy_peer_async(void *to, int to_device, const void *from, int from_device,
                             size_t bytes, GpuStream stream)
{
    Allocation a, b;
    if (memory_find(to, &a) && memory_find(from, &b) &&
        (a.device != to_device || b.device != from_device)) {
        fault(NULL, 0, "peer copy of devices %d <- %d: the memory is of %d <- %d", to_device,
              from_device, a.device, b.device);
        return GPU_ERROR_VALUE;
    }
    return copy(to, from, bytes, stream, true, true);
}

GpuError gpu_memset_async(void *to, int byte, size_t bytes, GpuStream stream)
{
    Locked locked;
    if (bytes == 0) {
        return GPU_OK;
    }
    Op op;
    op.kind = OP_FILL;
    op.to = (uint8_t *)to;
    op.byte = byte;
    op.bytes = bytes;
    return add(stream, std::move(op));
}

// ---- Devices ------------------------------------------------------------------------------------

GpuError gpu_device_count(int *out_n)
{
    Locked locked;
    *out_n = options.n_devices > 0 ? options.n_devices : 0;
    return options.n_devices > 0 ? GPU_OK : GPU_ERROR_NO_DRIVER;
}

GpuError gpu_set_device(int index)
{
    Locked locked;
    if (index < 0 || index >= options.n_devices) {
        return GPU_ERROR_DEVICE;
    }
    current_device = index;
    return GPU_OK;
}

GpuError gpu_device_info(int index, GpuInfo *out)
{
    Locked locked;
    if (index < 0 || index >= options.n_devices) {
        return GPU_ERROR_DEVICE;
    }
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "emulated GPU");
    snprintf(out->pci, sizeof(out->pci), "0000:%02x:00.0", (unsigned)index & 255u);
    out->memory_bytes = options.memory_bytes;
    out->major = 8;
    out->n_processors = 4;
    out->shared_bytes = SHARED_MAX;
    return GPU_OK;
}

static GpuError device_drain(Locked &locked, int device)
{
    return run_until(locked, device, [device] {
        for (EmulateStream &s : *streams) {
            if (s.device == device && !s.queue.empty()) {
                return false;
            }
        }
        return true;
    });
}

GpuError gpu_device_sync(void)
{
    Locked locked;
    return device_drain(locked, current_device);
}

GpuError gpu_free(void *device)
{
    Locked locked;
    Allocation a;
    if (memory_find(device, &a)) {
        device_drain(locked, a.device); // as the runtime does
    }
    GpuError e = memory_free(device);
    return e != GPU_OK ? e : lost[current_device] ? GPU_ERROR_LAUNCH : GPU_OK;
}

GpuError gpu_free_host(void *host)
{
    Locked locked;
    device_drain(locked, current_device);
    GpuError e = memory_free_host(host);
    return e != GPU_OK ? e : lost[current_device] ? GPU_ERROR_LAUNCH : GPU_OK;
}

// ---- Streams and events -------------------------------------------------------------------------

GpuError gpu_stream_create(GpuStream *out)
{
    Locked locked;
    if (lost[current_device] || failure_now(EMULATE_FAIL_CREATE)) {
        return stream_error(lost[current_device] ? GPU_ERROR_LAUNCH : GPU_ERROR_MEMORY);
    }
    streams->emplace_back();
    streams->back().device = current_device;
    handles->insert(&streams->back());
    *out = &streams->back();
    return GPU_OK;
}

GpuError gpu_stream_destroy(GpuStream stream)
{
    Locked locked;
    if (stream == NULL || handles->count(stream) == 0) {
        fault(NULL, 0, "a stream that does not exist is destroyed");
        return GPU_ERROR_HANDLE;
    }
    run_until(locked, stream->device, [stream] { return stream->queue.empty(); });
    handles->erase(stream);
    streams->remove_if([stream](const EmulateStream &s) { return &s == stream; });
    return GPU_OK;
}

GpuError gpu_stream_sync(GpuStream stream)
{
    Locked locked;
    EmulateStream *s = stream_of(stream);
    if (s == NULL) {
        fault(NULL, 0, "a stream that does not exist is waited for");
        return GPU_ERROR_HANDLE;
    }
    if (s->capturing) {
        s->capture_error = GPU_ERROR_CAPTURE;
        fault(NULL, 0, "a stream that is being captured is waited for");
        return GPU_ERROR_CAPTURE;
    }
    return run_until(locked, s->device, [s] { return s->queue.empty(); });
}

GpuError gpu_event_create(GpuEvent *out)
{
    Locked locked;
    if (failure_now(EMULATE_FAIL_CREATE)) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    *out = new EmulateEvent;
    handles->insert(*out);
    n_events++;
    return GPU_OK;
}

static bool event_known(GpuEvent event, const char *what)
{
    bool known = event != NULL && handles->count(event) != 0;
    if (!known) {
        fault(NULL, 0, "%s of an event that does not exist", what);
    }
    return known;
}

GpuError gpu_event_destroy(GpuEvent event)
{
    Locked locked;
    if (!event_known(event, "destruction")) {
        return GPU_ERROR_HANDLE;
    }
    handles->erase(event); // queued records and waits see that it is gone
    delete event;
    n_events--;
    return GPU_OK;
}

GpuError gpu_event_record(GpuEvent event, GpuStream stream)
{
    Locked locked;
    if (!event_known(event, "record")) {
        return GPU_ERROR_HANDLE;
    }
    EmulateStream *s = stream_of(stream);
    event->captured = s != NULL && s->capturing;
    if (event->captured) {
        return GPU_OK; // a graph is in order
    }
    Op op;
    op.kind = OP_RECORD;
    op.event = event;
    op.ticket = ++event->recorded;
    return add(stream, std::move(op));
}

GpuError gpu_stream_wait_event(GpuStream stream, GpuEvent event)
{
    Locked locked;
    if (!event_known(event, "wait")) {
        return GPU_ERROR_HANDLE;
    }
    EmulateStream *s = stream_of(stream);
    if (event->captured || (s != NULL && s->capturing)) {
        if (!event->captured || s == NULL || !s->capturing) {
            fault(NULL, 0, "a wait between a captured stream and one that is not");
            return GPU_ERROR_CAPTURE;
        }
        return GPU_OK;
    }
    Op op;
    op.kind = OP_WAIT;
    op.event = event;
    op.ticket = event->recorded;
    return add(stream, std::move(op));
}

GpuError gpu_event_sync(GpuEvent event)
{
    Locked locked;
    if (!event_known(event, "wait")) {
        return GPU_ERROR_HANDLE;
    }
    uint64_t ticket = event->recorded;
    return run_until(locked, current_device,
                     [event, ticket] { return event->done >= ticket || lost[current_device]; });
}

GpuError gpu_event_query(GpuEvent event)
{
    Locked locked;
    if (!event_known(event, "query")) {
        return GPU_ERROR_HANDLE;
    }
    if (lost[current_device]) {
        return GPU_ERROR_LAUNCH;
    }
    if (event->done < event->recorded) { // whoever asks again and again gets there
        memory_open();
        run_any();
        memory_close();
    }
    return event->done < event->recorded ? GPU_ERROR_NOT_READY : GPU_OK;
}

GpuError gpu_event_elapsed_ms(float *out_ms, GpuEvent from, GpuEvent to)
{
    Locked locked;
    if (!event_known(from, "time") || !event_known(to, "time")) {
        return GPU_ERROR_HANDLE;
    }
    if (from->done < from->recorded || to->done < to->recorded) {
        return GPU_ERROR_NOT_READY;
    }
    *out_ms = (float)(to->time_ms - from->time_ms);
    return GPU_OK;
}

// ---- Graphs -------------------------------------------------------------------------------------

GpuError gpu_capture_begin(GpuStream stream)
{
    Locked locked;
    EmulateStream *s = stream_of(stream);
    if (s == NULL || s->capturing || stream == NULL) {
        fault(NULL, 0, "capture of a stream that can not be captured");
        return GPU_ERROR_CAPTURE;
    }
    s->capturing = true;
    s->captured.clear();
    s->capture_error = GPU_OK;
    return GPU_OK;
}

GpuError gpu_capture_end(GpuStream stream, GpuGraph *out)
{
    Locked locked;
    EmulateStream *s = stream_of(stream);
    if (s == NULL || !s->capturing) {
        fault(NULL, 0, "the end of a capture that was not begun");
        return GPU_ERROR_CAPTURE;
    }
    s->capturing = false;
    if (s->capture_error != GPU_OK || failure_now(EMULATE_FAIL_CREATE)) {
        s->captured.clear();
        return s->capture_error != GPU_OK ? s->capture_error : GPU_ERROR_MEMORY;
    }
    *out = new EmulateGraph;
    (*out)->ops = std::make_shared<std::vector<Op>>(std::move(s->captured));
    s->captured.clear();
    handles->insert(*out);
    n_graphs++;
    return GPU_OK;
}

static bool graph_known(const void *graph)
{
    bool known = graph != NULL && handles->count(graph) != 0;
    if (!known) {
        fault(NULL, 0, "a graph that does not exist");
    }
    return known;
}

GpuError gpu_graph_destroy(GpuGraph graph)
{
    Locked locked;
    if (!graph_known(graph)) {
        return GPU_ERROR_HANDLE;
    }
    handles->erase(graph);
    delete graph;
    n_graphs--;
    return GPU_OK;
}

GpuError gpu_graph_instantiate(GpuGraphExec *out, GpuGraph graph)
{
    Locked locked;
    if (!graph_known(graph)) {
        return GPU_ERROR_HANDLE;
    }
    if (failure_now(EMULATE_FAIL_CREATE)) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    *out = new EmulateGraphExec;
    (*out)->ops = graph->ops; // never changed after
    handles->insert(*out);
    n_graphs++;
    return GPU_OK;
}

GpuError gpu_graph_launch(GpuGraphExec exec, GpuStream stream)
{
    Locked locked;
    if (!graph_known(exec)) {
        return GPU_ERROR_HANDLE;
    }
    Op op;
    op.kind = OP_GRAPH;
    op.graph = exec->ops;
    return add(stream, std::move(op));
}

GpuError gpu_graph_exec_destroy(GpuGraphExec exec)
{
    Locked locked;
    if (!graph_known(exec)) {
        return GPU_ERROR_HANDLE;
    }
    handles->erase(exec);
    delete exec;
    n_graphs--;
    return GPU_OK;
}

// ---- Errors -------------------------------------------------------------------------------------

GpuError stream_error(GpuError error)
{
    last_error = error;
    return error;
}

GpuError gpu_last_error(void)
{
    GpuError e = last_error;
    last_error = GPU_OK;
    return e;
}

const char *gpu_error_string(GpuError error)
{
    static thread_local char text[2200];
    const char *last = fault_last();
    switch (error) {
    case GPU_OK:
        return "no error";
    case GPU_ERROR_VALUE:
        return "invalid argument";
    case GPU_ERROR_MEMORY:
        return "out of memory";
    case GPU_ERROR_CONFIG:
        return "invalid configuration argument";
    case GPU_ERROR_NO_DRIVER:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case GPU_ERROR_NO_DEVICE:
        return "no CUDA-capable device is detected";
    case GPU_ERROR_DEVICE:
        return "invalid device ordinal";
    case GPU_ERROR_HANDLE:
        return "invalid resource handle";
    case GPU_ERROR_NOT_READY:
        return "device not ready";
    case GPU_ERROR_LAUNCH_RESOURCES:
        return "too many resources requested for launch";
    case GPU_ERROR_ADDRESS:
    case GPU_ERROR_LAUNCH:
        snprintf(text, sizeof(text), "unspecified launch failure%s%s", last != NULL ? ": " : "",
                 last != NULL ? last : "");
        return text;
    case GPU_ERROR_CAPTURE:
        return "operation failed due to a previous error during capture";
    default:
        snprintf(text, sizeof(text), "error %d", error);
        return text;
    }
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

void emulate_live(EmulateLive *out)
{
    Locked locked;
    memset(out, 0, sizeof(*out));
    memory_live(out);
    size_t n_defaults = 0;
    for (const EmulateStream *s : defaults) {
        n_defaults += s != NULL;
    }
    out->streams = streams->size() - n_defaults;
    out->events = n_events;
    out->graphs = n_graphs;
    out->blas_handles = blas_live();
    out->nccl_ranks = nccl_live();
}
