// SPDX-License-Identifier: MIT
// Products with few rows (decode): memory decides, so every warp streams one tile of 16 outputs
// through a ring of its own in shared memory, many blocks of K ahead. A product in segments gives
// each segment a warp. PLAIN: the weights are rows as cuBLASLt takes them, and a warp reads 64
// bytes of each of 16 rows instead of a record; the bits are the same.
#include "kernels/cuda/product.cuh"

#define RING 6 // groups of blocks: one is used, the others are on their way

/** Blocks that are asked for together. */
HOST_DEVICE constexpr uint32_t group_blocks(int type)
{
    return type == K_Q4_0 || type == K_Q4_1 ? 4 : 2;
}
HOST_DEVICE constexpr uint32_t group_bytes(int type)
{
    return group_blocks(type) * record_bytes(type);
}

// ---- Kernel -------------------------------------------------------------------------------------

/** A lane's share of one block of NT times 8 rows from row0 on. Past the last row it is that of
 * others, whose sums no one stores. */
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

/** Ask for n blocks of a tile, at most a group, from `block` on: as records, or as a lane's pieces
 * of rows. */
template <int TYPE, bool PLAIN>
DEVICE static inline void group_load(const uint8_t *tile, size_t row_bytes, uint32_t block,
                                     uint32_t n, uint8_t *group)
{
    constexpr uint32_t PIECES = record_bytes(TYPE) / 16;
    const uint8_t *from = tile + (size_t)block * (PLAIN ? ROW_BLOCK : record_bytes(TYPE));
    UNROLL for (uint32_t first = 0; first < group_blocks(TYPE) * PIECES; first += 32)
    {
        uint32_t i = first + thread_x() % 32;
        size_t at = PLAIN ? i % 64 / 4 * row_bytes + i / 64 * ROW_BLOCK + i % 4 * 16 : i * 16;
        if (i < n * PIECES) {
            cp_async16(group + i * 16, from + at, true);
        }
    }
}

/** acc (NT, 4): blocks from .. to-1 of a tile against NT * 8 rows. */
template <int TYPE, int NT, bool PLAIN>
DEVICE static inline void run_tile(const ProductsView &view, const uint8_t *tile, uint32_t row0,
                                   uint32_t from, uint32_t to, uint8_t *ring, float (*acc)[4])
{
    constexpr uint32_t N = group_blocks(TYPE);
    constexpr bool ROWS_AHEAD = NT <= 2; // more would not fit in registers
    size_t row_bytes = (size_t)view.n_blocks * ROW_BLOCK;
    uint32_t next = from, there = 0; // the next group to ask for, the place of the one to use
    for (uint32_t i = 0; i < RING - 1; i++, next += N) {
        if (next < to) {
            group_load<TYPE, PLAIN>(tile, row_bytes, next, to - next < N ? to - next : N,
                                    ring + i * group_bytes(TYPE));
        }
        cp_async_commit();
    }
    EARLY_WAIT(); // weights do not depend on what came before
    for (uint32_t b = from; b < to; b += N, next += N) {
        Rows8 rows[ROWS_AHEAD ? N : 1][NT];
        UNROLL for (uint32_t u = 0; ROWS_AHEAD && u < N; u++)
        {
            rows_load<TYPE, NT>(view, row0, b + u < to ? b + u : to - 1, rows[u]);
        }
        cp_async_wait<RING - 2>();
        SYNC_WARP(); // the group is there, and all lanes are done with the one before
        const uint8_t *group = ring + there * group_bytes(TYPE);
        uint32_t before = there == 0 ? RING - 1 : there - 1;
        if (next < to) {
            group_load<TYPE, PLAIN>(tile, row_bytes, next, to - next < N ? to - next : N,
                                    ring + before * group_bytes(TYPE));
        }
        cp_async_commit();
        UNROLL for (uint32_t u = 0; u < N; u++)
        {
            if (b + u < to) {
                RawWeights<TYPE> raw;
                Weights<TYPE> weights;
                weights_load<TYPE, PLAIN>(group + u * record_bytes(TYPE), thread_x() % 32, raw);
                weights_unpack<TYPE>(raw, weights);
                Rows8 *x = rows[ROWS_AHEAD ? u : 0];
                if (!ROWS_AHEAD) {
                    rows_load<TYPE, NT>(view, row0, b + u, x);
                }
                UNROLL for (int t = 0; t < NT; t++)
                {
                    products_step<TYPE, 1>(&weights, x[t], &acc[t], 0);
                }
            }
        }
        there = there + 1 == RING ? 0 : there + 1;
    }
}

/** grid (panels of NT * 8 rows, tiles): a warp, or one for each segment. */
template <int TYPE, int NT, int SEGMENTS, bool PLAIN>
KERNEL_BOUNDS(SEGMENTS * 32, SEGMENTS == 1 ? 16 : 2, product_few)
(ProductsView view)
{
    DYN_SHARED(uint8_t, rings);
    EARLY_START();
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
    run_tile<TYPE, NT, PLAIN>(view,
                              product.weights + (size_t)tile * view.n_blocks * record_bytes(TYPE),
                              row0, from, to, rings + warp * RING * group_bytes(TYPE), acc);
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
        float *parts = (float *)rings; // (SEGMENTS, NT * 4, 32)
        SYNC();                        // all warps are done with their rings
        UNROLL for (int t = 0; t < NT; t++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                parts[(warp * NT * 4 + (uint32_t)(t * 4 + i)) * 32 + lane] = acc[t][i];
            }
        }
        SYNC();
        for (uint32_t at = warp; at < NT * 4; at += SEGMENTS) {
            float s[SEGMENTS];
            UNROLL for (uint32_t i = 0; i < SEGMENTS; i++)
            {
                s[i] = parts[(i * NT * 4 + at) * 32 + lane];
            }
            product_store(product, view.n_rows, row + at / 4 * 8 + at % 2, output + at % 4 / 2 * 8,
                          parts_tree<SEGMENTS>(s));
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
    dim3 grid((v.n_rows + NT * 8 - 1) / (NT * 8), n_cuts);
    auto kernel = v.n_segments == 1 ? product_few<TYPE, NT, 1, PLAIN>
                                    : product_few<TYPE, NT, K_SEGMENTS, PLAIN>;
    uint32_t warps = (uint32_t)v.n_segments;
    LAUNCH_EARLY(kernel, grid, dim3(warps * 32), warps * RING * group_bytes(TYPE), stream->gpu, v);
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
