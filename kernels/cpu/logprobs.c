// SPDX-License-Identifier: MIT
// Log-probabilities of given tokens: the log-sum-exp of a row of logits in 8 segments of the
// vocabulary, merged as a fixed tree like the segments of a product.
#include "kernels/cpu/cpu_internal.h"
#include "kernels/pick.h"

#include <math.h>

typedef struct LogprobsJob {
    const CpuPath *path;
    const float *logits;
    size_t vocab;
    const KLogprobRow *rows;
    CpuLogSum *sums; // (n_rows, K_SEGMENTS)
} LogprobsJob;

static void segment_sum(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const LogprobsJob *job = ctx;
    size_t row = item / K_SEGMENTS, s = item % K_SEGMENTS;
    size_t n_blocks = (job->vocab + CPU_BLOCK - 1) / CPU_BLOCK;
    size_t from = s * n_blocks / K_SEGMENTS * CPU_BLOCK;
    size_t to = (s + 1) * n_blocks / K_SEGMENTS * CPU_BLOCK;
    to = to < job->vocab ? to : job->vocab;
    const float *logits = job->logits + job->rows[row].row * job->vocab;
    CpuLogSum *out = &job->sums[item];
    *out = (CpuLogSum){.max = -INFINITY, .argmax = (int32_t)from, .finite = true};
    if (from < to) {
        *out = job->path->log_sum(logits + from, to - from, (int32_t)from);
    }
}

static CpuLogSum merge_segments(const CpuPath *path, const CpuLogSum *s)
{
    CpuLogSum low =
        path->log_sum_merge(path->log_sum_merge(s[0], s[1]), path->log_sum_merge(s[2], s[3]));
    CpuLogSum high =
        path->log_sum_merge(path->log_sum_merge(s[4], s[5]), path->log_sum_merge(s[6], s[7]));
    return path->log_sum_merge(low, high);
}

bool cpu_logprobs(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                  size_t n_rows, Err *err)
{
    KDevice *device = stream->device;
    size_t n_items = n_rows * K_SEGMENTS;
    LogprobsJob job = {.path = device->path,
                       .logits = logits->data,
                       .vocab = vocab,
                       .rows = rows,
                       .sums = cpu_scratch(device, n_items * sizeof(CpuLogSum))};
    assert(n_items <= POOL_ITEMS_MAX);
    pool_run(device->pool, segment_sum, &job, (uint32_t)n_items);
    for (size_t i = 0; i < n_rows; i++) {
        CpuLogSum all = merge_segments(device->path, job.sums + i * K_SEGMENTS);
        if (!all.finite) {
            return ERR_SET(err, ERR_MODEL,
                           "the model produced a logit that is not a finite number");
        }
        double log_sum = (double)all.max + pick_log((double)all.sum);
        *rows[i].out_argmax = all.argmax;
        for (uint32_t t = 0; t < rows[i].n_targets; t++) {
            assert(rows[i].targets[t] >= 0 && (size_t)rows[i].targets[t] < vocab);
            float logit = logits->data[rows[i].row * vocab + (size_t)rows[i].targets[t]];
            rows[i].out_logprobs[t] = (float)((double)logit - log_sum);
        }
    }
    return true;
}
