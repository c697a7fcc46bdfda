// SPDX-License-Identifier: MIT
// Log-probabilities of given tokens: the log-sum-exp of a row of logits in 8 segments of the
// vocabulary, each by one thread block in one tree; the host merges the segments as a fixed tree
// and takes one logarithm a row.
#include "kernels/cuda/rows.cuh"
#include "kernels/pick.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define SUM_THREADS 256

typedef struct LogSum {
    float max;
    float sum; // of exp(x - max)
    int32_t argmax;
    int32_t finite;
} LogSum;

// ---- Kernels ------------------------------------------------------------------------------------

/** The larger logit, the lower index among equals. */
DEVICE static inline void keep_larger(float &max, int32_t &at, float other, int32_t other_at)
{
    if (other > max || (other == max && other_at < at)) {
        max = other;
        at = other_at;
    }
}

/** grid (rows, segments). */
KERNEL(sum_segments)(const float *logits, uint32_t vocab, const uint32_t *rows, LogSum *out)
{
    SHARED(float, maxima, [SUM_THREADS / 32]);
    SHARED(int32_t, places, [SUM_THREADS / 32]);
    SHARED(float, sums, [SUM_THREADS / 32]);
    SHARED(uint32_t, largest, [SUM_THREADS / 32]);
    uint64_t n_blocks = (vocab + BLOCK - 1) / BLOCK;
    uint32_t from = (uint32_t)(block_y() * n_blocks / K_SEGMENTS) * BLOCK;
    uint32_t to = (uint32_t)((block_y() + 1) * n_blocks / K_SEGMENTS) * BLOCK;
    to = to < vocab ? to : vocab;
    const float *x = logits + (size_t)rows[block_x()] * vocab;
    float max = -INFINITY;
    int32_t at = (int32_t)from;
    uint32_t abs = 0;
    for (uint32_t i = from + thread_x(); i < to; i += SUM_THREADS) {
        uint32_t bits = float_to_bits(x[i]) & 0x7fffffffu;
        abs = bits > abs ? bits : abs;
        if (x[i] > max) {
            max = x[i];
            at = (int32_t)i;
        }
    }
    for (int mask = 16; mask >= 1; mask >>= 1) {
        float other = shfl_xor(max, mask);
        int32_t other_at = shfl_xor(at, mask);
        uint32_t other_abs = shfl_xor(abs, mask);
        keep_larger(max, at, other, other_at);
        abs = other_abs > abs ? other_abs : abs;
    }
    if (thread_x() % 32 == 0) {
        maxima[thread_x() / 32] = max;
        places[thread_x() / 32] = at;
        largest[thread_x() / 32] = abs;
    }
    SYNC();
    for (int w = 0; w < SUM_THREADS / 32; w++) {
        keep_larger(max, at, maxima[w], places[w]);
        abs = largest[w] > abs ? largest[w] : abs;
    }
    float sum = 0;
    for (uint32_t i = from + thread_x(); i < to; i += SUM_THREADS) {
        sum += exp_of(x[i] - max);
    }
    sum = warp_sum(sum);
    if (thread_x() % 32 == 0) {
        sums[thread_x() / 32] = sum;
    }
    SYNC();
    if (thread_x() == 0) {
        LogSum all = {max, 0, at, abs < 0x7f800000u};
        for (int w = 0; w < SUM_THREADS / 32; w++) {
            all.sum += sums[w];
        }
        out[block_x() * K_SEGMENTS + block_y()] = all;
    }
}

/** out[i] = logits[at[i]]. */
KERNEL(gather_logits)(const float *logits, const uint64_t *at, uint32_t n, float *out)
{
    uint32_t i = block_x() * block_dim_x() + thread_x();
    if (i < n) {
        out[i] = logits[at[i]];
    }
}

// ---- Host ---------------------------------------------------------------------------------------

/** exp(x) as the kernels have it. */
static float host_exp(float x)
{
    x = x > -87.0f ? x : -87.0f;
    float t = fmaf(x, 0x1.715476p+0f, EXP_MAGIC), n = t - EXP_MAGIC;
    float r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e4p-1f, x));
    static const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    float p = 1.0f / 5040;
    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
        p = fmaf(p, r, terms[i]);
    }
    uint32_t bits, shift;
    memcpy(&bits, &p, sizeof(bits));
    memcpy(&shift, &t, sizeof(shift));
    bits += shift << 23;
    memcpy(&p, &bits, sizeof(p));
    return p;
}

/** b lies after a. */
static LogSum merge(LogSum a, LogSum b)
{
    LogSum out = b.max > a.max ? b : a;
    out.sum = a.sum * host_exp(a.max - out.max) + b.sum * host_exp(b.max - out.max);
    out.finite = a.finite && b.finite;
    return out;
}

