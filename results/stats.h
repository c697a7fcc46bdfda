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
/** As stats_mean with the normal interval of the central limit theorem, as other tools print it. */
Interval stats_mean_normal(const double *x, size_t n, double confidence);
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

// ---- Proportions and paired right or wrong ------------------------------------------------------

/** Wilson score interval for k successes of n at confidence (e.g. 0.95). Wilson 1927. */
Interval stats_wilson(int64_t k, int64_t n, double confidence);
/** Exact interval by inverse beta distributions; never covers less. Clopper and Pearson 1934. */
Interval stats_clopper_pearson(int64_t k, int64_t n, double confidence);
/** Equal-tailed interval under the prior Beta(1/2, 1/2); 0 and 1 at the ends. Brown et al. 2001. */
Interval stats_jeffreys(int64_t k, int64_t n, double confidence);

/** Tests of paired binary outcomes: b pairs right in the first only, c in the second only. */
typedef struct StatsMcNemar {
    double p_exact;   // two-sided, twice the smaller binomial tail, at most 1
    double p_mid;     // with half of the observed outcome's probability
    double p_b_small; // P(X <= b), X binomial(b + c, 1/2)
    double p_b_large; // P(X >= b)
    double chi2;      // with continuity correction, 1 df
    double p_chi2;    // of it
    double evidence;  // anytime-valid e-value 2^N b! c! / (N+1)!, reject once >= 1/alpha
} StatsMcNemar;
/** McNemar 1947; mid-p: Fagerland et al. 2013; evidence: uniform mixture, samples in random order.
 */
StatsMcNemar stats_mcnemar(int64_t b, int64_t c);
/**
 * Score interval of the paired difference (b - c) / n, by bisection. Tango 1998. One-sided limits
 * at confidence g are the ends of the interval at 2 g - 1. stderr_ is that of the mean of the n
 * differences. */
Interval stats_tango(int64_t b, int64_t c, int64_t n, double confidence);

// ---- Tests and comparisons ----------------------------------------------------------------------

/** A t test of an estimate against zero, with its interval. */
typedef struct StatsTest {
    Interval interval;
    double t;  // infinite when the error is zero and the value is not
    double df; // NaN when the error is not known
    double p;  // two-sided
} StatsTest;

/** Mean of x (n) against 0; of paired differences: the paired t test. */
StatsTest stats_t_test(const double *x, size_t n, double confidence);
/** As stats_t_test over clusters by the delete-one-cluster jackknife. */
StatsTest stats_t_test_clustered(const double *x, const uint32_t *cluster, size_t n,
                                 size_t n_clusters, double confidence);
/** a - b of the same n samples, paired. */
StatsTest stats_paired(const double *a, const double *b, size_t n, double confidence);
/** Mean of a less mean of b, of different samples. Welch 1947. */
StatsTest stats_welch(const double *a, size_t n_a, const double *b, size_t n_b, double confidence);

/** A mean against a margin of non-inferiority (positive: the loss that is allowed). */
typedef struct StatsMargin {
    double value;
    double stderr_;
    double low; // one-sided limits at the confidence
    double high;
    double t;             // (value + margin) / stderr_
    double p_noninferior; // of the null hypothesis that the mean is -margin or below
    double p_regression;  // of the null hypothesis that the mean is -margin or above
} StatsMargin;
/** One-sided t tests of differences x (n) against -margin; better is positive. */
StatsMargin stats_margin(const double *x, size_t n, double margin, double confidence);

/** Other standard errors of a clustered mean, to be shown; verdicts use the jackknife. */
typedef struct StatsClustered {
    double stderr_cr0;
    double stderr_cr1;    // times sqrt(G / (G-1))
    double stderr_miller; // Miller 2024, equation 4
    Interval cr1;         // t with G-1 df
} StatsClustered;
StatsClustered stats_clustered(const double *x, const uint32_t *cluster, size_t n,
                               size_t n_clusters, double confidence);

/** Sample covariance (n-1) of two columns. */
double stats_covariance(const double *a, const double *b, size_t n);
/** Pearson's correlation; NaN when either is constant. */
double stats_pearson(const double *a, const double *b, size_t n);
/** Spearman's: Pearson's of the ranks, equal values sharing their mean rank. */
double stats_spearman(const double *a, const double *b, size_t n);

