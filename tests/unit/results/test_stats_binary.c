// SPDX-License-Identifier: MIT
// Proportions, paired right-or-wrong and the special functions below them, against published values
// and by exact enumeration.
#include "results/stats.h"

#include "stats_check.h"

static void test_proportion__matches_published_values(void)
{
    static const struct {
        int line;
        int64_t k, n;
        double wilson_low, wilson_high, exact_low, exact_high, jeffreys_low, jeffreys_high;
    } cases[] = {
        {__LINE__, 0, 10, 0.0, 0.27753279986288915, 0.0, 0.3084971078187607, 0.0,
         0.21719626750921028},
        {__LINE__, 10, 10, 0.7224672001371109, 1.0, 0.6915028921812392, 1.0, 0.7828037324907895,
         1.0},
        {__LINE__, 8, 10, 0.49016247153664183, 0.9433178485456247, 0.4439045376923586,
         0.9747892736731667, 0.49722550356000705, 0.9559405864473691},
        {__LINE__, 45, 50, 0.7863976856252035, 0.9565242350681096, 0.7818646335657975,
         0.9667249064109775, 0.7946451719769518, 0.9608056356058163},
        {__LINE__, 1, 100, 0.0017674320641406435, 0.054486196178705294, 0.0002531460329774256,
         0.05445938539207999, 0.001081101709080095, 0.04577889660072269},
        {__LINE__, 430, 500, 0.826833135055546, 0.8876773398121365, 0.8264561435062903,
         0.8892104657359334, 0.8275404834270041, 0.8883068411909323},
        {__LINE__, 0, 1, 0.0, 0.7934506856227626, 0.0, 0.9749999999999999, 0.0, 0.8532536836904245},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        int line = cases[i].line;
        int64_t k = cases[i].k;
        int64_t n = cases[i].n;
        Interval wilson = stats_wilson(k, n, 0.95);
        Interval exact = stats_clopper_pearson(k, n, 0.95);
        Interval jeffreys = stats_jeffreys(k, n, 0.95);
        near(line, "wilson low", wilson.low, cases[i].wilson_low);
        near(line, "wilson high", wilson.high, cases[i].wilson_high);
        near(line, "exact low", exact.low, cases[i].exact_low);
        near(line, "exact high", exact.high, cases[i].exact_high);
        near(line, "jeffreys low", jeffreys.low, cases[i].jeffreys_low);
        near(line, "jeffreys high", jeffreys.high, cases[i].jeffreys_high);
        near(line, "value", exact.value, (double)k / (double)n);
    }
    CHECK(isnan(stats_clopper_pearson(0, 0, 0.95).low) && isnan(stats_jeffreys(0, 0, 0.9).value));
}

/** The least coverage of 95 % intervals over a grid of true shares, by enumeration of k. */
static double least_coverage(Interval (*interval)(int64_t, int64_t, double), int64_t n)
{
    double least = 1;
    for (int g = 1; g < 100; g++) {
        double p = g / 100.0;
        double covered = 0;
        for (int64_t k = 0; k <= n; k++) {
            Interval got = interval(k, n, 0.95);
            if (got.low <= p && p <= got.high) {
                covered += stats_binomial_pmf(k, n, p);
            }
        }
        least = fmin(least, covered);
    }
    return least;
}

static void test_proportion__coverage_by_enumeration(void)
{
    CHECK(least_coverage(stats_clopper_pearson, 10) >= 0.95);
    CHECK(least_coverage(stats_clopper_pearson, 50) >= 0.95);
    CHECK(least_coverage(stats_wilson, 10) >= 0.83); // known dips near 0 and 1
    CHECK(least_coverage(stats_wilson, 50) >= 0.89);
    CHECK(least_coverage(stats_jeffreys, 50) >= 0.88);
}

