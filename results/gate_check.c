// SPDX-License-Identifier: MIT
// Bounds on metrics: which metric a demand is about, its samples as the rule wants them, and the
// line that comes of it. Missing samples are left to the rule, which takes them at their worst.
#include "results/gate_internal.h"

#include "results/metric_internal.h"

#include <math.h>
#include <string.h>

/** The metrics of a pairing, of both sides and of the candidate by itself; read when needed. */
typedef struct Metrics {
    Arena arena;
    const Pairing *pairing;
    const MetricPairs *both;
    size_t n_both;
    const MetricPairs *solo; // as if there were no baseline
    size_t n_solo;
    bool has_both;
    bool has_solo;
} Metrics;

static bool metrics_both(GateWork *work, Metrics *metrics)
{
    MetricPairs *pairs;
    if (!metrics->has_both) {
        if (!compare_metrics(work->results, &metrics->arena, metrics->pairing, &pairs,
                             &metrics->n_both, work->err)) {
            return false;
        }
        metrics->both = pairs;
        metrics->has_both = true;
    }
    return true;
}

static bool metrics_solo(GateWork *work, Metrics *metrics)
{
    if (metrics->has_solo) {
        return true;
    }
    if (!gate_has_base(metrics->pairing)) {
        if (!metrics_both(work, metrics)) {
            return false;
        }
        metrics->solo = metrics->both;
        metrics->n_solo = metrics->n_both;
    } else {
        // The parts that the candidate has, and nothing on the other side.
        const Pairing *pairing = metrics->pairing;
        Pairing alone = *pairing;
        const RunInfo **none = ARENA_ARRAY(&metrics->arena, const RunInfo *, pairing->n_parts);
        const RunInfo **candidate = ARENA_ARRAY(&metrics->arena, const RunInfo *, pairing->n_parts);
        Str *parts = ARENA_ARRAY(&metrics->arena, Str, pairing->n_parts);
        alone.n_parts = 0;
        for (size_t i = 0; i < pairing->n_parts; i++) {
            if (pairing->candidate[i] != NULL) {
                candidate[alone.n_parts] = pairing->candidate[i];
                parts[alone.n_parts++] = pairing->parts[i];
            }
        }
        alone.base = none;
        alone.candidate = candidate;
        alone.parts = parts;
        MetricPairs *pairs;
        if (!compare_metrics(work->results, &metrics->arena, &alone, &pairs, &metrics->n_solo,
                             work->err)) {
            return false;
        }
        metrics->solo = pairs;
    }
    metrics->has_solo = true;
    return true;
}

// ---- Which metric -------------------------------------------------------------------------------

/** The full name, a bare metric, a bare grader; "" is the headline. */
static bool metric_matches(const GateDemand *demand, Str name, bool headline)
{
    Str grader;
    Str label;
    if (demand->metric.len == 0) {
        return headline;
    }
    return str_eq(demand->metric, name) ||
           (str_cut(name, STR("."), &grader, &label) &&
            (str_eq(demand->metric, label) || str_eq(demand->metric, grader)));
}

/** The first metric that a demand's name fits; a full name before a part of one. */
static const MetricPairs *metric_find(const GateDemand *demand, Str slice, const MetricPairs *pairs,
                                      size_t n)
{
    const MetricPairs *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(pairs[i].slice, slice)) {
            continue;
        }
        if (demand->metric.len > 0 && str_eq(pairs[i].metric, demand->metric)) {
            return &pairs[i];
        }
        if (found == NULL && metric_matches(demand, pairs[i].metric, pairs[i].headline)) {
            found = &pairs[i];
        }
    }
    return found;
}

static Str metrics_listed(Arena *arena, const MetricPairs *pairs, size_t n)
{
    Str list = STR_EMPTY;
    size_t n_listed = 0;
    for (size_t i = 0; i < n; i++) {
        if (pairs[i].slice.len == 0 && ++n_listed <= 12) {
            list = str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(list), n_listed > 1 ? ", " : "",
                              STR_ARG(pairs[i].metric));
        }
    }
    return list;
}

