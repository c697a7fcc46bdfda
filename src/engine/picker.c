// SPDX-License-Identifier: MIT
#include "engine/picker.h"

#include <math.h>
#include <stdlib.h>

typedef struct PickerCandidate {
    float logit;
    int32_t id;
    double weight; // exp(logit / temperature - the largest of them)
} PickerCandidate;

static float clean(float logit)
{
    return isnan(logit) ? -INFINITY : logit;
}

static int32_t pick_greedy(const float *logits, size_t n)
{
    size_t best = 0;
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (logits[i] > top) { // false for NaN
            top = logits[i];
            best = i;
        }
    }
    return (int32_t)best;
}

static int by_logit(const void *a, const void *b)
{
    const PickerCandidate *x = a;
    const PickerCandidate *y = b;
    if (x->logit != y->logit) {
        return x->logit > y->logit ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

static PickerCandidate *scratch_room(PickerScratch *scratch, size_t n)
{
    if (scratch->cap < n) {
        scratch->items = mem_realloc(scratch->items, n, sizeof(*scratch->items));
        scratch->cap = n;
    }
    return scratch->items;
}

/**
 * Candidates in descending order. Tokens so far below the best that their weight is zero at any
 * precision are left out: sorting the whole vocabulary would cost more than the model. */
static size_t candidates(const float *logits, size_t n, double temperature, PickerScratch *scratch)
{
    PickerCandidate *items = scratch_room(scratch, n);
    float top = logits[pick_greedy(logits, n)];
    double least = (double)top - 40.0 * (temperature > 1.0 ? temperature : 1.0);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        float logit = clean(logits[i]);
        if ((double)logit >= least) {
            items[kept++] = (PickerCandidate){.logit = logit, .id = (int32_t)i};
        }
    }
    qsort(items, kept, sizeof(*items), by_logit);
    for (size_t i = 0; i < kept; i++) {
        items[i].weight = exp(((double)items[i].logit - (double)top) / temperature);
    }
    return kept;
}

static double weight_sum(const PickerCandidate *items, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += items[i].weight;
    }
    return sum;
}

static size_t cut_top_p(const PickerCandidate *items, size_t n, double top_p)
{
    double goal = top_p * weight_sum(items, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += items[i].weight;
        if (sum >= goal) {
            return i + 1;
        }
    }
    return n;
}

static size_t cut_min_p(const PickerCandidate *items, size_t n, double min_p)
{
    size_t kept = 1;
    while (kept < n && items[kept].weight >= min_p * items[0].weight) {
        kept++;
    }
    return kept;
}

int32_t picker_pick(const PickerSettings *settings, const float *logits, size_t n_vocab,
                    uint64_t reply, uint64_t position, PickerScratch *scratch)
{
    if (!(settings->temperature > 0)) {
        return pick_greedy(logits, n_vocab);
    }
    size_t n = candidates(logits, n_vocab, settings->temperature, scratch);
    if (n == 0) { // every logit was NaN or minus infinity
        return 0;
    }
    const PickerCandidate *items = scratch->items;
    if (settings->top_k > 0 && (size_t)settings->top_k < n) {
        n = (size_t)settings->top_k;
    }
    if (settings->top_p < 1) {
        n = cut_top_p(items, n, settings->top_p);
    }
    if (settings->min_p > 0) {
        n = cut_min_p(items, n, settings->min_p);
    }
    double goal = rng_at(settings->seed, reply, position) * weight_sum(items, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += items[i].weight;
        if (goal < sum) {
            return items[i].id;
        }
    }
    return items[n - 1].id;
}

static double log_sum_exp(const float *logits, size_t n)
{
    double top = (double)logits[pick_greedy(logits, n)];
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)clean(logits[i]) - top);
    }
    return top + log(sum);
}

float picker_logprob(const float *logits, size_t n_vocab, int32_t token)
{
    return (float)((double)clean(logits[token]) - log_sum_exp(logits, n_vocab));
}

void picker_top(const float *logits, size_t n_vocab, size_t n, int32_t *out_ids,
                float *out_logprobs, PickerScratch *scratch)
{
    PickerCandidate *items = scratch_room(scratch, n_vocab);
    for (size_t i = 0; i < n_vocab; i++) {
        items[i] = (PickerCandidate){.logit = clean(logits[i]), .id = (int32_t)i};
    }
    qsort(items, n_vocab, sizeof(*items), by_logit);
    double total = log_sum_exp(logits, n_vocab);
    for (size_t i = 0; i < n && i < n_vocab; i++) {
        out_ids[i] = items[i].id;
        out_logprobs[i] = (float)((double)items[i].logit - total);
    }
}

void picker_scratch_finish(PickerScratch *scratch)
{
    mem_free(scratch->items);
    *scratch = (PickerScratch){0};
}
