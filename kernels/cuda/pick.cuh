// SPDX-License-Identifier: MIT
// What the kernels that pick tokens share: how picks, their cuts and results lie in memory, a row
// as a pick sees it, four tokens at a time, and sums over a block of threads. pick.cu says how a
// pick goes.
#pragma once

#include "kernels/cuda/backend.cuh"
#include "kernels/pick.h"

#include <math.h>

// All of them are smaller in emulation, so that tests meet many pieces and lists that overflow.
#ifndef PICK_THREADS
#define PICK_THREADS        512
#define PICK_SELECT_THREADS 1024
#define PICK_PIECE          2048 // tokens; 4 for each thread, or a multiple
#define PICK_BUCKET_BITS    11
#define PICK_LIST           4096 // tokens of a bucket that are gathered
#endif
#define PICK_BUCKETS (1u << PICK_BUCKET_BITS)
#define PICK_FOURS   (PICK_PIECE / PICK_THREADS / 4)
#define NONE         UINT32_MAX

/** One pick as the device takes it. */
typedef struct PickAsk {
    double temperature; // 0: greedy
    double top_p;
    double random;
    uint64_t least; // weight that min_p asks for
    uint32_t row;
    uint32_t top_k; // 0 or below vocab
    uint32_t mask;  // number of its mask, or NONE
    uint32_t sums;  // the sum of the softmax is wanted
    uint32_t n_top;
    uint32_t first_top; // where its list begins among all
    uint32_t finds[3];  // by PickWhat: the number of what is to be found, or NONE
} PickAsk;

/** What a cut is made for. */
typedef enum PickWhat { PICK_TOP_K, PICK_N_TOP, PICK_TOP_P } PickWhat;

/** A cut that is to be found. */
typedef struct PickWant {
    uint32_t ask;
    uint32_t what;
} PickWant;

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

/** What one look at a piece, or at a row, gives. */
typedef struct PickBest {
    float max;    // of all
    float top;    // of what is allowed
    int32_t id;   // of top, the lowest among equals
    uint32_t abs; // bits of the largest absolute value
} PickBest;

/** On the way to a cut; zeroed. */
typedef struct PickFind {
    uint64_t parts[PICK_BUCKETS]; // sums of measures, the best tokens' first
    uint64_t n_list;              // tokens in the bucket of the cut: PICK_LIST of them have a place
    uint64_t n_tops;              // written to the list of the most likely
    uint64_t bucket;              // of the cut; PICK_BUCKETS: all are kept
    uint64_t left;                // of the goal in this bucket, less 1
    uint64_t cut;                 // the order of the last token that is kept
} PickFind;

typedef struct PickItem {
    uint64_t order;
    uint64_t measure; // may be 0
} PickItem;

/** What kernels share. */
typedef struct PickWork {
    const float *logits;
    const PickAsk *asks;
    const PickWant *wants;
    const uint32_t *masks; // (n, words of the vocabulary)
    PickGot *gots;         // (asks)
    PickTop *tops;
    PickBest *bests; // (asks, pieces)
    uint64_t *kept;  // (asks, pieces): weights that the draw is among
    uint64_t *sums;  // (asks): of weights at temperature 1
    PickFind *finds; // behind sums
    PickItem *lists; // (finds, PICK_LIST)
    uint32_t vocab;
    uint32_t n_pieces;
    uint32_t n_zeros; // elements from sums on
} PickWork;

// ---- Tokens -------------------------------------------------------------------------------------

/** A row as a pick, or a cut, sees it. */
typedef struct PickView {
    const float *logits;
    const uint32_t *allowed; // NULL: all
    uint32_t vocab;
    bool counts; // tokens measure 1, not their weight
    float top;   // the largest that is allowed
    double temperature;
    uint64_t least; // tokens that weigh less weigh nothing
    uint64_t cut;   // tokens with a lower order are nothing
} PickView;

/** Four tokens that follow each other. */
typedef struct PickFour {
    float x[4];
    uint32_t there;   // bits: which of them the vocabulary has
    uint32_t allowed; // and which are allowed
} PickFour;

