// SPDX-License-Identifier: MIT
// The bootstrap, against an exhaustive one (all 6^6 resamples, no generator involved), against the
// documented generator, and by its properties.
#include "results/stats.h"

#include "stats_check.h"

typedef struct Sample {
    const double *x;
    double round_to; // 0: not
    size_t n_calls;
} Sample;

static double mean_at(void *ctx, const uint32_t *index, size_t n)
{
    Sample *sample = ctx;
    sample->n_calls++;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += sample->x[index[i]];
    }
    double mean = sum / (double)n;
    return sample->round_to > 0 ? round(mean / sample->round_to) * sample->round_to : mean;
}

static const double EXHAUSTIVE[] = {0.1, 0.4, 0.5, 0.7, 0.9, 1.0};
#define N_ALL 46656 // 6^6

static uint32_t all_resamples[N_ALL][6];

static void all_resamples_fill(void)
{
    for (uint32_t r = 0; r < N_ALL; r++) {
        uint32_t rest = r;
        for (int i = 0; i < 6; i++) {
            all_resamples[r][i] = rest % 6;
            rest /= 6;
        }
    }
}

static void exhaustive_check(int line, double round_to)
{
    Sample sample = {.x = EXHAUSTIVE, .round_to = round_to};
    all_resamples_fill();
    StatsBootstrap got = stats_bootstrap_given(mean_at, &sample, 6, all_resamples[0], N_ALL, 0.95);
    near(line, "value", got.interval.value, 0.6);
    near(line, "percentile low", got.percentile_low, 0.35);
    near(line, "percentile high", got.percentile_high, 2.5 / 3);
    near(line, "z0", got.bias, -0.015957222909671307);
    near(line, "a", got.acceleration, -0.016703827619526598);
    near(line, "alpha low", got.alpha_low, 0.019731770525755032);
    near(line, "alpha high", got.alpha_high, 0.9690428137416995);
    near(line, "low", got.interval.low, 1.0 / 3);
    near(line, "high", got.interval.high, 2.5 / 3);
    near(line, "se", got.interval.stderr_ * sqrt((N_ALL - 1.0) / N_ALL), 0.12472191289245914);
    CHECK_INT(got.n_undefined, 0);
}

static void test_given__is_the_exhaustive_bootstrap(void)
{
    exhaustive_check(__LINE__, 1e-12);
    exhaustive_check(__LINE__, 0); // the same: ties within rounding are ties
}

static const double SCORES[] = {1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1};

static void test_generator__is_the_documented_one(void)
{
    Rng rng;
    rng_init(&rng, 42);
    static const uint64_t first[] = {1546998764402558742u, 6990951692964543102u,
                                     12544586762248559009u, 17057574109182124193u};
    for (size_t i = 0; i < N_OF(first); i++) {
        CHECK(rng_next(&rng) == first[i]);
    }
    CHECK(rng_mix(42 + UINT64_C(0x9E3779B97F4A7C15)) == 13679457532755275413u);
    CHECK(rng_mix(42 + 2 * UINT64_C(0x9E3779B97F4A7C15)) == 2949826092126892291u);
    rng_init(&rng, 7);
    static const int below[] = {8, 3, 10, 11, 11, 10, 0, 1, 4, 1};
    for (size_t i = 0; i < N_OF(below); i++) {
        CHECK_INT(rng_below(&rng, 12), below[i]);
    }
}

typedef struct Kept {
    Sample sample;
    double sum; // of the first 2000 replicates after the value itself
} Kept;

static double mean_kept(void *ctx, const uint32_t *index, size_t n)
{
    Kept *kept = ctx;
    double mean = mean_at(&kept->sample, index, n);
    if (kept->sample.n_calls > 1 && kept->sample.n_calls <= 2001) {
        kept->sum += mean;
    }
    return mean;
}

static void test_bootstrap__draws_in_the_documented_order(void)
{
    Kept kept = {.sample = {.x = SCORES}};
    StatsBootstrapOptions options = {.seed = 7};
    StatsBootstrap got = stats_bootstrap(mean_kept, &kept, 12, &options);
    near(__LINE__, "percentile low", got.percentile_low, 0.4166666666666667);
    near(__LINE__, "percentile high", got.percentile_high, 0.9166666666666666);
    near(__LINE__, "mean of replicates", kept.sum / 2000, 0.6647083333333333);
    CHECK_INT(kept.sample.n_calls, 1 + 2000 + 12);
    Kept again = {.sample = {.x = SCORES}};
    StatsBootstrap same = stats_bootstrap(mean_kept, &again, 12, &options);
    CHECK(same.interval.low == got.interval.low && same.interval.high == got.interval.high);
}