static void test_mcnemar__matches_published_values(void)
{
    static const struct {
        int line;
        int64_t b, c;
        double exact, mid, b_small, b_large, chi2, p_chi2, evidence;
    } cases[] = {
        {__LINE__, 0, 0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0},
        {__LINE__, 3, 12, 0.03515625, 0.021270751953125, 0.017578125, 0.996307373046875,
         4.266666666666667, 0.03886710381241724, 4.501098901098901},
        {__LINE__, 0, 5, 0.0625, 0.03125, 0.03125, 1.0, 3.2, 0.07363827012030266,
         5.333333333333333},
        {__LINE__, 10, 10, 1.0, 1.0, 0.5880985260009766, 0.5880985260009766, 0.0, 1.0,
         0.27026018357287707},
        {__LINE__, 25, 12, 0.04703102743951604, 0.03355243967962451, 0.9899630740401335,
         0.02351551371975802, 3.891891891891892, 0.048519738280250725, 1.952414447453655},
        {__LINE__, 1, 0, 1.0, 0.5, 1.0, 0.5, 0.0, 1.0, 1.0},
        {__LINE__, 60, 90, 0.017597691928785745, 0.014359642888005305, 0.008798845964392872,
         0.9944392030763876, 5.6066666666666665, 0.017892267613019305, 2.045218115255975},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        StatsMcNemar got = stats_mcnemar(cases[i].b, cases[i].c);
        near(cases[i].line, "exact", got.p_exact, cases[i].exact);
        near(cases[i].line, "mid", got.p_mid, cases[i].mid);
        near(cases[i].line, "b small", got.p_b_small, cases[i].b_small);
        near(cases[i].line, "b large", got.p_b_large, cases[i].b_large);
        near(cases[i].line, "chi2", got.chi2, cases[i].chi2);
        near(cases[i].line, "p chi2", got.p_chi2, cases[i].p_chi2);
        near(cases[i].line, "evidence", got.evidence, cases[i].evidence);
    }
}

static void test_tango__matches_published_values(void)
{
    static const struct {
        int line;
        int64_t b, c, n;
        double value, low95, high95, low90, high90;
    } cases[] = {
        {__LINE__, 12, 2, 50, 0.2, 0.06111240618634402, 0.3447087482821486, 0.08547438245683633,
         0.32041338630714433},
        {__LINE__, 3, 12, 200, -0.045, -0.08917034595964043, -0.008060575810283098,
         -0.08099297838434866, -0.01449065313297292},
        {__LINE__, 5, 5, 100, 0.0, -0.07022119935838317, 0.07022119935838317, -0.05708605015896341,
         0.0570860501589634},
        {__LINE__, 0, 4, 60, -0.06666666666666667, -0.15925357313197164, -0.0024833577151041923,
         -0.1404477799781388, -0.02064341483384506},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        Interval wide = stats_tango(cases[i].b, cases[i].c, cases[i].n, 0.95);
        Interval narrow = stats_tango(cases[i].b, cases[i].c, cases[i].n, 0.9);
        near(cases[i].line, "value", wide.value, cases[i].value);
        near(cases[i].line, "low95", wide.low, cases[i].low95);
        near(cases[i].line, "high95", wide.high, cases[i].high95);
        near(cases[i].line, "low90", narrow.low, cases[i].low90);
        near(cases[i].line, "high90", narrow.high, cases[i].high90);
        Interval swapped = stats_tango(cases[i].c, cases[i].b, cases[i].n, 0.95);
        near(cases[i].line, "mirror", swapped.low, -wide.high);
    }
}

