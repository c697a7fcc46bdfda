// SPDX-License-Identifier: MIT
// Statistics against published values: those of research/stats_vectors.json (cross-checked there
// with SciPy) and values computed with SciPy 1.x and NumPy from the same definitions.
#include "results/stats_internal.h"

#include "../tap.h"

#define TOLERANCE 1e-9

static void check_near(int line, const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance) && !(isnan(got) && isnan(want))) {
        tap_checks_failed++;
        printf("# line %d: %s: got %.17g, want %.17g\n", line, what, got, want);
    }
}

static double relative(double want)
{
    return TOLERANCE * fmax(1, fabs(want));
}

static void check_interval(int line, Interval got, Interval want)
{
    check_near(line, "value", got.value, want.value, TOLERANCE);
    check_near(line, "stderr", got.stderr_, want.stderr_, TOLERANCE);
    check_near(line, "low", got.low, want.low, TOLERANCE);
    check_near(line, "high", got.high, want.high, TOLERANCE);
}

static void test_normal__matches_published_values(void)
{
    static const struct {
        int line;
        double p, want;
    } quantiles[] = {
        {__LINE__, 0.8, 0.8416212335729144},     {__LINE__, 0.9, 1.2815515655446008},
        {__LINE__, 0.95, 1.6448536269514715},    {__LINE__, 0.975, 1.9599639845400536},
        {__LINE__, 0.99, 2.3263478740408408},    {__LINE__, 0.995, 2.5758293035489},
        {__LINE__, 1e-06, -4.753424308822899},   {__LINE__, 1e-300, -37.0470962993612},
        {__LINE__, 1e-12, -7.034483825301131},   {__LINE__, 0.02425, -1.972961051311885},
        {__LINE__, 0.3, -0.5244005127080409},    {__LINE__, 0.5, 0.0},
        {__LINE__, 0.999999, 4.753424308817087},
    };
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        check_near(quantiles[i].line, "quantile", stats_normal_quantile(quantiles[i].p),
                   quantiles[i].want, relative(quantiles[i].want));
    }
    static const struct {
        int line;
        double z, want;
    } cdfs[] = {
        {__LINE__, -3, 0.0013498980316301035}, {__LINE__, -1, 0.15865525393145707},
        {__LINE__, 0.5, 0.6914624612740131},   {__LINE__, 1.96, 0.9750021048517796},
        {__LINE__, 4, 0.9999683287581669},
    };
    for (size_t i = 0; i < sizeof(cdfs) / sizeof(cdfs[0]); i++) {
        check_near(cdfs[i].line, "cdf", stats_normal_cdf(cdfs[i].z), cdfs[i].want, TOLERANCE);
    }
    CHECK(isinf(stats_normal_quantile(0)) && stats_normal_quantile(0) < 0);
    CHECK(isinf(stats_normal_quantile(1)) && stats_normal_quantile(1) > 0);
    CHECK(isnan(stats_normal_quantile(1.5)) && isnan(stats_normal_quantile(NAN)));
}

