// SPDX-License-Identifier: MIT
// Picking tokens from rows of logits. Greedily one read of the row is enough. Otherwise all weights
// of the row are made; those that top_k, top_p and min_p leave out become 0, and a random number
// finds its token in the running sum. Picks of one row and the same settings, which follow each
// other when replies fork, share all but the last.
#include "kernels/pick.h"
#include "kernels/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

#define LANES 16
#define PIECE 1024 // tokens whose largest logit, or whose sum, is known

#define DIGIT_BITS 11 // of keys, when a cut is sought
#define N_DIGITS   (1u << DIGIT_BITS)

/** What is known of a row, and of the settings at hand. */
typedef struct PickRow {
    const float *logits;
    size_t vocab;
    float max;         // of the row
    int32_t argmax;    // the lowest of equals
    bool summed;       // sum is known
    uint64_t sum;      // of all weights at temperature 1
    const KPick *like; // the settings that the rest is of; NULL: none
    float top;         // of what is allowed; minus infinity: nothing is
    int32_t best;
    uint64_t kept;     // sum of weights
    float *allowed;    // (vocab) minus infinity where a token is not
    uint64_t *weights; // (vocab) 0 where a token was left out
    uint64_t *pieces;  // sums of PIECE weights
} PickRow;

typedef struct PickJob {
    const float *logits;
    size_t vocab;
    const KPick *picks;
    const uint32_t *runs; // first pick of each run of one row, and where the last one ends
    bool portable;
    uint8_t *scratch; // room_bytes for each run, or for each worker where that is less
    bool by_run;
    bool *finite; // of each run
} PickJob;

// ---- Loops over a whole row ---------------------------------------------------------------------

#define INLINE static inline __attribute__((always_inline))

/** The largest of n logits; *at_zero stays 0 while all are finite. */
INLINE float largest_lanes(const float *logits, size_t n, float *zero)
{
    float best[LANES], zeros[LANES];
    for (size_t k = 0; k < LANES; k++) {
        best[k] = -INFINITY;
        zeros[k] = 0;
    }
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            best[k] = logits[i + k] > best[k] ? logits[i + k] : best[k];
            zeros[k] += logits[i + k] * 0.0f;
        }
    }
    for (size_t i = whole; i < n; i++) {
        best[0] = logits[i] > best[0] ? logits[i] : best[0];
        zeros[0] += logits[i] * 0.0f;
    }
    for (size_t k = 1; k < LANES; k++) {
        best[0] = best[k] > best[0] ? best[k] : best[0];
        zeros[0] += zeros[k];
    }
    *zero += zeros[0];
    return best[0];
}

INLINE void weigh_lanes(const float *logits, size_t n, float max, double temperature, uint64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = pick_weight(logits[i], max, temperature);
    }
}

static float largest_any(const float *logits, size_t n, float *zero)
{
    return largest_lanes(logits, n, zero);
}
static void weigh_any(const float *logits, size_t n, float max, double temperature, uint64_t *out)
{
    weigh_lanes(logits, n, max, temperature, out);
}
#if defined(__x86_64__)
// The same in wider registers. Without FMA there is nothing that could be contracted.
__attribute__((target("avx2"))) static float largest_avx2(const float *logits, size_t n,
                                                          float *zero)
{
    return largest_lanes(logits, n, zero);
}
__attribute__((target("avx2"))) static void weigh_avx2(const float *logits, size_t n, float max,
                                                       double temperature, uint64_t *out)
{
    weigh_lanes(logits, n, max, temperature, out);
}
#endif

static float largest(const PickJob *job, const float *logits, size_t n, float *zero)
{
#if defined(__x86_64__)
    if (!job->portable) {
        return largest_avx2(logits, n, zero);
    }
#endif
    return largest_any(logits, n, zero);
}

static void weigh(const PickJob *job, const float *logits, size_t n, float max, double temperature,
                  uint64_t *out)
{
#if defined(__x86_64__)
    if (!job->portable) {
        weigh_avx2(logits, n, max, temperature, out);
        return;
    }
#endif
    weigh_any(logits, n, max, temperature, out);
}

/** The largest logit and its lowest id; false when one of them is no finite number. */
static bool find_best(const PickJob *job, const float *logits, size_t n, float *out_max,
                      int32_t *out_id)
{
    float max = -INFINITY, zero = 0;
    size_t piece = 0;
    for (size_t from = 0; from < n; from += PIECE) {
        float most = largest(job, logits + from, n - from < PIECE ? n - from : PIECE, &zero);
        if (most > max) {
            max = most;
            piece = from;
        }
    }
    *out_max = max;
    while (piece + 1 < n && logits[piece] != max) {
        piece++;
    }
    *out_id = (int32_t)piece;
    return zero == 0.0f;
}

// ---- What is left out ---------------------------------------------------------------------------

/**
 * The key at which tokens, largest first, reach a goal: in number (weights NULL), or in the sum of
 * their weights. *goal becomes what those with this very key have to add. */
