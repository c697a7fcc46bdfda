// SPDX-License-Identifier: MIT
// Products with many rows (prefill): a thread block takes 128 outputs and 64 or 128 rows, its
// warps 64 or 32 outputs each by half of the rows. Records and rows go through shared memory in
// stages, copied asynchronously; both lie there as they lie in memory, which no bank conflicts
// with. Products in segments are cut over the grid, too, two segments a block, and their pairs
// summed by a kernel of their own.
#include "kernels/cuda/product.cuh"

#define MANY_TILES 8 // tiles of 16 outputs of a thread block
#define STAGES     6 // blocks of K in shared memory: two are used,
#define AHEAD      4 // and four are on their way
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
    const ProductView *product;
    uint32_t tile0;
    uint32_t n_tiles; // that exist from there on
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
    uint32_t warp = thread_x() / 32;
    size_t tile_bytes = (size_t)view.n_blocks * record_bytes(TYPE);
    size_t row_bytes = (size_t)view.x.n_blocks * ROW_BLOCK;
    from.record = panel.product->weights + (panel.tile0 + warp) * tile_bytes +
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
        weights_load<TYPE, false, false>(stage + tile * record_bytes(TYPE), 0, lane, raw);
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
DEVICE static inline void panel_store(float *out, uint32_t n_out, uint32_t n_rows,
                                      const Panel &panel, const float (*acc)[ROWS / 16][4])
{
    constexpr int TILES = warp_tiles(TYPE), CUTS = MANY_TILES / TILES, N = ROWS / 16;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    uint32_t row = opaque(panel.row0 + warp / CUTS * (ROWS / 2) + lane % 4 * 2);
    UNROLL for (int t = 0; t < TILES; t++)
    {
        uint32_t output = (panel.tile0 + warp % CUTS * TILES + (uint32_t)t) * TILE + lane / 4;
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

/** What a block goes through a panel with. */
template <int TYPE, int ROWS> struct Run {
    Sources from;
    uint32_t at; // the stage of the next block
    float acc[warp_tiles(TYPE)][ROWS / 16][4];
};

DEVICE static inline uint32_t stage_after(uint32_t stage, uint32_t n)
{
    return stage + n < STAGES ? stage + n : stage + n - STAGES;
}

/** The first blocks are on their way. */
template <int TYPE, int ROWS>
DEVICE static inline void run_start(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                    Run<TYPE, ROWS> &run)
{
    run.from = sources_start<TYPE>(view, panel);
    run.at = 0;
    for (uint32_t s = 0; s < AHEAD; s++) {
        if (panel.from + s < panel.to) {
            stage_load<TYPE, ROWS>(view, panel, run.from, stages + s * Stage<TYPE, ROWS>::bytes);
        }
        cp_async_commit();
    }
}

/** Blocks b .. b+N-1, where others took part in what came before. What comes next is asked for
 * last: operands are wanted first. */
template <int TYPE, int ROWS, uint32_t N>
DEVICE static inline void run_some(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                   uint32_t b, Run<TYPE, ROWS> &run)
{
    constexpr uint32_t BYTES = Stage<TYPE, ROWS>::bytes;
    cp_async_wait<AHEAD - 2>();
    SYNC(); // these blocks are there, and everyone is done with those before
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        stage_multiply<TYPE, ROWS>(stages + stage_after(run.at, u) * BYTES, run.acc);
    }
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        if (b + AHEAD + u < panel.to) {
            stage_load<TYPE, ROWS>(view, panel, run.from,
                                   stages + stage_after(run.at, AHEAD + u) * BYTES);
        }
        cp_async_commit();
    }
    run.at = stage_after(run.at, N);
}

/** Blocks b .. end-1, two for each time that all wait for all, where registers allow it. */
template <int TYPE, int ROWS>
DEVICE static inline void run_blocks(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                     uint32_t b, uint32_t end, Run<TYPE, ROWS> &run)
{
    sums_clear<warp_tiles(TYPE), ROWS / 16>(run.acc);
    if constexpr (is_half(TYPE) || TYPE == K_Q4_0) {
        for (; b + 1 < end; b += 2) {
            run_some<TYPE, ROWS, 2>(view, panel, stages, b, run);
        }
    }
    for (; b < end; b++) {
        run_some<TYPE, ROWS, 1>(view, panel, stages, b, run);
    }
}

