// SPDX-License-Identifier: MIT
// Attention's host side - the work list, cut into items of up to 64 queries, in waves of chunks
// whose partials fit in scratch - and the merge of a row's partials in order of chunk. While a step
// lasts the list of its works is made once. In a step that is recorded what depends on the length
// of contexts is rounded up (cuda_step_size): places in the list, items of a wave, chunks in
// scratch; items that are added have no queries.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/rows.cuh"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#ifndef ATTEND_WAVE_BYTES
#define ATTEND_WAVE_BYTES                                                                          \
    ((size_t)256 << 20) // partials held at once; one chunk of all rows at least
#endif

// ---- Merge kernel -------------------------------------------------------------------------------

/** {max, sum} and N sums of neighbouring elements of one head. */
template <int N> struct Merged {
    float max;
    float sum;
    float out[N];
};

template <int N> DEVICE static inline void merge(Merged<N> &a, const Merged<N> &b)
{
    float max = b.max > a.max ? b.max : a.max;
    float scale_a = exp_of(a.max - max), scale_b = exp_of(b.max - max);
    a.sum = a.sum * scale_a + b.sum * scale_b;
    a.max = max;
    UNROLL for (int i = 0; i < N; i++)
    {
        a.out[i] = fmaf(b.out[i], scale_b, a.out[i] * scale_a);
    }
}

template <int N>
DEVICE static inline void merged_load(const float *max_sum, const float *values, size_t at,
                                      uint32_t stride, uint32_t element, Merged<N> &out)
{
    float2 two = *(const float2 *)(max_sum + at * 2);
    out.max = two.x;
    out.sum = two.y;
    const float *from = values + at * stride + element;
    if constexpr (N == 1) {
        out.out[0] = *from;
    } else {
        UNROLL for (int i = 0; i < N; i += 4)
        {
            float4 four = *(const float4 *)(from + i);
            out.out[i] = four.x;
            out.out[i + 1] = four.y;
            out.out[i + 2] = four.z;
            out.out[i + 3] = four.w;
        }
    }
}

/** N elements of a row from `index` on, all of one head: merged up to this wave, then divided by
 *  their sum in the last one. */
template <int N>
DEVICE static inline void merge_elements(const AttendView &view, uint32_t row, uint32_t index,
                                         float *y)
{
    uint32_t head = index / view.kv.head_dim, element = index % view.kv.head_dim;
    uint32_t end = view.n_chunks[row] < view.chunk1 ? view.n_chunks[row] : view.chunk1;
    size_t at = (size_t)row * view.kv.n_heads + head;
    Merged<N> all;
    uint32_t chunk = view.chunk0;
    if (chunk == 0) {
        merged_load<N>(view.max_sum, view.values, partial_at(view, 0, row, head), view.kv.stride,
                       element, all);
        chunk++;
    } else {
        merged_load<N>(view.before_max_sum, view.merged, at, view.kv.stride, element, all);
    }
    for (; chunk < end; chunk++) {
        Merged<N> next;
        merged_load<N>(view.max_sum, view.values, partial_at(view, chunk, row, head),
                       view.kv.stride, element, next);
        merge<N>(all, next);
    }
    float scale = 1.0f / all.sum;
    UNROLL for (int i = 0; i < N; i++)
    {
        y[i] = all.out[i] * scale;
        if (!view.last_wave) {
            view.merged[at * view.kv.stride + element + (uint32_t)i] = all.out[i];
        }
    }
    if (!view.last_wave && element == 0) {
        *(float2 *)(view.after_max_sum + at * 2) = make_float2(all.max, all.sum);
    }
}

/** grid (rows, cuts of ROW_THREADS groups). */
KERNEL(merge_rows)(AttendView view, ActsView out)
{
    uint32_t row = block_x(), group = block_y() * ROW_THREADS + thread_x();
    uint32_t first = group * GROUP;
    EARLY();
    float y[GROUP] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (view.kv.head_dim % GROUP == 0) {
        if (first < out.width) {
            merge_elements<GROUP>(view, row, first, y);
        }
    } else {
        for (uint32_t i = 0; i < GROUP && first + i < out.width; i++) {
            merge_elements<1>(view, row, first + i, y + i);
        }
    }
    if (view.last_wave) {
        acts_emit(out, row, group, y);
    }
}

