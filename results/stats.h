// SPDX-License-Identifier: MIT
// Statistics as pure functions (DESIGN.md 4.5): numbers in, numbers out. No files, no rows, no
// clocks, no hidden state; random draws come from a seed that the caller gives. What can not be
// known is NaN, never zero. Formulas and their sources are named at each function.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Means and ratios ---------------------------------------------------------------------------

/** An estimate with its two-sided interval; members that can not be known are NaN. */
typedef struct Interval {
    double value;
    double stderr_;
    double low;
    double high;
} Interval;

/** Mean with t interval: x (n) f64. stderr NaN when n < 2. */
Interval stats_mean(const double *x, size_t n, double confidence);
/**
 * Delete-one-cluster jackknife of the mean; cluster[i] in 0..n_clusters-1, none of them empty;
 * df = n^2 / sum n_g^2 - 1. */
Interval stats_mean_clustered(const double *x, const uint32_t *cluster, size_t n, size_t n_clusters,
                              double confidence);
/**
 * Ratio of sums m = sum(w x) / sum(w), w > 0, by the delta method:
 * SE^2 = n/(n-1) * sum(w^2 (x-m)^2) / sum(w)^2, t with n-1 df. Cochran 1977, 6.4. */
Interval stats_ratio(const double *x, const double *w, size_t n, double confidence);
/** As stats_ratio, with the delete-one-cluster jackknife. */
Interval stats_ratio_clustered(const double *x, const double *w, const uint32_t *cluster, size_t n,
                               size_t n_clusters, double confidence);

// ---- Epochs -------------------------------------------------------------------------------------

/** How the scores of one sample's epochs become one number. */
typedef enum StatsReducer {
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_MEDIAN,   // of an even number: the mean of the middle two
    REDUCE_MAJORITY, // the most frequent value; of equally frequent ones the smallest
    REDUCE_AT_LEAST, // 1 when k epochs or more are right
    REDUCE_PASS_AT,  // chance that any of k epochs drawn without replacement is right
    REDUCE_PASS_ALL, // chance that all of k epochs drawn without replacement are right
} StatsReducer;

/**
 * Reduce the scored epochs of one sample.
 * shapes  x (n); k counts for the last three only, right_from is the least score that is right.
 * fails   NaN (unscored) when n is 0, or k is below 1 or above n. */
double stats_reduce(StatsReducer reducer, const double *x, size_t n, int64_t k, double right_from);
/** pass@k = 1 - C(n-c, k) / C(n, k), unbiased; NaN when k > n. Chen et al. 2021. */
double stats_pass_at(int64_t n, int64_t c, int64_t k);
/** pass^k = C(c, k) / C(n, k), unbiased; NaN when k > n. Yao et al. 2024 (tau-bench). */
double stats_pass_all(int64_t n, int64_t c, int64_t k);

// ---- Bootstrap ----------------------------------------------------------------------------------

/**
 * A statistic of the samples chosen by their numbers; an index may repeat.
 * shapes  index (n), each below the number of samples.
 * fails   NaN: not defined on these samples; such resamples are left out and counted. */
typedef double StatsStatistic(void *ctx, const uint32_t *index, size_t n);

typedef struct StatsBootstrapOptions {
    double confidence;  // 0: 0.95
    size_t n_resamples; // 0: 2000
    size_t n_groups;    // of the jackknife; 0: 200. More units than this go by random groups
    uint64_t seed;      // of xoshiro256**, filled by splitmix64; numbers by Lemire's method
    const uint32_t
        *cluster; // (n) in 0..n_clusters-1, none empty: whole clusters are drawn; or NULL
    size_t n_clusters;
} StatsBootstrapOptions;

typedef struct StatsBootstrap {
    Interval interval;     // BCa; stderr_ is the standard deviation (n-1) of the replicates
    double percentile_low; // plain percentile interval, type-7 quantiles
    double percentile_high;
    double bias; // z0: normal quantile of the share of replicates below the value
    double acceleration;
    double alpha_low; // the quantiles of the replicates that are the BCa limits
    double alpha_high;
    size_t n_undefined; // replicates and jackknife values that are NaN
} StatsBootstrap;