/** grid (panels of ROWS rows, cuts of 128 outputs, pairs of segments): thread blocks that run side
 *  by side read the same weights. */
template <int TYPE, int ROWS> KERNEL_BOUNDS(many_threads(TYPE), 2, product_many)(ProductsView view)
{
    DYN_SHARED(uint8_t, stages);
    EARLY_WAIT();
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    bool cut = view.n_segments > 1;
    uint32_t tile0 = (block_y() - product.first_cut) * MANY_TILES, pair = block_z() * 2;
    Panel panel = {&product,
                   tile0,
                   (product.n_out + TILE - 1) / TILE - tile0,
                   block_x() * ROWS,
                   cut ? segment_start(view.n_blocks, pair) : 0,
                   cut ? segment_start(view.n_blocks, pair + 1) : 0,
                   cut ? segment_start(view.n_blocks, pair + 2) : view.n_blocks};
    float *out =
        cut ? view.partials + (size_t)block_z() * view.n_rows * product.n_out : product.out;
    Run<TYPE, ROWS> run;
    run_start<TYPE, ROWS>(view, panel, stages, run);
    if (cut) {
        run_blocks<TYPE, ROWS>(view, panel, stages, panel.from, panel.middle, run);
        panel_store<TYPE, ROWS, false>(out, product.n_out, view.n_rows, panel, run.acc);
    }
    run_blocks<TYPE, ROWS>(view, panel, stages, panel.middle, panel.to, run);
    if (cut || product.add) {
        panel_store<TYPE, ROWS, true>(out, product.n_out, view.n_rows, panel, run.acc);
    } else {
        panel_store<TYPE, ROWS, false>(out, product.n_out, view.n_rows, panel, run.acc);
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
static bool launch_many(KStream *stream, const ProductsView *view, uint32_t n_cuts, Err *err)
{
    auto kernel = product_many<TYPE, ROWS>;
    dim3 grid((view->n_rows + ROWS - 1) / ROWS, n_cuts, view->n_segments > 1 ? PAIRS : 1);
    LAUNCH_EARLY(kernel, grid, dim3(many_threads(TYPE)), STAGES * (Stage<TYPE, ROWS>::bytes),
                 stream->gpu, *view);
    return CUDA_LAUNCHED(err, "product of many rows") &&
           (view->n_segments == 1 || products_tree(stream, view, PAIRS, err));
}

/** Whether panels of 64 rows are better than of 128: more processors are busy, but the weights are
 * read more often. The time of a processor goes with the panels that it gets: as measured on an
 * H200 those of 64 rows take 28/45 of the time of the others. */
static bool small_panels(const KStream *stream, const ProductsView *view, size_t n_cuts)
{
    size_t most[2], processors = (size_t)stream->device->n_processors;
    n_cuts *= view->n_segments > 1 ? PAIRS : 1;
    for (size_t i = 0; i < 2; i++) {
        size_t rows = i == 0 ? 64 : 128;
        most[i] = ((view->n_rows + rows - 1) / rows * n_cuts + processors - 1) / processors;
    }
    return view->n_rows <= 64 || most[0] * 28 < most[1] * 45;
}

/** Quantised weights are small, and what is made of them leaves no registers for large panels. */
template <int TYPE> static bool launch_type(KStream *stream, const ProductsView *view, Err *err)
{
    constexpr int LARGE = is_half(TYPE) ? 128 : 64;
    ProductsView v = *view;
    uint32_t n_cuts = 0;
    for (int p = 0; p < v.n_products; p++) {
        v.products[p].first_cut = n_cuts;
        n_cuts += (v.products[p].n_out + MANY_TILES * TILE - 1) / (MANY_TILES * TILE);
    }
    return small_panels(stream, &v, n_cuts) ? launch_many<TYPE, 64>(stream, &v, n_cuts, err)
                                            : launch_many<TYPE, LARGE>(stream, &v, n_cuts, err);
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
