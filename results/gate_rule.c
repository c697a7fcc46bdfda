// SPDX-License-Identifier: MIT
// The gate rule: limits against a bound, then the safeguards that keep a pass honest where limits
// are not, then what an inconclusive check is worth. All arithmetic is on signed values: better is
// positive, `target` is the value that has to be exceeded.
#include "results/gate_rule.h"

#include "results/stats_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define FEW_DIFFERING   10
#define FEW_CLUSTERS    10
#define POWER           0.8
#define DETECT_SHARE    0.10 // of the range
#define FAR_CHANCE      5e-5 // one-sided: how surely a pass excludes a loss of `detect`
#define UNBOUNDED_UNITS 59   // 0.95^59 < 0.05: a change of 5 % of the samples would have shown

static const char *const VERDICT_WORDS[] = {
    [GATE_PASS] = "pass",
    [GATE_FAIL] = "fail",
    [GATE_INCONCLUSIVE] = "inconclusive",
};

static const char *const REASON_WORDS[] = {
#define X(name, words) [GATE_REASON_##name] = words,
#include "results/gate_reason.def"
#undef X
};

const char *gate_verdict_word(GateVerdict verdict)
{
    return VERDICT_WORDS[verdict];
}

const char *gate_reason_words(GateReason reason)
{
    return REASON_WORDS[reason];
}

bool gate_budget(double observed, double limit)
{
    return observed <= limit; // false for NaN
}

/** A check in signed terms, and the samples it looks at, complete. */
typedef struct Judge {
    const GateCheck *check;
    StatsPairs pairs;
    double sign;
    double target;  // the signed value has to lie above it
    double allowed; // loss that the bound itself allows
    double range;   // infinite: unbounded
    double z_alpha; // quantiles of the confidence and of the power
    double z_power;
    double *influence; // of the units, signed
    size_t n_units;
    double n_effective;  // units if all were of equal weight
    double share_better; // of the effective units
    double share_worse;
    double share_good; // at the good end of the range
    bool few_differ;   // too few samples or clusters differ (values: are off the most frequent one)
    bool all_equal;
} Judge;

static bool is_bounded(const Judge *judge)
{
    return isfinite(judge->range);
}

static Judge judge_of(const GateCheck *check, const StatsPairs *pairs)
{
    assert(check->low < check->high && check->confidence > 0.5 && check->confidence < 1);
    bool loss = check->kind == GATE_LOSS;
    bool downwards = check->kind == GATE_MAX || (loss && check->lower_is_better);
    Judge judge = {
        .check = check,
        .pairs = *pairs,
        .sign = downwards ? -1 : 1,
        .allowed = loss ? check->bound : 0,
        .range = pairs->exponential ? (double)INFINITY : check->high - check->low,
        .z_alpha = stats_normal_quantile(check->confidence),
        .z_power = stats_normal_quantile(POWER),
    };
    judge.target = loss ? -check->bound : judge.sign * check->bound;
    judge.pairs.binary = pairs->binary && check->low == 0 && check->high == 1;
    if (!loss) {
        judge.pairs.baseline = NULL;
        judge.pairs.baseline_weight = NULL;
    }
    return judge;
}

// ---- What is missing ----------------------------------------------------------------------------

/** The value of one side, inside its range; NaN when it is none. */
static double value_or_nan(const GateCheck *check, double value, double weight)
{
    double slack = isfinite(check->high - check->low) ? 1e-9 * (check->high - check->low) : 0;
    if (!isfinite(value) || !(weight > 0) || !isfinite(weight) || value < check->low - slack ||
        value > check->high + slack) {
        return NAN;
    }
    return fmin(fmax(value, check->low), check->high);
}

/** Copies of one side without what is outside of the range. Returns how many are NaN. */
static double *side_copy(Arena *arena, const GateCheck *check, const double *value,
                         const double *weight, size_t n)
{
    double *copy = ARENA_ARRAY(arena, double, n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = value_or_nan(check, value[i], weight == NULL ? 1 : weight[i]);
    }
    return copy;
}

