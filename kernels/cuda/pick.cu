// SPDX-License-Identifier: MIT
// Picking tokens from rows of logits that stay on the device. A row is cut into pieces, a block of
// threads each, so that many processors read it. Nothing is sorted. Where top_k or top_p cuts: the
// tokens' measures are summed by buckets of their distance from the best one; those in the bucket
// that the cut falls in are gathered, and the cut is found among them by narrowing down a range of
// them. Then each piece says what is kept of it, and a draw goes into the piece that a random
// number falls on. All sums are of integers, so they are the CPU's in any order: how buckets are
// cut, and in which order lists are, shows nowhere.
#include "kernels/cuda/pick.cuh"

#include <assert.h>
#include <string.h>

// ---- Kernels ------------------------------------------------------------------------------------

/** The best of each piece; and zeros for all that is summed later. grid (picks, pieces). */
KERNEL_BOUNDS(PICK_THREADS, 2, pick_best)(PickWork work)
{
    SHARED(PickBest, bests, [PICK_THREADS / 32]);
    EARLY_START();
    const PickAsk ask = work.asks[block_x()]; // sent before all kernels
    EARLY_WAIT();
    PickFour fours[PICK_FOURS];
    PickView view = view_of(work, ask);
    read_fours(view, fours);
    uint32_t block = block_x() * work.n_pieces + block_y();
    for (uint32_t i = block * PICK_THREADS + thread_x(); i < work.n_zeros;
         i += grid_dim_x() * work.n_pieces * PICK_THREADS) {
        work.sums[i] = 0;
    }
    PickBest best = {-INFINITY, -INFINITY, 0, 0};
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        uint32_t i = four_of(k);
        const PickFour &four = fours[k];
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            if ((four.there >> j & 1) != 0) {
                float x = four.x[j];
                uint32_t bits = float_to_bits(x) & 0x7fffffffu;
                best.abs = bits > best.abs ? bits : best.abs;
                best.max = x > best.max ? x : best.max;
                if ((four.allowed >> j & 1) != 0 && x > best.top) {
                    best.top = x;
                    best.id = (int32_t)(i + j);
                }
            }
        }
    }
    warp_best(best);
    if (thread_x() % 32 == 0) {
        bests[thread_x() / 32] = best;
    }
    SYNC();
    if (thread_x() == 0) {
        for (uint32_t w = 1; w < PICK_THREADS / 32; w++) {
            keep_better(best, bests[w]);
        }
        work.bests[block] = best;
    }
}

/** Sum by buckets. grid (finds, pieces). */
KERNEL_BOUNDS(PICK_THREADS, 2, pick_count)(PickWork work, uint32_t first)
{
    SHARED(uint64_t, parts, [PICK_BUCKETS]);
    EARLY_START();
    const PickWant want = work.wants[first + block_x()];
    const PickAsk ask = work.asks[want.ask];
    EARLY_WAIT();
    PickFour fours[PICK_FOURS];
    PickView view = view_of_want(work, ask, want.what);
    read_fours(view, fours);
    if (!view_top(work, want, view)) {
        return;
    }
    for (uint32_t i = thread_x(); i < PICK_BUCKETS; i += PICK_THREADS) {
        parts[i] = 0;
    }
    SYNC();
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        uint32_t i = four_of(k);
        const PickFour &four = fours[k];
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            uint64_t m = (four.allowed >> j & 1) != 0 ? measure(view, four.x[j], i + j) : 0;
            if (m > 0) {
                atomic_add_shared(&parts[bucket_of(view, four.x[j])], m);
            }
        }
    }
    SYNC();
    PickFind &find = work.finds[first + block_x()];
    for (uint32_t i = thread_x(); i < PICK_BUCKETS; i += PICK_THREADS) {
        if (parts[i] > 0) {
            (void)atomic_add(&find.parts[i], parts[i]);
        }
    }
}

/** Places in a list, in any order, for a thread's n tokens: the first of them. */
DEVICE static inline uint64_t list_places(PickFind &find, uint32_t n)
{
    uint64_t running = warp_running(n), total = shfl(running, 31), at = 0;
    if (total > 0 && thread_x() % 32 == 0) {
        at = atomic_add(&find.n_list, total);
    }
    return shfl(at, 0) + running - n;
}

