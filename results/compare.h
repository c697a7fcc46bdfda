// SPDX-License-Identifier: MIT
// Two sides compared, sample by sample: which runs pair, what changed between them, the paired
// samples of a metric, and what `diff` says of them (DESIGN.md 4.5). Reads through Results, renders
// to a Buf; the decisions are results/stats.h's.
#pragma once

#include "results/results.h"

/**
 * EXPERIMENT[:eval=..,part=..,variant=..,model=..]: a name, short id, latest, latest~N or
 * @baseline, and what its runs have to be. Empty members match any. */
typedef struct Selector {
    Str text; // as given, for messages
    Str experiment;
    Str eval;
    Str part;
    Str variant;
    Str model;
} Selector;

/** fails  ERR_USAGE naming the unknown or repeated key. */
bool selector_parse(Arena *arena, Str text, Selector *out, Err *err);

/** One side: an experiment and the runs selected in it, in canonical order. */
typedef struct Side {
    Selector selector;
    ExperimentInfo experiment;
    const RunInfo *runs; // without metrics and totals computed: spec, ids, counts
    size_t n_runs;
} Side;

/** fails  ERR_NOT_FOUND for the experiment; ERR_USAGE when the selector matches no run. */
bool side_open(Results *results, Arena *arena, const Selector *selector, Side *out, Err *err);

/** The runs of one eval that are compared as one: all parts, one variant and model on each side. */
typedef struct Pairing {
    Str eval;
    Str base_variant, base_model;
    Str candidate_variant, candidate_model;
    const RunInfo *const *base;      // (n_parts), NULL where the side lacks the part
    const RunInfo *const *candidate; // (n_parts)
    const Str *parts;                // (n_parts)
    size_t n_parts;
} Pairing;

/**
 * Pair runs by eval, part and variant; variants pair across names only where the selectors name
 * them; one model a side, else ERR_USAGE asks for a selector (models of equal name pair first).
 * Evals that only one side has are pairings with NULLs on the other. */
bool compare_pairings(Arena *arena, const Side *base, const Side *candidate, Pairing **out,
                      size_t *out_n, Err *err);

/** What differs between two paired runs. */
typedef struct Change {
    const char *what; // model roles prompt solver graders dataset samples eval settings
                      // eval-version program git
    Str eval;         // "" for the whole experiment
    Str from;         // short: a name, a version, the first 8 digits of a hash
    Str to;           // of samples: "102 (3 changed, 2 new, 1 gone)"
    Str detail;       // a unified diff of texts (prompt, Lua, the eval's file), or ""
} Change;
/** In the order of the list above; equal things are not listed. */
bool compare_changes(Results *results, Arena *arena, const Side *base, const Side *candidate,
                     const Pairing *pairings, size_t n, Change **out, size_t *out_n, Err *err);

/** Why a planned sample has no value on a side. */
typedef enum SampleState {
    SAMPLE_SCORED,
    SAMPLE_MISSING,  // planned, never closed; or only the other side has it
    SAMPLE_ERRORED,  // an attempt ended in an error
    SAMPLE_UNSCORED, // no scored epoch, or fewer than k
    SAMPLE_CHANGED,  // same id, another hash: it does not pair
    SAMPLE_STATE_COUNT
} SampleState;

/**
 * One metric of a pairing, sample by sample, both sides aligned; the union of their samples. In
 * canonical order (part, sample id). Arrays may be shared between metrics: copy before changing. */
typedef struct MetricPairs {
    Str metric;  // grader.metric
    Str average; // "parts" or ""
    Str slice;   // "source=x" or ""
    Str grader;
    bool lower_is_better;
    double range_low; // of a sample's value; infinite: unbounded
    double range_high;
    bool headline;  // the first metric of the first grader
    bool paired;    // false: the metric is no mean of samples' values (f1_macro, mcc, ece, custom):
                    // compare base_row and candidate_row by their intervals
    const Str *ids; // (n) "part/id"
    const uint32_t *parts; // (n) positions in the pairing's parts
    double *base;          // (n) epochs reduced; NaN where base_state is not SCORED
    double *candidate;     // (n)
    uint8_t *base_state;   // SampleState
    uint8_t *candidate_state;
    // As base and candidate, for gates: where some of a scored sample's epochs have no score these
    // count as the best of the range in base, as the worst in candidate; NaN without a range. The
    // same arrays where all epochs are scored.
    double *base_best;
    double *candidate_worst;
    size_t n_partial[2]; // such samples of base, candidate
    // Why the two sides mean different things by this name, so that no gate compares them: one does
    // not have it, its Lua or its params changed, or it hangs on how many epochs a sample has. ""
    // where they mean the same, or where the pairing has one side only.
    Str unlike;
    StatsPairs pairs; // over the same arrays: weights, clusters, parts, binary, exponential
    size_t n;
    // Planned on either side and without any row, so that no id is known; at least so many. Of all
    // samples together: 0 in slices, since nobody knows theirs.
    int64_t n_missing_planned;
    MetricRow base_row; // the metric of each side by itself, as `run` shows it
    MetricRow candidate_row;
} MetricPairs;

