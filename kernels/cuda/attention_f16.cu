// SPDX-License-Identifier: MIT
// Attention on tensor cores with f16 operands and f32 sums. One thread block takes up to 64 queries
// of one KV head, 16 a warp, or with few queries is one warp, over one chunk in tiles of 64 keys
// (fewer for wide heads, to fit in registers): the tile is a part of the order of accumulation. A
// key that a query does not see gets the weight 0, so what else is in the tile does not matter. The
// method is that of FlashAttention (Dao et al. 2022).
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/rows.cuh"

/** Shapes for heads padded to DIM elements. */
template <int DIM> struct Attend {
    static constexpr int keys = DIM <= 128 ? 64 : DIM <= 192 ? 32 : 16; // of a tile
    // Bytes between rows in shared memory, such that no reads conflict: keys are read as 16 bytes
    // of 8 rows by 4 lanes each, values by ldmatrix.
    static constexpr int key_row = DIM * 2 + (DIM * 2 % 128 == 0 ? 64 : 0);
    static constexpr int value_row = DIM * 2 + 16;
};

/** What a lane carries of its warp's 16 queries: those of rows g and g+8. */
template <int DIM> struct Queries {
    uint32_t q[DIM / 32][8]; // operands of two mma for each 32 elements
    uint32_t n_keys[2];
    float max[2];
    float sum[2]; // this lane's share
    float out[DIM / 8][4];
};

template <int DIM>
DEVICE static inline void queries_load(const AttendView &view, const AttendItem &item,
                                       Queries<DIM> &to)
{
    uint32_t lane = thread_x() % 32, first = thread_x() / 32 * 16 + lane / 4;
    UNROLL for (int half = 0; half < 2; half++)
    {
        KAttentionRow row;
        uint32_t head;
        bool exists = query_of(view, item, first + (uint32_t)half * 8, row, head);
        const float *q = view.q + ((size_t)row.row * view.kv.n_heads + head) * view.kv.head_dim;
        UNROLL for (int b = 0; b < DIM / 32; b++)
        {
            float x[GROUP];
            group_load(q, (uint32_t)b * 32 + lane % 4 * GROUP, exists ? view.kv.head_dim : 0, x);
            UNROLL for (int w = 0; w < 4; w++)
            {
                to.q[b][w * 2 + half] = pack_f16(x[w * 2], x[w * 2 + 1]);
            }
        }
        to.n_keys[half] = row.n_keys;
        to.max[half] = -INFINITY;
        to.sum[half] = 0;
    }
    UNROLL for (int t = 0; t < DIM / 8; t++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            to.out[t][i] = 0;
        }
    }
}

/** Ask for a tile of keys or of values, positions from `first` on. */
template <int DIM, int WARPS>
DEVICE static inline void tile_load(const AttendView &view, const AttendItem &item,
                                    const void *from, const uint32_t *slots, uint32_t first,
                                    uint8_t *tile, uint32_t row_bytes)
{
    const uint16_t *head = (const uint16_t *)from + (size_t)block_y() * view.kv.n_slots * DIM;
    for (uint32_t i = thread_x(); i < Attend<DIM>::keys * DIM / 8; i += WARPS * 32) {
        uint32_t key = i / (DIM / 8), piece = i % (DIM / 8);
        bool inside = first + key < item.n_keys;
        size_t at = inside ? (size_t)slots[first + key] * DIM + piece * 8 : 0;
        cp_async16(tile + key * row_bytes + piece * 16, head + at, inside);
    }
}

/** Scores of a tile of keys become weights; maxima, sums and what was summed so far follow. Eight
 * keys that no query of the block sees are left out: their weights are zero. */
