// SPDX-License-Identifier: MIT
// Attention on tensor cores with f16 operands and f32 sums, over one chunk in tiles of 64 keys
// (fewer for wide heads, to fit in registers): the tile is a part of the order of accumulation. A
// key that a query does not see gets the weight 0, so what else is in the tile does not matter. The
// method is that of FlashAttention (Dao et al. 2022).
//
// attend_chunk: a warp has 16 queries of one KV head and goes through the tiles, four such warps a
// block, or one where queries are few. attend_shared: where blocks are few as well the warps of a
// block share 16 queries. Every sum is made in the same order by all of them, to the same bits.
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

/** A lane's part of 16 queries: those of rows g and g+8. */
template <int DIM> struct Queries {
    uint32_t q[DIM / 32][8]; // operands of two mma for each 32 elements
    uint32_t n_keys[2];
};

/** Where they are. */
typedef struct Places {
    bool exists[2];
    KAttentionRow row[2];
    uint32_t head[2];
} Places;

/** Of queries first .. first+15 of an item; from lists of the host's. */
DEVICE static inline void places_of(const AttendView &view, const AttendItem &item, uint32_t first,
                                    Places &to)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        uint32_t i = first + thread_x() % 32 / 4 + (uint32_t)half * 8;
        to.exists[half] = query_of(view, item, i, to.row[half], to.head[half]);
    }
}

/** Four elements of a row of n, zeros past its end; BY_FOUR: n is a multiple of four. */
template <bool BY_FOUR>
DEVICE static inline void four_load(const float *row, uint32_t first, uint32_t n, float *to)
{
    if constexpr (BY_FOUR) {
        float4 four = make_float4(0, 0, 0, 0);
        if (first < n) {
            four = *(const float4 *)(row + first);
        }
        to[0] = four.x;
        to[1] = four.y;
        to[2] = four.z;
        to[3] = four.w;
    } else {
        UNROLL for (int i = 0; i < 4; i++)
        {
            to[i] = first + (uint32_t)i < n ? row[first + (uint32_t)i] : 0.0f;
        }
    }
}

template <int DIM, bool BY_FOUR>
DEVICE static inline void queries_read(const AttendView &view, const Places &places,
                                       Queries<DIM> &to)
{
    float x[2][DIM / 32][GROUP]; // all are asked for before one is needed
    UNROLL for (int half = 0; half < 2; half++)
    {
        size_t at = (size_t)places.row[half].row * view.kv.n_heads + places.head[half];
        const float *q = view.q + at * view.kv.head_dim;
        uint32_t n = places.exists[half] ? view.kv.head_dim : 0;
        UNROLL for (int b = 0; b < DIM / 32; b++)
        {
            uint32_t first = (uint32_t)b * 32 + thread_x() % 4 * GROUP;
            four_load<BY_FOUR>(q, first, n, x[half][b]);
            four_load<BY_FOUR>(q, first + 4, n, x[half][b] + 4);
        }
    }
    UNROLL for (int b = 0; b < DIM / 32; b++)
    {
        UNROLL for (int w = 0; w < 4; w++)
        {
            to.q[b][w * 2] = pack_f16(x[0][b][w * 2], x[0][b][w * 2 + 1]);
            to.q[b][w * 2 + 1] = pack_f16(x[1][b][w * 2], x[1][b][w * 2 + 1]);
        }
    }
}

template <int DIM>
DEVICE static inline void queries_load(const AttendView &view, const Places &places,
                                       Queries<DIM> &to)
{
    to.n_keys[0] = places.row[0].n_keys;
    to.n_keys[1] = places.row[1].n_keys;
    if (view.kv.head_dim % 4 == 0) { // rows lie at multiples of 16 bytes
        queries_read<DIM, true>(view, places, to);
    } else {
        queries_read<DIM, false>(view, places, to);
    }
}