// ---- A line -------------------------------------------------------------------------------------

static const char *const kind_words[] = {
    [GATE_DEMAND_MIN] = "min",
    [GATE_DEMAND_MAX] = "max",
    [GATE_DEMAND_LOSS] = "max_regression",
};

static Str line_name(GateWork *work, const Pairing *pairing, const GateDemand *demand, Str metric)
{
    static const char *const signs[] = {
        [GATE_DEMAND_MIN] = " >=", [GATE_DEMAND_MAX] = " <=", [GATE_DEMAND_LOSS] = " loss <="};
    Str label = gate_pairing_label(work, pairing);
    Str slice = demand->slice.len == 0 ? STR_EMPTY
                                       : str_printf(work->arena, "[" STR_FMT "]",
                                                    STR_ARG(gate_word(work->arena, demand->slice)));
    Str name = gate_word(work->arena, metric);
    return str_printf(work->arena, STR_FMT " " STR_FMT STR_FMT "%s %.12g", STR_ARG(label),
                      STR_ARG(name), STR_ARG(slice), signs[demand->kind], demand->bound);
}

static GateLine *line_begin(GateWork *work, const Pairing *pairing, const GateDemand *demand,
                            Str metric)
{
    GateLine *line = gate_line_add(work, kind_words[demand->kind]);
    line->name = line_name(work, pairing, demand, metric);
    line->eval = pairing->eval;
    line->variant = pairing->candidate_variant;
    line->model = pairing->candidate_model;
    line->metric = str_copy(work->arena, metric);
    line->slice = demand->slice;
    line->bound = demand->bound;
    line->confidence = demand->confidence;
    return line;
}

static void line_failed(GateWork *work, const Pairing *pairing, const GateDemand *demand,
                        Str metric, Str message)
{
    GateLine *line = line_begin(work, pairing, demand, metric);
    line->verdict = GATE_FAIL;
    line->ok = false;
    line->message = message;
}

static void line_finish(GateWork *work, GateLine *line, const GateDemand *demand,
                        const GateOutcome *outcome)
{
    line->by_limits = true;
    line->outcome = *outcome;
    line->verdict = outcome->verdict;
    line->ok = outcome->ok;
    line->message = gate_sentence(work, line, demand);
    work->n_checks++;
    work->no_false *= demand->confidence;
}

// ---- Metrics that are means of samples' values --------------------------------------------------

static GateCheck check_of(const GateDemand *demand, double low, double high, bool lower_is_better)
{
    bool usable = low < high;
    return (GateCheck){
        .kind = demand->kind == GATE_DEMAND_MIN   ? GATE_MIN
                : demand->kind == GATE_DEMAND_MAX ? GATE_MAX
                                                  : GATE_LOSS,
        .mode = demand->mode,
        .bound = demand->bound,
        .confidence = demand->confidence,
        .detect = demand->detect,
        .low = usable ? low : -(double)INFINITY,
        .high = usable ? high : (double)INFINITY,
        .lower_is_better = lower_is_better,
    };
}

/** n values and further ones that are missing. */
static double *with_missing(Arena *arena, const double *x, size_t n, size_t n_missing)
{
    double *all = ARENA_ARRAY(arena, double, n + n_missing);
    if (n > 0) {
        memcpy(all, x, n * sizeof(*all));
    }
    for (size_t i = n; i < n + n_missing; i++) {
        all[i] = NAN;
    }
    return all;
}

static const double *weights_with_missing(Arena *arena, const double *w, size_t n, size_t n_missing)
{
    return w == NULL ? NULL : with_missing(arena, w, n, n_missing);
}

