// SPDX-License-Identifier: MIT
// BCa intervals for statistics that are not means (F1, medians, calibration errors): Efron, "Better
// bootstrap confidence intervals", 1987; Efron and Tibshirani 1993, 14.3. Samples, or whole
// clusters of them, are drawn by base's generator, so a seed gives the same limits everywhere.
#include "results/stats.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TIE = 1e-12;

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_quantile(const double *sorted, size_t n, double p)
{
    if (n == 0 || !(p >= 0 && p <= 1)) {
        return NAN;
    }
    double position = p * (double)(n - 1);
    size_t below = (size_t)position;
    double share = position - (double)below;
    if (below + 1 >= n || share == 0) {
        return sorted[below < n ? below : n - 1];
    }
    return sorted[below] + share * (sorted[below + 1] - sorted[below]);
}

/** Copy what is defined, sorted; the caller frees it. */
static double *sorted_defined(const double *x, size_t n, size_t *out_n)
{
    double *sorted = mem_alloc(n > 0 ? n : 1, sizeof(double));
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            sorted[count++] = x[i];
        }
    }
    qsort(sorted, count, sizeof(double), compare_doubles);
    *out_n = count;
    return sorted;
}

static double standard_deviation(const double *x, size_t n)
{
    double mean = 0;
    double m2 = 0;
    for (size_t i = 0; i < n; i++) {
        double delta = x[i] - mean;
        mean += delta / (double)(i + 1);
        m2 += delta * (x[i] - mean);
    }
    return n < 2 ? (double)NAN : sqrt(m2 / (double)(n - 1));
}

/** Normal quantile of the share of replicates below the value, ties counted half. */
static double bias_of(double value, const double *replicates, size_t n)
{
    double tolerance = TIE * fmax(fabs(value), fmax(fabs(replicates[0]), fabs(replicates[n - 1])));
    double below = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabs(replicates[i] - value) <= tolerance) {
            below += 0.5;
        } else {
            below += replicates[i] < value;
        }
    }
    double size = (double)n;
    return stats_normal_quantile(fmin(fmax(below, 0.5), size - 0.5) / size);
}

/** Sixth of the skewness of the jackknife's influences; zero when they are all equal. */
static double acceleration_of(const double *jackknife, size_t n)
{
    double mean = 0;
    for (size_t i = 0; i < n; i++) {
        mean += (jackknife[i] - mean) / (double)(i + 1);
    }
    double squares = 0;
    double cubes = 0;
    for (size_t i = 0; i < n; i++) {
        double u = mean - jackknife[i];
        squares += u * u;
        cubes += u * u * u;
    }
    double scale = 6 * pow(squares, 1.5);
    return scale > 0 ? cubes / scale : 0;
}

static double bca_alpha(double bias, double acceleration, double z)
{
    double sum = bias + z;
    double room = 1 - acceleration * sum;
    if (room <= 0) { // past the pole: the limit of the formula
        return sum > 0 ? 1 : 0;
    }
    return stats_normal_cdf(bias + sum / room);
}

StatsBootstrap stats_bca(double value, const double *replicates, size_t n_replicates,
                         const double *jackknife, size_t n_jackknife, double confidence)
{
    StatsBootstrap out = {
        .interval = {.value = value, .stderr_ = NAN, .low = NAN, .high = NAN},
        .percentile_low = NAN,
        .percentile_high = NAN,
        .bias = NAN,
        .acceleration = NAN,
        .alpha_low = NAN,
        .alpha_high = NAN,
    };
    size_t n;
    size_t n_left_out;
    double *sorted = sorted_defined(replicates, n_replicates, &n);
    double *left_out = sorted_defined(jackknife, n_jackknife, &n_left_out);
    out.n_undefined = n_replicates - n + (n_jackknife - n_left_out);
    if (isfinite(value) && n >= 2 && n * 2 >= n_replicates && n_left_out >= 2) {
        double tail = (1 - confidence) / 2;
        double z = stats_normal_quantile(1 - tail);
        out.interval.stderr_ = standard_deviation(sorted, n);
        out.percentile_low = stats_quantile(sorted, n, tail);
        out.percentile_high = stats_quantile(sorted, n, 1 - tail);
        out.bias = bias_of(value, sorted, n);
        out.acceleration = acceleration_of(left_out, n_left_out);
        out.alpha_low = bca_alpha(out.bias, out.acceleration, -z);
        out.alpha_high = bca_alpha(out.bias, out.acceleration, z);
        out.interval.low = stats_quantile(sorted, n, out.alpha_low);
        out.interval.high = stats_quantile(sorted, n, out.alpha_high);
    }
    mem_free(left_out);
    mem_free(sorted);
    return out;
}

/** What is drawn: samples, or clusters with their members listed one after the other. */
typedef struct Units {
    uint32_t *member; // (n samples), by unit
    size_t *start;    // (n + 1)
    size_t n;
    bool single; // every unit is the one sample of its number
} Units;

