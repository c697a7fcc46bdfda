// SPDX-License-Identifier: MIT
#include "engine/picker.h"

#include <math.h>
#include <string.h>

typedef struct PickerCandidate {
    float logit;
    int32_t id;
    double weight; // e^((logit - the largest of them) / temperature)
} PickerCandidate;

// ---- Functions of our own: their bits are the same with every C library -----------------------

/** e^x for x <= 0, to 1 ulp; 0 below -700. x = k ln 2 + r, and Taylor's series to r^13. */
static double exp_own(double x)
{
    if (!(x >= -700.0)) {
        return 0;
    }
    double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p+52; // rounds to an integer, to even
    double k = shifted - 0x1.8p+52;
    double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    int64_t bits = ((int64_t)k + 1023) * ((int64_t)1 << 52);
    double scale;
    memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

/** ln x for normal x > 0, to 2 ulp of the larger of it and 1: x = 2^e m, and artanh's series. */
static double log_own(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int64_t e = (bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffff) | ((int64_t)1023 << 52);
    double m;
    memcpy(&m, &bits, sizeof(m));
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double f = (m - 1) / (m + 1);
    double f2 = f * f;
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2) {
        sum = sum * f2 + 1.0 / k;
    }
    return (double)e * 0x1.62e42fefa39efp-1 + 2 * f * sum;
}

// ---- Candidates -------------------------------------------------------------------------------

static float clean(float logit)
{
    return isnan(logit) ? -INFINITY : logit;
}

#define LANES 16

static float largest(const float *logits, size_t n)
{
    float best[LANES];
    for (size_t k = 0; k < LANES; k++) {
        best[k] = -INFINITY;
    }
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t k = 0; k < LANES; k++) { // false for NaN
            best[k] = logits[i + k] > best[k] ? logits[i + k] : best[k];
        }
    }
    for (size_t i = whole; i < n; i++) {
        best[0] = logits[i] > best[0] ? logits[i] : best[0];
    }
    for (size_t k = 1; k < LANES; k++) {
        best[0] = best[k] > best[0] ? best[k] : best[0];
    }
    return best[0];
}

static int32_t pick_greedy(const float *logits, size_t n)
{
    float top = largest(logits, n);
    for (size_t i = 0; i < n; i++) {
        if (logits[i] == top) {
            return (int32_t)i;
        }
    }
    return 0; // all NaN
}

static PickerCandidate *scratch_room(PickerScratch *scratch, size_t n)
{
    if (scratch->cap < n) {
        scratch->items = mem_realloc(scratch->items, n, sizeof(*scratch->items));
        scratch->cap = n;
    }
    return scratch->items;
}

static bool comes_first(const PickerCandidate *a, const PickerCandidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

/** Candidates in descending order, sorted only as far as they are looked at: a draw seldom goes
 * deep, and sorting the vocabulary would cost more than a step of the model. */
typedef struct Ranking {
    PickerCandidate *items; // a heap of n - n_taken, then those taken, the best one last
    size_t n;
    size_t n_taken;
} Ranking;

static void sift_down(PickerCandidate *items, size_t n, size_t at)
{
    PickerCandidate item = items[at];
    for (size_t kid = 2 * at + 1; kid < n; kid = 2 * at + 1) {
        kid += kid + 1 < n && comes_first(&items[kid + 1], &items[kid]) ? 1 : 0;
        if (!comes_first(&items[kid], &item)) {
            break;
        }
        items[at] = items[kid];
        at = kid;
    }
    items[at] = item;
}

/** Candidate i, 0 the best. */
static const PickerCandidate *ranked(Ranking *ranking, size_t i)
{
    while (ranking->n_taken <= i) {
        size_t last = ranking->n - ++ranking->n_taken;
        PickerCandidate best = ranking->items[0];
        ranking->items[0] = ranking->items[last];
        ranking->items[last] = best;
        if (last > 0) {
            sift_down(ranking->items, last, 0);
        }
    }
    return &ranking->items[ranking->n - 1 - i];
}

/**
 * All tokens but those so far below the best that their weight is zero at any precision.
 * *out_total is the sum of their weights, in order of id. */
static Ranking candidates(const float *logits, size_t n, double temperature, PickerScratch *scratch,
                          double *out_total)
{
    PickerCandidate *items = scratch_room(scratch, n);
    double top = (double)largest(logits, n);
    double least = top - 40.0 * temperature;
    double total = 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        double logit = (double)clean(logits[i]);
        if (logit >= least && logit > -(double)INFINITY) {
            double weight = exp_own((logit - top) / temperature);
            total += weight;
            items[kept++] =
                (PickerCandidate){.logit = logits[i], .id = (int32_t)i, .weight = weight};
        }
    }
    for (size_t i = kept / 2; i-- > 0;) {
        sift_down(items, kept, i);
    }
    *out_total = total;
    return (Ranking){.items = items, .n = kept};
}

