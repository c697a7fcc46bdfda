// SPDX-License-Identifier: MIT
// The one estimator agrees with every special function it stands for.
#include "results/stats_internal.h"

#include "stats_check.h"

static const double A[] = {0.805, 0.808, 0.515, 0.286, 0.054, 0.383,
                           0.408, 0.045, 0.049, 0.999, 0.652, 0.235};
static const double B[] = {0.7, 0.9, 0.4, 0.3, 0.1, 0.35, 0.5, 0.0, 0.1, 0.8, 0.7, 0.3};
static const double W[] = {1.5, 3.12, 2.89, 2.73, 1.38, 1.68, 2.23, 0.38, 1.87, 1.01, 2.84, 0.39};
static const uint32_t CLUSTERS[] = {0, 0, 1, 1, 0, 2, 2, 1, 3, 3, 4, 4};
static const uint32_t PARTS[] = {0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2};
#define N 12

static void check_interval(int line, Interval got, Interval want)
{
    near(line, "value", got.value, want.value);
    near(line, "stderr", got.stderr_, want.stderr_);
    near(line, "low", got.low, want.low);
    near(line, "high", got.high, want.high);
}

static void test_estimate__is_the_special_case(void)
{
    StatsPairs value = {.candidate = A, .n = N};
    check_interval(__LINE__, stats_estimate(&value, 0.95).interval, stats_mean(A, N, 0.95));
    CHECK(stats_estimate(&value, 0.95).method == STATS_T && isnan(stats_estimate(&value, 0.9).p));
    value.candidate_weight = W;
    check_interval(__LINE__, stats_estimate(&value, 0.95).interval, stats_ratio(A, W, N, 0.95));
    CHECK(stats_estimate(&value, 0.95).method == STATS_DELTA);
    value.cluster = CLUSTERS;
    value.n_clusters = 5;
    StatsEstimate got = stats_estimate(&value, 0.95);
    check_interval(__LINE__, got.interval, stats_ratio_clustered(A, W, CLUSTERS, N, 5, 0.95));
    CHECK(got.method == STATS_JACKKNIFE && got.n_clusters == 5 && got.n == N);
    StatsPairs pairs = {.candidate = A, .baseline = B, .n = N};
    StatsTest paired = stats_paired(A, B, N, 0.9);
    got = stats_estimate(&pairs, 0.9);
    check_interval(__LINE__, got.interval, paired.interval);
    near(__LINE__, "p", got.p, paired.p);
    near(__LINE__, "df", got.df, 11);
    CHECK_INT(got.n_better, 5);
    CHECK_INT(got.n_worse, 7);
    double differences[N];
    for (int i = 0; i < N; i++) {
        differences[i] = A[i] - B[i];
    }
    pairs.cluster = CLUSTERS;
    pairs.n_clusters = 5;
    check_interval(__LINE__, stats_estimate(&pairs, 0.95).interval,
                   stats_mean_clustered(differences, CLUSTERS, N, 5, 0.95));
}

