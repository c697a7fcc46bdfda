// SPDX-License-Identifier: MIT
// What `diff` says: each metric of each pairing with its paired difference and a verdict in words,
// the samples that turned, and costs beside the scores. A verdict follows the interval, with the
// same safeguards as a gate's: gate_rule.c is asked both ways.
#include "results/read_internal.h"

#include "results/compare.h"
#include "results/gate_rule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIDENCE   0.95
#define ONE_SIDED    0.975 // of the same interval
#define DETECT_SHARE 0.1   // of the range: a smaller difference may hide
#define POWER        0.8
#define FEW          10 // fewer pairs that differ have to convince by their signs too

// ---- Sides that can be compared -----------------------------------------------------------------

bool pairing_is_whole(const Pairing *pairing)
{
    bool base = false;
    bool candidate = false;
    for (size_t p = 0; p < pairing->n_parts; p++) {
        base = base || pairing->base[p] != NULL;
        candidate = candidate || pairing->candidate[p] != NULL;
    }
    return base && candidate;
}

static bool pairs_itself(const Pairing *pairing)
{
    for (size_t p = 0; p < pairing->n_parts; p++) {
        if (pairing->base[p] != NULL && pairing->candidate[p] != NULL &&
            pairing->base[p]->id == pairing->candidate[p]->id) {
            return true;
        }
    }
    return false;
}

/** What a selector leaves open, the other one says. */
static Selector selector_join(const Selector *own, const Selector *other)
{
    Selector joined = *own;
    joined.eval = own->eval.len > 0 ? own->eval : other->eval;
    joined.part = own->part.len > 0 ? own->part : other->part;
    return joined;
}

/** Why a pairing has runs on one side only, for a message. */
static bool nothing_in_common(const DiffReport *diff, Err *err)
{
    const RunInfo *base = &diff->base.runs[0];
    const RunInfo *candidate = &diff->candidate.runs[0];
    bool variants =
        str_eq(base->eval, candidate->eval) && !str_eq(base->variant, candidate->variant);
    if (variants) {
        return ERR_SET(err, ERR_USAGE,
                       "nothing pairs: eval '" STR_FMT "' has variant '" STR_FMT
                       "' in the base and '" STR_FMT
                       "' in the candidate; variants of different names are compared only when "
                       "they are named: " STR_FMT ":variant=" STR_FMT,
                       STR_ARG(base->eval), STR_ARG(base->variant), STR_ARG(candidate->variant),
                       STR_ARG(diff->candidate.selector.experiment), STR_ARG(candidate->variant));
    }
    return ERR_SET(err, ERR_USAGE,
                   "nothing pairs: '" STR_FMT "' and '" STR_FMT
                   "' have no eval in common (one has '" STR_FMT "', the other '" STR_FMT "')",
                   STR_ARG(diff->base.experiment.name), STR_ARG(diff->candidate.experiment.name),
                   STR_ARG(base->eval), STR_ARG(candidate->eval));
}

static bool diff_open(Results *results, Arena *arena, const Selector *base,
                      const Selector *candidate, const DiffOptions *options, DiffReport *out,
                      Err *err)
{
    Selector joined[2] = {selector_join(base, candidate), selector_join(candidate, base)};
    Pairing *pairings;
    if (!side_open(results, arena, &joined[0], &out->base, err) ||
        !side_open(results, arena, &joined[1], &out->candidate, err)) {
        return false;
    }
    bool same = out->base.experiment.id == out->candidate.experiment.id;
    if (same && !options->same_allowed) {
        return ERR_SET(err, ERR_USAGE, "'" STR_FMT "' and '" STR_FMT "' are the same experiment",
                       STR_ARG(base->text), STR_ARG(candidate->text));
    }
    if (!compare_pairings(arena, &out->base, &out->candidate, &pairings, &out->n_pairings, err)) {
        return false;
    }
    out->pairings = pairings;
    size_t n_whole = 0;
    size_t n_itself = 0;
    for (size_t i = 0; i < out->n_pairings; i++) {
        n_whole += pairing_is_whole(&pairings[i]);
        n_itself += pairs_itself(&pairings[i]);
    }
    if (n_itself > 0) {
        return ERR_SET(err, ERR_USAGE,
                       "'" STR_FMT "' and '" STR_FMT
                       "' are the same runs of the same experiment; select two variants or models "
                       "of it: " STR_FMT ":variant=A " STR_FMT ":variant=B",
                       STR_ARG(base->text), STR_ARG(candidate->text), STR_ARG(base->experiment),
                       STR_ARG(candidate->experiment));
    }
    return n_whole > 0 || nothing_in_common(out, err);
}

