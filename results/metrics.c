// SPDX-License-Identifier: MIT
// From score rows to metrics, one row at a time: epochs of a sample to their mean, samples to a
// value with its error. Memory grows with graders and clusters, not with samples.
#include "results/read_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIDENCE 0.95

// ---- What is asked for --------------------------------------------------------------------------

static bool metric_parse(Arena *arena, const Value *value, MetricSpec *out, Err *err)
{
    out->use = value_get_str(value, "use", STR_EMPTY);
    out->of = value_get_str(value, "of", STR_EMPTY);
    Str average = value_get_str(value, "average", STR_EMPTY);
    Str over = value_get_str(value, "over", STR_EMPTY);
    const Value *graders = value_get_c(value, "graders");
    if (!str_eq(out->use, STR("accuracy")) && !str_eq(out->use, STR("mean"))) {
        return ERR_SET(err, ERR_UNSUPPORTED, "metric '" STR_FMT "' is not supported yet",
                       STR_ARG(out->use));
    }
    if (over.len > 0) {
        return ERR_SET(err, ERR_UNSUPPORTED,
                       "metric '" STR_FMT "' over '" STR_FMT "' is not supported yet",
                       STR_ARG(out->use), STR_ARG(over));
    }
    if (average.len > 0 && !str_eq(average, STR("parts"))) {
        return ERR_SET(err, ERR_CONFIG,
                       "metric '" STR_FMT "': average is 'parts', not '" STR_FMT "'",
                       STR_ARG(out->use), STR_ARG(average));
    }
    out->average_parts = average.len > 0;
    out->n_graders = graders != NULL && graders->kind == VALUE_LIST ? graders->as.list.n : 0;
    Str *names = ARENA_ARRAY(arena, Str, out->n_graders);
    bool of_known = out->of.len == 0;
    for (size_t i = 0; i < out->n_graders; i++) {
        const Value *name = &graders->as.list.items[i];
        names[i] = name->kind == VALUE_STR ? name->as.str : STR_EMPTY;
        of_known |= str_eq(names[i], out->of);
    }
    out->graders = names;
    if (!of_known) {
        return ERR_SET(err, ERR_CONFIG, "metric '" STR_FMT "': there is no grader '" STR_FMT "'",
                       STR_ARG(out->use), STR_ARG(out->of));
    }
    return true;
}

bool metrics_parse(Arena *arena, const Value *metrics, MetricSpec **out, size_t *out_n, Err *err)
{
    size_t n = metrics->kind == VALUE_LIST ? metrics->as.list.n : 0;
    if (metrics->kind != VALUE_LIST && metrics->kind != VALUE_NULL) {
        return ERR_SET(err, ERR_CONFIG, "metrics are a list, not %s", value_kind_word(metrics));
    }
    *out = ARENA_ARRAY(arena, MetricSpec, n);
    *out_n = n;
    for (size_t i = 0; i < n; i++) {
        if (!metric_parse(arena, &metrics->as.list.items[i], &(*out)[i], err)) {
            return false;
        }
    }
    return true;
}

// ---- Scanning the scores of runs ----------------------------------------------------------------

void scan_init(Scan *scan)
{
    *scan = (Scan){.cluster = UINT32_MAX};
}

void scan_finish(Scan *scan)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        mem_free(scan->graders[i].cells);
        mem_free(scan->graders[i].cell_of_cluster);
        mem_free(scan->graders[i].parts);
        mem_free(scan->graders[i].part_sizes);
    }
    mem_free(scan->graders);
    mem_free(scan->clusters);
    arena_finish(&scan->arena);
}

static GraderScan *grader_of(Scan *scan, Str name)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        size_t at = (scan->last_grader + i) % scan->n_graders; // rows repeat the graders in order
        if (str_eq(scan->graders[at].name, name)) {
            scan->last_grader = at + 1;
            return &scan->graders[at];
        }
    }
    scan->graders = mem_realloc(scan->graders, scan->n_graders + 1, sizeof(*scan->graders));
    GraderScan *grader = &scan->graders[scan->n_graders++];
    *grader = (GraderScan){.name = str_copy(&scan->arena, name)};
    scan->last_grader = scan->n_graders;
    return grader;
}

static void clusters_grow(Scan *scan)
{
    size_t n_slots = scan->n_slots == 0 ? 256 : scan->n_slots * 2;
    ClusterSlot *slots = mem_zalloc(n_slots, sizeof(*slots));
    for (size_t i = 0; i < scan->n_slots; i++) {
        if (scan->clusters[i].hash != 0) {
            size_t at = scan->clusters[i].hash & (n_slots - 1);
            while (slots[at].hash != 0) {
                at = (at + 1) & (n_slots - 1);
            }
            slots[at] = scan->clusters[i];
        }
    }
    mem_free(scan->clusters);
    scan->clusters = slots;
    scan->n_slots = n_slots;
}

