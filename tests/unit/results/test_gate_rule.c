// SPDX-License-Identifier: MIT
// The rule of a gate check: vectors, every safeguard, what is missing, and error rates by a short
// simulation (tests/bench/calibration.c is the long one).
#include "results/gate_rule.h"

#include "stats_check.h"

#define N_MAX 1200

static double candidate[N_MAX];
static double baseline[N_MAX];
static uint32_t cluster[N_MAX];

static GateCheck loss_check(double bound)
{
    return (GateCheck){.kind = GATE_LOSS,
                       .mode = GATE_REGRESSION,
                       .bound = bound,
                       .confidence = 0.95,
                       .detect = NAN,
                       .low = 0,
                       .high = 1};
}

/** n pairs: the first `better` gained, the next `worse` lost, by size; the rest equal. */
static StatsPairs pairs_of(size_t n, size_t better, size_t worse, double size, bool binary)
{
    for (size_t i = 0; i < n; i++) {
        candidate[i] = i < better ? size : i < better + worse ? 0 : (double)(i % 2);
        baseline[i] = i < better ? 0 : i < better + worse ? size : (double)(i % 2);
    }
    return (StatsPairs){.candidate = candidate, .baseline = baseline, .n = n, .binary = binary};
}

static void check_outcome(int line, GateOutcome got, GateVerdict verdict, GateReason reason,
                          bool ok)
{
    if (got.verdict != verdict || got.reason != reason || got.ok != ok) {
        tap_checks_failed++;
        printf("# line %d: %s (%s), %s; limits %g %g, effect %g\n", line,
               gate_verdict_word(got.verdict), gate_reason_words(got.reason),
               got.ok ? "ok" : "not ok", got.limits.low, got.limits.high, got.effect);
    }
}

/** Pairs with exactly these differences. */
static StatsPairs pairs_differing(const double *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        candidate[i] = fmax(0, d[i]);
        baseline[i] = fmax(0, -d[i]);
    }
    return (StatsPairs){.candidate = candidate, .baseline = baseline, .n = n};
}

static void test_vectors__with_the_safeguards(void)
{
    static const double equal[6] = {0};
    static const double one[] = {-0.5};
    static const double close[] = {-0.02, 0,    0.01, -0.01, 0,     0.02, -0.01, 0,     0.01, 0,
                                   -0.02, 0.01, 0,    0,     -0.01, 0.01, 0,     -0.01, 0.02, 0};
    static const double worse[] = {-0.1, -0.05, -0.08, 0, -0.12, -0.06, -0.09, -0.03, -0.07, -0.1};
    static const double noisy[] = {-1, 0, 0, 1, 0, -1, 0, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 0};
    static const struct {
        int line;
        const double *d;
        size_t n;
        GateVerdict verdict;
        GateReason reason;
        bool ok;
        double low, high, p;
    } cases[] = {
        {__LINE__, equal, 6, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER, false, 0, 0, 0},
        {__LINE__, one, 1, GATE_INCONCLUSIVE, GATE_REASON_ONE_UNIT, false, NAN, NAN, NAN},
        {__LINE__, close, 20, GATE_PASS, GATE_REASON_LIMITS, true, -0.0043455242163667925,
         0.0043455242163667925, 9.056633602266101e-08},
        {__LINE__, worse, 10, GATE_FAIL, GATE_REASON_LIMITS, false, -0.09098983237498155,
         -0.04901016762501843, 0.9990970848943838},
        {__LINE__, noisy, 20, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false, -0.24735091898633216,
         0.14735091898633218, 0.6022529132795218},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        GateCheck check = loss_check(0.02);
        StatsPairs pairs = pairs_differing(cases[i].d, cases[i].n);
        GateOutcome got = gate_check(&check, &pairs);
        check_outcome(cases[i].line, got, cases[i].verdict, cases[i].reason, cases[i].ok);
        near(cases[i].line, "low", got.limits.low, cases[i].low);
        near(cases[i].line, "high", got.limits.high, cases[i].high);
        near(cases[i].line, "p", got.margin_p, cases[i].p);
        CHECK(got.too_few == (cases[i].verdict == GATE_INCONCLUSIVE));
    }
}