/** Ask for KEYS keys or values, positions from `first` on; thread is one of THREADS. */
template <int DIM, int KEYS, int THREADS>
DEVICE static inline void tile_load(const AttendView &view, const AttendItem &item,
                                    const void *from, const uint32_t *slots, uint32_t first,
                                    uint32_t thread, uint8_t *tile, uint32_t row_bytes)
{
    constexpr int PIECES = DIM / 8; // of 16 bytes, of a row
    constexpr int N = KEYS * PIECES / THREADS, BATCH = N > 12 ? 8 : N;
    // After so many copies, and keys, a thread comes to the same piece again.
    constexpr int PERIOD = PIECES % 3 == 0 ? 3 : 1, STEP = PERIOD * THREADS / PIECES;
    static_assert(N * THREADS == KEYS * PIECES && N % BATCH == 0 &&
                      STEP * PIECES == PERIOD * THREADS,
                  "all threads copy as much");
    thread = opaque(thread); // or what is made of it is kept in registers from tile to tile
    uint32_t own[PERIOD];    // of the pieces of a layer, fewer than 2^32
    UNROLL for (int j = 0; j < PERIOD; j++)
    {
        own[j] = opaque(block_y() * view.kv.n_slots * PIECES +
                        (thread + (uint32_t)(j * THREADS)) % PIECES);
    }
    UNROLL for (int n = 0; n < N; n += BATCH)
    {
        uint32_t at[BATCH]; // all are known before one is needed
        UNROLL for (int j = 0; j < BATCH; j++)
        {
            uint32_t i = thread + (uint32_t)((n + j) % PERIOD * THREADS);
            uint32_t key = first + i / PIECES + (uint32_t)((n + j) / PERIOD * STEP);
            uint32_t slot = slots[key < item.n_keys ? key : item.n_keys - 1];
            at[j] = slot * PIECES + own[(n + j) % PERIOD];
        }
        UNROLL for (int j = 0; j < BATCH; j++)
        {
            uint32_t i = thread + (uint32_t)((n + j) % PERIOD * THREADS);
            uint32_t key = i / PIECES + (uint32_t)((n + j) / PERIOD * STEP);
            cp_async16(tile + key * row_bytes + i % PIECES * 16, (const uint4 *)from + at[j],
                       first + key < item.n_keys);
        }
    }
}

/** Scores of 8 * N keys, positions from `first` on, and the largest ones of max and them all.
 * LEAVE_OUT: not of eight keys that no query of the block sees, at the price of a condition. */
template <int DIM, int N, bool LEAVE_OUT>
DEVICE static inline void tile_scores(const uint8_t *keys, uint32_t first, uint32_t n_keys,
                                      const Queries<DIM> &queries, float (*scores)[4], float *max)
{
    uint32_t lane = thread_x() % 32;
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
            if (!LEAVE_OUT || first + (uint32_t)n * 8 < n_keys) {
                uint4 k =
                    *(const uint4 *)(keys + ((uint32_t)n * 8 + lane / 4) * Attend<DIM>::key_row +
                                     b * 64 + lane % 4 * 16);
                const uint32_t b0[2] = {k.x, k.y}, b1[2] = {k.z, k.w};
                mma_m16n8k16_f16(scores[n], queries.q[b], b0);
                mma_m16n8k16_f16(scores[n], queries.q[b] + 4, b1);
            }
        }
    }
    UNROLL for (int n = 0; n < N; n++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            uint32_t key = first + (uint32_t)(n * 8 + i % 2) + lane % 4 * 2;
            scores[n][i] = key < queries.n_keys[i / 2] ? scores[n][i] : -INFINITY;
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
    }
}

/** Weights of eight keys from position `key` on: of the two that this lane has for each query. */
template <int DIM>
DEVICE static inline void weights_of(const float *scores, uint32_t key, const Queries<DIM> &queries,
                                     const float *max, float *weights)
{
    key += thread_x() % 4 * 2;
    UNROLL for (int i = 0; i < 4; i++)
    {
        float w = exp_of(scores[i] - max[i / 2]);
        weights[i] = key + (uint32_t)i % 2 < queries.n_keys[i / 2] ? w : 0.0f;
    }
}

/** The largest scores grew: what was summed so far follows. */
template <int TILES> DEVICE static inline void values_scale(float (*sums)[4], const float *scales)
{
    UNROLL for (int t = 0; t < TILES; t++)
    {
        UNROLL for (int i = 0; i < 4; i++)
        {
            sums[t][i] *= scales[i / 2];
        }
    }
}

/** Sums of weights * values, to the partials' elements from `element` on. */
template <int DIM, int TILES>
DEVICE static inline void values_store(const AttendView &view, const AttendItem &item,
                                       const Places &places, const float (*sums)[4],
                                       uint32_t element)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        if (!places.exists[half]) {
            continue;
        }
        size_t at = partial_at(view, item.chunk, places.row[half].row, places.head[half]);
        float *to = view.values + at * DIM + element + thread_x() % 4 * 2;
        UNROLL for (int t = 0; t < TILES; t++)
        {
            *(float2 *)(to + t * 8) = make_float2(sums[t][half * 2], sums[t][half * 2 + 1]);
        }
    }
}

