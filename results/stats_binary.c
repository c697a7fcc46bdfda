// SPDX-License-Identifier: MIT
// Right or wrong: intervals of a proportion and of a paired difference, and McNemar's tests. Score
// intervals are the default (they hold at 0 and n); Wald's are not offered.
#include "results/stats_internal.h"

#include <math.h>

Interval stats_wilson_real(double k, double n, double confidence)
{
    if (!(n > 0)) {
        return stats_interval_unknown(NAN);
    }
    double z = stats_normal_quantile(0.5 + confidence / 2);
    double p = k / n;
    double scale = 1 + z * z / n;
    double center = (p + z * z / (2 * n)) / scale;
    double half = z / scale * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return (Interval){
        .value = p,
        .stderr_ = n < 2 ? (double)NAN : sqrt(p * (1 - p) / (n - 1)),
        // The ends are exact where all or none succeeded; rounding must not move them.
        .low = k <= 0 ? 0 : fmax(0, center - half),
        .high = k >= n ? 1 : fmin(1, center + half),
    };
}

Interval stats_wilson(int64_t k, int64_t n, double confidence)
{
    return stats_wilson_real((double)k, (double)n, confidence);
}

/** Equal tails of Beta(k + a, n - k + b) at both ends. */
static Interval beta_interval(int64_t k, int64_t n, double confidence, double extra_low,
                              double extra_high)
{
    Interval out = stats_wilson(k, n, confidence);
    if (n > 0) {
        double tail = (1 - confidence) / 2;
        double right = (double)k;
        double wrong = (double)(n - k);
        out.low = k == 0 ? 0 : stats_ibeta_inverse(right + extra_low, wrong + extra_high, tail);
        // The upper end from its mirror image, so that it is exact near 1 too.
        out.high =
            k == n ? 1 : 1 - stats_ibeta_inverse(wrong + extra_low, right + extra_high, tail);
    }
    return out;
}

Interval stats_clopper_pearson(int64_t k, int64_t n, double confidence)
{
    return beta_interval(k, n, confidence, 0, 1);
}

Interval stats_jeffreys(int64_t k, int64_t n, double confidence)
{
    return beta_interval(k, n, confidence, 0.5, 0.5);
}

StatsMcNemar stats_mcnemar(int64_t b, int64_t c)
{
    int64_t n = b + c;
    int64_t small = b < c ? b : c;
    double size = (double)n;
    double gap = fmax(0, fabs((double)b - (double)c) - 1);
    double tail = stats_binomial_cdf(small, n, 0.5);
    double chi2 = n > 0 ? gap * gap / size : 0;
    return (StatsMcNemar){
        .p_exact = fmin(1, 2 * tail),
        .p_mid = fmin(1, 2 * tail - stats_binomial_pmf(small, n, 0.5)),
        .p_b_small = stats_binomial_cdf(b, n, 0.5),
        .p_b_large = stats_binomial_cdf(c, n, 0.5), // symmetric: P(X >= b) = P(X <= n - b)
        .chi2 = chi2,
        .p_chi2 = stats_chi2_sf(chi2),
        .evidence = exp(size * M_LN2 - log1p(size) - stats_log_choose(size, (double)b)),
    };
}

double stats_tango_variance(double b, double c, double n, double delta)
{
    // Restricted estimate of the second kind's share: the larger root of a quadratic.
    double linear = (2 * n - b + c) * delta - b - c;
    double constant = -c * delta * (1 - delta);
    double root = sqrt(fmax(0, linear * linear - 8 * n * constant));
    double share = linear > 0 ? -2 * constant / (linear + root) : (root - linear) / (4 * n);
    return fmax(0, 2 * fmax(0, share) + delta * (1 - delta));
}

/** Tango's statistic at difference delta; falls as delta grows. */
static double tango_score(double b, double c, double n, double delta)
{
    double variance = n * stats_tango_variance(b, c, n, delta);
    double gap = b - c - n * delta;
    if (variance <= 0) {
        return gap > 0 ? INFINITY : gap < 0 ? -INFINITY : 0;
    }
    return gap / sqrt(variance);
}

/** The end of the interval between inner, where the score is 0, and outer. */
static double tango_limit(double b, double c, double n, double outer, double z)
{
    double inside = (b - c) / n;
    double outside = outer;
    if (fabs(tango_score(b, c, n, outer)) <= z) {
        return outer;
    }
    for (int i = 0; i < 200; i++) {
        double middle = inside + (outside - inside) / 2;
        if (middle == inside || middle == outside) {
            break;
        }
        if (fabs(tango_score(b, c, n, middle)) <= z) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    return inside;
}

Interval stats_tango_real(double b, double c, double n, double confidence)
{
    if (!(n > 0)) {
        return stats_interval_unknown(NAN);
    }
    double z = stats_normal_quantile(0.5 + confidence / 2);
    double value = (b - c) / n;
    double squares = (b + c) / n - value * value;
    return (Interval){
        .value = value,
        .stderr_ = n < 2 ? (double)NAN : sqrt(fmax(0, squares) / (n - 1)),
        .low = tango_limit(b, c, n, -1, z),
        .high = tango_limit(b, c, n, 1, z),
    };
}

Interval stats_tango(int64_t b, int64_t c, int64_t n, double confidence)
{
    return stats_tango_real((double)b, (double)c, (double)n, confidence);
}
