// SPDX-License-Identifier: MIT
// Devices, streams, buffers, activations, slots, and what all operations use: errors, lists that go
// to the device, scratch, results that come back.
#include "kernels/cuda/backend.cuh"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Errors -------------------------------------------------------------------------------------

bool cuda_fail(Err *err, ErrCode code, const char *file, int line, const char *func,
               const char *format, ...)
{
    memset(err, 0, sizeof(*err));
    err->code = code;
    err->n_frames = 1;
    err->frames[0].file = file;
    err->frames[0].line = line;
    err->frames[0].func = func;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    return false;
}

bool cuda_ok(GpuError status, Err *err, const char *file, int line, const char *func,
             const char *what)
{
    return status == GPU_OK || cuda_fail(err, ERR_DEVICE, file, line, func, "CUDA: %s: %s", what,
                                         gpu_error_string(status));
}

bool cuda_enter(const KDevice *device, Err *err)
{
    return CUDA_OK(gpu_set_device(device->index), err, "choosing the device");
}

bool cuda_alloc(KDevice *device, size_t bytes, void **out, const char *what, Err *err)
{
    GpuError status = gpu_malloc(out, bytes > 0 ? bytes : 1);
    if (status == GPU_OK) {
        return true;
    }
    if (status != GPU_ERROR_MEMORY) {
        return CUDA_OK(status, err, what);
    }
    (void)gpu_last_error(); // it is no error of the launches that follow
    size_t free_bytes = 0, total_bytes = 0;
    (void)gpu_memory_info(&free_bytes, &total_bytes);
    return CUDA_FAIL(err, ERR_LIMIT, "device %d has no %zu MiB for %s: %zu MiB of %zu MiB are free",
                     device->index, (bytes >> 20) + 1, what, free_bytes >> 20, total_bytes >> 20);
}

/** cuda_alloc, zeroed before anything that follows. */
static bool alloc_zeroed(KDevice *device, size_t bytes, void **out, const char *what, Err *err)
{
    if (!cuda_alloc(device, bytes, out, what, err)) {
        return false;
    }
    if (!CUDA_OK(gpu_memset_async(*out, 0, bytes, device->load), err, what) ||
        !CUDA_OK(gpu_stream_sync(device->load), err, what)) {
        gpu_free(*out);
        *out = NULL;
        return false;
    }
    return true;
}

static void *host_zeroed(size_t bytes, Err *err)
{
    void *p = calloc(1, bytes);
    if (p == NULL) {
        (void)CUDA_FAIL(err, ERR_LIMIT, "no memory");
    }
    return p;
}

// ---- Devices ------------------------------------------------------------------------------------

void cuda_device_close(KDevice *device)
{
    if (device != NULL) {
        (void)gpu_set_device(device->index);
        if (device->opened) {
            (void)gpu_stream_destroy(device->load);
        }
        for (int i = 0; i < device->n_taken; i++) {
            (void)gpu_event_destroy(device->taken[i]);
        }
        (void)gpu_free_host(device->staging);
        (void)gpu_free(device->raw);
        free(device);
    }
}

static bool device_fill(KDevice *device, Err *err)
{
    GpuInfo info;
    if (!cuda_enter(device, err) || !CUDA_OK(gpu_device_info(device->index, &info), err,
                                             "asking for the device's properties")) {
        return false;
    }
    device->n_processors = info.n_processors;
    device->l2_bytes = info.l2_bytes;
    device->shared_bytes = (size_t)info.shared_bytes;
    if (info.major < 8) {
        return CUDA_FAIL(err, ERR_ENVIRONMENT,
                         "device %d (%s) has compute capability %d.%d; 8.0 or more is needed",
                         device->index, info.name, info.major, info.minor);
    }
    snprintf(device->description, sizeof(device->description), "cuda:%d %s, %zu MiB%s",
             device->index, info.name, info.memory_bytes >> 20, device->f32 ? ", f32" : "");
    if (!CUDA_OK(gpu_stream_create(&device->load), err, "creating a stream")) {
        return false;
    }
    device->opened = true;
    return true;
}

bool cuda_device_open(const KDeviceOptions *options, KDevice **out, Err *err)
{
    int n = 0;
    if (!CUDA_OK(gpu_device_count(&n), err, "looking for devices")) {
        err->code = ERR_ENVIRONMENT;
        return false;
    }
    if (options->index < 0 || options->index >= n) {
        return CUDA_FAIL(err, ERR_ENVIRONMENT, "no device cuda:%d: there %s %d", options->index,
                         n == 1 ? "is" : "are", n);
    }
    KDevice *device = (KDevice *)host_zeroed(sizeof(*device), err);
    if (device == NULL) {
        return false;
    }
    device->index = options->index;
    device->f32 = options->f32;
    device->n_ranks = 1;
    if (!device_fill(device, err)) {
        cuda_device_close(device);
        return false;
    }
    *out = device;
    return true;
}