/** Samples that are planned and of which nothing is known: each a cluster of its own. */
static void add_missing(Arena *arena, StatsPairs *pairs, size_t n_missing)
{
    size_t n = pairs->n;
    pairs->candidate = with_missing(arena, pairs->candidate, n, n_missing);
    pairs->baseline =
        pairs->baseline == NULL ? NULL : with_missing(arena, pairs->baseline, n, n_missing);
    pairs->candidate_weight = weights_with_missing(arena, pairs->candidate_weight, n, n_missing);
    pairs->baseline_weight = weights_with_missing(arena, pairs->baseline_weight, n, n_missing);
    if (pairs->cluster != NULL) {
        uint32_t *cluster = ARENA_ARRAY(arena, uint32_t, n + n_missing);
        memcpy(cluster, pairs->cluster, n * sizeof(*cluster));
        for (size_t i = n; i < n + n_missing; i++) {
            cluster[i] = (uint32_t)pairs->n_clusters++;
        }
        pairs->cluster = cluster;
    }
    if (pairs->part != NULL) {
        uint32_t *part = ARENA_ARRAY(arena, uint32_t, n + n_missing);
        memcpy(part, pairs->part, n * sizeof(*part));
        pairs->part = part;
    }
    pairs->n = n + n_missing;
}

/**
 * A sample of which some epochs have no score counts at its worst for the check. What `both` took
 * for the worst is the worst for a loss; for a bound it may be the best, then the sample is taken
 * for missing. */
static StatsPairs pairs_of(Arena *arena, const MetricPairs *metric, GateDemandKind kind)
{
    StatsPairs pairs = metric->pairs;
    pairs.candidate = metric->candidate_worst;
    pairs.baseline = kind == GATE_DEMAND_LOSS ? metric->base_best : NULL;
    bool turned = kind == GATE_DEMAND_MIN ? metric->lower_is_better : !metric->lower_is_better;
    if (kind != GATE_DEMAND_LOSS && turned && metric->n_partial[1] > 0) {
        double *copy = with_missing(arena, metric->candidate_worst, metric->n, 0);
        for (size_t i = 0; i < metric->n; i++) {
            bool partial = metric->candidate[i] != metric->candidate_worst[i];
            copy[i] = partial ? (double)NAN : copy[i];
        }
        pairs.candidate = copy;
    }
    if (kind != GATE_DEMAND_LOSS) {
        pairs.baseline_weight = NULL;
    }
    if (metric->n_missing_planned > 0) {
        add_missing(arena, &pairs, (size_t)metric->n_missing_planned);
    }
    return pairs;
}

static void count_states(const MetricPairs *metric, GateLine *line)
{
    for (size_t i = 0; i < metric->n; i++) {
        line->n_states[0][metric->base_state[i]]++;
        line->n_states[1][metric->candidate_state[i]]++;
    }
    line->n_states[1][SAMPLE_MISSING] += (size_t)metric->n_missing_planned;
    line->n_partial = metric->n_partial[0] + metric->n_partial[1];
}

// ---- Metrics by their limits --------------------------------------------------------------------

/** The limits of a metric by itself at another confidence: each end moves in proportion. */
static Interval limits_at(const MetricRow *row, double confidence)
{
    double scale = stats_normal_quantile(confidence) / stats_normal_quantile(0.975);
    return (Interval){.value = row->value,
                      .stderr_ = row->stderr_,
                      .low = row->value - (row->value - row->low) * scale,
                      .high = row->value + (row->high - row->value) * scale};
}

/**
 * Limits of candidate - baseline of two intervals: as of independent estimates, which is wide where
 * the samples are shared. Zou and Donner 2008 (MOVER). */
static Interval limits_of_difference(const Interval *candidate, const Interval *base)
{
    double value = candidate->value - base->value;
    return (Interval){
        .value = value,
        .stderr_ = hypot(candidate->stderr_, base->stderr_),
        .low = value - hypot(candidate->value - candidate->low, base->high - base->value),
        .high = value + hypot(candidate->high - candidate->value, base->value - base->low),
    };
}

