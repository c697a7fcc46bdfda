// SPDX-License-Identifier: MIT
// From a batch to what the kernels want: tokens, slots and angles of each row, and the list of
// attention works. Spans whose slots for a chunk are the same are put into one work, so shared keys
// and values are read once. The lists hold for all layers of one batch.
#pragma once

#include "engine/forward.h"
#include "engine/weights.h"

/** Everything is in the arena given to plan_build. */
typedef struct ForwardPlan {
    size_t n_rows;
    int32_t *ids;          // (n_rows)
    uint32_t *slots;       // (n_rows)
    float *angles;         // (n_rows, rope_dim/2, 2) cos, sin
    KAttentionWork *works; // sorted by chunk
    size_t n_works;
    // Rows whose output is wanted; the last layer's attention and FFN are for these alone.
    uint32_t *wanted; // (n_wanted) rows, ascending
    size_t n_wanted;
    KAttentionWork *last_works; // rows numbered as in wanted
    size_t n_last_works;
} ForwardPlan;

void forward_plan(const Batch *batch, const Weights *weights, Arena *arena, ForwardPlan *out);
