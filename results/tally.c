// SPDX-License-Identifier: MIT
// Samples as sums or rows, and from them a metric with its error. How an error is made, in the
// order tried: nothing varies: the bound of constant_interval; clusters: jackknife; a mean over
// parts: t by Satterthwaite; right or wrong: Wilson; weights: delta method; else t. Limits never
// leave the range of the scores.
#include "results/metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIDENCE 0.95

// ---- Adding -------------------------------------------------------------------------------------

/** The cell of (cluster, part), made when it is new. */
static StatsCell *cell_of(Tally *tally, uint32_t cluster, uint32_t part)
{
    if (cluster >= tally->n_cell_of_cluster) {
        size_t n = tally->n_cell_of_cluster == 0 ? 64 : tally->n_cell_of_cluster;
        while (n <= cluster) {
            n *= 2;
        }
        tally->cell_of_cluster =
            mem_realloc(tally->cell_of_cluster, n, sizeof(*tally->cell_of_cluster));
        memset(tally->cell_of_cluster + tally->n_cell_of_cluster, 0,
               (n - tally->n_cell_of_cluster) * sizeof(*tally->cell_of_cluster));
        tally->n_cell_of_cluster = n;
    }
    uint32_t at = tally->cell_of_cluster[cluster];
    if (at != 0 && tally->cells[at - 1].part == part) {
        return &tally->cells[at - 1];
    }
    if (tally->n_cells == tally->cells_cap) {
        tally->cells_cap = tally->cells_cap == 0 ? 64 : tally->cells_cap * 2;
        tally->cells = mem_realloc(tally->cells, tally->cells_cap, sizeof(*tally->cells));
    }
    tally->cells[tally->n_cells++] = (StatsCell){.cluster = cluster, .part = part};
    tally->cell_of_cluster[cluster] = (uint32_t)tally->n_cells;
    return &tally->cells[tally->n_cells - 1];
}

void tally_add(Tally *tally, const TallyAsk *ask, const Reduced *sample, uint32_t cluster,
               uint32_t part)
{
    double x = sample->x;
    double w = sample->w;
    tally->weighted |= w != 1;
    tally->not_boolean |= !sample->is_boolean;
    if (ask->spec->kind == METRIC_SUM) { // a mean of w * x, scaled up in the end
        x *= w;
        w = 1;
    }
    tally->n++;
    stats_moments_add(&tally->all, x, w);
    stats_moments_add(&tally->part, x, w);
    if (ask->clustered) {
        StatsCell *cell = cell_of(tally, cluster, part);
        cell->y += w * (x - tally->all.shift);
        cell->w += w;
        cell->n++;
    }
}

void tally_add_row(Tally *tally, const Row *row)
{
    if (tally->n_rows == tally->rows_cap) {
        tally->rows_cap = tally->rows_cap == 0 ? 64 : tally->rows_cap * 2;
        tally->rows = mem_realloc(tally->rows, tally->rows_cap, sizeof(*tally->rows));
    }
    tally->rows[tally->n_rows++] = *row;
}

void tally_finish(Tally *tally)
{
    mem_free(tally->cells);
    mem_free(tally->cell_of_cluster);
    mem_free(tally->rows);
    mem_free(tally->parts);
    mem_free(tally->part_sizes);
    *tally = (Tally){0};
}

// ---- Means --------------------------------------------------------------------------------------

static int compare_cells(const void *a, const void *b)
{
    const StatsCell *left = a;
    const StatsCell *right = b;
    if (left->cluster != right->cluster) {
        return left->cluster < right->cluster ? -1 : 1;
    }
    return left->part < right->part ? -1 : left->part > right->part;
}

/** The jackknife over cells, as one part or by parts. */
static Interval cells_interval(const StatsCell *given, size_t n_given, bool by_parts,
                               uint32_t n_parts, double shift, int64_t *out_clusters)
{
    Arena scratch = {0};
    StatsCell *cells = ARENA_ARRAY(&scratch, StatsCell, n_given + 1);
    if (n_given > 0) {
        memcpy(cells, given, n_given * sizeof(*cells));
    }
    qsort(cells, n_given, sizeof(*cells), compare_cells);
    size_t n = 0;
    size_t n_clusters = 0;
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < n_given; i++) {
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
    Interval interval = stats_cells_interval(&scratch, cells, n, n_clusters, by_parts ? n_parts : 1,
                                             shift, CONFIDENCE);
    arena_finish(&scratch);
    return interval;
}

/**
 * Limits of a mean when all n scores were the same value v: no spread to estimate, yet not
 * certainty. A score is v with some chance p. After the first score the others repeat it with
 * chance p^(n-1), so values of p for which that is below alpha are excluded: with confidence 1 -
 * alpha at most q = 1 - alpha^(1/(n-1)) of the scores are anything else, at worst an end of the
 * range. The limits are v - q (v - low) and v + q (high - v); NaN without a range. */
