// SPDX-License-Identifier: MIT
// Products with few rows (decode): memory decides, so every warp streams one tile of 16 outputs
// straight from memory to registers, some blocks of K while those before are multiplied. A product
// in segments gives each segment a warp. PLAIN: the weights are rows as cuBLASLt takes them, and a
// warp reads 64 bytes of each of 16 rows instead of a record; the bits are the same.
#include "kernels/cuda/product.cuh"

#define GRID_Y_MAX 65535

// ---- Loads --------------------------------------------------------------------------------------

/** What a warp works on. */
struct Stream {
    const uint8_t *tile; // its weights
    size_t row_bytes;    // of rows of weights that lie plain; else 0
    uint32_t row0;
};

/** Blocks of K that are in registers together: their weights, and NT * 8 rows of them. */
template <int TYPE, int NT, int N> struct Burst {
    RawWeights<TYPE> weights[N];
    Rows8 rows[N][NT];
};

/** A lane's share of one block of NT times 8 rows. Past the last row it is that of others, whose
 * sums no one stores: a branch here would keep the compiler from asking for all blocks at once. */
template <int TYPE, int NT>
DEVICE static inline void rows_load(const ProductsView &view, uint32_t row0, uint32_t block,
                                    Rows8 *out)
{
    const ActsView &x = view.x;
    uint32_t lane = thread_x() % 32;
    const uint8_t *from = TYPE == K_F16    ? (const uint8_t *)x.f16
                          : TYPE == K_BF16 ? (const uint8_t *)x.bf16
                                           : x.fixed;
    UNROLL for (uint32_t t = 0; t < NT; t++)
    {
        uint32_t row = row0 + t * 8 + lane / 4, pair = row0 + t * 8 + lane % 4 * 2;
        row = row < view.n_rows ? row : view.n_rows - 1;
        pair = pair < x.max_rows ? pair : x.max_rows - 2;
        size_t at = ((size_t)row * x.n_blocks + block) * ROW_BLOCK + lane % 4 * 16;
        out[t].x = *(const uint4 *)(from + at);
        if (!is_half(TYPE)) {
            out[t].scales = *(const float4 *)(x.scales + ((size_t)block * x.max_rows + pair) * 2);
        }
    }
}

template <int TYPE, int NT, bool PLAIN, int N>
DEVICE static inline void burst_weights(const Stream &s, uint32_t block, Burst<TYPE, NT, N> &to)
{
    constexpr uint32_t STEP = PLAIN ? ROW_BLOCK : record_bytes(TYPE);
    const uint8_t *record = s.tile + (size_t)block * STEP;
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        weights_load<TYPE, true, PLAIN>(record + u * STEP, s.row_bytes, thread_x() % 32,
                                        to.weights[u]);
    }
}

template <int TYPE, int NT, int N>
DEVICE static inline void burst_rows(const ProductsView &view, const Stream &s, uint32_t block,
                                     Burst<TYPE, NT, N> &to)
{
    UNROLL for (uint32_t u = 0; u < N; u++)
    {
        rows_load<TYPE, NT>(view, s.row0, block + u, to.rows[u]);
    }
}

template <int TYPE, int NT, int N>
DEVICE static inline void burst_multiply(const Burst<TYPE, NT, N> &burst, float (*acc)[4])
{
    UNROLL for (int u = 0; u < N; u++)
    {
        Weights<TYPE> weights;
        weights_unpack<TYPE>(burst.weights[u], weights);
        UNROLL for (int t = 0; t < NT; t++)
        {
            products_step<TYPE, 1>(&weights, burst.rows[u][t], &acc[t], 0);
        }
    }
}

// ---- Kernel -------------------------------------------------------------------------------------

/** While the kernels in front end, the first records are on their way: no kernel writes weights. */
template <int TYPE, bool PLAIN>
DEVICE static inline void tile_ahead(const ProductsView &view, const Stream &s, uint32_t from,
                                     uint32_t to)
{
    uint32_t bytes = (to - from) * record_bytes(TYPE);
    bytes = bytes < view.ahead_bytes ? bytes : view.ahead_bytes;
    if (!PLAIN && bytes > 0 && thread_x() % 32 == 0) {
        prefetch_l2(s.tile + (size_t)from * record_bytes(TYPE), bytes);
    }
}

