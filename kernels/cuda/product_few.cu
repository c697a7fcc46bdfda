// SPDX-License-Identifier: MIT
// Products with few rows (decode): memory decides, so every warp streams one tile of 16 outputs
// straight from memory to registers, a burst of blocks of K while the one before is multiplied. A
// product in segments gives each segment a warp. PLAIN: the weights are rows as cuBLASLt takes
// them, and a warp reads 64 bytes of each of 16 rows instead of a record; the bits are the same.
#include "kernels/cuda/product.cuh"

#define GRID_Y_MAX 65535

// ---- Loads --------------------------------------------------------------------------------------

/** ROWS rows as columns of mma: 8 by 8, but 4 rows of fixed point are 8 columns. */
template <int ROWS> struct PanelOf {
    typedef std::conditional_t<ROWS == 4, Rows4, Rows8> Rows;
    static constexpr int n_tiles = ROWS == 4 ? 1 : ROWS / 8;
    static constexpr int n_sums = ROWS / 2; // of a lane
};

/** Where a lane's shares are of what comes next. */
template <int ROWS> struct Stream {
    const uint8_t *record;
    size_t row_bytes; // of rows of weights that lie plain; else 0
    const uint8_t *x;
    uint32_t x_stride; // from 8 rows to the next 8
    const float *scales;
    uint32_t scales_stride; // from a block to the next
};

/** Blocks of K that are in registers together. */
template <int TYPE, int ROWS, int N> struct Burst {
    RawWeights<TYPE> weights[N];
    typename PanelOf<ROWS>::Rows rows[N][PanelOf<ROWS>::n_tiles];
};

/** Past the last row are those of others, whose sums no one stores: a branch would keep the
 * compiler from asking for all blocks at once. */
template <int TYPE, int ROWS, bool PLAIN>
DEVICE static inline Stream<ROWS> stream_start(const ProductsView &view, const uint8_t *tile,
                                               uint32_t row0, uint32_t block)
{
    const ActsView &x = view.x;
    uint32_t lane = thread_x() % 32, x_bytes = x.n_blocks * ROW_BLOCK;
    const uint8_t *from = TYPE == K_F16    ? (const uint8_t *)x.f16
                          : TYPE == K_BF16 ? (const uint8_t *)x.bf16
                                           : x.fixed;
    uint32_t row = row0 + (ROWS == 4 ? lane / 8 : lane / 4);
    row = row < view.n_rows ? row : view.n_rows - 1;
    Stream<ROWS> s;
    s.record = tile + (size_t)block * (PLAIN ? ROW_BLOCK : record_bytes(TYPE));
    s.row_bytes = PLAIN ? (size_t)view.n_blocks * ROW_BLOCK : 0;
    s.x = from + (size_t)row * x_bytes + (size_t)block * ROW_BLOCK + lane % 4 * 16;
    s.x_stride = 8 * x_bytes;
    if (ROWS == 4) {
        s.x += lane / 4 % 2 * 8; // high or low bytes
    }
    if (!is_half(TYPE)) {
        uint32_t first = row0 + lane % 4 * (ROWS == 4 ? 1 : 2);
        s.scales_stride = x.max_rows * 2;
        s.scales = x.scales + (size_t)block * s.scales_stride + first * 2;
    }
    return s;
}

/** Ask for the next n blocks of at most N, all at once: the last one fills what is left. */
template <int TYPE, int ROWS, bool PLAIN, int N>
DEVICE static inline void burst_load(Stream<ROWS> &s, uint32_t n, Burst<TYPE, ROWS, N> &to)
{
    constexpr uint32_t STEP = PLAIN ? ROW_BLOCK : record_bytes(TYPE);
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        uint32_t b = u < n ? u : n - 1;
        weights_load<TYPE, true, PLAIN>(s.record + b * STEP, s.row_bytes, thread_x() % 32,
                                        to.weights[u]);
    }
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        uint32_t b = u < n ? u : n - 1;
        UNROLL for (uint32_t t = 0; t < PanelOf<ROWS>::n_tiles; t++)
        {
            rows_load(s.x + t * s.x_stride + b * ROW_BLOCK, to.rows[u][t]);
            if (!is_half(TYPE)) {
                scales_load(s.scales + b * s.scales_stride + t * 16, to.rows[u][t]);
            }
        }
    }
    s.record += n * STEP;
    s.x += n * ROW_BLOCK;
    if (!is_half(TYPE)) {
        s.scales += n * s.scales_stride;
    }
}