static void constant_interval(Interval *interval, double n, double low, double high, double alpha)
{
    double q = n > 1 ? 1 - pow(alpha, 1 / (n - 1)) : 1;
    double v = interval->value;
    interval->low = isfinite(low) && isfinite(high) ? v - q * fmax(0, v - low) : (double)NAN;
    interval->high = isfinite(low) && isfinite(high) ? v + q * fmax(0, high - v) : (double)NAN;
}

/** From the mean's scale to the metric's. Perplexity: the ends go with the value, the error by the
 * delta method. */
static void to_scale(const TallyAsk *ask, int64_t n, Interval *interval)
{
    MetricKind kind = ask->spec->kind;
    if (kind == METRIC_PERPLEXITY) {
        interval->value = exp(interval->value);
        interval->stderr_ *= interval->value;
        interval->low = exp(interval->low);
        interval->high = exp(interval->high);
    } else if (kind == METRIC_BITS || kind == METRIC_SUM) {
        double scale = kind == METRIC_BITS ? 1 / log(2) : (double)n;
        interval->value *= scale;
        interval->stderr_ *= scale;
        interval->low *= scale;
        interval->high *= scale;
    }
}

/** Honest limits for a mean whose error was estimated from the spread of its samples. */
static void settle(const TallyAsk *ask, const Tally *tally, double n_independent,
                   Interval *interval, Str *method)
{
    double low;
    double high;
    metric_range(ask->spec, ask->grader, tally->weighted, &low, &high);
    if (interval->stderr_ == 0) {
        constant_interval(interval, n_independent, low, high, 1 - CONFIDENCE);
        *method = STR("constant");
    } else if (!isnan(interval->stderr_)) {
        interval->low = fmax(interval->low, fmin(low, interval->value));
        interval->high = fmin(interval->high, fmax(high, interval->value));
    }
}

/** Whether every sample counts as one thing that is right or wrong. */
static bool is_proportion(const TallyAsk *ask, const Tally *tally)
{
    MetricKind kind = ask->spec->kind;
    bool one_a_sample = !ask->several_epochs || (kind != METRIC_ACCURACY && kind != METRIC_MEAN &&
                                                 kind != METRIC_SUM && kind != METRIC_WORST);
    return one_a_sample && !tally->not_boolean && !tally->weighted && !tally->all.not_binary &&
           tally->all.n > 0;
}

/** A mean of samples of one part, or of all parts together. */
static Interval mean_interval(const TallyAsk *ask, const Tally *tally, const StatsMoments *moments,
                              const StatsCell *cells, size_t n_cells, Str *method,
                              int64_t *out_clusters)
{
    Interval interval;
    double n_independent = (double)moments->n;
    if (ask->clustered && moments->n > 0) {
        interval = cells_interval(cells, n_cells, false, 1, tally->all.shift, out_clusters);
        n_independent = (double)*out_clusters;
        *method = STR("jackknife");
    } else if (is_proportion(ask, tally)) {
        *method = STR("wilson");
        interval = stats_wilson(moments->n_ones, moments->n, CONFIDENCE);
    } else {
        interval = stats_moments_interval(moments, CONFIDENCE);
        bool ratio = moments->weighted || ask->spec->kind == METRIC_PERPLEXITY;
        *method = ratio ? STR("delta") : STR("t");
    }
    if (!str_eq_c(*method, "wilson")) {
        settle(ask, tally, n_independent, &interval, method);
    }
    to_scale(ask, moments->n, &interval);
    return interval;
}

// ---- Means over parts ---------------------------------------------------------------------------

/**
 * As constant_interval, when the samples of each of k parts are all the same: every part's limits
 * hold together with confidence 1 - alpha when each has its own with 1 - alpha/k (Bonferroni). */
static void constant_parts_interval(const TallyAsk *ask, const Tally *tally, Interval *interval)
{
    double low;
    double high;
    metric_range(ask->spec, ask->grader, tally->weighted, &low, &high);
    double n_parts = (double)tally->n_parts;
    double sum_low = 0;
    double sum_high = 0;
    for (size_t i = 0; i < tally->n_parts; i++) {
        Interval part = tally->parts[i];
        constant_interval(&part, (double)tally->part_sizes[i], low, high,
                          (1 - CONFIDENCE) / n_parts);
        sum_low += part.low;
        sum_high += part.high;
    }
    interval->low = sum_low / n_parts;
    interval->high = sum_high / n_parts;
}

