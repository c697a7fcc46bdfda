// SPDX-License-Identifier: MIT
// One estimator for all that is compared and gated (DESIGN.md 4.5): a value or a paired difference,
// over samples, clusters and parts, of means or ratios of sums. It picks the interval that the data
// ask for, so that tables, diff and gates never disagree.
#include "results/stats_internal.h"

#include <math.h>

enum {
    CANDIDATE,
    BASELINE,
};

static const char *const METHOD_WORDS[] = {
    [STATS_NONE] = "none", [STATS_WILSON] = "wilson", [STATS_TANGO] = "tango",
    [STATS_T] = "t",       [STATS_DELTA] = "delta",   [STATS_JACKKNIFE] = "jackknife",
};

const char *stats_method_word(StatsMethod method)
{
    return METHOD_WORDS[method];
}

/** Sums of both sides over the samples of one part, or over those of it in one cluster. */
typedef struct SideSums {
    double y[2]; // sum of weight * (value - shift)
    double w[2];
    int64_t n;
} SideSums;

/** What an estimate works on; everything else is a view of it. */
typedef struct Work {
    const StatsPairs *pairs;
    const uint32_t *kept; // (n) samples that count
    size_t n;
    double shift[2];
    SideSums *parts; // (n_parts)
    size_t n_parts;
    size_t n_alive;    // parts with any sample
    double whole;      // the estimate
    double *influence; // NULL: not wanted
    size_t n_units;
} Work;

static double value_at(const StatsPairs *pairs, int side, size_t i)
{
    return side == CANDIDATE ? pairs->candidate[i] : pairs->baseline[i];
}

static double weight_at(const StatsPairs *pairs, int side, size_t i)
{
    const double *weight = side == CANDIDATE ? pairs->candidate_weight : pairs->baseline_weight;
    return weight == NULL ? 1 : weight[i];
}

static int n_sides(const StatsPairs *pairs)
{
    return pairs->baseline == NULL ? 1 : 2;
}

static size_t part_at(const StatsPairs *pairs, size_t i)
{
    return pairs->part == NULL ? 0 : pairs->part[i];
}

static bool counts(const StatsPairs *pairs, size_t i)
{
    for (int side = 0; side < n_sides(pairs); side++) {
        if (!isfinite(value_at(pairs, side, i)) || !(weight_at(pairs, side, i) > 0)) {
            return false;
        }
    }
    return true;
}

static void sums_add(const Work *work, SideSums *sums, size_t i)
{
    for (int side = 0; side < n_sides(work->pairs); side++) {
        double weight = weight_at(work->pairs, side, i);
        sums->y[side] += weight * (value_at(work->pairs, side, i) - work->shift[side]);
        sums->w[side] += weight;
    }
    sums->n++;
}

/** Value, or difference, of one part. */
static double sums_value(const Work *work, const SideSums *sums)
{
    double difference = 0;
    double shift = 0;
    for (int side = 0; side < n_sides(work->pairs); side++) {
        double sign = side == CANDIDATE ? 1 : -1;
        double rest = sums->y[side] / sums->w[side];
        if (work->pairs->exponential) {
            difference += sign * exp(work->shift[side] + rest);
        } else {
            difference += sign * rest;
            shift += sign * work->shift[side];
        }
    }
    return shift + difference;
}

static double parts_value(const Work *work)
{
    double sum = 0;
    for (size_t p = 0; p < work->n_parts; p++) {
        sum += work->parts[p].n > 0 ? sums_value(work, &work->parts[p]) : 0;
    }
    return sum / (double)work->n_alive;
}