/** Maxima, and sums of weights, of which each of four lanes has a share. */
DEVICE static inline void weights_store(const AttendView &view, const AttendItem &item,
                                        const Places &places, const float *max, const float *sums)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        float sum = sums[half];
        sum += shfl_xor(sum, 1);
        sum += shfl_xor(sum, 2);
        if (places.exists[half] && thread_x() % 4 == 0) {
            size_t at = partial_at(view, item.chunk, places.row[half].row, places.head[half]);
            *(float2 *)(view.max_sum + at * 2) = make_float2(max[half], sum);
        }
    }
}

// ---- A warp by itself ---------------------------------------------------------------------------

/** What a lane has of its warp's sums so far; of those of weights its own share. */
template <int DIM> struct Sums {
    float max[2];
    float weights[2];
    float values[DIM / 8][4];
};

/** Scores of a tile of keys become weights; maxima, sums and what was summed so far follow. WHOLE:
 * some query of the block sees the last key. Else eight keys that none sees are left out: their
 * weights are zero. */
template <int DIM, bool WHOLE>
DEVICE static inline void tile_weigh(const uint8_t *keys, uint32_t first, uint32_t n_keys,
                                     const Queries<DIM> &queries, Sums<DIM> &sums,
                                     uint32_t (*weights)[2])
{
    constexpr int N = Attend<DIM>::keys / 8;
    float scores[N][4], max[2] = {sums.max[0], sums.max[1]};
    tile_scores<DIM, N, !WHOLE>(keys, first, n_keys, queries, scores, max);
    const float scales[2] = {exp_of(sums.max[0] - max[0]), exp_of(sums.max[1] - max[1])};
    values_scale<DIM / 8>(sums.values, scales);
    UNROLL for (int half = 0; half < 2; half++)
    {
        sums.weights[half] *= scales[half];
        sums.max[half] = max[half];
    }
    UNROLL for (int n = 0; n < N; n++)
    {
        weights[n][0] = weights[n][1] = 0;
        if (WHOLE || first + (uint32_t)n * 8 < n_keys) {
            float w[4];
            weights_of(scores[n], first + (uint32_t)n * 8, queries, max, w);
            UNROLL for (int i = 0; i < 4; i++)
            {
                sums.weights[i / 2] += w[i];
            }
            weights[n][0] = pack_f16(w[0], w[1]);
            weights[n][1] = pack_f16(w[2], w[3]);
        }
    }
}

/** Sums of weights * values over a tile of keys. */
template <int DIM>
DEVICE static inline void tile_sum(const uint8_t *values, uint32_t first, uint32_t n_keys,
                                   const uint32_t (*weights)[2], Sums<DIM> &sums)
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
            mma_m16n8k16_f16(sums.values[2 * t], a, b);
            mma_m16n8k16_f16(sums.values[2 * t + 1], a, b + 2);
        }
    }
}

/** grid (items, KV heads). Values are on their way while keys are used, the next keys while values
 *  are; warps without queries only help to copy. */
template <int DIM, int WARPS>
KERNEL_BOUNDS(WARPS * 32,
              WARPS == 1   ? 1
              : DIM <= 64  ? 4
              : DIM <= 128 ? 3
                           : 2,
              attend_chunk)
