// SPDX-License-Identifier: MIT
// What rescore.c (which samples, which experiment) and rescore_attempt.c (one attempt) share.
#pragma once

#include "run/run_internal.h"

/** One part x variant with its runs, one a model. */
typedef struct RescoreCell {
    Task *task;
    const Eval *eval;
    const size_t *runs; // indices into the config's
    size_t n_runs;
    bool *selected; // (n_graders) those that are applied
} RescoreCell;

typedef struct Rescore {
    const RescoreConfig *config;
    Arena *arena;
    uint64_t seed; // of the experiment
    RescoreCell *cells;
    size_t n_cells;
    Store *store;
    ExperimentOpen experiment;
    Arena scratch; // one sample
    RescoreOutcome *out;
    int64_t started_ns;
    int64_t shown_ns;
    // The sample at work:
    const RescoreCell *cell;
    const RunInfo *run;
    int64_t run_id;       // of the new experiment
    const Sample *sample; // NULL: it can not be rendered
    int64_t n_seen;       // attempts of it in this run
    Err err;              // of storing
} Rescore;

/** AttemptVisit: score one stored attempt anew and queue it. ctx is the Rescore. */
bool rescore_attempt(void *ctx, const AttemptInfo *attempt);
