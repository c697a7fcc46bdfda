// SPDX-License-Identifier: MIT
// Products with many rows (prefill): a thread block takes a panel of 128 outputs and 64 to 256
// rows, its warps 64 or 32 outputs each by a half or a quarter of the rows. Records and rows go
// through shared memory in stages, copied asynchronously; both lie there as they lie in memory,
// which no bank conflicts with. Products in segments are cut over the grid, too, two segments a
// block, and their pairs summed by a kernel of their own.
#include "kernels/cuda/product.cuh"

#include <assert.h>

#define MANY_TILES (PANEL / TILE)
#define PAIRS      (K_SEGMENTS / 2)

/** How a block takes a panel of R rows: PARTS warps by cuts of the outputs. Larger panels read less
 * for each product, smaller ones and more warps fill more processors. Quantised weights have more
 * to do for each sum and want more warps; halves want few, which read less from shared memory. */
template <int T, int R, int PARTS> struct Shape {
    static constexpr int type = T;
    static constexpr int panel_rows = R;
    static constexpr int warp_rows = R / PARTS;
    static constexpr int warp_tiles = is_half(T) ? 4 : 2;
    static constexpr int cuts = MANY_TILES / warp_tiles;
    static constexpr int warps = cuts * PARTS;
    static constexpr int threads = warps * 32;
    static constexpr int blocks = R * PARTS <= 256 ? 2 : 1; // of a processor
    // The largest panels have a processor for themselves: the first operands of the next blocks of
    // K are read before all wait for all, since no other block works meanwhile.
    static constexpr bool early = R > 128;
    // Blocks of K in shared memory: two are used, with early operands one more is there, and
    // others are on their way.
    static constexpr uint32_t there = early ? 3 : 2;
    static constexpr uint32_t ahead = early ? 6 : 4;
    static constexpr uint32_t stages = ahead + 2;
    // One stage, in bytes: records, rows, scales.
    static constexpr uint32_t records = MANY_TILES * record_bytes(T);
    static constexpr uint32_t rows = R * ROW_BLOCK;
    static constexpr uint32_t scales = is_half(T) ? 0 : R * 8;
    static constexpr uint32_t bytes = records + rows + scales;
    static constexpr int n = warp_rows / 8; // sums of a warp: (warp_tiles, n, 4) a lane
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

template <class S>
DEVICE static inline Sources sources_start(const ProductsView &view, const Panel &panel)
{
    constexpr int TYPE = S::type;
    constexpr uint32_t WARPS = S::warps, ROWS_AT_ONCE = S::threads / 4;
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
template <class S>
DEVICE static inline void stage_load(const ProductsView &view, const Panel &panel, Sources &from,
                                     uint8_t *stage)
{
    constexpr int TYPE = S::type, ROWS = S::panel_rows;
    constexpr uint32_t WARPS = S::warps, ROWS_AT_ONCE = S::threads / 4;
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
    stage += S::records;
    UNROLL for (uint32_t r = 0; r < ROWS; r += ROWS_AT_ONCE)
    {
        bool inside = panel.row0 + r + thread_x() / 4 < view.n_rows;
        cp_async16(stage + r * ROW_BLOCK + thread_x() * 16,
                   from.row + r / ROWS_AT_ONCE * from.row_stride, inside);
    }
    from.row += ROW_BLOCK;
    if (!is_half(TYPE) && thread_x() < ROWS / 2) {
        bool inside = panel.row0 + thread_x() * 2 < view.n_rows;
        cp_async16(stage + S::rows + thread_x() * 16, from.scales, inside);
        from.scales += view.x.max_rows * 2;
    }
}

// ---- Sums ---------------------------------------------------------------------------------------

/** A warp's weights of one block of K. */
template <class S>
DEVICE static inline void stage_weights(const uint8_t *stage, Weights<S::type> *weights)
{
    constexpr int TYPE = S::type, TILES = S::warp_tiles;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    UNROLL for (int t = 0; t < TILES; t++)
    {
        RawWeights<TYPE> raw;
        uint32_t tile = warp % S::cuts * TILES + (uint32_t)t;
        weights_load<TYPE, false, false>(stage + tile * record_bytes(TYPE), 0, lane, raw);
        weights_unpack<TYPE>(raw, weights[t]);
    }
}

/** One block of K: a warp's tiles by its rows. */
template <class S>
DEVICE static inline void stage_multiply(const uint8_t *stage, const Weights<S::type> *weights,
                                         float (*acc)[S::n][4])
{
    constexpr int TYPE = S::type, TILES = S::warp_tiles;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    const uint8_t *rows = stage + S::records;
    const uint8_t *scales = rows + S::rows;
    UNROLL for (int n = 0; n < S::n; n++)
    {
        uint32_t row = warp / S::cuts * S::warp_rows + (uint32_t)n * 8;
        Rows8 x;
        x.x = *(const uint4 *)(rows + row * ROW_BLOCK + lane * 16);
        if (!is_half(TYPE)) {
            x.scales = *(const float4 *)(scales + row * 8 + lane % 4 * 16);
        }
        products_step<TYPE, TILES>(weights, x, &acc[0][n], S::n);
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
template <class S, bool ADD>
DEVICE static inline void panel_store(float *out, uint32_t n_out, uint32_t n_rows,
                                      const Panel &panel, const float (*acc)[S::n][4])
{
    constexpr int TILES = S::warp_tiles, CUTS = S::cuts, N = S::n;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
    uint32_t row = opaque(panel.row0 + warp / CUTS * S::warp_rows + lane % 4 * 2);
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
template <class S> struct Run {
    Sources from;
    uint32_t at;                             // the stage of the next block
    Weights<S::type> weights[S::warp_tiles]; // of the next block, with early operands
    float acc[S::warp_tiles][S::n][4];
};

template <class S> DEVICE static inline uint32_t stage_after(uint32_t stage, uint32_t n)
{
    return stage + n < S::stages ? stage + n : stage + n - S::stages;
}

/** The first blocks are on their way, and with early operands the first is there. */
template <class S>
DEVICE static inline void run_start(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                    Run<S> &run)
{
    run.from = sources_start<S>(view, panel);
    run.at = 0;
    for (uint32_t s = 0; s < S::ahead; s++) {
        if (panel.from + s < panel.to) {
            stage_load<S>(view, panel, run.from, stages + s * S::bytes);
        }
        cp_async_commit();
    }
    if (S::early && panel.from < panel.to) {
        cp_async_wait<S::ahead - 1>();
        SYNC(); // the first block is there
        stage_weights<S>(stages, run.weights);
    }
}

/** Blocks b .. b+N-1, where others took part in what came before. What comes next is asked for
 * last: operands are wanted first. */
template <class S, uint32_t N>
DEVICE static inline void run_some(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                   uint32_t b, Run<S> &run)
{
    constexpr uint32_t BYTES = S::bytes;
    cp_async_wait<S::ahead - S::there>();
    SYNC(); // these blocks are there, and everyone is done with those before
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        const uint8_t *stage = stages + stage_after<S>(run.at, u) * BYTES;
        if (!S::early || u > 0) {
            stage_weights<S>(stage, run.weights);
        }
        stage_multiply<S>(stage, run.weights, run.acc);
    }
    if (S::early && b + N < panel.to) {
        stage_weights<S>(stages + stage_after<S>(run.at, N) * BYTES, run.weights);
    }
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        if (b + S::ahead + u < panel.to) {
            uint32_t to = stage_after<S>(run.at, S::ahead + u);
            stage_load<S>(view, panel, run.from, stages + to * BYTES);
        }
        cp_async_commit();
    }
    run.at = stage_after<S>(run.at, N);
}

/** Blocks b .. end-1, two for each time that all wait for all, where registers allow it. */
template <class S>
DEVICE static inline void run_blocks(const ProductsView &view, const Panel &panel, uint8_t *stages,
                                     uint32_t b, uint32_t end, Run<S> &run)
{
    sums_clear<S::warp_tiles, S::n>(run.acc);
    if constexpr (is_half(S::type) || S::type == K_Q4_0) {
        for (; b + 1 < end; b += 2) {
            run_some<S, 2>(view, panel, stages, b, run);
        }
    }
    for (; b < end; b++) {
        run_some<S, 1>(view, panel, stages, b, run);
    }
}

/** grid (panels, cuts of 128 outputs, pairs of segments): thread blocks that run side by side read
 *  the same weights. */
template <class S> KERNEL_BOUNDS(S::threads, S::blocks, product_many)(ProductsView view)
{
    DYN_SHARED(uint8_t, stages);
    EARLY_WAIT();
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    bool cut = view.n_segments > 1;
    uint32_t tile0 = (block_y() - product.first_cut) * MANY_TILES, pair = block_z() * 2;
    Panel panel = {&product,
                   tile0,
                   (product.n_out + TILE - 1) / TILE - tile0,
                   block_x() * S::panel_rows,
                   cut ? segment_start(view.n_blocks, pair) : 0,
                   cut ? segment_start(view.n_blocks, pair + 1) : 0,
                   cut ? segment_start(view.n_blocks, pair + 2) : view.n_blocks};
    float *out =
        cut ? view.partials + (size_t)block_z() * view.n_rows * product.n_out : product.out;
    Run<S> run;
    run_start<S>(view, panel, stages, run);
    if (cut) {
        run_blocks<S>(view, panel, stages, panel.from, panel.middle, run);
        panel_store<S, false>(out, product.n_out, view.n_rows, panel, run.acc);
    }
    run_blocks<S>(view, panel, stages, panel.middle, panel.to, run);
    if (cut || product.add) {
        panel_store<S, true>(out, product.n_out, view.n_rows, panel, run.acc);
    } else {
        panel_store<S, false>(out, product.n_out, view.n_rows, panel, run.acc);
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

template <class S> constexpr size_t shared_bytes()
{
    return S::stages * S::bytes;
}

template <class S> static bool launch(KStream *stream, const ProductsView *view, Err *err)
{
    ProductsView v = *view;
    uint32_t n_cuts = 0;
    for (int p = 0; p < v.n_products; p++) {
        v.products[p].first_cut = n_cuts;
        n_cuts += (v.products[p].n_out + PANEL - 1) / PANEL;
    }
    auto kernel = product_many<S>;
    dim3 grid((v.n_rows + S::panel_rows - 1) / S::panel_rows, n_cuts, v.n_segments > 1 ? PAIRS : 1);
    LAUNCH_EARLY(kernel, grid, dim3(S::threads), shared_bytes<S>(), stream->gpu, v);
    return CUDA_LAUNCHED(err, "product of many rows") &&
           (v.n_segments == 1 || products_tree(stream, &v, PAIRS, err));
}

template <int TYPE>
static bool launch_half(KStream *stream, const ProductsView *view, ProductKernel kernel, Err *err)
{
    switch (kernel) {
    case PRODUCT_64:
        return launch<Shape<TYPE, 64, 2>>(stream, view, err);
    case PRODUCT_128:
        return launch<Shape<TYPE, 128, 2>>(stream, view, err);
    case PRODUCT_128_WARPS:
        return launch<Shape<TYPE, 128, 4>>(stream, view, err);
    case PRODUCT_256:
        return launch<Shape<TYPE, 256, 4>>(stream, view, err);
    case PRODUCT_FEW:
    case PRODUCT_KERNELS:
        break;
    }
    assert(false); // no kernel of this file
    return false;
}

/** What is made of quantised weights leaves no registers for large panels. */
bool products_many(KStream *stream, const ProductsView *view, ProductKernel kernel, Err *err)
{
    switch (view->type) {
    case K_F16:
        return launch_half<K_F16>(stream, view, kernel, err);
    case K_BF16:
        return launch_half<K_BF16>(stream, view, kernel, err);
    case K_Q8_0:
        return launch<Shape<K_Q8_0, 64, 2>>(stream, view, err);
    case K_Q4_0:
        return launch<Shape<K_Q4_0, 64, 2>>(stream, view, err);
    default:
        return launch<Shape<K_Q4_1, 64, 2>>(stream, view, err);
    }
}

size_t products_many_shared(int type, ProductKernel kernel)
{
    switch (kernel) {
    case PRODUCT_64:
        return type == K_Q8_0   ? shared_bytes<Shape<K_Q8_0, 64, 2>>()
               : type == K_Q4_0 ? shared_bytes<Shape<K_Q4_0, 64, 2>>()
               : type == K_Q4_1 ? shared_bytes<Shape<K_Q4_1, 64, 2>>()
                                : shared_bytes<Shape<K_BF16, 64, 2>>();
    case PRODUCT_128:
        return shared_bytes<Shape<K_BF16, 128, 2>>();
    case PRODUCT_128_WARPS:
        return shared_bytes<Shape<K_BF16, 128, 4>>();
    case PRODUCT_256:
        return shared_bytes<Shape<K_BF16, 256, 4>>();
    case PRODUCT_FEW:
    case PRODUCT_KERNELS:
        break;
    }
    return 0;
}
