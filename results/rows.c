// SPDX-License-Identifier: MIT
// Metrics that are no means: macro F1 and Matthews' correlation from pairs of classes, the expected
// calibration error, and functions written in Lua. What is resampled is a sample with all its
// epochs, or a whole cluster. Pure, but for the function that a custom metric is.
#include "results/metric_internal.h"

#include <math.h>
#include <stdlib.h>

#define BOOTSTRAP_ROWS_MAX  100000 // beyond, 2000 resamples take seconds, and the jackknife does
#define BOOTSTRAP_UNITS_MIN 10     // below, resamples are too few and too alike to give limits
#define GROUPS_MAX          50
#define SEED                0x6d7573746572 // "muster": the same rows have the same limits

// ---- Classes ------------------------------------------------------------------------------------

/** How often each class is the target, the answer, and both; of one resample. */
typedef struct ClassStat {
    const Row *rows;
    MetricKind kind;
    size_t n_classes;
    double *truth; // (n_classes) each; counts below 2^53 are exact
    double *answer;
    double *both;
} ClassStat;

/**
 * Unweighted mean of the classes' F1 over all classes that occur as target or as answer, as
 * scikit-learn's f1_score(average="macro"). */
static double f1_of(const ClassStat *stat)
{
    double sum = 0;
    double n_present = 0;
    for (size_t c = 0; c < stat->n_classes; c++) {
        double total = stat->truth[c] + stat->answer[c];
        if (total > 0) {
            sum += 2 * stat->both[c] / total;
            n_present++;
        }
    }
    return sum / n_present;
}

/**
 * Matthews' correlation for any number of classes (Gorodkin 2004, R_K); 0 where targets or answers
 * are all the same, as scikit-learn has it. */
static double mcc_of(const ClassStat *stat, double n)
{
    double correct = 0;
    double cross = 0;
    double truths = 0;
    double answers = 0;
    for (size_t c = 0; c < stat->n_classes; c++) {
        correct += stat->both[c];
        cross += stat->truth[c] * stat->answer[c];
        truths += stat->truth[c] * stat->truth[c];
        answers += stat->answer[c] * stat->answer[c];
    }
    double scale = (n * n - truths) * (n * n - answers);
    return scale > 0 ? (correct * n - cross) / sqrt(scale) : 0;
}

/** A StatsStatistic over a ClassStat. */
static double class_statistic(void *ctx, const uint32_t *index, size_t n)
{
    ClassStat *stat = ctx;
    for (size_t c = 0; c < 3 * stat->n_classes; c++) {
        stat->truth[c] = 0; // the three arrays are one block
    }
    for (size_t i = 0; i < n; i++) {
        const Row *row = &stat->rows[index[i]];
        stat->truth[row->truth]++;
        stat->answer[row->answer]++;
        stat->both[row->truth] += row->truth == row->answer;
    }
    return stat->kind == METRIC_F1_MACRO ? f1_of(stat) : mcc_of(stat, (double)n);
}

static ClassStat class_stat_make(MetricKind kind, const Row *rows, size_t n, Arena *arena)
{
    size_t n_classes = 0;
    for (size_t i = 0; i < n; i++) {
        n_classes = rows[i].truth >= n_classes ? rows[i].truth + 1 : n_classes;
        n_classes = rows[i].answer >= n_classes ? rows[i].answer + 1 : n_classes;
    }
    double *counts = ARENA_ARRAY(arena, double, 3 * n_classes);
    return (ClassStat){
        .rows = rows,
        .kind = kind,
        .n_classes = n_classes,
        .truth = counts,
        .answer = counts + n_classes,
        .both = counts + 2 * n_classes,
    };
}

// ---- Calibration --------------------------------------------------------------------------------

static StatsCalibration calibration_make(const Row *rows, size_t n, Arena *arena)
{
    double *confidence = ARENA_ARRAY(arena, double, n);
    double *right = ARENA_ARRAY(arena, double, n);
    for (size_t i = 0; i < n; i++) {
        confidence[i] = rows[i].confidence;
        right[i] = rows[i].value;
    }
    return (StatsCalibration){.confidence = confidence, .right = right};
}

// ---- The delete-a-group jackknife ---------------------------------------------------------------

/** A statistic that may fail; it keeps why. */
typedef bool GroupStatistic(void *ctx, const uint32_t *index, size_t n, double *out);

/** Which of n_groups each unit is in: random, even in number of units. */
static uint32_t *groups_deal(size_t n_units, size_t n_groups, Arena *arena)
{
    uint32_t *group = ARENA_ARRAY(arena, uint32_t, n_units);
    Rng rng;
    rng_init(&rng, SEED);
    for (size_t u = 0; u < n_units; u++) {
        size_t other = rng_below(&rng, u + 1);
        group[u] = group[other];
        group[other] = (uint32_t)(u % n_groups);
    }
    return group;
}

/**
 * Value, and the error from leaving out one group of units at a time: SE^2 = (G-1)/G sum (v_g -
 * mean)^2, t with G-1 df. Shao and Wu 1989; with a unit a group it is the plain jackknife. */
