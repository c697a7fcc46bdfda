// SPDX-License-Identifier: MIT
// The paired samples of a metric: two sides, each gathered in columns sorted by (part, sample id),
// joined; then metric by metric and slice by slice what both have to say.
#include "results/gather.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_ROW UINT32_MAX

// ---- Both sides joined --------------------------------------------------------------------------

/** A sample of either side. */
typedef struct Joined {
    uint32_t at[2]; // base, candidate; NO_ROW where it is not
    uint32_t part;
    uint32_t cluster;
    bool changed; // same id, other content
} Joined;

/** What metrics share: the union of samples, and the numbers of slices on both sides. */
typedef struct Union {
    Arena *arena; // of what is handed out
    const Pairing *pairing;
    Gathering *sides[2];
    Joined *rows;
    size_t n;
    Str *ids;
    uint32_t *parts;
    size_t n_parts;
    uint32_t *clusters; // NULL: none
    size_t n_clusters;
    int64_t n_missing_planned;
    // Slices, by one number for both sides:
    uint32_t *slice_of[2]; // by the scan's number
    size_t n_slices;
} Union;

static Str row_id(Arena *arena, Str part, Str id)
{
    return part.len == 0 ? str_copy(arena, id)
                         : str_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(part), STR_ARG(id));
}

static void join_row(Union *join, Str part, uint32_t number, const uint32_t at[2])
{
    const Gathered *samples[2];
    for (size_t s = 0; s < 2; s++) {
        samples[s] = at[s] == NO_ROW ? NULL : &join->sides[s]->samples[at[s]];
    }
    join->ids[join->n] =
        row_id(join->arena, part, samples[1] != NULL ? samples[1]->id : samples[0]->id);
    join->parts[join->n] = number;
    join->rows[join->n++] = (Joined){
        .at = {at[0], at[1]},
        .part = number,
        .changed = samples[0] != NULL && samples[1] != NULL &&
                   !hash_eq(&samples[0]->hash, &samples[1]->hash),
    };
}

/** Merge the two sorted lists of a part. */
static void join_part(Union *join, Str part, uint32_t number)
{
    size_t at[2];
    size_t to[2];
    for (size_t s = 0; s < 2; s++) {
        at[s] = join->sides[s]->part_from[number];
        to[s] = join->sides[s]->part_from[number + 1];
    }
    while (at[0] < to[0] || at[1] < to[1]) {
        int order = at[0] == to[0]   ? 1
                    : at[1] == to[1] ? -1
                                     : str_cmp(join->sides[0]->samples[at[0]].id,
                                               join->sides[1]->samples[at[1]].id);
        uint32_t pair[2] = {order <= 0 ? (uint32_t)at[0]++ : NO_ROW,
                            order >= 0 ? (uint32_t)at[1]++ : NO_ROW};
        join_row(join, part, number, pair);
    }
}

static int64_t samples_planned(const RunInfo *run)
{
    return run == NULL || run->spec.epochs < 1 ? 0 : run->n_planned / run->spec.epochs;
}

/** Samples that a side planned beyond all that are known of the part. */
static int64_t missing_planned(const Pairing *pairing, size_t part, size_t n_known)
{
    int64_t base = samples_planned(pairing->base[part]);
    int64_t candidate = samples_planned(pairing->candidate[part]);
    int64_t planned = base > candidate ? base : candidate;
    return planned > (int64_t)n_known ? planned - (int64_t)n_known : 0;
}

static void join_clusters(Union *join)
{
    Interner numbers = {0};
    join->clusters = ARENA_ARRAY(join->arena, uint32_t, join->n);
    for (size_t i = 0; i < join->n; i++) {
        const Joined *row = &join->rows[i];
        size_t side = row->at[1] != NO_ROW; // both have the same one, where the hashes are equal
        uint64_t name = join->sides[side]->samples[row->at[side]].cluster;
        bool is_new = true;
        uint32_t number = (uint32_t)join->n_clusters;
        if (name != 0) {
            number = intern(&numbers, (Str){(const char *)&name, sizeof(name)}, number, &is_new);
        }
        join->n_clusters += is_new;
        join->clusters[i] = number;
    }
    interner_finish(&numbers);
}

