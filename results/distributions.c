// SPDX-License-Identifier: MIT
// The special functions that the intervals need: normal and Student distributions and the
// incomplete beta function. Sources: Acklam's rational approximation of the normal quantile;
// Lentz's method for the continued fraction (Abramowitz and Stegun 26.5.8); Stirling's series.
#include "results/stats.h"

#include <float.h>
#include <math.h>

static const double LOG_SQRT_2PI = 0.91893853320467274178;

double stats_normal_cdf(double z)
{
    return 0.5 * erfc(-z * M_SQRT1_2);
}

static double polynomial(const double *coefficients, int n, double x)
{
    double sum = coefficients[0];
    for (int i = 1; i < n; i++) {
        sum = sum * x + coefficients[i];
    }
    return sum;
}

/** Acklam's approximation, relative error below 1.15e-9. */
static double normal_quantile_rough(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01, 1};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00, 1};
    const double tail = 0.02425;
    if (p < tail) {
        double q = sqrt(-2 * log(p));
        return polynomial(c, 6, q) / polynomial(d, 5, q);
    }
    if (p > 1 - tail) {
        double q = sqrt(-2 * log1p(-p));
        return -polynomial(c, 6, q) / polynomial(d, 5, q);
    }
    double q = p - 0.5;
    double r = q * q;
    return polynomial(a, 6, r) * q / polynomial(b, 6, r);
}

double stats_normal_quantile(double p)
{
    if (!(p >= 0 && p <= 1)) {
        return NAN;
    }
    if (p == 0 || p == 1) {
        return p == 0 ? -INFINITY : INFINITY;
    }
    double z = normal_quantile_rough(p);
    double error = stats_normal_cdf(z) - p;
    double u = error * exp(LOG_SQRT_2PI + z * z / 2);
    return z - u / (1 + z * u / 2);
}

double stats_log_gamma(double x)
{
    int sign; // lgamma itself would write it to a global
    return lgamma_r(x, &sign);
}

/** ln Gamma(x) less Stirling's leading terms, for x >= 10. */
static double stirling_rest(double x)
{
    static const double series[] = {-691.0 / 360360, 1.0 / 1188, -1.0 / 1680,
                                    1.0 / 1260,      -1.0 / 360, 1.0 / 12};
    return polynomial(series, 6, 1 / (x * x)) / x;
}

/** ln B(a, b) without the cancellation that three ln Gammas have for large arguments. */
static double log_beta(double a, double b)
{
    double small = fmin(a, b);
    double large = fmax(a, b);
    double sum = small + large;
    if (large < 10) {
        return stats_log_gamma(small) + stats_log_gamma(large) - stats_log_gamma(sum);
    }
    double rest = stirling_rest(large) - stirling_rest(sum);
    double log_share = log1p(-small / sum); // ln(large / sum)
    if (small < 10) {
        return stats_log_gamma(small) + rest + small - small * log(sum) + (large - 0.5) * log_share;
    }
    return LOG_SQRT_2PI - 0.5 * log(large) + stirling_rest(small) + rest +
           (small - 0.5) * log(small / sum) + large * log_share;
}

/** The continued fraction of I_x(a, b), for x below (a + 1) / (a + b + 2). */
static double ibeta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1;
    double d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= 100000; m++) {
        double change = 1;
        for (int odd = 0; odd < 2; odd++) {
            double term = odd == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                                   : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            d = 1 + term * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            c = fabs(c) < tiny ? tiny : c;
            change *= c * d;
        }
        h *= change;
        if (fabs(change - 1) < DBL_EPSILON) {
            break;
        }
    }
    return h;
}

/** I_x(a, b) where y = 1 - x is given too, since one of them may be too near 1 to be exact. */
static double ibeta_xy(double a, double b, double x, double y)
{
    if (x <= 0 || y <= 0) {
        return x <= 0 ? 0 : 1;
    }
    double log_x = x < 0.5 ? log(x) : log1p(-y);
    double log_y = y < 0.5 ? log(y) : log1p(-x);
    double front = exp(a * log_x + b * log_y - log_beta(a, b));
    if (x < (a + 1) / (a + b + 2)) {
        return front * ibeta_fraction(a, b, x) / a;
    }
    return 1 - front * ibeta_fraction(b, a, y) / b;
}

