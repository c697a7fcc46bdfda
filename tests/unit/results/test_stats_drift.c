// SPDX-License-Identifier: MIT
// Distances of distributions against published values and brute force.
#include "results/stats.h"

#include "stats_check.h"

static const int64_t REFERENCE[] = {30, 50, 80, 40};
static const int64_t CURRENT[] = {20, 60, 70, 50};
static const double X[] = {0.1, 0.2, 0.25, 0.3, 0.5, 0.55, 0.6, 0.8};
static const double Y[] = {0.15, 0.4, 0.45, 0.65, 0.7, 0.75, 0.85, 0.9, 0.95, 0.99};

static void test_drift__matches_published_values(void)
{
    near(__LINE__, "psi", stats_psi(REFERENCE, CURRENT, 4, 1e-4), 0.04722308044204257);
    double js = stats_jensen_shannon(REFERENCE, CURRENT, 4);
    near(__LINE__, "js", js, 0.008483892080289643);
    near(__LINE__, "js distance", sqrt(js), 0.0921080456870606);
    static const int64_t left[] = {3, 4, 0, 0};
    static const int64_t right[] = {0, 0, 9, 2};
    near(__LINE__, "js of disjoint", stats_jensen_shannon(left, right, 4), 1);
    near(__LINE__, "js of equal", stats_jensen_shannon(left, left, 4), 0);
    StatsKs ks = stats_ks(X, 8, Y, 10);
    near(__LINE__, "D", ks.distance, 0.575);
    near(__LINE__, "exact", ks.p_exact, 0.0704328351387175);
    near(__LINE__, "asymptotic", ks.p_asymptotic, 0.10583331093738671);
    near(__LINE__, "wasserstein", stats_wasserstein(X, 8, Y, 10), 0.2665);
}

static void test_drift__empty_bins_and_groups(void)
{
    static const int64_t some[] = {10, 0, 0};
    static const int64_t other[] = {5, 5, 0};
    static const int64_t none[] = {0, 0, 0};
    near(__LINE__, "psi", stats_psi(some, other, 3, 0.01),
         (0.5 - 1) * log(0.5) + (0.5 - 0.01) * log(50));
    CHECK(isnan(stats_psi(some, none, 3, 0.01)) && isnan(stats_jensen_shannon(none, some, 3)));
    CHECK(isnan(stats_ks(X, 0, Y, 10).distance) && isnan(stats_wasserstein(X, 8, Y, 0)));
    near(__LINE__, "ks of equal", stats_ks(X, 8, X, 8).p_exact, 1);
    near(__LINE__, "wasserstein of equal", stats_wasserstein(X, 8, X, 8), 0);
    static const double far[] = {5, 6};
    near(__LINE__, "ks of disjoint", stats_ks(X, 8, far, 2).distance, 1);
    near(__LINE__, "ks of disjoint", stats_ks(X, 8, far, 2).p_exact, 2.0 / 45);
    static const double ties_x[] = {1, 1, 2};
    static const double ties_y[] = {1, 2, 2};
    near(__LINE__, "ks of ties", stats_ks(ties_x, 3, ties_y, 3).distance, 1.0 / 3);
    near(__LINE__, "wasserstein of ties", stats_wasserstein(ties_x, 3, ties_y, 3), 1.0 / 3);
}

/** Share of the orders of n x's and m y's whose distance is as large: exact by enumeration. */
static void test_ks__exact_is_the_share_of_orders(void)
{
    enum { N = 5, M = 6 };
    for (int d = 1; d <= N * M; d++) {
        double x[N];
        double y[M];
        int orders = 0;
        int as_large = 0;
        double wanted = 0;
        for (unsigned set = 0; set < 1u << (N + M); set++) {
            if (__builtin_popcount(set) != N) {
                continue;
            }
            int n = 0;
            int m = 0;
            for (int i = 0; i < N + M; i++) {
                if (set >> i & 1) {
                    x[n++] = i;
                } else {
                    y[m++] = i;
                }
            }
            StatsKs ks = stats_ks(x, N, y, M);
            orders++;
            as_large += ks.distance >= (double)d / (N * M) - 1e-9;
            if (fabs(ks.distance - (double)d / (N * M)) < 1e-9) {
                wanted = ks.p_exact;
            }
        }
        if (wanted > 0) {
            near(__LINE__, "exact", wanted, (double)as_large / orders);
        }
    }
}

typedef struct Pool {
    const double *x;
} Pool;

static double mean_gap(void *ctx, const uint32_t *index, size_t n_a, size_t n_b)
{
    const Pool *pool = ctx;
    double a = 0;
    double b = 0;
    for (size_t i = 0; i < n_a; i++) {
        a += pool->x[index[i]];
    }
    for (size_t i = n_a; i < n_a + n_b; i++) {
        b += pool->x[index[i]];
    }
    return fabs(a / (double)n_a - b / (double)n_b);
}

static void test_permutation__p(void)
{
    static const double apart[] = {1, 2, 3, 11, 12, 13};
    Pool pool = {.x = apart};
    // 2 of the 20 ways to choose the first three are as far apart.
    double p = stats_permutation_p(mean_gap, &pool, 3, 3, 20000, 1);
    CHECK(fabs(p - 0.1) < 0.01);
    CHECK(p == stats_permutation_p(mean_gap, &pool, 3, 3, 20000, 1));
    static const double equal[] = {1, 1, 1, 1};
    pool.x = equal;
    near(__LINE__, "equal", stats_permutation_p(mean_gap, &pool, 2, 2, 100, 1), 1);
}

int main(void)
{
    tap_run("drift: matches published values", test_drift__matches_published_values);
    tap_run("drift: empty bins and groups", test_drift__empty_bins_and_groups);
    tap_run("ks: exact is the share of orders", test_ks__exact_is_the_share_of_orders);
    tap_run("permutation: p", test_permutation__p);
    return tap_done();
}
