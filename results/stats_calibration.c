// SPDX-License-Identifier: MIT
// How well a model's confidence tells whether it is right: calibration errors over bins and proper
// scoring rules. Naeini, Cooper and Hauskrecht 2015; Brier 1950.
#include "results/stats.h"

#include "base/base.h"

#include <math.h>

#define BINS_DEFAULT 10
#define BINS_LOCAL   64

/** The bin (low, high] that holds this confidence; 0 lies in the first. */
static size_t bin_of(double confidence, size_t n_bins)
{
    if (!(confidence > 0)) {
        return 0;
    }
    double bins = (double)n_bins;
    size_t bin = (size_t)fmin(ceil(confidence * bins), bins) - 1;
    // The product rounds; the edges i / n_bins decide.
    if (bin > 0 && confidence <= (double)bin / bins) {
        return bin - 1;
    }
    return bin + 1 < n_bins && confidence > (double)(bin + 1) / bins ? bin + 1 : bin;
}

static void bins_fill(StatsBin *bins, size_t n_bins, const StatsCalibration *calibration,
                      const uint32_t *index, size_t n)
{
    for (size_t b = 0; b < n_bins; b++) {
        bins[b] =
            (StatsBin){.low = (double)b / (double)n_bins, .high = (double)(b + 1) / (double)n_bins};
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = index == NULL ? i : index[i];
        StatsBin *bin = &bins[bin_of(calibration->confidence[at], n_bins)];
        bin->n++;
        bin->confidence += calibration->confidence[at];
        bin->accuracy += calibration->right[at];
    }
    for (size_t b = 0; b < n_bins; b++) {
        bins[b].confidence /= (double)bins[b].n; // NaN when empty
        bins[b].accuracy /= (double)bins[b].n;
    }
}

typedef struct CalibrationErrors {
    double expected;
    double largest;
} CalibrationErrors;

static CalibrationErrors errors_of(const StatsCalibration *calibration, const uint32_t *index,
                                   size_t n, StatsBin *out_bins)
{
    if (n == 0) {
        return (CalibrationErrors){.expected = NAN, .largest = NAN};
    }
    size_t n_bins = calibration->n_bins > 0 ? calibration->n_bins : BINS_DEFAULT;
    StatsBin local[BINS_LOCAL];
    StatsBin *bins = out_bins;
    if (bins == NULL) {
        bins = n_bins <= BINS_LOCAL ? local : (StatsBin *)mem_alloc(n_bins, sizeof(StatsBin));
    }
    bins_fill(bins, n_bins, calibration, index, n);
    CalibrationErrors errors = {0};
    for (size_t b = 0; b < n_bins; b++) {
        if (bins[b].n > 0) {
            double gap = fabs(bins[b].accuracy - bins[b].confidence);
            errors.expected += (double)bins[b].n / (double)n * gap;
            errors.largest = fmax(errors.largest, gap);
        }
    }
    if (bins != out_bins && bins != local) {
        mem_free(bins);
    }
    return errors;
}

double stats_ece(const StatsCalibration *calibration, size_t n, StatsBin *out_bins)
{
    return errors_of(calibration, NULL, n, out_bins).expected;
}

double stats_mce(const StatsCalibration *calibration, size_t n)
{
    return errors_of(calibration, NULL, n, NULL).largest;
}

double stats_ece_of(void *ctx, const uint32_t *index, size_t n)
{
    return errors_of(ctx, index, n, NULL).expected;
}

double stats_brier(const StatsCalibration *calibration, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double gap = calibration->confidence[i] - calibration->right[i];
        sum += gap * gap;
    }
    return sum / (double)n;
}

double stats_log_loss(const StatsCalibration *calibration, size_t n)
{
    const double clip = 1e-15;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double p = fmin(fmax(calibration->confidence[i], clip), 1 - clip);
        double y = calibration->right[i];
        sum -= y * log(p) + (1 - y) * log1p(-p);
    }
    return sum / (double)n;
}
