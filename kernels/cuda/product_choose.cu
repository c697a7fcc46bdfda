// SPDX-License-Identifier: MIT
// Which kernel takes a product of more than few rows. All give the same bits, so the machine may
// say: when a product of this shape comes for the first time, each kernel that can take it is timed
// on it. The cache is filled with something else before, since weights come from memory in a step,
// too (its activations do not: all kernels read those late alike). Rows count by sizes that are not
// far apart. Where there is no memory to try in, a guess from panels and processors has to do.
#include "kernels/cuda/product.cuh"

#define ROUNDS 3 // of trials; the first one warms up

// ---- What there is ------------------------------------------------------------------------------

static bool run(KStream *stream, const ProductsView *view, ProductKernel kernel, Err *err)
{
    return kernel == PRODUCT_FEW ? products_few(stream, view, err)
                                 : products_many(stream, view, kernel, err);
}

static bool can_take(const KDevice *device, const ProductsView *view, ProductKernel kernel)
{
    uint32_t rows = view->n_rows;
    if (kernel == PRODUCT_FEW) {
        return rows <= 128 && products_few_can(view); // each 32 read all weights
    }
    uint32_t more_than = kernel == PRODUCT_64 ? 0 : kernel == PRODUCT_256 ? 128 : 64;
    return rows > more_than && (is_half(view->type) || kernel == PRODUCT_64) &&
           products_many_shared(view->type, kernel) <= device->shared_bytes;
}

/** From an H200: a panel of 64 rows takes 28/45 of the time of one of 128, and the time of a
 * processor goes with the panels that it gets. */
static ProductKernel guess(const KDevice *device, const ProductsView *view, size_t n_panels)
{
    size_t most[2], n = (size_t)device->n_processors;
    for (size_t i = 0; i < 2; i++) {
        size_t rows = i == 0 ? 64 : 128;
        most[i] = ((view->n_rows + rows - 1) / rows * n_panels + n - 1) / n;
    }
    bool large = can_take(device, view, PRODUCT_128) && most[0] * 28 >= most[1] * 45;
    return large ? PRODUCT_128 : PRODUCT_64;
}

// ---- Trials -------------------------------------------------------------------------------------

/** Memory and events of trials. */
typedef struct ProductTrial {
    void *memory;
    size_t bytes;
    GpuEvent from, to;
    int n_events;
} ProductTrial;

static void trial_finish(ProductTrial *trial)
{
    (void)gpu_free(trial->memory);
    if (trial->n_events > 0) {
        (void)gpu_event_destroy(trial->from);
    }
    if (trial->n_events > 1) {
        (void)gpu_event_destroy(trial->to);
    }
}

/** Outputs go to memory of the trial's own, which also fills the cache with something else. */
static bool trial_start(KStream *stream, ProductsView *view, ProductTrial *trial)
{
    size_t n = 0, at[PRODUCTS_MAX]; // floats
    for (int p = 0; p < view->n_products; p++) {
        at[p] = n;
        n += ((size_t)view->n_rows * view->products[p].n_out + 63) / 64 * 64;
    }
    size_t cache = 2 * stream->device->l2_bytes;
    trial->bytes = n * sizeof(float) > cache ? n * sizeof(float) : cache;
    if (gpu_malloc(&trial->memory, trial->bytes) != GPU_OK) {
        (void)gpu_last_error(); // it is no error of the launches that follow
        return false;
    }
    GpuEvent *const events[] = {&trial->from, &trial->to};
    for (; trial->n_events < 2; trial->n_events++) {
        if (gpu_event_create(events[trial->n_events]) != GPU_OK) {
            (void)gpu_last_error();
            return false;
        }
    }
    for (int p = 0; p < view->n_products; p++) {
        view->products[p].out = (float *)trial->memory + at[p];
    }
    return true;
}

