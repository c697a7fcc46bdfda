// SPDX-License-Identifier: MIT
// Products, cut over tiles of outputs and panels of rows.
#include "kernels/cpu/cpu_internal.h"

#define PRODUCTS_MAX 4
#define FEW_ROWS     8

typedef struct ProductsJob {
    CpuProduct whole[PRODUCTS_MAX];
    const CpuPath *path;
    size_t n_rows;
    size_t n_panels;
    size_t group; // tiles of an item
    uint32_t first_item[PRODUCTS_MAX + 1];
    size_t n_products;
} ProductsJob;

static void run_item(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const ProductsJob *job = ctx;
    size_t p = 0;
    while (item >= job->first_item[p + 1]) {
        p++;
    }
    size_t at = item - job->first_item[p];
    CpuProduct piece = job->whole[p];
    piece.tile0 = at / job->n_panels * job->group;
    piece.row0 = at % job->n_panels * CPU_PANEL_ROWS;
    size_t tile_end = piece.tile0 + job->group, row_end = piece.row0 + CPU_PANEL_ROWS;
    piece.tile1 = tile_end < piece.matrix->n_tiles ? tile_end : piece.matrix->n_tiles;
    piece.row1 = row_end < job->n_rows ? row_end : job->n_rows;
    job->path->product(&piece);
}

bool cpu_products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                  size_t n_rows, Err *err)
{
    (void)err;
    KDevice *device = stream->device;
    assert(n_products <= PRODUCTS_MAX && n_rows <= x->max_rows);
    ProductsJob job = {.path = device->path,
                       .n_rows = n_rows,
                       .n_panels = (n_rows + CPU_PANEL_ROWS - 1) / CPU_PANEL_ROWS,
                       .n_products = n_products};
    size_t n_tiles = 0;
    for (size_t p = 0; p < n_products; p++) {
        assert(products[p].matrix->n_in == x->width);
        assert(products[p].out->n >= n_rows * products[p].matrix->n_out);
        job.whole[p] = (CpuProduct){.matrix = products[p].matrix,
                                    .x = x,
                                    .out = products[p].out->data,
                                    .add = products[p].add,
                                    .f32 = device->f32,
                                    .n_segments = products[p].n_segments};
        n_tiles += products[p].matrix->n_tiles;
    }
    // With many rows, about eight items a thread even out what the system takes away. With few, the
    // weights' way from memory is what takes time, and it is fastest in long runs.
    size_t wanted = (size_t)device->n_threads * (n_rows <= FEW_ROWS ? 2 : 8);
    job.group = (n_tiles * job.n_panels + wanted - 1) / wanted;
    size_t most = n_tiles * job.n_panels / (POOL_ITEMS_MAX / 2) + 1;
    job.group = job.group < most ? most : job.group;
    for (size_t p = 0; p < n_products; p++) {
        size_t groups = (products[p].matrix->n_tiles + job.group - 1) / job.group;
        job.first_item[p + 1] = job.first_item[p] + (uint32_t)(groups * job.n_panels);
    }
    pool_run(device->pool, run_item, &job, job.first_item[n_products]);
    return true;
}