/** Larger for a larger logit, and among equal ones for a lower id; no two are equal. */
DEVICE static inline uint64_t order_of(float x, uint32_t i)
{
    return (uint64_t)pick_key(x) << 32 | (UINT32_MAX - i);
}

/** i is a multiple of 4. */
DEVICE static inline PickFour four_at(const PickView &view, uint32_t i)
{
    PickFour four = {};
    if (i >= view.vocab) {
        return four;
    }
    const float *at = view.logits + i;
    four.there = view.vocab - i >= 4 ? 15 : (1u << (view.vocab - i)) - 1;
    four.allowed = four.there & (view.allowed != NULL ? view.allowed[i / 32] >> i % 32 : 15);
    if (four.there == 15 && (uintptr_t)at % 16 == 0) {
        float4 x = *(const float4 *)(const void *)at;
        four.x[0] = x.x;
        four.x[1] = x.y;
        four.x[2] = x.z;
        four.x[3] = x.w;
    } else {
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            four.x[j] = (four.there >> j & 1) != 0 ? at[j] : 0;
        }
    }
    return four;
}

/** The first token of the k-th of a thread's fours in its block's piece. */
DEVICE static inline uint32_t four_of(uint32_t k)
{
    return block_y() * PICK_PIECE + (k * PICK_THREADS + thread_x()) * 4;
}

/** All of them: reads that wait for nothing else. */
DEVICE static inline void read_fours(const PickView &view, PickFour fours[PICK_FOURS])
{
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        fours[k] = four_at(view, four_of(k));
    }
}

/** What a token that is allowed adds to a sum. */
DEVICE static inline uint64_t measure(const PickView &view, float x, uint32_t i)
{
    if (order_of(x, i) < view.cut) {
        return 0;
    }
    uint64_t weight = view.counts ? 1 : pick_weight(x, view.top, view.temperature);
    return weight >= view.least ? weight : 0;
}

/**
 * The number of the bucket of a logit, 0 at the top. From distance 2^-20 on each of 32 octaves has
 * as many: wherever logits crowd, and whatever their scale, few share one. */
