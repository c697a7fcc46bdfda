// SPDX-License-Identifier: MIT
// The table of operations, for one device or several as ranks (tensor parallelism). Every matrix is
// cut over its outputs, so a rank computes whole sums in the order that one device does and the
// bits are the same for any number of ranks; heads are cut with them. What only one rank made is
// handed to the others: attention's and the gate's activations, and what a product adds to the
// residual. Cutting K instead, and summing the ranks' segments, would move more bytes (four a sum
// from every rank for each output, where here each output travels once) for two meetings a layer
// fewer. Ranks meet by events: before anyone reads what the others made, and before it is written
// again. Under --fast NCCL moves those bytes and sums on their way, so there attention output and
// FFN down are cut over their inputs: activations stay cut, and each layer has two sums.
#include "kernels/cuda/ranks.cuh"

#include <assert.h>
#include <string.h>

#define JOIN_THREADS 256

// ---- Kernel -------------------------------------------------------------------------------------

/** Rows that lie in one piece for each rank. */
typedef struct Pieces {
    const uint32_t *from[RANKS_MAX]; // (n_rows, width of the rank)
    uint32_t start[RANKS_MAX + 1];   // where a rank's share of a whole row begins
    int n;
} Pieces;

/** to (n_rows, width) = the ranks' shares side by side, or += as floats. */
template <bool ADD> KERNEL(join_rows)(Pieces pieces, uint32_t width, uint32_t *to)
{
    uint32_t row = block_x(), at = block_y() * JOIN_THREADS + thread_x();
    if (at >= width) {
        return;
    }
    // An index that is not known when compiled would put the pieces in local memory.
    const uint32_t *from = pieces.from[0];
    uint32_t start = 0, end = pieces.start[1];
    UNROLL for (int r = 1; r < RANKS_MAX; r++)
    {
        if (r < pieces.n && at >= pieces.start[r]) {
            from = pieces.from[r];
            start = pieces.start[r];
            end = pieces.start[r + 1];
        }
    }
    uint32_t bits = from[(size_t)row * (end - start) + at - start];
    uint32_t *out = to + (size_t)row * width + at;
    *out = ADD ? float_to_bits(bits_to_float(*out) + bits_to_float(bits)) : bits;
}

// ---- Meeting ------------------------------------------------------------------------------------

/** Nobody goes on before all have come here. */
static bool meet(KStream *stream, Err *err)
{
    int n = n_ranks(stream);
    for (int r = 0; r < n; r++) {
        KStream *s = stream->ranks[r];
        if (!cuda_enter(s->device, err) ||
            !CUDA_OK(gpu_event_record(s->met, s->gpu), err, "a meeting of devices")) {
            return false;
        }
    }
    for (int p = 0; p < n; p++) {
        for (int r = 0; r < n; r++) {
            if (r != p &&
                (!cuda_enter(stream->ranks[p]->device, err) ||
                 !CUDA_OK(gpu_stream_wait_event(stream->ranks[p]->gpu, stream->ranks[r]->met), err,
                          "a meeting of devices"))) {
                return false;
            }
        }
    }
    return true;
}

/** At least bytes of every rank that the others may read, until the next meeting but one. */
static bool slices(KStream *stream, size_t bytes, Err *err)
{
    if (bytes <= stream->slice_bytes) {
        return true;
    }
    for (int r = 0; r < n_ranks(stream); r++) { // others may still read the old ones
        if (!cuda_stream_sync(stream->ranks[r], err)) {
            return false;
        }
    }
    for (int r = 0; r < n_ranks(stream); r++) {
        KStream *s = stream->ranks[r];
        (void)gpu_free(s->slice);
        s->slice = NULL;
        s->slice_bytes = 0;
        void *p;
        if (!cuda_enter(s->device, err) ||
            !cuda_alloc(s->device, bytes, &p, "what devices exchange", err)) {
            return false;
        }
        s->slice = (uint8_t *)p;
        s->slice_bytes = bytes;
    }
    return true;
}

