// SPDX-License-Identifier: MIT
// Statistics as streams: one value at a time, memory that does not grow with the samples (except
// one cell per cluster). The functions of stats.h are these over arrays. Pure: no files, no rows.
#pragma once

#include "base/base.h"
#include "results/stats.h"

Interval stats_interval_unknown(double value);
/** t test of an estimate with this error; all but the value unknown when stderr or df are. */
StatsTest stats_test_of(double value, double stderr_, double df, double confidence);
/** Score intervals of counts that need not be integers: effective numbers of samples. */
Interval stats_wilson_real(double k, double n, double confidence);
Interval stats_tango_real(double b, double c, double n, double confidence);
/** Variance of one pair's difference, as likely as can be if the mean difference were delta. */
double stats_tango_variance(double b, double c, double n, double delta);

/**
 * Moments of (value, weight) pairs by Welford's updates. Values are shifted by the first one, so a
 * constant value has exactly no variance whatever its weights. Zeroed is valid. */
typedef struct StatsMoments {
    int64_t n;
    int64_t n_ones;  // values equal to 1
    bool not_binary; // some value was neither 0 nor 1
    bool weighted;   // some weight was not 1
    double shift;    // the first value
    double mean_y;   // y = weight * (value - shift)
    double mean_w;
    double m2_y; // sums of squared deviations and of their products
    double m2_w;
    double c_yw;
} StatsMoments;

void stats_moments_add(StatsMoments *moments, double x, double w);
/** The mean with its t interval, or the ratio of sums by the delta method when weighted. */
Interval stats_moments_interval(const StatsMoments *moments, double confidence);
/** As stats_moments_interval, with the test against 0. */
StatsTest stats_moments_test(const StatsMoments *moments, double confidence);

/** The sums of one cluster within one part. */
typedef struct StatsCell {
    uint32_t cluster;
    uint32_t part; // 0 when there is only one
    double y;      // sum of weight * (value - shift), shift the same in all cells
    double w;
    int64_t n;
} StatsCell;

/**
 * Delete-one-cluster jackknife of the unweighted mean over parts of sum(y)/sum(w); one part gives
 * the plain ratio. A part that a deletion leaves empty drops out of that replicate.
 * shapes  cells (n_cells), by cluster; numbers are 0..n_clusters-1 and 0..n_parts-1.
 * owns    scratch is used and given back. */
Interval stats_cells_interval(Arena *scratch, const StatsCell *cells, size_t n_cells,
                              size_t n_clusters, size_t n_parts, double shift, double confidence);
/** As stats_cells_interval, with the test against 0. */
StatsTest stats_cells_test(Arena *scratch, const StatsCell *cells, size_t n_cells,
                           size_t n_clusters, size_t n_parts, double shift, double confidence);

/** The unweighted mean of independent estimates; t by Welch and Satterthwaite. n (k) their sizes.
 */
Interval stats_average(const Interval *parts, const int64_t *n, size_t k, double confidence);
/** As stats_average, with the test against 0. */
StatsTest stats_average_test(const Interval *parts, const int64_t *n, size_t k, double confidence);

/**
 * As stats_estimate; with out_influence also how far each unit (a sample that counts, or a cluster)
 * moves the estimate: numbers with mean zero whose standard deviation over sqrt(units) is the error
 * (of Wilson and Tango too, to first order).
 * shapes  out_influence (pairs->n) or NULL; *out_n_units of them are filled. */
StatsEstimate stats_estimate_with(const StatsPairs *pairs, double confidence, double *out_influence,
                                  size_t *out_n_units);
