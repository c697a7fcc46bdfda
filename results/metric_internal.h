// SPDX-License-Identifier: MIT
// Inside the metrics: what an eval asks for, the epochs of a sample as one number, samples as sums
// or rows, and estimates from them. Streams where a metric is a mean; keeps rows only for the
// metrics that need all of them at once (metrics.def). No SQL here.
#pragma once

#include "results/results.h"
#include "results/stats_internal.h"

// ---- What is asked for (metric_spec.c) ----------------------------------------------------------

typedef enum MetricKind {
#define X(kind, name, lower_is_better, needs_rows, needs_k) METRIC_##kind,
#include "results/metrics.def"
#undef X
} MetricKind;

/** One row of metrics.def. */
typedef struct MetricInfo {
    const char *name;
    bool lower_is_better;
    bool needs_rows;
    bool needs_k;
} MetricInfo;

const MetricInfo *metric_info(MetricKind kind);

typedef struct GraderSpec {
    Str name;
    Str use;
    double low; // range of its scores; infinite where there is no bound, or none is known
    double high;
    bool lower_is_better;
} GraderSpec;

/** One map of RunSpec.metrics. */
typedef struct MetricSpec {
    MetricKind kind;
    Str use;
    Str label; // what follows the grader's name: use, with k and min where they are given
    Str of;    // "" every grader
    bool average_parts;
    bool lower_is_better; // of a custom metric
    int64_t k;
    double min; // an epoch passes from this score on
    const GraderSpec *graders;
    size_t n_graders;
    const Str *slices; // metadata keys
    size_t n_slices;
    const Str *variants; // that `worst` looks at; none given: those of the experiment
    size_t n_variants;
    Str lua; // text of a custom metric
    Str file;
    Value params;
} MetricSpec;

/** Whether smaller values of this metric are the better ones. */
bool metric_lower_is_better(const MetricSpec *spec, const GraderSpec *grader);
/**
 * The range of a sample's value before it is scaled (bits, sum): infinite where there is no bound.
 * weighted: some weight is not 1. */
void metric_range(const MetricSpec *spec, const GraderSpec *grader, bool weighted, double *out_low,
                  double *out_high);
/** RunSpec.metrics as specs. fails ERR_CONFIG, ERR_UNSUPPORTED for what results.h does not have. */
bool metrics_parse(Arena *arena, const Value *metrics, MetricSpec **out, size_t *out_n, Err *err);

// ---- Epochs of a sample to one number (reduce.c) ------------------------------------------------

/** One epoch's score by one grader. */
typedef struct Shot {
    bool scored;
    bool is_boolean;
    bool has_answer;
    double value;
    double weight;
    double confidence; // probability of the picked choice; NaN: unknown
    Str answer;
    Str label; // the answer as a class: of a choice's letter the choice's text
} Shot;

typedef struct Reduced {
    double x;
    double w;
    bool is_boolean; // by construction 0 or 1, not by chance
} Reduced;

/** false: unscored. Unscored epochs are left out; fewer than k are too few. */
bool shots_reduce(const MetricSpec *spec, const Shot *shots, size_t n, Reduced *out);

// ---- Names as numbers (intern.c) ----------------------------------------------------------------

/** A name, hashed, and its number. */
typedef struct InternSlot {
    uint64_t hash; // 0: free
    uint32_t number;
} InternSlot;

/** Equal names, equal numbers; only hashes are kept. Zeroed is valid. */
typedef struct Interner {
    InternSlot *slots;
    size_t n_slots;
    size_t n;
} Interner;

/** The number of a name; a new one gets next, and *out_new says so. */
uint32_t intern(Interner *interner, Str name, uint32_t next, bool *out_new);
void interner_finish(Interner *interner);

// ---- Rows, for metrics that need all of them at once (rows.c) -----------------------------------

/** One epoch of one sample; of a custom metric, one sample. */
typedef struct Row {
    uint32_t unit;  // its cluster, or its sample where there are none: what is resampled
    uint32_t truth; // class of the target
    uint32_t answer;
    double confidence;
    double value;
    const Value *sample; // what a custom metric is given
} Row;

typedef struct RowsAsk {
    const MetricSpec *spec;
    ResultsCustomMetric *custom; // NULL: nobody can run it
    void *ctx;
    double confidence;
} RowsAsk;

/**
 * The statistic of rows with its error: BCa bootstrap over units, or where these are many, and for
 * custom metrics, the delete-a-group jackknife.
 * owns  *out_why in arena: why there is no value or no error, when a custom metric fails. */
Interval rows_interval(const RowsAsk *ask, const Row *rows, size_t n, Arena *arena, Str *out_method,
                       Str *out_why);

// ---- Samples to an estimate (tally.c) -----------------------------------------------------------

/** What one metric of one grader knows of the samples so far, all or those of one slice. */
typedef struct Tally {
    int64_t n; // samples that count
    int64_t n_unscored;
    bool not_boolean; // some value was not declared right or wrong
    bool weighted;
    // Streams:
    StatsMoments all;
    StatsMoments part; // of the current part
    // Clusters, only when there are any:
    StatsCell *cells;
    size_t n_cells;
    size_t cells_cap;
    size_t part_cells;         // where the current part's start
    uint32_t *cell_of_cluster; // newest cell + 1
    size_t n_cell_of_cluster;
    // Rows:
    Row *rows;
    size_t n_rows;
    size_t rows_cap;
    size_t part_rows;
    int64_t part_n;
    int64_t n_parts_scored; // finished parts that have samples
    // Those parts, in the metric's own unit, when they are averaged:
    Interval *parts;
    int64_t *part_sizes;
    size_t n_parts;
} Tally;

/** How a tally is read. */
typedef struct TallyAsk {
    const MetricSpec *spec;
    const GraderSpec *grader;
    bool clustered;
    bool average_parts;
    bool several_epochs;
    uint32_t n_parts;
    ResultsCustomMetric *custom;
    void *ctx;
} TallyAsk;

/** Add a sample. cluster matters when clustered; part is the current part's number. */
void tally_add(Tally *tally, const TallyAsk *ask, const Reduced *sample, uint32_t cluster,
               uint32_t part);
void tally_add_row(Tally *tally, const Row *row);
void tally_part_end(Tally *tally, const TallyAsk *ask, Arena *arena);
/** Fill in all members of out but name and slice. */
void tally_metric(const Tally *tally, const TallyAsk *ask, Arena *arena, MetricRow *out);
void tally_finish(Tally *tally);
