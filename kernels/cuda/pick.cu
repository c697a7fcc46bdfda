// SPDX-License-Identifier: MIT
// Picking tokens from rows of logits that stay on the device: one block of threads a pick. Nothing
// is sorted. Where top_k or top_p cut is found bit by bit of the logits' keys, from sums over the
// whole row; ties at the cut, and the token that a random number falls on, by going down into the
// 32nd of the row that holds it, again and again. All sums are of integers, so they are the CPU's.
#include "kernels/cuda/backend.cuh"
#include "kernels/pick.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define PICK_THREADS 1024
#define PICK_WARPS   (PICK_THREADS / 32)
#define NO_MASK      UINT32_MAX

/** One pick as the device takes it. */
typedef struct PickAsk {
    double temperature; // 0: greedy
    double top_p;
    double random;
    uint64_t least; // weight that min_p asks for
    uint32_t row;
    uint32_t top_k; // 0 or below vocab
    uint32_t mask;  // number of its mask
    uint32_t sums;  // the sum of the softmax is wanted
    uint32_t n_top;
    uint32_t first_top; // where its list begins among all
} PickAsk;

typedef struct PickTop {
    float logit;
    int32_t id;
} PickTop;

typedef struct PickGot {
    uint64_t sum; // of weights at temperature 1
    float max;    // of the whole row
    float logit;  // of what was picked
    int32_t id;
    int32_t finite;
} PickGot;

// ---- Kernel -------------------------------------------------------------------------------------

/** A row as a pick sees it. */
typedef struct PickView {
    const float *logits;
    const uint32_t *allowed; // NULL: all
    uint32_t vocab;
    float top; // the largest that is allowed
    double temperature;
    uint64_t least; // tokens that weigh less weigh nothing
    // Tokens that are kept: those above a key, and those with it and a lower id than this.
    uint32_t cut;
    uint32_t end;
} PickView;

/** What a sum is over. */
enum { OF_ALL, OF_TIES, OF_WEIGHTS };

/** What one look at a row gives. */
typedef struct PickBest {
    float max;    // of the whole row
    float top;    // of what is allowed
    int32_t id;   // of top, the lowest among equals
    uint32_t abs; // bits of the largest absolute value
} PickBest;

/** Memory of the block: what its warps found. */
typedef struct PickShared {
    uint64_t sums[3][PICK_WARPS];
    PickBest best[PICK_WARPS];
    uint32_t n_top;
} PickShared;

DEVICE static inline float logit_at(const PickView &view, uint32_t i)
{
    bool is = view.allowed == NULL || (view.allowed[i / 32] >> i % 32 & 1) != 0;
    return is ? view.logits[i] : -INFINITY;
}

/** What a token adds to a sum. */
template <int OF> DEVICE static inline uint64_t measure(const PickView &view, float x, uint32_t i)
{
    uint32_t key = pick_key(x);
    if (OF == OF_ALL) {
        return 1;
    }
    if (OF == OF_TIES) {
        return key == view.cut;
    }
    uint64_t weight = pick_weight(x, view.top, view.temperature);
    bool kept = key > view.cut || (key == view.cut && i < view.end);
    return kept && weight >= view.least ? weight : 0;
}

/** The better of two parts of a row. */
DEVICE static inline void keep_better(PickBest &best, const PickBest &other)
{
    bool better = other.top > best.top || (other.top == best.top && other.id < best.id);
    best.top = better ? other.top : best.top;
    best.id = better ? other.id : best.id;
    best.max = other.max > best.max ? other.max : best.max;
    best.abs = other.abs > best.abs ? other.abs : best.abs;
}

DEVICE static inline PickBest find_best(const PickView &view, PickShared &shared)
{
    PickBest best = {-INFINITY, -INFINITY, 0, 0};
    for (uint32_t i = thread_x(); i < view.vocab; i += PICK_THREADS) {
        float x = view.logits[i];
        uint32_t bits = float_to_bits(x) & 0x7fffffffu;
        best.abs = bits > best.abs ? bits : best.abs;
        best.max = x > best.max ? x : best.max;
        x = logit_at(view, i);
        if (x > best.top) {
            best.top = x;
            best.id = (int32_t)i;
        }
    }
    for (int mask = 16; mask >= 1; mask >>= 1) {
        PickBest other = {shfl_xor(best.max, mask), shfl_xor(best.top, mask),
                          shfl_xor(best.id, mask), shfl_xor(best.abs, mask)};
        keep_better(best, other);
    }
    if (thread_x() % 32 == 0) {
        shared.best[thread_x() / 32] = best;
    }
    SYNC();
    for (int w = 0; w < PICK_WARPS; w++) {
        keep_better(best, shared.best[w]);
    }
    return best;
}

