// SPDX-License-Identifier: MIT
// --fast: products by cuBLASLt and, between several devices, sums by NCCL. Bits then depend on the
// number of rows, on the libraries and on the devices; the same steps on the same machine still
// give the same, because an algorithm is chosen once for a shape and a bucket of rows and kept, and
// sums over split K go through memory, not through atomics. A library that is not there or does not
// start is said in the device's description, and our own exact way is taken instead. No rule of
// this file may wait for a library without a limit.
#include "kernels/cuda/backend.cuh"
#include "kernels/cuda/vendor.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKSPACE_BYTES ((size_t)32 << 20) // what NVIDIA advises for its newest devices
#define ALIGNED         256                // bytes: what the heuristic takes for granted
#define BUCKET_LEAST    64                 // rows; buckets are powers of two
#define TRIAL_SECONDS   20                 // for the first sum between devices

/** An algorithm for a shape, for up to so many rows. */
typedef struct Pin {
    size_t n_out, k, rows;
    int type;
    bool usable; // false: the library knows no way
    BlasAlgo algo;
    size_t workspace;
} Pin;

struct Fast {
    const BlasApi *blas; // NULL: products are our own
    BlasHandle *handle;
    BlasDesc *desc;
    BlasPreference *preference;
    Pin *pins;
    size_t n_pins, pins_capacity;
    bool sums;           // matrices may be cut over their inputs
    const NcclApi *nccl; // of comm
    NcclComm *comm;      // of this rank; NULL: sums are impossible, or failed
};

// ---- Products -----------------------------------------------------------------------------------

bool fast_plain(const KDevice *device, KType type)
{
    return device->fast != NULL && device->fast->blas != NULL && (type == K_F16 || type == K_BF16);
}

/** Column by column: weights (k, n_out) transposed, times rows (k, n_rows), is out (n_out, n_rows).
 */
typedef struct Layouts {
    BlasLayout *weights, *rows, *out;
} Layouts;

static void layouts_free(const BlasApi *blas, Layouts *layouts)
{
    BlasLayout *all[] = {layouts->weights, layouts->rows, layouts->out};
    for (int i = 0; i < 3; i++) {
        if (all[i] != NULL) {
            (void)blas->layout_destroy(all[i]);
        }
    }
}

static int layouts_make(const BlasApi *blas, int type, size_t n_out, size_t k, size_t n_rows,
                        Layouts *out)
{
    memset(out, 0, sizeof(*out));
    int status = blas->layout_create(&out->weights, type, k, n_out, (int64_t)k);
    if (status == BLAS_OK) {
        status = blas->layout_create(&out->rows, type, k, n_rows, (int64_t)k);
    }
    if (status == BLAS_OK) {
        status = blas->layout_create(&out->out, BLAS_R_32F, n_out, n_rows, (int64_t)n_out);
    }
    return status;
}

static int blas_type(KType type)
{
    return type == K_F16 ? BLAS_R_16F : BLAS_R_16BF;
}

/** Ask the library; what it does not know stays unusable. */
static void pin_choose(Fast *fast, Pin *pin)
{
    const BlasApi *blas = fast->blas;
    Layouts layouts;
    BlasChoice choice;
    int n = 0;
    if (layouts_make(blas, blas_type((KType)pin->type), pin->n_out, pin->k, pin->rows, &layouts) ==
            BLAS_OK &&
        blas->choose(fast->handle, fast->desc, layouts.weights, layouts.rows, layouts.out,
                     layouts.out, fast->preference, 1, &choice, &n) == BLAS_OK &&
        n == 1 && choice.status == BLAS_OK && choice.workspace <= WORKSPACE_BYTES) {
        pin->algo = choice.algo;
        pin->workspace = choice.workspace;
        pin->usable = true;
    }
    layouts_free(blas, &layouts);
}

/** The algorithm of a matrix for n_rows; NULL: no memory. */
static Pin *pin_of(Fast *fast, const KMatrix *m, size_t n_rows)
{
    size_t rows = BUCKET_LEAST, k = (size_t)m->n_blocks * BLOCK;
    while (rows < n_rows) {
        rows *= 2;
    }
    for (size_t i = 0; i < fast->n_pins; i++) {
        Pin *pin = &fast->pins[i];
        if (pin->n_out == m->n_out && pin->k == k && pin->rows == rows && pin->type == m->type) {
            return pin;
        }
    }
    if (fast->n_pins == fast->pins_capacity) {
        size_t capacity = fast->pins_capacity * 2 + 64;
        Pin *pins = (Pin *)realloc(fast->pins, capacity * sizeof(*pins));
        if (pins == NULL) {
            return NULL;
        }
        fast->pins = pins;
        fast->pins_capacity = capacity;
    }
    Pin *pin = &fast->pins[fast->n_pins++];
    memset(pin, 0, sizeof(*pin));
    pin->n_out = m->n_out;
    pin->k = k;
    pin->rows = rows;
    pin->type = m->type;
    pin_choose(fast, pin);
    return pin;
}