(AttendView view)
{
    constexpr int KEYS = Attend<DIM>::keys, THREADS = WARPS * 32;
    constexpr int KEY_ROW = Attend<DIM>::key_row, VALUE_ROW = Attend<DIM>::value_row;
    SHARED(uint32_t, slots, [K_CHUNK]);
    SHARED(uint4, keys, [KEYS * KEY_ROW / 16]);
    SHARED(uint4, values, [KEYS * VALUE_ROW / 16]);
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
    tile_load<DIM, KEYS, THREADS>(view, item, view.kv.keys, slots, 0, thread_x(), key_tile,
                                  KEY_ROW);
    cp_async_commit();
    tile_load<DIM, KEYS, THREADS>(view, item, view.kv.values, slots, 0, thread_x(), value_tile,
                                  VALUE_ROW);
    cp_async_commit();
    uint32_t first_query = thread_x() / 32 * 16;
    bool works = first_query < item.n_queries;
    Places places;
    Queries<DIM> queries;
    Sums<DIM> sums = {{-INFINITY, -INFINITY}, {0, 0}, {}};
    places_of(view, item, first_query, places);
    queries_load(view, places, queries);
    for (uint32_t first = 0; first < item.n_keys; first += KEYS) {
        if (first == 0) {
            cp_async_wait<1>();
            SYNC(); // keys are there
        } else {
            cp_async_wait<0>();
            SYNC(); // keys are there, everyone is done with the values before
            tile_load<DIM, KEYS, THREADS>(view, item, view.kv.values, slots, first, thread_x(),
                                          value_tile, VALUE_ROW);
            cp_async_commit();
        }
        uint32_t weights[KEYS / 8][2];
        if (WARPS == 1 && first + KEYS <= item.n_keys) { // where no other warp has work meanwhile
            tile_weigh<DIM, true>(key_tile, first, item.n_keys, queries, sums, weights);
        } else if (works) {
            tile_weigh<DIM, false>(key_tile, first, item.n_keys, queries, sums, weights);
        }
        cp_async_wait<0>();
        SYNC(); // values are there, everyone is done with the keys
        uint32_t next = first + KEYS;
        if (next < item.n_keys) {
            tile_load<DIM, KEYS, THREADS>(view, item, view.kv.keys, slots, next, thread_x(),
                                          key_tile, KEY_ROW);
        }
        cp_async_commit();
        if (works) {
            tile_sum<DIM>(value_tile, first, item.n_keys, weights, sums);
        }
    }
    if (works) {
        places_of(view, item, first_query, places); // again, rather than in registers
        weights_store(view, item, places, sums.max, sums.weights);
        values_store<DIM, DIM / 8>(view, item, places, sums.values, 0);
    }
}

// ---- Eight warps with the same queries ----------------------------------------------------------

#define SHARERS 8 // warps of a block
#define SUMMERS 4 // that sum values, each some of the elements

/** Shapes where each warp takes KEYS keys at a time: half a tile, or less for lack of shared
 * memory. With half, heads of up to 128 elements have a chunk in one round. */
template <int DIM, int KEYS> struct Share {
    static constexpr int keys = SHARERS * KEYS; // of a round
    static constexpr int tiles = keys / Attend<DIM>::keys;
    static constexpr int key_bytes = keys * Attend<DIM>::key_row;
    static constexpr int bytes = key_bytes + keys * Attend<DIM>::value_row;
    static_assert(keys * 64 <= key_bytes, "the weights take the keys' place");
};

/** Keys whose values are read together: whole tiles. */
template <int DIM> HOST_DEVICE constexpr int share_part(void)
{
    return Attend<DIM>::keys > 32 ? Attend<DIM>::keys : 32;
}

/** From the maxima of warps: those up to each tile, of which the warp's own, and the last, are
 * kept, and how each changes what was summed before it. */
template <int DIM, int KEYS>
DEVICE static inline void share_maxima(const float (*maxima)[16], uint32_t warp, float *max,
                                       float *own_max, float (*scales)[2])
{
    constexpr int EACH = Attend<DIM>::keys / KEYS; // warps of a tile
    UNROLL for (int half = 0; half < 2; half++)
    {
        UNROLL for (int t = 0; t < Share<DIM, KEYS>::tiles; t++)
        {
            float before = max[half];
            UNROLL for (int w = t * EACH; w < (t + 1) * EACH; w++)
            {
                float other = maxima[w][thread_x() % 32 / 4 + (uint32_t)half * 8];
                max[half] = other > max[half] ? other : max[half];
            }
            scales[t][half] = exp_of(before - max[half]);
            own_max[half] = warp / EACH == (uint32_t)t ? max[half] : own_max[half];
        }
    }
}

