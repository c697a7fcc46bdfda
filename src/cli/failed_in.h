// SPDX-License-Identifier: MIT
// run --failed-in: the samples of an earlier experiment that have to be looked at again.
#pragma once

#include "cli/cli.h"
#include "run/run.h"

/** What --failed-in comes to. */
typedef struct FailedIn {
    const RunSampleIds *parts; // for RunConfig.among
    size_t n;
    Value origin;  // {word, name, id} of the experiment: for the provenance
    bool recorded; // they are those of an experiment to go on with, good for nothing else
} FailedIn;

/**
 * The samples of the targets of which an experiment has an attempt that failed as `muster show
 * --failed` means it. When the run is to be resumed, what was begun with the same word says what it
 * took, so that the command that began it goes on with it, though `latest` is another one by now:
 * the experiment of that name, or an unfinished one of the same settings, evals and models. Whether
 * that one can be resumed is seen when the run begins; if not, find again without recorded.
 * config    all of it but `among`.
 * recorded  look for what was recorded first; only with config->resume.
 * fails  ERR_NOT_FOUND when there is no such experiment; ERR_USAGE when it has no run of an eval,
 * or no failed attempt. */
bool failed_in_find(Cli *cli, Str word, const RunConfig *config, bool recorded, FailedIn *out,
                    Err *err);
