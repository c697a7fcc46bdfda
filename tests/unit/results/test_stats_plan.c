// SPDX-License-Identifier: MIT
// Power, many tests, looking early and judges' agreement, against published values.
#include "results/stats.h"

#include "stats_check.h"

static const StatsPlan TWO_SIDED = {.alpha = 0.05, .sides = 2, .power = 0.8};
static const StatsPlan ONE_SIDED = {.alpha = 0.05, .sides = 1, .power = 0.8};

static void test_plan__matches_published_values(void)
{
    double omega2 = 1.0 / 9;
    double within = 1.0 / 6;
    near(__LINE__, "Miller's 969",
         stats_plan_n(&TWO_SIDED, 0.03, stats_plan_variance(omega2, 1, INFINITY, 1, INFINITY)),
         968.9974980677883);
    near(__LINE__, "one epoch",
         stats_plan_n(&TWO_SIDED, 0.03, stats_plan_variance(omega2, within, 1, within, 1)),
         3875.9899922711534);
    near(__LINE__, "ten epochs",
         stats_plan_n(&TWO_SIDED, 0.03, stats_plan_variance(omega2, within, 10, within, 10)),
         1259.6967474881249);
    near(__LINE__, "effect of 198",
         stats_plan_effect(&TWO_SIDED, 198, stats_plan_variance(omega2, within, 1, within, 1)),
         0.13273332787399417);
    near(__LINE__, "effect of 1000", stats_plan_effect(&TWO_SIDED, 1000, 0.4 * 0.4),
         0.03543756139318638);
    near(__LINE__, "non-inferiority", stats_plan_n(&ONE_SIDED, 0.02, 0.3 * 0.3),
         1391.0753772044466);
    near(__LINE__, "blind spot", stats_plan_effect(&ONE_SIDED, 200, 0.3 * 0.3),
         0.05274609705380004);
    near(__LINE__, "Connor", stats_plan_n_binary(&TWO_SIDED, 0.02, 0.1), 1959.860407125372);
    near(__LINE__, "Connor", stats_plan_n_binary(&TWO_SIDED, 0.05, 0.2), 625.5473178337215);
    near(__LINE__, "Connor backwards", stats_plan_effect_binary(&TWO_SIDED, 1959.860407125372, 0.1),
         0.02);
    CHECK(isnan(stats_plan_effect_binary(&TWO_SIDED, 3, 0.1)));
    CHECK(isnan(stats_plan_effect_binary(&TWO_SIDED, 1000, 0)));
    CHECK(isnan(stats_plan_n_binary(&TWO_SIDED, 0.5, 0.1)));
}

static void test_many__matches_published_values(void)
{
    static const double p[] = {0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205};
    static const double holm[] = {0.008, 0.056, 0.234, 0.234, 0.234, 0.234, 0.234, 0.234};
    static const double bh[] = {0.008, 0.032, 0.0672, 0.0672, 0.0672, 0.08, 0.08457142857142856,
                                0.205};
    double got[8];
    stats_holm(p, 8, got);
    for (size_t i = 0; i < 8; i++) {
        near(__LINE__, "holm", got[i], holm[i]);
    }
    stats_benjamini_hochberg(p, 8, got);
    for (size_t i = 0; i < 8; i++) {
        near(__LINE__, "bh", got[i], bh[i]);
    }
    // In any order, in place, unknown ones left out.
    double mixed[] = {0.04, NAN, 0.01, 0.03};
    stats_holm(mixed, 4, mixed);
    near(__LINE__, "holm", mixed[0], 0.06);
    CHECK(isnan(mixed[1]));
    near(__LINE__, "holm", mixed[2], 0.03);
    near(__LINE__, "holm", mixed[3], 0.06);
    double again[] = {0.04, NAN, 0.01, 0.03};
    stats_benjamini_hochberg(again, 4, again);
    near(__LINE__, "bh", again[0], 0.04);
    near(__LINE__, "bh", again[2], 0.03);
    near(__LINE__, "bh", again[3], 0.04);
    stats_holm(NULL, 0, NULL);
    near(__LINE__, "family", stats_family_wise(0.95, 10), 1 - pow(0.95, 10));
    near(__LINE__, "family", stats_family_wise(0.95, 0), 0);
}