/** Where the variance of a score comes from when samples have several epochs. */
typedef struct StatsEpochs {
    double mean;    // of the samples' means
    double stderr_; // from the samples' means
    double within;  // variance between epochs of one sample, pooled
    double between; // variance between samples without it, unbiased (may be negative)
    size_t n;       // samples with any epoch
} StatsEpochs;
/** shapes  x: epochs of sample i from start[i] to start[i + 1]; start (n + 1). Miller 2024, 3.2. */
StatsEpochs stats_epochs(const double *x, const size_t *start, size_t n);
/** Standard error to be expected with n samples of k epochs each. */
double stats_epochs_stderr(const StatsEpochs *epochs, double n, double k);

// ---- Two runs over the same samples, the one way everywhere (DESIGN.md 4.5) ---------------------

typedef enum StatsMethod {
    STATS_NONE,      // too little to tell
    STATS_WILSON,    // one 0 or 1 a sample
    STATS_TANGO,     // and the difference of two such
    STATS_T,         // mean of (differences of) scores
    STATS_DELTA,     // ratio of sums, or a function of it
    STATS_JACKKNIFE, // clusters
} StatsMethod;
/** "wilson", "t" and so on; "none". */
const char *stats_method_word(StatsMethod method);

/** One or two values a sample, and what they are averaged over. Values that are not finite are
 * missing: the sample, or the pair, is left out and counted. Zeroed members are defaults. */
typedef struct StatsPairs {
    const double *candidate;        // (n)
    const double *baseline;         // (n); NULL: estimate the candidate's value alone
    const double *candidate_weight; // (n) > 0; NULL: 1
    const double *baseline_weight;  // (n); NULL: 1
    const uint32_t *cluster;        // (n) in 0..n_clusters-1; NULL: every sample its own
    const uint32_t *part;           // (n) in 0..n_parts-1; NULL: one. Parts count equally
    size_t n;
    size_t n_clusters;
    size_t n_parts;
    bool binary;      // declared boolean, one score a sample
    bool exponential; // the value is exp of the ratio (perplexity)
} StatsPairs;

typedef struct StatsEstimate {
    Interval interval; // of candidate - baseline, or of the value
    double df;         // of t; NaN by Wilson and Tango
    double p;          // two-sided, of no difference; NaN for a value
    double p_exact;    // McNemar's, beside Tango's; else NaN
    StatsMethod method;
    size_t n;         // samples that count
    size_t n_missing; // left out
    size_t n_clusters;
    size_t n_better; // pairs in which the candidate's value is the higher one
    size_t n_worse;
} StatsEstimate;

/**
 * Value or difference with its interval: Wilson, Tango, t, delta method or jackknife as the data
 * ask. Parts that no sample is left of do not count. */
StatsEstimate stats_estimate(const StatsPairs *pairs, double confidence);

// ---- Power --------------------------------------------------------------------------------------

/** Chances of error that a plan accepts. */
typedef struct StatsPlan {
    double alpha; // e.g. 0.05
    int sides;    // 1 or 2
    double power; // e.g. 0.8
} StatsPlan;

/** Samples that show a true difference: (z_alpha + z_power)^2 variance / delta^2. */
double stats_plan_n(const StatsPlan *plan, double delta, double variance);
/** Minimum detectable effect of n samples: (z_alpha + z_power) sqrt(variance / n). */
double stats_plan_effect(const StatsPlan *plan, double n, double variance);
/**
 * Variance of a paired difference of samples: omega2 between samples, within_a / k_a and
 * within_b / k_b from the epochs; infinite k is allowed. Miller 2024, equation 9. Unpaired designs
 * use the sum of both variances. */
double stats_plan_variance(double omega2, double within_a, double k_a, double within_b, double k_b);
/** Pairs that show difference delta when the share discordant differs. Connor 1987. */
double stats_plan_n_binary(const StatsPlan *plan, double delta, double discordant);
/** The difference that n pairs show, by Connor's formula; NaN when none does. */
double stats_plan_effect_binary(const StatsPlan *plan, double n, double discordant);

// ---- Many tests ---------------------------------------------------------------------------------

/**
 * Adjusted p-values in the order given; NaN stay NaN and do not count.
 * shapes  p (n), out (n), which may be p. */