/** Find the bucket that the cut is in, and gather its tokens. grid (finds, pieces). */
KERNEL_BOUNDS(PICK_THREADS, 2, pick_gather)(PickWork work, uint32_t first)
{
    SHARED(PickShared, shareds, [1]);
    PickShared &shared = shareds[0];
    EARLY_START();
    const PickWant want = work.wants[first + block_x()];
    const PickAsk ask = work.asks[want.ask];
    EARLY_WAIT();
    PickFind &find = work.finds[first + block_x()];
    PickFour fours[PICK_FOURS];
    PickView view = view_of_want(work, ask, want.what);
    read_fours(view, fours);
    if (!view_top(work, want, view)) {
        return;
    }
    PickScan scan = scan_parts(find.parts, PICK_BUCKETS, shared);
    uint64_t goal = want.what == PICK_TOP_K   ? ask.top_k
                    : want.what == PICK_N_TOP ? ask.n_top
                                              : pick_portion(ask.top_p, scan.total, true);
    goal = goal > 0 ? goal : 1;
    PickFound found = {PICK_BUCKETS, 0};
    if (goal <= scan.total) {
        found = find_part(find.parts, scan, goal - 1, shared);
    }
    if (block_y() == 0 && thread_x() == 0) {
        find.bucket = found.part;
        find.left = found.left;
    }
    uint32_t in[PICK_FOURS], n = 0; // bits
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        in[k] = 0;
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            float x = fours[k].x[j];
            bool is = (fours[k].allowed >> j & 1) != 0 && bucket_of(view, x) == found.part;
            in[k] |= is ? 1u << j : 0;
        }
        n += (uint32_t)popcount(in[k]);
    }
    PickItem *list = work.lists + (size_t)(first + block_x()) * PICK_LIST;
    uint64_t at = list_places(find, n);
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            if ((in[k] >> j & 1) != 0 && at < PICK_LIST) {
                float x = fours[k].x[j];
                uint32_t i = four_of(k) + j;
                PickItem item = {order_of(x, i), measure(view, x, i)};
                list[at++] = item;
            }
        }
    }
}

/** The tokens among which the last that is kept is looked for: a list, or all of a row that are in
 * the bucket. */
typedef struct PickSource {
    const PickItem *list; // NULL: the row
    uint32_t n;
    uint32_t bucket;
    uint64_t low, high; // orders that it may have
} PickSource;

/** Whether a token may be the last one; its order. */
DEVICE static inline bool source_at(const PickSource &source, const PickView &view, uint32_t i,
                                    uint64_t &order)
{
    if (source.list != NULL) {
        order = source.list[i].order;
    } else {
        float x = view.logits[i];
        bool allowed = view.allowed == NULL || (view.allowed[i / 32] >> i % 32 & 1) != 0;
        order = allowed && bucket_of(view, x) == source.bucket ? order_of(x, i) : 0;
    }
    return order >= source.low && order <= source.high;
}

/** Narrow the orders down to those that are there. */
DEVICE static inline void source_narrow(PickSource &source, const PickView &view,
                                        PickShared &shared)
{
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = thread_x(); i < source.n; i += block_dim_x()) {
        uint64_t order;
        if (source_at(source, view, i, order)) {
            low = order < low ? order : low;
            high = order > high ? order : high;
        }
    }
    for (int round = 0; round < 2; round++) { // of lanes, then of warps
        for (int mask = 16; mask >= 1; mask >>= 1) {
            uint64_t other_low = shfl_xor(low, mask), other_high = shfl_xor(high, mask);
            low = other_low < low ? other_low : low;
            high = other_high > high ? other_high : high;
        }
        if (round == 0) {
            uint32_t warp = thread_x() / 32, lane = thread_x() % 32;
            if (lane == 0) {
                shared.sums[0][warp] = low;
                shared.sums[1][warp] = high;
            }
            SYNC();
            low = lane < block_dim_x() / 32 ? shared.sums[0][lane] : UINT64_MAX;
            high = lane < block_dim_x() / 32 ? shared.sums[1][lane] : 0;
        }
    }
    source.low = low;
    source.high = high;
}

