// SPDX-License-Identifier: MIT
// replay/EXPERIMENT as a model: what it may answer.
#pragma once

#include "cli/cli.h"
#include "run/run.h"

/**
 * Whether what the models found so far (cli_model) that are replay/EXPERIMENT recorded answers
 * these evals: replies of one variant are none of another, whose prompts they have not seen. Warns
 * of another seed. in     variant: the only one that is run; "" all. fails  ERR_USAGE, which says
 * what is recorded. */
bool cli_recorded_check(Cli *cli, const RunTarget *targets, size_t n, Str variant, uint64_t seed,
                        Err *err);