/** Give equal slices of both sides one number: the candidate's in its order, then the base's. */
static void join_slices(Union *join, Arena *scratch)
{
    Interner numbers = {0};
    for (int s = 1; s >= 0; s--) {
        const Gathering *side = join->sides[s];
        join->slice_of[s] = ARENA_ARRAY(scratch, uint32_t, side->scan.n_slices + 1);
        for (size_t i = 0; i < side->scan.n_slices; i++) {
            bool is_new;
            uint32_t next = (uint32_t)join->n_slices;
            join->slice_of[s][i] = intern(&numbers, side->scan.slices[i].name, next, &is_new);
            join->n_slices += is_new;
        }
    }
    interner_finish(&numbers);
}

static void join_sides(Union *join, Arena *scratch, const Pairing *pairing, bool clustered)
{
    size_t cap = join->sides[0]->n + join->sides[1]->n;
    join->rows = ARENA_ARRAY(scratch, Joined, cap);
    join->ids = ARENA_ARRAY(scratch, Str, cap);
    join->parts = ARENA_ARRAY(scratch, uint32_t, cap);
    join->n_parts = pairing->n_parts;
    for (size_t p = 0; p < pairing->n_parts; p++) {
        size_t before = join->n;
        join_part(join, pairing->parts[p], (uint32_t)p);
        join->n_missing_planned += missing_planned(pairing, p, join->n - before);
    }
    // What is handed out is no longer than it has to be.
    Str *ids = ARENA_ARRAY(join->arena, Str, join->n);
    uint32_t *parts = ARENA_ARRAY(join->arena, uint32_t, join->n);
    if (join->n > 0) {
        memcpy(ids, join->ids, join->n * sizeof(*ids));
        memcpy(parts, join->parts, join->n * sizeof(*parts));
    }
    join->ids = ids;
    join->parts = parts;
    if (clustered) {
        join_clusters(join);
    }
    join_slices(join, scratch);
}

// ---- Metrics ------------------------------------------------------------------------------------

/** One metric on both sides; NO_ROW gauge: the side does not have it. */
typedef struct Twin {
    size_t gauge[2];
    const TallyAsk *asks[2]; // NULL: the side does not have it
    const TallyAsk *ask;     // the candidate's, else the base's
    Str name;
    bool average_parts;
} Twin;

/** A list of rows of the union, and where the sparse partial values are. */
typedef struct Chosen {
    const uint32_t *rows; // NULL: all
    size_t n;
} Chosen;

static uint8_t state_of(const Union *join, const Twin *twin, size_t side, const Joined *row)
{
    if (row->at[side] == NO_ROW || twin->gauge[side] == STR_NONE) {
        return SAMPLE_MISSING;
    }
    return join->sides[side]->columns[twin->gauge[side]].state[row->at[side]];
}

/** Whether a grader has said, or would have said, something of a sample on any side. */
static bool row_applies(const Union *join, const Twin *twin, const Joined *row)
{
    uint8_t base = state_of(join, twin, 0, row);
    uint8_t candidate = state_of(join, twin, 1, row);
    bool base_says = base <= SAMPLE_UNSCORED && base != SAMPLE_MISSING;
    bool candidate_says = candidate <= SAMPLE_UNSCORED && candidate != SAMPLE_MISSING;
    if (base == NOT_APPLIED || candidate == NOT_APPLIED) {
        // An error tells nothing of whether the grader applies; the other side's silence does.
        bool base_scored = base_says && base != SAMPLE_ERRORED;
        bool candidate_scored = candidate_says && candidate != SAMPLE_ERRORED;
        return base_scored || candidate_scored;
    }
    return base_says || candidate_says;
}

/** The rows that a metric is about. */
static Chosen rows_of(const Union *join, Arena *scratch, const Twin *twin)
{
    uint32_t *rows = ARENA_ARRAY(scratch, uint32_t, join->n);
    size_t n = 0;
    for (size_t i = 0; i < join->n; i++) {
        rows[n] = (uint32_t)i;
        n += row_applies(join, twin, &join->rows[i]);
    }
    return (Chosen){.rows = n == join->n ? NULL : rows, .n = n};
}

static size_t row_at(const Chosen *chosen, size_t i)
{
    return chosen->rows == NULL ? i : chosen->rows[i];
}

/** What a sample's value is multiplied by to be in the metric's unit. */
static double scale_of(const TallyAsk *ask, size_t n)
{
    return ask->spec->kind == METRIC_BITS  ? 1 / log(2)
           : ask->spec->kind == METRIC_SUM ? (double)n
                                           : 1;
}

