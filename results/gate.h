// SPDX-License-Identifier: MIT
// Gates: a policy applied to an experiment, and its verdict as a table, JUnit, annotations,
// Markdown, JSON (DESIGN.md 4.5). The rule of one check is gate_rule.h's; here is what a check needs
// to have seen before that rule may speak.
#pragma once

#include "results/compare.h"
#include "results/gate_rule.h"

/** A policy, from a gate file, an eval's `gate:`, or flags. */
typedef struct GatePolicy {
    Str name;
    Str file;             // "" when made of flags
    Value min, max;       // maps eval -> bound, or eval -> {metric: bound}; null: none
    Value max_regression; // the same, of losses; or one number for every eval's headline
    double confidence;    // one-sided; default 0.95
    GateMode mode;
    double detect; // NaN: not given
    Value must_pass;
    double budget_error_rate; // NaN: none; each of these
    double budget_cost_usd;
    double budget_p95_latency_s;
    double budget_tokens;
} GatePolicy;

/** fails  ERR_CONFIG with the key; ERR_USAGE for a policy without checks. */
bool gate_policy_from_value(Arena *arena, const Value *policy, GatePolicy *out, Err *err);

typedef struct GateLine {
    Str name; // "mmlu accuracy >= 0.65", unique within the report
    Str eval;
    Str metric;
    Str slice;
    const char *kind; // min max max_regression must_pass budget structure
    GateVerdict verdict;
    bool ok; // what the exit code says of it
    GateOutcome outcome; // min, max, max_regression
    double value;        // candidate's value, or what was spent
    double baseline;     // NaN without
    double bound;
    Str message; // a sentence: what was seen, what it means, what to do
    Str samples; // must_pass: the first failing ids
} GateLine;

typedef struct GateReport {
    GatePolicy policy;
    Side candidate;
    Side baseline; // n_runs 0: none
    const GateLine *lines;
    size_t n_lines;
    bool ok; // all lines are
    double family_wise; // chance of a false fail over all checks, if they were independent
} GateReport;

/**
 * Apply the policy. A structural demand that is not met (an unfinished experiment, a run of policy
 * or baseline that the candidate lacks, the same experiment on both sides, other grader hashes, no
 * samples) is a failing line of kind "structure" with what to do in its message.
 * in     baseline NULL: none given; checks that need one then fail, or are left out with
 *        first_allowed (promote --first).
 * fails  ERR_NOT_FOUND, ERR_USAGE, ERR_STORE: no verdict at all. */
bool gate_compute(Results *results, Arena *arena, const GatePolicy *policy,
                  const Selector *candidate, const Selector *baseline, bool first_allowed,
                  GateReport *out, Err *err);
void report_gate(Buf *buf, const GateReport *gate, const ReportOptions *options);
void report_gate_markdown(Buf *buf, const GateReport *gate);
void report_gate_junit(Buf *buf, const GateReport *gate);
/** GitHub workflow commands; text from models can not inject any. */
void report_gate_github(Buf *buf, const GateReport *gate);
Value report_gate_value(Arena *arena, const GateReport *gate);