static double sum_of_best(Ranking *ranking, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ranked(ranking, i)->weight;
    }
    return sum;
}

/** How many of the best n reach a sum; n when they do not. */
static size_t reach(Ranking *ranking, size_t n, double goal)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ranked(ranking, i)->weight;
        if (sum >= goal) {
            return i + 1;
        }
    }
    return n;
}

static size_t cut_min_p(Ranking *ranking, size_t n, double min_p)
{
    size_t kept = 1;
    while (kept < n && ranked(ranking, kept)->weight >= min_p * ranked(ranking, 0)->weight) {
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
    double total = 0;
    Ranking ranking = candidates(logits, n_vocab, settings->temperature, scratch, &total);
    if (ranking.n == 0) { // every logit was NaN or minus infinity
        return 0;
    }
    size_t n = ranking.n;
    if (settings->top_k > 0 && (uint64_t)settings->top_k < n) {
        n = (size_t)settings->top_k;
        total = sum_of_best(&ranking, n);
    }
    size_t all = n;
    if (settings->top_p < 1) {
        n = reach(&ranking, n, settings->top_p * total);
    }
    if (settings->min_p > 0) {
        n = cut_min_p(&ranking, n, settings->min_p);
    }
    if (n < all) {
        total = sum_of_best(&ranking, n);
    }
    double goal = rng_at(settings->seed, reply, position) * total;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ranked(&ranking, i)->weight;
        if (goal < sum) {
            return ranked(&ranking, i)->id;
        }
    }
    return ranked(&ranking, n - 1)->id;
}

// ---- Log-probabilities ------------------------------------------------------------------------

static double log_sum_exp(const float *logits, size_t n)
{
    double top = (double)largest(logits, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp_own((double)clean(logits[i]) - top);
    }
    return top + log_own(sum);
}

float picker_logprob(const float *logits, size_t n_vocab, int32_t token)
{
    return (float)((double)clean(logits[token]) - log_sum_exp(logits, n_vocab));
}

float picker_top(const float *logits, size_t n_vocab, int32_t token, size_t n, int32_t *out_ids,
                 float *out_logprobs)
{
    size_t kept = 0;
    for (size_t i = 0; i < n_vocab && n > 0; i++) {
        float logit = clean(logits[i]);
        if (kept == n && !(logit > clean(logits[out_ids[n - 1]]))) {
            continue;
        }
        size_t at = kept < n ? kept++ : n - 1;
        for (; at > 0 && logit > clean(logits[out_ids[at - 1]]); at--) {
            out_ids[at] = out_ids[at - 1];
        }
        out_ids[at] = (int32_t)i;
    }
    double total = log_sum_exp(logits, n_vocab);
    for (size_t i = 0; i < kept; i++) {
        out_logprobs[i] = (float)((double)clean(logits[out_ids[i]]) - total);
    }
    return (float)((double)clean(logits[token]) - total);
}

void picker_scratch_finish(PickerScratch *scratch)
{
    mem_free(scratch->items);
    *scratch = (PickerScratch){0};
}