// ---- The work list ------------------------------------------------------------------------------

/** Chunks whose partials are in scratch together. */
typedef struct Wave {
    uint32_t chunk0;
    uint32_t first_item[2]; // of items with many queries, and of those with few
    uint32_t n_items[2];
} Wave;

/** The list as it goes to the device, in one piece, and what it was made from. */
struct AttendList {
    const KAttentionWork *works;
    size_t n_works, n_rows;
    uint32_t group, wave_chunks;
    uint64_t step; // 0: not made in one
    AttendItem *items;
    AttendExtent *extents;
    KAttentionRow *rows;
    uint32_t *n_chunks;
    uint8_t *bytes;
    size_t n_bytes, capacity;
    Wave *waves;
    size_t n_waves, cap_waves;
};

void cuda_attend_list_destroy(AttendList *list)
{
    if (list != NULL) {
        free(list->bytes);
        free(list->waves);
        free(list);
    }
}

/** Whether the items of a work have few queries: 0 or 1. */
static int work_kind(const KAttentionWork *work, uint32_t group)
{
    return work->n_rows * group <= ATTEND_FEW;
}

static uint32_t work_items(const KAttentionWork *work, uint32_t group)
{
    return (work->n_rows * group + ATTEND_QUERIES - 1) / ATTEND_QUERIES;
}

static bool grow(void **memory, size_t *capacity, size_t bytes, Err *err)
{
    if (bytes > *capacity) {
        void *p = realloc(*memory, bytes + bytes / 2);
        if (p == NULL) {
            return CUDA_FAIL(err, ERR_LIMIT, "no memory for a list of %zu bytes", bytes);
        }
        *memory = p;
        *capacity = bytes + bytes / 2;
    }
    return true;
}

/** Cut the works into waves; returns the number of items. */
static bool list_waves(const KStream *stream, AttendList *list, size_t *out_items, Err *err)
{
    size_t n_chunks = list->works[list->n_works - 1].chunk + 1, n_items = 0;
    size_t most = n_chunks / list->wave_chunks + 1;
    if (!grow((void **)&list->waves, &list->cap_waves, most * sizeof(Wave), err)) {
        return false;
    }
    list->n_waves = 0;
    for (size_t w = 0; w < list->n_works;) {
        Wave wave = {list->works[w].chunk, {0, 0}, {0, 0}};
        for (; w < list->n_works && list->works[w].chunk - wave.chunk0 < list->wave_chunks; w++) {
            wave.n_items[work_kind(&list->works[w], list->group)] +=
                work_items(&list->works[w], list->group);
        }
        for (int kind = 0; kind < 2; kind++) {
            wave.n_items[kind] = (uint32_t)cuda_step_size(stream, wave.n_items[kind]);
            wave.first_item[kind] = (uint32_t)n_items;
            n_items += wave.n_items[kind];
        }
        list->waves[list->n_waves++] = wave;
    }
    *out_items = n_items;
    return true;
}

/** Memory for the whole list, at the same places here and on the device. */
static bool list_place(const KStream *stream, AttendList *list, size_t n_items, Err *err)
{
    size_t n_extents = 0, n_rows = 0;
    for (size_t w = 0; w < list->n_works; w++) {
        n_extents += list->works[w].n_extents;
        n_rows += list->works[w].n_rows;
    }
    size_t items = n_items * sizeof(AttendItem);
    size_t extents = cuda_step_size(stream, n_extents) * sizeof(AttendExtent);
    size_t rows = cuda_step_size(stream, n_rows) * sizeof(KAttentionRow);
    list->n_bytes = items + extents + rows + list->n_rows * sizeof(uint32_t);
    if (!grow((void **)&list->bytes, &list->capacity, list->n_bytes, err)) {
        return false;
    }
    list->items = (AttendItem *)list->bytes;
    list->extents = (AttendExtent *)(list->bytes + items);
    list->rows = (KAttentionRow *)(list->bytes + items + extents);
    list->n_chunks = (uint32_t *)(list->bytes + items + extents + rows);
    memset(list->bytes, 0, list->n_bytes);
    return true;
}