DEVICE static inline uint64_t warp_total(uint64_t x)
{
    for (int mask = 16; mask >= 1; mask >>= 1) {
        x += shfl_xor(x, mask);
    }
    return x;
}

/** Sums over the block, in all threads. */
template <int N> DEVICE static inline void block_total(uint64_t *x, PickShared &shared)
{
    SYNC(); // others may still read
    UNROLL for (int k = 0; k < N; k++)
    {
        x[k] = warp_total(x[k]);
        if (thread_x() % 32 == 0) {
            shared.sums[k][thread_x() / 32] = x[k];
        }
    }
    SYNC();
    UNROLL for (int k = 0; k < N; k++)
    {
        x[k] = warp_total(shared.sums[k][thread_x() % 32]);
    }
}

template <int OF> DEVICE static inline uint64_t total(const PickView &view, PickShared &shared)
{
    uint64_t sum[1] = {0};
    for (uint32_t i = thread_x(); i < view.vocab; i += PICK_THREADS) {
        sum[0] += measure<OF>(view, logit_at(view, i), i);
    }
    block_total<1>(sum, shared);
    return sum[0];
}

/** The first token, in order of id, whose running sum exceeds a goal; the total exceeds it. */
template <int OF>
DEVICE static inline uint32_t descend(const PickView &view, PickShared &shared, uint64_t goal)
{
    uint32_t from = 0, n = view.vocab, warp = thread_x() / 32, lane = thread_x() % 32;
    while (n > 32) {
        uint32_t piece = (n + PICK_WARPS - 1) / PICK_WARPS;
        uint32_t start = warp * piece < n ? warp * piece : n;
        uint32_t stop = start + piece < n ? start + piece : n;
        uint64_t sum = 0;
        for (uint32_t i = from + start + lane; i < from + stop; i += 32) {
            sum += measure<OF>(view, logit_at(view, i), i);
        }
        sum = warp_total(sum);
        SYNC();
        if (lane == 0) {
            shared.sums[0][warp] = sum;
        }
        SYNC();
        uint32_t w = 0;
        while (w < PICK_WARPS - 1 && shared.sums[0][w] <= goal) {
            goal -= shared.sums[0][w];
            w++;
        }
        from += w * piece;
        n = n - w * piece < piece ? n - w * piece : piece;
    }
    uint32_t i = from + lane;
    uint64_t sum = lane < n ? measure<OF>(view, logit_at(view, i), i) : 0;
    for (int delta = 1; delta < 32; delta <<= 1) {
        uint64_t before = shfl_up(sum, delta);
        sum += lane >= (uint32_t)delta ? before : 0;
    }
    uint32_t past = ballot(sum > goal);
    return from + (uint32_t)popcount(~past & (past - 1)); // the lowest of its bits
}

/**
 * Keep the best tokens, as many as reach a goal: in number, or in the sum of their weights. Two
 * bits of the cut's key at a time, the highest first. */
template <int OF>
DEVICE static inline void keep_best(PickView &view, PickShared &shared, uint64_t goal)
{
    uint32_t cut = 0;
    uint64_t above = 0; // the sum of what lies above the cut
    for (int shift = 30; shift >= 0; shift -= 2) {
        uint64_t sums[3] = {0, 0, 0}; // from cut + 1, 2, 3 of these bits on
        for (uint32_t i = thread_x(); i < view.vocab; i += PICK_THREADS) {
            float x = logit_at(view, i);
            uint32_t key = pick_key(x);
            if (key >= cut + (1u << shift)) {
                uint64_t m = measure<OF>(view, x, i);
                sums[0] += m;
                sums[1] += key >= cut + (2u << shift) ? m : 0;
                sums[2] += key >= cut + (3u << shift) ? m : 0;
            }
        }
        block_total<3>(sums, shared);
        if (sums[2] >= goal) {
            cut += 3u << shift;
        } else if (sums[1] >= goal) {
            cut += 2u << shift;
            above = sums[2];
        } else if (sums[0] >= goal) {
            cut += 1u << shift;
            above = sums[1];
        } else {
            above = sums[0];
        }
    }
    uint64_t n_ties = goal - above;
    if (OF == OF_WEIGHTS) {
        uint64_t each = pick_weight(pick_unkey(cut), view.top, view.temperature);
        n_ties = (n_ties + each - 1) / each;
    }
    view.cut = cut;
    view.end = UINT32_MAX;
    view.end = descend<OF_TIES>(view, shared, n_ties - 1) + 1;
}