bool fast_product(KStream *stream, const KProduct *product, const ActsView *x, size_t n_rows,
                  bool *out_taken, Err *err)
{
    Fast *fast = stream->device->fast;
    const BlasApi *blas = fast->blas;
    const KMatrix *m = product->matrix;
    const uint16_t *rows = m->type == K_F16 ? x->f16 : x->bf16;
    float *out = product->out->data, one = 1, beta = product->add ? 1.0f : 0.0f;
    *out_taken = false;
    Pin *pin = pin_of(fast, m, n_rows);
    if (pin == NULL) {
        return CUDA_FAIL(err, ERR_LIMIT, "no memory for a product's algorithm");
    }
    if (!pin->usable || ((uintptr_t)rows | (uintptr_t)out) % ALIGNED != 0) {
        return true;
    }
    if (!cuda_step_eager(stream, err)) { // the library queues its own launches
        return false;
    }
    Layouts layouts;
    int status = layouts_make(blas, blas_type(m->type), m->n_out, pin->k, n_rows, &layouts);
    if (status == BLAS_OK) {
        status = blas->matmul(fast->handle, fast->desc, &one, m->records, layouts.weights, rows,
                              layouts.rows, &beta, out, layouts.out, out, layouts.out, &pin->algo,
                              stream->workspace, pin->workspace, (void *)stream->gpu);
    }
    layouts_free(blas, &layouts);
    if (status == BLAS_ERROR_VALUE || status == BLAS_ERROR_SUPPORT) {
        pin->usable = false; // chosen for the bucket, but not for these rows
        return true;
    }
    *out_taken = true;
    return status == BLAS_OK ||
           CUDA_FAIL(err, ERR_DEVICE, "cuBLASLt: product of %zu rows, %zu x %zu: error %d", n_rows,
                     m->n_out, m->n_in, status);
}

static void blas_close(Fast *fast)
{
    const BlasApi *blas = fast->blas;
    if (blas == NULL) {
        return;
    }
    if (fast->preference != NULL) {
        (void)blas->preference_destroy(fast->preference);
    }
    if (fast->desc != NULL) {
        (void)blas->desc_destroy(fast->desc);
    }
    if (fast->handle != NULL) {
        (void)blas->destroy(fast->handle);
    }
    free(fast->pins);
    fast->preference = NULL;
    fast->desc = NULL;
    fast->handle = NULL;
    fast->pins = NULL;
    fast->blas = NULL;
}

/** Of one device, which is the thread's. Returns the library's error. */
static int blas_open(Fast *fast, const BlasApi *blas)
{
    int32_t transposed = 1;
    uint64_t workspace = WORKSPACE_BYTES;
    uint32_t reductions = BLAS_REDUCE_IN_F32; // never in place, which takes atomics
    fast->blas = blas;
    int status = blas->create(&fast->handle);
    if (status == BLAS_OK) {
        status = blas->desc_create(&fast->desc, BLAS_COMPUTE_32F, BLAS_R_32F);
    }
    if (status == BLAS_OK) {
        status = blas->desc_set(fast->desc, BLAS_DESC_TRANSA, &transposed, sizeof(transposed));
    }
    if (status == BLAS_OK) {
        status = blas->preference_create(&fast->preference);
    }
    if (status == BLAS_OK) {
        status = blas->preference_set(fast->preference, BLAS_PREFER_WORKSPACE, &workspace,
                                      sizeof(workspace));
    }
    if (status == BLAS_OK) {
        status = blas->preference_set(fast->preference, BLAS_PREFER_REDUCTIONS, &reductions,
                                      sizeof(reductions));
    }
    return status;
}

/** On all ranks or none; says in words what came of it. */
static void products_open(KDevice *first, char *words, size_t size)
{
    const BlasApi *blas = blas_api();
    if (blas == NULL) {
        snprintf(words, size, "no cuBLASLt");
        return;
    }
    int status = BLAS_OK, version = (int)blas->version();
    for (int r = 0; r < first->n_ranks && status == BLAS_OK; r++) {
        KDevice *device = first->ranks[r];
        status = gpu_set_device(device->index) == GPU_OK ? blas_open(device->fast, blas)
                                                         : BLAS_ERROR_RUN;
    }
    snprintf(words, size, "cuBLASLt %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    if (status != BLAS_OK) {
        snprintf(words, size, "cuBLASLt does not start (error %d)", status);
        for (int r = 0; r < first->n_ranks; r++) {
            blas_close(first->ranks[r]->fast);
        }
    }
}

