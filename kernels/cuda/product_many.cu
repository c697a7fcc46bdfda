// SPDX-License-Identifier: MIT
// Products with many rows (prefill): a thread block takes 128 outputs and 64 or 128 rows, its
// warps 64 or 32 outputs each by half of the rows. Records and rows go through shared memory in
// stages, copied asynchronously; both lie there as they lie in memory, which no bank conflicts
// with. Products in segments are cut over the grid, too, two segments a block, and their pairs
// summed by a kernel of their own.
#include "kernels/cuda/product.cuh"

#define MANY_TILES 8 // tiles of 16 outputs of a thread block
#define STAGES     4
#define PAIRS      (K_SEGMENTS / 2)

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
    uint32_t from, middle, to; // blocks of K, in one run or in two segments
};

// ---- Copies -------------------------------------------------------------------------------------

/** Where a thread's pieces of 16 bytes come from: a warp copies every n-th tile, a thread a quarter
 *  of every n-th row. They move on block by block of K. */
typedef struct Sources {
    const uint8_t *record;
    const uint8_t *row;
    const float *scales;
    size_t tile_stride; // from a tile of this warp to its next
    size_t row_stride;
} Sources;

template <int TYPE>
DEVICE static inline Sources sources_start(const ProductsView &view, const Panel &panel)
{
    constexpr uint32_t WARPS = many_threads(TYPE) / 32, ROWS_AT_ONCE = many_threads(TYPE) / 4;
    Sources from;
    size_t tile_bytes = (size_t)view.n_blocks * record_bytes(TYPE);
    size_t row_bytes = (size_t)view.x.n_blocks * ROW_BLOCK;
    from.record = panel.weights + thread_x() / 32 * tile_bytes +
                  (size_t)panel.from * record_bytes(TYPE) + thread_x() % 32 * 16;
    from.tile_stride = WARPS * tile_bytes;
    const uint8_t *x = TYPE == K_F16    ? (const uint8_t *)view.x.f16
                       : TYPE == K_BF16 ? (const uint8_t *)view.x.bf16
                                        : view.x.fixed;
    from.row = x + (panel.row0 + thread_x() / 4) * row_bytes + (size_t)panel.from * ROW_BLOCK +
               thread_x() % 4 * 16;
    from.row_stride = ROWS_AT_ONCE * row_bytes;
    from.scales =
        view.x.scales + ((size_t)panel.from * view.x.max_rows + panel.row0 + thread_x() * 2) * 2;
    return from;
}

/** Ask for the next block of all tiles and rows; there are zeros for those outside. */
template <int TYPE, int ROWS>
DEVICE static inline void stage_load(const ProductsView &view, const Panel &panel, Sources &from,
                                     uint8_t *stage)
{
    constexpr uint32_t WARPS = many_threads(TYPE) / 32, ROWS_AT_ONCE = many_threads(TYPE) / 4;
    constexpr uint32_t PIECES = record_bytes(TYPE) / 16;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    UNROLL for (uint32_t t = 0; t < MANY_TILES / WARPS; t++)
    {
        bool inside = warp + t * WARPS < panel.n_tiles;
        uint8_t *to = stage + (warp + t * WARPS) * record_bytes(TYPE) + lane * 16;
        UNROLL for (uint32_t i = 0; i < PIECES; i += 32)
        {
            if (PIECES - i >= 32 || lane < PIECES - i) {
                cp_async16(to + i * 16, from.record + t * from.tile_stride + i * 16, inside);
            }
        }
    }
    from.record += record_bytes(TYPE);
    stage += Stage<TYPE, ROWS>::records;
    UNROLL for (uint32_t r = 0; r < ROWS; r += ROWS_AT_ONCE)
    {
        bool inside = panel.row0 + r + thread_x() / 4 < view.n_rows;
        cp_async16(stage + r * ROW_BLOCK + thread_x() * 16,
                   from.row + r / ROWS_AT_ONCE * from.row_stride, inside);
    }
    from.row += ROW_BLOCK;
    if (!is_half(TYPE) && thread_x() < ROWS / 2) {
        bool inside = panel.row0 + thread_x() * 2 < view.n_rows;
        cp_async16(stage + Stage<TYPE, ROWS>::rows + thread_x() * 16, from.scales, inside);
        from.scales += view.x.max_rows * 2;
    }
}