/** The sum of the softmax, and the n_top largest logits in any order: of the whole row. */
DEVICE static inline void describe(PickView &view, PickShared &shared, const PickAsk &ask,
                                   PickGot &got, PickTop *tops)
{
    view.allowed = NULL;
    view.cut = 0;
    if (ask.sums) {
        view.top = got.max;
        view.temperature = 1;
        view.least = 0;
        got.sum = total<OF_WEIGHTS>(view, shared);
    }
    if (ask.n_top == 0) {
        return;
    }
    view.end = UINT32_MAX;
    keep_best<OF_ALL>(view, shared, ask.n_top);
    if (thread_x() == 0) {
        shared.n_top = 0;
    }
    SYNC();
    for (uint32_t i = thread_x(); i < view.vocab; i += PICK_THREADS) {
        float x = view.logits[i];
        uint32_t key = pick_key(x);
        if (key > view.cut || (key == view.cut && i < view.end)) {
            PickTop top = {x, (int32_t)i};
            tops[ask.first_top + atomic_add(&shared.n_top, 1)] = top;
        }
    }
}

/** grid (picks). masks (n, words of the vocabulary). */
KERNEL_BOUNDS(PICK_THREADS, 1, pick_rows)
(const float *logits, uint32_t vocab, const PickAsk *asks, const uint32_t *masks, PickGot *gots,
 PickTop *tops)
{
    SHARED(PickShared, shareds, [1]);
    PickShared &shared = shareds[0];
    const PickAsk &ask = asks[block_x()];
    PickView view = {};
    view.logits = logits + (size_t)ask.row * vocab;
    view.vocab = vocab;
    view.temperature = ask.temperature;
    PickGot got = {};
    if (ask.mask != NO_MASK) {
        view.allowed = masks + (size_t)ask.mask * ((vocab + 31) / 32);
    }
    PickBest best = find_best(view, shared);
    view.top = best.top;
    got.max = best.max;
    got.id = best.id;
    got.finite = best.abs < 0x7f800000u;
    if (view.top == -INFINITY) {
        got.id = -1;
    } else if (got.finite && ask.temperature > 0) {
        if (ask.top_k > 0) {
            keep_best<OF_ALL>(view, shared, ask.top_k);
        }
        if (ask.top_p < 1) {
            uint64_t goal = pick_portion(ask.top_p, total<OF_WEIGHTS>(view, shared), true);
            keep_best<OF_WEIGHTS>(view, shared, goal > 0 ? goal : 1);
        }
        view.least = ask.least;
        uint64_t kept = total<OF_WEIGHTS>(view, shared);
        uint64_t goal = pick_portion(ask.random, kept, false);
        goal = goal < kept ? goal : kept - 1; // random is below 1
        got.id = (int32_t)descend<OF_WEIGHTS>(view, shared, goal);
    }
    got.logit = got.id >= 0 ? view.logits[got.id] : 0;
    if (got.finite) {
        describe(view, shared, ask, got, tops);
    }
    if (thread_x() == 0) {
        gots[block_x()] = got;
    }
}

// ---- Host ---------------------------------------------------------------------------------------

/** What one call sends and gets back. */
typedef struct PickCall {
    const KPick *picks;
    size_t n;
    size_t n_tops;
    size_t n_masks;
    size_t mask_words;
    PickAsk *asks;   // then the masks
    uint8_t *result; // PickGot (n), then PickTop (n_tops)
    size_t ask_bytes, result_bytes;
} PickCall;

/** The number of a pick's mask: masks that follow each other are often the same. */
static uint32_t mask_of(const PickCall *call, size_t i, size_t *n_masks)
{
    const KPick *pick = &call->picks[i];
    if (pick->allowed == NULL) {
        return NO_MASK;
    }
    if (i == 0 || call->picks[i - 1].allowed != pick->allowed) {
        ++*n_masks;
    }
    return (uint32_t)*n_masks - 1;
}

static void call_measure(PickCall *call, size_t vocab)
{
    call->mask_words = (vocab + 31) / 32;
    for (size_t i = 0; i < call->n; i++) {
        (void)mask_of(call, i, &call->n_masks);
        call->n_tops += call->picks[i].n_top;
    }
    call->ask_bytes =
        call->n * sizeof(PickAsk) + call->n_masks * call->mask_words * sizeof(uint32_t);
    call->result_bytes = call->n * sizeof(PickGot) + call->n_tops * sizeof(PickTop);
}

