// SPDX-License-Identifier: MIT
// Operations that take each row by itself: embedding, RMSNorm, SwiGLU, gather. A row is reduced by
// ROW_THREADS threads in one tree, whatever the number of rows.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/weight.cuh"

#include <assert.h>

// ---- Kernels ------------------------------------------------------------------------------------

/** out (n_rows, n_in): rows ids of a table of `type`, F16 or BF16 when it is plain. */
KERNEL(embed_rows)
(int type, bool plain, const uint8_t *records, uint32_t n_blocks, uint32_t n_in, const int32_t *ids,
 float *out)
{
    EARLY();
    uint32_t row = block_x(), id = (uint32_t)ids[row];
    const uint16_t *halves = (const uint16_t *)records + (size_t)id * n_blocks * BLOCK;
    for (uint32_t k = thread_x(); plain && k < n_in; k += block_dim_x()) {
        out[(size_t)row * n_in + k] =
            type == K_F16 ? f16_to_float(halves[k]) : bf16_to_float(halves[k]);
    }
    const uint8_t *tile = records + (size_t)(id / TILE) * n_blocks * record_bytes(type);
    for (uint32_t k = thread_x(); !plain && k < n_in; k += block_dim_x()) {
        const uint8_t *record = tile + (size_t)(k / BLOCK) * record_bytes(type);
        out[(size_t)row * n_in + k] = weight_at(type, record, id % TILE, k % BLOCK);
    }
}

/** The sum over all threads of a block of ROW_THREADS, in all of them. */
DEVICE static float row_sum(float x)
{
    SHARED(float, sums, [ROW_THREADS / 32]);
    x = warp_sum(x);
    if (thread_x() % 32 == 0) {
        sums[thread_x() / 32] = x;
    }
    SYNC();
    float total = 0;
    for (int i = 0; i < ROW_THREADS / 32; i++) {
        total += sums[i];
    }
    return total;
}

/** out[i] = x[rows[i]] * weight / sqrt(mean(x^2) + eps), one row a block. */
KERNEL(norm_rows)
(const float *x, const float *weight, float eps, uint32_t dim, const uint32_t *rows, ActsView out)
{
    if (block_x() + thread_x() == 0 && dim >= 4) {
        prefetch_l2(weight, dim / 4 * 16);
    }
    EARLY();
    uint32_t row = block_x(), n_groups = out.n_blocks * 4;
    const float *from = x + (size_t)(rows != NULL ? rows[row] : row) * dim;
    float squares = 0;
    for (uint32_t group = thread_x(); group < n_groups; group += ROW_THREADS) {
        float y[GROUP];
        group_load(from, group * GROUP, dim, y);
        UNROLL for (int i = 0; i < GROUP; i++)
        {
            squares = fmaf(y[i], y[i], squares);
        }
    }
    float scale = 1.0f / sqrtf(row_sum(squares) / (float)dim + eps);
    for (uint32_t first = 0; first < n_groups; first += ROW_THREADS) {
        uint32_t group = first + thread_x();
        float y[GROUP], w[GROUP];
        group_load(from, group * GROUP, dim, y);
        group_load(weight, group * GROUP, dim, w);
        UNROLL for (int i = 0; i < GROUP; i++)
        {
            y[i] = y[i] * scale * w[i];
        }
        acts_emit(out, row, group, y);
    }
}

/** out = gate * sigmoid(gate) * up; a block takes ROW_THREADS groups of a row. */
KERNEL(swiglu_rows)(const float *gate, const float *up, uint32_t width, ActsView out)
{
    EARLY();
    uint32_t row = block_x(), group = block_y() * ROW_THREADS + thread_x();
    float y[GROUP], u[GROUP];
    group_load(gate + (size_t)row * width, group * GROUP, width, y);
    group_load(up + (size_t)row * width, group * GROUP, width, u);
    UNROLL for (int i = 0; i < GROUP; i++)
    {
        y[i] = y[i] / (1.0f + exp_of(0.0f - y[i])) * u[i];
    }
    acts_emit(out, row, group, y);
}

/** out[i] = x[rows[i]]. */
KERNEL(gather_rows)(const float *x, uint32_t dim, const uint32_t *rows, float *out)
{
    EARLY();
    uint32_t row = block_x();
    for (uint32_t i = thread_x(); i < dim; i += block_dim_x()) {
        out[(size_t)row * dim + i] = x[(size_t)rows[row] * dim + i];
    }
}

// ---- Launchers ----------------------------------------------------------------------------------

bool cuda_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                KBuffer *out, Err *err)
{
    assert(out->n >= n_rows * table->n_in);
    for (size_t r = 0; r < n_rows; r++) {
        assert(ids[r] >= 0 && (size_t)ids[r] < table->n_out);
    }
    const void *on_device;
    if (!cuda_enter(stream->device, err) ||
        !cuda_upload(stream, ids, n_rows * sizeof(*ids), &on_device, err)) {
        return false;
    }
    LAUNCH_EARLY(embed_rows, dim3((uint32_t)n_rows), dim3(ROW_THREADS), 0, stream->gpu,
                 (int)table->type, table->plain, table->records, table->n_blocks,
                 (uint32_t)table->n_in, (const int32_t *)on_device, out->data);
    return CUDA_LAUNCHED(err, "embedding");
}

bool cuda_rms_norm(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps, size_t dim,
                   const uint32_t *rows, size_t n_rows, KActs *out, Err *err)
{
    assert(out->view.width == dim && out->max_rows >= n_rows && weight->n >= dim);
    const void *on_device = NULL;
    if (!cuda_enter(stream->device, err) ||
        (rows != NULL && !cuda_upload(stream, rows, n_rows * sizeof(*rows), &on_device, err))) {
        return false;
    }
    LAUNCH_EARLY(norm_rows, dim3((uint32_t)n_rows), dim3(ROW_THREADS), 0, stream->gpu, x->data,
                 weight->data, eps, (uint32_t)dim, (const uint32_t *)on_device, out->view);
    return CUDA_LAUNCHED(err, "RMSNorm");
}

bool rows_swiglu(KStream *stream, const float *gate, const float *up, size_t n_rows, KActs *out,
                 Err *err)
{
    uint32_t n_groups = out->view.n_blocks * 4;
    dim3 grid((uint32_t)n_rows, (n_groups + ROW_THREADS - 1) / ROW_THREADS);
    LAUNCH_EARLY(swiglu_rows, grid, dim3(ROW_THREADS), 0, stream->gpu, gate, up, out->view.width,
                 out->view);
    return CUDA_LAUNCHED(err, "SwiGLU");
}

bool cuda_gather(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows, size_t n_rows,
                 KBuffer *out, Err *err)
{
    assert(x != out && out->n >= n_rows * dim);
    const void *on_device;
    if (!cuda_enter(stream->device, err) ||
        !cuda_upload(stream, rows, n_rows * sizeof(*rows), &on_device, err)) {
        return false;
    }
    LAUNCH_EARLY(gather_rows, dim3((uint32_t)n_rows), dim3(ROW_THREADS), 0, stream->gpu, x->data,
                 (uint32_t)dim, (const uint32_t *)on_device, out->data);
    return CUDA_LAUNCHED(err, "gather");
}
