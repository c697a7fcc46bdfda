// SPDX-License-Identifier: MIT
// Inside the reading half: the connection and its statements, and scores streamed into sums.
#pragma once

#include "results/db_internal.h"
#include "results/metric_internal.h"
#include "results/store_internal.h"

typedef enum ReadSql {
#define X(name, sql) READ_SQL_##name,
#include "results/read_sql.def"
#undef X
    READ_SQL_COUNT
} ReadSql;

struct Results {
    Arena arena;
    const char *path;
    Db db;
    ResultsCustomMetric *custom;
    void *custom_ctx;
};

/** A run as read, with what its scan needs. */
typedef struct RunRead {
    RunInfo info;
    MetricSpec *metrics;
    size_t n_metrics;
    bool has_clusters;
} RunRead;

/** What a scan covers. */
typedef enum ScanMode {
    SCAN_RUN,      // one run
    SCAN_PARTS,    // the parts of an eval, one after the other
    SCAN_VARIANTS, // all variants of each part: only `worst` is computed
} ScanMode;

/** One metric of one grader while scores stream by. */
typedef struct Gauge Gauge;

/** Scores of the current sample by one grader. */
typedef struct GraderShots {
    Str name;
    Shot *shots;
    size_t n;
    size_t cap;
} GraderShots;

/** A slice: a metadata key with one of its values. */
typedef struct Slice {
    Str name;   // "source=x"
    size_t key; // position among the keys
} Slice;

/**
 * Scores of one or several runs on their way to metrics. Memory grows with graders, slices and
 * clusters; with samples only for the metrics that need it. */
typedef struct Scan {
    Arena arena;
    Arena sample_arena; // of the current sample
    Results *results;
    ScanMode mode;
    bool clustered;
    bool several_epochs;
    bool needs_texts; // answers, targets, metadata: the longer query
    bool needs_confidence;
    bool needs_classes;
    bool needs_samples; // of custom metrics
    Gauge *gauges;
    size_t n_gauges;
    GraderShots *graders;
    size_t n_graders;
    size_t last_grader;
    // Slices:
    const Str *slice_keys;
    size_t n_slice_keys;
    Interner slice_numbers;
    Slice *slices;
    size_t n_slices;
    size_t *slices_of_key; // how many values each key has
    // The current sample:
    Str sample_id;
    Str part_name;
    Value metadata;
    Str target; // the first
    bool has_target;
    bool has_cluster;
    Str cluster_name;
    uint32_t cluster;
    uint32_t *sample_slices; // (n_slice_keys) at most
    size_t n_sample_slices;
    // Numbers:
    size_t n_variants; // that the parts of SCAN_VARIANTS have
    uint32_t part;
    uint32_t n_samples;
    Interner cluster_numbers;
    uint32_t n_clusters;
    Interner class_numbers;
    int64_t n_unscored; // scores
} Scan;

void scan_init(Scan *scan, Results *results, ScanMode mode, const MetricSpec *specs, size_t n_specs,
               bool clustered);
void scan_finish(Scan *scan);
/** Add a run's scores to the current part. */
bool scan_run(Scan *scan, const RunRead *run, Err *err);
/** The runs of one part are all there. */
void scan_part_end(Scan *scan);

typedef struct ScanMetric {
    MetricRow row;
    bool average_parts;
    int64_t n_parts; // that have a value; 0 unless average_parts
} ScanMetric;

/**
 * The metrics over what was scanned, each followed by its slices.
 * owns   *out in arena. */
size_t scan_metrics(Scan *scan, Arena *arena, ScanMetric **out);

/** The runs of an experiment in canonical order: eval, part, variant, model. No totals, no metrics.
 */
bool runs_read_sorted(Results *results, Arena *arena, int64_t experiment_id, RunRead **out,
                      size_t *out_n, Err *err);