// ---- One metric ---------------------------------------------------------------------------------

/** The samples that have a value on both sides. */
static StatsPairs pairs_kept(Arena *scratch, const MetricPairs *metric)
{
    const StatsPairs *all = &metric->pairs;
    StatsPairs kept = *all;
    double *x[2];
    double *w[2] = {NULL, NULL};
    uint32_t *cluster = all->cluster == NULL ? NULL : ARENA_ARRAY(scratch, uint32_t, all->n);
    uint32_t *part = all->part == NULL ? NULL : ARENA_ARRAY(scratch, uint32_t, all->n);
    x[0] = ARENA_ARRAY(scratch, double, all->n);
    x[1] = ARENA_ARRAY(scratch, double, all->n);
    w[0] = all->baseline_weight == NULL ? NULL : ARENA_ARRAY(scratch, double, all->n);
    w[1] = all->candidate_weight == NULL ? NULL : ARENA_ARRAY(scratch, double, all->n);
    kept.n = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (metric->base_state[i] != SAMPLE_SCORED || metric->candidate_state[i] != SAMPLE_SCORED) {
            continue;
        }
        size_t at = kept.n++;
        x[0][at] = metric->base[i];
        x[1][at] = metric->candidate[i];
        if (w[0] != NULL) {
            w[0][at] = all->baseline_weight[i];
        }
        if (w[1] != NULL) {
            w[1][at] = all->candidate_weight[i];
        }
        if (cluster != NULL) {
            cluster[at] = all->cluster[i];
        }
        if (part != NULL) {
            part[at] = all->part[i];
        }
    }
    kept.baseline = x[0];
    kept.candidate = x[1];
    kept.baseline_weight = w[0];
    kept.candidate_weight = w[1];
    kept.cluster = cluster;
    kept.part = part;
    return kept;
}

/** The value of one side over the samples kept. */
static double value_of(const StatsPairs *kept, bool base)
{
    StatsPairs alone = *kept;
    alone.baseline = NULL;
    alone.baseline_weight = NULL;
    if (base) {
        alone.candidate = kept->baseline;
        alone.candidate_weight = kept->baseline_weight;
    }
    return stats_estimate(&alone, CONFIDENCE).interval.value;
}

/**
 * Limits when all differences were the same: with 95 % confidence at most q = 1 - 0.05^(1/(n-1)) of
 * the samples would show another one, at worst a full flip (as tally.c has it for one side). */
static void constant_limits(const MetricPairs *metric, double n, Interval *interval)
{
    double range = metric->range_high - metric->range_low;
    double q = n > 1 ? 1 - pow(1 - CONFIDENCE, 1 / (n - 1)) : 1;
    interval->low = interval->value - q * (interval->value + range);
    interval->high = interval->value + q * (range - interval->value);
    if (!isfinite(range) || metric->pairs.exponential) {
        interval->low = NAN;
        interval->high = NAN;
    }
}

/** A difference is never larger than the range. */
static void clip_limits(const MetricPairs *metric, Interval *interval)
{
    double range = metric->range_high - metric->range_low;
    if (isfinite(range) && !metric->pairs.exponential && !isnan(interval->low)) {
        interval->low = fmax(interval->low, fmin(-range, interval->value));
        interval->high = fmin(interval->high, fmax(range, interval->value));
    }
}