/** The most keys that queries first .. first+n-1 of a work see. */
static uint32_t most_keys(const KAttentionWork *work, uint32_t group, uint32_t first, uint32_t n)
{
    uint32_t most = 0;
    for (uint32_t r = first / group; r <= (first + n - 1) / group; r++) {
        most = work->rows[r].n_keys > most ? work->rows[r].n_keys : most;
    }
    return most;
}

/** One work's items from *item on; extents and rows from where the counters stand. */
static void fill_work(AttendList *list, const KAttentionWork *work, AttendItem **item,
                      uint32_t *n_extents, uint32_t *n_rows)
{
    uint32_t group = list->group, n_queries = work->n_rows * group, at = 0;
    for (uint32_t first = 0; first < n_queries; first += ATTEND_QUERIES) {
        uint32_t left = n_queries - first, n = left < ATTEND_QUERIES ? left : ATTEND_QUERIES;
        AttendItem one = {work->chunk,
                          *n_extents,
                          work->n_extents,
                          *n_rows,
                          first,
                          n,
                          most_keys(work, group, first, n)};
        *(*item)++ = one;
    }
    for (uint32_t e = 0; e < work->n_extents; e++) {
        AttendExtent extent = {work->extents[e].slot, at, work->extents[e].n};
        list->extents[(*n_extents)++] = extent;
        at += work->extents[e].n;
    }
    for (uint32_t r = 0; r < work->n_rows; r++) {
        KAttentionRow row = work->rows[r];
        assert(row.n_keys >= 1 && row.n_keys <= K_CHUNK && row.n_keys <= at);
        assert(list->n_chunks[row.row] == work->chunk);
        list->n_chunks[row.row]++;
        list->rows[(*n_rows)++] = row;
    }
}

static void list_fill(AttendList *list)
{
    uint32_t n_extents = 0, n_rows = 0;
    const KAttentionWork *work = list->works, *end = work + list->n_works;
    for (size_t w = 0; w < list->n_waves; w++) {
        const Wave *wave = &list->waves[w];
        AttendItem *item[2];
        for (int kind = 0; kind < 2; kind++) {
            item[kind] = list->items + wave->first_item[kind];
        }
        for (; work < end && work->chunk - wave->chunk0 < list->wave_chunks; work++) {
            fill_work(list, work, &item[work_kind(work, list->group)], &n_extents, &n_rows);
        }
    }
}

/** The list of these works; the one there is, when it was made in this step. */
static bool list_make(KStream *stream, const AttendList *wish, Err *err)
{
    AttendList *list = stream->attend;
    if (list == NULL) {
        list = stream->attend = (AttendList *)calloc(1, sizeof(*list));
        if (list == NULL) {
            return CUDA_FAIL(err, ERR_LIMIT, "no memory for a list");
        }
    }
    if (wish->step != 0 && list->step == wish->step && list->works == wish->works &&
        list->n_works == wish->n_works && list->n_rows == wish->n_rows &&
        list->group == wish->group && list->wave_chunks == wish->wave_chunks) {
        return true;
    }
    size_t n_items;
    list->step = 0;
    list->works = wish->works;
    list->n_works = wish->n_works;
    list->n_rows = wish->n_rows;
    list->group = wish->group;
    list->wave_chunks = wish->wave_chunks;
    if (!list_waves(stream, list, &n_items, err) || !list_place(stream, list, n_items, err)) {
        return false;
    }
    list_fill(list);
    list->step = wish->step;
    return true;
}

// ---- Waves --------------------------------------------------------------------------------------

