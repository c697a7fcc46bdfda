// SPDX-License-Identifier: MIT
// Inside compare: what one side's scores say of each of its samples, in columns.
#pragma once

#include "results/read_internal.h"

#include "results/compare.h"

#define NOT_APPLIED UINT8_MAX // as a SampleState: the grader has no row of the sample

/** A sample as one side has it. */
typedef struct Gathered {
    Str id;
    Hash hash;
    uint64_t cluster; // hash of its name; 0: none
    uint32_t slices_from;
    uint32_t n_slices;
    bool errored;
} Gathered;

/** A scored sample of which some epochs have no score: its value had these been the end of the
 * range that is asked for. */
typedef struct Partial {
    uint32_t at;
    double value;
} Partial;

/** One metric: (n) values, in the order of the samples. */
typedef struct ValueColumn {
    double *x;
    double *w;
    uint8_t *state;
    Partial *partials; // ascending
    size_t n_partials;
    size_t partials_cap;
} ValueColumn;

/** All samples of one side, sorted by (part, sample id). */
typedef struct Gathering {
    Arena *arena; // of the ids
    Scan scan;
    bool is_base;
    int64_t epochs; // planned, of the current run
    Gathered *samples;
    size_t n;
    size_t cap;
    uint32_t *slices; // of the scan
    size_t n_slices;
    size_t slices_cap;
    ValueColumn *columns; // (scan.n_gauges)
    size_t *part_from;    // (n_parts + 1)
    ScanMetric *metrics;
    size_t n_metrics;
} Gathering;

/** Whether samples of a run have clusters: then *out becomes true, else it stays. */
bool run_is_clustered(Results *results, int64_t run_id, bool *out, Err *err);
/**
 * Read the runs of one side, in the order of its parts; NULL where it lacks one. side->arena
 * and side->is_base are set before. clustered: on either side.
 * owns   metrics in arena; ids in side->arena; the rest until gathering_finish. */
bool gather(Results *results, Arena *arena, const RunInfo *const *runs, size_t n_parts,
            bool clustered, Gathering *side, Err *err);
void gathering_finish(Gathering *side);