static Units units_create(size_t n, const uint32_t *cluster, size_t n_clusters)
{
    Units units = {.n = cluster == NULL ? n : n_clusters, .single = cluster == NULL};
    units.member = mem_alloc(n > 0 ? n : 1, sizeof(uint32_t));
    units.start = mem_zalloc(units.n + 2, sizeof(size_t));
    // Counting sort; start[unit + 1] runs from the unit's first place to its end.
    for (size_t i = 0; i < n; i++) {
        units.start[(cluster == NULL ? i : cluster[i]) + 2]++;
    }
    for (size_t u = 0; u < units.n; u++) {
        units.start[u + 2] += units.start[u + 1];
    }
    for (size_t i = 0; i < n; i++) {
        units.member[units.start[(cluster == NULL ? i : cluster[i]) + 1]++] = (uint32_t)i;
    }
    return units;
}

static void units_destroy(Units *units)
{
    mem_free(units->member);
    mem_free(units->start);
}

/** A growing list of sample numbers. */
typedef struct Picks {
    uint32_t *index;
    size_t n;
    size_t cap;
} Picks;

static void picks_add(Picks *picks, const Units *units, size_t unit)
{
    size_t from = units->start[unit];
    size_t count = units->start[unit + 1] - from;
    if (count == 0) {
        return;
    }
    if (picks->n + count > picks->cap) {
        picks->cap = (picks->n + count) * 2;
        picks->index = mem_realloc(picks->index, picks->cap, sizeof(uint32_t));
    }
    memcpy(picks->index + picks->n, units->member + from, count * sizeof(uint32_t));
    picks->n += count;
}

static void replicates_draw(StatsStatistic *statistic, void *ctx, const Units *units, Rng *rng,
                            Picks *picks, double *out, size_t n_resamples)
{
    for (size_t r = 0; r < n_resamples; r++) {
        picks->n = units->single ? units->n : 0; // there is room for them: all were picked once
        for (size_t u = 0; u < units->n; u++) {
            size_t drawn = rng_below(rng, units->n);
            if (units->single) {
                picks->index[u] = (uint32_t)drawn;
            } else {
                picks_add(picks, units, drawn);
            }
        }
        out[r] = statistic(ctx, picks->index, picks->n);
    }
}

/** Delete one group of units at a time; groups are random, so that no order of samples matters. */
static void jackknife_run(StatsStatistic *statistic, void *ctx, const Units *units, Rng *rng,
                          Picks *picks, double *out, size_t n_groups)
{
    uint32_t *order = mem_alloc(units->n, sizeof(uint32_t));
    for (size_t u = 0; u < units->n; u++) {
        order[u] = (uint32_t)u;
    }
    for (size_t u = units->n; n_groups < units->n && u > 1; u--) {
        size_t other = rng_below(rng, u);
        uint32_t kept = order[u - 1];
        order[u - 1] = order[other];
        order[other] = kept;
    }
    for (size_t g = 0; g < n_groups; g++) {
        size_t from = units->n * g / n_groups;
        size_t to = units->n * (g + 1) / n_groups;
        picks->n = 0;
        for (size_t u = 0; u < units->n; u++) {
            if (u < from || u >= to) {
                picks_add(picks, units, order[u]);
            }
        }
        out[g] = statistic(ctx, picks->index, picks->n);
    }
    mem_free(order);
}

StatsBootstrap stats_bootstrap(StatsStatistic *statistic, void *ctx, size_t n,
                               const StatsBootstrapOptions *options)
{
    double confidence = options->confidence > 0 ? options->confidence : 0.95;
    size_t n_resamples = options->n_resamples > 0 ? options->n_resamples : 2000;
    size_t n_groups = options->n_groups > 0 ? options->n_groups : 200;
    Units units = units_create(n, options->cluster, options->n_clusters);
    Picks picks = {0};
    for (size_t u = 0; u < units.n; u++) {
        picks_add(&picks, &units, u);
    }
    double value = n > 0 ? statistic(ctx, picks.index, picks.n) : (double)NAN;
    StatsBootstrap out;
    if (units.n < 2) {
        out = stats_bca(value, NULL, 0, NULL, 0, confidence);
    } else {
        n_groups = n_groups < units.n ? n_groups : units.n;
        double *replicates = mem_alloc(n_resamples + n_groups, sizeof(double));
        Rng rng;
        rng_init(&rng, options->seed);
        replicates_draw(statistic, ctx, &units, &rng, &picks, replicates, n_resamples);
        jackknife_run(statistic, ctx, &units, &rng, &picks, replicates + n_resamples, n_groups);
        out = stats_bca(value, replicates, n_resamples, replicates + n_resamples, n_groups,
                        confidence);
        mem_free(replicates);
    }
    mem_free(picks.index);
    units_destroy(&units);
    return out;
}

StatsBootstrap stats_bootstrap_given(StatsStatistic *statistic, void *ctx, size_t n,
                                     const uint32_t *resamples, size_t n_resamples,
                                     double confidence)
{
    if (n < 2) {
        return stats_bca(NAN, NULL, 0, NULL, 0, confidence);
    }
    uint32_t *index = mem_alloc(n, sizeof(uint32_t));
    double *values = mem_alloc(n_resamples + n, sizeof(double));
    for (size_t r = 0; r < n_resamples; r++) {
        values[r] = statistic(ctx, resamples + r * n, n);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j + 1 < n; j++) {
            index[j] = (uint32_t)(j < i ? j : j + 1);
        }
        values[n_resamples + i] = statistic(ctx, index, n - 1);
    }
    for (size_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
    }
    double value = statistic(ctx, index, n);
    StatsBootstrap out = stats_bca(value, values, n_resamples, values + n_resamples, n, confidence);
    mem_free(values);
    mem_free(index);
    return out;
}