static uint32_t find_cut(const float *logits, const uint64_t *weights, size_t n, uint64_t *goal)
{
    uint64_t sums[N_DIGITS];
    uint64_t prefix = 0;                         // the digits that are known
    for (int shift = 22;; shift -= DIGIT_BITS) { // 10, 11 and 11 bits
        memset(sums, 0, sizeof(sums));
        for (size_t i = 0; i < n; i++) {
            uint64_t key = pick_key(logits[i]);
            if (key >> shift >> DIGIT_BITS == prefix) {
                sums[key >> shift & (N_DIGITS - 1)] += weights != NULL ? weights[i] : 1;
            }
        }
        uint32_t digit = N_DIGITS - 1;
        for (; digit > 0 && sums[digit] < *goal; digit--) {
            *goal -= sums[digit];
        }
        prefix = prefix << DIGIT_BITS | digit;
        if (shift == 0) {
            return (uint32_t)prefix;
        }
    }
}

/** Leave out what lies below the cut, and all but the first n_ties of what lies there. */
static void cut_off(const float *logits, uint64_t *weights, size_t n, uint32_t cut, uint64_t n_ties)
{
    float at = pick_unkey(cut);
    for (size_t i = 0; i < n; i++) {
        if (logits[i] < at || (logits[i] == at && n_ties == 0)) {
            weights[i] = 0;
        } else if (logits[i] == at) {
            n_ties--;
        }
    }
}

static uint64_t sum_of(const uint64_t *weights, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += weights[i];
    }
    return sum;
}

static void keep_top_k(const float *logits, uint64_t *weights, size_t n, uint32_t top_k)
{
    uint64_t n_ties = top_k;
    uint32_t cut = find_cut(logits, NULL, n, &n_ties);
    cut_off(logits, weights, n, cut, n_ties);
}

static void keep_top_p(const float *logits, uint64_t *weights, size_t n, float top,
                       const KPick *pick)
{
    uint64_t goal = pick_portion(pick->top_p, sum_of(weights, n), true);
    goal = goal > 0 ? goal : 1;
    uint32_t cut = find_cut(logits, weights, n, &goal);
    uint64_t each = pick_weight(pick_unkey(cut), top, pick->temperature); // one at least has it
    cut_off(logits, weights, n, cut, (goal + each - 1) / each);
}

static void keep_min_p(uint64_t *weights, size_t n, double min_p)
{
    uint64_t least = pick_least(min_p);
    for (size_t i = 0; i < n; i++) {
        weights[i] = weights[i] >= least ? weights[i] : 0;
    }
}

// ---- One pick -----------------------------------------------------------------------------------

static const float *allow(PickRow *row, const uint32_t *allowed)
{
    if (allowed == NULL) {
        return row->logits;
    }
    for (size_t i = 0; i < row->vocab; i++) {
        bool is = allowed[i / 32] >> i % 32 & 1;
        row->allowed[i] = is ? row->logits[i] : -INFINITY;
    }
    return row->allowed;
}

static bool same_settings(const KPick *a, const KPick *b)
{
    return a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p &&
           a->min_p == b->min_p && a->allowed == b->allowed;
}

/** Make of the row what all picks with these settings draw from. */
static void prepare(const PickJob *job, PickRow *row, const KPick *pick)
{
    row->like = pick;
    row->top = row->max;
    row->best = row->argmax;
    const float *logits = allow(row, pick->allowed);
    size_t n = row->vocab;
    if (pick->allowed != NULL) {
        (void)find_best(job, logits, n, &row->top, &row->best);
    }
    if (!(pick->temperature > 0) || row->top == -INFINITY) {
        return;
    }
    weigh(job, logits, n, row->top, pick->temperature, row->weights);
    if (pick->top_k > 0 && pick->top_k < n) {
        keep_top_k(logits, row->weights, n, pick->top_k);
    }
    if (pick->top_p < 1) {
        keep_top_p(logits, row->weights, n, row->top, pick);
    }
    if (pick->min_p > 0) {
        keep_min_p(row->weights, n, pick->min_p);
    }
    row->kept = 0;
    for (size_t from = 0; from < n; from += PIECE) {
        uint64_t sum = sum_of(row->weights + from, n - from < PIECE ? n - from : PIECE);
        row->pieces[from / PIECE] = sum;
        row->kept += sum;
    }
}

static int32_t draw(const PickRow *row, double random)
{
    uint64_t goal = pick_portion(random, row->kept, false);
    goal = goal < row->kept ? goal : row->kept - 1; // random is below 1
    size_t piece = 0;
    for (; row->pieces[piece] <= goal; piece++) {
        goal -= row->pieces[piece];
    }
    size_t i = piece * PIECE;
    for (; row->weights[i] <= goal; i++) {
        goal -= row->weights[i];
    }
    return (int32_t)i;
}

static void sum_row(const PickJob *job, PickRow *row)
{
    uint64_t weights[PIECE];
    row->sum = 0;
    for (size_t from = 0; from < row->vocab; from += PIECE) {
        size_t n = row->vocab - from < PIECE ? row->vocab - from : PIECE;
        weigh(job, row->logits + from, n, row->max, 1, weights);
        row->sum += sum_of(weights, n);
    }
    row->summed = true;
}