// ---- Streams ------------------------------------------------------------------------------------

static void upload_free(Upload *upload)
{
    if (upload->sent_made) {
        (void)gpu_event_destroy(upload->sent);
    }
    (void)gpu_free_host(upload->host);
    (void)gpu_free(upload->device);
    memset(upload, 0, sizeof(*upload));
}

void cuda_stream_destroy(KStream *stream)
{
    if (stream == NULL) {
        return;
    }
    (void)gpu_set_device(stream->device->index);
    if (stream->made) {
        (void)gpu_stream_sync(stream->gpu);
    }
    cuda_step_finish(stream);
    cuda_attend_list_destroy(stream->attend);
    for (size_t i = 0; i < UPLOADS; i++) {
        upload_free(&stream->uploads[i]);
    }
    (void)gpu_free(stream->scratch);
    (void)gpu_free_host(stream->down);
    (void)gpu_free(stream->slice);
    free(stream->list);
    if (stream->met_made) {
        (void)gpu_event_destroy(stream->met);
    }
    if (stream->made) {
        (void)gpu_stream_destroy(stream->gpu);
    }
    free(stream);
}

bool cuda_stream_create(KDevice *device, KStream **out, Err *err)
{
    KStream *stream = (KStream *)host_zeroed(sizeof(*stream), err);
    if (stream == NULL) {
        return false;
    }
    stream->device = device;
    if (!cuda_enter(device, err) ||
        !CUDA_OK(gpu_stream_create(&stream->gpu), err, "creating a stream")) {
        cuda_stream_destroy(stream);
        return false;
    }
    stream->made = true;
    *out = stream;
    return true;
}

bool cuda_stream_sync(KStream *stream, Err *err)
{
    return cuda_enter(stream->device, err) && cuda_step_eager(stream, err) &&
           CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for the device");
}

static bool upload_grow(KStream *stream, Upload *upload, size_t bytes, Err *err)
{
    // The stream may still read the old one.
    if (!CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for the device")) {
        return false;
    }
    upload_free(upload);
    size_t capacity = bytes + bytes / 2 + 4096;
    void *host, *on_device;
    if (!CUDA_OK(gpu_malloc_host(&host, capacity), err, "pinned memory for lists")) {
        return false;
    }
    upload->host = (uint8_t *)host;
    if (!CUDA_OK(gpu_event_create(&upload->sent), err, "creating an event")) {
        return false;
    }
    upload->sent_made = true;
    if (!cuda_alloc(stream->device, capacity, &on_device, "lists", err)) {
        return false;
    }
    upload->device = (uint8_t *)on_device;
    upload->capacity = capacity;
    return true;
}

bool cuda_upload(KStream *stream, const void *data, size_t bytes, const void **out, Err *err)
{
    *out = NULL;
    if (bytes == 0 || (stream->step.recording && cuda_step_list(stream, data, bytes, out))) {
        return true;
    }
    if (!cuda_step_eager(stream, err)) {
        return false;
    }
    Upload *oldest = &stream->uploads[0];
    for (size_t i = 0; i < UPLOADS; i++) {
        Upload *upload = &stream->uploads[i];
        if (upload->bytes == bytes && memcmp(upload->host, data, bytes) == 0) {
            upload->used = ++stream->clock;
            *out = upload->device;
            return true;
        }
        oldest = upload->used < oldest->used ? upload : oldest;
    }
    oldest->bytes = 0;
    if (oldest->capacity < bytes) {
        if (!upload_grow(stream, oldest, bytes, err)) {
            return false;
        }
    } else if (!CUDA_OK(gpu_event_sync(oldest->sent), err, "waiting for a list")) {
        return false; // the copy out of the pinned memory that is written next
    }
    memcpy(oldest->host, data, bytes);
    if (!CUDA_OK(gpu_copy_h2d_async(oldest->device, oldest->host, bytes, stream->gpu), err,
                 "sending a list") ||
        !CUDA_OK(gpu_event_record(oldest->sent, stream->gpu), err, "sending a list")) {
        return false;
    }
    oldest->bytes = bytes;
    oldest->used = ++stream->clock;
    *out = oldest->device;
    return true;
}

bool cuda_scratch(KStream *stream, size_t bytes, void **out, Err *err)
{
    if (bytes > stream->scratch_bytes) { // what was recorded has the old one
        if (!cuda_step_eager(stream, err) ||
            !CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for the device")) {
            return false;
        }
        (void)gpu_free(stream->scratch);
        stream->scratch = NULL;
        stream->scratch_bytes = 0;
        void *p;
        size_t capacity = bytes + bytes / 4;
        if (!cuda_alloc(stream->device, capacity, &p, "intermediate results", err)) {
            return false;
        }
        stream->scratch = (uint8_t *)p;
        stream->scratch_bytes = capacity;
    }
    *out = stream->scratch;
    return true;
}