/** Values, states and weights of one side; weights are NULL when all are 1. */
static void side_fill(const Union *join, const Twin *twin, const Chosen *chosen, size_t side,
                      double scale, double *x, uint8_t *state, const double **out_weight)
{
    const ValueColumn *column =
        twin->gauge[side] == STR_NONE ? NULL : &join->sides[side]->columns[twin->gauge[side]];
    bool is_sum = twin->ask->spec->kind == METRIC_SUM;
    double *weight = NULL;
    for (size_t i = 0; i < chosen->n; i++) {
        const Joined *row = &join->rows[row_at(chosen, i)];
        uint8_t is = state_of(join, twin, side, row);
        is = row->changed ? SAMPLE_CHANGED : is == NOT_APPLIED ? SAMPLE_MISSING : is;
        state[i] = is;
        x[i] = NAN;
        if (is != SAMPLE_SCORED) {
            continue;
        }
        double w = column->w[row->at[side]];
        x[i] = column->x[row->at[side]] * scale * (is_sum ? w : 1);
        if (w != 1 && !is_sum && weight == NULL) {
            weight = ARENA_ARRAY(join->arena, double, chosen->n);
            for (size_t j = 0; j < chosen->n; j++) {
                weight[j] = 1;
            }
        }
        if (weight != NULL) {
            weight[i] = w;
        }
    }
    *out_weight = weight;
}

static int compare_partials(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = ((const Partial *)b)->at;
    return left < right ? -1 : left > right;
}

/** x itself, or a copy in which samples with epochs that have no score have their other value. */
static double *side_bound(const Union *join, const Twin *twin, const Chosen *chosen, size_t side,
                          double scale, double *x, const uint8_t *state, size_t *out_n_partial)
{
    *out_n_partial = 0;
    if (twin->gauge[side] == STR_NONE) {
        return x;
    }
    const ValueColumn *column = &join->sides[side]->columns[twin->gauge[side]];
    double *copy = x;
    for (size_t i = 0; i < chosen->n && column->n_partials > 0; i++) {
        if (state[i] != SAMPLE_SCORED) {
            continue;
        }
        uint32_t at = join->rows[row_at(chosen, i)].at[side];
        const Partial *partial = bsearch(&at, column->partials, column->n_partials,
                                         sizeof(*column->partials), compare_partials);
        if (partial == NULL) {
            continue;
        }
        if (copy == x) {
            copy = ARENA_ARRAY(join->arena, double, chosen->n);
            memcpy(copy, x, chosen->n * sizeof(*x));
        }
        double w = twin->ask->spec->kind == METRIC_SUM ? column->w[at] : 1;
        copy[i] = partial->value * scale * w;
        ++*out_n_partial;
    }
    return copy;
}

/** Clusters of the chosen rows, numbered from 0 without gaps. */
static void fill_clusters(const Union *join, const Chosen *chosen, MetricPairs *out)
{
    if (join->clusters == NULL) {
        return;
    }
    if (chosen->rows == NULL) {
        out->pairs.cluster = join->clusters;
        out->pairs.n_clusters = join->n_clusters;
        return;
    }
    uint32_t *numbers = ARENA_ARRAY(join->arena, uint32_t, chosen->n);
    Interner found = {0};
    uint32_t n = 0;
    for (size_t i = 0; i < chosen->n; i++) {
        uint32_t cluster = join->clusters[row_at(chosen, i)];
        bool is_new;
        Str bytes = {(const char *)&cluster, sizeof(cluster)};
        numbers[i] = intern(&found, bytes, n, &is_new);
        n += is_new;
    }
    interner_finish(&found);
    out->pairs.cluster = numbers;
    out->pairs.n_clusters = n;
}

static void fill_names(const Union *join, const Twin *twin, const Chosen *chosen, MetricPairs *out)
{
    out->ids = join->ids;
    out->parts = join->parts;
    if (chosen->rows != NULL) {
        Str *ids = ARENA_ARRAY(join->arena, Str, chosen->n);
        uint32_t *parts = ARENA_ARRAY(join->arena, uint32_t, chosen->n);
        for (size_t i = 0; i < chosen->n; i++) {
            ids[i] = join->ids[chosen->rows[i]];
            parts[i] = join->parts[chosen->rows[i]];
        }
        out->ids = ids;
        out->parts = parts;
    }
    if (twin->average_parts) {
        out->pairs.part = out->parts;
        out->pairs.n_parts = join->n_parts;
    }
}