// ---- Sums ---------------------------------------------------------------------------------------

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
        products_step<TYPE, TILES>(weights, x, &acc[0][n], ROWS / 16);
    }
}

template <int TILES, int N> DEVICE static inline void sums_clear(float (*acc)[N][4])
{
    UNROLL for (int t = 0; t < TILES; t++)
    {
        UNROLL for (int n = 0; n < N; n++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                acc[t][n][i] = 0;
            }
        }
    }
}

/** Store sums, or add them to what is there: of one tile all is asked for at once. */
template <int TYPE, int ROWS, bool ADD>
DEVICE static inline void panel_store(float *out, uint32_t n_out, uint32_t n_rows, uint32_t tile0,
                                      uint32_t row0, const float (*acc)[ROWS / 16][4])
{
    constexpr int TILES = warp_tiles(TYPE), CUTS = MANY_TILES / TILES, N = ROWS / 16;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    uint32_t row = opaque(row0 + warp / CUTS * (ROWS / 2) + lane % 4 * 2);
    UNROLL for (int t = 0; t < TILES; t++)
    {
        uint32_t output = (tile0 + warp % CUTS * TILES + (uint32_t)t) * TILE + lane / 4;
        float *first = out + (size_t)row * n_out + output;
        float before[N][4];
        UNROLL for (int n = 0; n < N; n++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                uint32_t r = (uint32_t)(n * 8 + i % 2), o = (uint32_t)(i / 2 * 8);
                bool inside = ADD && row + r < n_rows && output + o < n_out;
                before[n][i] = inside ? first[(size_t)r * n_out + o] : 0;
            }
        }
        UNROLL for (int n = 0; n < N; n++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                uint32_t r = (uint32_t)(n * 8 + i % 2), o = (uint32_t)(i / 2 * 8);
                if (row + r < n_rows && output + o < n_out) {
                    first[(size_t)r * n_out + o] = ADD ? before[n][i] + acc[t][n][i] : acc[t][n][i];
                }
            }
        }
    }
}

// ---- Kernels ------------------------------------------------------------------------------------

/** Blocks b .. end-1 of a panel, whose next copies go to stage `at`. */
template <int TYPE, int ROWS>
DEVICE static inline void panel_run(const ProductsView &view, const Panel &panel, Sources &from,
                                    uint8_t *stages, uint32_t b, uint32_t end, uint32_t &at,
                                    float (*acc)[ROWS / 16][4])
{
    constexpr uint32_t BYTES = Stage<TYPE, ROWS>::bytes;
    sums_clear<warp_tiles(TYPE), ROWS / 16>(acc);
    for (; b < end; b++) {
        cp_async_wait<STAGES - 2>();
        SYNC(); // block b is there, and everyone is done with block b-1
        if (b + STAGES - 1 < panel.to) {
            stage_load<TYPE, ROWS>(view, panel, from, stages + (at + STAGES - 1) % STAGES * BYTES);
        }
        cp_async_commit();
        stage_multiply<TYPE, ROWS>(stages + at * BYTES, acc);
        at = (at + 1) % STAGES;
    }
}

/** grid (panels of ROWS rows, cuts of 128 outputs, pairs of segments): thread blocks that run side
 *  by side read the same weights. */