bool cuda_host_scratch(KStream *stream, size_t bytes, void **out, Err *err)
{
    if (bytes > stream->list_bytes) {
        size_t capacity = bytes + bytes / 2;
        uint8_t *p = (uint8_t *)realloc(stream->list, capacity);
        if (p == NULL) {
            return CUDA_FAIL(err, ERR_LIMIT, "no memory for a list of %zu bytes", bytes);
        }
        stream->list = p;
        stream->list_bytes = capacity;
    }
    *out = stream->list;
    return true;
}

bool cuda_download(KStream *stream, const void *from, void *to, size_t bytes, Err *err)
{
    if (bytes > stream->down_bytes) {
        (void)gpu_free_host(stream->down);
        stream->down = NULL;
        stream->down_bytes = 0;
        void *p;
        if (!CUDA_OK(gpu_malloc_host(&p, bytes), err, "pinned memory for results")) {
            return false;
        }
        stream->down = (uint8_t *)p;
        stream->down_bytes = bytes;
    }
    if (!cuda_step_eager(stream, err) ||
        !CUDA_OK(gpu_copy_d2h_async(stream->down, from, bytes, stream->gpu), err,
                 "reading results") ||
        !CUDA_OK(gpu_stream_sync(stream->gpu), err, "waiting for results")) {
        return false;
    }
    memcpy(to, stream->down, bytes);
    return true;
}

// ---- Buffers ------------------------------------------------------------------------------------

void cuda_buffer_destroy(KBuffer *buffer)
{
    if (buffer != NULL) {
        (void)gpu_set_device(buffer->device->index);
        (void)gpu_free(buffer->data);
        free(buffer);
    }
}

bool cuda_buffer_create(KDevice *device, size_t n, KBuffer **out, Err *err)
{
    if (n > SIZE_MAX / 2 / sizeof(float)) {
        return CUDA_FAIL(err, ERR_LIMIT, "a buffer of %zu floats does not fit in memory", n);
    }
    KBuffer *buffer = (KBuffer *)host_zeroed(sizeof(*buffer), err);
    if (buffer == NULL) {
        return false;
    }
    buffer->device = device;
    buffer->n = n;
    void *data = NULL;
    bool ok =
        cuda_enter(device, err) && alloc_zeroed(device, n * sizeof(float), &data, "a buffer", err);
    buffer->data = (float *)data;
    if (!ok) {
        cuda_buffer_destroy(buffer);
        return false;
    }
    *out = buffer;
    return true;
}

bool cuda_buffer_write(KStream *stream, KBuffer *buffer, size_t offset, const float *from, size_t n,
                       Err *err)
{
    assert(offset <= buffer->n && n <= buffer->n - offset);
    const void *there;
    return cuda_enter(stream->device, err) && cuda_step_eager(stream, err) &&
           cuda_upload(stream, from, n * sizeof(float), &there, err) &&
           (n == 0 || CUDA_OK(gpu_copy_d2d_async(buffer->data + offset, there, n * sizeof(float),
                                                 stream->gpu),
                              err, "writing a buffer"));
}

bool cuda_buffer_read(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                      Err *err)
{
    assert(offset <= buffer->n && n <= buffer->n - offset);
    return cuda_enter(stream->device, err) &&
           (n == 0 || cuda_download(stream, buffer->data + offset, to, n * sizeof(float), err));
}

// ---- Activations --------------------------------------------------------------------------------

void cuda_acts_destroy(KActs *acts)
{
    if (acts != NULL) {
        (void)gpu_set_device(acts->device->index);
        (void)gpu_free(acts->view.f32);
        (void)gpu_free(acts->view.f16);
        (void)gpu_free(acts->view.bf16);
        (void)gpu_free(acts->view.fixed);
        (void)gpu_free(acts->view.scales);
        free(acts);
    }
}

/** The forms that products with matrices of these types read. */
typedef struct Forms {
    bool f32, f16, bf16, fixed;
} Forms;

static Forms forms_of(const KDevice *device, const KMatrix *const *consumers, size_t n)
{
    Forms forms = {device->f32, false, false, false};
    for (size_t i = 0; i < n && !device->f32; i++) {
        forms.f32 |= consumers[i]->type == K_F32;
        forms.f16 |= consumers[i]->type == K_F16;
        forms.bf16 |= consumers[i]->type == K_BF16;
        forms.fixed |= consumers[i]->type == K_Q8_0 || consumers[i]->type == K_Q4_0 ||
                       consumers[i]->type == K_Q4_1;
    }
    return forms;
}

