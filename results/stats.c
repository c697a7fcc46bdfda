// SPDX-License-Identifier: MIT
// Estimates with their errors and intervals (DESIGN.md 4.5): t for means, the delta method for
// ratios of sums, the delete-one-cluster jackknife where samples share a cluster. Every function
// here depends on its arguments alone.
#include "results/stats_internal.h"

#include <float.h>
#include <math.h>

Interval stats_interval_unknown(double value)
{
    return (Interval){.value = value, .stderr_ = NAN, .low = NAN, .high = NAN};
}

StatsTest stats_test_of(double value, double stderr_, double df, double confidence)
{
    StatsTest test = {.interval = stats_interval_unknown(value), .t = NAN, .df = NAN, .p = NAN};
    if (isnan(stderr_) || !(df > 0)) {
        return test;
    }
    // A zero error has a zero-width interval even where t is infinite.
    double half = stderr_ > 0 ? stats_t_quantile(0.5 + confidence / 2, df) * stderr_ : 0;
    test.interval.stderr_ = stderr_;
    test.interval.low = value - half;
    test.interval.high = value + half;
    test.df = df;
    test.t = stderr_ > 0 ? value / stderr_ : value == 0 ? 0 : copysign(INFINITY, value);
    test.p = fmin(1, 2 * stats_t_sf(fabs(test.t), df));
    return test;
}

void stats_moments_add(StatsMoments *moments, double x, double w)
{
    if (moments->n == 0) {
        moments->shift = x;
    }
    moments->n++;
    moments->n_ones += x == 1.0;
    moments->not_binary |= x != 0.0 && x != 1.0;
    moments->weighted |= w != 1.0;
    double size = (double)moments->n;
    double y = w * (x - moments->shift);
    double dy = y - moments->mean_y;
    double dw = w - moments->mean_w;
    moments->mean_y += dy / size;
    moments->mean_w += dw / size;
    moments->m2_y += dy * (y - moments->mean_y);
    moments->m2_w += dw * (w - moments->mean_w);
    moments->c_yw += dy * (w - moments->mean_w);
}

StatsTest stats_moments_test(const StatsMoments *moments, double confidence)
{
    if (moments->n == 0) {
        return stats_test_of(NAN, NAN, NAN, confidence);
    }
    double ratio = moments->mean_y / moments->mean_w;
    double value = moments->shift + ratio;
    if (moments->n < 2) {
        return stats_test_of(value, NAN, NAN, confidence);
    }
    // Residuals z = y - ratio * w have mean zero; with all weights 1 this is the plain variance.
    double m2 = moments->m2_y - 2 * ratio * moments->c_yw + ratio * ratio * moments->m2_w;
    double size = (double)moments->n;
    double variance = fmax(0, m2) / (size - 1);
    return stats_test_of(value, sqrt(variance / size) / moments->mean_w, size - 1, confidence);
}

Interval stats_moments_interval(const StatsMoments *moments, double confidence)
{
    return stats_moments_test(moments, confidence).interval;
}

Interval stats_mean(const double *x, size_t n, double confidence)
{
    StatsMoments moments = {0};
    for (size_t i = 0; i < n; i++) {
        stats_moments_add(&moments, x[i], 1);
    }
    return stats_moments_interval(&moments, confidence);
}

Interval stats_mean_normal(const double *x, size_t n, double confidence)
{
    Interval interval = stats_mean(x, n, confidence);
    double half = stats_normal_quantile(0.5 + confidence / 2) * interval.stderr_;
    interval.low = interval.value - half;
    interval.high = interval.value + half;
    return interval;
}

Interval stats_ratio(const double *x, const double *w, size_t n, double confidence)
{
    StatsMoments moments = {0};
    for (size_t i = 0; i < n; i++) {
        stats_moments_add(&moments, x[i], w[i]);
    }
    return stats_moments_interval(&moments, confidence);
}

/** What is left of one part while one cluster is deleted. */
typedef struct PartSums {
    double y;
    double w;
    int64_t n;
} PartSums;

/** Mean over parts without the cells [from, to); true when any part is left. */
static bool replicate_value(const PartSums *parts, const StatsCell *cells, size_t from, size_t to,
                            double sum_of_ratios, size_t n_alive, double *out)
{
    for (size_t i = from; i < to; i++) {
        const PartSums *part = &parts[cells[i].part];
        sum_of_ratios -= part->y / part->w;
        if (part->n > cells[i].n) {
            sum_of_ratios += (part->y - cells[i].y) / (part->w - cells[i].w);
        } else {
            n_alive--;
        }
    }
    *out = sum_of_ratios / (double)n_alive;
    return n_alive > 0;
}