/** Whether the metric is linear in the means that stats_cells_interval deals with. */
static bool is_linear(const TallyAsk *ask)
{
    MetricKind kind = ask->spec->kind;
    return kind != METRIC_PERPLEXITY && kind != METRIC_SUM;
}

static Interval average_interval(const TallyAsk *ask, const Tally *tally, Str *method,
                                 int64_t *out_clusters)
{
    Interval interval;
    bool rows = metric_info(ask->spec->kind)->needs_rows;
    if (ask->clustered && !rows && is_linear(ask) && tally->all.n > 0) {
        interval = cells_interval(tally->cells, tally->n_cells, true, ask->n_parts,
                                  tally->all.shift, out_clusters);
        *method = STR("jackknife");
        settle(ask, tally, (double)*out_clusters, &interval, method);
        to_scale(ask, 0, &interval);
        return interval;
    }
    interval = stats_average(tally->parts, tally->part_sizes, tally->n_parts, CONFIDENCE);
    *method = STR("t");
    if (rows || !is_linear(ask) || ask->spec->kind == METRIC_BITS) {
        if (interval.stderr_ == 0) {
            interval.low = NAN;
            interval.high = NAN;
        }
    } else if (interval.stderr_ == 0) {
        *method = STR("constant");
        constant_parts_interval(ask, tally, &interval);
    } else {
        settle(ask, tally, 0, &interval, method);
    }
    return interval;
}

static RowsAsk rows_ask(const TallyAsk *ask)
{
    return (RowsAsk){
        .spec = ask->spec, .custom = ask->custom, .ctx = ask->ctx, .confidence = CONFIDENCE};
}

void tally_part_end(Tally *tally, const TallyAsk *ask, Arena *arena)
{
    int64_t n = tally->n - tally->part_n;
    if (ask->average_parts && n > 0) {
        Str method;
        Str why = STR_EMPTY;
        int64_t n_clusters;
        RowsAsk rows = rows_ask(ask);
        Interval part;
        if (metric_info(ask->spec->kind)->needs_rows) {
            part = rows_interval(&rows, tally->rows + tally->part_rows,
                                 tally->n_rows - tally->part_rows, arena, &method, &why);
        } else if (ask->clustered) {
            part = mean_interval(ask, tally, &tally->part, tally->cells + tally->part_cells,
                                 tally->n_cells - tally->part_cells, &method, &n_clusters);
        } else { // also of proportions: the error is what counts here
            part = stats_moments_interval(&tally->part, CONFIDENCE);
            to_scale(ask, tally->part.n, &part);
        }
        tally->parts = mem_realloc(tally->parts, tally->n_parts + 1, sizeof(*tally->parts));
        tally->part_sizes =
            mem_realloc(tally->part_sizes, tally->n_parts + 1, sizeof(*tally->part_sizes));
        tally->parts[tally->n_parts] = part;
        tally->part_sizes[tally->n_parts] = n;
    }
    tally->n_parts += ask->average_parts && n > 0;
    tally->n_parts_scored += n > 0;
    tally->part = (StatsMoments){0};
    tally->part_n = tally->n;
    tally->part_cells = tally->n_cells;
    tally->part_rows = tally->n_rows;
}

// ---- Metrics ------------------------------------------------------------------------------------

/** Clusters among the rows, which are their units. */
static int64_t count_units(const Tally *tally)
{
    Interner units = {0};
    for (size_t i = 0; i < tally->n_rows; i++) {
        bool is_new;
        Str bytes = {(const char *)&tally->rows[i].unit, sizeof(tally->rows[i].unit)};
        intern(&units, bytes, 0, &is_new);
    }
    int64_t n = (int64_t)units.n;
    interner_finish(&units);
    return n;
}

void tally_metric(const Tally *tally, const TallyAsk *ask, Arena *arena, MetricRow *out)
{
    const MetricInfo *info = metric_info(ask->spec->kind);
    Interval interval;
    out->n = tally->n;
    out->n_unscored = tally->n_unscored;
    out->lower_is_better = metric_lower_is_better(ask->spec, ask->grader);
    if (ask->average_parts) {
        interval = average_interval(ask, tally, &out->method, &out->n_clusters);
    } else if (info->needs_rows) {
        RowsAsk rows = rows_ask(ask);
        interval = rows_interval(&rows, tally->rows, tally->n_rows, arena, &out->method, &out->why);
    } else {
        interval = mean_interval(ask, tally, &tally->all, tally->cells, tally->n_cells,
                                 &out->method, &out->n_clusters);
    }
    if (info->needs_rows && ask->clustered) {
        out->n_clusters = count_units(tally);
    }
    if (isnan(interval.low)) {
        out->method = STR("none");
    }
    out->value = interval.value;
    out->stderr_ = interval.stderr_;
    out->low = interval.low;
    out->high = interval.high;
}
