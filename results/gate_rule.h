// SPDX-License-Identifier: MIT
// The rule of a gate check (DESIGN.md 4.5, "A gate check"): samples and a bound in, a three-valued
// verdict out. Pure: no files, no policy, no words but the reason's. What a check can not know here
// (an unfinished experiment, the same experiment twice, other graders) its caller fails.
#pragma once

#include "results/stats.h"

typedef enum GateVerdict {
    GATE_PASS,
    GATE_FAIL,
    GATE_INCONCLUSIVE,
} GateVerdict;

typedef enum GateMode {
    GATE_REGRESSION,     // inconclusive exits 0 if a loss past `detect` would have been seen
    GATE_NONINFERIORITY, // inconclusive exits 1
} GateMode;

typedef enum GateKind {
    GATE_LOSS, // candidate against baseline: bound is the largest loss allowed
    GATE_MIN,  // the candidate's value: bound is the least
    GATE_MAX,  // bound is the greatest
} GateKind;

typedef enum GateReason {
#define X(name, words) GATE_REASON_##name,
#include "results/gate_reason.def"
#undef X
    GATE_REASON_COUNT
} GateReason;

/** What is demanded. */
typedef struct GateCheck {
    GateKind kind;
    GateMode mode;
    double bound;
    double confidence; // one-sided, 0.5 < confidence < 1
    double detect;     // NaN: 0.10 of the range; must be given for unbounded metrics
    double low;        // range of a sample's value, low < high; infinite at an end: unbounded
    double high;
    bool lower_is_better; // GATE_LOSS only
    bool lucky_passes;    // a pass need not exclude a loss of detect: `diff` asks for a sign alone
} GateCheck;

/** What came out. Differences are signed so that better is positive; values are as they are. */
typedef struct GateOutcome {
    GateVerdict verdict;
    GateReason reason;
    bool ok;         // what the exit code says of this check
    bool too_few;    // inconclusive, and a loss past detect could hide: "too few pairs"
    Interval limits; // one-sided limits at the confidence, missing samples at their worst
    double margin_p; // one-sided p of "worse than the bound allows"; NaN where not known
    double effect;   // minimum detectable effect past the bound, power 0.8; infinite: none
    double detect;   // the loss it is compared with; NaN: not given
    double n_decide; // samples that would decide at power 0.8: for GATE_LOSS if nothing changed,
                     // else if the value is as seen. Infinite: no number does
    double n_detect; // samples at which the effect is within detect
    StatsMethod method;
    size_t n;         // planned samples
    size_t n_missing; // on either side: missing, errored, unscored or outside of the range
    size_t n_clusters;
    size_t n_better; // candidate over baseline; imputed pairs count
    size_t n_worse;
    GateVerdict observed; // the verdict of the samples that are there, which decides nothing
} GateOutcome;

/**
 * Judge samples. NaN is a missing value: it is replaced by the worst for the check (candidate's
 * worst, baseline's best value of the range), and that verdict decides; if the metric is unbounded
 * it is a fail. Pass: lower limit above the bound. Fail: upper limit below it.
 *
 * A pass is not believed (inconclusive) with fewer than 10 clusters; with fewer than 10 differing
 * pairs (clusters, where there are any), or with equal differences all over, unless Tango's limit
 * with every difference as a full flip passes too (for GATE_MIN and GATE_MAX: fewer than 10 samples
 * off the most frequent value, and Wilson's with every sample that is not at the good end as lost);
 * nor where losses are few and large, so that the score test with the variance under the bound
 * (weights of greatest empirical likelihood, Owen 1988; Tango's idea for any scores) denies it.
 * shapes  pairs->baseline is needed for GATE_LOSS and not looked at otherwise. */
GateOutcome gate_check(const GateCheck *check, const StatsPairs *pairs);
/**
 * Judge a metric by limits computed elsewhere (a bootstrap's at 2 * confidence - 1), of candidate -
 * baseline or of the value. Missing samples fail, since nothing can stand for them.
 * shapes  n units (samples or clusters); fewer than 10 are inconclusive. */
GateOutcome gate_check_limits(const GateCheck *check, Interval limits, size_t n, size_t n_missing);
/** An observed total against its budget: unknown (NaN) is over it. */
bool gate_budget(double observed, double limit);

/** "pass", "fail", "inconclusive". */
const char *gate_verdict_word(GateVerdict verdict);
const char *gate_reason_words(GateReason reason);