/** Sums of the parts; returns how many are not empty and the sum of their ratios. */
static size_t parts_sum(PartSums *parts, size_t n_parts, const StatsCell *cells, size_t n_cells,
                        double *out_sum_of_ratios)
{
    for (size_t i = 0; i < n_cells; i++) {
        PartSums *part = &parts[cells[i].part];
        part->y += cells[i].y;
        part->w += cells[i].w;
        part->n += cells[i].n;
    }
    size_t n_alive = 0;
    *out_sum_of_ratios = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].n > 0) {
            *out_sum_of_ratios += parts[i].y / parts[i].w;
            n_alive++;
        }
    }
    return n_alive;
}

StatsTest stats_cells_test(Arena *scratch, const StatsCell *cells, size_t n_cells,
                           size_t n_clusters, size_t n_parts, double shift, double confidence)
{
    ArenaMark mark = arena_mark(scratch);
    PartSums *parts = ARENA_ARRAY(scratch, PartSums, n_parts);
    double sum_of_ratios;
    size_t n_alive = parts_sum(parts, n_parts, cells, n_cells, &sum_of_ratios);
    double total = 0;
    double squares = 0;
    size_t n_replicates = 0;
    double mean = 0; // of the replicates, and their squared deviations
    double m2 = 0;
    for (size_t from = 0; from < n_cells;) {
        size_t to = from;
        double size = 0;
        while (to < n_cells && cells[to].cluster == cells[from].cluster) {
            size += (double)cells[to++].n;
        }
        total += size;
        squares += size * size;
        double value;
        if (replicate_value(parts, cells, from, to, sum_of_ratios, n_alive, &value)) {
            n_replicates++;
            double delta = value - mean;
            mean += delta / (double)n_replicates;
            m2 += delta * (value - mean);
        }
        from = to;
    }
    arena_rewind(scratch, mark);
    if (n_alive == 0) {
        return stats_test_of(NAN, NAN, NAN, confidence);
    }
    double value = shift + sum_of_ratios / (double)n_alive;
    if (n_clusters < 2 || n_replicates < n_clusters) {
        return stats_test_of(value, NAN, NAN, confidence);
    }
    double groups = (double)n_clusters;
    double df = total * total / squares - 1;
    return stats_test_of(value, sqrt((groups - 1) / groups * m2), df, confidence);
}

Interval stats_cells_interval(Arena *scratch, const StatsCell *cells, size_t n_cells,
                              size_t n_clusters, size_t n_parts, double shift, double confidence)
{
    return stats_cells_test(scratch, cells, n_cells, n_clusters, n_parts, shift, confidence)
        .interval;
}

/** w may be NULL: all 1. */
static StatsTest clustered_test(const double *x, const double *w, const uint32_t *cluster, size_t n,
                                size_t n_clusters, double confidence)
{
    if (n == 0) {
        return stats_test_of(NAN, NAN, NAN, confidence);
    }
    Arena scratch = {0};
    StatsCell *cells = ARENA_ARRAY(&scratch, StatsCell, n_clusters);
    for (size_t i = 0; i < n_clusters; i++) {
        cells[i].cluster = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        StatsCell *cell = &cells[cluster[i]];
        double weight = w == NULL ? 1 : w[i];
        cell->y += weight * (x[i] - x[0]);
        cell->w += weight;
        cell->n++;
    }
    StatsTest out = stats_cells_test(&scratch, cells, n_clusters, n_clusters, 1, x[0], confidence);
    arena_finish(&scratch);
    return out;
}

Interval stats_ratio_clustered(const double *x, const double *w, const uint32_t *cluster, size_t n,
                               size_t n_clusters, double confidence)
{
    return clustered_test(x, w, cluster, n, n_clusters, confidence).interval;
}

StatsTest stats_t_test_clustered(const double *x, const uint32_t *cluster, size_t n,
                                 size_t n_clusters, double confidence)
{
    return clustered_test(x, NULL, cluster, n, n_clusters, confidence);
}

Interval stats_mean_clustered(const double *x, const uint32_t *cluster, size_t n, size_t n_clusters,
                              double confidence)
{
    return stats_ratio_clustered(x, NULL, cluster, n, n_clusters, confidence);
}

StatsTest stats_average_test(const Interval *parts, const int64_t *n, size_t k, double confidence)
{
    double sum = 0;
    double variance = 0;
    double denominator = 0; // of Satterthwaite's degrees of freedom
    for (size_t i = 0; i < k; i++) {
        double v = parts[i].stderr_ * parts[i].stderr_;
        sum += parts[i].value;
        variance += v;
        denominator += n[i] > 1 ? v * v / (double)(n[i] - 1) : 0;
    }
    double size = (double)k;
    double value = k == 0 ? (double)NAN : sum / size;
    double df = denominator > 0 ? variance * variance / denominator : 1;
    return stats_test_of(value, k == 0 ? (double)NAN : sqrt(variance) / size, df, confidence);
}

Interval stats_average(const Interval *parts, const int64_t *n, size_t k, double confidence)
{
    return stats_average_test(parts, n, k, confidence).interval;
}
