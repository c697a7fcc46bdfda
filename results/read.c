// SPDX-License-Identifier: MIT
// Opening a store for reading, runs with their metrics, and metrics across runs. Read-only; every
// answer is computed from rows.
#include "results/read_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const SqlText read_sql[] = {
#define X(name, sql) {#name, sql},
#include "results/read_sql.def"
#undef X
};
_Static_assert(sizeof(read_sql) / sizeof(read_sql[0]) == READ_SQL_COUNT, "one text a statement");

bool results_open(Str path, Results **out, Err *err)
{
    Results *results = mem_zalloc(1, sizeof(*results));
    results->path = db_path(&results->arena, path);
    if (!db_open_reader(&results->db, results->path, err) ||
        !db_prepare(&results->db, read_sql, READ_SQL_COUNT, err)) {
        results_close(results);
        return false;
    }
    *out = results;
    return true;
}

void results_close(Results *results)
{
    if (results == NULL) {
        return;
    }
    db_close(&results->db);
    arena_finish(&results->arena);
    mem_free(results);
}

// ---- Runs ---------------------------------------------------------------------------------------

static bool run_from_row(sqlite3_stmt *row, Arena *arena, RunRead *out, Err *err)
{
    RunSpec *spec = &out->info.spec;
    spec->eval = column_copy(row, 1, arena);
    spec->eval_version = column_i64(row, 2);
    spec->part = column_copy(row, 3, arena);
    spec->variant = column_copy(row, 4, arena);
    spec->model = column_copy(row, 5, arena);
    spec->n_planned = column_i64(row, 6);
    spec->epochs = column_i64(row, 7);
    spec->eval_hash = column_hash(row, 8);
    spec->program_hash = column_hash(row, 9);
    spec->data_hash = column_hash(row, 10);
    spec->model_hash = column_hash(row, 11);
    out->has_clusters = column_i64(row, 14) != 0;
    out->info.id = column_i64(row, 0);
    out->info.eval = spec->eval;
    out->info.part = spec->part;
    out->info.variant = spec->variant;
    out->info.model = spec->model;
    out->info.n_planned = spec->n_planned;
    return column_json(row, 12, arena, &spec->spec, err) &&
           column_json(row, 13, arena, &spec->metrics, err) &&
           metrics_parse(arena, &spec->metrics, &out->metrics, &out->n_metrics, err);
}

/** The runs of an experiment as planned, without totals and metrics. */
static bool runs_read(Results *results, Arena *arena, int64_t experiment_id, RunRead **out,
                      size_t *out_n, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_RUNS);
    bind_i64(row, 1, experiment_id);
    RunRead *runs = NULL;
    size_t n = 0;
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_RUNS, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            RunRead *grown = ARENA_ARRAY(arena, RunRead, cap);
            if (n > 0) {
                memcpy(grown, runs, n * sizeof(*runs));
            }
            runs = grown;
        }
        if (!run_from_row(row, arena, &runs[n++], err)) {
            sqlite3_reset(row);
            return false;
        }
    }
    *out = runs;
    *out_n = n;
    return true;
}

bool run_totals(Results *results, RunInfo *info, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_RUN_TOTALS);
    bind_i64(row, 1, info->id);
    bool more;
    if (!db_step(&results->db, READ_SQL_RUN_TOTALS, &more, err)) {
        return false;
    }
    int64_t n_closed = column_i64(row, 0);
    info->n_errors = column_i64(row, 1);
    info->n_done = n_closed - info->n_errors;
    info->usage = (Usage){
        .input = column_i64(row, 2),
        .output = column_i64(row, 3),
        .cached = column_i64(row, 4),
        .reasoning = column_i64(row, 5),
    };
    info->seconds = column_is_null(row, 6) ? 0 : column_f64(row, 6);
    info->cost_usd = column_i64(row, 8) < n_closed ? (double)NAN
                     : n_closed == 0               ? 0
                                                   : column_f64(row, 7);
    sqlite3_reset(row);
    return true;
}