double stats_ibeta(double a, double b, double x)
{
    if (!(a > 0 && b > 0 && x >= 0 && x <= 1)) {
        return NAN;
    }
    return ibeta_xy(a, b, x, 1 - x);
}

double stats_ibeta_inverse(double a, double b, double p)
{
    if (!(a > 0 && b > 0 && p >= 0 && p <= 1)) {
        return NAN;
    }
    double low = 0;
    double high = 1;
    for (int i = 0; i < 1100; i++) { // until neighbours: the smallest answer is a denormal
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) {
            break;
        }
        if (stats_ibeta(a, b, middle) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return p <= 0 ? 0 : high;
}

double stats_log_choose(double n, double k)
{
    return -log1p(n) - log_beta(n - k + 1, k + 1);
}

double stats_binomial_pmf(int64_t k, int64_t n, double p)
{
    if (!(p >= 0 && p <= 1) || n < 0) {
        return NAN;
    }
    if (k < 0 || k > n) {
        return 0;
    }
    if (p == 0 || p == 1) {
        return k == (p == 0 ? 0 : n);
    }
    double right = (double)k;
    double wrong = (double)(n - k);
    return exp(stats_log_choose((double)n, right) + right * log(p) + wrong * log1p(-p));
}

double stats_binomial_cdf(int64_t k, int64_t n, double p)
{
    if (!(p >= 0 && p <= 1) || n < 0) {
        return NAN;
    }
    if (k < 0 || k >= n) {
        return k < 0 ? 0 : 1;
    }
    return ibeta_xy((double)(n - k), (double)(k + 1), 1 - p, p);
}

double stats_chi2_sf(double x)
{
    return x > 0 ? erfc(sqrt(x / 2)) : 1;
}

double stats_kolmogorov_sf(double x)
{
    if (!(x > 0)) {
        return isnan(x) ? x : 1;
    }
    if (x < 1) { // the other series of the theta function, fast for small x
        double sum = 0;
        for (int k = 1; k <= 7; k += 2) {
            sum += exp(-(double)(k * k) * M_PI * M_PI / (8 * x * x));
        }
        return 1 - sqrt(2 * M_PI) / x * sum;
    }
    double sum = 0;
    for (int k = 1; k <= 20; k++) {
        sum += (k % 2 == 1 ? 2 : -2) * exp(-2.0 * k * k * x * x);
    }
    return sum;
}

double stats_t_sf(double t, double df)
{
    if (isnan(t) || !(df > 0)) {
        return NAN;
    }
    double square = t * t;
    double x = isinf(square) ? 0 : df / (df + square);
    double y = isinf(square) ? 1 : square / (df + square);
    double tail = 0.5 * ibeta_xy(df / 2, 0.5, x, y);
    return t >= 0 ? tail : 1 - tail;
}

/** The t whose upper tail is q, for q < 0.5: bisection on ln t, which even df = 0.05 needs. */
static double t_upper_quantile(double q, double df)
{
    double low = -40;
    double high = 350; // t up to 1e152, so that its square is finite
    if (stats_t_sf(exp(high), df) > q) {
        return INFINITY;
    }
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (middle <= low || middle >= high) {
            break;
        }
        if (stats_t_sf(exp(middle), df) > q) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return exp((low + high) / 2);
}

double stats_t_quantile(double p, double df)
{
    if (!(p >= 0 && p <= 1) || !(df > 0)) {
        return NAN;
    }
    if (p == 0.5) {
        return 0;
    }
    if (df > 1e6) {
        // Cornish and Fisher; the next term is below 1e-16.
        double z = stats_normal_quantile(p);
        double z2 = z * z;
        return z + z * (z2 + 1) / (4 * df) + z * ((5 * z2 + 16) * z2 + 3) / (96 * df * df);
    }
    return p > 0.5 ? t_upper_quantile(1 - p, df) : -t_upper_quantile(p, df);
}
