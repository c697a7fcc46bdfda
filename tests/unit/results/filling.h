// SPDX-License-Identifier: MIT
// A store filled row by row, and its metrics compared with what they should be.
#pragma once

#include "fixture.h"

#define TOLERANCE 1e-9

/** A store under construction: one experiment, rows put one by one. */
typedef struct Filling {
    Arena arena;
    Place place;
    Store *store;
    ExperimentOpen open;
    ResultsCustomMetric *custom;
    void *custom_ctx;
} Filling;

static inline void filling_begin(Filling *filling, const RunSpec *runs, size_t n_runs)
{
    Err err = ERR_INIT;
    filling->place = place_make();
    filling->store = store_at(&filling->place, NULL, NULL);
    ExperimentSpec spec = experiment_make(&filling->arena, STR("x"), 1, runs, n_runs);
    CHECK_OK(store_experiment_begin(filling->store, &filling->arena, &spec, RESUME_NO,
                                    &filling->open, &err),
             &err);
}

static inline void put(Filling *filling, size_t run, int64_t i, int64_t epoch, double value,
                       double weight, const char *cluster)
{
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(&filling->arena, filling->open.run_ids[run], i, epoch, value);
    Score score = row.scores[0];
    score.weight = weight;
    row.scores = &score;
    row.cluster = str_from_c(cluster);
    CHECK_OK(store_put_attempt(filling->store, &row, &err), &err);
}

static inline RunInfo *filling_runs(Filling *filling, size_t *out_n)
{
    Err err = ERR_INIT;
    RunInfo *runs = NULL;
    CHECK_OK(store_flush(filling->store, &err), &err);
    Results *results = results_at(&filling->place);
    results_set_custom_metric(results, filling->custom, filling->custom_ctx);
    CHECK_OK(results_runs(results, &filling->arena, filling->open.id, &runs, out_n, &err), &err);
    results_close(results);
    return runs;
}

static inline CrossMetric *filling_cross(Filling *filling, size_t *out_n)
{
    Err err = ERR_INIT;
    CrossMetric *cross = NULL;
    CHECK_OK(store_flush(filling->store, &err), &err);
    Results *results = results_at(&filling->place);
    results_set_custom_metric(results, filling->custom, filling->custom_ctx);
    CHECK_OK(results_cross_metrics(results, &filling->arena, filling->open.id, &cross, out_n, &err),
             &err);
    results_close(results);
    return cross;
}

static inline void filling_end(Filling *filling)
{
    store_close(filling->store);
    place_remove(&filling->place);
    arena_finish(&filling->arena);
}

static inline void check_metric(int line, const MetricRow *got, const char *name,
                                const char *method, int64_t n, Interval want)
{
    bool ok = str_eq_c(got->name, name) && str_eq_c(got->method, method) && got->n == n &&
              fabs(got->value - want.value) <= TOLERANCE &&
              fabs(got->stderr_ - want.stderr_) <= TOLERANCE &&
              fabs(got->low - want.low) <= TOLERANCE && fabs(got->high - want.high) <= TOLERANCE;
    if (!ok) {
        tap_checks_failed++;
        printf("# line %d: got " STR_FMT " " STR_FMT " n %lld: %.17g se %.17g [%.17g, %.17g]\n",
               line, STR_ARG(got->name), STR_ARG(got->method), (long long)got->n, got->value,
               got->stderr_, got->low, got->high);
    }
}