/** A side's metric by itself: of all samples, or of a slice (by the union's number). */
static const ScanMetric *own_metric(const Union *join, const Twin *twin, size_t side, size_t slice)
{
    const Gathering *gathering = join->sides[side];
    for (size_t i = 0; i < gathering->n_metrics; i++) {
        const ScanMetric *metric = &gathering->metrics[i];
        size_t number = metric->slice == STR_NONE ? STR_NONE : join->slice_of[side][metric->slice];
        if (metric->gauge == twin->gauge[side] && number == slice) {
            return metric;
        }
    }
    return NULL;
}

static MetricRow no_metric(const Twin *twin, Str slice)
{
    return (MetricRow){
        .name = twin->name,
        .value = NAN,
        .stderr_ = NAN,
        .low = NAN,
        .high = NAN,
        .method = STR("none"),
        .slice = slice,
        .why = STR_EMPTY,
        .lower_is_better = metric_lower_is_better(twin->ask->spec, twin->ask->grader),
    };
}

/** Range, rows and kind of a metric: what both sides' scans say of it. */
static void fill_own(const Union *join, const Twin *twin, size_t slice, double scale,
                     MetricPairs *out)
{
    MetricRow *rows[2] = {&out->base_row, &out->candidate_row};
    bool proportion = true;
    bool any = false;
    out->range_low = INFINITY;
    out->range_high = -(double)INFINITY;
    for (size_t s = 0; s < 2; s++) {
        const ScanMetric *own = own_metric(join, twin, s, slice);
        *rows[s] = own != NULL ? own->row : no_metric(twin, out->slice);
        if (own != NULL) {
            bool wilson = str_eq(own->row.method, STR("wilson"));
            proportion = proportion && (wilson || own->row.n == 0);
            any = any || wilson;
            out->range_low = fmin(out->range_low, own->low * scale);
            out->range_high = fmax(out->range_high, own->high * scale);
        }
    }
    if (out->range_low > out->range_high) { // neither side has a sample
        metric_range(twin->ask->spec, twin->ask->grader, false, &out->range_low, &out->range_high);
    }
    out->pairs.binary = proportion && any;
}

/** Whether a sample's number says more, or less, the more epochs it is made of. */
static bool hangs_on_epochs(MetricKind kind)
{
    return kind == METRIC_MAX || kind == METRIC_MIN || kind == METRIC_MEDIAN ||
           kind == METRIC_MAJORITY || kind == METRIC_AT_LEAST;
}

/** MetricPairs.unlike. */
static Str unlike_of(const Union *join, const Twin *twin)
{
    const Pairing *pairing = join->pairing;
    bool has[2] = {false, false};
    int64_t epochs[2] = {0, 0}; // where they differ
    for (size_t i = 0; i < pairing->n_parts; i++) {
        const RunInfo *base = pairing->base[i];
        const RunInfo *candidate = pairing->candidate[i];
        has[0] |= base != NULL;
        has[1] |= candidate != NULL;
        if (base != NULL && candidate != NULL && base->spec.epochs != candidate->spec.epochs) {
            epochs[0] = base->spec.epochs;
            epochs[1] = candidate->spec.epochs;
        }
    }
    if (!has[0] || !has[1]) {
        return STR_EMPTY;
    }
    if (twin->asks[0] == NULL || twin->asks[1] == NULL) {
        return str_printf(join->arena, "the %s does not have this metric",
                          twin->asks[0] == NULL ? "baseline" : "candidate");
    }
    const MetricSpec *base = twin->asks[0]->spec;
    const MetricSpec *candidate = twin->asks[1]->spec;
    if (base->kind != candidate->kind || !str_eq(base->lua, candidate->lua) ||
        !value_equal(&base->params, &candidate->params)) {
        return STR("the metric's Lua or its params changed since the baseline ran");
    }
    if (hangs_on_epochs(candidate->kind) && epochs[0] != epochs[1]) {
        return str_printf(join->arena,
                          "the baseline has %lld epoch%s and the candidate %lld, and this metric "
                          "hangs on how many there are",
                          (long long)epochs[0], epochs[0] == 1 ? "" : "s", (long long)epochs[1]);
    }
    return STR_EMPTY;
}

