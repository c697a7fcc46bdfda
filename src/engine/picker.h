// SPDX-License-Identifier: MIT
// How the next token is picked from a row of logits. A pure function: the randomness is
// counter-based on (seed, number of the reply, position), so neither batch nor order of arrival
// matters.
#pragma once

#include "engine/engine.h"

/** Scratch for one picker; grows to the vocabulary. Zeroed is valid. */
typedef struct PickerScratch {
    struct PickerCandidate *items; // owned
    size_t cap;
} PickerScratch;

/**
 * Pick a token.
 * Temperature 0: the largest logit, the lowest id among equals. Else, in this order: divide by the
 * temperature, softmax, keep the top_k best, the smallest set whose probability reaches top_p,
 * those at least min_p times as probable as the best, then draw from what is left. shapes  logits
 * (n_vocab) f32; NaN counts as minus infinity. */
int32_t picker_pick(const PickerSettings *settings, const float *logits, size_t n_vocab,
                    uint64_t reply, uint64_t position, PickerScratch *scratch);

/** log softmax of one token, natural, accumulated in float64 in id order. */
float picker_logprob(const float *logits, size_t n_vocab, int32_t token);

/** The n <= n_vocab most likely tokens, best first, lowest id among equals, with their
 * log-probabilities; returns that of token. */
float picker_top(const float *logits, size_t n_vocab, int32_t token, size_t n, int32_t *out_ids,
                 float *out_logprobs);

void picker_scratch_finish(PickerScratch *scratch);