/** Sums of weights * values over the n keys that some query sees of PART; WHOLE: all of them. */
template <int DIM, bool WHOLE>
DEVICE static inline void part_values(const float4 *weights, const uint8_t *values, int n,
                                      const float (*scales)[2], float (*sums)[4])
{
    constexpr int TILES = DIM / SUMMERS / 8, PART = share_part<DIM>();
    uint32_t lane = thread_x() % 32, b[PART / 32][TILES][4]; // of 32 keys by 8 elements
    UNROLL for (int k = 0; k < PART / 32; k++)
    {
        UNROLL for (int t = 0; t < TILES; t++)
        {
            const uint8_t *row = values + ((uint32_t)k * 32 + lane) * Attend<DIM>::value_row;
            ldmatrix_x4_trans(b[k][t], row + t * 16);
        }
    }
    UNROLL for (int key = 0; key < PART; key += 16)
    {
        if (!WHOLE && key >= n) {
            break;
        }
        if (key % Attend<DIM>::keys == 0) {
            values_scale<TILES>(sums, scales[key / Attend<DIM>::keys]);
        }
        float4 x = weights[key / 8 * 32 + (int)lane], y = weights[(key / 8 + 1) * 32 + (int)lane];
        const uint32_t a[4] = {pack_f16(x.x, x.y), pack_f16(x.z, x.w), pack_f16(y.x, y.y),
                               pack_f16(y.z, y.w)};
        UNROLL for (int t = 0; t < TILES; t++)
        {
            mma_m16n8k16_f16(sums[t], a, b[key / 32][t] + key / 16 % 2 * 2);
        }
    }
}

/** Sums of weights * values over a round's keys, of which n are seen. */
template <int DIM, int KEYS>
DEVICE static inline void share_values(const float4 *weights, const uint8_t *values, int n,
                                       const float (*scales)[2], float (*sums)[4])
{
    constexpr int PART = share_part<DIM>();
    UNROLL for (int key = 0; key < Share<DIM, KEYS>::keys; key += PART)
    {
        const float4 *w = weights + key / 8 * 32;
        const uint8_t *v = values + key * Attend<DIM>::value_row;
        float s[PART / Attend<DIM>::keys][2]; // by value: what is indexed later would be in memory
        UNROLL for (int t = 0; t < PART / Attend<DIM>::keys; t++)
        {
            s[t][0] = scales[key / Attend<DIM>::keys + t][0];
            s[t][1] = scales[key / Attend<DIM>::keys + t][1];
        }
        if (key + PART <= n) {
            part_values<DIM, true>(w, v, PART, s, sums);
        } else {
            part_values<DIM, false>(w, v, n - key, s, sums);
            return;
        }
    }
}

/** Sums of weights alone. */
template <int DIM, int KEYS>
DEVICE static inline void share_weights(const float4 *weights, int n, const float (*scales)[2],
                                        float *sums)
{
    constexpr int SIZE = Attend<DIM>::keys;
    UNROLL for (int t = 0; t < Share<DIM, KEYS>::tiles; t++)
    {
        if (t * SIZE >= n) {
            return;
        }
        sums[0] *= scales[t][0];
        sums[1] *= scales[t][1];
        UNROLL for (int i = 0; i < SIZE / 8; i++)
        {
            float4 w = weights[(t * SIZE / 8 + i) * 32 + (int)(thread_x() % 32)];
            sums[0] = sums[0] + w.x + w.y;
            sums[1] = sums[1] + w.z + w.w;
        }
    }
}

/** Keys and values of earlier steps are on their way while the kernels in front end; what those
 * are still writing is in the cache anyway. */
template <int DIM>
DEVICE static inline void item_ahead(const AttendView &view, const AttendItem &item)
{
    for (uint32_t e = thread_x(); e < item.n_extents; e += block_dim_x()) {
        AttendExtent extent = view.extents[item.first_extent + e];
        size_t at = ((size_t)block_y() * view.kv.n_slots + extent.slot) * DIM;
        prefetch_l2((const uint16_t *)view.kv.keys + at, extent.n * DIM * 2);
        prefetch_l2((const uint16_t *)view.kv.values + at, extent.n * DIM * 2);
    }
}

/** grid (items, KV heads). Each warp makes the scores and weights of some of the keys; then four
 * sum values, and one weights. All of a round is asked for at once. */