/** All members for the chosen rows; slice is the union's number, or STR_NONE. */
static void metric_fill(const Union *join, const Twin *twin, const Chosen *chosen, size_t slice,
                        Str slice_name, MetricPairs *out)
{
    MetricKind kind = twin->ask->spec->kind;
    double scale = scale_of(twin->ask, chosen->n);
    *out = (MetricPairs){
        .metric = twin->name,
        .average = twin->average_parts ? STR("parts") : STR_EMPTY,
        .slice = slice_name,
        .grader = str_copy(join->arena, twin->ask->grader->name),
        .lower_is_better = metric_lower_is_better(twin->ask->spec, twin->ask->grader),
        .paired = !metric_info(kind)->needs_rows,
        .unlike = unlike_of(join, twin),
        .n = chosen->n,
        .n_missing_planned = slice == STR_NONE ? join->n_missing_planned : 0,
        .base = ARENA_ARRAY(join->arena, double, chosen->n),
        .candidate = ARENA_ARRAY(join->arena, double, chosen->n),
        .base_state = ARENA_ARRAY(join->arena, uint8_t, chosen->n),
        .candidate_state = ARENA_ARRAY(join->arena, uint8_t, chosen->n),
    };
    StatsPairs *pairs = &out->pairs;
    fill_own(join, twin, slice, scale, out);
    side_fill(join, twin, chosen, 0, scale, out->base, out->base_state, &pairs->baseline_weight);
    side_fill(join, twin, chosen, 1, scale, out->candidate, out->candidate_state,
              &pairs->candidate_weight);
    out->base_best =
        side_bound(join, twin, chosen, 0, scale, out->base, out->base_state, &out->n_partial[0]);
    out->candidate_worst = side_bound(join, twin, chosen, 1, scale, out->candidate,
                                      out->candidate_state, &out->n_partial[1]);
    fill_names(join, twin, chosen, out);
    fill_clusters(join, chosen, out);
    pairs->baseline = out->base;
    pairs->candidate = out->candidate;
    pairs->n = chosen->n;
    pairs->exponential = kind == METRIC_PERPLEXITY;
}

// ---- Slices -------------------------------------------------------------------------------------

/** The slices of a row, in the union's numbers: the candidate's word counts where both have it. */
static size_t row_slices(const Union *join, const Joined *row, uint32_t *out)
{
    size_t s = row->at[1] != NO_ROW;
    const Gathering *side = join->sides[s];
    const Gathered *sample = &side->samples[row->at[s]];
    for (size_t i = 0; i < sample->n_slices; i++) {
        out[i] = join->slice_of[s][side->slices[sample->slices_from + i]];
    }
    return sample->n_slices;
}

/** The chosen rows of each slice, one list after the other. shapes  start (n_slices + 1). */
static uint32_t *rows_by_slice(const Union *join, Arena *scratch, const Chosen *chosen,
                               size_t **out_start)
{
    size_t n_keys = join->sides[0]->scan.n_slice_keys + join->sides[1]->scan.n_slice_keys;
    uint32_t *mine = ARENA_ARRAY(scratch, uint32_t, n_keys + 1);
    size_t *start = ARENA_ARRAY(scratch, size_t, join->n_slices + 2);
    for (size_t i = 0; i < chosen->n; i++) {
        size_t n = row_slices(join, &join->rows[row_at(chosen, i)], mine);
        for (size_t k = 0; k < n; k++) {
            start[mine[k] + 2]++;
        }
    }
    for (size_t s = 0; s < join->n_slices; s++) {
        start[s + 2] += start[s + 1];
    }
    uint32_t *rows = ARENA_ARRAY(scratch, uint32_t, start[join->n_slices + 1]);
    for (size_t i = 0; i < chosen->n; i++) {
        size_t at = row_at(chosen, i);
        size_t n = row_slices(join, &join->rows[at], mine);
        for (size_t k = 0; k < n; k++) {
            rows[start[mine[k] + 1]++] = (uint32_t)at;
        }
    }
    *out_start = start;
    return rows;
}

/** Metrics under construction. */
typedef struct PairsList {
    MetricPairs *items;
    size_t n;
} PairsList;

static void metric_slices(const Union *join, Arena *scratch, const Twin *twin, const Chosen *chosen,
                          PairsList *list)
{
    size_t *start;
    uint32_t *rows = rows_by_slice(join, scratch, chosen, &start);
    bool *done = ARENA_ARRAY(scratch, bool, join->n_slices + 1);
    for (int s = 1; s >= 0; s--) {
        const Gathering *side = join->sides[s];
        for (size_t i = 0; i < side->n_metrics; i++) { // in the order that tables have
            const ScanMetric *own = &side->metrics[i];
            if (own->slice == STR_NONE || own->gauge != twin->gauge[s]) {
                continue;
            }
            uint32_t slice = join->slice_of[s][own->slice];
            Chosen some = {.rows = rows + start[slice], .n = start[slice + 1] - start[slice]};
            if (!done[slice] && some.n > 0) {
                done[slice] = true;
                metric_fill(join, twin, &some, slice, own->row.slice, &list->items[list->n++]);
            }
        }
    }
}

