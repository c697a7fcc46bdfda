// SPDX-License-Identifier: MIT
// Attention: every (work, some of its rows, KV head) gives one partial result a query - the largest
// score, the sum of weights and the weighted sum of values - and a row's partials are merged in
// order of chunk. Partials of many chunks may not fit in scratch, so chunks are taken in waves.
#include "kernels/cpu/cpu_internal.h"

#include <string.h>

#define WAVE_BYTES ((size_t)16 << 20) // partials held at once; one chunk of all rows at least

typedef struct AttendItem {
    const KAttentionWork *work;
    uint32_t first; // of work->rows
    uint32_t n_rows;
    uint32_t kv_head;
} AttendItem;

typedef struct AttendJob {
    KDevice *device;
    const KKv *kv;
    size_t layer;
    const float *q;
    KActs *out;
    size_t n_rows;
    size_t partial;        // floats of one query's partial
    uint32_t wave0, wave1; // chunks of this wave
    bool last_wave;
    const AttendItem *items;
    size_t n_items;
    size_t per_item;       // items that the pool hands out together
    float *partials;       // (n_rows, n_heads, wave1 - wave0)
    float *running;        // (n_rows, n_heads): merged so far
    uint32_t *n_chunks;    // of each row
    float *scratch;        // of each worker
    size_t scratch_floats; // a worker's share
} AttendJob;

static float *partial_at(const AttendJob *job, size_t row, size_t head, uint32_t chunk)
{
    size_t at = (row * job->kv->heads.n_heads + head) * (job->wave1 - job->wave0);
    return job->partials + (at + chunk - job->wave0) * job->partial;
}

static void attend_item(const AttendJob *job, const AttendItem *item, float *scratch)
{
    const KHeads *heads = &job->kv->heads;
    size_t group = heads->n_heads / heads->n_kv_heads;
    const float *query[CPU_ATTEND_QUERIES];
    uint32_t query_keys[CPU_ATTEND_QUERIES];
    float *out[CPU_ATTEND_QUERIES];
    // A group of more heads than fit is taken in parts.
    size_t heads_at_once = group < CPU_ATTEND_QUERIES ? group : CPU_ATTEND_QUERIES;
    for (size_t g = 0; g < group; g += heads_at_once) {
        CpuAttend piece = {.kv = job->kv,
                           .layer = job->layer,
                           .kv_head = item->kv_head,
                           .extents = item->work->extents,
                           .n_extents = item->work->n_extents,
                           .query = query,
                           .query_keys = query_keys,
                           .out = out,
                           .scratch = scratch};
        for (uint32_t i = 0; i < item->n_rows; i++) {
            const KAttentionRow *row = &item->work->rows[item->first + i];
            piece.n_keys = row->n_keys > piece.n_keys ? row->n_keys : piece.n_keys;
            for (size_t h = g; h < group && h < g + heads_at_once; h++) {
                size_t head = item->kv_head * group + h, n = piece.n_queries++;
                query[n] = job->q + (row->row * heads->n_heads + head) * heads->head_dim;
                query_keys[n] = row->n_keys;
                out[n] = partial_at(job, row->row, head, item->work->chunk);
            }
        }
        job->device->path->attend(&piece);
    }
}

static void attend_items(void *ctx, uint32_t at, int worker)
{
    const AttendJob *job = ctx;
    float *scratch = job->scratch + (size_t)worker * job->scratch_floats;
    size_t end = (at + 1) * job->per_item;
    for (size_t i = at * job->per_item; i < end && i < job->n_items; i++) {
        attend_item(job, &job->items[i], scratch);
    }
}

/** Merge the wave's partials of one row, left to right; after the last wave write the row. */
static void merge_row(void *ctx, uint32_t row, int worker)
{
    const AttendJob *job = ctx;
    const KHeads *heads = &job->kv->heads;
    const CpuPath *path = job->device->path;
    size_t n = job->kv->value_stride;
    float *y = NULL;
    if (job->last_wave) {
        y = job->scratch + (size_t)worker * job->scratch_floats;
    }
    for (size_t h = 0; h < heads->n_heads; h++) {
        float *running = job->running + (row * heads->n_heads + h) * job->partial;
        for (uint32_t c = job->wave0; c < job->wave1 && c < job->n_chunks[row]; c++) {
            const float *partial = partial_at(job, row, h, c);
            if (c == 0) {
                memcpy(running, partial, job->partial * sizeof(float));
            } else {
                path->attend_merge(running, partial, n);
            }
        }
        if (job->last_wave) {
            path->attend_finish(running, heads->head_dim, y + h * heads->head_dim);
        }
    }
    if (job->last_wave) {
        cpu_acts_row(job->device, job->out, row, y);
    }
}

