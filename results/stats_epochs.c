// SPDX-License-Identifier: MIT
// The first of a metric's two steps: the epochs of one sample become one number (DESIGN.md 4.1).
#include "results/stats.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double stats_pass_at(int64_t n, int64_t c, int64_t k)
{
    if (k < 1 || k > n || c < 0 || c > n) {
        return NAN;
    }
    if (n - c < k) {
        return 1;
    }
    double log_all_wrong = 0; // C(n-c, k) / C(n, k) = prod (1 - k/i), i from n-c+1 to n
    for (int64_t i = n - c + 1; i <= n; i++) {
        log_all_wrong += log1p(-(double)k / (double)i);
    }
    return -expm1(log_all_wrong);
}

double stats_pass_all(int64_t n, int64_t c, int64_t k)
{
    if (k < 1 || k > n || c < 0 || c > n) {
        return NAN;
    }
    double product = 1;
    for (int64_t j = 0; j < k && product > 0; j++) {
        product *= (double)(c - j) / (double)(n - j);
    }
    return fmax(0, product);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle_of(const double *sorted, size_t n)
{
    double upper = sorted[n / 2];
    return n % 2 == 1 ? upper : sorted[n / 2 - 1] + (upper - sorted[n / 2 - 1]) / 2;
}

static double most_frequent_of(const double *sorted, size_t n)
{
    size_t best = 0;
    double value = NAN;
    for (size_t from = 0; from < n;) {
        size_t to = from;
        while (to < n && sorted[to] == sorted[from]) {
            to++;
        }
        if (to - from > best) {
            best = to - from;
            value = sorted[from];
        }
        from = to;
    }
    return value;
}

static double by_order(StatsReducer reducer, const double *x, size_t n)
{
    double few[64]; // epochs are few: no allocation then
    double *sorted = n <= 64 ? few : (double *)mem_alloc(n, sizeof(double));
    memcpy(sorted, x, n * sizeof(double));
    qsort(sorted, n, sizeof(double), compare_doubles);
    double value = reducer == REDUCE_MEDIAN ? middle_of(sorted, n) : most_frequent_of(sorted, n);
    if (sorted != few) {
        mem_free(sorted);
    }
    return value;
}

static double extreme_of(const double *x, size_t n, double sign)
{
    double best = x[0];
    for (size_t i = 1; i < n; i++) {
        best = sign * x[i] > sign * best ? x[i] : best;
    }
    return best;
}

static double mean_of(const double *x, size_t n)
{
    double mean = 0; // updated, not summed: a constant stays exactly itself
    for (size_t i = 0; i < n; i++) {
        mean += (x[i] - mean) / (double)(i + 1);
    }
    return mean;
}

double stats_reduce(StatsReducer reducer, const double *x, size_t n, int64_t k, double right_from)
{
    if (n == 0) {
        return NAN;
    }
    int64_t size = (int64_t)n;
    int64_t n_right = 0;
    for (size_t i = 0; i < n; i++) {
        n_right += x[i] >= right_from;
    }
    switch (reducer) {
    case REDUCE_MEAN:
        return mean_of(x, n);
    case REDUCE_MAX:
        return extreme_of(x, n, 1);
    case REDUCE_MIN:
        return extreme_of(x, n, -1);
    case REDUCE_MEDIAN:
    case REDUCE_MAJORITY:
        return by_order(reducer, x, n);
    case REDUCE_AT_LEAST:
        return k < 1 || k > size ? (double)NAN : n_right >= k;
    case REDUCE_PASS_AT:
        return stats_pass_at(size, n_right, k);
    case REDUCE_PASS_ALL:
        return stats_pass_all(size, n_right, k);
    }
    return NAN;
}

StatsEpochs stats_epochs(const double *x, const size_t *start, size_t n)
{
    StatsEpochs out = {.mean = NAN, .stderr_ = NAN, .within = NAN, .between = NAN};
    double squares = 0; // within samples, with df degrees of freedom
    double df = 0;
    double shares = 0; // sum of 1 / epochs
    double mean = 0;
    double m2 = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = start[i + 1] - start[i];
        if (k == 0) {
            continue;
        }
        const double *own = x + start[i];
        double of_sample = mean_of(own, k);
        for (size_t j = 0; j < k; j++) {
            squares += (own[j] - of_sample) * (own[j] - of_sample);
        }
        df += (double)(k - 1);
        shares += 1 / (double)k;
        out.n++;
        double delta = of_sample - mean;
        mean += delta / (double)out.n;
        m2 += delta * (of_sample - mean);
    }
    double size = (double)out.n;
    out.mean = out.n > 0 ? mean : (double)NAN;
    out.within = df > 0 ? squares / df : (double)NAN;
    if (out.n >= 2) {
        double variance = m2 / (size - 1);
        out.stderr_ = sqrt(variance / size);
        out.between = variance - out.within * shares / size;
    }
    return out;
}

double stats_epochs_stderr(const StatsEpochs *epochs, double n, double k)
{
    return sqrt(fmax(0, fmax(0, epochs->between) + epochs->within / k) / n);
}