static void call_fill(const PickCall *call, size_t vocab)
{
    uint32_t *masks = (uint32_t *)(void *)(call->asks + call->n);
    size_t n_masks = 0, n_tops = 0;
    for (size_t i = 0; i < call->n; i++) {
        const KPick *pick = &call->picks[i];
        size_t before = n_masks;
        PickAsk ask = {};
        assert(pick->n_top <= vocab);
        ask.temperature = pick->temperature > 0 ? pick->temperature : 0;
        ask.top_p = pick->top_p;
        ask.random = pick->random;
        ask.least = pick_least(pick->min_p);
        ask.row = pick->row;
        ask.top_k = pick->top_k < vocab ? pick->top_k : 0;
        ask.mask = mask_of(call, i, &n_masks);
        ask.sums = pick->out_logprob != NULL || pick->n_top > 0;
        ask.n_top = pick->n_top;
        ask.first_top = (uint32_t)n_tops;
        n_tops += pick->n_top;
        call->asks[i] = ask;
        if (n_masks > before) {
            memcpy(masks + before * call->mask_words, pick->allowed,
                   call->mask_words * sizeof(uint32_t));
        }
    }
}

static bool call_run(KStream *stream, const KBuffer *logits, size_t vocab, const PickCall *call,
                     Err *err)
{
    const void *asks;
    void *scratch;
    if (!cuda_upload(stream, call->asks, call->ask_bytes, &asks, err) ||
        !cuda_scratch(stream, call->result_bytes, &scratch, err)) {
        return false;
    }
    PickGot *gots = (PickGot *)scratch;
    LAUNCH(pick_rows, dim3((uint32_t)call->n), dim3(PICK_THREADS), 0, stream->gpu, logits->data,
           (uint32_t)vocab, (const PickAsk *)asks,
           (const uint32_t *)(const void *)((const PickAsk *)asks + call->n), gots,
           (PickTop *)(void *)(gots + call->n));
    return CUDA_LAUNCHED(err, "picking tokens") &&
           cuda_download(stream, scratch, call->result, call->result_bytes, err);
}

/** The most likely first: by insertion, the lists are short. */
static void sort_tops(PickTop *tops, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        PickTop top = tops[i];
        size_t at = i;
        for (; at > 0 && (top.logit > tops[at - 1].logit ||
                          (top.logit == tops[at - 1].logit && top.id < tops[at - 1].id));
             at--) {
            tops[at] = tops[at - 1];
        }
        tops[at] = top;
    }
}

static bool call_results(const PickCall *call, Err *err)
{
    const PickGot *gots = (const PickGot *)(const void *)call->result;
    PickTop *tops = (PickTop *)(void *)(call->result + call->n * sizeof(PickGot));
    for (size_t i = 0; i < call->n; i++) {
        const KPick *pick = &call->picks[i];
        const PickGot *got = &gots[i];
        if (!got->finite) {
            return CUDA_FAIL(err, ERR_MODEL,
                             "the model produced a logit that is not a finite number");
        }
        *pick->out_id = got->id;
        if (pick->out_logprob != NULL) {
            *pick->out_logprob = got->id < 0 ? NAN : pick_logprob(got->logit, got->max, got->sum);
        }
        sort_tops(tops, pick->n_top);
        for (size_t t = 0; t < pick->n_top; t++, tops++) {
            pick->out_top_ids[t] = tops->id;
            pick->out_top_logprobs[t] = pick_logprob(tops->logit, got->max, got->sum);
        }
    }
    return true;
}

bool cuda_pick(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
               size_t n_picks, Err *err)
{
    assert(vocab >= 1 && vocab <= (size_t)1 << 23);
    PickCall call = {};
    call.picks = picks;
    call.n = n_picks;
    call_measure(&call, vocab);
    void *memory;
    if (n_picks == 0) {
        return true;
    }
    if (!cuda_enter(stream->device, err) ||
        !cuda_host_scratch(stream, call.result_bytes + call.ask_bytes, &memory, err)) {
        return false;
    }
    call.result = (uint8_t *)memory;
    call.asks = (PickAsk *)(void *)(call.result + call.result_bytes);
    call_fill(&call, vocab);
    return call_run(stream, logits, vocab, &call, err) && call_results(&call, err);
}
