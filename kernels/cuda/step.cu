// SPDX-License-Identifier: MIT
// A step of the engine as one thing for the device. Launches of a step that is likely to come again
// are kept instead of queued, and its lists lie one behind the other, each in a place whose size is
// a power of two, so that they are at the same addresses from step to step. When the step ends one
// copy sends the lists. Launches that came before, byte for byte, are one graph by then; others are
// queued and remembered. Nothing else decides: what a graph does is what would have been queued, so
// it may keep addresses of memory that is gone, since then no step has them.
#include "kernels/cuda/backend.cuh"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#ifndef STEP_BYTES
#define STEP_BYTES ((size_t)1 << 20) // of a step's lists, at first
#endif
#define LIST_ALIGN 256

// ---- Sizes --------------------------------------------------------------------------------------

static size_t power_of_two(size_t n)
{
    size_t power = 1;
    while (power < n) {
        power *= 2;
    }
    return power;
}

size_t cuda_step_size(const KStream *stream, size_t n)
{
    if (!stream->step.recording || n <= 4) {
        return n;
    }
    size_t step = power_of_two(n) / 8; // four sizes between two powers
    return (n + step - 1) / step * step;
}

size_t cuda_step_rows(const KStream *stream, size_t n_rows)
{
    size_t unit = n_rows <= 8 ? power_of_two(n_rows) : n_rows <= 64 ? 8 : 32;
    return stream->step.plain ? n_rows : (n_rows + unit - 1) / unit * unit;
}

// ---- Lists --------------------------------------------------------------------------------------

static void lists_free(Step *step)
{
    (void)gpu_free(step->device);
    for (int i = 0; i < 2; i++) {
        (void)gpu_free_host(step->host[i]);
        step->host[i] = NULL;
    }
    for (int i = 0; i < step->n_sent; i++) {
        (void)gpu_event_destroy(step->sent[i]);
    }
    step->n_sent = 0;
    step->device = NULL;
    step->capacity = 0;
}

/** False: there is no memory. */
static bool lists_create(KStream *stream, size_t capacity)
{
    Step *step = &stream->step;
    Err err;
    void *memory;
    lists_free(step);
    if (!cuda_alloc(stream->device, capacity, &memory, "lists", &err)) {
        return false;
    }
    step->device = (uint8_t *)memory;
    for (int i = 0; i < 2; i++) {
        if (gpu_malloc_host(&memory, capacity) != GPU_OK) {
            return false;
        }
        step->host[i] = (uint8_t *)memset(memory, 0, capacity);
        if (gpu_event_create(&step->sent[i]) != GPU_OK) {
            return false;
        }
        step->n_sent = i + 1;
    }
    step->capacity = capacity;
    return true;
}

bool cuda_step_list(KStream *stream, const void *data, size_t bytes, const void **out)
{
    Step *step = &stream->step;
    uint8_t *host = step->host[step->turn];
    for (size_t i = 0; i < step->n_lists; i++) {
        const StepList *list = &step->lists[i];
        // Lists that are the same by chance would share a place in some steps and not in others.
        if (list->data == data && list->bytes == bytes &&
            memcmp(host + list->at, data, bytes) == 0) {
            *out = step->device + list->at;
            return true;
        }
    }
    size_t place = power_of_two(bytes > LIST_ALIGN ? bytes : LIST_ALIGN);
    if (place > step->capacity - step->used || step->n_lists == STEP_LISTS) {
        size_t most = step->used + place;
        step->wanted = 2 * most > step->wanted ? 2 * most : step->wanted;
        return false;
    }
    StepList list = {data, bytes, step->used};
    step->lists[step->n_lists++] = list;
    memcpy(host + list.at, data, bytes);
    *out = step->device + list.at;
    step->used += place;
    return true;
}

static bool lists_send(KStream *stream, Err *err)
{
    Step *step = &stream->step;
    int turn = step->turn;
    if (step->used == 0) {
        return true;
    }
    step->turn = 1 - turn;
    return CUDA_OK(gpu_copy_h2d_async(step->device, step->host[turn], step->used, stream->gpu), err,
                   "sending lists") &&
           CUDA_OK(gpu_event_record(step->sent[turn], stream->gpu), err, "sending lists");
}

// ---- Launches -----------------------------------------------------------------------------------

static GpuError calls_issue(KStream *stream, const uint8_t *calls, size_t n_bytes)
{
    GpuError status = GPU_OK;
    for (size_t at = 0; at < n_bytes && status == GPU_OK;) {
        const GpuCall *call = (const GpuCall *)(calls + at);
        call->issue(call, stream->gpu);
        status = gpu_last_error();
        at += call->bytes;
    }
    return status;
}

static bool run_calls(KStream *stream, Err *err)
{
    const GpuRecorder *recorder = &stream->step.recorder;
    return CUDA_OK(calls_issue(stream, recorder->calls, recorder->n_bytes), err,
                   "a step of the model");
}

