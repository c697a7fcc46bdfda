// SPDX-License-Identifier: MIT
// Paired, unpaired and clustered comparisons and epochs, against published values.
#include "results/stats.h"

#include "stats_check.h"

static const double A[] = {0.9, 0.8, 0.4, 0.7, 0.6, 0.95, 0.3, 0.55, 0.8, 0.65};
static const double B[] = {0.85, 0.7, 0.45, 0.6, 0.6, 0.9, 0.2, 0.6, 0.7, 0.5};

static void test_paired__matches_published_values(void)
{
    StatsTest paired = stats_paired(A, B, 10, 0.95);
    near(__LINE__, "difference", paired.interval.value, 0.055);
    near(__LINE__, "stderr", paired.interval.stderr_, 0.021666666666666667);
    near(__LINE__, "t", paired.t, 2.5384615384615388);
    near(__LINE__, "df", paired.df, 9);
    near(__LINE__, "p", paired.p, 0.03179092810435838);
    near(__LINE__, "low", paired.interval.low, 0.005986594806038949);
    near(__LINE__, "high", paired.interval.high, 0.10401340519396107);
    near(__LINE__, "cov", stats_covariance(A, B, 10), 0.03983333333333333);
    near(__LINE__, "corr", stats_pearson(A, B, 10), 0.9451538960131858);
    StatsTest welch = stats_welch(A, 10, B, 10, 0.95);
    near(__LINE__, "stderr", welch.interval.stderr_, 0.09184830488969903);
    near(__LINE__, "t", welch.t, 0.5988134464326779);
    near(__LINE__, "df", welch.df, 17.96955837399613);
    near(__LINE__, "p", welch.p, 0.5567715283025885);
    CHECK(isnan(stats_welch(A, 1, B, 10, 0.95).p) && isnan(stats_paired(A, B, 1, 0.95).p));
}

static void test_rank__matches_published_values(void)
{
    static const double a[] = {5, 3, 4, 1, 2, 5, 4, 2};
    static const double b[] = {4, 3, 5, 1, 3, 5, 3, 2};
    near(__LINE__, "pearson", stats_pearson(a, b, 8), 0.8641264122753544);
    near(__LINE__, "spearman", stats_spearman(a, b, 8), 0.8625673907099517);
    static const double flat[] = {1, 1, 1, 1, 1, 1, 1, 1};
    CHECK(isnan(stats_pearson(a, flat, 8)) && isnan(stats_spearman(flat, b, 8)));
    CHECK(isnan(stats_pearson(a, b, 1)) && isnan(stats_covariance(a, b, 1)));
}

static const double SCORES[] = {1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1};

static void test_mean__normal_interval(void)
{
    Interval got = stats_mean_normal(SCORES, 12, 0.95);
    near(__LINE__, "stderr", got.stderr_, 0.1421338109037403);
    near(__LINE__, "low", got.low, 0.3880895163099093);
    near(__LINE__, "high", got.high, 0.945243817023424);
    // Bernoulli's error, sqrt(p (1-p) / n), is that of Wilson's with n for n - 1.
    near(__LINE__, "bernoulli", stats_wilson(8, 12, 0.95).stderr_ * sqrt(11.0 / 12),
         0.13608276348795434);
    CHECK(isnan(stats_mean_normal(SCORES, 1, 0.95).low));
}

static void test_clustered__matches_published_values(void)
{
    static const uint32_t clusters[] = {0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4};
    StatsClustered got = stats_clustered(SCORES, clusters, 12, 5, 0.95);
    near(__LINE__, "miller", got.stderr_miller, 0.06906461783422901);
    near(__LINE__, "cr0", got.stderr_cr0, 0.05555555555555556);
    near(__LINE__, "cr1", got.stderr_cr1, 0.06211299937499416);
    near(__LINE__, "low", got.cr1.low, 0.4942133335828106);
    near(__LINE__, "high", got.cr1.high, 0.8391199997505226);
    static const double second[] = {0.2, 0.9, 0.4, 0.7, 0.7, 0.1, 0.85, 0.3};
    static const uint32_t letters[] = {0, 0, 1, 1, 1, 2, 3, 3};
    got = stats_clustered(second, letters, 8, 4, 0.95);
    near(__LINE__, "miller", got.stderr_miller, 0.07348141733932755);
    near(__LINE__, "cr0", got.stderr_cr0, 0.06266579571923585);
    near(__LINE__, "cr1", got.stderr_cr1, 0.07236022805496584);
    near(__LINE__, "low", got.cr1.low, 0.2884674595769877);
    near(__LINE__, "high", got.cr1.high, 0.7490325404230124);
    static const uint32_t degenerate[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};
    got = stats_clustered(SCORES, degenerate, 12, 4, 0.95);
    near(__LINE__, "miller", got.stderr_miller, 0.0410304969931109);
    near(__LINE__, "cr1", got.stderr_cr1, 0);
    near(__LINE__, "low", got.cr1.low, 2.0 / 3);
    static const uint32_t one[12] = {0};
    CHECK(isnan(stats_clustered(SCORES, one, 12, 1, 0.95).stderr_cr1));
    // The jackknife's test on the same clusters.
    StatsTest test = stats_t_test_clustered(SCORES, clusters, 12, 5, 0.95);
    near(__LINE__, "stderr", test.interval.stderr_, 0.06242424242424239);
    near(__LINE__, "df", test.df, 144.0 / (9 + 4 + 16 + 4 + 1) - 1);
}