static bool acts_fill(KActs *acts, const Forms *forms, Err *err)
{
    ActsView *view = &acts->view;
    size_t blocks = (size_t)view->max_rows * view->n_blocks;
    const struct {
        bool wanted;
        void **to;
        size_t block_bytes;
    } all[] = {
        {forms->f32, (void **)&view->f32, BLOCK * sizeof(float)},
        {forms->f16, (void **)&view->f16, ROW_BLOCK},
        {forms->bf16, (void **)&view->bf16, ROW_BLOCK},
        {forms->fixed, (void **)&view->fixed, ROW_BLOCK},
        {forms->fixed, (void **)&view->scales, 2 * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].wanted && !alloc_zeroed(acts->device, blocks * all[i].block_bytes, all[i].to,
                                           "activations", err)) {
            return false;
        }
    }
    return true;
}

bool cuda_acts_create(KDevice *device, size_t max_rows, size_t width,
                      const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err)
{
    if (max_rows > INT32_MAX / 2 || width > INT32_MAX / 2) {
        return CUDA_FAIL(err, ERR_LIMIT, "%zu rows of %zu activations are too many", max_rows,
                         width);
    }
    KActs *acts = (KActs *)host_zeroed(sizeof(*acts), err);
    if (acts == NULL) {
        return false;
    }
    acts->device = device;
    acts->max_rows = max_rows;
    acts->view.max_rows = (uint32_t)(max_rows + 31) / 32 * 32;
    acts->view.width = (uint32_t)width;
    acts->view.n_blocks = (uint32_t)(width + BLOCK - 1) / BLOCK;
    Forms forms = forms_of(device, consumers, n_consumers);
    if (!cuda_enter(device, err) || !acts_fill(acts, &forms, err)) {
        cuda_acts_destroy(acts);
        return false;
    }
    *out = acts;
    return true;
}

// ---- Slots --------------------------------------------------------------------------------------

/** Elements of a head as they are stored; 0: too many. */
static uint32_t kv_stride(uint32_t head_dim)
{
    static const uint32_t strides[] = {32, 64, 96, 128, 192, HEAD_DIM_MAX};
    for (size_t i = 0; i < sizeof(strides) / sizeof(strides[0]); i++) {
        if (head_dim <= strides[i]) {
            return strides[i];
        }
    }
    return 0;
}

size_t cuda_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers)
{
    size_t element = device->f32 ? sizeof(float) : sizeof(uint16_t);
    return 2 * n_layers * heads->n_kv_heads * kv_stride(heads->head_dim) * element;
}

void cuda_kv_destroy(KKv *kv)
{
    if (kv != NULL) {
        (void)gpu_set_device(kv->device->index);
        (void)gpu_free(kv->keys);
        (void)gpu_free(kv->values);
        free(kv);
    }
}

bool cuda_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots,
                    KKv **out, Err *err)
{
    uint32_t stride = kv_stride(heads->head_dim);
    size_t half = cuda_kv_slot_bytes(device, heads, n_layers) / 2, bytes;
    if (stride == 0) {
        return CUDA_FAIL(err, ERR_UNSUPPORTED, "heads of %u elements; %d at most are supported",
                         heads->head_dim, HEAD_DIM_MAX);
    }
    if (n_slots > UINT32_MAX || __builtin_mul_overflow(half, n_slots, &bytes)) {
        return CUDA_FAIL(err, ERR_LIMIT, "%zu KV slots do not fit in memory", n_slots);
    }
    KKv *kv = (KKv *)host_zeroed(sizeof(*kv), err);
    if (kv == NULL) {
        return false;
    }
    kv->device = device;
    kv->heads = *heads;
    kv->n_layers = n_layers;
    kv->n_slots = n_slots;
    kv->stride = stride;
    kv->layer_bytes = n_layers > 0 ? bytes / n_layers : 0;
    void *keys = NULL, *values = NULL;
    bool ok = cuda_enter(device, err) && alloc_zeroed(device, bytes, &keys, "keys", err) &&
              alloc_zeroed(device, bytes, &values, "values", err);
    kv->keys = (uint8_t *)keys;
    kv->values = (uint8_t *)values;
    if (!ok) {
        cuda_kv_destroy(kv);
        return false;
    }
    *out = kv;
    return true;
}

KvView cuda_kv_view(const KKv *kv, size_t layer)
{
    KvView view = {kv->keys + layer * kv->layer_bytes,
                   kv->values + layer * kv->layer_bytes,
                   (uint32_t)kv->n_slots,
                   kv->stride,
                   kv->heads.n_heads,
                   kv->heads.n_kv_heads,
                   kv->heads.head_dim,
                   kv->heads.rope_dim};
    return view;
}