/**
 * Bias-corrected and accelerated interval for any statistic. Efron 1987. Unit i of resample r is
 * draw r * n_units + i of the generator. Limits are NaN with fewer than two units, or when less
 * than half of the replicates are defined.
 * shapes  n samples, numbered 0..n-1. */
StatsBootstrap stats_bootstrap(StatsStatistic *statistic, void *ctx, size_t n,
                               const StatsBootstrapOptions *options);
/**
 * As stats_bootstrap with resamples that the caller drew, and the plain delete-one jackknife.
 * shapes  resamples (n_resamples, n) row-major. */
StatsBootstrap stats_bootstrap_given(StatsStatistic *statistic, void *ctx, size_t n,
                                     const uint32_t *resamples, size_t n_resamples,
                                     double confidence);
/**
 * BCa from what was computed elsewhere: the value on the sample, on the resamples and with each
 * unit left out. Replicates within 1e-12 (relative) of the value are ties and count half; a share
 * of 0 or 1 counts as half a replicate, so that the bias stays finite.
 * shapes  replicates (n_replicates), jackknife (n_jackknife). */
StatsBootstrap stats_bca(double value, const double *replicates, size_t n_replicates,
                         const double *jackknife, size_t n_jackknife, double confidence);
/** Type-7 quantile of sorted numbers (Hyndman and Fan 1996), NaN when n is 0. */
double stats_quantile(const double *sorted, size_t n, double p);

// ---- Calibration --------------------------------------------------------------------------------

/** One bin (low, high] of a reliability diagram; confidence 0 lies in the first. */
typedef struct StatsBin {
    double low;
    double high;
    double confidence; // mean; NaN when the bin is empty
    double accuracy;   // mean
    int64_t n;
} StatsBin;

/** Answers with how sure the model was of them. */
typedef struct StatsCalibration {
    const double *confidence; // (n) in [0, 1]
    const double *right;      // (n) 0 or 1
    size_t n_bins;            // of ece and mce: equal widths; 0: 10
} StatsCalibration;

/**
 * Expected calibration error: sum n_b/n |accuracy - confidence|. Naeini et al. 2015. Biased upward
 * for small n, so show the bins' counts.
 * shapes  out_bins (n_bins) or NULL. */
double stats_ece(const StatsCalibration *calibration, size_t n, StatsBin *out_bins);
/** The largest |accuracy - confidence| of any bin. */
double stats_mce(const StatsCalibration *calibration, size_t n);
/** Mean of (confidence - right)^2. Brier 1950. */
double stats_brier(const StatsCalibration *calibration, size_t n);
/** Mean of -ln(probability given to what happened), clipped to [1e-15, 1 - 1e-15]. */
double stats_log_loss(const StatsCalibration *calibration, size_t n);
/** stats_ece as a StatsStatistic, for its error; ctx is a StatsCalibration. */
double stats_ece_of(void *ctx, const uint32_t *index, size_t n);

// ---- Proportions --------------------------------------------------------------------------------

/** Wilson score interval for k successes of n at confidence (e.g. 0.95). Wilson 1927. */
Interval stats_wilson(int64_t k, int64_t n, double confidence);

// ---- Distributions ------------------------------------------------------------------------------

double stats_normal_cdf(double z);
/** Inverse of the normal distribution; p 0 and 1 give the infinities. Acklam, one Halley step. */
double stats_normal_quantile(double p);
/** Inverse of Student's t distribution; df > 0 need not be an integer. */
double stats_t_quantile(double p, double df);
/** P(T > t) for Student's t. */
double stats_t_sf(double t, double df);
/** Regularised incomplete beta function I_x(a, b). Lentz's continued fraction. */
double stats_ibeta(double a, double b, double x);
