// SPDX-License-Identifier: MIT
// Inside the reading half: the connection and its statements, and scores streamed into sums.
#pragma once

#include "results/db_internal.h"
#include "results/stats_internal.h"
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
};

/** A cluster's name, hashed, and its number. */
typedef struct ClusterSlot {
    uint64_t hash; // 0: free
    uint32_t number;
} ClusterSlot;

/** What is known of one grader while its scores stream by. */
typedef struct GraderScan {
    Str name;
    bool not_boolean; // some score was not declared true or false
    // The current sample, over its epochs:
    int64_t n_epochs;
    double sum_w;
    double sum_wx;
    // Samples:
    StatsMoments all;
    StatsMoments part; // of the current part
    Interval *parts;   // finished parts that have samples
    int64_t *part_sizes;
    size_t n_parts;
    // Clusters, only when there are any:
    StatsCell *cells;
    size_t n_cells;
    size_t cells_cap;
    uint32_t *cell_of_cluster; // newest cell + 1
    size_t n_cell_of_cluster;
} GraderScan;

/** Sums over one run, or over all parts of an eval one after the other. */
typedef struct Scan {
    Arena arena;
    GraderScan *graders;
    size_t n_graders;
    size_t last_grader;
    bool clustered; // set before the first run: some run has clusters
    bool several_epochs;
    uint32_t part;    // number of the current part
    uint32_t cluster; // of the current sample
    ClusterSlot *clusters;
    size_t n_slots;
    size_t n_named_clusters;
    uint32_t n_clusters;
    int64_t n_unscored;
} Scan;

void scan_init(Scan *scan);
void scan_finish(Scan *scan);
/** Add a run's scores as the next part. clustered: this run has clusters. */
bool scan_run(Results *results, Scan *scan, int64_t run_id, int64_t epochs, bool clustered,
              Err *err);

typedef struct ScanMetric {
    MetricRow row;
    bool average_parts;
    int64_t n_parts; // that have a value
} ScanMetric;

/**
 * The metrics asked for, over what was scanned; across: over parts, where averages are meant.
 * owns   *out in arena. */
size_t scan_metrics(Scan *scan, Arena *arena, const MetricSpec *specs, size_t n_specs, bool across,
                    ScanMetric **out);

/** A run as read, with what its scan needs. */
typedef struct RunRead {
    RunInfo info;
    MetricSpec *metrics;
    size_t n_metrics;
    bool has_clusters;
} RunRead;

/** The runs of an experiment in canonical order: eval, part, variant, model. No totals, no metrics.
 */
bool runs_read_sorted(Results *results, Arena *arena, int64_t experiment_id, RunRead **out,
                      size_t *out_n, Err *err);