static void graph_free(StepGraph *graph)
{
    if (graph->made) {
        (void)gpu_graph_exec_destroy(graph->exec);
    }
    free(graph->calls);
    memset(graph, 0, sizeof(*graph));
}

static bool graph_make(KStream *stream, StepGraph *graph)
{
    GpuGraph captured;
    if (gpu_capture_begin(stream->gpu) != GPU_OK) {
        return false;
    }
    GpuError issued = calls_issue(stream, graph->calls, graph->n_bytes);
    if (gpu_capture_end(stream->gpu, &captured) != GPU_OK) {
        return false;
    }
    graph->made = issued == GPU_OK && gpu_graph_instantiate(&graph->exec, captured) == GPU_OK;
    (void)gpu_graph_destroy(captured);
    return graph->made;
}

static StepGraph *graph_find(Step *step)
{
    const GpuRecorder *recorder = &step->recorder;
    for (size_t i = 0; i < STEP_GRAPHS; i++) {
        StepGraph *graph = &step->graphs[i];
        if (graph->n_bytes == recorder->n_bytes &&
            memcmp(graph->calls, recorder->calls, recorder->n_bytes) == 0) {
            return graph;
        }
    }
    return NULL;
}

/** Keep the calls in the place of those that were not used for the longest time. */
static bool calls_remember(KStream *stream, Err *err)
{
    Step *step = &stream->step;
    StepGraph *oldest = &step->graphs[0];
    for (size_t i = 1; i < STEP_GRAPHS; i++) {
        oldest = step->graphs[i].used < oldest->used ? &step->graphs[i] : oldest;
    }
    if (oldest->made && !CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for the device")) {
        return false; // it may be running
    }
    graph_free(oldest);
    oldest->calls = (uint8_t *)malloc(step->recorder.n_bytes);
    if (oldest->calls != NULL) { // without memory it is not remembered
        memcpy(oldest->calls, step->recorder.calls, step->recorder.n_bytes);
        oldest->n_bytes = step->recorder.n_bytes;
        oldest->used = ++stream->clock;
    }
    return true;
}

/** Run what was recorded. */
static bool run_step(KStream *stream, Err *err)
{
    Step *step = &stream->step;
    StepGraph *graph = graph_find(step);
    if (graph == NULL) {
        return calls_remember(stream, err) && run_calls(stream, err);
    }
    graph->used = ++stream->clock;
    // The first time is over: all kernels are loaded, which can not be done in a capture.
    if (!graph->made && !graph_make(stream, graph)) {
        (void)gpu_last_error();
        step->plain = true;
        return run_calls(stream, err);
    }
    return CUDA_OK(gpu_graph_launch(graph->exec, stream->gpu), err, "a step of the model");
}

// ---- Steps --------------------------------------------------------------------------------------

bool cuda_step_begin(KStream *stream, bool repeats, Err *err)
{
    Step *step = &stream->step;
    assert(!step->open && gpu_recorder == NULL);
    step->open = true;
    step->serial++;
    if (!repeats || step->plain) {
        return true;
    }
    size_t capacity = step->wanted > STEP_BYTES ? step->wanted : STEP_BYTES;
    if (!cuda_enter(stream->device, err)) {
        return false;
    }
    if (step->capacity < capacity) {
        if (!CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for the device")) {
            return false;
        }
        if (!lists_create(stream, capacity)) {
            (void)gpu_last_error();
            lists_free(step);
            step->plain = true;
            return true;
        }
    }
    if (!CUDA_OK(gpu_event_sync(step->sent[step->turn]), err, "waiting for lists")) {
        return false; // the copy out of the memory that is written next
    }
    step->n_lists = 0;
    step->used = 0;
    step->recorder.stream = stream->gpu;
    step->recorder.n_bytes = 0;
    step->recorder.failed = false;
    step->recording = true;
    gpu_recorder = &step->recorder;
    return true;
}

/** Stop recording; the lists are on their way, the calls are whole. */
static bool recording_end(KStream *stream, Err *err)
{
    Step *step = &stream->step;
    step->recording = false;
    gpu_recorder = NULL;
    if (step->recorder.failed) {
        return CUDA_FAIL(err, ERR_LIMIT, "no memory for the launches of a step");
    }
    return cuda_enter(stream->device, err) && lists_send(stream, err);
}

bool cuda_step_eager(KStream *stream, Err *err)
{
    return !stream->step.recording || (recording_end(stream, err) && run_calls(stream, err));
}

bool cuda_step_end(KStream *stream, Err *err)
{
    Step *step = &stream->step;
    step->open = false;
    return !step->recording ||
           (recording_end(stream, err) && (step->recorder.n_bytes == 0 || run_step(stream, err)));
}

void cuda_step_finish(KStream *stream)
{
    Step *step = &stream->step;
    if (step->recording) {
        gpu_recorder = NULL;
    }
    for (size_t i = 0; i < STEP_GRAPHS; i++) {
        graph_free(&step->graphs[i]);
    }
    lists_free(step);
    free(step->recorder.calls);
    memset(step, 0, sizeof(*step));
}