static void test_flips__believed_only_through_tango(void)
{
    // z^2 (1-m) / m = 132.6 pairs without a difference show a loss of at most 0.02.
    static const struct {
        int line;
        size_t n, better, worse;
        double size;
        GateVerdict verdict;
        GateReason reason;
        bool ok;
    } cases[] = {
        {__LINE__, 132, 0, 0, 1, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER, true},
        {__LINE__, 133, 0, 0, 1, GATE_PASS, GATE_REASON_LIMITS, true},
        {__LINE__, 50, 0, 0, 1, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER, false},
        {__LINE__, 50, 0, 3, 1, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false},
        {__LINE__, 50, 0, 6, 1, GATE_FAIL, GATE_REASON_LIMITS, false},
        {__LINE__, 400, 5, 4, 1, GATE_PASS, GATE_REASON_LIMITS, true},
        // Nine small losses are shown by t but not as flips; ten are believed.
        {__LINE__, 400, 0, 9, 0.01, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER, true},
        {__LINE__, 400, 0, 10, 0.01, GATE_PASS, GATE_REASON_LIMITS, true},
        // All equal: zero error is no proof, a gain is.
        {__LINE__, 100, 0, 100, 0.01, GATE_INCONCLUSIVE, GATE_REASON_ALL_EQUAL, false},
        {__LINE__, 100, 100, 0, 0.01, GATE_PASS, GATE_REASON_LIMITS, true},
        {__LINE__, 100, 0, 100, 0.05, GATE_FAIL, GATE_REASON_LIMITS, false},
        // Few and large: t says -0.0189, the score test does not agree.
        {__LINE__, 1000, 0, 13, 1, GATE_INCONCLUSIVE, GATE_REASON_SKEWED, true},
        {__LINE__, 1000, 0, 12, 1, GATE_PASS, GATE_REASON_LIMITS, true},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        GateCheck check = loss_check(0.02);
        StatsPairs pairs =
            pairs_of(cases[i].n, cases[i].better, cases[i].worse, cases[i].size, false);
        GateOutcome got = gate_check(&check, &pairs);
        check_outcome(cases[i].line, got, cases[i].verdict, cases[i].reason, cases[i].ok);
        // A wider range makes a full flip larger, hence the safeguard stricter, never laxer.
        check.high = 5;
        check.detect = 0.1;
        GateVerdict wide = gate_check(&check, &pairs).verdict;
        CHECK(wide == got.verdict || wide == GATE_INCONCLUSIVE);
    }
}

static void test_binary__verdict_follows_tango(void)
{
    GateCheck check = loss_check(0.02);
    for (size_t n = 20; n <= 1000; n += 140) {
        for (size_t better = 0; better < n / 4; better += 1 + n / 20) {
            for (size_t worse = 0; worse < n / 3; worse += 1 + n / 25) {
                StatsPairs pairs = pairs_of(n, better, worse, 1, true);
                GateOutcome got = gate_check(&check, &pairs);
                Interval tango = stats_tango((int64_t)better, (int64_t)worse, (int64_t)n, 0.9);
                // Nor may a loss of 10 points be possible, at one in 20,000.
                Interval far = stats_tango((int64_t)better, (int64_t)worse, (int64_t)n, 1 - 1e-4);
                bool pass = tango.low > -0.02 && far.low > -0.1;
                GateVerdict want = pass                 ? GATE_PASS
                                   : tango.high < -0.02 ? GATE_FAIL
                                                        : GATE_INCONCLUSIVE;
                CHECK(got.verdict == want && got.method == STATS_TANGO);
                CHECK(got.limits.low == tango.low && got.limits.high == tango.high);
                CHECK(got.n_better == better && got.n_worse == worse);
                CHECK(got.ok == (want == GATE_PASS ||
                                 (want == GATE_INCONCLUSIVE && 0.02 + got.effect <= 0.1)));
            }
        }
    }
}