template <int DIM, int KEYS> KERNEL_BOUNDS(SHARERS * 32, 1, attend_shared)(AttendView view)
{
    typedef Share<DIM, KEYS> Shape;
    constexpr int KEY_ROW = Attend<DIM>::key_row, VALUE_ROW = Attend<DIM>::value_row;
    constexpr int ELEMENTS = DIM / SUMMERS;
    SHARED(uint32_t, slots, [K_CHUNK]);
    SHARED(float, maxima, [SHARERS][16]);
    DYN_SHARED(uint8_t, keys);
    uint8_t *values = keys + Shape::key_bytes;
    float4 *weights = (float4 *)keys;
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32, own = warp * KEYS;
    AttendItem item = view.items[view.first_item + block_x()]; // lists come from the host
    Places places;
    if (item.n_queries > 0) {
        item_slots(view, item, slots);
        places_of(view, item, 0, places);
        item_ahead<DIM>(view, item);
    }
    EARLY();
    if (item.n_queries == 0) {
        return; // it fills up the grid
    }
    Queries<DIM> queries;
    float max[2] = {-INFINITY, -INFINITY}, weight_sums[2] = {0, 0};
    float value_sums[ELEMENTS / 8][4] = {};
    for (uint32_t first = 0; first < item.n_keys; first += Shape::keys) {
        SYNC(); // slots are there, everyone is done with the weights and values before
        tile_load<DIM, KEYS, 32>(view, item, view.kv.keys, slots, first + own, lane,
                                 keys + own * KEY_ROW, KEY_ROW);
        cp_async_commit();
        tile_load<DIM, KEYS, 32>(view, item, view.kv.values, slots, first + own, lane,
                                 values + own * VALUE_ROW, VALUE_ROW);
        cp_async_commit();
        if (first == 0) {
            queries_load(view, places, queries);
        }
        cp_async_wait<1>();
        SYNC_WARP(); // its keys are there
        float scores[KEYS / 8][4], own_max[2] = {-INFINITY, -INFINITY}, scales[Shape::tiles][2];
        tile_scores<DIM, KEYS / 8, false>(keys + own * KEY_ROW, first + own, item.n_keys, queries,
                                          scores, own_max);
        if (lane % 4 == 0) {
            maxima[warp][lane / 4] = own_max[0];
            maxima[warp][lane / 4 + 8] = own_max[1];
        }
        SYNC(); // maxima are there, everyone is done with the keys
        share_maxima<DIM, KEYS>(maxima, warp, max, own_max, scales);
        UNROLL for (int n = 0; n < KEYS / 8; n++)
        {
            uint32_t key = own + (uint32_t)n * 8;
            float w[4];
            weights_of(scores[n], first + key, queries, own_max, w);
            weights[key / 8 * 32 + lane] = make_float4(w[0], w[1], w[2], w[3]);
        }
        cp_async_wait<0>();
        SYNC(); // weights and values are there
        int n = (int)(item.n_keys - first);
        if (warp < SUMMERS) {
            share_values<DIM, KEYS>(weights, values + warp * ELEMENTS * 2, n, scales, value_sums);
        } else if (warp == SUMMERS) {
            share_weights<DIM, KEYS>(weights, n, scales, weight_sums);
        }
    }
    if (warp < SUMMERS) {
        values_store<DIM, ELEMENTS / 8>(view, item, places, value_sums, warp * ELEMENTS);
    } else if (warp == SUMMERS) {
        weights_store(view, item, places, max, weight_sums);
    }
}

// ---- Launcher -----------------------------------------------------------------------------------

/** False, and nothing is done: a block has less shared memory. */
template <int DIM, int KEYS>
static bool launch_shared(KStream *stream, const AttendView *view, dim3 grid)
{
    typedef Share<DIM, KEYS> Shape;
    constexpr size_t DECLARED = 2048; // in the kernel, at most
    if (Shape::bytes + DECLARED > stream->device->shared_bytes) {
        return false;
    }
    auto kernel = attend_shared<DIM, KEYS>;
    LAUNCH_EARLY(kernel, grid, dim3(SHARERS * 32), Shape::bytes, stream->gpu, *view);
    return true;
}

template <int DIM>
static bool launch(KStream *stream, const AttendView *view, uint32_t n_items, bool few, Err *err)
{
    constexpr int MOST = ATTEND_QUERIES / ATTEND_FEW;
    constexpr int HALF = Attend<DIM>::keys / 2, LESS = HALF > 8 ? HALF / 2 : HALF;
    dim3 grid(n_items, view->kv.n_kv_heads);
    bool done = few && grid.x * grid.y <= 4u * (uint32_t)stream->device->n_processors &&
                (launch_shared<DIM, HALF>(stream, view, grid) ||
                 launch_shared<DIM, LESS>(stream, view, grid));
    if (!done) {
        auto kernel = few ? attend_chunk<DIM, 1> : attend_chunk<DIM, MOST>;
        LAUNCH_EARLY(kernel, grid, dim3(few ? 32 : MOST * 32), 0, stream->gpu, *view);
    }
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