static size_t units_of(const MetricRow *row)
{
    return (size_t)(row->n_clusters > 0 ? row->n_clusters : row->n);
}

static void check_rows(GateWork *work, GateLine *line, const GateDemand *demand,
                       const MetricRow *candidate, const MetricRow *base, size_t n_missing,
                       bool bounded)
{
    GateCheck check = check_of(demand, bounded ? 0 : -(double)INFINITY,
                               bounded ? 1 : (double)INFINITY, candidate->lower_is_better);
    Interval limits = limits_at(candidate, demand->confidence);
    size_t n = units_of(candidate);
    if (demand->kind == GATE_DEMAND_LOSS) {
        Interval other = limits_at(base, demand->confidence);
        limits = limits_of_difference(&limits, &other);
        n = n < units_of(base) ? n : units_of(base);
        line->baseline = base->value;
    }
    line->value = candidate->value;
    GateOutcome outcome = gate_check_limits(&check, limits, n, n_missing);
    line_finish(work, line, demand, &outcome);
}

/** Metrics of our own that are within 0 and 1 (mcc within -1 and 1), whatever graders give. */
static bool is_bounded_row(Str metric)
{
    return str_ends_with(metric, STR(".f1_macro")) || str_ends_with(metric, STR(".mcc")) ||
           str_ends_with(metric, STR(".ece"));
}

static size_t n_without_value(const MetricPairs *metric, GateDemandKind kind)
{
    size_t n = (size_t)metric->n_missing_planned;
    for (size_t i = 0; i < metric->n; i++) {
        n += metric->candidate_state[i] != SAMPLE_SCORED ||
             (kind == GATE_DEMAND_LOSS && metric->base_state[i] != SAMPLE_SCORED);
    }
    return n;
}

// ---- Metrics over variants ----------------------------------------------------------------------

static bool cross_find(GateWork *work, Arena *arena, const Side *side, Str eval, Str model,
                       const GateDemand *demand, const CrossMetric **out)
{
    CrossMetric *all;
    size_t n;
    *out = NULL;
    if (!results_cross_metrics(work->results, arena, side->experiment.id, &all, &n, work->err)) {
        return false;
    }
    for (size_t i = 0; i < n && *out == NULL; i++) {
        bool is = str_eq(all[i].eval, eval) && str_eq(all[i].model, model) &&
                  str_eq(all[i].over, STR("variants")) &&
                  str_eq(all[i].metric.slice, demand->slice) &&
                  metric_matches(demand, all[i].metric.name, false);
        *out = is ? &all[i] : NULL;
    }
    return true;
}

/** Samples of an eval x model that have an attempt without an end, or with an error. */
static size_t n_not_done(const Side *side, Str eval, Str model)
{
    int64_t n = 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        bool is = str_eq(run->eval, eval) && str_eq(run->model, model);
        n += is ? run->n_planned - run->n_done : 0;
    }
    return n > 0 ? (size_t)n : 0;
}

/** A metric over the variants of an eval: a line once, whatever variants pair. *out_done: it is. */
static bool check_cross(GateWork *work, Metrics *metrics, const GateDemand *demand, bool *out_done)
{
    const Pairing *pairing = metrics->pairing;
    const CrossMetric *candidate = NULL;
    const CrossMetric *base = NULL;
    Arena *arena = &metrics->arena;
    *out_done = demand->metric.len == 0;
    if (*out_done) {
        return true;
    }
    if (!cross_find(work, arena, &work->candidate, pairing->eval, pairing->candidate_model, demand,
                    &candidate)) {
        return false;
    }
    *out_done = candidate != NULL;
    for (const Pairing *before = work->pairings; before < pairing; before++) {
        if (str_eq(before->eval, pairing->eval) &&
            str_eq(before->candidate_model, pairing->candidate_model)) {
            return true;
        }
    }
    if (candidate == NULL) {
        return true;
    }
    size_t n_missing = (size_t)candidate->metric.n_unscored +
                       n_not_done(&work->candidate, pairing->eval, pairing->candidate_model);
    if (demand->kind == GATE_DEMAND_LOSS) {
        if (!cross_find(work, arena, &work->baseline, pairing->eval, pairing->base_model, demand,
                        &base)) {
            return false;
        }
        if (base == NULL) {
            line_failed(work, pairing, demand, candidate->metric.name,
                        STR("the baseline does not have this metric: nothing can be compared"));
            return true;
        }
        n_missing += (size_t)base->metric.n_unscored +
                     n_not_done(&work->baseline, pairing->eval, pairing->base_model);
    }
    GateLine *line = line_begin(work, pairing, demand, candidate->metric.name);
    line->n_states[1][SAMPLE_UNSCORED] = n_missing;
    check_rows(work, line, demand, &candidate->metric, base == NULL ? NULL : &base->metric,
               n_missing, false);
    return true;
}