/** The number of a cluster; a sample without one is a cluster of its own. */
static uint32_t cluster_number(Scan *scan, bool has_cluster, Str cluster)
{
    if (!has_cluster) {
        return scan->n_clusters++;
    }
    if (scan->n_named_clusters + 1 > scan->n_slots / 4 * 3) {
        clusters_grow(scan);
    }
    uint64_t hash = rng_mix(hash_fast(cluster.data, cluster.len)) | 1;
    size_t at = hash & (scan->n_slots - 1);
    while (scan->clusters[at].hash != 0) {
        if (scan->clusters[at].hash == hash) {
            return scan->clusters[at].number;
        }
        at = (at + 1) & (scan->n_slots - 1);
    }
    scan->clusters[at] = (ClusterSlot){.hash = hash, .number = scan->n_clusters};
    scan->n_named_clusters++;
    return scan->n_clusters++;
}

/** The cell of (cluster, current part), made when it is new. */
static StatsCell *cell_of(GraderScan *grader, uint32_t cluster, uint32_t part)
{
    if (cluster >= grader->n_cell_of_cluster) {
        size_t n = grader->n_cell_of_cluster == 0 ? 64 : grader->n_cell_of_cluster;
        while (n <= cluster) {
            n *= 2;
        }
        grader->cell_of_cluster =
            mem_realloc(grader->cell_of_cluster, n, sizeof(*grader->cell_of_cluster));
        memset(grader->cell_of_cluster + grader->n_cell_of_cluster, 0,
               (n - grader->n_cell_of_cluster) * sizeof(*grader->cell_of_cluster));
        grader->n_cell_of_cluster = n;
    }
    uint32_t at = grader->cell_of_cluster[cluster];
    if (at != 0 && grader->cells[at - 1].part == part) {
        return &grader->cells[at - 1];
    }
    if (grader->n_cells == grader->cells_cap) {
        grader->cells_cap = grader->cells_cap == 0 ? 64 : grader->cells_cap * 2;
        grader->cells = mem_realloc(grader->cells, grader->cells_cap, sizeof(*grader->cells));
    }
    grader->cells[grader->n_cells++] = (StatsCell){.cluster = cluster, .part = part};
    grader->cell_of_cluster[cluster] = (uint32_t)grader->n_cells;
    return &grader->cells[grader->n_cells - 1];
}

/** Bring the current sample's epochs into the sums of each grader. */
static void sample_end(Scan *scan)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        GraderScan *grader = &scan->graders[i];
        if (grader->n_epochs == 0) {
            continue;
        }
        double w = grader->sum_w / (double)grader->n_epochs;
        double x = grader->sum_wx / grader->sum_w;
        stats_moments_add(&grader->all, x, w);
        stats_moments_add(&grader->part, x, w);
        if (scan->clustered) {
            StatsCell *cell = cell_of(grader, scan->cluster, scan->part);
            cell->y += w * (x - grader->all.shift);
            cell->w += w;
            cell->n++;
        }
        grader->n_epochs = 0;
        grader->sum_w = 0;
        grader->sum_wx = 0;
    }
}

static void score_add(Scan *scan, sqlite3_stmt *row)
{
    GraderScan *grader = grader_of(scan, column_str(row, 2));
    if (column_is_null(row, 3)) {
        scan->n_unscored++;
        return;
    }
    double w = column_f64(row, 5);
    grader->n_epochs++;
    grader->sum_w += w;
    grader->sum_wx += w * column_f64(row, 3);
    grader->not_boolean |= column_i64(row, 4) == 0;
}

static void part_end(Scan *scan)
{
    for (size_t i = 0; i < scan->n_graders; i++) {
        GraderScan *grader = &scan->graders[i];
        if (grader->part.n > 0) {
            grader->parts = mem_realloc(grader->parts, grader->n_parts + 1, sizeof(*grader->parts));
            grader->part_sizes =
                mem_realloc(grader->part_sizes, grader->n_parts + 1, sizeof(*grader->part_sizes));
            grader->parts[grader->n_parts] = stats_moments_interval(&grader->part, CONFIDENCE);
            grader->part_sizes[grader->n_parts++] = grader->part.n;
        }
        grader->part = (StatsMoments){0};
    }
    scan->part++;
}

bool scan_run(Results *results, Scan *scan, int64_t run_id, int64_t epochs, bool clustered,
              Err *err)
{
    int index = clustered ? READ_SQL_SCORES_CLUSTERED : READ_SQL_SCORES;
    sqlite3_stmt *row = db_statement(&results->db, index);
    bind_i64(row, 1, run_id);
    scan->several_epochs |= epochs != 1;
    Buf sample = {0}; // id of the current sample
    bool any = false;
    for (;;) {
        bool more;
        if (!db_step(&results->db, index, &more, err)) {
            buf_finish(&sample);
            return false;
        }
        if (!more) {
            break;
        }
        Str id = column_str(row, 0);
        if (!any || !str_eq(id, buf_view(&sample))) {
            sample_end(scan);
            buf_clear(&sample);
            buf_str(&sample, id);
            any = true;
            if (scan->clustered) {
                scan->cluster =
                    clustered ? cluster_number(scan, !column_is_null(row, 6), column_str(row, 6))
                              : cluster_number(scan, false, STR_EMPTY);
            }
        }
        score_add(scan, row);
    }
    sample_end(scan);
    part_end(scan);
    buf_finish(&sample);
    return true;
}