static void test_tango__at_the_ends(void)
{
    double z2 = pow(stats_normal_quantile(0.975), 2);
    Interval none = stats_tango(0, 0, 40, 0.95); // closed form: +-z^2 / (n + z^2)
    near(__LINE__, "low", none.low, -z2 / (40 + z2));
    near(__LINE__, "high", none.high, z2 / (40 + z2));
    Interval all = stats_tango(40, 0, 40, 0.95);
    near(__LINE__, "high", all.high, 1);
    CHECK(all.low > 0.8 && all.low < 1);
    Interval lost = stats_tango(0, 40, 40, 0.95);
    near(__LINE__, "low", lost.low, -1);
    near(__LINE__, "high", lost.high, -all.low);
    Interval one = stats_tango(0, 1, 1, 0.9);
    CHECK(one.low == -1 && one.high > -1 && one.high < 1 && isnan(one.stderr_));
    CHECK(isnan(stats_tango(0, 0, 0, 0.9).low));
    // The standard error is that of the mean of differences 1, -1, 0.
    static const double differences[] = {1, 1, -1, 0, 0, 0, 0};
    near(__LINE__, "stderr", stats_tango(2, 1, 7, 0.9).stderr_,
         stats_mean(differences, 7, 0.9).stderr_);
}

static void test_special__matches_published_values(void)
{
    near(__LINE__, "lgamma", stats_log_gamma(0.5), 0.5723649429247004);
    near(__LINE__, "lgamma", stats_log_gamma(10), 12.801827480081467);
    near(__LINE__, "lgamma", stats_log_gamma(1000.5), 5908.674175848678);
    near(__LINE__, "choose", stats_log_choose(52, 5), log(2598960));
    near(__LINE__, "choose", stats_log_choose(7, 0), 0);
    near(__LINE__, "pmf", stats_binomial_pmf(3, 10, 0.25), 262440.0 / 1048576);
    near(__LINE__, "pmf", stats_binomial_pmf(0, 10, 0), 1);
    near(__LINE__, "pmf", stats_binomial_pmf(10, 10, 1), 1);
    near(__LINE__, "pmf", stats_binomial_pmf(11, 10, 0.5), 0);
    near(__LINE__, "cdf", stats_binomial_cdf(10, 10, 0.3), 1);
    near(__LINE__, "cdf", stats_binomial_cdf(-1, 10, 0.3), 0);
    near(__LINE__, "chi2", stats_chi2_sf(3.841458820694124), 0.05);
    near(__LINE__, "kolmogorov", stats_kolmogorov_sf(1.3580986393225505), 0.05);
    // Both series where one gives way to the other.
    near(__LINE__, "kolmogorov", stats_kolmogorov_sf(nextafter(1, 0)), stats_kolmogorov_sf(1));
    CHECK(isnan(stats_binomial_cdf(1, 2, 1.5)) && isnan(stats_ibeta_inverse(1, 1, 2)));
}

static void test_special__inverses_and_sums(void)
{
    static const double as[] = {0.5, 1, 3, 80, 1e4};
    static const double ps[] = {1e-12, 0.025, 0.5, 0.975};
    for (size_t a = 0; a < N_OF(as); a++) {
        for (size_t b = 0; b < N_OF(as); b++) {
            for (size_t p = 0; p < N_OF(ps); p++) {
                double x = stats_ibeta_inverse(as[a], as[b], ps[p]);
                near_within(__LINE__, "ibeta of its inverse", stats_ibeta(as[a], as[b], x), ps[p],
                            as[a] + as[b] > 1000 ? 1e-8 : 1e-9);
            }
        }
    }
    for (int64_t n = 1; n <= 60; n += 7) {
        for (double p = 0.05; p < 1; p += 0.1) {
            double sum = 0;
            for (int64_t k = 0; k <= n; k++) {
                sum += stats_binomial_pmf(k, n, p);
                near(__LINE__, "cdf", stats_binomial_cdf(k, n, p), sum);
            }
        }
    }
}

int main(void)
{
    tap_run("proportion: matches published values", test_proportion__matches_published_values);
    tap_run("proportion: coverage by enumeration", test_proportion__coverage_by_enumeration);
    tap_run("mcnemar: matches published values", test_mcnemar__matches_published_values);
    tap_run("tango: matches published values", test_tango__matches_published_values);
    tap_run("tango: at the ends", test_tango__at_the_ends);
    tap_run("special: matches published values", test_special__matches_published_values);
    tap_run("special: inverses and sums", test_special__inverses_and_sums);
    return tap_done();
}