/** How sample i moves its part's value: the delta method's linear term, with mean zero there. */
static double influence_of(const Work *work, const SideSums *part, size_t i)
{
    double sum = 0;
    for (int side = 0; side < n_sides(work->pairs); side++) {
        double ratio = part->y[side] / part->w[side];
        double slope = work->pairs->exponential ? exp(work->shift[side] + ratio) : 1;
        double residual = value_at(work->pairs, side, i) - work->shift[side] - ratio;
        double term =
            slope * weight_at(work->pairs, side, i) * residual / (part->w[side] / (double)part->n);
        sum += side == CANDIDATE ? term : -term;
    }
    return sum;
}

/** Independent samples: the variance within each part, parts averaged. */
static StatsTest delta_test(Arena *scratch, Work *work, double confidence)
{
    Interval *intervals = ARENA_ARRAY(scratch, Interval, work->n_parts);
    int64_t *sizes = ARENA_ARRAY(scratch, int64_t, work->n_parts);
    double *squares = ARENA_ARRAY(scratch, double, work->n_parts);
    for (size_t k = 0; k < work->n; k++) {
        size_t i = work->kept[k];
        const SideSums *part = &work->parts[part_at(work->pairs, i)];
        double influence = influence_of(work, part, i);
        squares[part_at(work->pairs, i)] += influence * influence;
        if (work->influence != NULL) {
            // Of the whole estimate: a part's share is 1/n_alive however few samples it has.
            work->influence[k] =
                influence * (double)work->n / (double)work->n_alive / (double)part->n;
        }
    }
    work->n_units = work->n;
    size_t count = 0;
    for (size_t p = 0; p < work->n_parts; p++) {
        double size = (double)work->parts[p].n;
        if (size > 0) {
            intervals[count].value = sums_value(work, &work->parts[p]);
            intervals[count].stderr_ =
                size < 2 ? (double)NAN : sqrt(squares[p] / (size - 1) / size);
            sizes[count++] = work->parts[p].n;
        }
    }
    if (count == 1) {
        return stats_test_of(intervals[0].value, intervals[0].stderr_, (double)sizes[0] - 1,
                             confidence);
    }
    return stats_average_test(intervals, sizes, count, confidence);
}

/** One mean without weights: exact where all (differences of) values are equal. */
static StatsTest mean_test(Work *work, double confidence)
{
    StatsMoments moments = {0};
    const StatsPairs *pairs = work->pairs;
    for (size_t k = 0; k < work->n; k++) {
        size_t i = work->kept[k];
        double other = pairs->baseline == NULL ? 0 : pairs->baseline[i];
        stats_moments_add(&moments, pairs->candidate[i] - other, 1);
    }
    StatsTest test = stats_moments_test(&moments, confidence);
    for (size_t k = 0; k < work->n && work->influence != NULL; k++) {
        size_t i = work->kept[k];
        double other = pairs->baseline == NULL ? 0 : pairs->baseline[i];
        work->influence[k] = pairs->candidate[i] - other - test.interval.value;
    }
    work->n_units = work->n;
    return test;
}

/** The samples that count, cluster by cluster. shapes  start (n_clusters + 1). */
static uint32_t *by_cluster(Arena *scratch, const Work *work, size_t **out_start)
{
    size_t n_clusters = work->pairs->n_clusters;
    size_t *start = ARENA_ARRAY(scratch, size_t, n_clusters + 2);
    uint32_t *order = ARENA_ARRAY(scratch, uint32_t, work->n);
    for (size_t k = 0; k < work->n; k++) {
        start[work->pairs->cluster[work->kept[k]] + 2]++;
    }
    for (size_t g = 0; g < n_clusters; g++) {
        start[g + 2] += start[g + 1];
    }
    for (size_t k = 0; k < work->n; k++) {
        order[start[work->pairs->cluster[work->kept[k]] + 1]++] = work->kept[k];
    }
    *out_start = start;
    return order;
}

/** The estimate without the samples from..to of order, all of one cluster; NaN when none is left.
 * shapes  out (n_parts) and touched (n_parts) are scratch, zeroed before and after. */