/** Copy every other rank's piece to the scratch of rank p, whose own stays where it is. */
static bool pull(KStream *stream, int p, size_t n_rows, Pieces *pieces, Err *err)
{
    KStream *to = stream->ranks[p];
    void *scratch;
    size_t at = 0, whole = n_rows * pieces->start[pieces->n] * sizeof(uint32_t);
    if (!cuda_enter(to->device, err) || !cuda_scratch(to, whole, &scratch, err)) {
        return false;
    }
    for (int r = 0; r < pieces->n; r++) {
        size_t bytes = n_rows * (pieces->start[r + 1] - pieces->start[r]) * sizeof(uint32_t);
        if (r != p) {
            void *place = (uint8_t *)scratch + at;
            if (!CUDA_OK(gpu_copy_peer_async(place, to->device->index, pieces->from[r],
                                             stream->ranks[r]->device->index, bytes, to->gpu),
                         err, "a copy between devices")) {
                return false;
            }
            pieces->from[r] = (const uint32_t *)place;
        }
        at += bytes;
    }
    return true;
}

/** Pull and join on rank p. */
static bool join(KStream *stream, int p, size_t n_rows, const Pieces *shares, bool add, void *to,
                 Err *err)
{
    Pieces pieces = *shares;
    if (!pull(stream, p, n_rows, &pieces, err)) {
        return false;
    }
    uint32_t width = pieces.start[pieces.n];
    dim3 grid((uint32_t)n_rows, (width + JOIN_THREADS - 1) / JOIN_THREADS);
    auto kernel = add ? join_rows<true> : join_rows<false>;
    LAUNCH(kernel, grid, dim3(JOIN_THREADS), 0, stream->ranks[p]->gpu, pieces, width,
           (uint32_t *)to);
    return CUDA_LAUNCHED(err, "joining what devices made");
}

// ---- What several ranks hand to each other ------------------------------------------------------

/** Join one form of the slices on every rank: `words` 32-bit words a block. */
static bool join_form(KStream *stream, KActs *acts, size_t n_rows, size_t words,
                      void *(*form)(const ActsView *view), Err *err)
{
    Pieces pieces = {};
    pieces.n = n_ranks(stream);
    for (int r = 0; r < pieces.n; r++) {
        const ActsView *slice = &acts->ranks[r]->slice->view;
        pieces.from[r] = (const uint32_t *)form(slice);
        pieces.start[r + 1] = pieces.start[r] + slice->n_blocks * (uint32_t)words;
    }
    if (pieces.from[0] == NULL) {
        return true;
    }
    for (int p = 0; p < pieces.n; p++) {
        if (!join(stream, p, n_rows, &pieces, false, form(&acts->ranks[p]->view), err)) {
            return false;
        }
    }
    return true;
}

static void *form_f32(const ActsView *view)
{
    return view->f32;
}
static void *form_f16(const ActsView *view)
{
    return view->f16;
}
static void *form_bf16(const ActsView *view)
{
    return view->bf16;
}
static void *form_fixed(const ActsView *view)
{
    return view->fixed;
}

/** Scales lie by block, so a rank's are one run. */
static bool join_scales(KStream *stream, KActs *acts, Err *err)
{
    int n = n_ranks(stream);
    if (acts->view.scales == NULL) {
        return true;
    }
    for (int p = 0; p < n; p++) {
        KStream *to = stream->ranks[p];
        float *at = acts->ranks[p]->view.scales;
        for (int r = 0; r < n; r++) {
            const ActsView *slice = &acts->ranks[r]->slice->view;
            size_t floats = (size_t)slice->n_blocks * slice->max_rows * 2;
            if (!cuda_enter(to->device, err) ||
                !CUDA_OK(gpu_copy_peer_async(at, to->device->index, slice->scales,
                                             stream->ranks[r]->device->index,
                                             floats * sizeof(float), to->gpu),
                         err, "a copy between devices")) {
                return false;
            }
            at += floats;
        }
    }
    return true;
}

/** Every rank has made its slice: all get the whole. */
static bool acts_join(KStream *stream, KActs *acts, size_t n_rows, Err *err)
{
    return meet(stream, err) && join_form(stream, acts, n_rows, BLOCK, form_f32, err) &&
           join_form(stream, acts, n_rows, BLOCK / 2, form_f16, err) &&
           join_form(stream, acts, n_rows, BLOCK / 2, form_bf16, err) &&
           join_form(stream, acts, n_rows, BLOCK / 2, form_fixed, err) &&
           join_scales(stream, acts, err) && meet(stream, err);
}

static bool acts_can_be_cut(const KStream *stream, const KActs *acts, Err *err)
{
    return n_ranks(stream) == 1 || acts->slice != NULL ||
           CUDA_FAIL(err, ERR_UNSUPPORTED,
                     "%u activations can not be cut in blocks of %d for %d devices",
                     acts->view.width, BLOCK, n_ranks(stream));
}

