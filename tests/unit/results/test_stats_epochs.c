// SPDX-License-Identifier: MIT
// From epochs to one number a sample: pass@k, pass^k, reducers.
#include "results/stats.h"

#include "stats_check.h"

static void test_pass__matches_published_values(void)
{
    static const struct {
        int line;
        int64_t n, c, k;
        double at, all;
    } cases[] = {
        {__LINE__, 20, 3, 1, 0.15, 0.15},
        {__LINE__, 20, 3, 5, 0.6008771929824561, 0},
        {__LINE__, 20, 3, 10, 0.8947368421052632, 0},
        {__LINE__, 20, 3, 20, 1, 0},
        {__LINE__, 20, 0, 5, 0, 0},
        {__LINE__, 20, 20, 5, 1, 1},
        {__LINE__, 200, 50, 10, 0.9479063705959571, 4.5754203369316737e-07},
        {__LINE__, 200, 50, 100, 1, 0},
        {__LINE__, 5, 1, 5, 1, 0},
        {__LINE__, 10000, 17, 1000, 0.8334802959893385, 0},
        {__LINE__, 1, 1, 1, 1, 1},
        {__LINE__, 5, 2, 6, NAN, NAN},
        {__LINE__, 5, 2, 0, NAN, NAN},
        {__LINE__, 5, 6, 1, NAN, NAN},
        {__LINE__, 0, 0, 1, NAN, NAN},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        near(cases[i].line, "pass@k", stats_pass_at(cases[i].n, cases[i].c, cases[i].k),
             cases[i].at);
        near(cases[i].line, "pass^k", stats_pass_all(cases[i].n, cases[i].c, cases[i].k),
             cases[i].all);
    }
}

/** Over all k-subsets of n epochs of which the first c are right. */
static void subsets_count(int n, int c, int k, double *out_any, double *out_all)
{
    int subsets = 0;
    int any = 0;
    int all = 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        if (__builtin_popcount(set) == k) {
            unsigned right = set & ((1u << c) - 1);
            subsets++;
            any += right != 0;
            all += right == set;
        }
    }
    *out_any = (double)any / subsets;
    *out_all = (double)all / subsets;
}

static void test_pass__is_the_share_of_subsets(void)
{
    for (int n = 1; n <= 8; n++) {
        for (int c = 0; c <= n; c++) {
            for (int k = 1; k <= n; k++) {
                double any;
                double all;
                subsets_count(n, c, k, &any, &all);
                near(__LINE__, "any", stats_pass_at(n, c, k), any);
                near(__LINE__, "all", stats_pass_all(n, c, k), all);
            }
        }
    }
}

static void test_reduce__every_reducer(void)
{
    static const double x[] = {0.5, 1, 0, 0.5, 1, 0.25};
    static const struct {
        int line;
        StatsReducer reducer;
        size_t n;
        int64_t k;
        double right_from, want;
    } cases[] = {
        {__LINE__, REDUCE_MEAN, 6, 0, 1, 3.25 / 6},
        {__LINE__, REDUCE_MAX, 6, 0, 1, 1},
        {__LINE__, REDUCE_MIN, 6, 0, 1, 0},
        {__LINE__, REDUCE_MIN, 1, 0, 1, 0.5},
        {__LINE__, REDUCE_MEDIAN, 6, 0, 1, 0.5},
        {__LINE__, REDUCE_MEDIAN, 3, 0, 1, 0.5},
        {__LINE__, REDUCE_MEDIAN, 2, 0, 1, 0.75},
        {__LINE__, REDUCE_MAJORITY, 6, 0, 1, 0.5}, // 0.5 and 1 twice each
        {__LINE__, REDUCE_MAJORITY, 3, 0, 1, 0},   // all once
        {__LINE__, REDUCE_AT_LEAST, 6, 2, 1, 1},
        {__LINE__, REDUCE_AT_LEAST, 6, 3, 1, 0},
        {__LINE__, REDUCE_AT_LEAST, 6, 4, 0.5, 1},
        {__LINE__, REDUCE_AT_LEAST, 6, 7, 0, NAN},
        {__LINE__, REDUCE_AT_LEAST, 6, 0, 0, NAN},
        {__LINE__, REDUCE_PASS_AT, 6, 2, 1, 0.6}, // 1 - C(4,2)/C(6,2)
        {__LINE__, REDUCE_PASS_ALL, 6, 2, 1, 1.0 / 15},
        {__LINE__, REDUCE_PASS_AT, 6, 7, 1, NAN},
        {__LINE__, REDUCE_MEAN, 0, 0, 1, NAN},
        {__LINE__, REDUCE_MAJORITY, 0, 0, 1, NAN},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        near(cases[i].line, "reduced",
             stats_reduce(cases[i].reducer, x, cases[i].n, cases[i].k, cases[i].right_from),
             cases[i].want);
    }
    double many[101];
    for (int i = 0; i < 101; i++) {
        many[i] = i * 37 % 101;
    }
    near(__LINE__, "median", stats_reduce(REDUCE_MEDIAN, many, 101, 0, 1), 50);
    static const double tenths[] = {0.1, 0.1, 0.1};
    CHECK(stats_reduce(REDUCE_MEAN, tenths, 3, 0, 1) == 0.1); // a constant stays itself
}

int main(void)
{
    tap_run("pass: matches published values", test_pass__matches_published_values);
    tap_run("pass: is the share of subsets", test_pass__is_the_share_of_subsets);
    tap_run("reduce: every reducer", test_reduce__every_reducer);
    return tap_done();
}