// ---- Sums between devices -----------------------------------------------------------------------

bool fast_sums(const KDevice *device)
{
    return device->fast != NULL && device->fast->sums;
}

/** Nobody may wait for a rank that does not come. */
static void comms_abort(KDevice *first)
{
    for (int r = 0; r < first->n_ranks; r++) {
        Fast *fast = first->ranks[r]->fast;
        if (fast->comm != NULL) {
            (void)fast->nccl->abort(fast->comm);
        }
        fast->comm = NULL;
    }
}

/** Sum n floats of every rank in place, each on its stream. Returns the library's error. */
static int sum_ranks(KDevice *first, float *const *data, size_t n, const GpuStream *streams)
{
    const NcclApi *nccl = first->fast->nccl;
    int status = nccl->group_start();
    if (status != NCCL_OK) {
        return status;
    }
    for (int r = 0; r < first->n_ranks && status == NCCL_OK; r++) {
        status = nccl->all_reduce(data[r], data[r], n, NCCL_F32, NCCL_SUM,
                                  first->ranks[r]->fast->comm, (void *)streams[r]);
    }
    int ended = nccl->group_end();
    return status != NCCL_OK ? status : ended;
}

bool fast_sum(KStream *stream, const KBuffer *buffer, size_t n, Err *err)
{
    KDevice *first = stream->device;
    float *data[RANKS_MAX] = {};
    GpuStream streams[RANKS_MAX] = {};
    for (int r = 0; r < first->n_ranks; r++) {
        data[r] = buffer->ranks[r]->data;
        streams[r] = stream->ranks[r]->gpu;
    }
    if (first->fast->comm == NULL) {
        return CUDA_FAIL(err, ERR_DEVICE, "NCCL has failed before");
    }
    int status = sum_ranks(first, data, n, streams);
    if (status != NCCL_OK) {
        CUDA_FAIL(err, ERR_DEVICE, "NCCL: a sum between devices: %s",
                  first->fast->nccl->error_string(status));
        comms_abort(first);
        return false;
    }
    return true;
}

/** Until the event is over, or too much time is. */
static bool event_within_limit(GpuEvent event)
{
    struct timespec start, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    GpuError status;
    while ((status = gpu_event_query(event)) == GPU_ERROR_NOT_READY) {
        (void)gpu_last_error();
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > TRIAL_SECONDS) {
            return false;
        }
        (void)sched_yield();
    }
    return status == GPU_OK;
}

bool fast_settle(KStream *stream, Err *err)
{
    KDevice *first = stream->device;
    bool waiting = fast_sums(first);
    for (int r = 0; waiting && r < first->n_ranks; r++) {
        KStream *s = stream->ranks[r];
        if (!cuda_enter(s->device, err) ||
            !CUDA_OK(gpu_event_record(s->met, s->gpu), err, "waiting for the devices")) {
            comms_abort(first);
            return false;
        }
    }
    while (waiting) {
        waiting = false;
        for (int r = 0; r < first->n_ranks; r++) {
            KStream *s = stream->ranks[r];
            GpuError status =
                gpu_set_device(s->device->index) == GPU_OK ? gpu_event_query(s->met) : GPU_OK;
            if (status == GPU_ERROR_NOT_READY) {
                (void)gpu_last_error();
                waiting = true;
            } else if (!CUDA_OK(status, err, "waiting for the devices")) {
                comms_abort(first); // the others would wait for this one
                return false;
            }
        }
        if (waiting) {
            (void)sched_yield();
        }
    }
    return true;
}

typedef struct Trial {
    void *data;
    GpuEvent done;
    bool done_made;
} Trial;

/** A sum between machines that can not reach each other's memory hangs instead of failing, so the
 * first one is of a float on every rank and is watched. NULL, or what is wrong. */
static const char *trial_run(KDevice *first, Trial *trials)
{
    float *data[RANKS_MAX] = {};
    GpuStream streams[RANKS_MAX] = {};
    for (int r = 0; r < first->n_ranks; r++) {
        KDevice *device = first->ranks[r];
        if (gpu_set_device(device->index) != GPU_OK ||
            gpu_malloc(&trials[r].data, sizeof(float)) != GPU_OK ||
            gpu_event_create(&trials[r].done) != GPU_OK) {
            return "has no memory";
        }
        trials[r].done_made = true;
        if (gpu_memset_async(trials[r].data, 0x3f, sizeof(float), device->load) != GPU_OK) {
            return "has a device that fails";
        }
        data[r] = (float *)trials[r].data;
        streams[r] = device->load;
    }
    int status = sum_ranks(first, data, 1, streams);
    if (status != NCCL_OK) {
        return first->fast->nccl->error_string(status);
    }
    for (int r = 0; r < first->n_ranks; r++) {
        if (gpu_set_device(first->ranks[r]->index) != GPU_OK ||
            gpu_event_record(trials[r].done, streams[r]) != GPU_OK) {
            return "has a device that fails";
        }
    }
    for (int r = 0; r < first->n_ranks; r++) {
        if (gpu_set_device(first->ranks[r]->index) != GPU_OK ||
            !event_within_limit(trials[r].done)) {
            return "does not end its first sum";
        }
        float sum = 0, want = bits_to_float(0x3f3f3f3f) * (float)first->n_ranks; // exact: 2, 4, 8
        if (gpu_copy_d2h_async(&sum, data[r], sizeof(sum), streams[r]) != GPU_OK ||
            gpu_stream_sync(streams[r]) != GPU_OK || sum != want) {
            return "sums wrongly";
        }
    }
    return NULL;
}