/** The rule of a gate, asked whether the candidate is better, or is worse, than the base. */
static GateOutcome believed(const MetricPairs *metric, const StatsPairs *kept, bool better)
{
    double range = metric->range_high - metric->range_low;
    GateCheck check = {
        .kind = GATE_LOSS,
        .mode = GATE_REGRESSION,
        .bound = 0,
        .confidence = ONE_SIDED,
        .detect = isfinite(range) && !metric->pairs.exponential ? (double)NAN : (double)INFINITY,
        .low = metric->range_low,
        .high = metric->range_high,
        .lower_is_better = metric->lower_is_better == better,
        .lucky_passes = true,
    };
    return gate_check(&check, kept);
}

static void count_states(Comparison *row)
{
    const MetricPairs *metric = row->pairs;
    for (size_t i = 0; i < metric->n; i++) {
        row->n_states[0][metric->base_state[i]]++;
        row->n_states[1][metric->candidate_state[i]]++;
        row->n_paired +=
            metric->base_state[i] == SAMPLE_SCORED && metric->candidate_state[i] == SAMPLE_SCORED;
    }
}

static bool excludes_zero(const Interval *interval, bool *out_above)
{
    *out_above = interval->low > 0;
    return interval->low > 0 || interval->high < 0;
}

/** The exact test of as many signs as pairs differ. */
static double signs_p(const Comparison *row)
{
    return stats_mcnemar((int64_t)row->n_better, (int64_t)row->n_worse).p_exact;
}

/** An interval that excludes 0 is believed when a gate would believe it. */
static const char *verdict_of(const Comparison *row, const GateOutcome outcomes[2])
{
    bool above;
    if (excludes_zero(&row->difference.interval, &above)) {
        bool better = above != row->pairs->lower_is_better;
        bool few = row->n_better + row->n_worse < FEW;
        bool sure = outcomes[better ? 0 : 1].verdict == GATE_PASS &&
                    (!few || signs_p(row) < 1 - CONFIDENCE);
        return !sure ? "too few to tell" : better ? "better" : "worse";
    }
    const GateOutcome *outcome = &outcomes[0];
    bool blind = outcome->reason == GATE_REASON_ONE_UNIT ||
                 outcome->reason == GATE_REASON_FEW_CLUSTERS || isinf(outcome->effect);
    return blind || !(outcome->effect <= outcome->detect) ? "too few to tell"
                                                          : "no difference shown";
}

static void compare_paired(Comparison *row)
{
    Arena scratch = {0};
    const MetricPairs *metric = row->pairs;
    StatsPairs kept = pairs_kept(&scratch, metric);
    row->verdict = "not comparable";
    if (kept.n > 0) {
        row->difference = stats_estimate(&kept, CONFIDENCE);
        row->method = stats_method_word(row->difference.method);
        row->base_value = value_of(&kept, true);
        row->candidate_value = value_of(&kept, false);
        row->p = isnan(row->difference.p_exact) ? row->difference.p : row->difference.p_exact;
        size_t n_higher = row->difference.n_better;
        size_t n_lower = row->difference.n_worse;
        row->n_better = metric->lower_is_better ? n_lower : n_higher;
        row->n_worse = metric->lower_is_better ? n_higher : n_lower;
        if (row->difference.interval.stderr_ == 0 && row->difference.method != STATS_TANGO) {
            size_t n = kept.cluster == NULL ? kept.n : row->difference.n_clusters;
            constant_limits(metric, (double)n, &row->difference.interval);
            row->method = "constant";
            row->p = signs_p(row);
        }
        clip_limits(metric, &row->difference.interval);
        GateOutcome outcomes[2] = {believed(metric, &kept, true), believed(metric, &kept, false)};
        row->effect = outcomes[0].effect;
        row->verdict = verdict_of(row, outcomes);
    }
    arena_finish(&scratch);
}

/**
 * Metrics that are no means: limits of the difference of two estimates from those of each (MOVER,
 * Zou and Donner 2008), as if the samples were different ones. They are the same, so that the two
 * go up and down together: the interval is too wide rather than too narrow. */