static void test_ibeta__matches_published_values(void)
{
    static const struct {
        int line;
        double a, b, x, want;
    } cases[] = {
        {__LINE__, 2, 3, 0.4, 0.5247999999999997},
        {__LINE__, 0.5, 0.5, 0.1, 0.2048327646991332},
        {__LINE__, 80, 20, 0.75, 0.10939053817284912},
        {__LINE__, 500000.0, 0.5, 0.999999, 0.3173105078558957},
        {__LINE__, 500000.0, 0.5, 0.9999962, 0.051252420013730864},
        {__LINE__, 0.5, 0.5, 0.999, 0.9798649583666235},
        {__LINE__, 0.01, 30, 1e-05, 0.9271909552564549},
        {__LINE__, 300, 400, 0.45, 0.8738250286734268},
        {__LINE__, 9.5, 10.5, 0.3, 0.053432530040557875},
        {__LINE__, 10, 0.5, 0.9, 0.15164090963470994},
        {__LINE__, 3, 1000000.0, 2e-06, 0.3233246665001949},
        {__LINE__, 2, 3, 0, 0},
        {__LINE__, 2, 3, 1, 1},
        {__LINE__, -1, 3, 0.5, NAN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_near(cases[i].line, "ibeta", stats_ibeta(cases[i].a, cases[i].b, cases[i].x),
                   cases[i].want, TOLERANCE);
    }
}

static void test_t__matches_published_values(void)
{
    static const struct {
        int line;
        double p, df, want;
    } cases[] = {
        {__LINE__, 0.975, 1, 12.706204736174694},
        {__LINE__, 0.975, 2, 4.302652729749456},
        {__LINE__, 0.975, 4, 2.7764451051977908},
        {__LINE__, 0.975, 9, 2.2621571627982027},
        {__LINE__, 0.975, 29, 2.0452296421327016},
        {__LINE__, 0.975, 99, 1.9842169515864203},
        {__LINE__, 0.975, 999, 1.9623414611335686},
        {__LINE__, 0.95, 4, 2.1318467863266495},
        {__LINE__, 0.95, 9, 1.8331129326562343},
        {__LINE__, 0.95, 29, 1.6991270265334948},
        {__LINE__, 0.95, 99, 1.6603911560169617},
        {__LINE__, 0.975, 2.5, 3.5746548420036817},
        {__LINE__, 0.975, 0.3, 6582.0356994007525},
        {__LINE__, 0.975, 0.05, 1.1958337585475138e+25},
        {__LINE__, 0.995, 17.96955837399613, 2.8790070787510884},
        {__LINE__, 0.975, 10000.0, 1.960201239890626},
        {__LINE__, 0.975, 123456, 1.9599832002451867},
        {__LINE__, 0.975, 2000000.0, 1.9599651706763748},
        {__LINE__, 0.975, 1000000000.0, 1.959963986912325},
        {__LINE__, 0.6, 3, 0.2766706623326898},
        {__LINE__, 0.025, 9, -2.2621571627982053},
        {__LINE__, 0.9995, 5, 6.868826625881276},
        {__LINE__, 0.51, 30, 0.025278783971765764},
        {__LINE__, 0.5, 30, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_near(cases[i].line, "quantile", stats_t_quantile(cases[i].p, cases[i].df),
                   cases[i].want, relative(cases[i].want));
    }
    static const struct {
        int line;
        double t, df, want;
    } tails[] = {
        {__LINE__, 2.0, 9, 0.03827641188535039},
        {__LINE__, 1.5, 99, 0.0683984088579837},
        {__LINE__, -1, 4, 0.8130495168499705},
        {__LINE__, 0, 3, 0.5},
        {__LINE__, 40, 2, 0.0003122073360923703},
        {__LINE__, 1000.0, 1.5, 1.1924472823393507e-05},
        {__LINE__, 1.96, 100000.0, 0.02499928159715084},
        {__LINE__, INFINITY, 3, 0},
    };
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        check_near(tails[i].line, "tail", stats_t_sf(tails[i].t, tails[i].df), tails[i].want,
                   TOLERANCE);
    }
    CHECK(isnan(stats_t_quantile(0.9, 0)) && isnan(stats_t_sf(1, -1)));
}

static void test_wilson__matches_published_values(void)
{
    static const struct {
        int line;
        int64_t k, n;
        double low, high;
    } cases[] = {
        {__LINE__, 0, 10, 0, 0.27753279986288915},
        {__LINE__, 10, 10, 0.7224672001371109, 1},
        {__LINE__, 8, 10, 0.49016247153664183, 0.9433178485456247},
        {__LINE__, 45, 50, 0.7863976856252035, 0.9565242350681096},
        {__LINE__, 1, 100, 0.0017674320641406435, 0.054486196178705294},
        {__LINE__, 430, 500, 0.826833135055546, 0.8876773398121365},
        {__LINE__, 0, 1, 0, 0.7934506856227626},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Interval got = stats_wilson(cases[i].k, cases[i].n, 0.95);
        check_near(cases[i].line, "low", got.low, cases[i].low, TOLERANCE);
        check_near(cases[i].line, "high", got.high, cases[i].high, TOLERANCE);
        check_near(cases[i].line, "value", got.value, (double)cases[i].k / (double)cases[i].n, 0);
    }
    CHECK_NEAR(stats_wilson(0, 10, 0.95).low, 0, 0);
    CHECK_NEAR(stats_wilson(10, 10, 0.95).high, 1, 0);
    CHECK(isnan(stats_wilson(1, 1, 0.95).stderr_));
    CHECK(isnan(stats_wilson(0, 0, 0.95).value));
}

static const double SCORES[] = {1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1};
static const uint32_t CLUSTERS[] = {0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4};
static const double X[] = {0.805, 0.808, 0.515, 0.286, 0.054, 0.383,
                           0.408, 0.045, 0.049, 0.999, 0.652, 0.235};
static const double W[] = {1.5, 3.12, 2.89, 2.73, 1.38, 1.68, 2.23, 0.38, 1.87, 1.01, 2.84, 0.39};

static void test_mean__matches_published_values(void)
{
    check_interval(__LINE__, stats_mean(SCORES, 12, 0.95),
                   (Interval){0.6666666666666666, 0.1421338109037403, 0.35383225812026303,
                              0.9795010752130702});
    static const double second[] = {0.2, 0.9, 0.4, 0.7, 0.7, 0.1, 0.85, 0.3};
    CHECK_NEAR(stats_mean(second, 8, 0.95).value, 0.51875, TOLERANCE);
    CHECK_NEAR(stats_mean(second, 8, 0.95).stderr_, 0.10853632538727036, TOLERANCE);
    static const double means[] = {0.75, 0.25, 1.0, 0.25, 0.75}; // of four resamples each
    CHECK_NEAR(stats_mean(means, 5, 0.95).stderr_, 0.15, TOLERANCE);
    static const double differences[] = {0.05, 0.1, -0.05, 0.1, 0, 0.05, 0.1, -0.05, 0.1, 0.15};
    check_interval(
        __LINE__, stats_mean(differences, 10, 0.95),
        (Interval){0.055, 0.021666666666666667, 0.005986594806038949, 0.10401340519396107});
}

static void test_mean__few_or_equal_values(void)
{
    Interval none = stats_mean(NULL, 0, 0.95);
    CHECK(isnan(none.value) && isnan(none.stderr_) && isnan(none.low));
    Interval one = stats_mean(SCORES, 1, 0.95);
    CHECK_NEAR(one.value, 1, 0);
    CHECK(isnan(one.stderr_) && isnan(one.low) && isnan(one.high));
    static const double equal[] = {0.1, 0.1, 0.1};
    check_interval(__LINE__, stats_mean(equal, 3, 0.95), (Interval){0.1, 0, 0.1, 0.1});
}

static void test_mean__survives_a_large_offset(void)
{
    double shifted[12];
    for (int i = 0; i < 12; i++) {
        shifted[i] = 1e9 + SCORES[i];
    }
    CHECK_NEAR(stats_mean(shifted, 12, 0.95).stderr_, 0.1421338109037403, TOLERANCE);
}

static void test_ratio__is_the_delta_method(void)
{
    check_interval(__LINE__, stats_ratio(X, W, 12, 0.95),
                   (Interval){0.48530608537693004, 0.08427886998333664, 0.2998095432343134,
                              0.6708026275195467});
    static const double equal[] = {0.3, 0.3, 0.3, 0.3};
    check_interval(__LINE__, stats_ratio(equal, W, 4, 0.95), (Interval){0.3, 0, 0.3, 0.3});
}

static void test_clusters__jackknife(void)
{
    check_interval(__LINE__, stats_mean_clustered(SCORES, CLUSTERS, 12, 5, 0.95),
                   (Interval){0.6666666666666666, 0.06242424242424239, 0.47593355192262377,
                              0.8573997814107095});
    static const double second[] = {0.2, 0.9, 0.4, 0.7, 0.7, 0.1, 0.85, 0.3};
    static const uint32_t second_clusters[] = {0, 0, 1, 1, 1, 2, 3, 3};
    check_interval(__LINE__, stats_mean_clustered(second, second_clusters, 8, 4, 0.95),
                   (Interval){0.51875, 0.06892047509815281, 0.276173018020425, 0.7613269819795752});
    check_interval(__LINE__, stats_ratio_clustered(X, W, CLUSTERS, 12, 5, 0.95),
                   (Interval){0.48530608537693004, 0.14358186814137536, 0.04660125103940149,
                              0.9240109197144586});
    // Every cluster's mean is the grand mean: an error of exactly zero, never NaN.
    static const uint32_t degenerate[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};
    check_interval(__LINE__, stats_mean_clustered(SCORES, degenerate, 12, 4, 0.95),
                   (Interval){0.6666666666666666, 0, 0.6666666666666666, 0.6666666666666666});
    static const uint32_t one[12] = {0};
    CHECK(isnan(stats_mean_clustered(SCORES, one, 12, 1, 0.95).stderr_));
    CHECK_NEAR(stats_mean_clustered(SCORES, one, 12, 1, 0.95).value, 2.0 / 3, TOLERANCE);
}

static void test_clusters__of_one_sample_are_the_plain_mean(void)
{
    static const uint32_t own[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    Interval got = stats_mean_clustered(SCORES, own, 12, 12, 0.95);
    check_interval(__LINE__, got, stats_mean(SCORES, 12, 0.95));
}

static const uint32_t PARTS[] = {0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2};

static void test_average__of_parts(void)
{
    Interval parts[3];
    int64_t n[] = {4, 5, 3};
    for (size_t i = 0, from = 0; i < 3; from += (size_t)n[i], i++) {
        parts[i] = stats_mean(X + from, (size_t)n[i], 0.95);
    }
    check_interval(__LINE__, stats_average(parts, n, 3, 0.95),
                   (Interval){0.47332222222222226, 0.08938477029390313, 0.22556900840104604,
                              0.7210754360433984});
    parts[1] = stats_mean(X, 1, 0.95);
    CHECK(isnan(stats_average(parts, n, 3, 0.95).stderr_));
    CHECK(isnan(stats_average(parts, n, 0, 0.95).value));
}

static void test_average__of_parts_with_shared_clusters(void)
{
    static const uint32_t clusters[] = {0, 0, 1, 1, 0, 2, 2, 1, 3, 3, 4, 4};
    StatsCell cells[12];
    size_t n_cells = 0;
    for (uint32_t cluster = 0; cluster < 5; cluster++) {
        for (size_t i = 0; i < 12; i++) {
            if (clusters[i] == cluster) {
                cells[n_cells++] = (StatsCell){
                    .cluster = cluster, .part = PARTS[i], .y = X[i] - X[0], .w = 1, .n = 1};
            }
        }
    }
    // Cells of one (cluster, part) need not be merged for the sums, but must be for the deletions.
    size_t merged = 0;
    for (size_t i = 1; i < n_cells; i++) {
        if (cells[i].cluster == cells[merged].cluster && cells[i].part == cells[merged].part) {
            cells[merged].y += cells[i].y;
            cells[merged].w += cells[i].w;
            cells[merged].n += cells[i].n;
        } else {
            cells[++merged] = cells[i];
        }
    }
    Arena scratch = {0};
    Interval got = stats_cells_interval(&scratch, cells, merged + 1, 5, 3, X[0], 0.95);
    arena_finish(&scratch);
    check_interval(__LINE__, got,
                   (Interval){0.47332222222222226, 0.15206777592269208, 0.042204621392813,
                              0.9044398230516315});
}

int main(void)
{
    tap_run("normal: matches published values", test_normal__matches_published_values);
    tap_run("ibeta: matches published values", test_ibeta__matches_published_values);
    tap_run("t: matches published values", test_t__matches_published_values);
    tap_run("wilson: matches published values", test_wilson__matches_published_values);
    tap_run("mean: matches published values", test_mean__matches_published_values);
    tap_run("mean: few or equal values", test_mean__few_or_equal_values);
    tap_run("mean: survives a large offset", test_mean__survives_a_large_offset);
    tap_run("ratio: is the delta method", test_ratio__is_the_delta_method);
    tap_run("clusters: jackknife", test_clusters__jackknife);
    tap_run("clusters: of one sample are the plain mean",
            test_clusters__of_one_sample_are_the_plain_mean);
    tap_run("average: of parts", test_average__of_parts);
    tap_run("average: of parts with shared clusters", test_average__of_parts_with_shared_clusters);
    return tap_done();
}