// ---- A demand -----------------------------------------------------------------------------------

/** No such metric: over variants perhaps, else a fail that says what there is. */
static bool check_unknown(GateWork *work, Metrics *metrics, const GateDemand *demand,
                          const MetricPairs *pairs, size_t n)
{
    const Pairing *pairing = metrics->pairing;
    bool done = false;
    if (!check_cross(work, metrics, demand, &done)) {
        return false;
    }
    if (done && demand->metric.len > 0) {
        return true;
    }
    const MetricPairs *whole = metric_find(demand, STR_EMPTY, pairs, n);
    Str message;
    if (whole != NULL) {
        message = str_printf(work->arena,
                             "no sample has " STR_FMT ": name the key under slices: in the eval, "
                             "and one of its values here",
                             STR_ARG(gate_word(work->arena, demand->slice)));
    } else if (n == 0) {
        message = STR("there are no samples");
    } else {
        Str list = metrics_listed(work->arena, pairs, n);
        message = str_printf(work->arena, "the eval has no such metric (it has: " STR_FMT ")",
                             STR_ARG(list));
    }
    Str metric = whole != NULL            ? whole->metric
                 : demand->metric.len > 0 ? demand->metric
                                          : STR("headline");
    line_failed(work, pairing, demand, metric, message);
    return true;
}

/** Whether the candidate's own samples are those of the comparison, so that one reading will do. */
static bool is_whole(const MetricPairs *metric)
{
    bool whole = metric->n_missing_planned == 0;
    for (size_t i = 0; i < metric->n && whole; i++) {
        whole = metric->candidate_state[i] != SAMPLE_MISSING &&
                metric->candidate_state[i] != SAMPLE_CHANGED;
    }
    return whole;
}

/** What the baseline does not have: not met where the policy names it; else it is new, and open. */
static void check_without_base(GateWork *work, const Pairing *pairing, const GateDemand *demand)
{
    Str metric = demand->metric.len > 0 ? demand->metric : STR("headline");
    GateLine *line = line_begin(work, pairing, demand, metric);
    bool is_new = demand->eval.len == 0;
    line->verdict = is_new ? GATE_INCONCLUSIVE : GATE_FAIL;
    line->ok = is_new && demand->mode == GATE_REGRESSION;
    line->message = is_new
                        ? STR("the baseline has no run of this: it is new, there is nothing to "
                              "compare it with yet")
                        : STR("the baseline has no run of this, and the policy names it: compare "
                              "with one that has, or promote once with --force");
}

/** A bound that no sample can miss judges nothing: 2 where 0.02 was meant. "" if it is none. */
static Str bound_out_of_range(GateWork *work, const MetricPairs *metric, const GateDemand *demand)
{
    double low = metric->range_low;
    double high = metric->range_high;
    bool vacuous = metric->paired && !metric->pairs.exponential &&
                   (demand->kind == GATE_DEMAND_LOSS  ? demand->bound >= high - low
                    : demand->kind == GATE_DEMAND_MIN ? demand->bound < low
                                                      : demand->bound > high);
    return !vacuous ? STR_EMPTY
                    : str_printf(work->arena,
                                 "every candidate is within this bound, since the metric lies "
                                 "between %.6g and %.6g%s",
                                 low, high, low == 0 && high == 1 ? " (two points are 0.02)" : "");
}

