// SPDX-License-Identifier: MIT
// Products, cut over tiles of outputs and panels of rows.
#include "kernels/cpu/cpu_internal.h"

#define PRODUCTS_MAX 4
#define FEW_ROWS     8

/** Tiles of some products, `group` at a time, against panels of rows. */
typedef struct ProductsJob {
    CpuProduct whole[PRODUCTS_MAX];
    const CpuPath *path;
    KActs *gated; // the products are a gate and its partner, and go here
    size_t n_rows;
    size_t n_panels;
    size_t group;
    uint32_t first_item[PRODUCTS_MAX + 1];
    size_t n_products;
} ProductsJob;

/** Choose the tiles of an item, of n_tiles in all. */
static void cut_items(ProductsJob *job, size_t n_tiles, int n_threads)
{
    job->n_panels = (job->n_rows + CPU_PANEL_ROWS - 1) / CPU_PANEL_ROWS;
    // With many rows, about eight items a thread even out what the system takes away. With few, the
    // weights' way from memory is what takes time, and it is fastest in long runs.
    size_t wanted = (size_t)n_threads * (job->n_rows <= FEW_ROWS ? 2 : 8);
    size_t least = n_tiles * job->n_panels / (POOL_ITEMS_MAX / 2) + 1;
    job->group = (n_tiles * job->n_panels + wanted - 1) / wanted;
    job->group = job->group < least ? least : job->group;
    job->group += job->group % 2; // tiles of a gated product come in pairs
}

/** The bytes of the one row that there is, when the path wants them. */
static const int8_t *split_row(KDevice *device, const KActs *x, size_t n_rows)
{
    if (n_rows != 1 || device->path->split_row == NULL || x->fixed == NULL) {
        return NULL;
    }
    int8_t *bytes = cpu_scratch(device, x->n_blocks * 2 * CPU_BLOCK);
    device->path->split_row(x, bytes);
    return bytes;
}

static CpuProduct whole_product(const KDevice *device, const KMatrix *matrix, const KActs *x,
                                const int8_t *bytes)
{
    assert(matrix->n_in == x->width);
    return (CpuProduct){
        .matrix = matrix, .x = x, .f32 = device->f32, .bytes = bytes, .n_segments = 1};
}

/** The tiles and rows of an item of one product. */
static CpuProduct cut_piece(const ProductsJob *job, size_t product, size_t item)
{
    CpuProduct piece = job->whole[product];
    piece.tile0 = item / job->n_panels * job->group;
    piece.row0 = item % job->n_panels * CPU_PANEL_ROWS;
    size_t tile_end = piece.tile0 + job->group, row_end = piece.row0 + CPU_PANEL_ROWS;
    piece.tile1 = tile_end < piece.matrix->n_tiles ? tile_end : piece.matrix->n_tiles;
    piece.row1 = row_end < job->n_rows ? row_end : job->n_rows;
    return piece;
}

static void run_item(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const ProductsJob *job = ctx;
    size_t p = 0;
    while (item >= job->first_item[p + 1]) {
        p++;
    }
    CpuProduct piece = cut_piece(job, p, item - job->first_item[p]);
    job->path->product(&piece);
}

bool cpu_products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                  size_t n_rows, Err *err)
{
    (void)err;
    KDevice *device = stream->device;
    assert(n_products <= PRODUCTS_MAX && n_rows <= x->max_rows);
    ProductsJob job = {.path = device->path, .n_rows = n_rows, .n_products = n_products};
    const int8_t *bytes = split_row(device, x, n_rows);
    size_t n_tiles = 0;
    for (size_t p = 0; p < n_products; p++) {
        assert(products[p].out->n >= n_rows * products[p].matrix->n_out);
        job.whole[p] = whole_product(device, products[p].matrix, x, bytes);
        job.whole[p].out = products[p].out->data;
        job.whole[p].add = products[p].add;
        job.whole[p].n_segments = products[p].n_segments;
        n_tiles += products[p].matrix->n_tiles;
    }
    cut_items(&job, n_tiles, device->n_threads);
    for (size_t p = 0; p < n_products; p++) {
        size_t groups = (products[p].matrix->n_tiles + job.group - 1) / job.group;
        job.first_item[p + 1] = job.first_item[p] + (uint32_t)(groups * job.n_panels);
    }
    pool_run(device->pool, run_item, &job, job.first_item[n_products]);
    return true;
}

static void run_gated_item(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const ProductsJob *job = ctx;
    CpuProduct gate = cut_piece(job, 0, item), up = cut_piece(job, 1, item);
    job->path->gated(&gate, &up, job->gated);
}

bool cpu_gated(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
               size_t n_rows, KActs *out, Err *err)
{
    (void)err;
    KDevice *device = stream->device;
    assert(n_rows <= x->max_rows && n_rows <= out->max_rows);
    assert(gate->n_out == out->width && up->n_out == out->width);
    ProductsJob job = {.path = device->path, .gated = out, .n_rows = n_rows, .n_products = 2};
    const int8_t *bytes = split_row(device, x, n_rows);
    job.whole[0] = whole_product(device, gate, x, bytes);
    job.whole[1] = whole_product(device, up, x, bytes);
    cut_items(&job, gate->n_tiles, device->n_threads);
    size_t groups = (gate->n_tiles + job.group - 1) / job.group;
    pool_run(device->pool, run_gated_item, &job, (uint32_t)(groups * job.n_panels));
    return true;
}
