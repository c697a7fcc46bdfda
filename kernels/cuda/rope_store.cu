// SPDX-License-Identifier: MIT
// Rotary embedding of queries and keys, and storing keys and values in their slots: as f16, or as
// f32 under --precision f32.
#include "kernels/cuda/rows.cuh"

#include <assert.h>
#include <math.h>

// ---- Kernel -------------------------------------------------------------------------------------

template <typename T> DEVICE inline T kv_element(float x);
template <> DEVICE inline float kv_element<float>(float x)
{
    return x;
}
template <> DEVICE inline uint16_t kv_element<uint16_t>(float x)
{
    return float_to_f16(x);
}

/** Elements 2i and 2i+1 of a head, rotated when they are among the first rope_dim, times scale. */
DEVICE static float2 rotate(const float *x, const float *angles, const KvView &kv, uint32_t i,
                            float scale)
{
    float x0 = x[2 * i], x1 = 2 * i + 1 < kv.head_dim ? x[2 * i + 1] : 0.0f;
    if (2 * i >= kv.rope_dim) {
        return make_float2(x0 * scale, x1 * scale);
    }
    float c = angles[2 * i], s = angles[2 * i + 1];
    return make_float2(fmaf(x0, c, -(x1 * s)) * scale, fmaf(x0, s, x1 * c) * scale);
}

/** grid (rows, cuts of ROW_THREADS pairs of query heads and KV heads). */
template <typename T>
KERNEL(rope_rows)
(KvView kv, float *q, const float *k, const float *v, const float *angles, const uint32_t *slots,
 float q_scale)
{
    EARLY();
    uint32_t row = block_x(), dim = kv.head_dim, pairs = (dim + 1) / 2;
    uint32_t at = block_y() * ROW_THREADS + thread_x(), head = at / pairs, i = at % pairs;
    const float *row_angles = angles + (size_t)row * (kv.rope_dim / 2) * 2;
    if (head >= kv.n_heads + kv.n_kv_heads) {
        return;
    }
    bool two = 2 * i + 1 < dim;
    if (head < kv.n_heads) {
        float *x = q + ((size_t)row * kv.n_heads + head) * dim;
        float2 y = rotate(x, row_angles, kv, i, q_scale);
        x[2 * i] = y.x;
        if (two) {
            x[2 * i + 1] = y.y;
        }
        return;
    }
    head -= kv.n_heads;
    size_t from = ((size_t)row * kv.n_kv_heads + head) * dim;
    size_t to = ((size_t)head * kv.n_slots + slots[row]) * kv.stride;
    T *key = (T *)kv.keys + to, *value = (T *)kv.values + to;
    float2 y = rotate(k + from, row_angles, kv, i, 1.0f);
    key[2 * i] = kv_element<T>(y.x);
    value[2 * i] = kv_element<T>(v[from + 2 * i]);
    if (two) {
        key[2 * i + 1] = kv_element<T>(y.y);
        value[2 * i + 1] = kv_element<T>(v[from + 2 * i + 1]);
    }
}

// ---- Launcher -----------------------------------------------------------------------------------

bool cuda_rope_store(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                     const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                     Err *err)
{
    assert(layer < kv->n_layers);
    for (size_t r = 0; r < n_rows; r++) {
        assert(slots[r] < kv->n_slots);
    }
    const void *angles_there, *slots_there;
    size_t angle_bytes = n_rows * (kv->heads.rope_dim / 2) * 2 * sizeof(float);
    if (!cuda_enter(stream->device, err) ||
        !cuda_upload(stream, angles, angle_bytes, &angles_there, err) ||
        !cuda_upload(stream, slots, n_rows * sizeof(*slots), &slots_there, err)) {
        return false;
    }
    auto kernel = stream->device->f32 ? rope_rows<float> : rope_rows<uint16_t>;
    uint32_t pairs = (kv->heads.head_dim + 1) / 2 * (kv->heads.n_heads + kv->heads.n_kv_heads);
    LAUNCH_EARLY(kernel, dim3((uint32_t)n_rows, (pairs + ROW_THREADS - 1) / ROW_THREADS),
                 dim3(ROW_THREADS), 0, stream->gpu, cuda_kv_view(kv, layer), q->data, k->data,
                 v->data, (const float *)angles_there, (const uint32_t *)slots_there,
                 1.0f / sqrtf((float)kv->heads.head_dim));
    return CUDA_LAUNCHED(err, "rotation");
}