/** The whole rows of a buffer that is cut, on rank 0, in its slice. */
static bool buffer_join(KStream *stream, const KBuffer *buffer, size_t n_rows, KBuffer *out,
                        Err *err)
{
    Pieces pieces = {};
    pieces.n = n_ranks(stream);
    for (int r = 0; r < pieces.n; r++) {
        pieces.from[r] = (const uint32_t *)(const void *)buffer->ranks[r]->data;
        pieces.start[r + 1] = pieces.start[r] + buffer->cut[r];
    }
    size_t n = n_rows * pieces.start[pieces.n];
    if (!ranks_stream_sync(stream, err) || !slices(stream, n * sizeof(float), err) ||
        !meet(stream, err) || !join(stream, 0, n_rows, &pieces, false, stream->slice, err) ||
        !meet(stream, err)) {
        return false;
    }
    out->device = stream->device;
    out->data = (float *)(void *)stream->slice;
    out->n = n;
    return true;
}

// ---- Operations ---------------------------------------------------------------------------------

/** Each rank embeds the rows whose ids it has, all get all of them. */
static bool embed_cut(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                      KBuffer *out, Err *err)
{
    int n = n_ranks(stream);
    size_t dim = table->n_in, first_id = 0, n_done = 0;
    void *memory;
    if (!slices(stream, n_rows * dim * sizeof(float), err) ||
        !cuda_host_scratch(stream, n_rows * 2 * sizeof(uint32_t), &memory, err)) {
        return false;
    }
    int32_t *own = (int32_t *)memory;
    uint32_t *places = (uint32_t *)memory + n_rows; // of each row among all that were made
    size_t made[RANKS_MAX] = {};
    for (int r = 0; r < n; first_id += table->ranks[r]->n_out, r++) {
        for (size_t i = 0; i < n_rows; i++) {
            size_t id = (size_t)ids[i];
            if (id >= first_id && id < first_id + table->ranks[r]->n_out) {
                places[i] = (uint32_t)(n_done + made[r]);
                own[made[r]++] = (int32_t)(id - first_id);
            }
        }
        n_done += made[r];
        KBuffer slice = {};
        slice.data = (float *)(void *)stream->ranks[r]->slice;
        slice.n = made[r] * dim;
        if (made[r] > 0 &&
            !cuda_embed(stream->ranks[r], table->ranks[r], own, made[r], &slice, err)) {
            return false;
        }
    }
    assert(n_done == n_rows);
    if (!meet(stream, err)) {
        return false;
    }
    for (int p = 0; p < n; p++) {
        KStream *to = stream->ranks[p];
        void *scratch;
        if (!cuda_enter(to->device, err) ||
            !cuda_scratch(to, n_rows * dim * sizeof(float), &scratch, err)) {
            return false;
        }
        KBuffer all = {};
        all.data = (float *)scratch;
        all.n = n_rows * dim;
        uint8_t *at = (uint8_t *)scratch;
        for (int r = 0; r < n; r++) {
            size_t bytes = made[r] * dim * sizeof(float);
            if (bytes > 0 &&
                !CUDA_OK(gpu_copy_peer_async(at, to->device->index, stream->ranks[r]->slice,
                                             stream->ranks[r]->device->index, bytes, to->gpu),
                         err, "a copy between devices")) {
                return false;
            }
            at += bytes;
        }
        if (!cuda_gather(to, &all, dim, places, n_rows, out->ranks[p], err)) {
            return false;
        }
    }
    return meet(stream, err);
}

static bool embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                  KBuffer *out, Err *err)
{
    out->cut[0] = 0;
    return n_ranks(stream) == 1 ? cuda_embed(stream, table, ids, n_rows, out, err)
                                : embed_cut(stream, table, ids, n_rows, out, err);
}

static bool rms_norm(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps,
                     size_t dim, const uint32_t *rows, size_t n_rows, KActs *out, Err *err)
{
    assert(x->cut[0] == 0);
    for (int r = 0; r < n_ranks(stream); r++) {
        if (!cuda_rms_norm(stream->ranks[r], x->ranks[r], weight->ranks[r], eps, dim, rows, n_rows,
                           out->ranks[r], err)) {
            return false;
        }
    }
    return true;
}