bool run_metrics(Results *results, Arena *arena, RunRead *run, Err *err)
{
    Scan scan;
    scan_init(&scan, results, SCAN_RUN, run->metrics, run->n_metrics, run->has_clusters);
    bool ok = scan_run(&scan, run, err);
    if (ok) {
        scan_part_end(&scan);
        ScanMetric *found;
        size_t n = scan_metrics(&scan, arena, &found);
        MetricRow *rows = ARENA_ARRAY(arena, MetricRow, n);
        for (size_t i = 0; i < n; i++) {
            rows[i] = found[i].row;
        }
        run->info.metrics = rows;
        run->info.n_metrics = n;
        run->info.n_unscored = scan.n_unscored;
    }
    scan_finish(&scan);
    return ok;
}

bool results_runs(Results *results, Arena *arena, int64_t experiment_id, RunInfo **out,
                  size_t *out_n, Err *err)
{
    RunRead *runs;
    size_t n;
    if (!runs_read(results, arena, experiment_id, &runs, &n, err)) {
        return false;
    }
    RunInfo *infos = ARENA_ARRAY(arena, RunInfo, n);
    for (size_t i = 0; i < n; i++) {
        if (!run_totals(results, &runs[i].info, err) ||
            !run_metrics(results, arena, &runs[i], err)) {
            return false;
        }
        infos[i] = runs[i].info;
    }
    *out = infos;
    *out_n = n;
    return true;
}

// ---- Metrics across parts and variants ----------------------------------------------------------

/** Metrics over several runs, as they are found. */
typedef struct CrossList {
    CrossMetric *items;
    size_t n;
} CrossList;

static bool same_model(const RunInfo *a, const RunInfo *b)
{
    return str_eq(a->eval, b->eval) && str_eq(a->model, b->model);
}

static bool same_group(const RunInfo *a, const RunInfo *b)
{
    return same_model(a, b) && str_eq(a->variant, b->variant);
}

static void cross_put(CrossList *list, Arena *arena, const RunInfo *first, bool over_variants,
                      const ScanMetric *metrics, size_t n)
{
    CrossMetric *grown = ARENA_ARRAY(arena, CrossMetric, list->n + n);
    if (list->n > 0) {
        memcpy(grown, list->items, list->n * sizeof(*grown));
    }
    for (size_t i = 0; i < n; i++) {
        grown[list->n + i] = (CrossMetric){
            .eval = first->eval,
            .model = first->model,
            .variant = over_variants ? STR_EMPTY : first->variant,
            .over = over_variants ? STR("variants") : STR_EMPTY,
            .average = metrics[i].average_parts ? STR("parts") : STR_EMPTY,
            .metric = metrics[i].row,
            .n_runs = metrics[i].n_parts,
        };
    }
    list->items = grown;
    list->n += n;
}

bool parts_metrics(Results *results, Arena *arena, const RunRead *const *runs, size_t n,
                   ScanMetric **out, size_t *out_n, Err *err)
{
    bool clustered = false;
    for (size_t i = 0; i < n; i++) {
        clustered |= runs[i]->has_clusters;
    }
    Scan scan;
    scan_init(&scan, results, SCAN_PARTS, runs[0]->metrics, runs[0]->n_metrics, clustered);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        ok = scan_run(&scan, runs[i], err);
        scan_part_end(&scan);
    }
    if (ok) {
        *out_n = scan_metrics(&scan, arena, out);
    }
    scan_finish(&scan);
    return ok;
}

/** The metrics over the runs of first's group, when there are several. */
static bool cross_parts(Results *results, Arena *arena, const RunRead *runs, size_t n, size_t first,
                        CrossList *list, Err *err)
{
    size_t n_before = 0;
    size_t n_group = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = same_group(&runs[i].info, &runs[first].info);
        n_before += same && i < first;
        n_group += same;
    }
    if (n_before > 0 || n_group < 2) {
        return true;
    }
    const RunRead **group = ARENA_ARRAY(arena, const RunRead *, n_group);
    size_t n_found = 0;
    for (size_t i = first; i < n; i++) {
        if (same_group(&runs[i].info, &runs[first].info)) {
            group[n_found++] = &runs[i];
        }
    }
    ScanMetric *metrics;
    size_t n_metrics;
    if (!parts_metrics(results, arena, group, n_group, &metrics, &n_metrics, err)) {
        return false;
    }
    cross_put(list, arena, &runs[first].info, false, metrics, n_metrics);
    return true;
}