static void test_looks__matches_published_values(void)
{
    static const struct {
        int line;
        int looks;
        double want;
    } cases[] = {
        {__LINE__, 1, 0.050000000000000044}, {__LINE__, 2, 0.08311481103540498},
        {__LINE__, 5, 0.1416789966401317},   {__LINE__, 10, 0.1933348173855082},
        {__LINE__, 20, 0.2478717971912777},
    };
    double z = stats_normal_quantile(0.975);
    for (size_t i = 0; i < N_OF(cases); i++) {
        near_within(cases[i].line, "error", stats_looks_error(cases[i].looks, z), cases[i].want,
                    3e-4); // the published ones are integrated to 1e-4
    }
    // By adaptive quadrature.
    near(__LINE__, "two looks", stats_looks_error(2, z), 0.0831178033545179);
}

static void test_mixture__matches_published_values(void)
{
    near(__LINE__, "10", stats_mixture_radius(10, 0.25, 0.01, 0.05), 1.2937785938486093);
    near(__LINE__, "100", stats_mixture_radius(100, 0.25, 0.01, 0.05), 0.18281974356819242);
    near(__LINE__, "1000", stats_mixture_radius(1000, 0.25, 0.01, 0.05), 0.04803200964434287);
    near(__LINE__, "10000", stats_mixture_radius(10000, 0.25, 0.01, 0.05), 0.016365093121174665);
    double best = stats_mixture_rho2(500, 0.05);
    double radius = stats_mixture_radius(500, 0.25, best, 0.05);
    CHECK(radius <= stats_mixture_radius(500, 0.25, best * 1.2, 0.05));
    CHECK(radius <= stats_mixture_radius(500, 0.25, best / 1.2, 0.05));
}

static void test_anytime__holds_at_every_look(void)
{
    Rng rng;
    rng_init(&rng, 3);
    const int n_runs = 2000;
    int left = 0;     // runs whose confidence sequence ever misses the mean
    int rejected = 0; // runs whose e-value ever reaches 20
    for (int run = 0; run < n_runs; run++) {
        double sum = 0;
        int64_t b = 0;
        int64_t c = 0;
        bool out = false;
        bool evident = false;
        for (int t = 1; t <= 300; t++) {
            bool one = rng_real(&rng) < 0.5;
            sum += one;
            b += one;
            c += !one;
            out |= fabs(sum / t - 0.5) > stats_mixture_radius(t, 0.25, 0.01, 0.05);
            evident |= stats_mcnemar(b, c).evidence >= 20;
        }
        left += out;
        rejected += evident;
    }
    CHECK(left <= n_runs * 0.05 && rejected <= n_runs * 0.05);
    CHECK(left > 0 && rejected > 0); // and they are not empty promises
}

static void test_agreement__matches_published_values(void)
{
    static const int64_t three[] = {20, 5, 0, 10, 15, 3, 1, 4, 12};
    StatsAgreement got = stats_agreement(three, 3);
    near(__LINE__, "observed", got.observed, 0.6714285714285714);
    near(__LINE__, "kappa", got.kappa, 0.4965603502188869);
    near(__LINE__, "linear", got.linear, 0.5902439024390245);
    near(__LINE__, "quadratic", got.quadratic, 0.6917344173441735);
    near(__LINE__, "stderr", got.kappa_stderr, 0.08686535009916795);
    near(__LINE__, "ac1", got.ac1, 0.5133010882708584);
    static const int64_t skewed[] = {90, 4, 5, 1};
    got = stats_agreement(skewed, 2);
    near(__LINE__, "observed", got.observed, 0.91);
    near(__LINE__, "kappa", got.kappa, 0.13461538461538458);
    near(__LINE__, "ac1", got.ac1, 0.8995591763852463);
    near(__LINE__, "pabak", got.pabak, 0.82);
    near(__LINE__, "of two, weights are one", got.linear, got.kappa);
    near(__LINE__, "of two, weights are one", got.quadratic_stderr, got.kappa_stderr);
    static const int64_t always[] = {10, 0, 0, 0};
    got = stats_agreement(always, 2);
    CHECK(isnan(got.kappa) && got.observed == 1 && got.ac1 == 1);
}

