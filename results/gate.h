// SPDX-License-Identifier: MIT
// Gates: a policy applied to an experiment, and its verdict as a table, JUnit, annotations,
// Markdown, JSON (DESIGN.md 4.5). The rule of one check is gate_rule.h's; here is what a check
// needs to have seen before that rule may speak.
#pragma once

#include "results/compare.h"
#include "results/gate_rule.h"

// ---- Policies -----------------------------------------------------------------------------------

typedef enum GateDemandKind {
#define X(NAME, key, in_budget, unit) GATE_DEMAND_##NAME,
#include "results/gate_demand.def"
#undef X
    GATE_DEMAND_COUNT
} GateDemandKind;

/** One demand of a policy; it becomes a check for each pairing of its eval. */
typedef struct GateDemand {
    GateDemandKind kind;
    Str eval;   // "": every eval; of a budget and of must_pass the whole experiment
    Str metric; // grader.metric, a bare metric or grader; "": the headline
    Str slice;  // "source=x" or ""
    double bound;
    const Str *tags; // must_pass: samples with any of them
    size_t n_tags;
    double confidence; // one-sided, above 0.5 and below 1
    GateMode mode;
    double detect; // NaN: not given
} GateDemand;

/** From a gate file, an eval's `gate:`, flags, or several of them. */
typedef struct GatePolicy {
    Str name;
    Str file; // "" when made of flags or of evals' own
    const GateDemand *demands;
    size_t n_demands;
} GatePolicy;

/**
 * A gate file's map; eval "" : bounds go by eval. Or an eval's own `gate:` with the eval's name:
 * bounds go by metric. Strings borrow from the map.
 * fails  ERR_CONFIG with the key; ERR_USAGE for a policy without checks. */
bool gate_policy_from_value(Arena *arena, const Value *policy, Str eval, GatePolicy *out, Err *err);
/** Add the demands of another policy; a demand for the same thing takes the place of the old one.
 */
void gate_policy_join(Arena *arena, GatePolicy *policy, const GatePolicy *other);
/** The own gates of the runs of a side, as they were when they ran. fails as above. */
bool gate_policy_of_runs(Arena *arena, const Side *side, GatePolicy *out, Err *err);

/** What flags say; zeroed, with detect and the budgets NaN, is nothing. */
typedef struct GateFlags {
    const Str *min; // EVAL[.METRIC][KEY=VALUE]=BOUND, the slice in brackets
    size_t n_min;
    const Str *max;
    size_t n_max;
    const Str *max_regression; // BOUND, or as above
    size_t n_max_regression;
    const Str *must_pass; // tag=NAME
    size_t n_must_pass;
    double confidence; // 0: not given
    Str mode;          // "": not given
    double detect;
    double budget_error_rate; // a share, US dollars, seconds, tokens
    double budget_cost_usd;
    double budget_p95_latency_s;
    double budget_tokens;
} GateFlags;

/**
 * Add what flags demand; confidence, mode and detect count for all demands of the policy.
 * fails  ERR_USAGE naming the flag. */
bool gate_policy_add_flags(Arena *arena, GatePolicy *policy, const GateFlags *flags, Err *err);

// ---- Verdicts -----------------------------------------------------------------------------------

typedef struct GateLine {
    Str name; // "mmlu exact.accuracy >= 0.65", unique within the report
    Str eval;
    Str variant; // of the candidate, as is model; "" where the line is of the whole experiment
    Str model;
    Str metric;
    Str slice;
    const char *kind; // min max max_regression must_pass budget structure
    GateVerdict verdict;
    bool ok;             // what the exit code says of it
    bool by_limits;      // outcome is there
    GateOutcome outcome; // min, max, max_regression
    double value;        // candidate's value, or what was spent
    double baseline;     // NaN without
    double bound;
    double confidence;
    size_t n_states[2][SAMPLE_STATE_COUNT]; // samples of baseline, candidate
    size_t n_partial;                       // samples of which some epochs have no score
    Str message;                            // a sentence: what was seen, what it means, what to do
    Str samples;                            // must_pass: the first failing ids
} GateLine;

typedef struct GateReport {
    GatePolicy policy;
    Side candidate;
    Side baseline; // n_runs 0: none
    const GateLine *lines;
    size_t n_lines;
    bool ok;            // all lines are
    double family_wise; // chance of a false fail over all checks, if they were independent; NaN: 0
} GateReport;

/**
 * Apply the policy. A structural demand that is not met (an unfinished experiment, missing shards,
 * a run of policy or baseline that the candidate lacks, the same runs on both sides, other grader
 * hashes) is a failing line of kind "structure" with what to do in its message.
 * in     baseline NULL: none given; checks that need one then fail. So they do where it is a
 *        @NAME that does not exist, and for an eval that the policy names and the baseline lacks
 *        (under a loss for every eval such a one is new, and inconclusive). With first_allowed
 *        (promote --first) they are left out instead. What the candidate's selector says of eval
 * and part holds for a baseline whose own says nothing. owns   *out in arena; it borrows from the
 * policy. fails  ERR_NOT_FOUND, ERR_USAGE, ERR_STORE: no verdict at all. */
bool gate_compute(Results *results, Arena *arena, const GatePolicy *policy,
                  const Selector *candidate, const Selector *baseline, bool first_allowed,
                  GateReport *out, Err *err);

// ---- Reports ------------------------------------------------------------------------------------

/** "PASS", "FAIL", "NOT PROVEN", "TOO FEW", "INCONCLUSIVE". */
const char *gate_line_word(const GateLine *line);
void report_gate(Buf *buf, const GateReport *gate, const ReportOptions *options);
/** A pull-request comment, and the step summary of a CI job; under 64 KiB. */
void report_gate_markdown(Buf *buf, const GateReport *gate);
/** JUnit XML, valid for Jenkins' xunit schema: a testcase a line. */
void report_gate_junit(Buf *buf, const GateReport *gate);
/** GitHub workflow commands; text from models can not inject any. */
void report_gate_github(Buf *buf, const GateReport *gate);
Value report_gate_value(Arena *arena, const GateReport *gate);