void stats_holm(const double *p, size_t n, double *out);
/** Benjamini and Hochberg 1995: false discovery rate. */
void stats_benjamini_hochberg(const double *p, size_t n, double *out);
/** Chance that any of n independent checks at this confidence errs. */
double stats_family_wise(double confidence, size_t n);

// ---- Looking early ------------------------------------------------------------------------------

/**
 * Radius at time t of a confidence sequence for a mean: holds at all times at once, so looking and
 * stopping are free. Normal mixture, Robbins 1970; Howard et al. 2021. variance bounds that of one
 * observation (0.25 for scores in [0, 1]), rho2 > 0 tunes when it is tightest. */
double stats_mixture_radius(double t, double variance, double rho2, double alpha);
/** The rho2 that makes the radius smallest at time t (Howard et al. 2021, 3.5, approximately). */
double stats_mixture_rho2(double t, double alpha);
/** Chance that |z| passes the bound at any of n equally spaced looks when nothing is there: what
 * naive peeking costs. Armitage, McPherson and Rowe 1969. */
double stats_looks_error(int n_looks, double bound);

// ---- Agreement of judges ------------------------------------------------------------------------

typedef struct StatsAgreement {
    double observed;      // share of equal ratings
    double kappa;         // Cohen 1960
    double kappa_stderr;  // Fleiss, Cohen and Everitt 1969
    double linear;        // weighted by 1 - |i-j|/(k-1)
    double linear_stderr; // by the same formula
    double quadratic;     // by 1 - ((i-j)/(k-1))^2
    double quadratic_stderr;
    double ac1; // Gwet 2008: steady where one category is rare
    double ac1_stderr;
    double pabak; // 2 observed - 1 for two categories
} StatsAgreement;

/** Count pairs of ratings. shapes  a, b (n) in 0..k-1; out_table (k, k), rows are a's. */
void stats_confusion(const uint32_t *a, const uint32_t *b, size_t n, size_t k, int64_t *out_table);
/** shapes  table (k, k) row-major, k >= 2. NaN where chance agreement is complete. */
StatsAgreement stats_agreement(const int64_t *table, size_t k);

// ---- Drift --------------------------------------------------------------------------------------

/** Population stability index sum (q-p) ln(q/p); an empty bin's share is taken as epsilon. */
double stats_psi(const int64_t *reference, const int64_t *current, size_t n_bins, double epsilon);
/** Jensen-Shannon divergence in bits, 0..1; its square root is a distance. Lin 1991. */
double stats_jensen_shannon(const int64_t *reference, const int64_t *current, size_t n_bins);

typedef struct StatsKs {
    double distance;     // largest gap between the two empirical distributions
    double p_exact;      // without ties; NaN past 10^8 lattice points
    double p_asymptotic; // Kolmogorov's at sqrt(nm/(n+m)) distance
} StatsKs;
/** Two-sample Kolmogorov-Smirnov; exact by counting lattice paths. shapes  sorted x (n), y (m). */
StatsKs stats_ks(const double *x, size_t n, const double *y, size_t m);
/** Area between the two empirical distributions. shapes  sorted x (n), y (m). */
double stats_wasserstein(const double *x, size_t n, const double *y, size_t m);

/** A distance of two groups: the first n_a of index are one, the next n_b the other. */
typedef double StatsTwoGroups(void *ctx, const uint32_t *index, size_t n_a, size_t n_b);
/** Permutation p of a distance: (1 + shuffles as large) / (1 + shuffles). Phipson, Smyth 2010. */
double stats_permutation_p(StatsTwoGroups *distance, void *ctx, size_t n_a, size_t n_b,
                           size_t n_shuffles, uint64_t seed);

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
/** The x with I_x(a, b) = p, by bisection. */
double stats_ibeta_inverse(double a, double b, double p);
/** ln Gamma(x), x > 0. */
double stats_log_gamma(double x);
/** ln of the number of ways to choose k of n. */
double stats_log_choose(double n, double k);
/** P(X = k) and P(X <= k) for n trials that succeed with chance p. */
double stats_binomial_pmf(int64_t k, int64_t n, double p);
double stats_binomial_cdf(int64_t k, int64_t n, double p);
/** P(X > x) of the chi-squared distribution with one degree of freedom. */
double stats_chi2_sf(double x);
/** P(K > x) of Kolmogorov's distribution. */
double stats_kolmogorov_sf(double x);