/** A product that is added to whole rows: its shares are handed around and added everywhere. */
static bool product_add(KStream *stream, const KProduct *product, const KActs *x, size_t n_rows,
                        Err *err)
{
    Pieces pieces = {};
    pieces.n = n_ranks(stream);
    for (int r = 0; r < pieces.n; r++) {
        pieces.start[r + 1] = pieces.start[r] + (uint32_t)product->matrix->ranks[r]->n_out;
    }
    if (!slices(stream, n_rows * pieces.start[pieces.n] * sizeof(float), err)) {
        return false;
    }
    for (int r = 0; r < pieces.n; r++) {
        KStream *s = stream->ranks[r];
        KBuffer share = {};
        share.data = (float *)(void *)s->slice;
        share.n = n_rows * product->matrix->ranks[r]->n_out;
        KProduct one = {product->matrix->ranks[r], &share, false, product->n_segments};
        if (!cuda_products(s, &one, 1, x->ranks[r], n_rows, err)) {
            return false;
        }
        pieces.from[r] = (const uint32_t *)(const void *)s->slice;
    }
    if (!meet(stream, err)) {
        return false;
    }
    for (int p = 0; p < pieces.n; p++) {
        if (!join(stream, p, n_rows, &pieces, true, product->out->ranks[p]->data, err)) {
            return false;
        }
    }
    return meet(stream, err);
}

/** The same with a matrix whose inputs are cut: the first rank adds, and the ranks' sum replaces
 * what all had. */
static bool product_sum(KStream *stream, const KProduct *product, const KActs *x, size_t n_rows,
                        Err *err)
{
    for (int r = 0; r < n_ranks(stream); r++) {
        KProduct one = {product->matrix->ranks[r], product->out->ranks[r], r == 0,
                        product->n_segments};
        if (!cuda_products(stream->ranks[r], &one, 1, x->ranks[r]->slice, n_rows, err)) {
            return false;
        }
    }
    return fast_sum(stream, product->out, n_rows * product->matrix->n_out, err);
}

/** Products that stay cut as their matrices are. */
static bool products_cut(KStream *stream, const KProduct *products, size_t n, const KActs *x,
                         size_t n_rows, Err *err)
{
    for (int r = 0; r < n_ranks(stream); r++) {
        KProduct ones[PRODUCTS_MAX];
        for (size_t p = 0; p < n; p++) {
            const KMatrix *m = products[p].matrix->ranks[r];
            ones[p] = products[p];
            ones[p].matrix = m;
            ones[p].out = products[p].out->ranks[r];
            products[p].out->cut[r] = (uint32_t)m->n_out;
        }
        if (!cuda_products(stream->ranks[r], ones, n, x->ranks[r], n_rows, err)) {
            return false;
        }
    }
    return true;
}

