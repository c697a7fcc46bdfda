// SPDX-License-Identifier: MIT
// What attention's host side and its kernels share: the work list as it lies on the device, and the
// partial results - the largest score, the sum of weights and the weighted sum of values of one
// query over one chunk of at most 256 positions.
#pragma once

#include "kernels/cuda/backend.cuh"

#define ATTEND_QUERIES 64 // of an item, at most: rows times the heads of a KV head's group
#define ATTEND_FEW     16 // of an item that one warp takes

/** A run of slots: positions at .. at+n-1 of the chunk. */
typedef struct AttendExtent {
    uint32_t slot;
    uint32_t at;
    uint32_t n;
} AttendExtent;

/** Up to ATTEND_QUERIES queries that see the same slots: what a thread block takes, for one KV
 * head.
 */
typedef struct AttendItem {
    uint32_t chunk;
    uint32_t first_extent;
    uint32_t n_extents;
    uint32_t first_row; // in the list of rows: of the work
    uint32_t first_query;
    uint32_t n_queries; // 0: there is nothing to do
    uint32_t n_keys;    // the most that any of them sees
} AttendItem;

/** One wave of chunks. */
typedef struct AttendView {
    KvView kv;
    const float *q; // (n_rows, n_heads, head_dim)
    const AttendItem *items;
    const AttendExtent *extents;
    const KAttentionRow *rows;
    const uint32_t *n_chunks; // (n_rows)
    uint32_t n_rows;
    uint32_t chunk0, chunk1; // of this wave
    uint32_t first_item;     // of this wave
    float *max_sum;          // (chunk1 - chunk0, n_rows, n_heads, 2)
    float *values;           // (chunk1 - chunk0, n_rows, n_heads, stride)
    // Merged so far; max_sum of the wave before and of this one.
    float *before_max_sum; // (n_rows, n_heads, 2)
    float *after_max_sum;
    float *merged; // (n_rows, n_heads, stride)
    bool last_wave;
} AttendView;

/** Index of a query's partial. */
DEVICE inline size_t partial_at(const AttendView &view, uint32_t chunk, uint32_t row, uint32_t head)
{
    return ((size_t)(chunk - view.chunk0) * view.n_rows + row) * view.kv.n_heads + head;
}

/** Where query i of an item comes from; past its end: false. */
DEVICE inline bool query_of(const AttendView &view, const AttendItem &item, uint32_t i,
                            KAttentionRow &row, uint32_t &head)
{
    uint32_t group = view.kv.n_heads / view.kv.n_kv_heads, query = item.first_query + i;
    row.row = 0;
    row.n_keys = 1;
    head = 0;
    if (i >= item.n_queries) {
        return false;
    }
    row = view.rows[item.first_row + query / group];
    head = block_y() * group + query % group;
    return true;
}

/** The chunk's slots in order of position, to slots (K_CHUNK) in shared memory. */
DEVICE inline void item_slots(const AttendView &view, const AttendItem &item, uint32_t *slots)
{
    for (uint32_t e = 0; e < item.n_extents; e++) {
        AttendExtent extent = view.extents[item.first_extent + e];
        for (uint32_t i = thread_x(); i < extent.n && extent.at + i < K_CHUNK; i += block_dim_x()) {
            slots[extent.at + i] = extent.slot + i;
        }
    }
}

/** Partials of n_items items; few: none has more than ATTEND_FEW queries. */
bool attend_f16(KStream *stream, const AttendView *view, uint32_t n_items, bool few, Err *err);
bool attend_f32(KStream *stream, const AttendView *view, uint32_t n_items, Err *err);