static Interval groups_interval(GroupStatistic *statistic, void *ctx, const uint32_t *unit,
                                size_t n, size_t n_units, double confidence, Arena *arena)
{
    Interval out = {.value = NAN, .stderr_ = NAN, .low = NAN, .high = NAN};
    uint32_t *index = ARENA_ARRAY(arena, uint32_t, n);
    for (size_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
    }
    size_t n_groups = n_units < GROUPS_MAX ? n_units : GROUPS_MAX;
    if (n == 0 || !statistic(ctx, index, n, &out.value) || n_groups < 2) {
        return out;
    }
    const uint32_t *group = groups_deal(n_units, n_groups, arena);
    double mean = 0;
    double m2 = 0;
    for (size_t g = 0; g < n_groups; g++) {
        size_t n_left = 0;
        for (size_t i = 0; i < n; i++) {
            if (group[unit[i]] != g) {
                index[n_left++] = (uint32_t)i;
            }
        }
        double value;
        if (!statistic(ctx, index, n_left, &value)) {
            return out;
        }
        double delta = value - mean;
        mean += delta / (double)(g + 1);
        m2 += delta * (value - mean);
    }
    double groups = (double)n_groups;
    out.stderr_ = sqrt((groups - 1) / groups * m2);
    double half = stats_t_quantile(0.5 + confidence / 2, groups - 1) * out.stderr_;
    out.low = out.value - half;
    out.high = out.value + half;
    return out;
}

/** A StatsStatistic as a GroupStatistic. */
typedef struct PlainStatistic {
    StatsStatistic *statistic;
    void *ctx;
} PlainStatistic;

static bool plain_statistic(void *ctx, const uint32_t *index, size_t n, double *out)
{
    const PlainStatistic *plain = ctx;
    *out = plain->statistic(plain->ctx, index, n);
    return true;
}

/** The statistic that a custom metric is. */
typedef struct CustomStatistic {
    const RowsAsk *ask;
    const Row *rows;
    Value *scores; // (n)
    Err err;
} CustomStatistic;

static bool custom_statistic(void *ctx, const uint32_t *index, size_t n, double *out)
{
    CustomStatistic *custom = ctx;
    const MetricSpec *spec = custom->ask->spec;
    for (size_t i = 0; i < n; i++) {
        custom->scores[i] = *custom->rows[index[i]].sample;
    }
    Value scores = value_list(custom->scores, n);
    return custom->ask->custom(custom->ask->ctx, spec->file, spec->lua, &spec->params, &scores, out,
                               &custom->err);
}

// ---- Rows to an estimate ------------------------------------------------------------------------

/** Units numbered from 0 without gaps, in the order of their first rows. */
static uint32_t *units_number(const Row *rows, size_t n, size_t *out_n, Arena *arena)
{
    uint32_t *unit = ARENA_ARRAY(arena, uint32_t, n);
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++) {
        last = rows[i].unit > last ? rows[i].unit : last;
    }
    uint32_t *number = ARENA_ARRAY(arena, uint32_t, (size_t)last + 1); // its number + 1
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t *mine = &number[rows[i].unit];
        *mine = *mine == 0 ? (uint32_t)++ * out_n : *mine;
        unit[i] = *mine - 1;
    }
    return unit;
}

static Interval custom_interval(const RowsAsk *ask, const Row *rows, size_t n, const uint32_t *unit,
                                size_t n_units, Arena *scratch, Arena *arena, Str *out_why)
{
    if (ask->custom == NULL) {
        *out_why = STR("it is written in Lua, which this command does not run");
        return (Interval){.value = NAN, .stderr_ = NAN, .low = NAN, .high = NAN};
    }
    CustomStatistic custom = {.ask = ask, .rows = rows, .err = ERR_INIT};
    custom.scores = ARENA_ARRAY(scratch, Value, n);
    Interval interval =
        groups_interval(custom_statistic, &custom, unit, n, n_units, ask->confidence, scratch);
    if (custom.err.code != ERR_NONE) {
        *out_why = str_copy(arena, str_from_c(custom.err.message));
    }
    return interval;
}

static Interval estimate(const RowsAsk *ask, const Row *rows, size_t n, Arena *scratch,
                         Arena *arena, Str *out_method, Str *out_why)
{
    size_t n_units;
    const uint32_t *unit = units_number(rows, n, &n_units, scratch);
    if (ask->spec->kind == METRIC_CUSTOM) {
        *out_method = STR("jackknife");
        return custom_interval(ask, rows, n, unit, n_units, scratch, arena, out_why);
    }
    ClassStat classes;
    StatsCalibration calibration;
    PlainStatistic plain = {.statistic = class_statistic, .ctx = &classes};
    if (ask->spec->kind == METRIC_ECE) {
        calibration = calibration_make(rows, n, scratch);
        plain = (PlainStatistic){.statistic = stats_ece_of, .ctx = &calibration};
    } else {
        classes = class_stat_make(ask->spec->kind, rows, n, scratch);
    }
    if (n > BOOTSTRAP_ROWS_MAX) {
        *out_method = STR("jackknife");
        return groups_interval(plain_statistic, &plain, unit, n, n_units, ask->confidence, scratch);
    }
    StatsBootstrapOptions options = {
        .confidence = ask->confidence, .seed = SEED, .cluster = unit, .n_clusters = n_units};
    Interval interval = stats_bootstrap(plain.statistic, plain.ctx, n, &options).interval;
    *out_method = STR("bca");
    if (n_units < BOOTSTRAP_UNITS_MIN) {
        interval.low = NAN;
        interval.high = NAN;
        *out_method = STR("none");
    }
    return interval;
}

Interval rows_interval(const RowsAsk *ask, const Row *rows, size_t n, Arena *arena, Str *out_method,
                       Str *out_why)
{
    Interval out = {.value = NAN, .stderr_ = NAN, .low = NAN, .high = NAN};
    if (n > 0) {
        Arena scratch = {0};
        out = estimate(ask, rows, n, &scratch, arena, out_method, out_why);
        arena_finish(&scratch);
    }
    if (isnan(out.value) || isnan(out.stderr_) || out.stderr_ == 0) {
        // Nothing varies: how sure that makes us of a statistic that is no mean, nobody knows.
        out.low = NAN;
        out.high = NAN;
        *out_method = STR("none");
    }
    return out;
}
