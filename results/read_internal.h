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
typedef struct Scan Scan;

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

/** Told of every sample that a scan comes by, then of its value by each metric that applies. */
typedef struct ScanSink {
    void (*sample)(void *ctx, const Scan *scan);
    /** sample NULL: unscored; x is NaN for metrics that have no value of one sample. */
    void (*value)(void *ctx, size_t gauge, const Reduced *sample, const GraderShots *shots);
    void *ctx;
} ScanSink;

/**
 * Scores of one or several runs on their way to metrics. Memory grows with graders, slices and
 * clusters; with samples only for the metrics that need it. */
struct Scan {
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
    // For a sink, with which attempts that have no scores are read too:
    const ScanSink *sink; // or NULL
    Hash sample_hash;
    bool sample_errored; // an attempt of it ended in an error
};

void scan_init(Scan *scan, Results *results, ScanMode mode, const MetricSpec *specs, size_t n_specs,
               bool clustered);
void scan_finish(Scan *scan);
/** Add a run's scores to the current part. */
bool scan_run(Scan *scan, const RunRead *run, Err *err);
/** The runs of one part are all there. */
void scan_part_end(Scan *scan);

typedef struct ScanMetric {
    MetricRow row;
    size_t gauge;
    size_t slice; // number; STR_NONE: all samples
    double low;   // range of a sample's value, as metric_range tells
    double high;
    bool average_parts;
    int64_t n_parts; // that have a value; 0 unless average_parts
} ScanMetric;

/**
 * The metrics over what was scanned, each followed by its slices.
 * owns   *out in arena. */
size_t scan_metrics(Scan *scan, Arena *arena, ScanMetric **out);

/** What gauge number `at` measures. */
const TallyAsk *scan_gauge(const Scan *scan, size_t at);

/** A run's metrics, into its info. */
bool run_metrics(Results *results, Arena *arena, RunRead *run, Err *err);
/**
 * The metrics over the parts of one eval, variant and model; at least one run.
 * owns   *out in arena. */
bool parts_metrics(Results *results, Arena *arena, const RunRead *const *runs, size_t n,
                   ScanMetric **out, size_t *out_n, Err *err);
/** Counts, usage, seconds and cost of a run, from its rows. */
bool run_totals(Results *results, RunInfo *info, Err *err);
/** The runs of an experiment in canonical order: eval, part, variant, model. No totals, no metrics.
 */
bool runs_read_sorted(Results *results, Arena *arena, int64_t experiment_id, RunRead **out,
                      size_t *out_n, Err *err);