/** Weights for values that have none of their own: the other side's, else the mean of this side. */
static const double *weights_fill(Arena *arena, const double *weight, const double *other,
                                  const double *value, size_t n)
{
    if (weight == NULL) {
        return NULL;
    }
    double mean = 0;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isnan(value[i])) {
            mean += (weight[i] - mean) / (double)++known;
        }
    }
    double *filled = ARENA_ARRAY(arena, double, n);
    for (size_t i = 0; i < n; i++) {
        bool lent = other != NULL && other[i] > 0 && isfinite(other[i]);
        filled[i] = !isnan(value[i]) ? weight[i] : lent ? other[i] : known > 0 ? mean : 1;
    }
    return filled;
}

static void impute(double *value, size_t n, double with)
{
    for (size_t i = 0; i < n; i++) {
        value[i] = isnan(value[i]) ? with : value[i];
    }
}

/** Put the worst in place of what is missing. */
static void judge_impute(Arena *arena, Judge *judge, double *candidate, double *baseline)
{
    StatsPairs *pairs = &judge->pairs;
    const GateCheck *check = judge->check;
    const double *weight = pairs->candidate_weight;
    pairs->candidate_weight =
        weights_fill(arena, weight, pairs->baseline_weight, candidate, pairs->n);
    impute(candidate, pairs->n, judge->sign > 0 ? check->low : check->high);
    if (baseline != NULL) {
        pairs->baseline_weight =
            weights_fill(arena, pairs->baseline_weight, weight, baseline, pairs->n);
        impute(baseline, pairs->n, judge->sign > 0 ? check->high : check->low);
    }
}

// ---- The samples behind the limits --------------------------------------------------------------

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double most_frequent(Arena *arena, const StatsPairs *pairs)
{
    double *sorted = ARENA_ARRAY(arena, double, pairs->n);
    size_t count = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        if (!isnan(pairs->candidate[i])) {
            sorted[count++] = pairs->candidate[i];
        }
    }
    qsort(sorted, count, sizeof(double), compare_doubles);
    return stats_reduce(REDUCE_MAJORITY, sorted, count, 0, 0);
}

/** Each sample's share of the estimate; NaN values have none. */
static double *shares_of(Arena *arena, const StatsPairs *pairs)
{
    size_t n_parts = pairs->part == NULL ? 1 : pairs->n_parts;
    double *total = ARENA_ARRAY(arena, double, n_parts);
    double *share = ARENA_ARRAY(arena, double, pairs->n);
    double n_alive = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        bool there =
            !isnan(pairs->candidate[i]) && (pairs->baseline == NULL || !isnan(pairs->baseline[i]));
        share[i] = !there ? 0 : pairs->candidate_weight == NULL ? 1 : pairs->candidate_weight[i];
        double *of_part = &total[pairs->part == NULL ? 0 : pairs->part[i]];
        n_alive += *of_part == 0 && share[i] > 0;
        *of_part += share[i];
    }
    for (size_t i = 0; i < pairs->n; i++) {
        if (share[i] > 0) {
            share[i] /= total[pairs->part == NULL ? 0 : pairs->part[i]] * n_alive;
        }
    }
    return share;
}

/** Signed difference of a pair; of a value its distance from the most frequent one. */
static double gap_of(const Judge *judge, size_t i, double common)
{
    const StatsPairs *pairs = &judge->pairs;
    double other = pairs->baseline == NULL ? common : pairs->baseline[i];
    double gap = judge->sign * (pairs->candidate[i] - other);
    double tolerance = 1e-12 * fmax(fabs(pairs->candidate[i]), fabs(other));
    return fabs(gap) <= tolerance ? 0 : gap;
}

