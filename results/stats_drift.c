// SPDX-License-Identifier: MIT
// Whether two collections of numbers or counts come from one source: PSI, Jensen-Shannon,
// Kolmogorov-Smirnov, Wasserstein, and a permutation p for any distance.
#include "results/stats.h"

#include "base/base.h"

#include <math.h>

static const double EXACT_POINTS = 1e8; // lattice points of the exact test: under a second

static double total_of(const int64_t *counts, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        total += (double)counts[i];
    }
    return total;
}

double stats_psi(const int64_t *reference, const int64_t *current, size_t n_bins, double epsilon)
{
    double n = total_of(reference, n_bins);
    double m = total_of(current, n_bins);
    if (!(n > 0 && m > 0)) {
        return NAN;
    }
    double sum = 0;
    for (size_t i = 0; i < n_bins; i++) {
        double p = reference[i] > 0 ? (double)reference[i] / n : epsilon;
        double q = current[i] > 0 ? (double)current[i] / m : epsilon;
        if (reference[i] > 0 || current[i] > 0) {
            sum += (q - p) * log(q / p);
        }
    }
    return sum;
}

static double half_divergence(double p, double q)
{
    return p > 0 ? p * log2(2 * p / (p + q)) / 2 : 0;
}

double stats_jensen_shannon(const int64_t *reference, const int64_t *current, size_t n_bins)
{
    double n = total_of(reference, n_bins);
    double m = total_of(current, n_bins);
    if (!(n > 0 && m > 0)) {
        return NAN;
    }
    double sum = 0;
    for (size_t i = 0; i < n_bins; i++) {
        double p = (double)reference[i] / n;
        double q = (double)current[i] / m;
        sum += half_divergence(p, q) + half_divergence(q, p);
    }
    return fmin(1, fmax(0, sum));
}

/**
 * Share of the lattice paths from (0, 0) to (n, m) that reach |i/n - j/m| >= distance; a point's
 * share of touched paths is the mean of its two predecessors', weighted by how many come from each.
 */
static double paths_touched(size_t n, size_t m, double distance)
{
    double *row = mem_zalloc(m + 1, sizeof(double));
    double touch = distance - 1e-12;
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            double gap = fabs((double)i / (double)n - (double)j / (double)m);
            double share = j > 0 ? row[j - 1] : 0;
            if (i > 0 && i + j > 0) {
                share = (row[j] * (double)i + share * (double)j) / (double)(i + j);
            }
            row[j] = gap >= touch ? 1 : share;
        }
    }
    double share = row[m];
    mem_free(row);
    return share;
}

StatsKs stats_ks(const double *x, size_t n, const double *y, size_t m)
{
    if (n == 0 || m == 0) {
        return (StatsKs){.distance = NAN, .p_exact = NAN, .p_asymptotic = NAN};
    }
    double largest = 0;
    for (size_t i = 0, j = 0; i < n && j < m;) {
        double at = fmin(x[i], y[j]);
        while (i < n && x[i] <= at) {
            i++;
        }
        while (j < m && y[j] <= at) {
            j++;
        }
        largest = fmax(largest, fabs((double)i / (double)n - (double)j / (double)m));
    }
    double size = (double)n * (double)m;
    bool exact = size <= EXACT_POINTS;
    return (StatsKs){
        .distance = largest,
        .p_exact = exact ? paths_touched(n, m, largest) : (double)NAN,
        .p_asymptotic = stats_kolmogorov_sf(sqrt(size / (double)(n + m)) * largest),
    };
}

double stats_wasserstein(const double *x, size_t n, const double *y, size_t m)
{
    if (n == 0 || m == 0) {
        return NAN;
    }
    double area = 0;
    double last = fmin(x[0], y[0]);
    for (size_t i = 0, j = 0; i < n || j < m;) {
        double gap = fabs((double)i / (double)n - (double)j / (double)m);
        double at = j == m || (i < n && x[i] <= y[j]) ? x[i] : y[j];
        area += gap * (at - last);
        last = at;
        if (i < n && x[i] == at) {
            i++;
        } else {
            j++;
        }
    }
    return area;
}

double stats_permutation_p(StatsTwoGroups *distance, void *ctx, size_t n_a, size_t n_b,
                           size_t n_shuffles, uint64_t seed)
{
    size_t n = n_a + n_b;
    uint32_t *index = mem_alloc(n > 0 ? n : 1, sizeof(uint32_t));
    for (size_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
    }
    double seen = distance(ctx, index, n_a, n_b);
    double tolerance = 1e-12 * fabs(seen);
    size_t as_large = 0;
    Rng rng;
    rng_init(&rng, seed);
    for (size_t s = 0; s < n_shuffles; s++) {
        // Only the first group's places need to be drawn.
        for (size_t i = 0; i < n_a && i + 1 < n; i++) {
            size_t other = i + rng_below(&rng, n - i);
            uint32_t kept = index[i];
            index[i] = index[other];
            index[other] = kept;
        }
        as_large += distance(ctx, index, n_a, n_b) >= seen - tolerance;
    }
    mem_free(index);
    return isnan(seen) ? seen : (double)(1 + as_large) / (double)(1 + n_shuffles);
}