static void compare_unpaired(Comparison *row)
{
    const MetricRow *base = &row->pairs->base_row;
    const MetricRow *candidate = &row->pairs->candidate_row;
    Interval *interval = &row->difference.interval;
    row->base_value = base->value;
    row->candidate_value = candidate->value;
    row->verdict = "not comparable";
    if (isnan(base->value) || isnan(candidate->value)) {
        return;
    }
    interval->value = candidate->value - base->value;
    interval->stderr_ = hypot(candidate->stderr_, base->stderr_);
    interval->low =
        interval->value - hypot(candidate->value - candidate->low, base->high - base->value);
    interval->high =
        interval->value + hypot(candidate->high - candidate->value, base->value - base->low);
    row->verdict = "too few to tell";
    if (isnan(interval->low) || isnan(interval->high) || !(interval->stderr_ > 0)) {
        return;
    }
    row->method = "mover";
    row->p = fmin(1, 2 * stats_normal_cdf(-fabs(interval->value) / interval->stderr_));
    StatsPlan plan = {.alpha = 1 - CONFIDENCE, .sides = 2, .power = POWER};
    row->effect = stats_plan_effect(&plan, 1, interval->stderr_ * interval->stderr_);
    double range = row->pairs->range_high - row->pairs->range_low;
    bool above;
    if (excludes_zero(interval, &above)) {
        row->verdict = above != row->pairs->lower_is_better ? "better" : "worse";
    } else if (!(row->effect > DETECT_SHARE * range)) {
        row->verdict = "no difference shown";
    }
}

static void compare_row(const Pairing *pairing, const MetricPairs *metric, Comparison *row)
{
    *row = (Comparison){
        .pairing = pairing,
        .pairs = metric,
        .base_value = NAN,
        .candidate_value = NAN,
        .difference = {.interval = {NAN, NAN, NAN, NAN}, .df = NAN, .p = NAN, .p_exact = NAN},
        .method = "none",
        .p = NAN,
        .p_holm = NAN,
        .effect = INFINITY,
    };
    count_states(row);
    if (metric->paired) {
        compare_paired(row);
    } else {
        compare_unpaired(row);
    }
    if (metric->unlike.len > 0) {
        row->verdict = "not comparable";
    }
}

// ---- Flips --------------------------------------------------------------------------------------

typedef struct FlipList {
    Flip *items;
    size_t n;
    size_t cap;
} FlipList;

static bool is_flip(const MetricPairs *metric, double base, double candidate)
{
    double half = (metric->range_high - metric->range_low) / 2;
    double middle = metric->range_low + half;
    if (!isfinite(half)) {
        return false;
    }
    return (base >= middle) != (candidate >= middle) || fabs(candidate - base) >= half;
}

static void flip_put(FlipList *list, const Flip *flip)
{
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 64 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap, sizeof(*list->items));
    }
    list->items[list->n++] = *flip;
}

static void flips_of(const Pairing *pairing, const MetricPairs *metric, FlipList *list)
{
    for (size_t i = 0; i < metric->n; i++) {
        double base = metric->base[i];
        double candidate = metric->candidate[i];
        if (metric->base_state[i] != SAMPLE_SCORED || metric->candidate_state[i] != SAMPLE_SCORED ||
            !is_flip(metric, base, candidate)) {
            continue;
        }
        size_t part = metric->parts[i];
        Str name = pairing->parts[part];
        Str id = metric->ids[i];
        flip_put(list, &(Flip){
                           .eval = pairing->eval,
                           .part = name,
                           .sample_id = str_slice(id, name.len > 0 ? name.len + 1 : 0, id.len),
                           .metric = metric->metric,
                           .pairing = pairing,
                           .base = base,
                           .candidate = candidate,
                           .better = (candidate > base) != metric->lower_is_better,
                           .base_run = pairing->base[part]->id,
                           .candidate_run = pairing->candidate[part]->id,
                       });
    }
}