static bool has_worst(const RunRead *run)
{
    for (size_t i = 0; i < run->n_metrics; i++) {
        if (run->metrics[i].kind == METRIC_WORST) {
            return true;
        }
    }
    return false;
}

/** The runs of first's eval and model, part by part: each part's variants one after the other. */
static bool scan_variants(Scan *scan, const RunRead *runs, size_t n, size_t first, Err *err)
{
    for (size_t i = first; i < n; i++) {
        bool part_done = !same_model(&runs[i].info, &runs[first].info);
        for (size_t j = first; !part_done && j < i; j++) {
            part_done = same_model(&runs[j].info, &runs[first].info) &&
                        str_eq(runs[j].info.part, runs[i].info.part);
        }
        if (part_done) {
            continue;
        }
        for (size_t j = i; j < n; j++) {
            if (same_model(&runs[j].info, &runs[first].info) &&
                str_eq(runs[j].info.part, runs[i].info.part) && !scan_run(scan, &runs[j], err)) {
                return false;
            }
        }
        scan_part_end(scan);
    }
    return true;
}

/** The metrics over the variants of first's eval and model, when it asks for any. */
static bool cross_variants(Results *results, Arena *arena, const RunRead *runs, size_t n,
                           size_t first, CrossList *list, Err *err)
{
    if (!has_worst(&runs[first])) {
        return true;
    }
    size_t n_variants = 0;
    bool clustered = false;
    for (size_t i = 0; i < n; i++) {
        if (!same_model(&runs[i].info, &runs[first].info)) {
            continue;
        }
        if (i < first) {
            return true; // done with that one
        }
        clustered |= runs[i].has_clusters;
        size_t same = first;
        while (!same_group(&runs[same].info, &runs[i].info)) {
            same++;
        }
        n_variants += same == i;
    }
    Scan scan;
    scan_init(&scan, results, SCAN_VARIANTS, runs[first].metrics, runs[first].n_metrics, clustered);
    scan.n_variants = n_variants;
    bool ok = scan_variants(&scan, runs, n, first, err);
    if (ok) {
        ScanMetric *metrics;
        size_t n_metrics = scan_metrics(&scan, arena, &metrics);
        cross_put(list, arena, &runs[first].info, true, metrics, n_metrics);
    }
    scan_finish(&scan);
    return ok;
}

bool results_cross_metrics(Results *results, Arena *arena, int64_t experiment_id, CrossMetric **out,
                           size_t *out_n, Err *err)
{
    RunRead *runs;
    size_t n;
    if (!runs_read(results, arena, experiment_id, &runs, &n, err)) {
        return false;
    }
    CrossList list = {0};
    for (size_t i = 0; i < n; i++) {
        if (!cross_parts(results, arena, runs, n, i, &list, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!cross_variants(results, arena, runs, n, i, &list, err)) {
            return false;
        }
    }
    *out = list.items;
    *out_n = list.n;
    return true;
}

void results_set_custom_metric(Results *results, ResultsCustomMetric *metric, void *ctx)
{
    results->custom = metric;
    results->custom_ctx = ctx;
}

// ---- Canonical order ---------------------------------------------------------------------------

static int compare_runs(const void *a, const void *b)
{
    const RunInfo *left = &((const RunRead *)a)->info;
    const RunInfo *right = &((const RunRead *)b)->info;
    int order = str_cmp(left->eval, right->eval);
    order = order != 0 ? order : str_cmp(left->part, right->part);
    order = order != 0 ? order : str_cmp(left->variant, right->variant);
    return order != 0 ? order : str_cmp(left->model, right->model);
}

bool runs_read_sorted(Results *results, Arena *arena, int64_t experiment_id, RunRead **out,
                      size_t *out_n, Err *err)
{
    if (!runs_read(results, arena, experiment_id, out, out_n, err)) {
        return false;
    }
    if (*out_n > 1) {
        qsort(*out, *out_n, sizeof(**out), compare_runs);
    }
    return true;
}