static bool products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                     size_t n_rows, Err *err)
{
    if (n_ranks(stream) == 1) {
        return cuda_products(stream, products, n_products, x, n_rows, err);
    }
    for (size_t p = 0, n; p < n_products; p += n) {
        for (n = 1; p + n < n_products && !products[p].add && !products[p + n].add; n++) {
        }
        assert(products[p].add || !products[p].matrix->inputs_cut);
        bool ok = products[p].matrix->inputs_cut ? product_sum(stream, &products[p], x, n_rows, err)
                  : products[p].add              ? product_add(stream, &products[p], x, n_rows, err)
                                    : products_cut(stream, products + p, n, x, n_rows, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool rope_store(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                       const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                       Err *err)
{
    for (int r = 0; r < n_ranks(stream); r++) {
        if (!cuda_rope_store(stream->ranks[r], kv->ranks[r], layer, q->ranks[r], k->ranks[r],
                             v->ranks[r], angles, slots, n_rows, err)) {
            return false;
        }
    }
    return true;
}

static bool attention(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                      const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out,
                      Err *err)
{
    int n = n_ranks(stream);
    if (!acts_can_be_cut(stream, out, err)) {
        return false;
    }
    for (int r = 0; r < n; r++) {
        KActs *to = n == 1 ? out : out->ranks[r]->slice;
        if (!cuda_attention(stream->ranks[r], kv->ranks[r], layer, q->ranks[r], works, n_works,
                            n_rows, to, err)) {
            return false;
        }
    }
    return n == 1 || out->stays_cut || acts_join(stream, out, n_rows, err);
}

static bool gated(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
                  size_t n_rows, KActs *out, Err *err)
{
    int n = n_ranks(stream);
    if (!acts_can_be_cut(stream, out, err)) {
        return false;
    }
    for (int r = 0; r < n; r++) {
        KActs *to = n == 1 ? out : out->ranks[r]->slice;
        if (!cuda_gated(stream->ranks[r], gate->ranks[r], up->ranks[r], x->ranks[r], n_rows, to,
                        err)) {
            return false;
        }
    }
    return n == 1 || out->stays_cut || acts_join(stream, out, n_rows, err);
}

static bool gather(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows,
                   size_t n_rows, KBuffer *out, Err *err)
{
    memcpy(out->cut, x->cut, sizeof(out->cut));
    for (int r = 0; r < n_ranks(stream); r++) {
        size_t width = x->cut[0] == 0 ? dim : x->cut[r];
        if (!cuda_gather(stream->ranks[r], x->ranks[r], width, rows, n_rows, out->ranks[r], err)) {
            return false;
        }
    }
    return true;
}

/** The first n_rows of logits whole on rank 0, once every rank has made what it makes of them. */
static bool whole_logits(KStream *stream, const KBuffer *logits, size_t n_rows, KBuffer *out,
                         Err *err)
{
    if (logits->cut[0] != 0) {
        return buffer_join(stream, logits, n_rows, out, err);
    }
    out->device = logits->device;
    out->data = logits->data;
    out->n = logits->n;
    return n_ranks(stream) == 1 || ranks_stream_sync(stream, err);
}

static bool logprobs(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                     size_t n_rows, Err *err)
{
    size_t last = 0;
    for (size_t i = 0; i < n_rows; i++) {
        last = rows[i].row > last ? rows[i].row : last;
    }
    KBuffer whole = {};
    return whole_logits(stream, logits, last + 1, &whole, err) &&
           cuda_logprobs(stream, &whole, vocab, rows, n_rows, err);
}

static bool pick(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
                 size_t n_picks, Err *err)
{
    size_t last = 0;
    for (size_t i = 0; i < n_picks; i++) {
        last = picks[i].row > last ? picks[i].row : last;
    }
    KBuffer whole = {};
    return whole_logits(stream, logits, last + 1, &whole, err) &&
           cuda_pick(stream, &whole, vocab, picks, n_picks, err);
}

/** What the rank with the least has: kv_slot_bytes is a rank's share too. */
static size_t device_free_bytes(const KDevice *device)
{
    size_t least = SIZE_MAX;
    for (int r = 0; r < device->n_ranks; r++) {
        Err err;
        size_t free_bytes = 0, total_bytes = 0;
        if (!cuda_enter(device->ranks[r], &err) ||
            gpu_memory_info(&free_bytes, &total_bytes) != GPU_OK) {
            return 0;
        }
        least = free_bytes < least ? free_bytes : least;
    }
    return least;
}

/** Steps of several devices are issued as they come. */
static bool step_begin(KStream *stream, bool repeats, Err *err)
{
    int n = n_ranks(stream);
    for (int r = 0; r < n; r++) {
        if (!cuda_step_begin(n == 1 ? stream : stream->ranks[r], repeats && n == 1, err)) {
            return false;
        }
    }
    return true;
}

static bool step_end(KStream *stream, Err *err)
{
    int n = n_ranks(stream);
    bool ok = true;
    for (int r = 0; r < n; r++) {
        ok = cuda_step_end(n == 1 ? stream : stream->ranks[r], err) && ok;
    }
    return ok;
}

static size_t step_rows(const KStream *stream, size_t n_rows)
{
    return n_ranks(stream) == 1 ? cuda_step_rows(stream, n_rows) : n_rows;
}

/** In the order of KOps: C++17 has no designators. */
static const KOps cuda_ops = {
    "cuda",
    256,
    2048,
    ranks_device_open,
    ranks_device_close,
    ranks_device_describe,
    device_free_bytes,
    ranks_stream_create,
    ranks_stream_destroy,
    ranks_stream_sync,
    step_begin,
    step_end,
    step_rows,
    ranks_buffer_create,
    ranks_buffer_destroy,
    ranks_buffer_write,
    ranks_buffer_read,
    ranks_matrix_create,
    ranks_matrix_destroy,
    ranks_matrix_create_added,
    ranks_acts_create,
    ranks_acts_destroy,
    ranks_kv_slot_bytes,
    ranks_kv_create,
    ranks_kv_destroy,
    embed,
    rms_norm,
    products,
    rope_store,
    attention,
    gated,
    gather,
    logprobs,
    pick,
};

extern "C" __attribute__((visibility("default"))) const KOps *muster_cuda_ops(void)
{
    return &cuda_ops;
}