static LogSum merge_all(const LogSum *s)
{
    LogSum low = merge(merge(s[0], s[1]), merge(s[2], s[3]));
    LogSum high = merge(merge(s[4], s[5]), merge(s[6], s[7]));
    return merge(low, high);
}

/** What one call sends, runs and gets back. */
typedef struct Asked {
    uint32_t *rows;
    uint64_t *at;     // of all targets, in the logits
    uint8_t *results; // sums (n_rows, K_SEGMENTS), then the targets' logits
    size_t n_targets;
} Asked;

static void list_targets(const KLogprobRow *rows, size_t n_rows, size_t vocab, Asked *asked)
{
    for (size_t i = 0, n = 0; i < n_rows; i++) {
        asked->rows[i] = rows[i].row;
        for (uint32_t t = 0; t < rows[i].n_targets; t++) {
            assert(rows[i].targets[t] >= 0 && (size_t)rows[i].targets[t] < vocab);
            asked->at[n++] = rows[i].row * (uint64_t)vocab + (uint64_t)rows[i].targets[t];
        }
    }
}

static bool run_asked(KStream *stream, const KBuffer *logits, size_t vocab, size_t n_rows,
                      const Asked *asked, Err *err)
{
    const void *rows, *at;
    void *scratch;
    size_t sum_bytes = n_rows * K_SEGMENTS * sizeof(LogSum), n = asked->n_targets;
    if (!cuda_upload(stream, asked->rows, n_rows * sizeof(uint32_t), &rows, err) ||
        !cuda_upload(stream, asked->at, n * sizeof(uint64_t), &at, err) ||
        !cuda_scratch(stream, sum_bytes + n * sizeof(float), &scratch, err)) {
        return false;
    }
    LAUNCH(sum_segments, dim3((uint32_t)n_rows, K_SEGMENTS), dim3(SUM_THREADS), 0, stream->gpu,
           logits->data, (uint32_t)vocab, (const uint32_t *)rows, (LogSum *)scratch);
    if (!CUDA_LAUNCHED(err, "log-sum-exp")) {
        return false;
    }
    if (n > 0) {
        LAUNCH(gather_logits, dim3((uint32_t)((n + 255) / 256)), dim3(256), 0, stream->gpu,
               logits->data, (const uint64_t *)at, (uint32_t)n,
               (float *)((uint8_t *)scratch + sum_bytes));
        if (!CUDA_LAUNCHED(err, "gather of logits")) {
            return false;
        }
    }
    return cuda_download(stream, scratch, asked->results, sum_bytes + n * sizeof(float), err);
}

static bool fill_results(const KLogprobRow *rows, size_t n_rows, const Asked *asked, Err *err)
{
    const LogSum *sums = (const LogSum *)asked->results;
    const float *logits = (const float *)(asked->results + n_rows * K_SEGMENTS * sizeof(LogSum));
    for (size_t i = 0; i < n_rows; i++) {
        LogSum all = merge_all(sums + i * K_SEGMENTS);
        if (!all.finite) {
            return CUDA_FAIL(err, ERR_MODEL,
                             "the model produced a logit that is not a finite number");
        }
        double log_sum = (double)all.max + pick_log((double)all.sum);
        *rows[i].out_argmax = all.argmax;
        for (uint32_t t = 0; t < rows[i].n_targets; t++) {
            rows[i].out_logprobs[t] = (float)((double)*logits++ - log_sum);
        }
    }
    return true;
}

bool cuda_logprobs(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                   size_t n_rows, Err *err)
{
    if (!cuda_enter(stream->device, err)) {
        return false;
    }
    Asked asked = {};
    for (size_t i = 0; i < n_rows; i++) {
        asked.n_targets += rows[i].n_targets;
    }
    size_t at_bytes = asked.n_targets * sizeof(uint64_t), row_bytes = n_rows * sizeof(uint32_t);
    size_t result_bytes = n_rows * K_SEGMENTS * sizeof(LogSum) + asked.n_targets * sizeof(float);
    void *memory;
    if (!cuda_host_scratch(stream, at_bytes + result_bytes + row_bytes, &memory, err)) {
        return false;
    }
    asked.at = (uint64_t *)memory;
    asked.results = (uint8_t *)memory + at_bytes;
    asked.rows = (uint32_t *)(asked.results + result_bytes);
    list_targets(rows, n_rows, vocab, &asked);
    return run_asked(stream, logits, vocab, n_rows, &asked, err) &&
           fill_results(rows, n_rows, &asked, err);
}
