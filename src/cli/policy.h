// SPDX-License-Identifier: MIT
// Policies on the command line, for gate and promote.
#pragma once

#include "cli/cli.h"

#include "results/gate.h"

/**
 * The policy that a word stands for: the name of a gate in the registry, a gate's file, an eval's
 * file (its own gate); "" : the own gates of the candidate's evals, as they were when they ran.
 * fails  ERR_NOT_FOUND with did-you-mean; ERR_CONFIG (faults are printed); ERR_USAGE when there is
 *        none, or none of its checks. */
bool cli_policy(Cli *cli, Results *results, Str word, const Selector *candidate, GatePolicy *out,
                Err *err);
