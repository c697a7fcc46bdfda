// SPDX-License-Identifier: MIT
// How often our error bars and gates err, by simulation: gate_errors [SIMULATIONS [SEED]]. Prints
// one line a case: what is measured, the rate, what it should be. A case beyond its bound is marked
// and the exit status is 1. The default of 20,000 simulations takes about two minutes.
#include "base/base.h"
#include "results/gate_rule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_MAX 2000

static Rng rng;
static int n_simulations = 20000;
static int n_beyond;
static double candidate[N_MAX];
static double baseline[N_MAX];
static uint32_t cluster[N_MAX];

static double normal(void)
{
    double radius = sqrt(-2 * log(1 - rng_real(&rng)));
    return radius * cos(2 * M_PI * rng_real(&rng));
}

static bool chance(double p)
{
    return rng_real(&rng) < p;
}

static void report(const char *what, double rate, double low, double high)
{
    bool beyond = !(rate >= low && rate <= high);
    n_beyond += beyond;
    printf("%-78s %.4f  [%.3f, %.3f]%s\n", what, rate, low, high, beyond ? "  BEYOND" : "");
    fflush(stdout);
}

// ---- Pairs of scores with a known mean difference -----------------------------------------------

/** Fill one pair whose expected difference is -loss. */
typedef void DrawPair(double loss, double *a, double *b);

static void draw_graded(double loss, double *a, double *b)
{
    double ability = 0.3 + 0.4 * rng_real(&rng);
    *a = ability - loss + 0.5 * (rng_real(&rng) - 0.5);
    *b = ability + 0.5 * (rng_real(&rng) - 0.5);
}

static void draw_flips(double loss, double discordant, double *a, double *b)
{
    double u = rng_real(&rng);
    *b = chance(0.7);
    *a = *b;
    if (u < (discordant + loss) / 2) {
        *a = 0;
        *b = 1;
    } else if (u < discordant) {
        *a = 1;
        *b = 0;
    }
}

static void draw_binary(double loss, double *a, double *b)
{
    draw_flips(loss, 0.2, a, b);
}

static void draw_binary_few(double loss, double *a, double *b)
{
    draw_flips(loss, 0.1, a, b);
}

static void draw_sparse(double loss, double *a, double *b)
{
    draw_flips(loss, loss + 0.01, a, b);
}

static void draw_losses(double loss, double *a, double *b)
{
    draw_flips(loss, loss, a, b);
}

static void draw_partial_losses(double loss, double *a, double *b)
{
    *b = 1;
    *a = chance(2 * loss) ? rng_real(&rng) : 1;
}

/** Small gains nearly everywhere, and a few complete losses that outweigh them. */
static void draw_rare_disasters(double loss, double *a, double *b)
{
    const double gain = 0.01;
    *b = 0.9;
    *a = chance((loss + gain) / (0.9 + gain)) ? 0 : 0.9 + gain;
}

static void draw_all(DrawPair *draw, double loss, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        draw(loss, &candidate[i], &baseline[i]);
    }
}

// ---- Tests between equal runs -------------------------------------------------------------------

static double rejection(DrawPair *draw, size_t n, bool binary)
{
    int rejected = 0;
    for (int s = 0; s < n_simulations; s++) {
        draw_all(draw, 0, n);
        StatsPairs pairs = {.candidate = candidate, .baseline = baseline, .n = n, .binary = binary};
        Interval got = stats_estimate(&pairs, 0.95).interval;
        rejected += got.low > 0 || got.high < 0;
    }
    return (double)rejected / n_simulations;
}

static void run_tests(void)
{
    static const size_t sizes[] = {50, 200, 1000};
    char what[160];
    for (size_t k = 0; k < 3; k++) {
        size_t n = sizes[k];
        snprintf(what, sizeof(what), "A/A rejections at 0.05: t, graded, n %zu", n);
        report(what, rejection(draw_graded, n, false), 0.04, 0.06);
        snprintf(what, sizeof(what), "A/A rejections: t on 0/1 scores, discordance 0.2, n %zu", n);
        report(what, rejection(draw_binary, n, false), 0.04, 0.06);
        snprintf(what, sizeof(what), "A/A rejections: t on 0/1 scores, discordance 0.1, n %zu", n);
        report(what, rejection(draw_binary_few, n, false), 0.04, 0.06);
        snprintf(what, sizeof(what), "A/A rejections: Tango, discordance 0.1, n %zu", n);
        report(what, rejection(draw_binary_few, n, true), n == 50 ? 0.03 : 0.04, 0.06);
        snprintf(what, sizeof(what), "A/A rejections: Tango, discordance 0.2, n %zu", n);
        report(what, rejection(draw_binary, n, true), n == 50 ? 0.03 : 0.04, 0.06);
        int exact = 0;
        int mid = 0;
        for (int s = 0; s < n_simulations; s++) {
            int64_t b = 0;
            int64_t c = 0;
            draw_all(draw_binary, 0, n);
            for (size_t i = 0; i < n; i++) {
                b += candidate[i] > baseline[i];
                c += candidate[i] < baseline[i];
            }
            StatsMcNemar got = stats_mcnemar(b, c);
            exact += got.p_exact <= 0.05;
            mid += got.p_mid <= 0.05;
        }
        snprintf(what, sizeof(what), "A/A rejections: McNemar exact, n %zu", n);
        report(what, (double)exact / n_simulations, 0, 0.05);
        snprintf(what, sizeof(what), "A/A rejections: McNemar mid-p, n %zu", n);
        report(what, (double)mid / n_simulations, 0, 0.06);
    }
}