/** Count differing units and find their effective number: 1 / sum of squared shares. */
static void judge_count(Arena *arena, Judge *judge)
{
    const StatsPairs *pairs = &judge->pairs;
    double common = pairs->baseline == NULL ? most_frequent(arena, pairs) : 0;
    double *share = shares_of(arena, pairs);
    size_t n_units = pairs->cluster == NULL ? pairs->n : pairs->n_clusters;
    double *unit = ARENA_ARRAY(arena, double, n_units);
    bool *differs = ARENA_ARRAY(arena, bool, n_units);
    double good = judge->sign > 0 ? judge->check->high : judge->check->low;
    size_t n_pairs = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        if (share[i] > 0) {
            size_t at = pairs->cluster == NULL ? i : pairs->cluster[i];
            double gap = gap_of(judge, i, common);
            unit[at] += share[i];
            differs[at] |= gap != 0;
            n_pairs += gap != 0;
            judge->share_better += gap > 0 ? share[i] : 0;
            judge->share_worse += gap < 0 ? share[i] : 0;
            judge->share_good += pairs->candidate[i] == good ? share[i] : 0;
        }
    }
    double squares = 0;
    size_t n_differing = 0;
    for (size_t u = 0; u < n_units; u++) {
        squares += unit[u] * unit[u];
        n_differing += differs[u];
    }
    // Where there are fewer clusters than that, all of them will do: no pass hangs on it.
    size_t n_enough = n_units < FEW_DIFFERING && pairs->cluster != NULL ? n_units : FEW_DIFFERING;
    judge->few_differ = n_pairs < FEW_DIFFERING || n_differing < n_enough;
    judge->n_effective = squares > 0 ? 1 / squares : 0;
}

/** Whether the units say the same: their influences are rounding. */
static bool influences_vanish(const Judge *judge, double value)
{
    double scale = fabs(value);
    for (size_t i = 0; i < judge->pairs.n; i++) {
        double x = fabs(judge->pairs.candidate[i]);
        scale = x > scale ? x : scale;
    }
    for (size_t u = 0; u < judge->n_units; u++) {
        if (fabs(judge->influence[u]) > 1e-12 * scale) {
            return false;
        }
    }
    return true;
}

// ---- Safeguards of a pass -----------------------------------------------------------------------

/** The lower limit with every difference as a full flip (every shortfall as a full loss). */
static double flips_limit(const Judge *judge)
{
    double n = judge->n_effective;
    double confidence = 2 * judge->check->confidence - 1;
    if (judge->check->kind == GATE_LOSS) {
        Interval flips =
            stats_tango_real(n * judge->share_better, n * judge->share_worse, n, confidence);
        return judge->range * flips.low;
    }
    double good = judge->sign > 0 ? judge->check->high : -judge->check->low;
    double kept = stats_wilson_real(n * judge->share_good, n, confidence).low;
    return good - judge->range * (1 - kept);
}

/**
 * Score test of "the mean is target": the units' variance under weights of greatest empirical
 * likelihood that give them that mean. True when the estimate lies above it at the confidence.
 * For differences -1, 0 and 1 these weights are Tango's restricted estimate. */
