// SPDX-License-Identifier: MIT
// Tests that compare: a mean with zero or with a margin, paired and unpaired differences; errors of
// clustered means to show beside the jackknife; correlations.
#include "results/stats_internal.h"

#include <math.h>
#include <stdlib.h>

StatsTest stats_t_test(const double *x, size_t n, double confidence)
{
    StatsMoments moments = {0};
    for (size_t i = 0; i < n; i++) {
        stats_moments_add(&moments, x[i], 1);
    }
    return stats_moments_test(&moments, confidence);
}

StatsTest stats_paired(const double *a, const double *b, size_t n, double confidence)
{
    StatsMoments moments = {0};
    for (size_t i = 0; i < n; i++) {
        stats_moments_add(&moments, a[i] - b[i], 1);
    }
    return stats_moments_test(&moments, confidence);
}

StatsTest stats_welch(const double *a, size_t n_a, const double *b, size_t n_b, double confidence)
{
    Interval first = stats_mean(a, n_a, confidence);
    Interval second = stats_mean(b, n_b, confidence);
    double variance_a = first.stderr_ * first.stderr_;
    double variance_b = second.stderr_ * second.stderr_;
    double variance = variance_a + variance_b; // NaN when either is not known
    double below =
        variance_a * variance_a / (double)(n_a - 1) + variance_b * variance_b / (double)(n_b - 1);
    double df = below > 0 ? variance * variance / below : 1;
    return stats_test_of(first.value - second.value, sqrt(variance), df, confidence);
}

StatsMargin stats_margin(const double *x, size_t n, double margin, double confidence)
{
    // One-sided limits are the ends of the two-sided interval with the doubled error.
    StatsTest test = stats_t_test(x, n, 2 * confidence - 1);
    Interval interval = test.interval;
    double above = interval.value + margin;
    double t = interval.stderr_ > 0 ? above / interval.stderr_
               : above == 0         ? 0
                                    : copysign(INFINITY, above);
    StatsMargin out = {
        .value = interval.value,
        .stderr_ = interval.stderr_,
        .low = interval.low,
        .high = interval.high,
        .t = isnan(interval.stderr_) ? interval.stderr_ : t,
        .p_noninferior = stats_t_sf(t, test.df),
        .p_regression = stats_t_sf(-t, test.df),
    };
    return out;
}

StatsClustered stats_clustered(const double *x, const uint32_t *cluster, size_t n,
                               size_t n_clusters, double confidence)
{
    Interval plain = stats_mean(x, n, confidence);
    double *sums = mem_zalloc(n_clusters + 1, sizeof(double));
    double own = 0; // squares of single residuals
    for (size_t i = 0; i < n; i++) {
        double residual = x[i] - plain.value;
        sums[cluster[i]] += residual;
        own += residual * residual;
    }
    double squares = 0;
    for (size_t g = 0; g < n_clusters; g++) {
        squares += sums[g] * sums[g];
    }
    mem_free(sums);
    double size = (double)n;
    double groups = (double)n_clusters;
    StatsClustered out = {.stderr_cr0 = NAN, .stderr_cr1 = NAN, .stderr_miller = NAN};
    if (n_clusters >= 2) {
        out.stderr_cr0 = sqrt(squares) / size;
        out.stderr_cr1 = sqrt(groups / (groups - 1)) * out.stderr_cr0;
        // The sum over pairs within clusters is what the squared sums hold beside single squares.
        double pairs = squares - own;
        out.stderr_miller = sqrt(fmax(0, plain.stderr_ * plain.stderr_ + pairs / (size * size)));
    }
    out.cr1 = stats_test_of(plain.value, out.stderr_cr1, groups - 1, confidence).interval;
    return out;
}

/** Sums of squares and products around the means. */
typedef struct Products {
    double aa;
    double bb;
    double ab;
} Products;

static Products products_of(const double *a, const double *b, size_t n)
{
    Products out = {0};
    double mean_a = 0;
    double mean_b = 0;
    for (size_t i = 0; i < n; i++) {
        double from_a = a[i] - mean_a;
        double from_b = b[i] - mean_b;
        mean_a += from_a / (double)(i + 1);
        mean_b += from_b / (double)(i + 1);
        out.aa += from_a * (a[i] - mean_a);
        out.bb += from_b * (b[i] - mean_b);
        out.ab += from_a * (b[i] - mean_b);
    }
    return out;
}

double stats_covariance(const double *a, const double *b, size_t n)
{
    return n < 2 ? (double)NAN : products_of(a, b, n).ab / (double)(n - 1);
}

double stats_pearson(const double *a, const double *b, size_t n)
{
    Products sums = products_of(a, b, n);
    double scale = sqrt(sums.aa) * sqrt(sums.bb);
    return scale > 0 ? fmin(1, fmax(-1, sums.ab / scale)) : (double)NAN;
}

typedef struct Ranked {
    double value;
    size_t at;
} Ranked;

static int compare_ranked(const void *a, const void *b)
{
    const Ranked *x = a;
    const Ranked *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static void ranks_fill(const double *x, size_t n, Ranked *sorted, double *out)
{
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (Ranked){.value = x[i], .at = i};
    }
    qsort(sorted, n, sizeof(Ranked), compare_ranked);
    for (size_t from = 0; from < n;) {
        size_t to = from;
        while (to < n && sorted[to].value == sorted[from].value) {
            to++;
        }
        for (size_t i = from; i < to; i++) {
            out[sorted[i].at] = ((double)from + (double)to + 1) / 2;
        }
        from = to;
    }
}

double stats_spearman(const double *a, const double *b, size_t n)
{
    if (n < 2) {
        return NAN;
    }
    double *ranks = mem_alloc(2 * n, sizeof(double));
    Ranked *sorted = mem_alloc(n, sizeof(Ranked));
    ranks_fill(a, n, sorted, ranks);
    ranks_fill(b, n, sorted, ranks + n);
    double out = stats_pearson(ranks, ranks + n, n);
    mem_free(sorted);
    mem_free(ranks);
    return out;
}