/** G clusters, of one size or by Zipf's law. Returns the number of samples. */
static size_t clusters_fill(size_t n_clusters, bool zipf)
{
    size_t n = 0;
    for (size_t g = 0; g < n_clusters; g++) {
        size_t size = zipf ? (size_t)fmax(1, floor(60.0 / (double)(g + 1))) : 8;
        for (size_t i = 0; i < size; i++) {
            cluster[n++] = (uint32_t)g;
        }
    }
    return n;
}

static void run_clusters(void)
{
    static const size_t groups[] = {10, 20, 50};
    char what[160];
    for (size_t k = 0; k < 6; k++) {
        size_t n_clusters = groups[k / 2];
        bool zipf = k % 2 == 1;
        size_t n = clusters_fill(n_clusters, zipf);
        int rejected = 0;
        int cr1 = 0;
        for (int s = 0; s < n_simulations; s++) {
            double effect = 0;
            for (size_t i = 0; i < n; i++) {
                if (i == 0 || cluster[i] != cluster[i - 1]) {
                    effect = normal() * sqrt(0.3);
                }
                candidate[i] = effect + normal() * sqrt(0.7);
            }
            Interval got = stats_mean_clustered(candidate, cluster, n, n_clusters, 0.95);
            rejected += got.low > 0 || got.high < 0;
            got = stats_clustered(candidate, cluster, n, n_clusters, 0.95).cr1;
            cr1 += got.low > 0 || got.high < 0;
        }
        snprintf(what, sizeof(what), "A/A rejections: jackknife, %zu clusters, %s (CR1: %.4f)",
                 n_clusters, zipf ? "Zipf" : "equal", (double)cr1 / n_simulations);
        report(what, (double)rejected / n_simulations, 0.035, 0.065);
    }
}

static void run_coverage(void)
{
    static const size_t sizes[] = {20, 50, 200, 1000};
    char what[160];
    for (size_t k = 0; k < 4; k++) {
        size_t n = sizes[k];
        int covered = 0;
        for (int s = 0; s < n_simulations; s++) {
            draw_all(draw_graded, 0, n);
            Interval got = stats_mean(candidate, n, 0.95);
            covered += got.low <= 0.5 && 0.5 <= got.high;
        }
        snprintf(what, sizeof(what), "coverage of t intervals, graded, n %zu", n);
        report(what, (double)covered / n_simulations, 0.94, 0.96);
        double mean = 0;
        double least = 1;
        for (int g = 1; g < 100; g++) {
            double p = g / 100.0;
            double at = 0;
            for (int64_t right = 0; right <= (int64_t)n; right++) {
                Interval wilson = stats_wilson(right, (int64_t)n, 0.95);
                if (wilson.low <= p && p <= wilson.high) {
                    at += stats_binomial_pmf(right, (int64_t)n, p);
                }
            }
            mean += at / 99;
            least = fmin(least, at);
        }
        snprintf(what, sizeof(what), "coverage of Wilson over p, exact, n %zu (least %.4f)", n,
                 least);
        report(what, mean, 0.94, 0.97);
    }
}

// ---- Gates --------------------------------------------------------------------------------------

typedef struct Rates {
    double pass;
    double fail;
    double ok;
    double skewed; // would pass but for the score test
} Rates;

static Rates gates(DrawPair *draw, double loss, size_t n, bool binary, double margin,
                   double unparsable)
{
    GateCheck check = {.kind = GATE_LOSS,
                       .mode = GATE_REGRESSION,
                       .bound = margin,
                       .confidence = 0.95,
                       .detect = NAN,
                       .low = 0,
                       .high = 1};
    Rates rates = {0};
    for (int s = 0; s < n_simulations; s++) {
        draw_all(draw, loss, n);
        for (size_t i = 0; i < n && unparsable > 0; i++) {
            candidate[i] = chance(unparsable) ? (double)NAN : candidate[i];
        }
        StatsPairs pairs = {.candidate = candidate, .baseline = baseline, .n = n, .binary = binary};
        GateOutcome got = gate_check(&check, &pairs);
        rates.pass += got.verdict == GATE_PASS;
        rates.fail += got.verdict == GATE_FAIL;
        rates.ok += got.ok;
        rates.skewed += got.reason == GATE_REASON_SKEWED;
    }
    rates.pass /= n_simulations;
    rates.fail /= n_simulations;
    rates.ok /= n_simulations;
    rates.skewed /= n_simulations;
    return rates;
}