template <int DIM>
DEVICE static inline void tile_weigh(const uint8_t *keys, uint32_t first, uint32_t n_keys,
                                     Queries<DIM> &to, uint32_t (*weights)[2])
{
    constexpr int N = Attend<DIM>::keys / 8;
    uint32_t lane = thread_x() % 32;
    float scores[N][4];
    UNROLL for (int n = 0; n < N; n++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            scores[n][i] = 0;
        }
    }
    UNROLL for (int b = 0; b < DIM / 32; b++)
    {
        UNROLL for (int n = 0; n < N; n++) // neighbours do not wait for each other
        {
            if (first + (uint32_t)n * 8 < n_keys) {
                uint4 k =
                    *(const uint4 *)(keys + ((uint32_t)n * 8 + lane / 4) * Attend<DIM>::key_row +
                                     b * 64 + lane % 4 * 16);
                const uint32_t b0[2] = {k.x, k.y}, b1[2] = {k.z, k.w};
                mma_m16n8k16_f16(scores[n], to.q[b], b0);
                mma_m16n8k16_f16(scores[n], to.q[b] + 4, b1);
            }
        }
    }
    float max[2] = {to.max[0], to.max[1]};
    UNROLL for (int n = 0; n < N; n++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            uint32_t key = first + (uint32_t)(n * 8 + i % 2) + lane % 4 * 2;
            scores[n][i] = key < to.n_keys[i / 2] ? scores[n][i] : -INFINITY;
            max[i / 2] = scores[n][i] > max[i / 2] ? scores[n][i] : max[i / 2];
        }
    }
    UNROLL for (int half = 0; half < 2; half++)
    {
        UNROLL for (int mask = 1; mask <= 2; mask <<= 1)
        {
            float other = shfl_xor(max[half], mask);
            max[half] = other > max[half] ? other : max[half];
        }
        float scale = exp_of(to.max[half] - max[half]);
        to.max[half] = max[half];
        to.sum[half] *= scale;
        UNROLL for (int t = 0; t < DIM / 8; t++)
        {
            to.out[t][half * 2] *= scale;
            to.out[t][half * 2 + 1] *= scale;
        }
    }
    UNROLL for (int n = 0; n < N; n++)
    {
        if (first + (uint32_t)n * 8 >= n_keys) {
            weights[n][0] = weights[n][1] = 0;
            continue;
        }
        UNROLL for (int half = 0; half < 2; half++)
        {
            float w[2];
            UNROLL for (int i = 0; i < 2; i++)
            {
                uint32_t key = first + (uint32_t)(n * 8 + i) + lane % 4 * 2;
                w[i] = exp_of(scores[n][half * 2 + i] - max[half]);
                w[i] = key < to.n_keys[half] ? w[i] : 0.0f;
                to.sum[half] += w[i];
            }
            weights[n][half] = pack_f16(w[0], w[1]);
        }
    }
}

/** out += weights * values over a tile of keys. */
template <int DIM>
DEVICE static inline void tile_sum(const uint8_t *values, uint32_t first, uint32_t n_keys,
                                   const uint32_t (*weights)[2], Queries<DIM> &to)
{
    uint32_t lane = thread_x() % 32;
    UNROLL for (int s = 0; s < Attend<DIM>::keys / 16; s++)
    {
        if (first + (uint32_t)s * 16 >= n_keys) {
            break;
        }
        const uint32_t a[4] = {weights[2 * s][0], weights[2 * s][1], weights[2 * s + 1][0],
                               weights[2 * s + 1][1]};
        UNROLL for (int t = 0; t < DIM / 16; t++)
        {
            // Four 8 x 8 pieces: two of keys by two of elements.
            uint32_t key = (uint32_t)s * 16 + lane / 8 % 2 * 8 + lane % 8;
            uint32_t element = (uint32_t)t * 16 + lane / 16 * 8;
            uint32_t b[4];
            ldmatrix_x4_trans(b, values + key * Attend<DIM>::value_row + element * 2);
            mma_m16n8k16_f16(to.out[2 * t], a, b);
            mma_m16n8k16_f16(to.out[2 * t + 1], a, b + 2);
        }
    }
}

template <int DIM>
DEVICE static inline void partials_store(const AttendView &view, const AttendItem &item,
                                         const Queries<DIM> &from)
{
    uint32_t lane = thread_x() % 32, first = thread_x() / 32 * 16 + lane / 4;
    UNROLL for (int half = 0; half < 2; half++)
    {
        float sum = from.sum[half];
        sum += shfl_xor(sum, 1);
        sum += shfl_xor(sum, 2);
        KAttentionRow row;
        uint32_t head;
        if (!query_of(view, item, first + (uint32_t)half * 8, row, head)) {
            continue;
        }
        size_t at = partial_at(view, item.chunk, row.row, head);
        if (lane % 4 == 0) {
            *(float2 *)(view.max_sum + at * 2) = make_float2(from.max[half], sum);
        }
        float *to = view.values + at * DIM + lane % 4 * 2;
        UNROLL for (int t = 0; t < DIM / 8; t++)
        {
            *(float2 *)(to + t * 8) = make_float2(from.out[t][half * 2], from.out[t][half * 2 + 1]);
        }
    }
}