template <int TYPE, int ROWS, int N>
DEVICE static inline void burst_multiply(const Burst<TYPE, ROWS, N> &burst, uint32_t n, float *acc)
{
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        if (u < n) {
            Weights<TYPE> weights;
            weights_unpack<TYPE>(burst.weights[u], weights);
            UNROLL for (int t = 0; t < PanelOf<ROWS>::n_tiles; t++)
            {
                product_step<TYPE>(weights, burst.rows[u][t], acc + t * 4);
            }
        }
    }
}

// ---- Kernel -------------------------------------------------------------------------------------

/** While the kernels in front end, the first records are on their way: no kernel writes weights. */
template <int TYPE, bool PLAIN>
DEVICE static inline void records_ahead(const ProductsView &view, const uint8_t *record,
                                        uint32_t n_blocks)
{
    uint32_t bytes = n_blocks * record_bytes(TYPE);
    bytes = bytes < view.ahead_bytes ? bytes : view.ahead_bytes;
    if (!PLAIN && bytes > 0 && thread_x() % 32 == 0) {
        prefetch_l2(record, bytes);
    }
}

/** n_blocks blocks of a tile, N at once. */
template <int TYPE, int ROWS, bool PLAIN, int N>
DEVICE static inline void run_tile(Stream<ROWS> &s, uint32_t n_blocks, float *acc)
{
    Burst<TYPE, ROWS, N> even, odd;
    uint32_t n = n_blocks / N, rest = n_blocks % N;
    if (n > 0) {
        burst_load<TYPE, ROWS, PLAIN>(s, N, even);
    }
    for (; n >= 2; n -= 2) {
        burst_load<TYPE, ROWS, PLAIN>(s, N, odd);
        burst_multiply<TYPE, ROWS>(even, N, acc);
        if (n > 2) {
            burst_load<TYPE, ROWS, PLAIN>(s, N, even);
        }
        burst_multiply<TYPE, ROWS>(odd, N, acc);
    }
    EARLY_START(); // what follows is small
    Burst<TYPE, ROWS, (N > 1 ? N - 1 : 1)> last;
    if (rest > 0) {
        burst_load<TYPE, ROWS, PLAIN>(s, rest, last);
    }
    if (n > 0) {
        burst_multiply<TYPE, ROWS>(even, N, acc);
    }
    burst_multiply<TYPE, ROWS>(last, rest, acc);
}

/** The i-th sum of a lane. */
template <int ROWS>
DEVICE static inline void sum_store(const ProductsView &view, const ProductView &product,
                                    uint32_t row0, uint32_t tile, uint32_t i, float sum)
{
    uint32_t lane = thread_x() % 32;
    uint32_t row = ROWS == 4 ? lane % 4 : i / 4 * 8 + lane % 4 * 2 + i % 2;
    uint32_t output = lane / 4 + (ROWS == 4 ? i : i % 4 / 2) * 8;
    product_store(product, view.n_rows, row0 + row, tile * TILE + output, sum);
}

/** Blocks of K in a burst, as registers allow. Where warps are few (`wide`) they have twice as many
 * registers and ask for twice as much. */
HOST_DEVICE constexpr int burst_blocks(int type, int rows, int n_segments, bool wide)
{
    int n = is_half(type) || rows > 8 ? 32 / rows
            : n_segments > 1          ? 16 / rows
            : rows == 8               ? 3
            : type == K_Q4_0          ? 6
                                      : 4;
    return wide ? 2 * n : n;
}

/** Blocks that a processor shall have at least. With 16 warps all of gate and up of an 8B model are
 * on an H200 at once; 12 would leave the last ninth to run alone. */
HOST_DEVICE constexpr int few_blocks(int type, int rows, int n_segments, bool wide)
{
    return n_segments > 1 ? 2 : wide ? 8 : !is_half(type) && rows == 32 ? 12 : 16;
}