static const char *comms_open(KDevice *first, const NcclApi *nccl)
{
    NcclComm *comms[RANKS_MAX] = {};
    int indices[RANKS_MAX] = {};
    for (int r = 0; r < first->n_ranks; r++) {
        indices[r] = first->ranks[r]->index;
    }
    int status = nccl->init_all(comms, first->n_ranks, indices);
    if (status != NCCL_OK) {
        return nccl->error_string(status);
    }
    for (int r = 0; r < first->n_ranks; r++) {
        first->ranks[r]->fast->nccl = nccl;
        first->ranks[r]->fast->comm = comms[r];
    }
    Trial trials[RANKS_MAX] = {};
    const char *why = trial_run(first, trials);
    if (why != NULL) {
        comms_abort(first);
    }
    for (int r = 0; r < first->n_ranks; r++) {
        (void)gpu_set_device(first->ranks[r]->index);
        if (why != NULL) {
            (void)gpu_stream_sync(first->ranks[r]->load); // what was aborted ends
        }
        if (trials[r].done_made) {
            (void)gpu_event_destroy(trials[r].done);
        }
        (void)gpu_free(trials[r].data);
    }
    (void)gpu_last_error();
    return why;
}

static void sums_open(KDevice *first, char *words, size_t size)
{
    const NcclApi *nccl = nccl_api();
    int version = 0;
    if (nccl == NULL) {
        snprintf(words, size, ", no NCCL");
        return;
    }
    const char *why = comms_open(first, nccl);
    if (why != NULL) {
        snprintf(words, size, ", NCCL does not start (%s)", why);
        return;
    }
    for (int r = 0; r < first->n_ranks; r++) {
        first->ranks[r]->fast->sums = true;
    }
    (void)nccl->version(&version);
    snprintf(words, size, ", NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

// ---- Devices and streams ------------------------------------------------------------------------

void fast_device_close(KDevice *first)
{
    for (int r = 0; r < first->n_ranks; r++) {
        Fast *fast = first->ranks[r]->fast;
        if (fast != NULL && fast->comm != NULL) {
            (void)fast->nccl->destroy(fast->comm);
        }
    }
    for (int r = 0; r < first->n_ranks; r++) {
        KDevice *device = first->ranks[r];
        if (device->fast != NULL) {
            (void)gpu_set_device(device->index);
            blas_close(device->fast);
        }
        free(device->fast);
        device->fast = NULL;
    }
}

bool fast_device_open(KDevice *first, Err *err)
{
    for (int r = 0; r < first->n_ranks; r++) {
        first->ranks[r]->fast = (Fast *)calloc(1, sizeof(Fast));
        if (first->ranks[r]->fast == NULL) {
            return CUDA_FAIL(err, ERR_LIMIT, "no memory for a device");
        }
    }
    char products[64] = "", sums[96] = "";
    products_open(first, products, sizeof(products));
    if (first->n_ranks > 1) {
        sums_open(first, sums, sizeof(sums));
    }
    size_t len = strlen(first->description);
    snprintf(first->description + len, sizeof(first->description) - len, ", fast: %s%s", products,
             sums);
    return true;
}

bool fast_stream_open(KStream *stream, Err *err)
{
    void *workspace = NULL;
    const Fast *fast = stream->device->fast;
    if (fast == NULL || fast->blas == NULL) {
        return true;
    }
    bool ok = cuda_enter(stream->device, err) &&
              cuda_alloc(stream->device, WORKSPACE_BYTES, &workspace, "cuBLASLt's workspace", err);
    stream->workspace = (uint8_t *)workspace;
    return ok;
}

void fast_stream_close(KStream *stream)
{
    if (stream->workspace != NULL) {
        (void)gpu_set_device(stream->device->index);
        (void)gpu_stream_sync(stream->gpu);
        (void)gpu_free(stream->workspace);
        stream->workspace = NULL;
    }
}