/** Cut the works of a wave into items; NULL items: only count them. */
static size_t make_items(const KAttentionWork *works, size_t n_works, const KHeads *heads,
                         AttendItem *items)
{
    size_t group = heads->n_heads / heads->n_kv_heads, n = 0;
    uint32_t at_once = group < CPU_ATTEND_QUERIES ? (uint32_t)(CPU_ATTEND_QUERIES / group) : 1;
    for (size_t w = 0; w < n_works; w++) {
        for (uint32_t first = 0; first < works[w].n_rows; first += at_once) {
            uint32_t left = works[w].n_rows - first;
            for (uint32_t h = 0; h < heads->n_kv_heads; h++, n++) {
                if (items != NULL) {
                    items[n] = (AttendItem){.work = &works[w],
                                            .first = first,
                                            .n_rows = left < at_once ? left : at_once,
                                            .kv_head = h};
                }
            }
        }
    }
    return n;
}

static void run_wave(AttendJob *job, const KAttentionWork *works, size_t n_works, AttendItem *items)
{
    job->items = items;
    job->n_items = make_items(works, n_works, &job->kv->heads, items);
    job->per_item = job->n_items / POOL_ITEMS_MAX + 1;
    pool_run(job->device->pool, attend_items, job,
             (uint32_t)((job->n_items + job->per_item - 1) / job->per_item));
    pool_run(job->device->pool, merge_row, job, (uint32_t)job->n_rows);
}

/** Carve the device's scratch: partials of a wave, results so far, each worker's own, counts,
 * items. */
static AttendItem *take_scratch(AttendJob *job, size_t chunk_bytes, size_t wave, size_t n_items)
{
    size_t n_threads = (size_t)job->device->n_threads, stride = job->out->stride;
    job->scratch_floats = CPU_ATTEND_SCRATCH > stride ? CPU_ATTEND_SCRATCH : stride;
    size_t bytes[] = {chunk_bytes * wave, chunk_bytes,
                      n_threads * job->scratch_floats * sizeof(float),
                      job->n_rows * sizeof(uint32_t), n_items * sizeof(AttendItem)};
    size_t total = 0, at[5];
    for (int i = 0; i < 5; i++) {
        at[i] = total;
        total += (bytes[i] + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
    }
    uint8_t *scratch = cpu_scratch(job->device, total);
    job->partials = (float *)(void *)(scratch + at[0]);
    job->running = (float *)(void *)(scratch + at[1]);
    job->scratch = (float *)(void *)(scratch + at[2]);
    job->n_chunks = (uint32_t *)(void *)(scratch + at[3]);
    return (AttendItem *)(void *)(scratch + at[4]);
}

/** Chunks of each row; the list has to give them in order and without a gap. */
static void count_chunks(AttendJob *job, const KAttentionWork *works, size_t n_works)
{
    memset(job->n_chunks, 0, job->n_rows * sizeof(*job->n_chunks));
    for (size_t w = 0; w < n_works; w++) {
        for (uint32_t i = 0; i < works[w].n_rows; i++) {
            uint32_t *count = &job->n_chunks[works[w].rows[i].row];
            assert(*count == works[w].chunk);
            (*count)++;
        }
    }
}

bool cpu_attention(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                   const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out, Err *err)
{
    (void)err;
    const KHeads *heads = &kv->heads;
    assert(out->width == (size_t)heads->n_heads * heads->head_dim && out->max_rows >= n_rows);
    assert(n_works > 0);
    AttendJob job = {.device = stream->device,
                     .kv = kv,
                     .layer = layer,
                     .q = q->data,
                     .out = out,
                     .n_rows = n_rows,
                     .partial = CPU_ATTEND_HEADER + kv->value_stride};
    uint32_t n_chunks = works[n_works - 1].chunk + 1;
    size_t chunk_bytes = n_rows * heads->n_heads * job.partial * sizeof(float);
    size_t wave = WAVE_BYTES / chunk_bytes;
    wave = wave < 1 ? 1 : wave > n_chunks ? n_chunks : wave;
    AttendItem *items =
        take_scratch(&job, chunk_bytes, wave, make_items(works, n_works, heads, NULL));
    count_chunks(&job, works, n_works);
    for (size_t from = 0, to; from < n_works; from = to) {
        job.wave0 = works[from].chunk;
        job.wave1 = job.wave0 + (uint32_t)wave;
        for (to = from; to < n_works && works[to].chunk < job.wave1; to++) {
        }
        job.last_wave = to == n_works;
        run_wave(&job, works + from, to - from, items);
    }
    return true;
}
