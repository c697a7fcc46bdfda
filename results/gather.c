// SPDX-License-Identifier: MIT
// One side of a comparison: scores stream through the same scan that computes metrics, once; what
// it tells of each sample is kept in columns. What a sample counts is reduce.c's decision.
#include "results/gather.h"

#include <math.h>

#define EPOCHS_ON_HAND 64

static void gathering_grow(Gathering *side)
{
    side->cap = side->cap == 0 ? 1024 : side->cap * 2;
    side->samples = mem_realloc(side->samples, side->cap, sizeof(*side->samples));
    for (size_t i = 0; i < side->scan.n_gauges; i++) {
        ValueColumn *column = &side->columns[i];
        column->x = mem_realloc(column->x, side->cap, sizeof(*column->x));
        column->w = mem_realloc(column->w, side->cap, sizeof(*column->w));
        column->state = mem_realloc(column->state, side->cap, sizeof(*column->state));
    }
}

/** A ScanSink's sample. */
static void gather_sample(void *ctx, const Scan *scan)
{
    Gathering *side = ctx;
    if (side->n == side->cap) {
        gathering_grow(side);
    }
    if (side->n_slices + scan->n_sample_slices > side->slices_cap) {
        side->slices_cap = (side->n_slices + scan->n_sample_slices) * 2;
        side->slices = mem_realloc(side->slices, side->slices_cap, sizeof(*side->slices));
    }
    side->samples[side->n] = (Gathered){
        .id = str_copy(side->arena, scan->sample_id),
        .hash = scan->sample_hash,
        .cluster =
            scan->has_cluster ? hash_fast(scan->cluster_name.data, scan->cluster_name.len) | 1 : 0,
        .slices_from = (uint32_t)side->n_slices,
        .n_slices = (uint32_t)scan->n_sample_slices,
        .errored = scan->sample_errored,
    };
    for (size_t i = 0; i < scan->n_sample_slices; i++) {
        side->slices[side->n_slices++] = scan->sample_slices[i];
    }
    for (size_t i = 0; i < scan->n_gauges; i++) {
        side->columns[i].x[side->n] = NAN;
        side->columns[i].w[side->n] = 1;
        side->columns[i].state[side->n] = scan->sample_errored ? SAMPLE_ERRORED : NOT_APPLIED;
    }
    side->n++;
}

/** The value of a sample if its epochs without a score had ended at one end of the range. */
static double partial_value(const Gathering *side, const TallyAsk *ask, const GraderShots *shots)
{
    bool upwards = side->is_base != metric_lower_is_better(ask->spec, ask->grader);
    double end = upwards ? ask->grader->high : ask->grader->low;
    if (!isfinite(end)) {
        return NAN;
    }
    size_t n = (size_t)side->epochs > shots->n ? (size_t)side->epochs : shots->n;
    Shot few[EPOCHS_ON_HAND];
    Shot *all = n <= EPOCHS_ON_HAND ? few : (Shot *)mem_alloc(n, sizeof(Shot));
    for (size_t i = 0; i < n; i++) {
        if (i < shots->n && shots->shots[i].scored) {
            all[i] = shots->shots[i];
        } else {
            // For Brier's score: as sure as can be, and right or wrong.
            bool wrong = ask->spec->kind == METRIC_BRIER ? upwards : false;
            all[i] = (Shot){.scored = true,
                            .value = ask->spec->kind == METRIC_BRIER ? !wrong : end,
                            .weight = 1,
                            .confidence = 1};
        }
    }
    Reduced reduced;
    double value = shots_reduce(ask->spec, all, n, &reduced) ? reduced.x : (double)NAN;
    if (all != few) {
        mem_free(all);
    }
    return value;
}

static void partial_add(ValueColumn *column, size_t at, double value)
{
    if (column->n_partials == column->partials_cap) {
        column->partials_cap = column->partials_cap == 0 ? 16 : column->partials_cap * 2;
        column->partials =
            mem_realloc(column->partials, column->partials_cap, sizeof(*column->partials));
    }
    column->partials[column->n_partials++] = (Partial){.at = (uint32_t)at, .value = value};
}

/** A ScanSink's value. */
static void gather_value(void *ctx, size_t gauge, const Reduced *sample, const GraderShots *shots)
{
    Gathering *side = ctx;
    ValueColumn *column = &side->columns[gauge];
    size_t at = side->n - 1;
    if (side->samples[at].errored) {
        return; // whatever its other epochs say
    }
    column->state[at] = sample == NULL ? SAMPLE_UNSCORED : SAMPLE_SCORED;
    if (sample == NULL) {
        return;
    }
    column->x[at] = sample->x;
    column->w[at] = sample->w;
    size_t n_scored = 0;
    for (size_t i = 0; i < shots->n; i++) {
        n_scored += shots->shots[i].scored;
    }
    const TallyAsk *ask = scan_gauge(&side->scan, gauge);
    if (n_scored < (size_t)side->epochs && !metric_info(ask->spec->kind)->needs_rows) {
        partial_add(column, at, partial_value(side, ask, shots));
    }
}

bool run_is_clustered(Results *results, int64_t run_id, bool *out, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_RUN_CLUSTERED);
    bind_i64(row, 1, run_id);
    bool there;
    if (!db_step(&results->db, READ_SQL_RUN_CLUSTERED, &there, err)) {
        return false;
    }
    *out |= there && column_i64(row, 0) != 0;
    sqlite3_reset(row);
    return true;
}

bool gather(Results *results, Arena *arena, const RunInfo *const *runs, size_t n_parts,
            bool clustered, Gathering *side, Err *err)
{
    const RunInfo *first = NULL;
    for (size_t i = 0; i < n_parts && first == NULL; i++) {
        first = runs[i];
    }
    side->part_from = ARENA_ARRAY(arena, size_t, n_parts + 1);
    if (first == NULL) {
        return true;
    }
    MetricSpec *specs;
    size_t n_specs;
    if (!metrics_parse(arena, &first->spec.metrics, &specs, &n_specs, err)) {
        return false;
    }
    Scan *scan = &side->scan;
    ScanSink sink = {.sample = gather_sample, .value = gather_value, .ctx = side};
    scan_init(scan, results, n_parts > 1 ? SCAN_PARTS : SCAN_RUN, specs, n_specs, clustered);
    scan->sink = &sink;
    side->columns = mem_zalloc(scan->n_gauges + 1, sizeof(*side->columns));
    for (size_t i = 0; i < n_parts; i++) {
        side->part_from[i] = side->n;
        if (runs[i] != NULL) {
            RunRead read = {.info = *runs[i]};
            side->epochs = runs[i]->spec.epochs;
            if (!scan_run(scan, &read, err)) {
                return false;
            }
            scan_part_end(scan);
        }
    }
    side->part_from[n_parts] = side->n;
    side->n_metrics = scan_metrics(scan, arena, &side->metrics);
    scan->sink = NULL;
    return true;
}

void gathering_finish(Gathering *side)
{
    for (size_t i = 0; side->columns != NULL && i < side->scan.n_gauges; i++) {
        mem_free(side->columns[i].x);
        mem_free(side->columns[i].w);
        mem_free(side->columns[i].state);
        mem_free(side->columns[i].partials);
    }
    mem_free(side->columns);
    mem_free(side->samples);
    mem_free(side->slices);
    scan_finish(&side->scan);
}