/** The error of an estimate by the delta method with numerical derivatives of the table's shares.
 */
static double numeric_stderr(const int64_t *table, size_t k, double (*pick)(StatsAgreement))
{
    enum { SCALE = 1000000 };
    int64_t large[9];
    double n = 0;
    for (size_t i = 0; i < k * k; i++) {
        large[i] = table[i] * SCALE;
        n += (double)table[i];
    }
    double mean = 0;
    double squares = 0;
    for (size_t i = 0; i < k * k; i++) {
        const int64_t step = SCALE / 100;
        large[i] += step;
        double up = pick(stats_agreement(large, k));
        large[i] -= 2 * step;
        double down = pick(stats_agreement(large, k));
        large[i] += step;
        double slope = (up - down) / (2.0 * (double)step / (n * SCALE));
        double share = (double)table[i] / n;
        mean += share * slope;
        squares += share * slope * slope;
    }
    return sqrt((squares - mean * mean) / n);
}

static double pick_kappa(StatsAgreement agreement)
{
    return agreement.kappa;
}
static double pick_linear(StatsAgreement agreement)
{
    return agreement.linear;
}
static double pick_quadratic(StatsAgreement agreement)
{
    return agreement.quadratic;
}
static double pick_ac1(StatsAgreement agreement)
{
    return agreement.ac1;
}

static void test_agreement__errors_are_the_delta_methods(void)
{
    static const int64_t table[] = {20, 5, 2, 10, 15, 3, 1, 4, 12};
    StatsAgreement got = stats_agreement(table, 3);
    near_within(__LINE__, "kappa", got.kappa_stderr, numeric_stderr(table, 3, pick_kappa), 1e-4);
    near_within(__LINE__, "linear", got.linear_stderr, numeric_stderr(table, 3, pick_linear), 1e-4);
    near_within(__LINE__, "quadratic", got.quadratic_stderr,
                numeric_stderr(table, 3, pick_quadratic), 1e-4);
    near_within(__LINE__, "ac1", got.ac1_stderr, numeric_stderr(table, 3, pick_ac1), 1e-4);
}

static void test_confusion__counts_pairs(void)
{
    static const uint32_t a[] = {0, 1, 2, 1, 0};
    static const uint32_t b[] = {0, 2, 2, 1, 1};
    static const int64_t want[] = {1, 1, 0, 0, 1, 1, 0, 0, 1};
    int64_t got[9];
    stats_confusion(a, b, 5, 3, got);
    CHECK(memcmp(got, want, sizeof(want)) == 0);
}

int main(void)
{
    tap_run("plan: matches published values", test_plan__matches_published_values);
    tap_run("many: matches published values", test_many__matches_published_values);
    tap_run("looks: matches published values", test_looks__matches_published_values);
    tap_run("mixture: matches published values", test_mixture__matches_published_values);
    tap_run("anytime: holds at every look", test_anytime__holds_at_every_look);
    tap_run("agreement: matches published values", test_agreement__matches_published_values);
    tap_run("agreement: errors are the delta method's",
            test_agreement__errors_are_the_delta_methods);
    tap_run("confusion: counts pairs", test_confusion__counts_pairs);
    return tap_done();
}