/** Carve the scratch of a wave. */
static bool take_scratch(KStream *stream, const KHeads *heads, AttendView *view, size_t wave,
                         bool several, Err *err)
{
    size_t queries = (size_t)view->n_rows * heads->n_heads, stride = view->kv.stride;
    size_t n_max_sum = wave * queries * 2, n_values = wave * queries * stride;
    size_t n_running = several ? queries * (stride + 4) : 0;
    void *memory;
    if (!cuda_scratch(stream, (n_values + n_running + n_max_sum) * sizeof(float), &memory, err)) {
        return false;
    }
    view->values = (float *)memory; // what is read in 16 bytes comes first
    view->merged = view->values + n_values;
    view->max_sum = view->merged + (several ? queries * stride : 0);
    view->after_max_sum = view->max_sum + n_max_sum;
    view->before_max_sum = view->after_max_sum + (several ? queries * 2 : 0);
    return true;
}

static bool run_wave(KStream *stream, AttendView *view, const Wave *wave, KActs *out, Err *err)
{
    for (int kind = 0; kind < 2; kind++) {
        uint32_t n = wave->n_items[kind];
        view->first_item = wave->first_item[kind];
        if (n > 0 && !(stream->device->f32 ? attend_f32(stream, view, n, err)
                                           : attend_f16(stream, view, n, kind == 1, err))) {
            return false;
        }
    }
    uint32_t n_groups = out->view.n_blocks * 4;
    dim3 grid(view->n_rows, (n_groups + ROW_THREADS - 1) / ROW_THREADS);
    LAUNCH_EARLY(merge_rows, grid, dim3(ROW_THREADS), 0, stream->gpu, *view, out->view);
    return CUDA_LAUNCHED(err, "merge of attention");
}

static bool run_waves(KStream *stream, const AttendList *list, AttendView *view, KActs *out,
                      Err *err)
{
    for (size_t w = 0; w < list->n_waves; w++) {
        const Wave *wave = &list->waves[w];
        view->chunk0 = wave->chunk0;
        view->chunk1 = wave->chunk0 + list->wave_chunks;
        view->last_wave = w + 1 == list->n_waves;
        if (!run_wave(stream, view, wave, out, err)) {
            return false;
        }
        float *after = view->after_max_sum;
        view->after_max_sum = view->before_max_sum;
        view->before_max_sum = after;
    }
    return true;
}

bool cuda_attention(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                    const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out,
                    Err *err)
{
    const KHeads *heads = &kv->heads;
    assert(out->view.width == heads->n_heads * heads->head_dim && out->max_rows >= n_rows);
    assert(n_works > 0);
    size_t n_chunks = cuda_step_size(stream, works[n_works - 1].chunk + 1);
    AttendView view = {};
    view.kv = cuda_kv_view(kv, layer);
    view.q = q->data;
    view.n_rows = (uint32_t)n_rows;
    size_t chunk_bytes = n_rows * heads->n_heads * (kv->stride + 2) * sizeof(float);
    size_t wave = ATTEND_WAVE_BYTES / chunk_bytes;
    bool several = wave < n_chunks;
    wave = wave < 1 ? 1 : several ? wave : n_chunks;
    AttendList wish = {};
    wish.works = works;
    wish.n_works = n_works;
    wish.n_rows = n_rows;
    wish.group = heads->n_heads / heads->n_kv_heads;
    wish.wave_chunks = (uint32_t)wave;
    wish.step = stream->step.open ? stream->step.serial : 0;
    const void *there;
    if (!cuda_enter(stream->device, err) || !list_make(stream, &wish, err)) {
        return false;
    }
    const AttendList *list = stream->attend;
    if (!cuda_upload(stream, list->bytes, list->n_bytes, &there, err) ||
        !take_scratch(stream, heads, &view, wave, several, err)) {
        return false;
    }
    const uint8_t *base = (const uint8_t *)there;
    view.items = (const AttendItem *)base;
    view.extents = (const AttendExtent *)(base + ((uint8_t *)list->extents - list->bytes));
    view.rows = (const KAttentionRow *)(base + ((uint8_t *)list->rows - list->bytes));
    view.n_chunks = (const uint32_t *)(base + ((uint8_t *)list->n_chunks - list->bytes));
    return run_waves(stream, list, &view, out, err);
}
