// SPDX-License-Identifier: MIT
// Products with many rows (prefill): a thread block takes 128 outputs and 64 or 128 rows, its
// warps 64 or 32 outputs each by half of the rows. Records and rows go through shared memory in
// three stages, copied asynchronously; both lie there as they lie in memory, which no bank
// conflicts with. Products in segments are cut over the grid, too, and summed by a kernel of their
// own.
#include "kernels/cuda/product.cuh"

#define MANY_TILES 8 // tiles of 16 outputs of a thread block
#define STAGES     3

/** How many tiles a warp takes by half of the rows. Quantised weights have more to do for each sum
 *  and want more warps; halves want few, which read less from shared memory. */
HOST_DEVICE constexpr int warp_tiles(int type)
{
    return is_half(type) ? 4 : 2;
}
HOST_DEVICE constexpr int many_threads(int type)
{
    return MANY_TILES / warp_tiles(type) * 2 * 32;
}

/** One stage, in bytes: records, rows, scales. */
template <int TYPE, int ROWS> struct Stage {
    static constexpr uint32_t records = MANY_TILES * record_bytes(TYPE);
    static constexpr uint32_t rows = ROWS * ROW_BLOCK;
    static constexpr uint32_t scales = is_half(TYPE) ? 0 : ROWS * 8;
    static constexpr uint32_t bytes = records + rows + scales;
};

/** What a thread block works on. */
struct Panel {
    const uint8_t *weights; // of its first tile
    uint32_t n_tiles;       // that exist from there on
    uint32_t row0;
};

// ---- Kernels ------------------------------------------------------------------------------------

/** Ask for block b of all tiles and rows. */
template <int TYPE, int ROWS>
DEVICE static inline void stage_load(const ProductsView &view, const Panel &panel, uint32_t b,
                                     uint8_t *stage)
{
    constexpr uint32_t PIECES = record_bytes(TYPE) / 16;
    for (uint32_t i = thread_x(); i < MANY_TILES * PIECES; i += many_threads(TYPE)) {
        uint32_t tile = i / PIECES;
        bool inside = tile < panel.n_tiles;
        size_t at = inside ? ((size_t)tile * view.n_blocks + b) * PIECES + i % PIECES : 0;
        cp_async16(stage + i * 16, panel.weights + at * 16, inside);
    }
    const uint8_t *x = TYPE == K_F16    ? (const uint8_t *)view.x.f16
                       : TYPE == K_BF16 ? (const uint8_t *)view.x.bf16
                                        : view.x.fixed;
    for (uint32_t i = thread_x(); i < ROWS * 4; i += many_threads(TYPE)) {
        uint32_t row = panel.row0 + i / 4;
        bool inside = row < view.n_rows;
        size_t at = inside ? ((size_t)row * view.x.n_blocks + b) * ROW_BLOCK + i % 4 * 16 : 0;
        cp_async16(stage + Stage<TYPE, ROWS>::records + i * 16, x + at, inside);
    }
    if (!is_half(TYPE)) {
        uint8_t *scales = stage + Stage<TYPE, ROWS>::records + Stage<TYPE, ROWS>::rows;
        for (uint32_t i = thread_x(); i < ROWS / 2; i += many_threads(TYPE)) {
            uint32_t row = panel.row0 + i * 2;
            bool inside = row < view.n_rows;
            size_t at = inside ? ((size_t)b * view.x.max_rows + row) * 2 : 0;
            cp_async16(scales + i * 16, view.x.scales + at, inside);
        }
    }
}

/** One block of K: a warp's tiles by half of the rows. */
template <int TYPE, int ROWS>
DEVICE static inline void stage_multiply(const uint8_t *stage, float (*acc)[ROWS / 16][4])
{
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    constexpr int TILES = warp_tiles(TYPE), CUTS = MANY_TILES / TILES;
    Weights<TYPE> weights[TILES];
    UNROLL for (int t = 0; t < TILES; t++)
    {
        RawWeights<TYPE> raw;
        uint32_t tile = warp % CUTS * TILES + (uint32_t)t;
        weights_load<TYPE, false>(stage + tile * record_bytes(TYPE), lane, raw);
        weights_unpack<TYPE>(raw, weights[t]);
    }
    const uint8_t *rows = stage + Stage<TYPE, ROWS>::records;
    const uint8_t *scales = rows + Stage<TYPE, ROWS>::rows;
    UNROLL for (int n = 0; n < ROWS / 16; n++)
    {
        uint32_t row = warp / CUTS * (ROWS / 2) + (uint32_t)n * 8;
        Rows8 x;
        x.x = *(const uint4 *)(rows + row * ROW_BLOCK + lane * 16);
        if (!is_half(TYPE)) {
            x.scales = *(const float4 *)(scales + row * 8 + lane % 4 * 16);
        }
        UNROLL for (int t = 0; t < TILES; t++)
        {
            product_step<TYPE>(weights[t], x, acc[t][n]);
        }
    }
}