static bool check_demand(GateWork *work, Metrics *metrics, const GateDemand *demand)
{
    bool is_loss = demand->kind == GATE_DEMAND_LOSS;
    if (is_loss && !gate_has_base(metrics->pairing)) {
        if (!work->first_allowed && work->baseline.n_runs > 0) {
            check_without_base(work, metrics->pairing, demand);
        }
        return true; // without any baseline the structure has failed
    }
    if (!metrics_both(work, metrics)) {
        return false;
    }
    const MetricPairs *pairs = metrics->both;
    size_t n = metrics->n_both;
    const MetricPairs *metric = metric_find(demand, demand->slice, pairs, n);
    if (!is_loss && gate_has_base(metrics->pairing) && (metric == NULL || !is_whole(metric))) {
        if (!metrics_solo(work, metrics)) {
            return false;
        }
        pairs = metrics->solo;
        n = metrics->n_solo;
        metric = metric_find(demand, demand->slice, pairs, n);
    }
    if (metric == NULL) {
        return check_unknown(work, metrics, demand, pairs, n);
    }
    if (is_loss && metric->unlike.len > 0) {
        line_failed(work, metrics->pairing, demand, metric->metric,
                    str_printf(work->arena,
                               STR_FMT ": nothing can be compared; run the baseline again with the "
                                       "eval and the settings of now",
                               STR_ARG(metric->unlike)));
        return true;
    }
    Str vacuous = bound_out_of_range(work, metric, demand);
    if (vacuous.len > 0) {
        line_failed(work, metrics->pairing, demand, metric->metric, vacuous);
        return true;
    }
    GateLine *line = line_begin(work, metrics->pairing, demand, metric->metric);
    count_states(metric, line);
    if (!metric->paired) {
        check_rows(work, line, demand, &metric->candidate_row, &metric->base_row,
                   n_without_value(metric, demand->kind), is_bounded_row(metric->metric));
        return true;
    }
    GateCheck check =
        check_of(demand, metric->range_low, metric->range_high, metric->lower_is_better);
    StatsPairs samples = pairs_of(&metrics->arena, metric, demand->kind);
    GateOutcome outcome = gate_check(&check, &samples);
    line->value = metric->candidate_row.value;
    line->baseline = gate_has_base(metrics->pairing) ? metric->base_row.value : (double)NAN;
    line_finish(work, line, demand, &outcome);
    return true;
}

/** A loss that is allowed everywhere does not count where the policy says another for an eval. */
static bool is_overruled(const GatePolicy *policy, const GateDemand *demand, Str eval)
{
    for (size_t i = 0; i < policy->n_demands && demand->eval.len == 0; i++) {
        const GateDemand *other = &policy->demands[i];
        if (other->kind == demand->kind && str_eq(other->eval, eval) &&
            str_eq(other->metric, demand->metric) && str_eq(other->slice, demand->slice)) {
            return true;
        }
    }
    return false;
}

bool gate_check_pairing(GateWork *work, const Pairing *pairing)
{
    Metrics metrics = {.pairing = pairing};
    bool ok = true;
    for (size_t i = 0; i < work->policy->n_demands && ok; i++) {
        const GateDemand *demand = &work->policy->demands[i];
        bool about = demand->eval.len == 0 || str_eq(demand->eval, pairing->eval);
        if (demand->kind <= GATE_DEMAND_LOSS && about &&
            !is_overruled(work->policy, demand, pairing->eval)) {
            ok = check_demand(work, &metrics, demand);
        }
    }
    arena_finish(&metrics.arena);
    return ok;
}