static void find_top(const PickRow *row, const KPick *pick)
{
    size_t kept = 0, n = pick->n_top;
    const float *logits = row->logits;
    int32_t *ids = pick->out_top_ids;
    for (size_t i = 0; i < row->vocab && n > 0; i++) {
        if (kept == n && !(logits[i] > logits[ids[n - 1]])) {
            continue;
        }
        size_t at = kept < n ? kept++ : n - 1;
        for (; at > 0 && logits[i] > logits[ids[at - 1]]; at--) {
            ids[at] = ids[at - 1];
        }
        ids[at] = (int32_t)i;
    }
    for (size_t i = 0; i < kept; i++) {
        pick->out_top_logprobs[i] = pick_logprob(logits[ids[i]], row->max, row->sum);
    }
}

static void pick_one(const PickJob *job, PickRow *row, const KPick *pick)
{
    if (row->like == NULL || !same_settings(row->like, pick)) {
        prepare(job, row, pick);
    }
    bool none = row->top == -INFINITY;
    int32_t id = none ? -1 : pick->temperature > 0 ? draw(row, pick->random) : row->best;
    *pick->out_id = id;
    if ((pick->out_logprob != NULL || pick->n_top > 0) && !row->summed) {
        sum_row(job, row);
    }
    if (pick->out_logprob != NULL) {
        *pick->out_logprob = none ? NAN : pick_logprob(row->logits[id], row->max, row->sum);
    }
    find_top(row, pick);
}

// ---- All of them --------------------------------------------------------------------------------

static size_t n_pieces(size_t vocab)
{
    return (vocab + PIECE - 1) / PIECE;
}

static size_t room_bytes(size_t vocab)
{
    size_t floats = (vocab * sizeof(float) + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
    size_t words = (vocab + n_pieces(vocab)) * sizeof(uint64_t);
    return floats + (words + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
}

static void pick_run(void *ctx, uint32_t item, int worker)
{
    PickJob *job = ctx;
    const KPick *picks = job->picks + job->runs[item];
    PickRow row = {.logits = job->logits + picks->row * job->vocab, .vocab = job->vocab};
    job->finite[item] = find_best(job, row.logits, row.vocab, &row.max, &row.argmax);
    if (!job->finite[item]) {
        return;
    }
    if (job->scratch != NULL) {
        size_t bytes = room_bytes(job->vocab), n = job->vocab;
        uint8_t *room = job->scratch + (job->by_run ? item : (size_t)worker) * bytes;
        row.allowed = (float *)(void *)room;
        row.pieces = (uint64_t *)(void *)(room + bytes) - n_pieces(n);
        row.weights = row.pieces - n;
    }
    for (uint32_t i = 0; i < job->runs[item + 1] - job->runs[item]; i++) {
        pick_one(job, &row, &picks[i]);
    }
}

/** Runs of picks from one row; needs_room: one of them does not pick greedily from all tokens. */
static size_t list_runs(const KPick *picks, size_t n_picks, uint32_t *runs, bool *needs_room)
{
    size_t n = 0;
    for (size_t i = 0; i < n_picks; i++) {
        if (i == 0 || picks[i].row != picks[i - 1].row) {
            runs[n++] = (uint32_t)i;
        }
        *needs_room = *needs_room || picks[i].temperature > 0 || picks[i].allowed != NULL;
    }
    runs[n] = (uint32_t)n_picks;
    return n;
}

static bool pick_some(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
                      size_t n_picks, Err *err)
{
    KDevice *device = stream->device;
    bool needs_room = false;
    uint32_t *runs = mem_alloc(n_picks + 1, sizeof(*runs));
    size_t n_runs = list_runs(picks, n_picks, runs, &needs_room);
    PickJob job = {.logits = logits->data,
                   .vocab = vocab,
                   .picks = picks,
                   .runs = runs,
                   .portable = device->path == &cpu_path_portable,
                   .by_run = n_runs < (size_t)device->n_threads,
                   .finite = mem_alloc(n_runs, sizeof(bool))};
    if (needs_room) {
        size_t n_rooms = job.by_run ? n_runs : (size_t)device->n_threads;
        job.scratch = cpu_scratch(device, n_rooms * room_bytes(vocab));
    }
    pool_run(device->pool, pick_run, &job, (uint32_t)n_runs);
    bool finite = true;
    for (size_t i = 0; i < n_runs; i++) {
        finite = finite && job.finite[i];
    }
    mem_free(job.finite);
    mem_free(runs);
    return finite ||
           ERR_SET(err, ERR_MODEL, "the model produced a logit that is not a finite number");
}

bool cpu_pick(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
              size_t n_picks, Err *err)
{
    assert(vocab >= 1 && vocab <= (size_t)1 << 23);
    for (size_t from = 0, n; from < n_picks; from += n) {
        n = n_picks - from < POOL_ITEMS_MAX ? n_picks - from : POOL_ITEMS_MAX;
        if (!pick_some(stream, logits, vocab, picks + from, n, err)) {
            return false;
        }
    }
    return true;
}