template <int TYPE, int ROWS> KERNEL_BOUNDS(many_threads(TYPE), 2, product_many)(ProductsView view)
{
    DYN_SHARED(uint8_t, stages);
    EARLY();
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    bool cut = view.n_segments > 1;
    uint32_t tile0 = (block_y() - product.first_cut) * MANY_TILES, pair = block_z() * 2;
    Panel panel = {product.weights + (size_t)tile0 * view.n_blocks * record_bytes(TYPE),
                   (product.n_out + TILE - 1) / TILE - tile0,
                   block_x() * ROWS,
                   cut ? segment_start(view.n_blocks, pair) : 0,
                   cut ? segment_start(view.n_blocks, pair + 1) : 0,
                   cut ? segment_start(view.n_blocks, pair + 2) : view.n_blocks};
    float *out =
        cut ? view.partials + (size_t)block_z() * view.n_rows * product.n_out : product.out;
    Sources from = sources_start<TYPE>(view, panel);
    for (uint32_t s = 0; s < STAGES - 1; s++) {
        if (panel.from + s < panel.to) {
            stage_load<TYPE, ROWS>(view, panel, from, stages + s * Stage<TYPE, ROWS>::bytes);
        }
        cp_async_commit();
    }
    uint32_t at = 0; // the stage of the next block
    float acc[warp_tiles(TYPE)][ROWS / 16][4];
    if (cut) {
        panel_run<TYPE, ROWS>(view, panel, from, stages, panel.from, panel.middle, at, acc);
        panel_store<TYPE, ROWS, false>(out, product.n_out, view.n_rows, tile0, panel.row0, acc);
    }
    panel_run<TYPE, ROWS>(view, panel, from, stages, panel.middle, panel.to, at, acc);
    if (cut || product.add) {
        panel_store<TYPE, ROWS, true>(out, product.n_out, view.n_rows, tile0, panel.row0, acc);
    } else {
        panel_store<TYPE, ROWS, false>(out, product.n_out, view.n_rows, tile0, panel.row0, acc);
    }
}

/** Sum parts of (n_rows, n_out) outputs, segments or pairs of them, as the fixed tree. */
template <int PARTS> KERNEL(product_tree)(ProductsView view)
{
    EARLY();
    const ProductView &product = view.products[0];
    size_t n = (size_t)view.n_rows * product.n_out;
    size_t at = (size_t)block_x() * block_dim_x() + thread_x();
    if (at >= n) {
        return;
    }
    float s[PARTS];
    UNROLL for (int i = 0; i < PARTS; i++)
    {
        s[i] = view.partials[(size_t)i * n + at];
    }
    float value = parts_tree<PARTS>(s);
    product.out[at] = product.add ? product.out[at] + value : value;
}

// ---- Launchers ----------------------------------------------------------------------------------

bool products_tree(KStream *stream, const ProductsView *view, int n_parts, Err *err)
{
    size_t n = (size_t)view->n_rows * view->products[0].n_out;
    auto kernel = n_parts == PAIRS ? product_tree<PAIRS> : product_tree<K_SEGMENTS>;
    LAUNCH_EARLY(kernel, dim3((uint32_t)((n + 255) / 256)), dim3(256), 0, stream->gpu, *view);
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
    dim3 grid((v.n_rows + ROWS - 1) / ROWS, n_cuts, v.n_segments > 1 ? PAIRS : 1);
    LAUNCH_EARLY(kernel, grid, dim3(many_threads(TYPE)), STAGES * (Stage<TYPE, ROWS>::bytes),
                 stream->gpu, v);
    return CUDA_LAUNCHED(err, "product of many rows") &&
           (v.n_segments == 1 || products_tree(stream, &v, PAIRS, err));
}

/** Rows that the busiest processor gets when panels have so many. */
static size_t most_rows(const KStream *stream, const ProductsView *view, size_t rows)
{
    size_t n_blocks = 0, processors = (size_t)stream->device->n_processors;
    for (int p = 0; p < view->n_products; p++) {
        n_blocks += (view->products[p].n_out + MANY_TILES * TILE - 1) / (MANY_TILES * TILE);
    }
    n_blocks *= (view->n_rows + rows - 1) / rows * (view->n_segments > 1 ? PAIRS : 1);
    return (n_blocks + processors - 1) / processors * rows;
}

/** Large panels read weights less often, small ones keep more processors busy. Quantised weights
 * are small, and what is made of them leaves no registers for large panels. */
template <int TYPE> static bool launch_type(KStream *stream, const ProductsView *view, Err *err)
{
    bool large = is_half(TYPE) && view->n_rows > 64 &&
                 most_rows(stream, view, 64) * 9 >= most_rows(stream, view, 128) * 8;
    return large ? launch_many < TYPE, is_half(TYPE) ? 128 : 64 > (stream, view, err)
                 : launch_many<TYPE, 64>(stream, view, err);
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