static bool trial_time(KStream *stream, const ProductsView *view, ProductKernel kernel,
                       const ProductTrial *trial, float *out_ms, Err *err)
{
    return CUDA_OK(gpu_memset_async(trial->memory, 0, trial->bytes, stream->gpu), err, "a trial") &&
           CUDA_OK(gpu_event_record(trial->from, stream->gpu), err, "a trial") &&
           run(stream, view, kernel, err) &&
           CUDA_OK(gpu_event_record(trial->to, stream->gpu), err, "a trial") &&
           CUDA_OK(gpu_event_sync(trial->to), err, "a trial") &&
           CUDA_OK(gpu_event_elapsed_ms(out_ms, trial->from, trial->to), err, "a trial");
}

/** Time kernels in turn; the one with the best time. Launches of a step that is recorded wait in
 * the host's memory meanwhile. */
static bool try_all(KStream *stream, const ProductsView *view, const ProductTrial *trial,
                    ProductKernel *out, Err *err)
{
    float best = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < PRODUCT_KERNELS; i++) {
            ProductKernel kernel = (ProductKernel)i;
            float ms;
            if (!can_take(stream->device, view, kernel)) {
                continue;
            }
            if (!trial_time(stream, view, kernel, trial, &ms, err)) {
                return false;
            }
            if (round > 0 && ms < best) {
                best = ms;
                *out = kernel;
            }
        }
    }
    return true;
}

static bool choose_by_trial(KStream *stream, const ProductsView *of, ProductKernel *out, Err *err)
{
    ProductsView view = *of;
    ProductTrial trial = {};
    GpuRecorder *recorder = gpu_recorder;
    gpu_recorder = NULL;
    bool ok = !trial_start(stream, &view, &trial) || try_all(stream, &view, &trial, out, err);
    gpu_recorder = recorder;
    trial_finish(&trial);
    return ok;
}

// ---- Choices ------------------------------------------------------------------------------------

static uint32_t rows_size(uint32_t n_rows)
{
    uint32_t unit = n_rows <= 128 ? 32 : n_rows <= 512 ? 64 : 256;
    return (n_rows + unit - 1) / unit * unit;
}

static ProductChoice choice_of(const ProductsView *view)
{
    ProductChoice choice = {};
    choice.type = view->type;
    choice.n_segments = view->n_segments;
    choice.n_blocks = view->n_blocks;
    choice.rows = rows_size(view->n_rows);
    for (int p = 0; p < view->n_products; p++) {
        choice.n_panels += (view->products[p].n_out + PANEL - 1) / PANEL;
    }
    return choice;
}

static bool same_shape(const ProductChoice *a, const ProductChoice *b)
{
    return a->type == b->type && a->n_segments == b->n_segments && a->n_blocks == b->n_blocks &&
           a->rows == b->rows && a->n_panels == b->n_panels;
}

/** How many kernels can take it; *out: one of them. */
static int count_kernels(const KDevice *device, const ProductsView *view, ProductKernel *out)
{
    int n = 0;
    for (int i = 0; i < PRODUCT_KERNELS; i++) {
        if (can_take(device, view, (ProductKernel)i)) {
            *out = (ProductKernel)i;
            n++;
        }
    }
    return n;
}

bool products_chosen(KStream *stream, const ProductsView *view, Err *err)
{
    ProductChoice wish = choice_of(view);
    if (count_kernels(stream->device, view, &wish.kernel) == 1) {
        return run(stream, view, wish.kernel, err);
    }
    for (uint32_t i = 0; i < stream->n_choices && i < PRODUCT_CHOICES; i++) {
        if (same_shape(&stream->choices[i], &wish)) {
            return run(stream, view, stream->choices[i].kernel, err);
        }
    }
    uint32_t parts = wish.n_panels * (view->n_segments > 1 ? K_SEGMENTS / 2 : 1);
    wish.kernel = guess(stream->device, view, parts);
    // With sums by NCCL under way nobody may wait for a rank whose peer may be lost (fast_settle).
    if (!fast_sums(stream->device) && !choose_by_trial(stream, view, &wish.kernel, err)) {
        return false;
    }
    stream->choices[stream->n_choices++ % PRODUCT_CHOICES] = wish;
    return run(stream, view, wish.kernel, err);
}