template <int TYPE, int ROWS>
DEVICE static inline void panel_store(const ProductsView &view, const ProductView &product,
                                      uint32_t tile0, uint32_t row0,
                                      const float (*acc)[ROWS / 16][4])
{
    constexpr int TILES = warp_tiles(TYPE), CUTS = MANY_TILES / TILES;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    ProductView to = product;
    if (view.n_segments > 1) {
        to.out = view.partials + (size_t)block_z() * view.n_rows * product.n_out;
        to.add = 0;
    }
    UNROLL for (int t = 0; t < TILES; t++)
    {
        UNROLL for (int n = 0; n < ROWS / 16; n++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                uint32_t output = (tile0 + warp % CUTS * TILES + (uint32_t)t) * TILE + lane / 4;
                uint32_t row = row0 + warp / CUTS * (ROWS / 2) + (uint32_t)n * 8 + lane % 4 * 2;
                product_store(to, view.n_rows, row + (uint32_t)(i % 2),
                              output + (uint32_t)(i / 2 * 8), acc[t][n][i]);
            }
        }
    }
}

/** grid (panels of ROWS rows, cuts of 128 outputs, segments): thread blocks that run side by side
 *  read the same weights. */
template <int TYPE, int ROWS>
KERNEL_BOUNDS(many_threads(TYPE), is_half(TYPE) ? 2 : 1, product_many)
(ProductsView view)
{
    DYN_SHARED(uint8_t, stages);
    constexpr uint32_t BYTES = Stage<TYPE, ROWS>::bytes;
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    uint32_t tile0 = (block_y() - product.first_cut) * MANY_TILES;
    Panel panel = {product.weights + (size_t)tile0 * view.n_blocks * record_bytes(TYPE),
                   (product.n_out + TILE - 1) / TILE - tile0, block_x() * ROWS};
    uint32_t from = view.n_segments == 1 ? 0 : segment_start(view.n_blocks, block_z());
    uint32_t to =
        view.n_segments == 1 ? view.n_blocks : segment_start(view.n_blocks, block_z() + 1);
    constexpr int TILES = warp_tiles(TYPE);
    float acc[TILES][ROWS / 16][4];
    UNROLL for (int t = 0; t < TILES; t++)
    {
        UNROLL for (int n = 0; n < ROWS / 16; n++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                acc[t][n][i] = 0;
            }
        }
    }
    for (uint32_t s = 0; s < STAGES - 1; s++) {
        if (from + s < to) {
            stage_load<TYPE, ROWS>(view, panel, from + s, stages + s * BYTES);
        }
        cp_async_commit();
    }
    for (uint32_t b = from; b < to; b++) {
        cp_async_wait<STAGES - 2>();
        SYNC(); // block b is there, and everyone is done with block b-1
        uint32_t next = b + STAGES - 1;
        if (next < to) {
            stage_load<TYPE, ROWS>(view, panel, next, stages + (next - from) % STAGES * BYTES);
        }
        cp_async_commit();
        stage_multiply<TYPE, ROWS>(stages + (b - from) % STAGES * BYTES, acc);
    }
    panel_store<TYPE, ROWS>(view, product, tile0, panel.row0, acc);
}

/** Sum the segments of (n_rows, n_out) outputs as the fixed tree. */
KERNEL(product_tree)(ProductsView view)
{
    const ProductView &product = view.products[0];
    size_t n = (size_t)view.n_rows * product.n_out;
    size_t at = (size_t)block_x() * block_dim_x() + thread_x();
    if (at >= n) {
        return;
    }
    float s[K_SEGMENTS];
    UNROLL for (int i = 0; i < K_SEGMENTS; i++)
    {
        s[i] = view.partials[(size_t)i * n + at];
    }
    float value = segment_tree(s);
    product.out[at] = product.add ? product.out[at] + value : value;
}

// ---- Launchers ----------------------------------------------------------------------------------

bool products_tree(KStream *stream, const ProductsView *view, Err *err)
{
    size_t n = (size_t)view->n_rows * view->products[0].n_out;
    LAUNCH(product_tree, dim3((uint32_t)((n + 255) / 256)), dim3(256), 0, stream->gpu, *view);
    return CUDA_LAUNCHED(err, "sum of segments");
}

template <int TYPE, int ROWS>
static bool launch_many(KStream *stream, const ProductsView *view, Err *err)
{
    ProductsView v = *view;
    uint32_t n_cuts = 0;
    for (int p = 0; p < v.n_products; p++) {
        v.products[p].first_cut = n_cuts;
        n_cuts += (v.products[p].n_out + MANY_TILES * TILE - 1) / (MANY_TILES * TILE);
    }
    auto kernel = product_many<TYPE, ROWS>;
    dim3 grid((v.n_rows + ROWS - 1) / ROWS, n_cuts, (uint32_t)v.n_segments);
    LAUNCH(kernel, grid, dim3(many_threads(TYPE)), STAGES * (Stage<TYPE, ROWS>::bytes), stream->gpu,
           v);
    return CUDA_LAUNCHED(err, "product of many rows") &&
           (v.n_segments == 1 || products_tree(stream, &v, err));
}

template <int TYPE> static bool launch_type(KStream *stream, const ProductsView *view, Err *err)
{
    return view->n_rows <= 64 ? launch_many<TYPE, 64>(stream, view, err)
                              : launch_many<TYPE, 128>(stream, view, err);
}

bool products_many(KStream *stream, const ProductsView *view, Err *err)
{
    switch (view->type) {
    case K_F16:
        return launch_type<K_F16>(stream, view, err);
    case K_BF16:
        return launch_type<K_BF16>(stream, view, err);
    case K_Q8_0:
        return launch_type<K_Q8_0>(stream, view, err);
    case K_Q4_0:
        return launch_type<K_Q4_0>(stream, view, err);
    default:
        return launch_type<K_Q4_1>(stream, view, err);
    }
}