static void test_inconclusive__by_mode_and_detect(void)
{
    GateCheck check = loss_check(0.02);
    StatsPairs pairs = pairs_of(400, 20, 24, 1, true); // differs in 11 %: error about 0.017
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_SPANS, true);
    CHECK(!got.too_few && got.detect == 0.1 && 0.02 + got.effect <= 0.1);
    check.mode = GATE_NONINFERIORITY;
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false);
    CHECK(!got.too_few);
    check.mode = GATE_REGRESSION;
    check.detect = 0.05; // stricter than the sample can see
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false);
    CHECK(got.too_few && got.n_detect > 400);
    check.detect = 0.02; // no number of samples separates the margin from itself
    CHECK(isinf(gate_check(&check, &pairs).n_detect));
    // The verdict words of research item 11: 1391 samples at an error of 0.3 / sqrt(n).
    check = loss_check(0.02);
    for (size_t i = 0; i < 200; i++) {
        double d = 0.3 * sqrt(199.0 / 200);
        candidate[i] = 0.5 + (i % 2 == 0 ? d / 2 : -d / 2);
        baseline[i] = 1 - candidate[i];
    }
    pairs = (StatsPairs){.candidate = candidate, .baseline = baseline, .n = 200};
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_SPANS, true);
    near(__LINE__, "n", got.n_decide, 1391.0753772044466);
    near_within(__LINE__, "effect", got.effect, 0.0527460970538, 0.005); // by t, not z
    near(__LINE__, "n to detect", got.n_detect, 1391.0753772044466 / 16);
}

static void test_effect__is_seen_with_power(void)
{
    // By enumeration: losses only, n flips at the effect that the gate names fail in about 80 %.
    static const size_t sizes[] = {60, 93, 200, 500};
    GateCheck check = loss_check(0.02);
    for (size_t k = 0; k < N_OF(sizes); k++) {
        StatsPairs pairs = pairs_of(sizes[k], 0, 0, 1, true);
        GateOutcome got = gate_check(&check, &pairs);
        double loss = 0.02 + got.effect;
        double power = 0;
        for (int64_t c = 0; c <= (int64_t)sizes[k]; c++) {
            if (stats_tango(0, c, (int64_t)sizes[k], 0.9).high < -0.02) {
                power += stats_binomial_pmf(c, (int64_t)sizes[k], loss);
            }
        }
        CHECK(power > 0.75 && power < 0.96);
        // And n_detect is where that effect is what detect asks.
        check.detect = loss;
        near(__LINE__, "n", gate_check(&check, &pairs).n_detect, (double)sizes[k]);
        check.detect = NAN;
    }
    StatsPairs pairs = pairs_of(60, 0, 0, 1, true);
    near(__LINE__, "n to decide", gate_check(&check, &pairs).n_decide,
         pow(stats_normal_quantile(0.95), 2) * 0.98 / 0.02);
}

static void test_clusters__at_least_ten(void)
{
    GateCheck check = loss_check(0.02);
    for (size_t n_clusters = 8; n_clusters <= 12; n_clusters++) {
        size_t n = n_clusters * 20;
        for (size_t i = 0; i < n; i++) {
            cluster[i] = (uint32_t)(i / 20);
            // Each cluster has gains and losses of 0.3, an equal number or one more of either.
            size_t gains = 5 + cluster[i] % 3;
            candidate[i] = i % 20 < gains ? 0.8 : i % 20 < 11 ? 0.2 : 0.5;
            baseline[i] = 0.5;
        }
        StatsPairs pairs = {.candidate = candidate,
                            .baseline = baseline,
                            .cluster = cluster,
                            .n_clusters = n_clusters,
                            .n = n};
        GateOutcome got = gate_check(&check, &pairs);
        GateVerdict want = n_clusters < 10 ? GATE_INCONCLUSIVE : GATE_PASS;
        check_outcome(__LINE__, got, want,
                      n_clusters < 10 ? GATE_REASON_FEW_CLUSTERS : GATE_REASON_LIMITS, true);
        CHECK(got.n_clusters == n_clusters && got.method == STATS_JACKKNIFE);
        // A loss that the limits prove is not excused by there being few clusters.
        for (size_t i = 0; i < n; i++) {
            candidate[i] = baseline[i] - 0.3 - 0.001 * cluster[i];
        }
        got = gate_check(&check, &pairs);
        CHECK(got.verdict == (n_clusters < 10 ? GATE_INCONCLUSIVE : GATE_FAIL) && !got.ok);
    }
}