static void test_bootstrap__clusters_are_drawn_whole(void)
{
    // Within a cluster all values are equal: a mean of whole clusters of equal size.
    static const double x[] = {1, 0, 1, 0, 1, 0, 1, 0};
    static const uint32_t cluster[] = {0, 1, 2, 3, 0, 1, 2, 3};
    static const double of_clusters[] = {1, 0, 1, 0};
    Sample sample = {.x = x};
    StatsBootstrap got =
        stats_bootstrap(mean_at, &sample, 8,
                        &(StatsBootstrapOptions){.seed = 3, .cluster = cluster, .n_clusters = 4});
    Sample units = {.x = of_clusters};
    StatsBootstrap want = stats_bootstrap(mean_at, &units, 4, &(StatsBootstrapOptions){.seed = 3});
    near(__LINE__, "low", got.interval.low, want.interval.low);
    near(__LINE__, "high", got.interval.high, want.interval.high);
    near(__LINE__, "stderr", got.interval.stderr_, want.interval.stderr_);
    near(__LINE__, "a", got.acceleration, want.acceleration);
    // Clusters of very different sizes: the number of samples differs from draw to draw.
    static const uint32_t uneven[] = {0, 0, 0, 0, 0, 0, 1, 2};
    got = stats_bootstrap(mean_at, &sample, 8,
                          &(StatsBootstrapOptions){.seed = 3, .cluster = uneven, .n_clusters = 3});
    CHECK(isfinite(got.interval.low) && got.interval.low <= got.interval.high);
}

static double not_on_all_ones(void *ctx, const uint32_t *index, size_t n)
{
    double mean = mean_at(ctx, index, n);
    return mean == 1 ? (double)NAN : mean;
}

static double never(void *ctx, const uint32_t *index, size_t n)
{
    (void)ctx;
    (void)index;
    (void)n;
    return NAN;
}

static void test_bootstrap__degenerate_data(void)
{
    Sample sample = {.x = SCORES};
    StatsBootstrapOptions options = {.seed = 1, .n_resamples = 500};
    CHECK(isnan(stats_bootstrap(mean_at, &sample, 0, &options).interval.value));
    StatsBootstrap one = stats_bootstrap(mean_at, &sample, 1, &options);
    CHECK(one.interval.value == 1 && isnan(one.interval.low) && isnan(one.interval.stderr_));
    static const double equal[] = {0.1, 0.1, 0.1, 0.1, 0.1};
    sample.x = equal;
    StatsBootstrap flat = stats_bootstrap(mean_at, &sample, 5, &options);
    near(__LINE__, "low", flat.interval.low, 0.1);
    near(__LINE__, "high", flat.interval.high, 0.1);
    near(__LINE__, "z0", flat.bias, 0);
    near(__LINE__, "a", flat.acceleration, 0);
    sample.x = SCORES;
    StatsBootstrap some = stats_bootstrap(not_on_all_ones, &sample, 4, &options);
    CHECK(some.n_undefined > 0 && isfinite(some.interval.low));
    CHECK(isnan(stats_bootstrap(never, &sample, 4, &options).interval.low));
    // All replicates on one side of the value: finite limits at the end of the replicates.
    static const double replicates[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const double jackknife[] = {1, 2, 4};
    StatsBootstrap beyond = stats_bca(11, replicates, 10, jackknife, 3, 0.95);
    CHECK(beyond.interval.low >= 1 && beyond.interval.high <= 10 && beyond.bias > 0);
}

static void test_bootstrap__groups_of_many_samples(void)
{
    static double x[1000];
    Rng rng;
    rng_init(&rng, 5);
    for (int i = 0; i < 1000; i++) {
        x[i] = rng_real(&rng);
    }
    Sample sample = {.x = x};
    StatsBootstrapOptions options = {.seed = 1, .n_resamples = 1000};
    StatsBootstrap grouped = stats_bootstrap(mean_at, &sample, 1000, &options);
    CHECK_INT(sample.n_calls, 1 + 1000 + 200);
    // Standard error of a mean of 1000 uniform numbers, within what 1000 replicates tell.
    near_within(__LINE__, "se", grouped.interval.stderr_, sqrt(1.0 / 12 / 1000), 0.08);
    CHECK(fabs(grouped.acceleration) < 0.01);
}

static void test_quantile__is_type_7(void)
{
    static const double x[] = {1, 2, 4, 8};
    near(__LINE__, "0", stats_quantile(x, 4, 0), 1);
    near(__LINE__, "1", stats_quantile(x, 4, 1), 8);
    near(__LINE__, "median", stats_quantile(x, 4, 0.5), 3);
    near(__LINE__, "0.9", stats_quantile(x, 4, 0.9), 6.8);
    CHECK(isnan(stats_quantile(x, 0, 0.5)) && isnan(stats_quantile(x, 4, NAN)));
}

int main(void)
{
    tap_run("given: is the exhaustive bootstrap", test_given__is_the_exhaustive_bootstrap);
    tap_run("generator: is the documented one", test_generator__is_the_documented_one);
    tap_run("bootstrap: draws in the documented order",
            test_bootstrap__draws_in_the_documented_order);
    tap_run("bootstrap: clusters are drawn whole", test_bootstrap__clusters_are_drawn_whole);
    tap_run("bootstrap: degenerate data", test_bootstrap__degenerate_data);
    tap_run("bootstrap: groups of many samples", test_bootstrap__groups_of_many_samples);
    tap_run("quantile: is type 7", test_quantile__is_type_7);
    return tap_done();
}