/** grid (items, KV heads). Values are on their way while keys are used, the next keys while values
 *  are; warps without queries only help to copy. */
template <int DIM, int WARPS> KERNEL(attend_chunk)(AttendView view)
{
    SHARED(uint32_t, slots, [K_CHUNK]);
    SHARED(uint4, keys, [Attend<DIM>::keys * Attend<DIM>::key_row / 16]);
    SHARED(uint4, values, [Attend<DIM>::keys * Attend<DIM>::value_row / 16]);
    uint8_t *key_tile = (uint8_t *)keys, *value_tile = (uint8_t *)values;
    AttendItem item = view.items[view.first_item + block_x()]; // lists come from the host
    if (item.n_queries > 0) {
        item_slots(view, item, slots);
    }
    EARLY();
    if (item.n_queries == 0) {
        return; // it fills up the grid
    }
    SYNC();
    tile_load<DIM, WARPS>(view, item, view.kv.keys, slots, 0, key_tile, Attend<DIM>::key_row);
    cp_async_commit();
    tile_load<DIM, WARPS>(view, item, view.kv.values, slots, 0, value_tile, Attend<DIM>::value_row);
    cp_async_commit();
    bool works = thread_x() / 32 * 16 < item.n_queries;
    Queries<DIM> queries;
    queries_load<DIM>(view, item, queries);
    for (uint32_t first = 0; first < item.n_keys; first += Attend<DIM>::keys) {
        if (first == 0) {
            cp_async_wait<1>();
            SYNC(); // keys are there
        } else {
            cp_async_wait<0>();
            SYNC(); // keys are there, everyone is done with the values before
            tile_load<DIM, WARPS>(view, item, view.kv.values, slots, first, value_tile,
                                  Attend<DIM>::value_row);
            cp_async_commit();
        }
        uint32_t weights[Attend<DIM>::keys / 8][2];
        if (works) {
            tile_weigh<DIM>(key_tile, first, item.n_keys, queries, weights);
        }
        cp_async_wait<0>();
        SYNC(); // values are there, everyone is done with the keys
        uint32_t next = first + Attend<DIM>::keys;
        if (next < item.n_keys) {
            tile_load<DIM, WARPS>(view, item, view.kv.keys, slots, next, key_tile,
                                  Attend<DIM>::key_row);
        }
        cp_async_commit();
        if (works) {
            tile_sum<DIM>(value_tile, first, item.n_keys, weights, queries);
        }
    }
    if (works) {
        partials_store<DIM>(view, item, queries);
    }
}

// ---- Launcher -----------------------------------------------------------------------------------

template <int DIM>
static bool launch(KStream *stream, const AttendView *view, uint32_t n_items, bool few, Err *err)
{
    constexpr int MOST = ATTEND_QUERIES / ATTEND_FEW;
    dim3 grid(n_items, view->kv.n_kv_heads);
    // Few blocks rather have more warps to copy with.
    bool single = few && grid.x * grid.y > 4u * (uint32_t)stream->device->n_processors;
    auto kernel = single ? attend_chunk<DIM, 1> : attend_chunk<DIM, MOST>;
    LAUNCH_EARLY(kernel, grid, dim3(single ? 32 : MOST * 32), 0, stream->gpu, *view);
    return CUDA_LAUNCHED(err, "attention");
}

bool attend_f16(KStream *stream, const AttendView *view, uint32_t n_items, bool few, Err *err)
{
    switch (view->kv.stride) {
    case 32:
        return launch<32>(stream, view, n_items, few, err);
    case 64:
        return launch<64>(stream, view, n_items, few, err);
    case 96:
        return launch<96>(stream, view, n_items, few, err);
    case 128:
        return launch<128>(stream, view, n_items, few, err);
    case 192:
        return launch<192>(stream, view, n_items, few, err);
    default:
        return launch<256>(stream, view, n_items, few, err);
    }
}
