// SPDX-License-Identifier: MIT
// The functions of gpu.cuh for the host, over the queues of stream.cc: copies, devices, streams,
// events, graphs, errors.
#include "kernels/emulate/stream.h"

#include <stdio.h>

using namespace emulate;

static size_t n_events, n_graphs;
static thread_local int n_capturing; // streams, by this thread

bool stream_capturing(const char *what)
{
    if (n_capturing > 0) {
        fault(NULL, 0, "%s while a stream is being captured", what);
    }
    return n_capturing > 0;
}

// ---- Copies -------------------------------------------------------------------------------------

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

GpuError gpu_peer_enable(int device, int other)
{
    Locked locked;
    return device < 0 || device >= options.n_devices || other < 0 || other >= options.n_devices
               ? GPU_ERROR_DEVICE
               : GPU_OK;
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
    out->l2_bytes = 4096;
    out->shared_bytes = (int)options.shared_bytes;
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
    if (stream_capturing("memory is freed")) {
        return GPU_ERROR_CAPTURE;
    }
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
    if (stream_capturing("pinned memory is freed")) {
        return GPU_ERROR_CAPTURE;
    }
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
    n_capturing++;
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
    n_capturing--;
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
    if (failure_now(EMULATE_FAIL_GRAPH)) {
        return stream_error(GPU_ERROR_LAUNCH_RESOURCES);
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