static void test_clusters__that_differ_are_counted(void)
{
    // 400 samples in 40 clusters; all 20 differences in two clusters: not 20 pairs of evidence.
    GateCheck check = loss_check(0.02);
    StatsPairs pairs = pairs_of(400, 0, 0, 1, true);
    for (size_t i = 0; i < 400; i++) {
        cluster[i] = (uint32_t)(i / 10);
        candidate[i] = i < 10 ? 1 : i < 20 ? 0 : candidate[i];
        baseline[i] = i < 10 ? 0 : i < 20 ? 1 : baseline[i];
    }
    pairs.cluster = cluster;
    pairs.n_clusters = 40;
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false);
    // Without any difference it takes 133 clusters, not 133 samples.
    static double same[1400];
    static uint32_t tens[1400];
    for (size_t i = 0; i < 1400; i++) {
        tens[i] = (uint32_t)(i / 10);
    }
    pairs = (StatsPairs){.candidate = same, .baseline = same, .cluster = tens};
    pairs.n = 1320;
    pairs.n_clusters = 132;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER,
                  true);
    pairs.n = 1330;
    pairs.n_clusters = 133;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_PASS, GATE_REASON_LIMITS, true);
}

static void test_missing__the_worst_decides(void)
{
    GateCheck check = loss_check(0.02);
    StatsPairs pairs = pairs_of(200, 0, 0, 1, true);
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    // Ten right answers lost: 5 % of the samples, a loss of 5 points at worst.
    for (size_t i = 0; i < 20; i++) {
        candidate[i] = baseline[i] == 1 ? (double)NAN : candidate[i];
    }
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_FAIL, GATE_REASON_MISSING, false);
    CHECK(got.observed == GATE_PASS && got.n_missing == 10 && got.n_worse == 10);
    near(__LINE__, "low", got.limits.low, stats_tango(0, 10, 200, 0.9).low);
    // Ten wrong answers lost: nothing was to be lost there.
    pairs = pairs_of(200, 0, 0, 1, true);
    for (size_t i = 0; i < 20; i++) {
        candidate[i] = baseline[i] == 0 ? (double)NAN : candidate[i];
    }
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    CHECK(got.n_missing == 10 && got.n_worse == 0);
    // Lost on the baseline's side: it may have been right.
    pairs = pairs_of(200, 0, 0, 1, true);
    for (size_t i = 0; i < 20; i++) {
        baseline[i] = candidate[i] == 0 ? (double)NAN : baseline[i];
    }
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_FAIL, GATE_REASON_MISSING, false);
    CHECK(got.n_worse == 10);
    // On both sides: the whole range; where lower is better the ends change places.
    for (int lower = 0; lower < 2; lower++) {
        pairs = pairs_of(100, 0, 0, 1, false);
        check.lower_is_better = lower == 1;
        candidate[0] = baseline[0] = NAN;
        got = gate_check(&check, &pairs);
        near(__LINE__, "value", got.limits.value, -0.01);
        CHECK_INT(got.n_missing, 1);
        CHECK_INT(got.n_worse, 1);
    }
}