static double without_cluster(const Work *work, const uint32_t *order, size_t from, size_t to,
                              SideSums *out, uint32_t *touched)
{
    size_t n_touched = 0;
    for (size_t k = from; k < to; k++) {
        size_t p = part_at(work->pairs, order[k]);
        if (out[p].n == 0) {
            touched[n_touched++] = (uint32_t)p;
        }
        sums_add(work, &out[p], order[k]);
    }
    double sum = work->whole * (double)work->n_alive;
    size_t n_alive = work->n_alive;
    for (size_t t = 0; t < n_touched; t++) {
        const SideSums *part = &work->parts[touched[t]];
        SideSums *gone = &out[touched[t]];
        SideSums left = {.n = part->n - gone->n};
        for (int side = 0; side < 2; side++) {
            left.y[side] = part->y[side] - gone->y[side];
            left.w[side] = part->w[side] - gone->w[side];
        }
        sum -= sums_value(work, part);
        if (left.n > 0) {
            sum += sums_value(work, &left);
        } else {
            n_alive--;
        }
        *gone = (SideSums){0};
    }
    return n_alive > 0 ? sum / (double)n_alive : (double)NAN;
}

/** Delete-one-cluster jackknife, df = n^2 / sum n_g^2 - 1. */
static StatsTest jackknife_test(Arena *scratch, Work *work, double confidence,
                                size_t *out_n_clusters)
{
    size_t *start;
    uint32_t *order = by_cluster(scratch, work, &start);
    SideSums *gone = ARENA_ARRAY(scratch, SideSums, work->n_parts);
    uint32_t *touched = ARENA_ARRAY(scratch, uint32_t, work->n_parts);
    double *replicates = ARENA_ARRAY(scratch, double, work->pairs->n_clusters);
    size_t n_clusters = 0;
    double squares = 0;
    double mean = 0;
    double m2 = 0;
    for (size_t g = 0; g < work->pairs->n_clusters; g++) {
        double size = (double)(start[g + 1] - start[g]);
        if (size > 0) {
            double value = without_cluster(work, order, start[g], start[g + 1], gone, touched);
            replicates[n_clusters++] = value;
            squares += size * size;
            double delta = value - mean;
            mean += delta / (double)n_clusters;
            m2 += delta * (value - mean);
        }
    }
    double groups = (double)n_clusters;
    *out_n_clusters = n_clusters;
    work->n_units = n_clusters;
    for (size_t g = 0; g < n_clusters && work->influence != NULL; g++) {
        work->influence[g] = (groups - 1) * (mean - replicates[g]);
    }
    double df = (double)work->n * (double)work->n / squares - 1;
    double stderr_ = n_clusters < 2 ? (double)NAN : sqrt((groups - 1) / groups * m2);
    return stats_test_of(work->whole, stderr_, df, confidence);
}

static bool all_binary(const Work *work)
{
    for (size_t k = 0; k < work->n; k++) {
        for (int side = 0; side < n_sides(work->pairs); side++) {
            double value = value_at(work->pairs, side, work->kept[k]);
            if (value != 0 && value != 1) {
                return false;
            }
        }
    }
    return true;
}

static void flips_count(const Work *work, StatsEstimate *out)
{
    for (size_t k = 0; k < work->n && work->pairs->baseline != NULL; k++) {
        double a = work->pairs->candidate[work->kept[k]];
        double b = work->pairs->baseline[work->kept[k]];
        double tolerance = 1e-12 * fmax(fabs(a), fabs(b));
        out->n_better += a - b > tolerance;
        out->n_worse += b - a > tolerance;
    }
}

