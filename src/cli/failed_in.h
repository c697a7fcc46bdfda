// SPDX-License-Identifier: MIT
// run --failed-in: the samples of an earlier experiment that have to be looked at again.
#pragma once

#include "cli/cli.h"
#include "run/run.h"

/** What --failed-in comes to. */
typedef struct FailedIn {
    const RunSampleIds *parts; // for RunConfig.among
    size_t n;
    Value origin; // {word, name, id} of the experiment: for the provenance
} FailedIn;

/**
 * The samples of the targets of which an experiment has an attempt that failed as `muster show
 * --failed` means it. When the run is to be resumed, an unfinished (or equally named) experiment
 * that was begun with the same word says what it took: the command that began it goes on with it,
 * though `latest` is another one by now.
 * name   of the new experiment, "" when none is given.
 * fails  ERR_NOT_FOUND when there is no such experiment; ERR_USAGE when it has no run of an eval,
 * or no failed attempt. */
bool failed_in_find(Cli *cli, Str word, const RunTarget *targets, size_t n_targets, bool resume,
                    Str name, FailedIn *out, Err *err);