// ---- All metrics --------------------------------------------------------------------------------

static const ScanMetric *metric_named(const Gathering *side, Str name, bool average_parts)
{
    for (size_t i = 0; i < side->n_metrics; i++) {
        const ScanMetric *metric = &side->metrics[i];
        if (metric->slice == STR_NONE && metric->average_parts == average_parts &&
            str_eq(metric->row.name, name)) {
            return metric;
        }
    }
    return NULL;
}

/** The metrics of both sides by name: the candidate's, then those that only the base has. */
static Twin *twins_of(Arena *scratch, Gathering *sides[2], size_t *out_n)
{
    Twin *twins = ARENA_ARRAY(scratch, Twin, sides[0]->scan.n_gauges + sides[1]->scan.n_gauges);
    size_t n = 0;
    for (int s = 1; s >= 0; s--) {
        for (size_t i = 0; i < sides[s]->n_metrics; i++) {
            const ScanMetric *metric = &sides[s]->metrics[i];
            const ScanMetric *other =
                metric_named(sides[1 - s], metric->row.name, metric->average_parts);
            if (metric->slice != STR_NONE || (s == 0 && other != NULL)) {
                continue;
            }
            Twin *twin = &twins[n++];
            twin->gauge[s] = metric->gauge;
            twin->gauge[1 - s] = other == NULL ? STR_NONE : other->gauge;
            twin->asks[s] = scan_gauge(&sides[s]->scan, metric->gauge);
            twin->asks[1 - s] =
                other == NULL ? NULL : scan_gauge(&sides[1 - s]->scan, other->gauge);
            twin->ask = twin->asks[s];
            twin->name = metric->row.name;
            twin->average_parts = metric->average_parts;
        }
    }
    *out_n = n;
    return twins;
}

/** The first metric of the first grader. */
static size_t headline_of(const Twin *twins, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const MetricSpec *spec = twins[i].ask->spec;
        if (spec->n_graders > 0 && str_eq(twins[i].ask->grader->name, spec->graders[0].name)) {
            return i;
        }
    }
    return 0;
}

static void metrics_fill(Union *join, Arena *scratch, MetricPairs **out, size_t *out_n)
{
    size_t n_twins;
    Twin *twins = twins_of(scratch, join->sides, &n_twins);
    PairsList list = {
        .items = ARENA_ARRAY(join->arena, MetricPairs, n_twins * (join->n_slices + 1)),
    };
    size_t headline = headline_of(twins, n_twins);
    for (size_t t = 0; t < n_twins; t++) {
        ArenaMark mark = arena_mark(scratch);
        Chosen chosen = rows_of(join, scratch, &twins[t]);
        MetricPairs *all = &list.items[list.n++];
        metric_fill(join, &twins[t], &chosen, STR_NONE, STR_EMPTY, all);
        all->headline = t == headline;
        if (join->n_slices > 0) {
            metric_slices(join, scratch, &twins[t], &chosen, &list);
        }
        arena_rewind(scratch, mark);
    }
    *out = list.items;
    *out_n = list.n;
}

bool compare_metrics(Results *results, Arena *arena, const Pairing *pairing, MetricPairs **out,
                     size_t *out_n, Err *err)
{
    Arena scratch = {0};
    Gathering sides[2] = {{.is_base = true}, {.is_base = false}};
    const RunInfo *const *runs[2] = {pairing->base, pairing->candidate};
    bool clustered = false;
    bool ok = true;
    for (size_t i = 0; i < 2 * pairing->n_parts && ok; i++) {
        const RunInfo *run = runs[i % 2][i / 2];
        ok = run == NULL || run_is_clustered(results, run->id, &clustered, err);
    }
    for (size_t s = 0; s < 2 && ok; s++) {
        sides[s].arena = &scratch;
        ok = gather(results, arena, runs[s], pairing->n_parts, clustered, &sides[s], err);
    }
    if (ok) {
        Union join = {.arena = arena, .pairing = pairing, .sides = {&sides[0], &sides[1]}};
        join_sides(&join, &scratch, pairing, clustered);
        metrics_fill(&join, &scratch, out, out_n);
    }
    for (size_t s = 0; s < 2; s++) {
        gathering_finish(&sides[s]);
    }
    arena_finish(&scratch);
    return ok;
}