/** Worse ones first, then larger ones, then in the order of the table. */
static int compare_flips(const void *a, const void *b)
{
    const Flip *left = a;
    const Flip *right = b;
    if (left->better != right->better) {
        return left->better ? 1 : -1;
    }
    double change[2] = {fabs(left->candidate - left->base), fabs(right->candidate - right->base)};
    if (change[0] != change[1]) {
        return change[0] > change[1] ? -1 : 1;
    }
    if (left->pairing != right->pairing) {
        return left->pairing < right->pairing ? -1 : 1;
    }
    int order = str_cmp(left->part, right->part);
    return order != 0 ? order : str_cmp(left->sample_id, right->sample_id);
}

// ---- Costs --------------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/** Seconds of the closed attempts of some runs; the caller frees them. */
static bool seconds_read(Results *results, const RunInfo *const *runs, size_t n, double **out,
                         size_t *out_n, Err *err)
{
    size_t cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (runs[i] == NULL) {
            continue;
        }
        sqlite3_stmt *row = db_statement(&results->db, READ_SQL_RUN_SECONDS);
        bind_i64(row, 1, runs[i]->id);
        for (;;) {
            bool more;
            if (!db_step(&results->db, READ_SQL_RUN_SECONDS, &more, err)) {
                return false;
            }
            if (!more) {
                break;
            }
            if (*out_n == cap) {
                cap = cap == 0 ? 256 : cap * 2;
                *out = mem_realloc(*out, cap, sizeof(**out));
            }
            (*out)[(*out_n)++] = column_f64(row, 0);
        }
    }
    return true;
}

static bool seconds_percentiles(Results *results, const RunInfo *const *runs, size_t n,
                                double *out_p50, double *out_p95, Err *err)
{
    double *seconds = NULL;
    size_t count = 0;
    bool ok = seconds_read(results, runs, n, &seconds, &count, err);
    if (ok && count > 0) {
        qsort(seconds, count, sizeof(*seconds), compare_doubles);
    }
    *out_p50 = stats_quantile(seconds, count, 0.5);
    *out_p95 = stats_quantile(seconds, count, 0.95);
    mem_free(seconds);
    return ok;
}

static void totals_add(const RunInfo *const *runs, size_t n, Usage *usage, double *cost,
                       int64_t *attempts)
{
    for (size_t i = 0; i < n; i++) {
        if (runs[i] != NULL) {
            usage->input += runs[i]->usage.input;
            usage->output += runs[i]->usage.output;
            usage->cached += runs[i]->usage.cached;
            usage->reasoning += runs[i]->usage.reasoning;
            *cost += runs[i]->cost_usd;
            *attempts += runs[i]->n_done + runs[i]->n_errors;
        }
    }
}

static bool costs_of(Results *results, const Pairing *pairing, CostDelta *out, Err *err)
{
    size_t n = pairing->n_parts;
    *out = (CostDelta){0};
    totals_add(pairing->base, n, &out->base_usage, &out->base_cost_usd, &out->base_attempts);
    totals_add(pairing->candidate, n, &out->candidate_usage, &out->candidate_cost_usd,
               &out->candidate_attempts);
    return seconds_percentiles(results, pairing->base, n, &out->base_seconds_p50,
                               &out->base_seconds_p95, err) &&
           seconds_percentiles(results, pairing->candidate, n, &out->candidate_seconds_p50,
                               &out->candidate_seconds_p95, err);
}

// ---- All of it ----------------------------------------------------------------------------------

/** Metrics and flips under construction. */
typedef struct Build {
    Arena *arena;
    Str wanted;
    Comparison *rows;
    size_t n_rows;
    size_t cap;
    FlipList flips;
    Str *names; // of all metrics, wanted or not
    size_t n_names;
} Build;

/** "grader.metric", or one of the two. */
static bool is_wanted(Str wanted, const MetricPairs *metric)
{
    if (wanted.len == 0 || str_eq(wanted, metric->metric) || str_eq(wanted, metric->grader)) {
        return true;
    }
    size_t n = metric->grader.len + 1;
    return n < metric->metric.len &&
           str_eq(wanted, str_slice(metric->metric, n, metric->metric.len));
}

