// SPDX-License-Identifier: MIT
// Numbers against expected ones, with the line of the table's row they come from: 1e-9 relative or
// 1e-12 absolute. The published vectors and who tests them (test_stats*.c, function under test):
//   special               stats: normal, t, ibeta; binary: log_gamma
//   mean_se, mean_se_2    stats: mean, mean_clustered; tests: mean_normal, clustered (CR0 CR1
//   Miller) clustered_degenerate  stats: mean_clustered; tests: clustered paired, rank tests:
//   paired, welch, covariance, pearson, spearman resample              tests: epochs, epochs_stderr
//   power                 plan: plan_n, plan_effect, plan_variance, plan_n_binary
//   proportion_ci95       binary: wilson, clopper_pearson, jeffreys (Wald's are not offered)
//   bootstrap_exhaustive  bootstrap: bootstrap_given, bca; rng: base's generator, bootstrap
//   mcnemar               binary: mcnemar; paired_binary_ci: tango (Wald's are not offered)
//   multiple              plan: holm, benjamini_hochberg (Bonferroni's are not offered)
//   pass_at_k             epochs: pass_at, pass_all (the biased form is not offered)
//   noninferiority        tests: margin; gate_rule: gate_check, with its safeguards
//   sequential            plan: mixture_radius, looks_error (to 1e-4); binary: mcnemar's evidence
//   kappa                 plan: agreement; calibration: ece, mce, brier, log_loss
//   drift                 drift: psi, jensen_shannon, ks, wasserstein
#pragma once

#include "../tap.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static inline void near_within(int line, const char *what, double got, double want, double relative)
{
    bool same = got == want || (isnan(got) && isnan(want));
    if (!same && !(fabs(got - want) <= fmax(relative * fabs(want), 1e-12))) {
        tap_checks_failed++;
        printf("# line %d: %s: got %.17g, want %.17g\n", line, what, got, want);
    }
}

static inline void near(int line, const char *what, double got, double want)
{
    near_within(line, what, got, want, 1e-9);
}