static void test_missing__what_is_no_score(void)
{
    static const double no_scores[] = {NAN, INFINITY, -INFINITY, 1.5, -0.1};
    for (size_t k = 0; k < N_OF(no_scores); k++) {
        GateCheck check = loss_check(0.02);
        StatsPairs pairs = pairs_of(200, 0, 0, 1, true);
        candidate[1] = no_scores[k];
        GateOutcome got = gate_check(&check, &pairs);
        CHECK(got.n_missing == 1 && got.n_worse == 1 && got.method == STATS_TANGO);
    }
    GateCheck check = loss_check(0.02);
    StatsPairs pairs = pairs_of(200, 0, 0, 1, true);
    candidate[1] = 1 + 1e-12; // rounding is not out of range
    CHECK(gate_check(&check, &pairs).n_missing == 0);
    pairs.n = 0;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_EMPTY, false);
    // All missing: worst against best, in every pair.
    pairs = pairs_of(50, 0, 0, 1, true);
    for (size_t i = 0; i < 50; i++) {
        candidate[i] = NAN;
        baseline[i] = NAN;
    }
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_FAIL, GATE_REASON_MISSING, false);
    CHECK(got.n_missing == 50 && got.limits.value == -1);
}

static StatsPairs unbounded_pairs(size_t n, size_t n_differing, double by)
{
    for (size_t i = 0; i < n; i++) {
        baseline[i] = 3 + (double)(i % 7);
        candidate[i] = baseline[i] + (i < n_differing ? by + 0.01 * (double)(i % 5) : 0);
    }
    return (StatsPairs){.candidate = candidate, .baseline = baseline, .n = n};
}

static void test_unbounded__metrics(void)
{
    GateCheck check = loss_check(0.1);
    check.low = -INFINITY;
    check.high = INFINITY;
    check.lower_is_better = true;
    check.detect = 0.3;
    StatsPairs pairs = unbounded_pairs(100, 50, -0.02);
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_PASS, GATE_REASON_LIMITS, true);
    near(__LINE__, "signed", gate_check(&check, &pairs).limits.value, 0);
    pairs = unbounded_pairs(100, 100, 0.5);
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_LIMITS, false);
    pairs = unbounded_pairs(100, 9, 0.01);
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_INCONCLUSIVE,
                  GATE_REASON_FEW_DIFFER_UNBOUNDED, true);
    pairs = unbounded_pairs(100, 0, 0);
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_INCONCLUSIVE,
                  GATE_REASON_FEW_DIFFER_UNBOUNDED, true);
    pairs = unbounded_pairs(58, 0, 0); // a change of 5 % of the samples might not have shown
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER_UNBOUNDED, false);
    CHECK(got.too_few && got.n_detect == 59);
    pairs = unbounded_pairs(100, 0, 0);
    check.detect = NAN; // has no default without a range
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER_UNBOUNDED, false);
    CHECK(isnan(got.detect) && got.too_few);
    pairs = unbounded_pairs(100, 50, -0.02);
    candidate[3] = NAN;
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_FAIL, GATE_REASON_MISSING_UNBOUNDED, false);
    CHECK_INT(got.n_missing, 1);
    // One finite end is no range.
    check.low = 0;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_MISSING_UNBOUNDED,
                  false);
    // Perplexity: exp of a mean loss, unbounded whatever the loss's range says.
    check = loss_check(1);
    check.detect = 3;
    pairs = unbounded_pairs(100, 50, -0.02);
    pairs.exponential = true;
    check.high = 20;
    check.lower_is_better = true;
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    CHECK(got.method == STATS_DELTA);
    candidate[3] = NAN;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_MISSING_UNBOUNDED,
                  false);
}

