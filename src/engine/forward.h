// SPDX-License-Identifier: MIT
// The seam between the scheduler (what to compute) and the model's forward pass (how). A batch is
// rows of tokens grouped in spans; each span names where its path's keys and values lie. The
// forward pass writes all new keys and values of a layer before attention reads any, so a child
// span may share a batch with its parent. Bits of a row depend only on its path's tokens, never on
// the batch.
#pragma once

#include "engine/engine.h"
#include "kernels/kernels.h"

typedef struct Forward Forward;

/** What a row is computed for. */
typedef enum RowKind {
    ROW_KV,      // keys and values only
    ROW_RESULTS, // log-probabilities of given next tokens, if any, and the picks that name it
    ROW_LOGITS,  // the whole row of logits too: for tests and tools, the engine never asks
} RowKind;

typedef struct KvExtent {
    uint32_t slot; // first slot
    uint32_t n;    // slots = consecutive positions
} KvExtent;

/** Rows of one path at consecutive positions. */
typedef struct BatchSpan {
    uint32_t first_row;
    uint32_t n_rows;
    uint32_t first_pos;
    const KvExtent *extents; // cover positions 0 .. first_pos + n_rows - 1 in order
    uint32_t n_extents;
} BatchSpan;

typedef struct BatchRow {
    int32_t token;
    uint8_t kind;       // RowKind
    uint32_t n_targets; // not ROW_KV: how many next tokens' log-probabilities are asked for
    const int32_t *targets;
    uint32_t out; // ROW_RESULTS: index of its first result in out_logprobs; ROW_LOGITS: row in
                  // out_logits
    uint32_t out_targets; // ROW_LOGITS with targets: index of its first result in out_logprobs
} BatchRow;

typedef struct Batch {
    const BatchRow *rows;
    uint32_t n_rows;
    const BatchSpan *spans;
    uint32_t n_spans;
    const KPick *picks; // row: of this batch; sorted by it, settings that are alike together
    uint32_t n_picks;
} Batch;

typedef struct TargetLogprob {
    float logprob;  // log softmax, natural
    int32_t argmax; // most likely token of the row (lowest id among equals)
} TargetLogprob;

/** Map, validate and repack the weights. */
bool forward_open(const EngineOptions *options, Forward **out, Err *err);
void forward_close(Forward *forward);
const EngineModelInfo *forward_info(const Forward *forward);
/** Bytes of KV memory that one slot takes over all layers. */
size_t forward_slot_bytes(const Forward *forward);
/** Bytes of a device's own memory that are free; SIZE_MAX where KV memory is the host's. */
size_t forward_free_bytes(const Forward *forward);
/** (Re)size the KV pool; keeps nothing. At most 2^31 slots. */
bool forward_pool_create(Forward *forward, uint32_t n_slots, Err *err);
/** Most rows a batch may have. */
uint32_t forward_max_rows(const Forward *forward);
/** Replies that are best decoded together. */
uint32_t forward_batch_rows(const Forward *forward);
/**
 * Run one batch. Results are where its picks say, and in out_logprobs. One that asks for keys and
 * values alone may still be running on return; what goes wrong with it is said later.
 * shapes  out_logits (rows of kind ROW_LOGITS, vocab) f32; out_logprobs as BatchRow.out says.
 * thread  the driver only; the workers are the forward pass's own. */
bool forward_run(Forward *forward, const Batch *batch, float *out_logits,
                 TargetLogprob *out_logprobs, Err *err);
/** Wait for all that was run. */
bool forward_wait(Forward *forward, Err *err);