/** grid (panels of ROWS rows, tiles): a warp, or one for each segment. */
template <int TYPE, int ROWS, int SEGMENTS, bool PLAIN, bool WIDE>
KERNEL_BOUNDS(SEGMENTS * 32, few_blocks(TYPE, ROWS, SEGMENTS, WIDE), product_few)
(ProductsView view)
{
    constexpr int N = burst_blocks(TYPE, ROWS, SEGMENTS, WIDE), SUMS = PanelOf<ROWS>::n_sums;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32, row0 = block_x() * ROWS;
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    uint32_t tile = block_y() - product.first_cut;
    uint32_t from = SEGMENTS == 1 ? 0 : segment_start(view.n_blocks, warp);
    uint32_t to = SEGMENTS == 1 ? view.n_blocks : segment_start(view.n_blocks, warp + 1);
    const uint8_t *weights = product.weights + (size_t)tile * view.n_blocks * record_bytes(TYPE);
    Stream<ROWS> s = stream_start<TYPE, ROWS, PLAIN>(view, weights, row0, from);
    float acc[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++)
    {
        acc[i] = 0;
    }
    records_ahead<TYPE, PLAIN>(view, s.record, to - from);
    EARLY_WAIT();
    run_tile<TYPE, ROWS, PLAIN, N>(s, to - from, acc);
    if constexpr (SEGMENTS == 1) {
        UNROLL for (uint32_t i = 0; i < SUMS; i++)
        {
            sum_store<ROWS>(view, product, row0, tile, i, acc[i]);
        }
    } else {
        SHARED(float, parts, [SEGMENTS][SUMS][32]);
        UNROLL for (int i = 0; i < SUMS; i++)
        {
            parts[warp][i][lane] = acc[i];
        }
        SYNC();
        for (uint32_t i = warp; i < SUMS; i += SEGMENTS) {
            float sums[SEGMENTS];
            UNROLL for (int part = 0; part < SEGMENTS; part++)
            {
                sums[part] = parts[part][i][lane];
            }
            sum_store<ROWS>(view, product, row0, tile, i, parts_tree<SEGMENTS>(sums));
        }
    }
}

// ---- Launchers ----------------------------------------------------------------------------------

bool products_few_can(const ProductsView *view)
{
    size_t n_tiles = 0;
    for (int p = 0; p < view->n_products; p++) {
        n_tiles += ((size_t)view->products[p].n_out + TILE - 1) / TILE;
    }
    return n_tiles <= GRID_Y_MAX;
}

template <int TYPE, int ROWS, bool PLAIN>
static bool launch_few(KStream *stream, const ProductsView *view, Err *err)
{
    ProductsView v = *view;
    uint32_t n_cuts = 0;
    for (int p = 0; p < v.n_products; p++) {
        v.products[p].first_cut = n_cuts;
        n_cuts += (v.products[p].n_out + TILE - 1) / TILE;
    }
    if (n_cuts > GRID_Y_MAX) {
        return CUDA_FAIL(err, ERR_LIMIT, "%zu outputs are more than a product of few rows can have",
                         (size_t)n_cuts * TILE);
    }
    dim3 grid((v.n_rows + ROWS - 1) / ROWS, n_cuts);
    bool wide = grid.x * n_cuts <= 8u * (uint32_t)stream->device->n_processors;
    auto kernel = v.n_segments > 1 ? product_few<TYPE, ROWS, K_SEGMENTS, PLAIN, false>
                  : wide           ? product_few<TYPE, ROWS, 1, PLAIN, true>
                                   : product_few<TYPE, ROWS, 1, PLAIN, false>;
    // All warps together: what a small kernel in front leaves time for, and the cache room.
    size_t n_warps = (size_t)grid.x * n_cuts * (size_t)v.n_segments;
    v.ahead_bytes = (uint32_t)(stream->device->l2_bytes / 3 / n_warps / 16 * 16);
    LAUNCH_EARLY(kernel, grid, dim3((uint32_t)v.n_segments * 32), 0, stream->gpu, v);
    return CUDA_LAUNCHED(err, "product of few rows");
}

template <int TYPE, bool PLAIN>
static bool launch_rows(KStream *stream, const ProductsView *view, Err *err)
{
    constexpr int LEAST = is_half(TYPE) ? 8 : 4;
    return view->n_rows <= LEAST ? launch_few<TYPE, LEAST, PLAIN>(stream, view, err)
           : view->n_rows <= 8   ? launch_few<TYPE, 8, PLAIN>(stream, view, err)
           : view->n_rows <= 16  ? launch_few<TYPE, 16, PLAIN>(stream, view, err)
                                 : launch_few<TYPE, 32, PLAIN>(stream, view, err);
}

template <int TYPE> static bool launch_type(KStream *stream, const ProductsView *view, Err *err)
{
    return view->plain && is_half(TYPE) ? launch_rows<TYPE, is_half(TYPE)>(stream, view, err)
                                        : launch_rows<TYPE, false>(stream, view, err);
}

bool products_few(KStream *stream, const ProductsView *view, Err *err)
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
