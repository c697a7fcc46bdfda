// SPDX-License-Identifier: MIT
// Operations that take each row by itself: embedding, RMSNorm, gather.
#include "kernels/cpu/cpu_internal.h"

#include <string.h>

/** One job over rows; the fields that an operation does not use are zero. */
typedef struct RowsJob {
    KDevice *device;
    const KMatrix *table;
    const int32_t *ids;
    const float *x;
    const float *weight;
    const uint32_t *rows;
    float eps;
    size_t width;
    size_t n_rows;
    float *out;
    KActs *acts;
    float *scratch; // a row for each worker
} RowsJob;

/** Rows that one item takes, so that an item is worth a few microseconds. */
static size_t rows_per_item(const RowsJob *job)
{
    size_t per_item = 8192 / (job->width + 1) + 1;
    size_t most = job->n_rows / POOL_ITEMS_MAX + 1;
    return per_item > most ? per_item : most;
}

static void run_rows(RowsJob *job, PoolFn *fn)
{
    size_t per_item = rows_per_item(job);
    pool_run(job->device->pool, fn, job, (uint32_t)((job->n_rows + per_item - 1) / per_item));
}

/** The rows of an item. */
static void item_rows(const RowsJob *job, uint32_t item, size_t *from, size_t *to)
{
    size_t per_item = rows_per_item(job);
    *from = item * per_item;
    *to = *from + per_item < job->n_rows ? *from + per_item : job->n_rows;
}

static void embed_rows(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const RowsJob *job = ctx;
    size_t from, to;
    item_rows(job, item, &from, &to);
    for (size_t r = from; r < to; r++) {
        job->device->path->embed(job->table, (size_t)job->ids[r], job->out + r * job->width);
    }
}

bool cpu_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
               KBuffer *out, Err *err)
{
    (void)err;
    assert(out->n >= n_rows * table->n_in);
    for (size_t r = 0; r < n_rows; r++) {
        assert(ids[r] >= 0 && (size_t)ids[r] < table->n_out);
    }
    RowsJob job = {.device = stream->device,
                   .table = table,
                   .ids = ids,
                   .width = table->n_in,
                   .n_rows = n_rows,
                   .out = out->data};
    run_rows(&job, embed_rows);
    return true;
}

static void norm_rows(void *ctx, uint32_t item, int worker)
{
    const RowsJob *job = ctx;
    size_t from, to;
    item_rows(job, item, &from, &to);
    for (size_t r = from; r < to; r++) {
        const float *x = job->x + (job->rows != NULL ? job->rows[r] : r) * job->width;
        float *y = job->scratch + (size_t)worker * cpu_round_tile(job->width);
        job->device->path->rms_norm(x, job->weight, job->eps, job->width, y);
        cpu_acts_row(job->device, job->acts, r, y);
    }
}

bool cpu_rms_norm(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps, size_t dim,
                  const uint32_t *rows, size_t n_rows, KActs *out, Err *err)
{
    (void)err;
    assert(out->width == dim && out->max_rows >= n_rows && weight->n >= dim);
    RowsJob job = {.device = stream->device,
                   .x = x->data,
                   .weight = weight->data,
                   .rows = rows,
                   .eps = eps,
                   .width = dim,
                   .n_rows = n_rows,
                   .acts = out};
    job.scratch = cpu_scratch(stream->device, (size_t)stream->device->n_threads *
                                                  cpu_round_tile(dim) * sizeof(float));
    run_rows(&job, norm_rows);
    return true;
}

bool cpu_gather(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows, size_t n_rows,
                KBuffer *out, Err *err)
{
    (void)stream;
    (void)err;
    assert(x != out && out->n >= n_rows * dim);
    for (size_t r = 0; r < n_rows; r++) {
        memcpy(out->data + r * dim, x->data + rows[r] * dim, dim * sizeof(float));
    }
    return true;
}