/**
 * All metrics of a pairing, each followed by its slices: the candidate's in its order, then those
 * that only the base has (which have all samples missing on the other side). `worst`, which is over
 * variants, is left out. Values of `sum` are scaled by n, those of `bits` by 1/ln 2, so that means
 * are in the metric's unit; perplexity is exp of a mean. One pass over the rows of each side:
 * 100,000 samples a side in under 2 s and 300 MB. owns  *out in arena. */
bool compare_metrics(Results *results, Arena *arena, const Pairing *pairing, MetricPairs **out,
                     size_t *out_n, Err *err);

/**
 * A line of the table of `diff`: one metric of a pairing that has runs on both sides. Verdicts
 * follow the interval, with the safeguards of a gate's pass (gate_rule.h) at one-sided 97.5 %:
 *   better, worse        the interval excludes 0, and the samples are such that it may be believed
 *                        (where fewer than 10 pairs differ, the exact test of their signs agrees)
 *   no difference shown  it does not, and a difference of a tenth of the range would have been seen
 *   too few to tell      a difference of a tenth of the range could hide (effect is larger); or
 *                        fewer than 10 clusters; or the interval can not be believed
 *   not comparable       the metric is not the same on both sides (see unlike), or no sample has a
 *                        value on both */
typedef struct Comparison {
    const Pairing *pairing;
    const MetricPairs *pairs;
    double base_value; // over the samples that have a value on both sides; of unpaired metrics the
    double candidate_value;   // sides' own values
    StatsEstimate difference; // candidate - base, two-sided 95 %, limits within the range
    const char *method;       // of the interval: tango t delta jackknife constant mover none
    double p;                 // exact where there is one, else the interval's own test
    double p_holm;            // over the table
    double effect;            // minimum detectable effect, power 0.8, two-sided 5 %; infinite: none
    size_t n_paired;
    size_t n_better; // by better, not by larger
    size_t n_worse;
    size_t n_states[2][SAMPLE_STATE_COUNT]; // base, candidate
    const char *verdict;
} Comparison;

/** Latency, tokens and cost beside the scores: totals, and percentiles of attempts, of each side.
 */
typedef struct CostDelta {
    Usage base_usage, candidate_usage;
    double base_seconds_p50, base_seconds_p95; // NaN: no attempts
    double candidate_seconds_p50, candidate_seconds_p95;
    double base_cost_usd, candidate_cost_usd; // NaN: unknown
    int64_t base_attempts, candidate_attempts;
} CostDelta;

/**
 * One sample whose verdict turned: its value crossed the middle of the range (which itself counts
 * as right: 0.5 and more of 0..1), or moved by half of the range or more. Unbounded metrics have
 * none. */
typedef struct Flip {
    Str eval, part, sample_id;
    Str metric;
    const Pairing *pairing;
    double base, candidate;
    bool better;
    int64_t base_run, candidate_run; // for results_attempts: both replies
} Flip;

typedef struct DiffReport {
    Side base, candidate;
    const Change *changes;
    size_t n_changes;
    const Pairing *pairings; // those with runs on one side only too
    size_t n_pairings;
    const Comparison *rows; // of pairings with runs on both sides, in their order
    size_t n_rows;
    const CostDelta *costs; // one a pairing
    const Flip *flips; // of the headline metrics; all of them: worse ones first, then larger ones
    size_t n_flips;
} DiffReport;

typedef struct DiffOptions {
    Str metric;        // only this grader.metric, or a bare metric or grader; "" all
    bool same_allowed; // an experiment with itself (two variants of it) is fine
} DiffOptions;

/**
 * Compare. A selector's eval and part count for both sides where only one gives them.
 * fails  ERR_USAGE when both sides are the same runs, have no run in common, or no such metric. */
bool diff_compute(Results *results, Arena *arena, const Selector *base, const Selector *candidate,
                  const DiffOptions *options, DiffReport *out, Err *err);
/** Whether a pairing has runs on both sides. */
bool pairing_is_whole(const Pairing *pairing);

/** An attempt of each side for the same sample and epoch. */
typedef struct DiffSample {
    const Pairing *pairing;
    const AttemptInfo *base; // NULL: none
    const AttemptInfo *candidate;
} DiffSample;
/**
 * The attempts of a sample ("id" or "part/id") in all pairings, epoch by epoch.
 * fails  ERR_NOT_FOUND when neither side has any. */
bool diff_sample(Results *results, Arena *arena, const DiffReport *diff, Str id, DiffSample **out,
                 size_t *out_n, Err *err);

// ---- Reports ------------------------------------------------------------------------------------

typedef struct DiffLook {
    bool color;
    int width;     // columns of the terminal; 0: as wide as it takes
    int64_t flips; // lines of flips at most; 0: only their number
    bool details;  // texts of what changed
} DiffLook;

void report_diff(Buf *buf, const DiffReport *diff, const DiffLook *look);
void report_diff_markdown(Buf *buf, const DiffReport *diff, int64_t n_flips);
Value report_diff_value(Arena *arena, const DiffReport *diff);
/** Both replies side by side, or one under the other where that is too narrow. */
void report_diff_sample(Buf *buf, const DiffSample *sample, const ReportOptions *options);
Value report_diff_sample_value(Arena *arena, const DiffSample *sample);