static void test_bounds__of_a_value(void)
{
    static const struct {
        int line;
        GateKind kind;
        double bound;
        size_t n, right, missing;
        GateVerdict verdict;
        GateReason reason;
        bool ok;
    } cases[] = {
        {__LINE__, GATE_MIN, 0.6, 500, 350, 0, GATE_PASS, GATE_REASON_LIMITS, true},
        {__LINE__, GATE_MIN, 0.7, 500, 350, 0, GATE_INCONCLUSIVE, GATE_REASON_SPANS, true},
        {__LINE__, GATE_MIN, 0.7, 50, 35, 0, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false},
        {__LINE__, GATE_MIN, 0.8, 500, 350, 0, GATE_FAIL, GATE_REASON_LIMITS, false},
        {__LINE__, GATE_MIN, 0.6, 500, 350, 150, GATE_PASS, GATE_REASON_LIMITS, true},
        {__LINE__, GATE_MIN, 0.6, 500, 350, 250, GATE_INCONCLUSIVE, GATE_REASON_MISSING, true},
        {__LINE__, GATE_MIN, 0.6, 500, 350, 300, GATE_FAIL, GATE_REASON_MISSING, false},
        {__LINE__, GATE_MAX, 0.8, 500, 350, 0, GATE_PASS, GATE_REASON_LIMITS, true},
        {__LINE__, GATE_MAX, 0.6, 500, 350, 0, GATE_FAIL, GATE_REASON_LIMITS, false},
        {__LINE__, GATE_MIN, 1, 500, 500, 0, GATE_INCONCLUSIVE, GATE_REASON_SPANS, true},
        {__LINE__, GATE_MIN, 1, 500, 499, 0, GATE_FAIL, GATE_REASON_LIMITS, false},
        {__LINE__, GATE_MAX, 0, 500, 0, 0, GATE_INCONCLUSIVE, GATE_REASON_SPANS, true},
        {__LINE__, GATE_MIN, 0.6, 1, 1, 0, GATE_INCONCLUSIVE, GATE_REASON_SPANS, false},
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        for (size_t k = 0; k < cases[i].n; k++) {
            candidate[k] = k < cases[i].right;
            // Half of the missing ones were right.
            bool gone = k >= cases[i].right - cases[i].missing / 2 &&
                        k < cases[i].right + cases[i].missing / 2 && cases[i].missing > 0;
            candidate[k] = gone ? (double)NAN : candidate[k];
        }
        GateCheck check = loss_check(0);
        check.kind = cases[i].kind;
        check.bound = cases[i].bound;
        StatsPairs pairs = {.candidate = candidate, .n = cases[i].n, .binary = true};
        GateOutcome got = gate_check(&check, &pairs);
        GateVerdict want = cases[i].verdict;
        if (cases[i].missing == 0) {
            check_outcome(cases[i].line, got, want, cases[i].reason, cases[i].ok);
            Interval wilson = stats_wilson((int64_t)cases[i].right, (int64_t)cases[i].n, 0.9);
            near(cases[i].line, "low", got.limits.low, wilson.low);
            near(cases[i].line, "high", got.limits.high, wilson.high);
            near(cases[i].line, "value", got.limits.value, wilson.value);
        } else {
            CHECK(got.n_missing == cases[i].missing);
            CHECK(got.limits.value < (double)cases[i].right / (double)cases[i].n);
        }
    }
}

static void test_bounds__of_graded_values(void)
{
    GateCheck check = loss_check(0);
    check.kind = GATE_MIN;
    check.bound = 0.65;
    for (size_t i = 0; i < 200; i++) {
        candidate[i] = 0.7 + 0.01 * (double)(i % 3);
    }
    StatsPairs pairs = {.candidate = candidate, .n = 200};
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_PASS, GATE_REASON_LIMITS, true);
    check.bound = 0.72;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_LIMITS, false);
    // All the same: no spread is no proof, unless it is the best value often enough.
    check.bound = 0.65;
    for (size_t i = 0; i < 200; i++) {
        candidate[i] = 0.7;
    }
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER,
                  true);
    for (size_t i = 0; i < 200; i++) {
        candidate[i] = i < 195 ? 1 : 0.3;
    }
    check.bound = 0.9; // Wilson's lower limit of 195 in 200 is 0.95
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_PASS, GATE_REASON_LIMITS, true);
    check.bound = 0.96; // t says 0.967
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER,
                  true);
    // A latency: unbounded, so that a missing one fails.
    check = (GateCheck){
        .kind = GATE_MAX, .bound = 10, .confidence = 0.95, .detect = 2, .low = 0, .high = INFINITY};
    pairs = unbounded_pairs(100, 0, 0); // 3 to 9, mean 6
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_PASS, GATE_REASON_LIMITS, true);
    CHECK(gate_check(&check, &pairs).limits.low < gate_check(&check, &pairs).limits.high);
    candidate[5] = NAN;
    check_outcome(__LINE__, gate_check(&check, &pairs), GATE_FAIL, GATE_REASON_MISSING_UNBOUNDED,
                  false);
}

