// SPDX-License-Identifier: MIT
// Products with few rows (decode): memory decides, so every warp streams one tile of 16 outputs
// straight from memory to registers, several blocks of K ahead. A product in segments gives each
// segment a warp. PLAIN: the weights are rows as cuBLASLt takes them, and a warp reads 64 bytes of
// each of 16 rows instead of a record; the bits are the same.
#include "kernels/cuda/product.cuh"

#define FEW_WARPS 4 // tiles of a thread block, of a product in one run

// ---- Kernel -------------------------------------------------------------------------------------

/** A lane's share of one block of 8 rows from row0 on. Past the last row it is that of others,
 * whose sums no one stores: a branch here would keep the compiler from asking for all blocks at
 * once. */
template <int TYPE>
DEVICE static inline void rows_load(const ProductsView &view, uint32_t row0, uint32_t block,
                                    Rows8 &out)
{
    const ActsView &x = view.x;
    uint32_t lane = thread_x() % 32, row = row0 + lane / 4, pair = row0 + lane % 4 * 2;
    row = row < view.n_rows ? row : view.n_rows - 1;
    pair = pair < x.max_rows ? pair : x.max_rows - 2;
    const uint8_t *from = TYPE == K_F16    ? (const uint8_t *)x.f16
                          : TYPE == K_BF16 ? (const uint8_t *)x.bf16
                                           : x.fixed;
    from += ((size_t)row * x.n_blocks + block) * ROW_BLOCK;
    out.x = *(const uint4 *)(from + lane % 4 * 16);
    if (!is_half(TYPE)) {
        out.scales = *(const float4 *)(x.scales + ((size_t)block * x.max_rows + pair) * 2);
    }
}

/** From a block of a tile to the next. */
template <int TYPE, bool PLAIN> HOST_DEVICE constexpr uint32_t block_step(void)
{
    return PLAIN ? ROW_BLOCK : record_bytes(TYPE);
}

/** acc (NT, 4): AHEAD blocks of a tile against NT * 8 rows, all asked for before any is used. */
template <int TYPE, int NT, bool PLAIN, int AHEAD>
DEVICE static inline void run_blocks(const ProductsView &view, const uint8_t *record, uint32_t row0,
                                     uint32_t block, float (*acc)[4])
{
    RawWeights<TYPE> raw[AHEAD];
    Rows8 rows[AHEAD][NT];
    UNROLL for (int u = 0; u < AHEAD; u++)
    {
        weights_load<TYPE, true>(record + (size_t)u * block_step<TYPE, PLAIN>(), thread_x() % 32,
                                 raw[u], PLAIN ? (size_t)view.n_blocks * ROW_BLOCK : 0);
        UNROLL for (int t = 0; t < NT; t++)
        {
            rows_load<TYPE>(view, row0 + (uint32_t)t * 8, block + (uint32_t)u, rows[u][t]);
        }
    }
    UNROLL for (int u = 0; u < AHEAD; u++)
    {
        Weights<TYPE> weights;
        weights_unpack<TYPE>(raw[u], weights);
        UNROLL for (int t = 0; t < NT; t++)
        {
            product_step<TYPE>(weights, rows[u][t], acc[t]);
        }
    }
}

/** Blocks from .. to-1 of a tile. */
template <int TYPE, int NT, bool PLAIN>
DEVICE static inline void run_tile(const ProductsView &view, const uint8_t *tile, uint32_t row0,
                                   uint32_t from, uint32_t to, float (*acc)[4])
{
    constexpr int AHEAD = NT == 1 ? 8 : NT == 2 ? 4 : 2;
    constexpr uint32_t STEP = block_step<TYPE, PLAIN>();
    const uint8_t *record = tile + (size_t)from * STEP;
    uint32_t b = from;
    for (; b + AHEAD <= to; b += AHEAD, record += AHEAD * STEP) {
        run_blocks<TYPE, NT, PLAIN, AHEAD>(view, record, row0, b, acc);
    }
    for (; b < to; b++, record += STEP) {
        run_blocks<TYPE, NT, PLAIN, 1>(view, record, row0, b, acc);
    }
}

/** grid (panels of NT * 8 rows, tiles or FEW_WARPS tiles). */
template <int TYPE, int NT, int SEGMENTS, bool PLAIN>
KERNEL_BOUNDS((SEGMENTS == 1 ? FEW_WARPS : K_SEGMENTS) * 32, 2, product_few)
(ProductsView view)
{
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32, row0 = block_x() * NT * 8;
    uint32_t cut = SEGMENTS == 1 ? block_y() * FEW_WARPS + warp : block_y();
    const ProductView &product = view.products[product_of_cut(view, cut)];
    uint32_t tile = cut - product.first_cut;
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
    if (tile * TILE < product.n_out) {
        const uint8_t *records =
            product.weights + (size_t)tile * view.n_blocks * record_bytes(TYPE);
        run_tile<TYPE, NT, PLAIN>(view, records, row0, from, to, acc);
    }
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
        SHARED(float, parts, [K_SEGMENTS][NT * 4][32]);
        UNROLL for (int t = 0; t < NT; t++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                parts[warp][t * 4 + i][lane] = acc[t][i];
            }
        }
        SYNC();
        for (uint32_t at = warp; at < NT * 4; at += K_SEGMENTS) {
            float s[K_SEGMENTS];
            UNROLL for (int i = 0; i < K_SEGMENTS; i++)
            {
                s[i] = parts[i][at][lane];
            }
            product_store(product, view.n_rows, row + at / 4 * 8 + at % 2, output + at % 4 / 2 * 8,
                          segment_tree(s));
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
    uint32_t panels = (v.n_rows + NT * 8 - 1) / (NT * 8);
    if (v.n_segments == 1) {
        auto kernel = product_few<TYPE, NT, 1, PLAIN>;
        dim3 grid(panels, (n_cuts + FEW_WARPS - 1) / FEW_WARPS);
        LAUNCH(kernel, grid, dim3(FEW_WARPS * 32), 0, stream->gpu, v);
    } else {
        auto kernel = product_few<TYPE, NT, K_SEGMENTS, PLAIN>;
        LAUNCH(kernel, dim3(panels, n_cuts), dim3(K_SEGMENTS * 32), 0, stream->gpu, v);
    }
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