static void test_epochs__matches_published_values(void)
{
    static const double x[] = {1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1};
    static const size_t start[] = {0, 4, 8, 12, 16, 20};
    StatsEpochs got = stats_epochs(x, start, 5);
    near(__LINE__, "mean", got.mean, 0.6);
    near(__LINE__, "stderr", got.stderr_, 0.15);
    near(__LINE__, "within", got.within, 0.2);
    near(__LINE__, "between", got.between, 0.0625);
    near(__LINE__, "K 1", stats_epochs_stderr(&got, 5, 1), 0.22912878474779202);
    near(__LINE__, "K 16", stats_epochs_stderr(&got, 5, 16), 0.1224744871391589);
    near(__LINE__, "as it was", stats_epochs_stderr(&got, 5, 4), got.stderr_);
    // Samples that lost epochs: one of them all.
    static const size_t ragged[] = {0, 3, 3, 4, 6};
    got = stats_epochs(x, ragged, 4);
    CHECK_INT(got.n, 3);
    near(__LINE__, "mean", got.mean, (2.0 / 3 + 1 + 0) / 3);
    near(__LINE__, "within", got.within, (2.0 / 3) / 3);
    CHECK(isnan(stats_epochs(x, start, 0).mean) && isnan(stats_epochs(x, start, 1).between));
}

static void test_margin__matches_published_values(void)
{
    static const double equal[6] = {0};
    static const double close[] = {-0.02, 0,    0.01, -0.01, 0,     0.02, -0.01, 0,     0.01, 0,
                                   -0.02, 0.01, 0,    0,     -0.01, 0.01, 0,     -0.01, 0.02, 0};
    static const double worse[] = {-0.1, -0.05, -0.08, 0, -0.12, -0.06, -0.09, -0.03, -0.07, -0.1};
    static const double noisy[] = {-1, 0, 0, 1, 0, -1, 0, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 0};
    static const struct {
        int line;
        const double *x;
        size_t n;
        double value, stderr_, low, high, t, p_noninferior, p_regression;
    } cases[] = {
        {__LINE__, equal, 6, 0, 0, 0, 0, INFINITY, 0, 1},
        {__LINE__, close, 20, 0, 0.0025131234497501732, -0.0043455242163667925,
         0.0043455242163667925, 7.958224257542215, 9.056633602266101e-08, 0.999999909433664},
        {__LINE__, worse, 10, -0.07, 0.011450376024878445, -0.09098983237498155,
         -0.04901016762501843, -4.366668823046864, 0.9990970848943838, 0.0009029151056162076},
        {__LINE__, noisy, 20, -0.05, 0.11413288653790232, -0.24735091898633216, 0.14735091898633218,
         -0.26285149626910836, 0.6022529132795218, 0.3977470867204782},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        StatsMargin got = stats_margin(cases[i].x, cases[i].n, 0.02, 0.95);
        near(cases[i].line, "value", got.value, cases[i].value);
        near(cases[i].line, "stderr", got.stderr_, cases[i].stderr_);
        near(cases[i].line, "low", got.low, cases[i].low);
        near(cases[i].line, "high", got.high, cases[i].high);
        near(cases[i].line, "t", got.t, cases[i].t);
        near(cases[i].line, "p noninferior", got.p_noninferior, cases[i].p_noninferior);
        near(cases[i].line, "p regression", got.p_regression, cases[i].p_regression);
    }
    static const double one[] = {-0.5};
    StatsMargin single = stats_margin(one, 1, 0.02, 0.95);
    CHECK(single.value == -0.5 && isnan(single.low) && isnan(single.p_noninferior));
}

int main(void)
{
    tap_run("paired: matches published values", test_paired__matches_published_values);
    tap_run("rank: matches published values", test_rank__matches_published_values);
    tap_run("mean: normal interval", test_mean__normal_interval);
    tap_run("clustered: matches published values", test_clustered__matches_published_values);
    tap_run("epochs: matches published values", test_epochs__matches_published_values);
    tap_run("margin: matches published values", test_margin__matches_published_values);
    return tap_done();
}