static void test_weights__and_parts(void)
{
    GateCheck check = loss_check(0.02);
    static double weight[N_MAX];
    static uint32_t part[N_MAX];
    StatsPairs pairs = pairs_of(600, 30, 30, 0.2, false);
    for (size_t i = 0; i < 600; i++) {
        weight[i] = 1 + (double)(i % 3);
        part[i] = (uint32_t)(i % 2);
    }
    pairs.candidate_weight = weight;
    pairs.baseline_weight = weight;
    GateOutcome got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    CHECK(got.method == STATS_DELTA);
    weight[3] = NAN; // no weight, no value
    got = gate_check(&check, &pairs);
    CHECK(got.n_missing == 1 && isfinite(got.limits.value));
    weight[3] = 1;
    pairs.candidate_weight = pairs.baseline_weight = NULL;
    pairs.part = part;
    pairs.n_parts = 2;
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    // One heavy sample is not hidden by many light ones: its weight counts among the flips.
    pairs = pairs_of(600, 0, 0, 1, false);
    for (size_t i = 0; i < 600; i++) {
        weight[i] = i == 0 ? 600 : 1;
    }
    pairs.candidate_weight = weight;
    pairs.baseline_weight = weight;
    got = gate_check(&check, &pairs);
    check_outcome(__LINE__, got, GATE_INCONCLUSIVE, GATE_REASON_FEW_DIFFER, false);
}

static void test_limits__from_a_bootstrap(void)
{
    GateCheck check = loss_check(0.02);
    Interval limits = {.value = 0, .stderr_ = 0.005, .low = -0.01, .high = 0.01};
    check_outcome(__LINE__, gate_check_limits(&check, limits, 300, 0), GATE_PASS,
                  GATE_REASON_LIMITS, true);
    check_outcome(__LINE__, gate_check_limits(&check, limits, 9, 0), GATE_INCONCLUSIVE,
                  GATE_REASON_FEW_CLUSTERS, true);
    check_outcome(__LINE__, gate_check_limits(&check, limits, 300, 1), GATE_FAIL,
                  GATE_REASON_MISSING_UNBOUNDED, false);
    check_outcome(__LINE__, gate_check_limits(&check, limits, 0, 0), GATE_FAIL, GATE_REASON_EMPTY,
                  false);
    limits = (Interval){.value = 0.05, .stderr_ = 0.01, .low = 0.03, .high = 0.07};
    check.lower_is_better = true;
    check_outcome(__LINE__, gate_check_limits(&check, limits, 300, 0), GATE_FAIL,
                  GATE_REASON_LIMITS, false);
    check.kind = GATE_MAX;
    check.bound = 0.08;
    GateOutcome got = gate_check_limits(&check, limits, 300, 0);
    check_outcome(__LINE__, got, GATE_PASS, GATE_REASON_LIMITS, true);
    near(__LINE__, "low", got.limits.low, 0.03);
    limits = (Interval){.value = 0.05, .stderr_ = NAN, .low = NAN, .high = NAN};
    got = gate_check_limits(&check, limits, 300, 0);
    CHECK(got.verdict == GATE_INCONCLUSIVE && !got.ok);
    limits = (Interval){.value = 0.05, .stderr_ = 0, .low = 0.05, .high = 0.05};
    CHECK(gate_check_limits(&check, limits, 300, 0).verdict == GATE_INCONCLUSIVE);
    CHECK(gate_budget(1, 1) && !gate_budget(1.01, 1) && !gate_budget(NAN, 1));
}