static void name_put(Build *build, Str name)
{
    for (size_t i = 0; i < build->n_names; i++) {
        if (str_eq(build->names[i], name)) {
            return;
        }
    }
    build->names = mem_realloc(build->names, build->n_names + 1, sizeof(*build->names));
    build->names[build->n_names++] = name;
}

static Comparison *row_new(Build *build)
{
    if (build->n_rows == build->cap) {
        build->cap = build->cap == 0 ? 32 : build->cap * 2;
        Comparison *grown = ARENA_ARRAY(build->arena, Comparison, build->cap);
        for (size_t i = 0; i < build->n_rows; i++) {
            grown[i] = build->rows[i];
        }
        build->rows = grown;
    }
    return &build->rows[build->n_rows++];
}

static bool build_pairing(Results *results, Build *build, const Pairing *pairing, Err *err)
{
    MetricPairs *metrics;
    size_t n;
    if (!compare_metrics(results, build->arena, pairing, &metrics, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        name_put(build, metrics[i].metric);
        if (is_wanted(build->wanted, &metrics[i])) {
            compare_row(pairing, &metrics[i], row_new(build));
        }
        if (metrics[i].headline) {
            flips_of(pairing, &metrics[i], &build->flips);
        }
    }
    return true;
}

static bool no_such_metric(const Build *build, Err *err)
{
    Buf buf = {0};
    for (size_t i = 0; i < build->n_names; i++) {
        buf_c(&buf, i > 0 ? ", " : "");
        buf_str(&buf, build->names[i]);
    }
    ERR_SET(err, ERR_USAGE, "no metric is called '" STR_FMT "' (there are: " STR_FMT ")",
            STR_ARG(build->wanted), STR_ARG(buf_view(&buf)));
    buf_finish(&buf);
    return false;
}

static void correct_for_many(Arena *arena, Comparison *rows, size_t n)
{
    double *p = ARENA_ARRAY(arena, double, n + 1);
    for (size_t i = 0; i < n; i++) {
        p[i] = rows[i].p;
    }
    stats_holm(p, n, p);
    for (size_t i = 0; i < n; i++) {
        rows[i].p_holm = p[i];
    }
}

static bool build_all(Results *results, Build *build, DiffReport *diff, Err *err)
{
    CostDelta *costs = ARENA_ARRAY(build->arena, CostDelta, diff->n_pairings);
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const Pairing *pairing = &diff->pairings[i];
        if (!costs_of(results, pairing, &costs[i], err) ||
            (pairing_is_whole(pairing) && !build_pairing(results, build, pairing, err))) {
            return false;
        }
    }
    if (build->n_rows == 0 && build->wanted.len > 0) {
        return no_such_metric(build, err);
    }
    correct_for_many(build->arena, build->rows, build->n_rows);
    Flip *flips = ARENA_ARRAY(build->arena, Flip, build->flips.n);
    if (build->flips.n > 0) {
        qsort(build->flips.items, build->flips.n, sizeof(*flips), compare_flips);
        memcpy(flips, build->flips.items, build->flips.n * sizeof(*flips));
    }
    diff->costs = costs;
    diff->rows = build->rows;
    diff->n_rows = build->n_rows;
    diff->flips = flips;
    diff->n_flips = build->flips.n;
    return true;
}

bool diff_compute(Results *results, Arena *arena, const Selector *base, const Selector *candidate,
                  const DiffOptions *options, DiffReport *out, Err *err)
{
    DiffReport diff = {0};
    Change *changes;
    Build build = {.arena = arena, .wanted = options->metric};
    if (!diff_open(results, arena, base, candidate, options, &diff, err) ||
        !compare_changes(results, arena, &diff.base, &diff.candidate, diff.pairings,
                         diff.n_pairings, &changes, &diff.n_changes, err)) {
        return false;
    }
    diff.changes = changes;
    bool ok = build_all(results, &build, &diff, err);
    mem_free(build.flips.items);
    mem_free(build.names);
    if (ok) {
        *out = diff;
    }
    return ok;
}