static void test_estimate__parts_count_equally(void)
{
    StatsPairs value = {.candidate = A, .part = PARTS, .n_parts = 3, .n = N};
    check_interval(__LINE__, stats_estimate(&value, 0.95).interval,
                   (Interval){0.47332222222222226, 0.08938477029390313, 0.22556900840104604,
                              0.7210754360433984});
    value.cluster = CLUSTERS;
    value.n_clusters = 5;
    check_interval(__LINE__, stats_estimate(&value, 0.95).interval,
                   (Interval){0.47332222222222226, 0.15206777592269208, 0.042204621392813,
                              0.9044398230516315});
    // A part without samples does not count; one with a single sample has no error.
    static const uint32_t gap[] = {0, 0, 0, 0, 3, 3, 3, 3, 3, 2, 2, 2};
    value = (StatsPairs){.candidate = A, .part = gap, .n_parts = 5, .n = N};
    near(__LINE__, "value", stats_estimate(&value, 0.95).interval.value, 0.47332222222222226);
    static const uint32_t single[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    value.part = single;
    CHECK(isnan(stats_estimate(&value, 0.95).interval.stderr_));
    CHECK(stats_estimate(&value, 0.95).method == STATS_NONE);
}

static void test_estimate__binary_is_wilson_and_tango(void)
{
    static const double a[] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 1};
    static const double b[] = {1, 0, 1, 1, 0, 0, 1, 0, 0, 1};
    StatsPairs pairs = {.candidate = a, .n = 10, .binary = true};
    StatsEstimate got = stats_estimate(&pairs, 0.95);
    CHECK(got.method == STATS_WILSON && isnan(got.df));
    check_interval(__LINE__, got.interval, stats_wilson(7, 10, 0.95));
    pairs.baseline = b;
    got = stats_estimate(&pairs, 0.95);
    CHECK(got.method == STATS_TANGO);
    check_interval(__LINE__, got.interval, stats_tango(3, 1, 10, 0.95));
    near(__LINE__, "exact", got.p_exact, stats_mcnemar(3, 1).p_exact);
    near(__LINE__, "p", got.p, 0.31731050786291415); // z = 2 / sqrt(4)
    // Not declared, or not all 0 and 1, or clusters: t.
    pairs.binary = false;
    CHECK(stats_estimate(&pairs, 0.95).method == STATS_T);
    static const double half[] = {1, 1, 1, 0, 0, 0.5, 1, 1, 0, 1};
    pairs = (StatsPairs){.candidate = half, .baseline = b, .n = 10, .binary = true};
    CHECK(stats_estimate(&pairs, 0.95).method == STATS_T);
    static const uint32_t own[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    pairs = (StatsPairs){
        .candidate = a, .baseline = b, .cluster = own, .n_clusters = 10, .n = 10, .binary = true};
    got = stats_estimate(&pairs, 0.95);
    CHECK(got.method == STATS_JACKKNIFE);
    check_interval(__LINE__, got.interval, stats_paired(a, b, 10, 0.95).interval);
}

static void test_estimate__leaves_out_what_is_missing(void)
{
    double a[N + 3];
    double b[N + 3];
    uint32_t clusters[N + 3];
    memcpy(a, A, sizeof(A));
    memcpy(b, B, sizeof(B));
    memcpy(clusters, CLUSTERS, sizeof(CLUSTERS));
    a[N] = NAN;
    b[N] = 1;
    a[N + 1] = 0;
    b[N + 1] = INFINITY;
    a[N + 2] = b[N + 2] = NAN;
    clusters[N] = clusters[N + 1] = clusters[N + 2] = 5; // a cluster with nothing left
    StatsPairs pairs = {.candidate = a, .baseline = b, .n = N + 3};
    StatsEstimate got = stats_estimate(&pairs, 0.95);
    check_interval(__LINE__, got.interval, stats_paired(A, B, N, 0.95).interval);
    CHECK_INT(got.n, N);
    CHECK_INT(got.n_missing, 3);
    pairs.cluster = clusters;
    pairs.n_clusters = 7;
    got = stats_estimate(&pairs, 0.95);
    CHECK_INT(got.n_clusters, 5);
    StatsPairs whole = {
        .candidate = A, .baseline = B, .cluster = CLUSTERS, .n_clusters = 5, .n = N};
    check_interval(__LINE__, got.interval, stats_estimate(&whole, 0.95).interval);
    StatsPairs none = {.candidate = a + N, .baseline = b + N, .n = 3};
    got = stats_estimate(&none, 0.95);
    CHECK(isnan(got.interval.value) && got.method == STATS_NONE && got.n == 0);
    none.n = 0;
    CHECK(isnan(stats_estimate(&none, 0.95).interval.value));
}

/** The delta method by brute force: each sample's weight moved a little. */
static void test_estimate__difference_of_ratios(void)
{
    static const double v[] = {1, 2, 2.5, 3, 1, 1.5, 2, 0.5, 2, 1, 3, 0.4};
    for (int exponential = 0; exponential < 2; exponential++) {
        StatsPairs pairs = {.candidate = A,
                            .baseline = B,
                            .candidate_weight = W,
                            .baseline_weight = v,
                            .n = N,
                            .exponential = exponential == 1};
        StatsEstimate got = stats_estimate(&pairs, 0.95);
        double sums[4] = {0};
        for (int i = 0; i < N; i++) {
            sums[0] += W[i] * A[i];
            sums[1] += W[i];
            sums[2] += v[i] * B[i];
            sums[3] += v[i];
        }
        double squares = 0;
        for (int i = 0; i < N; i++) {
            const double step = 1e-5;
            double values[2];
            for (int up = 0; up < 2; up++) {
                double s = up == 1 ? step : -step;
                double a = (sums[0] + s * W[i] * A[i]) / (sums[1] + s * W[i]);
                double b = (sums[2] + s * v[i] * B[i]) / (sums[3] + s * v[i]);
                values[up] = exponential == 1 ? exp(a) - exp(b) : a - b;
            }
            double slope = (values[1] - values[0]) / (2 * step);
            squares += slope * slope;
        }
        double a = sums[0] / sums[1];
        double b = sums[2] / sums[3];
        near(__LINE__, "value", got.interval.value, exponential == 1 ? exp(a) - exp(b) : a - b);
        near_within(__LINE__, "stderr", got.interval.stderr_, sqrt(squares * N / (N - 1)), 1e-7);
        // The jackknife over samples differs from the delta method by a few per cent.
        static const uint32_t own[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        pairs.cluster = own;
        pairs.n_clusters = N;
        near_within(__LINE__, "jackknife", stats_estimate(&pairs, 0.95).interval.stderr_,
                    got.interval.stderr_, 0.25);
    }
}

static void test_influence__has_the_error(void)
{
    StatsPairs kinds[] = {
        {.candidate = A, .baseline = B, .n = N},
        {.candidate = A, .n = N},
        {.candidate = A, .baseline = B, .candidate_weight = W, .baseline_weight = W, .n = N},
        {.candidate = A, .baseline = B, .cluster = CLUSTERS, .n_clusters = 5, .n = N},
    };
    for (size_t k = 0; k < N_OF(kinds); k++) {
        double influence[N];
        size_t n_units;
        StatsEstimate got = stats_estimate_with(&kinds[k], 0.95, influence, &n_units);
        double sum = 0;
        double squares = 0;
        for (size_t u = 0; u < n_units; u++) {
            sum += influence[u];
            squares += influence[u] * influence[u];
        }
        double units = (double)n_units;
        near(__LINE__, "mean", sum / units, 0);
        near(__LINE__, "error", sqrt(squares / (units - 1) / units), got.interval.stderr_);
    }
}

int main(void)
{
    tap_run("estimate: is the special case", test_estimate__is_the_special_case);
    tap_run("estimate: parts count equally", test_estimate__parts_count_equally);
    tap_run("estimate: binary is Wilson and Tango", test_estimate__binary_is_wilson_and_tango);
    tap_run("estimate: leaves out what is missing", test_estimate__leaves_out_what_is_missing);
    tap_run("estimate: difference of ratios", test_estimate__difference_of_ratios);
    tap_run("influence: has the error", test_influence__has_the_error);
    return tap_done();
}
