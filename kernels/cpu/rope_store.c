// SPDX-License-Identifier: MIT
// Rotary embedding of queries and keys, and storing keys and values in their slots.
#include "kernels/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

typedef struct RopeJob {
    const CpuPath *path;
    KKv *kv;
    size_t layer;
    float *q;
    const float *k;
    const float *v;
    const float *angles;
    const uint32_t *slots;
    size_t n_rows;
    size_t per_item;
    float q_scale;
} RopeJob;

/** Put one key, element by element, into its slot's lane. */
static void store_key(const RopeJob *job, size_t slot, size_t head, const float *key)
{
    KKv *kv = job->kv;
    size_t dim = kv->heads.head_dim, lane = slot % CPU_TILE;
    size_t first = cpu_kv_at(kv, job->layer, head, slot - lane) * dim + lane;
    if (kv->f32) {
        float *out = (float *)(void *)kv->keys + first;
        for (size_t d = 0; d < dim; d++) {
            out[d * CPU_TILE] = key[d];
        }
        return;
    }
    int16_t packed[CPU_HEAD_MAX];
    kv->key_scale[cpu_kv_at(kv, job->layer, head, slot)] = job->path->pack_kv(key, dim, packed);
    int16_t *out = (int16_t *)(void *)kv->keys + first;
    for (size_t d = 0; d < dim; d++) {
        out[d * CPU_TILE] = packed[d];
    }
}

static void store_value(const RopeJob *job, size_t slot, size_t head, const float *value)
{
    KKv *kv = job->kv;
    size_t dim = kv->heads.head_dim, at = cpu_kv_at(kv, job->layer, head, slot);
    if (kv->f32) {
        float *out = (float *)(void *)kv->values + at * kv->value_stride;
        memcpy(out, value, dim * sizeof(float));
        return;
    }
    int16_t *out = (int16_t *)(void *)kv->values + at * kv->value_stride;
    kv->value_scale[at] = job->path->pack_kv(value, dim, out);
}

static void rope_rows(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const RopeJob *job = ctx;
    const KHeads *heads = &job->kv->heads;
    size_t dim = heads->head_dim, n_pairs = heads->rope_dim / 2;
    size_t from = item * job->per_item, to = from + job->per_item;
    for (size_t r = from; r < to && r < job->n_rows; r++) {
        const float *angles = job->angles + r * n_pairs * 2;
        for (size_t h = 0; h < heads->n_heads; h++) {
            float *q = job->q + (r * heads->n_heads + h) * dim;
            job->path->rope(q, angles, n_pairs, dim, job->q_scale, q);
        }
        for (size_t h = 0; h < heads->n_kv_heads; h++) {
            float key[CPU_HEAD_MAX];
            size_t at = (r * heads->n_kv_heads + h) * dim;
            job->path->rope(job->k + at, angles, n_pairs, dim, 1.0f, key);
            store_key(job, job->slots[r], h, key);
            store_value(job, job->slots[r], h, job->v + at);
        }
    }
}

bool cpu_rope_store(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                    const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                    Err *err)
{
    (void)err;
    assert(kv->heads.head_dim <= CPU_HEAD_MAX && layer < kv->n_layers);
    for (size_t r = 0; r < n_rows; r++) {
        assert(slots[r] < kv->n_slots);
    }
    RopeJob job = {.path = stream->device->path,
                   .kv = kv,
                   .layer = layer,
                   .q = q->data,
                   .k = k->data,
                   .v = v->data,
                   .angles = angles,
                   .slots = slots,
                   .n_rows = n_rows,
                   .per_item = n_rows / POOL_ITEMS_MAX + 8,
                   .q_scale = 1.0f / sqrtf((float)kv->heads.head_dim)};
    pool_run(stream->device->pool, rope_rows, &job,
             (uint32_t)((n_rows + job.per_item - 1) / job.per_item));
    return true;
}