/** acc (NT, 4): blocks from .. to-1 of a tile against NT * 8 rows, N at once. */
template <int TYPE, int NT, bool PLAIN, int N>
DEVICE static inline void run_tile(const ProductsView &view, const Stream &s, uint32_t from,
                                   uint32_t to, float (*acc)[4])
{
    Burst<TYPE, NT, N> even, odd;
    uint32_t n = (to - from) / N, b = from; // whole bursts
    tile_ahead<TYPE, PLAIN>(view, s, from, to);
    EARLY_WAIT();
    if (n > 0) {
        burst_weights<TYPE, NT, PLAIN, N>(s, b, even);
        burst_rows<TYPE, NT, N>(view, s, b, even);
    }
    for (; n >= 2; n -= 2, b += 2 * N) {
        burst_weights<TYPE, NT, PLAIN, N>(s, b + N, odd);
        burst_rows<TYPE, NT, N>(view, s, b + N, odd);
        burst_multiply<TYPE, NT, N>(even, acc);
        if (n > 2) {
            burst_weights<TYPE, NT, PLAIN, N>(s, b + 2 * N, even);
            burst_rows<TYPE, NT, N>(view, s, b + 2 * N, even);
        }
        burst_multiply<TYPE, NT, N>(odd, acc);
    }
    EARLY_START(); // what follows is small
    if (n > 0) {
        burst_multiply<TYPE, NT, N>(even, acc);
        b += N;
    }
    for (; b < to; b++) {
        Burst<TYPE, NT, 1> last;
        burst_weights<TYPE, NT, PLAIN, 1>(s, b, last);
        burst_rows<TYPE, NT, 1>(view, s, b, last);
        burst_multiply<TYPE, NT, 1>(last, acc);
    }
}

/** grid (panels of NT * 8 rows, tiles): a warp, or one for each segment. */
template <int TYPE, int NT, int SEGMENTS, bool PLAIN, int N>
KERNEL_BOUNDS(SEGMENTS * 32, SEGMENTS == 1 ? 8 : 2, product_few)
(ProductsView view)
{
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32, row0 = block_x() * NT * 8;
    const ProductView &product = view.products[product_of_cut(view, block_y())];
    uint32_t tile = block_y() - product.first_cut;
    uint32_t from = SEGMENTS == 1 ? 0 : segment_start(view.n_blocks, warp);
    uint32_t to = SEGMENTS == 1 ? view.n_blocks : segment_start(view.n_blocks, warp + 1);
    float acc[NT][4];
    UNROLL for (int t = 0; t < NT; t++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            acc[t][i] = 0;
        }
    }
    Stream s = {product.weights + (size_t)tile * view.n_blocks * record_bytes(TYPE),
                PLAIN ? (size_t)view.n_blocks * ROW_BLOCK : 0, row0};
    run_tile<TYPE, NT, PLAIN, N>(view, s, from, to, acc);
    uint32_t output = tile * TILE + lane / 4, row = row0 + lane % 4 * 2;
    if constexpr (SEGMENTS == 1) {
        UNROLL for (int t = 0; t < NT; t++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                product_store(product, view.n_rows, row + (uint32_t)(t * 8 + i % 2),
                              output + (uint32_t)(i / 2 * 8), acc[t][i]);
            }
        }
    } else {
        SHARED(float, parts, [SEGMENTS][NT * 4][32]);
        UNROLL for (int t = 0; t < NT; t++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                parts[warp][t * 4 + i][lane] = acc[t][i];
            }
        }
        SYNC();
        for (uint32_t at = warp; at < NT * 4; at += SEGMENTS) {
            float sums[SEGMENTS];
            UNROLL for (int i = 0; i < SEGMENTS; i++)
            {
                sums[i] = parts[i][at][lane];
            }
            product_store(product, view.n_rows, row + at / 4 * 8 + at % 2, output + at % 4 / 2 * 8,
                          parts_tree<SEGMENTS>(sums));
        }
    }
}

// ---- Launchers ----------------------------------------------------------------------------------

template <int TYPE, int NT, bool PLAIN>
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
    dim3 grid((v.n_rows + NT * 8 - 1) / (NT * 8), n_cuts);
    // Few warps ask for more at once, many leave no registers for that.
    bool cut = v.n_segments > 1, long_bursts = grid.x * n_cuts <= 8u * stream->device->n_processors;
    constexpr int SHORT = NT == 1 ? 4 : NT == 2 ? 2 : 1, LONG = 2 * SHORT;
    constexpr int CUT = TYPE == K_Q8_0 && NT == 1 ? 2 : SHORT;
    auto kernel = cut           ? product_few<TYPE, NT, K_SEGMENTS, PLAIN, CUT>
                  : long_bursts ? product_few<TYPE, NT, 1, PLAIN, LONG>
                                : product_few<TYPE, NT, 1, PLAIN, SHORT>;
    // All warps together: what a small kernel in front leaves time for, and the cache room.
    size_t n_warps = (size_t)grid.x * n_cuts * (size_t)v.n_segments;
    v.ahead_bytes = (uint32_t)(stream->device->l2_bytes / 3 / n_warps / 16 * 16);
    LAUNCH_EARLY(kernel, grid, dim3((uint32_t)v.n_segments * 32), 0, stream->gpu, v);
    return CUDA_LAUNCHED(err, "product of few rows");
}

template <int TYPE, bool PLAIN>
static bool launch_rows(KStream *stream, const ProductsView *view, Err *err)
{
    return view->n_rows <= 8    ? launch_few<TYPE, 1, PLAIN>(stream, view, err)
           : view->n_rows <= 16 ? launch_few<TYPE, 2, PLAIN>(stream, view, err)
                                : launch_few<TYPE, 4, PLAIN>(stream, view, err);
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