// ---- Metrics ------------------------------------------------------------------------------------

static int compare_cells(const void *a, const void *b)
{
    const StatsCell *left = a;
    const StatsCell *right = b;
    if (left->cluster != right->cluster) {
        return left->cluster < right->cluster ? -1 : 1;
    }
    return left->part < right->part ? -1 : left->part > right->part;
}

/** The jackknife over a grader's cells, as one part or by parts. */
static Interval cells_interval(Scan *scan, const GraderScan *grader, bool by_parts,
                               int64_t *out_clusters)
{
    StatsCell *cells = mem_alloc(grader->n_cells + 1, sizeof(*cells));
    if (grader->n_cells > 0) {
        memcpy(cells, grader->cells, grader->n_cells * sizeof(*cells));
    }
    qsort(cells, grader->n_cells, sizeof(*cells), compare_cells);
    size_t n = 0;
    size_t n_clusters = 0;
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < grader->n_cells; i++) {
        StatsCell cell = cells[i];
        cell.part = by_parts ? cell.part : 0;
        bool same_cluster = cell.cluster == last;
        last = cell.cluster;
        n_clusters += !same_cluster;
        cell.cluster = (uint32_t)n_clusters - 1;
        if (same_cluster && cells[n - 1].part == cell.part) {
            cells[n - 1].y += cell.y;
            cells[n - 1].w += cell.w;
            cells[n - 1].n += cell.n;
        } else {
            cells[n++] = cell;
        }
    }
    *out_clusters = (int64_t)n_clusters;
    Interval interval =
        stats_cells_interval(&scan->arena, cells, n, n_clusters, by_parts ? scan->part : 1,
                             grader->all.shift, CONFIDENCE);
    mem_free(cells);
    return interval;
}

/** Whether every sample counts as one thing that is right or wrong. */
static bool is_proportion(const Scan *scan, const GraderScan *grader)
{
    return !scan->several_epochs && !grader->not_boolean && !grader->all.weighted &&
           !grader->all.not_binary && grader->all.n > 0;
}

static void metric_interval(Scan *scan, const GraderScan *grader, bool average_parts,
                            MetricRow *out)
{
    Interval interval;
    out->n = grader->all.n;
    if (scan->clustered && grader->all.n > 0) {
        interval = cells_interval(scan, grader, average_parts, &out->n_clusters);
        out->method = STR("jackknife");
    } else if (average_parts) {
        interval = stats_average(grader->parts, grader->part_sizes, grader->n_parts, CONFIDENCE);
        out->method = STR("t");
    } else if (is_proportion(scan, grader)) {
        interval = stats_wilson(grader->all.n_ones, grader->all.n, CONFIDENCE);
        out->method = STR("wilson");
    } else {
        interval = stats_moments_interval(&grader->all, CONFIDENCE);
        out->method = grader->all.weighted ? STR("delta") : STR("t");
    }
    if (isnan(interval.low)) {
        out->method = STR("none");
    }
    out->value = interval.value;
    out->stderr_ = interval.stderr_;
    out->low = interval.low;
    out->high = interval.high;
}

static const GraderScan *grader_named(const Scan *scan, Str name)
{
    static const GraderScan none = {0}; // declared, but nothing was scored
    for (size_t i = 0; i < scan->n_graders; i++) {
        if (str_eq(scan->graders[i].name, name)) {
            return &scan->graders[i];
        }
    }
    return &none;
}

size_t scan_metrics(Scan *scan, Arena *arena, const MetricSpec *specs, size_t n_specs, bool across,
                    ScanMetric **out)
{
    size_t cap = 0;
    for (size_t i = 0; i < n_specs; i++) {
        cap += specs[i].n_graders;
    }
    ScanMetric *metrics = ARENA_ARRAY(arena, ScanMetric, cap);
    size_t n = 0;
    for (size_t i = 0; i < n_specs; i++) {
        for (size_t j = 0; j < specs[i].n_graders; j++) {
            Str grader = specs[i].graders[j];
            if (specs[i].of.len > 0 && !str_eq(specs[i].of, grader)) {
                continue;
            }
            bool average = across && specs[i].average_parts;
            Str name =
                str_printf(arena, STR_FMT "." STR_FMT, STR_ARG(grader), STR_ARG(specs[i].use));
            size_t same = 0;
            while (same < n && !(str_eq(metrics[same].row.name, name) &&
                                 metrics[same].average_parts == average)) {
                same++;
            }
            if (same < n) {
                continue; // within one run, an average over parts is the plain metric
            }
            const GraderScan *found = grader_named(scan, grader);
            metrics[n].row.name = name;
            metrics[n].average_parts = average;
            metrics[n].n_parts = (int64_t)found->n_parts;
            metric_interval(scan, found, average, &metrics[n].row);
            n++;
        }
    }
    *out = metrics;
    return n;
}