static void run_gates(void)
{
    static const struct {
        const char *name;
        DrawPair *draw;
        bool binary;
        bool bounded; // what the rule promises; the rest is shown
    } cases[] = {
        {"graded", draw_graded, false, true},
        {"0/1", draw_binary, true, true},
        {"0/1 not declared", draw_binary, false, true},
        {"sparse 0/1", draw_sparse, true, true},
        {"sparse, not declared", draw_sparse, false, true},
        {"losses only 0/1", draw_losses, true, true},
        {"losses only, not declared", draw_losses, false, true},
        {"losses only, graded", draw_partial_losses, false, true},
        {"rare disasters (no promise)", draw_rare_disasters, false, false},
    };
    static const size_t sizes[] = {50, 200, 1000};
    char what[160];
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        double most = cases[c].bounded ? 0.06 : 1;
        for (size_t k = 0; k < 3; k++) {
            size_t n = sizes[k];
            Rates at = gates(cases[c].draw, 0.02, n, cases[c].binary, 0.02, 0);
            snprintf(what, sizeof(what), "gate at loss = margin: passes, %s, n %zu (+%.4f skewed)",
                     cases[c].name, n, at.skewed);
            report(what, at.pass, 0, most);
            report("  fails", at.fail, 0, cases[c].bounded ? 0.075 : 1);
            at = gates(cases[c].draw, 0.02, n, cases[c].binary, 0.02, 0.05);
            report("  passes with 5 % of the answers unparsable", at.pass, 0, most);
        }
        Rates ten = gates(cases[c].draw, 0.1, 50, cases[c].binary, 0.02, 0);
        snprintf(what, sizeof(what), "  passes of a 10-point loss, n 50 (fails %.4f, exits 0 %.4f)",
                 ten.fail, ten.ok);
        report(what, ten.pass, 0, cases[c].bounded ? 0.005 : 1);
        Rates same = gates(cases[c].draw, 0, 1000, cases[c].binary, 0.02, 0);
        snprintf(what, sizeof(what), "  passes of no loss, n 1000 (exits 0 %.4f)", same.ok);
        report(what, same.pass, 0, 1);
    }
}

/** Differences with a cluster effect, loss = margin. */
static void run_clustered_gates(void)
{
    static const size_t groups[] = {10, 20, 50};
    char what[160];
    for (size_t k = 0; k < 6; k++) {
        bool zipf = k % 2 == 1;
        size_t n = clusters_fill(groups[k / 2], zipf);
        GateCheck check = {.kind = GATE_LOSS,
                           .bound = 0.02,
                           .confidence = 0.95,
                           .detect = NAN,
                           .low = 0,
                           .high = 1};
        StatsPairs pairs = {.candidate = candidate,
                            .baseline = baseline,
                            .cluster = cluster,
                            .n_clusters = groups[k / 2],
                            .n = n};
        int passed = 0;
        int failed = 0;
        for (int s = 0; s < n_simulations; s++) {
            double effect = 0;
            for (size_t i = 0; i < n; i++) {
                if (i == 0 || cluster[i] != cluster[i - 1]) {
                    effect = 0.1 * (2 * rng_real(&rng) - 1);
                }
                baseline[i] = 0.5;
                candidate[i] = 0.48 + effect + 0.15 * (2 * rng_real(&rng) - 1);
            }
            GateVerdict verdict = gate_check(&check, &pairs).verdict;
            passed += verdict == GATE_PASS;
            failed += verdict == GATE_FAIL;
        }
        snprintf(what, sizeof(what), "gate at loss = margin: passes, %zu clusters, %s",
                 groups[k / 2], zipf ? "Zipf" : "equal");
        report(what, (double)passed / n_simulations, 0, 0.065);
        report("  fails", (double)failed / n_simulations, 0, 0.065);
    }
}

static void run_power(void)
{
    int paired = 0;
    int unpaired = 0;
    for (int s = 0; s < n_simulations; s++) {
        draw_all(draw_graded, 0.05, 100);
        paired += stats_paired(candidate, baseline, 100, 0.95).p < 0.05;
        unpaired += stats_welch(candidate, 100, baseline, 100, 0.95).p < 0.05;
    }
    printf("power at a loss of 0.05, n 100: paired %.3f, unpaired %.3f\n",
           (double)paired / n_simulations, (double)unpaired / n_simulations);
}

int main(int argc, char **argv)
{
    int64_t wanted = n_simulations;
    int64_t seed = 1;
    if ((argc > 1 && !str_to_i64(str_from_c(argv[1]), &wanted)) || wanted < 1 ||
        wanted > 10000000 || (argc > 2 && !str_to_i64(str_from_c(argv[2]), &seed))) {
        fprintf(stderr, "usage: gate_errors [SIMULATIONS [SEED]]\n");
        return 2;
    }
    n_simulations = (int)wanted;
    rng_init(&rng, (uint64_t)seed);
    run_tests();
    run_clusters();
    run_coverage();
    run_power();
    run_gates();
    run_clustered_gates();
    printf("%d beyond their bounds, of %d simulations a line\n", n_beyond, n_simulations);
    return n_beyond > 0;
}