/** The order of the last token that is kept. grid (finds). */
KERNEL_BOUNDS(PICK_SELECT_THREADS, 1, pick_select)(PickWork work, uint32_t first)
{
    SHARED(uint64_t, parts, [PICK_BUCKETS]);
    SHARED(PickShared, shareds, [1]);
    PickShared &shared = shareds[0];
    EARLY_START();
    const PickWant want = work.wants[first + block_x()];
    const PickAsk ask = work.asks[want.ask];
    EARLY_WAIT();
    PickFind &find = work.finds[first + block_x()];
    PickView view = view_of_want(work, ask, want.what);
    if (!view_top(work, want, view) || find.bucket == PICK_BUCKETS) {
        return;
    }
    const PickItem *list = work.lists + (size_t)(first + block_x()) * PICK_LIST;
    PickSource source = {list, (uint32_t)find.n_list, (uint32_t)find.bucket, 1, UINT64_MAX};
    if (find.n_list > PICK_LIST) {
        source.list = NULL;
        source.n = view.vocab;
    }
    uint64_t left = find.left;
    for (;;) {
        source_narrow(source, view, shared);
        if (source.low == source.high) {
            break;
        }
        uint32_t shift = 0;
        while ((source.high - source.low) >> shift >= PICK_BUCKETS) {
            shift += 2;
        }
        for (uint32_t i = thread_x(); i < PICK_BUCKETS; i += PICK_SELECT_THREADS) {
            parts[i] = 0;
        }
        SYNC();
        for (uint32_t i = thread_x(); i < source.n; i += PICK_SELECT_THREADS) {
            uint64_t order;
            if (source_at(source, view, i, order)) {
                uint64_t m =
                    source.list != NULL ? source.list[i].measure : measure(view, view.logits[i], i);
                atomic_add_shared(&parts[(source.high - order) >> shift], m);
            }
        }
        SYNC();
        PickFound found = find_part(parts, scan_parts(parts, PICK_BUCKETS, shared), left, shared);
        left = found.left;
        source.high -= (uint64_t)found.part << shift;
        uint64_t low = source.high - (((uint64_t)1 << shift) - 1);
        source.low = low > source.low ? low : source.low;
    }
    if (thread_x() == 0) {
        find.cut = source.low;
    }
}

/** The sums of what is kept of each piece, and of the softmax; and the most likely tokens in any
 * order. grid (picks, pieces). */
KERNEL_BOUNDS(PICK_THREADS, 2, pick_weigh)(PickWork work)
{
    SHARED(PickShared, shareds, [1]);
    PickShared &shared = shareds[0];
    EARLY_START();
    const PickAsk ask = work.asks[block_x()];
    EARLY_WAIT();
    PickFour fours[PICK_FOURS];
    PickView view = view_of_draw(work, ask);
    read_fours(view, fours);
    PickBest best = row_best(work, block_x());
    if (!is_finite(best)) {
        return;
    }
    view.top = best.top;
    bool draws = ask.temperature > 0 && best.top > -INFINITY;
    bool same =
        draws && view.allowed == NULL && view.temperature == 1 && view.cut == 0 && view.least == 0;
    PickFind *find = ask.finds[PICK_N_TOP] != NONE ? work.finds + ask.finds[PICK_N_TOP] : NULL;
    uint64_t kept = 0, all = 0, top_cut = find != NULL ? find->cut : UINT64_MAX;
    UNROLL for (uint32_t k = 0; k < PICK_FOURS; k++)
    {
        uint32_t i = four_of(k);
        const PickFour &four = fours[k];
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            float x = four.x[j];
            bool there = (four.there >> j & 1) != 0;
            uint64_t m = draws && (four.allowed >> j & 1) != 0 ? measure(view, x, i + j) : 0;
            kept += m;
            if (there && ask.sums != 0) {
                all += same ? m : pick_weight(x, best.max, 1);
            }
            if (there && order_of(x, i + j) >= top_cut) {
                PickTop top = {x, (int32_t)(i + j)};
                work.tops[ask.first_top + atomic_add(&find->n_tops, 1)] = top;
            }
        }
    }
    kept = warp_total(kept);
    all = warp_total(all);
    if (thread_x() % 32 == 0) {
        shared.sums[0][thread_x() / 32] = kept;
        shared.sums[1][thread_x() / 32] = all;
    }
    SYNC();
    if (thread_x() == 0) {
        for (uint32_t w = 1; w < PICK_THREADS / 32; w++) {
            kept += shared.sums[0][w];
            all += shared.sums[1][w];
        }
        work.kept[block_x() * work.n_pieces + block_y()] = kept;
        (void)atomic_add(&work.sums[block_x()], all);
    }
}

