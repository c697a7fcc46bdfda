// SPDX-License-Identifier: MIT
// Calibration errors against published values and at the edges of bins.
#include "results/stats.h"

#include "stats_check.h"

static const double CONFIDENCE[] = {0.05, 0.15, 0.2,  0.35, 0.5, 0.55,
                                    0.62, 0.7,  0.88, 0.95, 1.0, 0.0};
static const double RIGHT[] = {0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0};

static void test_calibration__matches_published_values(void)
{
    StatsCalibration all = {.confidence = CONFIDENCE, .right = RIGHT};
    StatsBin bins[10];
    near(__LINE__, "ece10", stats_ece(&all, 12, bins), 0.24583333333333335);
    near(__LINE__, "mce10", stats_mce(&all, 12), 0.55);
    near(__LINE__, "brier", stats_brier(&all, 12), 0.13260833333333336);
    near(__LINE__, "logloss", stats_log_loss(&all, 12), 0.3966271116640639);
    static const int64_t counts[] = {2, 2, 0, 1, 1, 1, 2, 0, 1, 2};
    for (size_t b = 0; b < 10; b++) {
        CHECK_INT(bins[b].n, counts[b]);
    }
    near(__LINE__, "bin", bins[1].confidence, 0.175);
    near(__LINE__, "bin", bins[1].accuracy, 0.5);
    CHECK(isnan(bins[2].accuracy) && isnan(bins[7].confidence));
    all.n_bins = 5;
    near(__LINE__, "ece5", stats_ece(&all, 12, NULL), 0.15416666666666667);
}

static void test_calibration__edges_belong_to_the_lower_bin(void)
{
    for (size_t n_bins = 1; n_bins <= 100; n_bins++) {
        for (size_t edge = 0; edge <= n_bins; edge++) {
            double confidence = (double)edge / (double)n_bins;
            double right = 1;
            StatsCalibration one = {.confidence = &confidence, .right = &right, .n_bins = n_bins};
            StatsBin bins[100];
            stats_ece(&one, 1, bins);
            size_t want = edge == 0 ? 0 : edge - 1;
            CHECK(bins[want].n == 1);
            if (edge > 0) {
                confidence = nextafter(confidence, edge < n_bins ? 2 : 0);
                stats_ece(&one, 1, bins);
                CHECK(bins[edge < n_bins ? edge : want].n == 1);
            }
        }
    }
}

static void test_calibration__statistic_for_the_bootstrap(void)
{
    StatsCalibration all = {.confidence = CONFIDENCE, .right = RIGHT};
    static const uint32_t index[] = {3, 3, 7};
    static const double confidence[] = {0.35, 0.35, 0.7};
    static const double right[] = {0, 0, 1};
    StatsCalibration chosen = {.confidence = confidence, .right = right};
    near(__LINE__, "ece", stats_ece_of(&all, index, 3), stats_ece(&chosen, 3, NULL));
    StatsBootstrap got =
        stats_bootstrap(stats_ece_of, &all, 12, &(StatsBootstrapOptions){.seed = 1});
    near(__LINE__, "value", got.interval.value, 0.24583333333333335);
    CHECK(got.interval.low < got.interval.value && got.interval.high > got.interval.low);
    CHECK(isnan(stats_ece(&all, 0, NULL)) && isnan(stats_mce(&all, 0)));
    CHECK(isnan(stats_brier(&all, 0)) && isnan(stats_log_loss(&all, 0)));
}

int main(void)
{
    tap_run("calibration: matches published values", test_calibration__matches_published_values);
    tap_run("calibration: edges belong to the lower bin",
            test_calibration__edges_belong_to_the_lower_bin);
    tap_run("calibration: statistic for the bootstrap",
            test_calibration__statistic_for_the_bootstrap);
    return tap_done();
}