typedef struct Rates {
    double pass;
    double fail;
    double excused; // a loss that exits 0 without having passed
} Rates;

static Rates rates_of(Rng *rng, size_t n, double loss, bool binary, double unparsable)
{
    Rates rates = {0};
    const int n_simulations = 3000;
    GateCheck check = loss_check(0.02);
    for (int s = 0; s < n_simulations; s++) {
        for (size_t i = 0; i < n; i++) {
            double u = rng_real(rng);
            if (binary) {
                double discordant = 0.2;
                bool right = rng_real(rng) < 0.7;
                baseline[i] = u < (discordant + loss) / 2 ? 1 : u < discordant ? 0 : right;
                candidate[i] = u < (discordant + loss) / 2 ? 0 : u < discordant ? 1 : right;
            } else {
                double ability = 0.3 + 0.4 * u;
                baseline[i] = ability + 0.5 * (rng_real(rng) - 0.5);
                candidate[i] = ability - loss + 0.5 * (rng_real(rng) - 0.5);
            }
            if (unparsable > 0 && rng_real(rng) < unparsable) {
                candidate[i] = NAN;
            }
        }
        StatsPairs pairs = {.candidate = candidate, .baseline = baseline, .n = n, .binary = binary};
        GateOutcome got = gate_check(&check, &pairs);
        rates.pass += got.verdict == GATE_PASS;
        rates.fail += got.verdict == GATE_FAIL;
        rates.excused += got.ok && got.verdict != GATE_PASS;
    }
    rates.pass /= n_simulations;
    rates.fail /= n_simulations;
    rates.excused /= n_simulations;
    return rates;
}

static void test_rates__by_simulation(void)
{
    Rng rng;
    rng_init(&rng, 11);
    // At the margin itself either proof is an error: 0.05 each, within 3 standard errors.
    for (int binary = 0; binary < 2; binary++) {
        Rates at = rates_of(&rng, 200, 0.02, binary == 1, 0);
        CHECK(fabs(at.pass - 0.05) < 0.012 && fabs(at.fail - 0.05) < 0.012);
        Rates missing = rates_of(&rng, 200, 0.02, binary == 1, 0.05);
        CHECK(missing.pass < 0.02);
        Rates ten = rates_of(&rng, 50, 0.1, binary == 1, 0);
        CHECK(ten.pass < 0.001 && ten.excused < 0.2); // at most 1e-4: 3 in 3,000 is a bug
    }
}

int main(void)
{
    tap_run("vectors: with the safeguards", test_vectors__with_the_safeguards);
    tap_run("flips: believed only through Tango", test_flips__believed_only_through_tango);
    tap_run("binary: verdict follows Tango", test_binary__verdict_follows_tango);
    tap_run("inconclusive: by mode and detect", test_inconclusive__by_mode_and_detect);
    tap_run("effect: is seen with power", test_effect__is_seen_with_power);
    tap_run("clusters: at least ten", test_clusters__at_least_ten);
    tap_run("clusters: that differ are counted", test_clusters__that_differ_are_counted);
    tap_run("missing: the worst decides", test_missing__the_worst_decides);
    tap_run("missing: what is no score", test_missing__what_is_no_score);
    tap_run("unbounded: metrics", test_unbounded__metrics);
    tap_run("bounds: of a value", test_bounds__of_a_value);
    tap_run("bounds: of graded values", test_bounds__of_graded_values);
    tap_run("weights: and parts", test_weights__and_parts);
    tap_run("limits: from a bootstrap", test_limits__from_a_bootstrap);
    tap_run("rates: by simulation", test_rates__by_simulation);
    return tap_done();
}