/** Draw a token, or take the best; all results of a pick. grid (picks). */
KERNEL_BOUNDS(PICK_THREADS, 2, pick_draw)(PickWork work)
{
    SHARED(uint64_t, parts, [PICK_PIECE]);
    SHARED(PickShared, shareds, [1]);
    PickShared &shared = shareds[0];
    EARLY_START();
    const PickAsk ask = work.asks[block_x()];
    EARLY_WAIT();
    PickBest best = row_best(work, block_x());
    PickView view = view_of_draw(work, ask);
    view.top = best.top;
    PickGot got = {work.sums[block_x()], best.max, 0, best.id, is_finite(best)};
    if (best.top == -INFINITY) {
        got.id = -1;
    } else if (got.finite && ask.temperature > 0) {
        const uint64_t *kept = work.kept + (size_t)block_x() * work.n_pieces;
        PickScan scan = scan_parts(kept, work.n_pieces, shared);
        uint64_t goal = pick_portion(ask.random, scan.total, false);
        goal = goal < scan.total ? goal : scan.total - 1; // random is below 1
        PickFound piece = find_part(kept, scan, goal, shared);
        uint32_t from = piece.part * PICK_PIECE;
        for (uint32_t k = thread_x(); k < PICK_PIECE / 4; k += PICK_THREADS) {
            PickFour four = four_at(view, from + k * 4);
            UNROLL for (uint32_t j = 0; j < 4; j++)
            {
                parts[k * 4 + j] =
                    (four.allowed >> j & 1) != 0 ? measure(view, four.x[j], from + k * 4 + j) : 0;
            }
        }
        SYNC();
        scan = scan_parts(parts, PICK_PIECE, shared);
        got.id = (int32_t)(from + find_part(parts, scan, piece.left, shared).part);
    }
    if (thread_x() == 0) {
        got.logit = got.id >= 0 ? view.logits[got.id] : 0;
        work.gots[block_x()] = got;
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
    size_t n_finds[2]; // those that need no other one, then those of top_p
    bool weighs;       // some pick needs sums
    PickAsk *asks;     // then PickWant (n_finds), then the masks
    uint8_t *result;   // PickGot (n), then PickTop (n_tops)
    size_t ask_bytes, result_bytes;
} PickCall;

/** The number of a pick's mask: masks that follow each other are often the same. */
static uint32_t mask_of(const PickCall *call, size_t i, size_t *n_masks)
{
    const KPick *pick = &call->picks[i];
    if (pick->allowed == NULL) {
        return NONE;
    }
    if (i == 0 || call->picks[i - 1].allowed != pick->allowed) {
        ++*n_masks;
    }
    return (uint32_t)*n_masks - 1;
}

/** Which cuts a pick needs. */
static void wants_of(const KPick *pick, size_t vocab, bool wants[3])
{
    bool draws = pick->temperature > 0;
    wants[PICK_TOP_K] = draws && pick->top_k > 0 && pick->top_k < vocab;
    wants[PICK_N_TOP] = pick->n_top > 0;
    wants[PICK_TOP_P] = draws && pick->top_p < 1;
}

static void call_measure(PickCall *call, size_t vocab)
{
    call->mask_words = (vocab + 31) / 32;
    for (size_t i = 0; i < call->n; i++) {
        const KPick *pick = &call->picks[i];
        bool wants[3];
        wants_of(pick, vocab, wants);
        (void)mask_of(call, i, &call->n_masks);
        call->n_tops += pick->n_top;
        call->n_finds[0] += (size_t)wants[PICK_TOP_K] + (size_t)wants[PICK_N_TOP];
        call->n_finds[1] += (size_t)wants[PICK_TOP_P];
        call->weighs |= pick->temperature > 0 || pick->out_logprob != NULL || pick->n_top > 0;
    }
    call->ask_bytes = call->n * sizeof(PickAsk) +
                      (call->n_finds[0] + call->n_finds[1]) * sizeof(PickWant) +
                      call->n_masks * call->mask_words * sizeof(uint32_t);
    call->result_bytes = call->n * sizeof(PickGot) + call->n_tops * sizeof(PickTop);
}

static void call_fill(const PickCall *call, size_t vocab)
{
    PickWant *wants = (PickWant *)(void *)(call->asks + call->n);
    uint32_t *masks = (uint32_t *)(void *)(wants + call->n_finds[0] + call->n_finds[1]);
    size_t n_masks = 0, n_tops = 0, n_finds[2] = {0, call->n_finds[0]};
    for (size_t i = 0; i < call->n; i++) {
        const KPick *pick = &call->picks[i];
        size_t before = n_masks;
        PickAsk ask = {};
        bool wanted[3];
        assert(pick->n_top <= vocab);
        ask.temperature = pick->temperature > 0 ? pick->temperature : 0;
        ask.top_p = pick->top_p;
        ask.random = pick->random;
        ask.least = pick_least(pick->min_p);
        ask.row = pick->row;
        ask.top_k = pick->top_k;
        ask.mask = mask_of(call, i, &n_masks);
        ask.sums = pick->out_logprob != NULL || pick->n_top > 0;
        ask.n_top = pick->n_top;
        ask.first_top = (uint32_t)n_tops;
        n_tops += pick->n_top;
        wants_of(pick, vocab, wanted);
        for (uint32_t what = 0; what < 3; what++) {
            ask.finds[what] = NONE;
            if (wanted[what]) {
                size_t at = n_finds[what == PICK_TOP_P]++;
                PickWant want = {(uint32_t)i, what};
                wants[at] = want;
                ask.finds[what] = (uint32_t)at;
            }
        }
        call->asks[i] = ask;
        if (n_masks > before) {
            memcpy(masks + before * call->mask_words, pick->allowed,
                   call->mask_words * sizeof(uint32_t));
        }
    }
}

/** Scratch, with the results in front; and what was sent. */
static bool work_place(KStream *stream, const PickCall *call, PickWork *work, Err *err)
{
    size_t n_finds = call->n_finds[0] + call->n_finds[1], n_parts = call->n * work->n_pieces;
    size_t n_zeros = call->n + n_finds * (sizeof(PickFind) / sizeof(uint64_t));
    size_t bytes = call->result_bytes + n_parts * (sizeof(PickBest) + sizeof(uint64_t)) +
                   n_zeros * sizeof(uint64_t) + n_finds * PICK_LIST * sizeof(PickItem);
    const void *asks;
    void *scratch;
    assert(n_zeros < UINT32_MAX);
    if (!cuda_upload(stream, call->asks, call->ask_bytes, &asks, err) ||
        !cuda_scratch(stream, bytes, &scratch, err)) {
        return false;
    }
    work->asks = (const PickAsk *)asks;
    work->wants = (const PickWant *)(const void *)(work->asks + call->n);
    work->masks = (const uint32_t *)(const void *)(work->wants + n_finds);
    work->gots = (PickGot *)scratch;
    work->tops = (PickTop *)(void *)(work->gots + call->n);
    work->bests = (PickBest *)(void *)(work->tops + call->n_tops);
    work->kept = (uint64_t *)(void *)(work->bests + n_parts);
    work->sums = work->kept + n_parts;
    work->finds = (PickFind *)(void *)(work->sums + call->n);
    work->lists = (PickItem *)(void *)(work->finds + n_finds);
    work->n_zeros = (uint32_t)n_zeros;
    return true;
}

/** The cuts [first, first + n). No kernel runs on what one that was not launched did not write. */
static bool find_cuts(KStream *stream, const PickWork *work, size_t first, size_t n, Err *err)
{
    dim3 grid((uint32_t)n, work->n_pieces), block(PICK_THREADS);
    if (n == 0) {
        return true;
    }
    LAUNCH_EARLY(pick_count, grid, block, 0, stream->gpu, *work, (uint32_t)first);
    if (!CUDA_LAUNCHED(err, "summing logits")) {
        return false;
    }
    LAUNCH_EARLY(pick_gather, grid, block, 0, stream->gpu, *work, (uint32_t)first);
    if (!CUDA_LAUNCHED(err, "gathering tokens")) {
        return false;
    }
    LAUNCH_EARLY(pick_select, dim3((uint32_t)n), dim3(PICK_SELECT_THREADS), 0, stream->gpu, *work,
                 (uint32_t)first);
    return CUDA_LAUNCHED(err, "cutting off tokens");
}

static bool call_run(KStream *stream, const KBuffer *logits, size_t vocab, const PickCall *call,
                     Err *err)
{
    PickWork work = {};
    work.logits = logits->data;
    work.vocab = (uint32_t)vocab;
    work.n_pieces = (uint32_t)((vocab + PICK_PIECE - 1) / PICK_PIECE);
    if (!work_place(stream, call, &work, err)) {
        return false;
    }
    dim3 pieces((uint32_t)call->n, work.n_pieces), block(PICK_THREADS);
    LAUNCH_EARLY(pick_best, pieces, block, 0, stream->gpu, work);
    if (!CUDA_LAUNCHED(err, "reading logits") ||
        !find_cuts(stream, &work, 0, call->n_finds[0], err) ||
        !find_cuts(stream, &work, call->n_finds[0], call->n_finds[1], err)) {
        return false;
    }
    if (call->weighs) {
        LAUNCH_EARLY(pick_weigh, pieces, block, 0, stream->gpu, work);
        if (!CUDA_LAUNCHED(err, "weighing tokens")) {
            return false;
        }
    }
    LAUNCH_EARLY(pick_draw, dim3((uint32_t)call->n), block, 0, stream->gpu, work);
    return CUDA_LAUNCHED(err, "picking tokens") &&
           cuda_download(stream, work.gots, call->result, call->result_bytes, err);
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