DEVICE static inline uint32_t bucket_of(const PickView &view, float x)
{
    const int32_t first = (127 - 20) << 23, shift = 23 + 5 - PICK_BUCKET_BITS;
    int32_t at = (int32_t)float_to_bits(view.top - x);
    at = at < first ? 0 : (at - first) >> shift; // -0 is below, too
    return at < (int32_t)PICK_BUCKETS ? (uint32_t)at : PICK_BUCKETS - 1;
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

/** The best of all lanes, in each. */
DEVICE static inline void warp_best(PickBest &best)
{
    for (int mask = 16; mask >= 1; mask >>= 1) {
        PickBest other = {shfl_xor(best.max, mask), shfl_xor(best.top, mask),
                          shfl_xor(best.id, mask), shfl_xor(best.abs, mask)};
        keep_better(best, other);
    }
}

/** Of a whole row, from its pieces. */
DEVICE static inline PickBest row_best(const PickWork &work, uint32_t ask)
{
    PickBest best = {-INFINITY, -INFINITY, 0, 0};
    for (uint32_t p = thread_x() % 32; p < work.n_pieces; p += 32) {
        keep_better(best, work.bests[(size_t)ask * work.n_pieces + p]);
    }
    warp_best(best);
    return best;
}

DEVICE static inline bool is_finite(const PickBest &best)
{
    return best.abs < 0x7f800000u;
}

/** The row of a pick, before its best is known. */
DEVICE static inline PickView view_of(const PickWork &work, const PickAsk &ask)
{
    PickView view = {};
    view.logits = work.logits + (size_t)ask.row * work.vocab;
    view.vocab = work.vocab;
    view.temperature = ask.temperature;
    view.top = -INFINITY;
    if (ask.mask != NONE) {
        view.allowed = work.masks + (size_t)ask.mask * ((work.vocab + 31) / 32);
    }
    return view;
}

/** The row that a cut is looked for in, before its best is known. */
DEVICE static inline PickView view_of_want(const PickWork &work, const PickAsk &ask, uint32_t what)
{
    PickView view = view_of(work, ask);
    view.counts = what != PICK_TOP_P;
    if (what == PICK_N_TOP) {
        view.allowed = NULL;
    } else if (what == PICK_TOP_P && ask.finds[PICK_TOP_K] != NONE) {
        view.cut = work.finds[ask.finds[PICK_TOP_K]].cut;
    }
    return view;
}

/** Fill in the top of such a row; false: there is nothing to cut. */
DEVICE static inline bool view_top(const PickWork &work, const PickWant &want, PickView &view)
{
    PickBest best = row_best(work, want.ask);
    view.top = want.what == PICK_N_TOP ? best.max : best.top;
    return is_finite(best) && view.top > -INFINITY;
}

/** The row that a token is drawn from, before its best is known. */
DEVICE static inline PickView view_of_draw(const PickWork &work, const PickAsk &ask)
{
    PickView view = view_of(work, ask);
    uint32_t last = ask.finds[PICK_TOP_P] != NONE ? ask.finds[PICK_TOP_P] : ask.finds[PICK_TOP_K];
    view.least = ask.least;
    view.cut = last != NONE ? work.finds[last].cut : 0;
    return view;
}

// ---- Sums over a block --------------------------------------------------------------------------

/** Memory of the block: what its warps found. */
typedef struct PickShared {
    uint64_t sums[2][32];
    uint64_t found[2];
} PickShared;

/** A warp's share of a sum of parts. */
typedef struct PickScan {
    uint64_t before; // of the warps before it
    uint64_t own;
    uint64_t total;
    uint32_t from, to; // its parts
} PickScan;

typedef struct PickFound {
    uint32_t part;
    uint64_t left; // of the goal in it
} PickFound;

DEVICE static inline uint64_t warp_total(uint64_t x)
{
    for (int mask = 16; mask >= 1; mask >>= 1) {
        x += shfl_xor(x, mask);
    }
    return x;
}

/** The sum of the lanes up to this one. */
DEVICE static inline uint64_t warp_running(uint64_t x)
{
    for (int delta = 1; delta < 32; delta <<= 1) {
        uint64_t before = shfl_up(x, delta);
        x += thread_x() % 32 >= (uint32_t)delta ? before : 0;
    }
    return x;
}

DEVICE static inline PickScan scan_parts(const uint64_t *parts, uint32_t n, PickShared &shared)
{
    uint32_t warp = thread_x() / 32, lane = thread_x() % 32, n_warps = block_dim_x() / 32;
    uint32_t each = (n + n_warps * 32 - 1) / (n_warps * 32) * 32;
    PickScan scan = {};
    scan.from = warp * each < n ? warp * each : n;
    scan.to = n - scan.from < each ? n : scan.from + each;
    for (uint32_t i = scan.from + lane; i < scan.to; i += 32) {
        scan.own += parts[i];
    }
    scan.own = warp_total(scan.own);
    if (lane == 0) {
        shared.sums[0][warp] = scan.own;
    }
    SYNC();
    uint64_t running = warp_running(lane < n_warps ? shared.sums[0][lane] : 0);
    scan.total = shfl(running, 31);
    scan.before = shfl(running, (int)warp) - scan.own;
    return scan;
}

/** The first part whose running sum exceeds a goal; the total exceeds it. */
DEVICE static inline PickFound find_part(const uint64_t *parts, const PickScan &scan, uint64_t goal,
                                         PickShared &shared)
{
    if (scan.before <= goal && goal - scan.before < scan.own) { // one warp
        uint32_t lane = thread_x() % 32, from = scan.from, past = 0;
        uint64_t left = goal - scan.before, own, running;
        for (;; from += 32) {
            own = from + lane < scan.to ? parts[from + lane] : 0;
            running = warp_running(own);
            past = ballot(running > left);
            if (past != 0) {
                break;
            }
            left -= shfl(running, 31);
        }
        if ((past & ((2u << lane) - 1)) == 1u << lane) { // the first
            shared.found[0] = from + lane;
            shared.found[1] = left - (running - own);
        }
    }
    SYNC();
    PickFound found = {(uint32_t)shared.found[0], shared.found[1]};
    return found;
}