static void binary_estimate(Work *work, double confidence, StatsEstimate *out)
{
    mean_test(work, confidence); // for the influences
    if (work->pairs->baseline == NULL) {
        int64_t right = 0;
        for (size_t k = 0; k < work->n; k++) {
            right += work->pairs->candidate[work->kept[k]] == 1;
        }
        out->method = STATS_WILSON;
        out->interval = stats_wilson(right, (int64_t)work->n, confidence);
        return;
    }
    int64_t b = (int64_t)out->n_better;
    int64_t c = (int64_t)out->n_worse;
    out->method = STATS_TANGO;
    out->interval = stats_tango(b, c, (int64_t)work->n, confidence);
    out->p_exact = stats_mcnemar(b, c).p_exact;
    // The score test that the interval inverts, at no difference.
    double z = b == c ? 0 : fabs((double)(b - c)) / sqrt((double)(b + c));
    out->p = fmin(1, 2 * stats_normal_cdf(-z));
}

static void t_estimate(Arena *scratch, Work *work, double confidence, StatsEstimate *out)
{
    const StatsPairs *pairs = work->pairs;
    bool weighted = pairs->candidate_weight != NULL || pairs->baseline_weight != NULL;
    StatsTest test;
    if (pairs->cluster != NULL) {
        test = jackknife_test(scratch, work, confidence, &out->n_clusters);
        out->method = STATS_JACKKNIFE;
    } else if (weighted || pairs->exponential || work->n_alive > 1) {
        test = delta_test(scratch, work, confidence);
        out->method = weighted || pairs->exponential ? STATS_DELTA : STATS_T;
    } else {
        test = mean_test(work, confidence);
        out->method = STATS_T;
    }
    out->interval = test.interval;
    out->df = test.df;
    out->p = pairs->baseline == NULL ? (double)NAN : test.p;
    if (isnan(test.interval.stderr_)) {
        out->method = STATS_NONE;
    }
}

/** Choose the samples that count and sum the parts. */
static Work work_begin(Arena *scratch, const StatsPairs *pairs, double *influence)
{
    Work work = {.pairs = pairs, .influence = influence};
    uint32_t *kept = ARENA_ARRAY(scratch, uint32_t, pairs->n);
    for (size_t i = 0; i < pairs->n; i++) {
        if (counts(pairs, i)) {
            kept[work.n++] = (uint32_t)i;
        }
    }
    work.kept = kept;
    work.n_parts = pairs->part == NULL ? 1 : pairs->n_parts;
    work.parts = ARENA_ARRAY(scratch, SideSums, work.n_parts);
    for (int side = 0; side < n_sides(pairs) && work.n > 0; side++) {
        work.shift[side] = value_at(pairs, side, kept[0]);
    }
    for (size_t k = 0; k < work.n; k++) {
        sums_add(&work, &work.parts[part_at(pairs, kept[k])], kept[k]);
    }
    for (size_t p = 0; p < work.n_parts; p++) {
        work.n_alive += work.parts[p].n > 0;
    }
    work.whole = parts_value(&work);
    return work;
}

StatsEstimate stats_estimate_with(const StatsPairs *pairs, double confidence, double *out_influence,
                                  size_t *out_n_units)
{
    StatsEstimate out = {
        .interval = stats_interval_unknown(NAN), .df = NAN, .p = NAN, .p_exact = NAN};
    Arena scratch = {0};
    Work work = work_begin(&scratch, pairs, out_influence);
    out.n = work.n;
    out.n_missing = pairs->n - work.n;
    flips_count(&work, &out);
    bool plain = pairs->cluster == NULL && work.n_alive == 1 && pairs->candidate_weight == NULL &&
                 pairs->baseline_weight == NULL && !pairs->exponential;
    if (work.n > 0 && plain && pairs->binary && all_binary(&work)) {
        binary_estimate(&work, confidence, &out);
    } else if (work.n > 0) {
        t_estimate(&scratch, &work, confidence, &out);
    }
    if (out_n_units != NULL) {
        *out_n_units = work.n_units;
    }
    arena_finish(&scratch);
    return out;
}

StatsEstimate stats_estimate(const StatsPairs *pairs, double confidence)
{
    return stats_estimate_with(pairs, confidence, NULL, NULL);
}
