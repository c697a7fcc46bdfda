// SPDX-License-Identifier: MIT
// A metric of one eval over all experiments that ran it, in the order of time, one series for each
// variant and model. Shows; decides nothing: whether two points differ is `diff`'s to say.
#pragma once

#include "results/results.h"

/** What to follow. */
typedef struct TrendQuery {
    Str eval;               // NAME, or NAME/PART
    Str metric;             // grader.metric, a bare metric or grader; "": the headline
    Str model;              // glob; "" any
    Str variant;            // glob; "" any
    ExperimentFilter among; // tags, state, time, limit; its eval and model are not looked at
} TrendQuery;

/** One experiment's value. */
typedef struct TrendPoint {
    int64_t experiment_id;
    Str experiment; // its name
    Str short_id;
    Str started; // UTC
    int64_t started_ms;
    Str git;          // the commit's first digits; "" unknown
    MetricRow metric; // over all parts that ran
    int64_t n_planned;
    int64_t n_done;       // less: the value is of an unfinished run, or of one with errors
    const Str *baselines; // that point to the experiment now
    size_t n_baselines;
    Str changed; // what is not as in the point before: "eval version 1 -> 2, dataset"; "" nothing
} TrendPoint;

typedef struct TrendSeries {
    Str variant;
    Str model;
    Str metric; // its full name
    bool lower_is_better;
    const TrendPoint *points; // oldest first
    size_t n;
} TrendSeries;

typedef struct Trend {
    Str eval;
    Str part; // "": all
    const TrendSeries *series;
    size_t n;
} Trend;

/**
 * in     query->among.limit: of the newest so many experiments that ran the eval.
 * owns   *out in arena.
 * fails  ERR_NOT_FOUND with did-you-mean when no experiment has run such an eval, variant, model or
 *        metric; ERR_STORE. */
bool trend_compute(Results *results, Arena *arena, const TrendQuery *query, Trend *out, Err *err);

/**
 * A sparkline and a table for each series.
 * in     ascii: no blocks, for terminals that can not show them. */
void report_trend(Buf *buf, const Trend *trend, bool ascii, const ReportOptions *options);
Value report_trend_value(Arena *arena, const Trend *trend);
