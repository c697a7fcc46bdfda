// SPDX-License-Identifier: MIT
// Attention in plain float32, for --precision f32: query after query, a key a thread, then an
// element a thread. For reference, not for speed.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/rows.cuh"

#define PLAIN_THREADS K_CHUNK

// ---- Kernel -------------------------------------------------------------------------------------

/** Over all threads of the block, in all of them: sums is PLAIN_THREADS / 32 of shared memory,
 * which nobody has touched since a barrier. */
DEVICE static inline float block_max(float x, float *sums)
{
    x = warp_max(x);
    if (thread_x() % 32 == 0) {
        sums[thread_x() / 32] = x;
    }
    SYNC();
    for (int i = 0; i < PLAIN_THREADS / 32; i++) {
        x = sums[i] > x ? sums[i] : x;
    }
    return x;
}

/** The same, and others may still read sums. */
DEVICE static inline float block_sum(float x, float *sums)
{
    x = warp_sum(x);
    SYNC();
    if (thread_x() % 32 == 0) {
        sums[thread_x() / 32] = x;
    }
    SYNC();
    x = 0;
    for (int i = 0; i < PLAIN_THREADS / 32; i++) {
        x += sums[i];
    }
    return x;
}

/** grid (items, KV heads); PLAIN_THREADS threads. */
KERNEL(attend_plain)(AttendView view)
{
    SHARED(uint32_t, slots, [K_CHUNK]);
    SHARED(float, query, [HEAD_DIM_MAX]);
    SHARED(float, weights, [K_CHUNK]);
    SHARED(float, sums, [PLAIN_THREADS / 32]);
    const KvView &kv = view.kv;
    AttendItem item = view.items[view.first_item + block_x()];
    if (item.n_queries == 0) {
        return; // it fills up the grid
    }
    item_slots(view, item, slots);
    size_t head_at = (size_t)block_y() * kv.n_slots * kv.stride;
    const float *keys = (const float *)kv.keys + head_at;
    const float *values = (const float *)kv.values + head_at;
    uint32_t t = thread_x();
    for (uint32_t i = 0; i < item.n_queries; i++) {
        KAttentionRow row;
        uint32_t head;
        query_of(view, item, i, row, head);
        if (t < kv.head_dim) {
            query[t] = view.q[((size_t)row.row * kv.n_heads + head) * kv.head_dim + t];
        }
        SYNC(); // slots and query are there, everyone is done with the sums and weights before
        float score = -INFINITY;
        if (t < row.n_keys) {
            const float *key = keys + (size_t)slots[t] * kv.stride;
            score = 0;
            for (uint32_t d = 0; d < kv.head_dim; d++) {
                score = fmaf(query[d], key[d], score);
            }
        }
        float max = block_max(score, sums);
        float weight = t < row.n_keys ? exp_of(score - max) : 0.0f;
        weights[t] = weight;
        float sum = block_sum(weight, sums);
        size_t at = partial_at(view, item.chunk, row.row, head);
        if (t == 0) {
            view.max_sum[at * 2] = max;
            view.max_sum[at * 2 + 1] = sum;
        }
        if (t < kv.stride) {
            float out = 0;
            for (uint32_t p = 0; p < row.n_keys && t < kv.head_dim; p++) {
                out = fmaf(weights[p], values[(size_t)slots[p] * kv.stride + t], out);
            }
            view.values[at * kv.stride + t] = out;
        }
    }
}

// ---- Launcher -----------------------------------------------------------------------------------

bool attend_f32(KStream *stream, const AttendView *view, uint32_t n_items, Err *err)
{
    LAUNCH(attend_plain, dim3(n_items, view->kv.n_kv_heads), dim3(PLAIN_THREADS), 0, stream->gpu,
           *view);
    return CUDA_LAUNCHED(err, "attention in f32");
}