static bool score_exceeds(const Judge *judge, double value, double target, double confidence,
                          double df)
{
    size_t n = judge->n_units;
    double above = value - target;
    double least = INFINITY;
    for (size_t u = 0; u < n; u++) {
        least = fmin(least, above + judge->influence[u]);
    }
    if (least >= 0) {
        return true; // no unit lies below the target: no weights reach it
    }
    double low = 0;
    double high = -1 / least;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        double sum = 0;
        for (size_t u = 0; u < n; u++) {
            double x = above + judge->influence[u];
            sum += x / (1 + middle * x);
        }
        if (sum > 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double variance = 0;
    for (size_t u = 0; u < n; u++) {
        double x = above + judge->influence[u];
        variance += x * x / (1 + low * x);
    }
    variance /= (double)n;
    double size = (double)n;
    return above > stats_t_quantile(confidence, df) * sqrt(variance / (size - 1));
}

/** Turn an interval of the metric into signed terms. */
static Interval interval_signed(Interval interval, double sign)
{
    if (sign > 0) {
        return interval;
    }
    return (Interval){.value = -interval.value,
                      .stderr_ = interval.stderr_,
                      .low = -interval.high,
                      .high = -interval.low};
}

static double detect_of(const GateCheck *check, double range)
{
    if (!isnan(check->detect)) {
        return check->detect;
    }
    return isfinite(range) ? DETECT_SHARE * range : (double)NAN;
}

/**
 * Whether a loss of `detect` is excluded almost surely. At a few dozen samples a lucky draw lifts
 * the limit above the bound; it must not do so for a loss that nobody would miss. Large samples
 * never notice. */
static bool excludes_far_loss(const Judge *judge)
{
    double beyond = detect_of(judge->check, judge->range) - judge->allowed;
    if (judge->check->kind != GATE_LOSS || judge->check->lucky_passes || !(beyond > 0)) {
        return true;
    }
    StatsEstimate estimate = stats_estimate(&judge->pairs, 1 - 2 * FAR_CHANCE);
    Interval limits = interval_signed(estimate.interval, judge->sign);
    double far = judge->target - beyond;
    if (!(limits.low > far) || estimate.method == STATS_TANGO || judge->all_equal) {
        return limits.low > far;
    }
    double least = INFINITY;
    double most = -INFINITY;
    for (size_t u = 0; u < judge->n_units; u++) {
        least = fmin(least, limits.value + judge->influence[u]);
        most = fmax(most, limits.value + judge->influence[u]);
    }
    if (is_bounded(judge) && least >= far && most >= judge->range / 2) {
        // Samples jump, and none of them down so far: a total loss that is rare may have been
        // missed.
        double share = detect_of(judge->check, judge->range) / judge->range;
        return pow(1 - share, judge->n_effective) < FAR_CHANCE;
    }
    return score_exceeds(judge, limits.value, far, 1 - FAR_CHANCE, estimate.df);
}

static GateReason doubt_of_pass(const Judge *judge, const StatsEstimate *estimate, double value)
{
    bool few = judge->few_differ;
    if (!excludes_far_loss(judge)) {
        return GATE_REASON_FAR_LOSS;
    }
    if (estimate->method == STATS_WILSON || estimate->method == STATS_TANGO) {
        return GATE_REASON_LIMITS; // the flips are the data
    }
    if (few || judge->all_equal) {
        if (!is_bounded(judge)) {
            return few ? GATE_REASON_FEW_DIFFER_UNBOUNDED : GATE_REASON_ALL_EQUAL_UNBOUNDED;
        }
        if (!(flips_limit(judge) > judge->target)) {
            return few ? GATE_REASON_FEW_DIFFER : GATE_REASON_ALL_EQUAL;
        }
    }
    if (!judge->all_equal &&
        !score_exceeds(judge, value, judge->target, judge->check->confidence, estimate->df)) {
        return GATE_REASON_SKEWED;
    }
    return GATE_REASON_LIMITS;
}

// ---- What the sample could have shown -----------------------------------------------------------

/**
 * What a one-sided score test of right or wrong needs to show a true loss past the allowed one, as
 * (effect * sqrt(n)): Connor's sum with Tango's variance under the null. Losing `loss` takes as
 * many pairs that differ, however few were seen. units  shares of the range. */
static double flips_needed(const Judge *judge, double allowed, double loss)
{
    if (judge->check->kind != GATE_LOSS) {
        double worst = judge->sign > 0 ? judge->check->low : -judge->check->high;
        double share = (judge->target - worst) / judge->range; // good at the bound
        double less = share - loss;
        return judge->z_alpha * sqrt(fmax(0, share * (1 - share))) +
               judge->z_power * sqrt(fmax(0, less * (1 - less)));
    }
    double differing = fmin(1, fmax(judge->share_better + judge->share_worse, fabs(loss)));
    double at_bound =
        stats_tango_variance((differing - loss) / 2, (differing + loss) / 2, 1, -allowed);
    return judge->z_alpha * sqrt(at_bound) +
           judge->z_power * sqrt(fmax(0, differing - loss * loss));
}

/** The least effect past the allowed loss that flips show in n_effective units. */
static double flips_effect(const Judge *judge)
{
    double allowed = judge->allowed / judge->range;
    double root = sqrt(judge->n_effective);
    double low = allowed;
    double high = 1;
    if (!(high > low) || !((high - allowed) * root >= flips_needed(judge, allowed, high))) {
        return INFINITY;
    }
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if ((middle - allowed) * root >= flips_needed(judge, allowed, middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return (high - allowed) * judge->range;
}

/** Samples (in effective ones, scaled up) at which flips show this effect. */
static double flips_n(const Judge *judge, double effect)
{
    double allowed = judge->allowed / judge->range;
    double share = effect / judge->range;
    double root = flips_needed(judge, allowed, allowed + share) / share;
    return root * root * (double)judge->pairs.n / judge->n_effective;
}

/** Samples at which a candidate that did not change (or is as seen) passes, by flips. */
static double flips_n_decide(const Judge *judge, double value)
{
    double scale = (double)judge->pairs.n / judge->n_effective;
    if (judge->check->kind != GATE_LOSS || !(judge->allowed > 0)) {
        double gap = fabs(value - judge->target) / judge->range;
        double spread = judge->share_better + judge->share_worse;
        if (judge->check->kind != GATE_LOSS) {
            double worst = judge->sign > 0 ? judge->check->low : -judge->check->high;
            double share = (judge->target - worst) / judge->range;
            double seen = (value - worst) / judge->range;
            double sum = judge->z_alpha * sqrt(fmax(0, share * (1 - share))) +
                         judge->z_power * sqrt(fmax(0, seen * (1 - seen)));
            return gap > 0 ? sum * sum / (gap * gap) * scale : (double)INFINITY;
        }
        double sum = (judge->z_alpha + judge->z_power) * sqrt(spread);
        return gap > 0 ? sum * sum / (gap * gap) * scale : (double)INFINITY;
    }
    double allowed = judge->allowed / judge->range;
    double differing = judge->share_better + judge->share_worse;
    double at_bound = stats_tango_variance(differing / 2, differing / 2, 1, -allowed);
    double sum = judge->z_alpha * sqrt(at_bound) + judge->z_power * sqrt(differing);
    return sum * sum / (allowed * allowed) * scale;
}

/** Fill effect, n_detect and n_decide. */
static void outcome_size(GateOutcome *out, const Judge *judge, const StatsEstimate *estimate,
                         double value)
{
    const GateCheck *check = judge->check;
    double gap = out->detect - judge->allowed;
    bool by_flips = estimate->method == STATS_WILSON || estimate->method == STATS_TANGO;
    bool sparse = judge->few_differ || judge->all_equal;
    out->effect = INFINITY;
    out->n_detect = INFINITY;
    out->n_decide = INFINITY;
    if (!by_flips && !isnan(estimate->interval.stderr_)) {
        double t = stats_t_quantile(check->confidence, estimate->df) +
                   stats_t_quantile(POWER, estimate->df);
        double z = judge->z_alpha + judge->z_power;
        double size = (double)judge->pairs.n;
        double error = estimate->interval.stderr_;
        double away = judge->allowed > 0 ? judge->allowed : fabs(value - judge->target);
        bool blind = sparse && !is_bounded(judge) && judge->n_units < UNBOUNDED_UNITS;
        out->effect = blind ? (double)INFINITY : t * error;
        out->n_detect = gap > 0 ? size * pow(z * error / gap, 2) : (double)INFINITY;
        out->n_detect = blind ? fmax(out->n_detect, UNBOUNDED_UNITS) : out->n_detect;
        out->n_decide = away > 0 ? size * pow(z * error / away, 2) : (double)INFINITY;
    }
    if (by_flips || (sparse && is_bounded(judge))) {
        double effect = flips_effect(judge);
        double n_detect = gap > 0 ? flips_n(judge, gap) : (double)INFINITY;
        double n_decide = flips_n_decide(judge, value);
        out->effect = by_flips ? effect : fmax(out->effect, effect);
        out->n_detect = by_flips ? n_detect : fmax(out->n_detect, n_detect);
        out->n_decide = by_flips ? n_decide : fmax(out->n_decide, n_decide);
    }
}

// ---- The verdict --------------------------------------------------------------------------------

static GateVerdict verdict_of(Interval limits, double target)
{
    if (limits.low > target) {
        return GATE_PASS;
    }
    return limits.high < target ? GATE_FAIL : GATE_INCONCLUSIVE; // NaN is neither
}

/** What an inconclusive check is worth; would_fail: the limits alone said fail. */
static void outcome_finish(GateOutcome *out, const GateCheck *check, double allowed,
                           bool would_fail)
{
    bool hidden = would_fail || !(allowed + out->effect <= out->detect);
    bool open = out->verdict == GATE_INCONCLUSIVE && check->mode == GATE_REGRESSION;
    out->too_few = open && hidden;
    out->ok = out->verdict == GATE_PASS || (open && !hidden);
    out->observed = out->verdict;
    if (check->kind != GATE_LOSS) { // values are shown as they are
        out->limits = interval_signed(out->limits, check->kind == GATE_MAX ? -1 : 1);
    }
}

/** One-sided p of the null hypothesis that the signed value is the target or less. */
static double margin_p(const StatsEstimate *estimate, Interval limits, double target)
{
    double above = limits.value - target;
    if (isnan(limits.stderr_) || isnan(estimate->df)) {
        return NAN;
    }
    return stats_t_sf(limits.stderr_ > 0 ? above / limits.stderr_ : above * (double)INFINITY,
                      estimate->df);
}

/** Judge the samples as they are in judge->pairs; NaN are left out. */
static GateOutcome judge_run(Judge judge)
{
    Arena arena = {0};
    const GateCheck *check = judge.check;
    judge.influence = ARENA_ARRAY(&arena, double, judge.pairs.n + 1);
    StatsEstimate estimate = stats_estimate_with(&judge.pairs, 2 * check->confidence - 1,
                                                 judge.influence, &judge.n_units);
    for (size_t u = 0; u < judge.n_units; u++) {
        judge.influence[u] *= judge.sign;
    }
    Interval limits = interval_signed(estimate.interval, judge.sign);
    GateOutcome out = {
        .verdict = verdict_of(limits, judge.target),
        .limits = limits,
        .detect = detect_of(check, judge.range),
        .margin_p = margin_p(&estimate, limits, judge.target),
        .method = estimate.method,
        .n = judge.pairs.n,
        .n_clusters = estimate.n_clusters,
        .n_better = judge.sign > 0 ? estimate.n_better : estimate.n_worse,
        .n_worse = judge.sign > 0 ? estimate.n_worse : estimate.n_better,
    };
    judge_count(&arena, &judge);
    judge.all_equal = influences_vanish(&judge, limits.value);
    outcome_size(&out, &judge, &estimate, limits.value);
    bool would_fail = out.verdict == GATE_FAIL;
    out.reason = out.verdict == GATE_INCONCLUSIVE ? GATE_REASON_SPANS : GATE_REASON_LIMITS;
    if (isnan(limits.low)) {
        out.reason = GATE_REASON_ONE_UNIT;
    } else if (judge.pairs.cluster != NULL && estimate.n_clusters < FEW_CLUSTERS) {
        out.verdict = GATE_INCONCLUSIVE;
        out.reason = GATE_REASON_FEW_CLUSTERS;
        double enough = (double)out.n * FEW_CLUSTERS / (double)estimate.n_clusters;
        out.n_decide = fmax(out.n_decide, enough);
        out.n_detect = fmax(out.n_detect, enough);
    } else if (out.verdict == GATE_PASS) {
        out.reason = doubt_of_pass(&judge, &estimate, limits.value);
        out.verdict = out.reason == GATE_REASON_LIMITS ? GATE_PASS : GATE_INCONCLUSIVE;
    }
    arena_finish(&arena);
    outcome_finish(&out, check, judge.allowed, would_fail);
    return out;
}

static GateOutcome outcome_failed(GateOutcome out, GateReason reason)
{
    out.verdict = GATE_FAIL;
    out.reason = reason;
    out.ok = false;
    out.too_few = false;
    return out;
}

GateOutcome gate_check(const GateCheck *check, const StatsPairs *pairs)
{
    assert(check->kind != GATE_LOSS || pairs->baseline != NULL);
    Judge judge = judge_of(check, pairs);
    Arena arena = {0};
    double *candidate =
        side_copy(&arena, check, pairs->candidate, pairs->candidate_weight, pairs->n);
    double *baseline = NULL;
    if (judge.pairs.baseline != NULL) {
        baseline = side_copy(&arena, check, pairs->baseline, pairs->baseline_weight, pairs->n);
    }
    judge.pairs.candidate = candidate;
    judge.pairs.baseline = baseline;
    size_t n_missing = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        n_missing += isnan(candidate[i]) || (baseline != NULL && isnan(baseline[i]));
    }
    GateOutcome out = judge_run(judge);
    if (pairs->n == 0) {
        out = outcome_failed(out, GATE_REASON_EMPTY);
    } else if (n_missing > 0 && !is_bounded(&judge)) {
        out = outcome_failed(out, GATE_REASON_MISSING_UNBOUNDED);
    } else if (n_missing > 0) {
        GateVerdict observed = out.verdict;
        judge_impute(&arena, &judge, candidate, baseline);
        out = judge_run(judge);
        out.observed = observed;
        out.reason = out.verdict == observed ? out.reason : GATE_REASON_MISSING;
    }
    out.n_missing = n_missing;
    arena_finish(&arena);
    return out;
}

GateOutcome gate_check_limits(const GateCheck *check, Interval limits, size_t n, size_t n_missing)
{
    StatsPairs none = {0};
    Judge judge = judge_of(check, &none);
    double z = judge.z_alpha + judge.z_power;
    Interval turned = interval_signed(limits, judge.sign);
    double gap = detect_of(check, judge.range) - judge.allowed;
    double away = judge.allowed > 0 ? judge.allowed : fabs(turned.value - judge.target);
    GateOutcome out = {
        .verdict = verdict_of(turned, judge.target),
        .limits = turned,
        .margin_p = NAN,
        .effect = limits.stderr_ >= 0 ? z * limits.stderr_ : (double)INFINITY,
        .detect = detect_of(check, judge.range),
        .n_decide = away > 0 ? (double)n * pow(z * limits.stderr_ / away, 2) : (double)INFINITY,
        .n_detect = gap > 0 ? (double)n * pow(z * limits.stderr_ / gap, 2) : (double)INFINITY,
        .method = STATS_NONE,
        .n = n,
        .n_missing = n_missing,
    };
    bool would_fail = out.verdict == GATE_FAIL;
    out.reason = out.verdict == GATE_INCONCLUSIVE ? GATE_REASON_SPANS : GATE_REASON_LIMITS;
    if (n < FEW_CLUSTERS) {
        out.verdict = GATE_INCONCLUSIVE;
        out.reason = GATE_REASON_FEW_CLUSTERS;
    } else if (!(turned.high > turned.low) && out.verdict == GATE_PASS) {
        out.verdict = GATE_INCONCLUSIVE;
        out.reason = GATE_REASON_ALL_EQUAL_UNBOUNDED;
    }
    outcome_finish(&out, check, judge.allowed, would_fail);
    if (n == 0) {
        return outcome_failed(out, GATE_REASON_EMPTY);
    }
    return n_missing > 0 ? outcome_failed(out, GATE_REASON_MISSING_UNBOUNDED) : out;
}
