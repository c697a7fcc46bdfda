// SPDX-License-Identifier: MIT
// Tables and transcripts for people. Everything that may come from a model, a dataset or a file is
// made harmless for a terminal on its way in. Writes to a Buf; prints nothing.
#include "results/report_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define MANY_PARTS  12 // more are shown in columns, not one a line
#define MANY_SLICES 40 // of a metric; the others are only counted

// ---- Runs ---------------------------------------------------------------------------------------

enum {
    RUN_EVAL,
    RUN_PART,
    RUN_VARIANT,
    RUN_MODEL,
    RUN_METRIC,
    RUN_VALUE,
    RUN_ERROR,
    RUN_INTERVAL,
    RUN_N,
    RUN_TROUBLE,
    RUN_N_COLUMNS
};

static const Column run_columns[RUN_N_COLUMNS] = {
    [RUN_EVAL] = {"eval", .shrink = true},
    [RUN_PART] = {"part", .shrink = true},
    [RUN_VARIANT] = {"variant", .shrink = true},
    [RUN_MODEL] = {"model", .shrink = true},
    [RUN_METRIC] = {"metric", .shrink = true},
    [RUN_VALUE] = {"value", .right = true},
    [RUN_ERROR] = {"\u00b1", .right = true},
    [RUN_INTERVAL] = {"95 % interval"},
    [RUN_N] = {"n", .right = true},
    [RUN_TROUBLE] = {"incomplete"},
};

/** "2 errors, 1 unscored, 5 to do"; "" when all is well. */
static Str trouble_text(Arena *arena, int64_t n_errors, int64_t n_unscored, int64_t n_left)
{
    const struct {
        int64_t n;
        const char *one;
        const char *many;
    } kinds[] = {
        {n_errors, "error", "errors"},
        {n_unscored, "unscored", "unscored"},
        {n_left, "to do", "to do"},
    };
    Str text = STR_EMPTY;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].n > 0) {
            text =
                str_printf(arena, STR_FMT "%s%lld %s", STR_ARG(text), text.len > 0 ? ", " : "",
                           (long long)kinds[i].n, kinds[i].n == 1 ? kinds[i].one : kinds[i].many);
        }
    }
    return text;
}

static int64_t n_left(const RunInfo *run)
{
    int64_t left = run->n_planned - run->n_done - run->n_errors;
    return left > 0 ? left : 0;
}

static void metric_cells(Arena *arena, Str *row, const MetricRow *metric)
{
    bool is_slice = metric->slice.len > 0;
    row[RUN_METRIC] = is_slice ? str_concat(arena, STR("  "), report_clean(arena, metric->slice))
                               : report_clean(arena, metric->name);
    row[RUN_VALUE] = report_number(arena, metric->value);
    row[RUN_ERROR] = report_number(arena, metric->stderr_);
    row[RUN_INTERVAL] = report_interval(arena, metric);
    row[RUN_N] = str_printf(arena, "%lld", (long long)metric->n);
    row[RUN_TROUBLE] = trouble_text(arena, 0, metric->n_unscored, 0);
}

/** Counts the slices of a metric that are past what a table shows. */
typedef struct SliceCount {
    size_t n;
    size_t n_hidden;
} SliceCount;

/** Whether a metric has a line; slices have none when there are very many. */
static bool slice_is_shown(SliceCount *count, const MetricRow *metric)
{
    if (metric->slice.len == 0) {
        count->n = 0;
        return true;
    }
    bool shown = ++count->n <= MANY_SLICES;
    count->n_hidden += !shown;
    return shown;
}

static void hidden_row(Table *table, const SliceCount *count)
{
    if (count->n_hidden > 0) {
        table_row(table)[RUN_METRIC] =
            str_printf(table->arena, "  (%zu more: --json)", count->n_hidden);
    }
}

/** One line a metric and slice; slices have theirs where the parts are taken together. */
static void run_rows(Table *table, const RunInfo *run, bool with_slices)
{
    Arena *arena = table->arena;
    SliceCount count = {0};
    for (size_t i = 0; i < run->n_metrics || i == 0; i++) {
        bool shown = i >= run->n_metrics || slice_is_shown(&count, &run->metrics[i]);
        if (!shown || (!with_slices && count.n > 0)) {
            continue;
        }
        Str *row = table_row(table);
        int64_t n_unscored = run->n_unscored;
        if (i < run->n_metrics) {
            metric_cells(arena, row, &run->metrics[i]);
            n_unscored = run->metrics[i].n_unscored; // other graders' stand in their own lines
        }
        if (i == 0) {
            row[RUN_EVAL] = report_clean(arena, run->eval);
            row[RUN_PART] = report_clean(arena, run->part);
            row[RUN_VARIANT] = report_clean(arena, run->variant);
            row[RUN_MODEL] = report_clean(arena, run->model);
            row[RUN_TROUBLE] = trouble_text(arena, run->n_errors, n_unscored, n_left(run));
        }
    }
    if (with_slices) {
        hidden_row(table, &count);
    }
}

/** The runs of one eval, variant and model: its parts. */
typedef struct Group {
    size_t n;
    bool is_first; // the run asked about is the group's first
    bool is_last;
    int64_t n_errors;
    int64_t n_left;
} Group;

static bool same_group(const RunInfo *a, const RunInfo *b)
{
    return str_eq(a->eval, b->eval) && str_eq(a->variant, b->variant) && str_eq(a->model, b->model);
}

static Group group_of(const RunInfo *runs, size_t n_runs, size_t at)
{
    Group group = {.is_first = true, .is_last = true};
    for (size_t i = 0; i < n_runs; i++) {
        if (same_group(&runs[i], &runs[at])) {
            group.n++;
            group.is_first &= i >= at;
            group.is_last &= i <= at;
            group.n_errors += runs[i].n_errors;
            group.n_left += n_left(&runs[i]);
        }
    }
    return group;
}

static Str over_parts_text(Arena *arena, const CrossMetric *cross, size_t n)
{
    return str_printf(arena, cross->average.len > 0 ? "(mean of %zu)" : "(all %zu)", n);
}

/** The metrics across the parts of run's group; names its eval when the parts have no lines. */
static void cross_rows(Table *table, const RunInfo *run, const Group *group,
                       const CrossMetric *cross, size_t n_cross)
{
    Arena *arena = table->arena;
    SliceCount count = {0};
    bool first = true;
    for (size_t i = 0; i < n_cross; i++) {
        if (cross[i].over.len > 0 || !str_eq(cross[i].eval, run->eval) ||
            !str_eq(cross[i].variant, run->variant) || !str_eq(cross[i].model, run->model) ||
            !slice_is_shown(&count, &cross[i].metric)) {
            continue;
        }
        Str *row = table_row(table);
        metric_cells(arena, row, &cross[i].metric);
        if (first && group->n > MANY_PARTS) {
            row[RUN_EVAL] = report_clean(arena, run->eval);
            row[RUN_VARIANT] = report_clean(arena, run->variant);
            row[RUN_MODEL] = report_clean(arena, run->model);
            row[RUN_TROUBLE] =
                trouble_text(arena, group->n_errors, cross[i].metric.n_unscored, group->n_left);
        }
        first = false;
        if (count.n == 0) {
            row[RUN_PART] = over_parts_text(arena, &cross[i], group->n);
        }
    }
    hidden_row(table, &count);
}

/** Whether this is the last run of its eval and model. */
static bool is_last_of_model(const RunInfo *runs, size_t n_runs, size_t at)
{
    for (size_t i = at + 1; i < n_runs; i++) {
        if (str_eq(runs[i].eval, runs[at].eval) && str_eq(runs[i].model, runs[at].model)) {
            return false;
        }
    }
    return true;
}

/** The metrics across the variants of run's eval and model. */
static void variants_rows(Table *table, const RunInfo *run, const CrossMetric *cross,
                          size_t n_cross)
{
    Arena *arena = table->arena;
    SliceCount count = {0};
    for (size_t i = 0; i < n_cross; i++) {
        if (cross[i].over.len == 0 || !str_eq(cross[i].eval, run->eval) ||
            !str_eq(cross[i].model, run->model) || !slice_is_shown(&count, &cross[i].metric)) {
            continue;
        }
        Str *row = table_row(table);
        metric_cells(arena, row, &cross[i].metric);
        if (count.n == 0) {
            row[RUN_VARIANT] = STR("(all)");
            if (cross[i].n_runs > 1) {
                row[RUN_PART] = over_parts_text(arena, &cross[i], (size_t)cross[i].n_runs);
            }
        }
    }
    hidden_row(table, &count);
}

/** Under the table: metrics that failed, and why. */
static void put_failed(Buf *buf, Arena *arena, const RunInfo *runs, size_t n_runs)
{
    for (size_t i = 0; i < n_runs; i++) {
        for (size_t j = 0; j < runs[i].n_metrics; j++) {
            const MetricRow *metric = &runs[i].metrics[j];
            if (metric->why.len > 0 && metric->slice.len == 0) {
                Str eval = report_clean(arena, runs[i].eval);
                Str name = report_clean(arena, metric->name);
                Str why = report_clean(arena, metric->why);
                buf_printf(buf, "\n" STR_FMT ", " STR_FMT ": " STR_FMT "\n", STR_ARG(eval),
                           STR_ARG(name), STR_ARG(why));
            }
        }
    }
}

/** Many parts in columns: name and value of the first metric. */
static void put_parts(Buf *buf, Arena *arena, const RunInfo *runs, size_t n_runs, size_t at,
                      const ReportOptions *options)
{
    size_t name_width = 0;
    size_t value_width = 1;
    for (size_t i = 0; i < n_runs; i++) {
        if (same_group(&runs[i], &runs[at]) && runs[i].n_metrics > 0) {
            size_t name = utf8_columns(report_clean(arena, runs[i].part));
            size_t value = report_number(arena, runs[i].metrics[0].value).len;
            name_width = name > name_width ? name : name_width;
            value_width = value > value_width ? value : value_width;
        }
    }
    size_t width = options->width > 0 ? (size_t)options->width : 100;
    size_t per_line = width / (name_width + value_width + 4);
    per_line = per_line > 0 ? per_line : 1;
    Str eval = report_clean(arena, runs[at].eval);
    Str metric = runs[at].n_metrics > 0 ? report_clean(arena, runs[at].metrics[0].name) : STR_EMPTY;
    Str variant = report_clean(arena, runs[at].variant);
    Str model = report_clean(arena, runs[at].model);
    buf_printf(buf, "\n" STR_FMT ", " STR_FMT " by part (" STR_FMT "%s" STR_FMT "):\n",
               STR_ARG(eval), STR_ARG(metric), STR_ARG(variant), variant.len > 0 ? ", " : "",
               STR_ARG(model));
    size_t column = 0;
    for (size_t i = at; i < n_runs; i++) {
        if (!same_group(&runs[i], &runs[at])) {
            continue;
        }
        Str part = report_clean(arena, runs[i].part);
        Str value =
            runs[i].n_metrics > 0 ? report_number(arena, runs[i].metrics[0].value) : STR("-");
        report_spaces(buf, 2);
        buf_str(buf, part);
        size_t used = utf8_columns(part) + value.len;
        report_spaces(buf, name_width + value_width + 1 - used); // the values' ends are aligned
        buf_str(buf, value);
        buf_c(buf, ++column % per_line == 0 ? "\n" : " ");
    }
    if (column % per_line != 0) {
        buf_char(buf, '\n');
    }
}

void report_runs(Buf *buf, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                 size_t n_cross, const ReportOptions *options)
{
    Arena arena = {0};
    Table table = {.arena = &arena, .columns = run_columns, .n_columns = RUN_N_COLUMNS};
    for (size_t i = 0; i < n_runs; i++) {
        Group group = group_of(runs, n_runs, i);
        if (group.n <= MANY_PARTS) {
            run_rows(&table, &runs[i], group.n == 1);
        }
        if (group.n > MANY_PARTS ? group.is_first : group.n > 1 && group.is_last) {
            cross_rows(&table, &runs[i], &group, cross, n_cross);
        }
        if (is_last_of_model(runs, n_runs, i)) {
            variants_rows(&table, &runs[i], cross, n_cross);
        }
    }
    if (table.n_rows > 0) {
        table_put(buf, &table, options);
    }
    for (size_t i = 0; i < n_runs; i++) {
        Group group = group_of(runs, n_runs, i);
        if (group.n > MANY_PARTS && group.is_first) {
            put_parts(buf, &arena, runs, n_runs, i, options);
        }
    }
    put_failed(buf, &arena, runs, n_runs);
    arena_finish(&arena);
}

// ---- Experiments --------------------------------------------------------------------------------

static Str tags_text(Arena *arena, const Value *tags)
{
    Buf buf = {0};
    for (size_t i = 0; tags->kind == VALUE_MAP && i < tags->as.map.n; i++) {
        const ValuePair *pair = &tags->as.map.pairs[i];
        buf_c(&buf, i > 0 ? " " : "");
        report_text(&buf, pair->key, false);
        buf_char(&buf, '=');
        if (pair->value.kind == VALUE_STR) {
            report_text(&buf, pair->value.as.str, false);
        } else {
            json_write(&buf, &pair->value, JSON_COMPACT);
        }
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

void report_experiments(Buf *buf, const ExperimentInfo *experiments, size_t n,
                        const ReportOptions *options)
{
    static const Column columns[] = {
        {"name", .shrink = true},  {.title = "id"},          {.title = "started"},
        {.title = "state"},        {"runs", .right = true},  {"done", .right = true},
        {"errors", .right = true}, {"only", .shrink = true}, {"tags", .shrink = true},
    };
    Arena arena = {0};
    Table table = {
        .arena = &arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < n; i++) {
        const ExperimentInfo *e = &experiments[i];
        Str *row = table_row(&table);
        row[0] = report_clean(&arena, e->name);
        row[1] = report_clean(&arena, e->short_id);
        row[2] = report_clean(&arena, e->started);
        row[3] = report_clean(&arena, e->state);
        row[4] = str_printf(&arena, "%lld", (long long)e->n_runs);
        row[5] = str_printf(&arena, "%lld/%lld", (long long)e->n_done, (long long)e->n_planned);
        row[6] = e->n_errors > 0 ? str_printf(&arena, "%lld", (long long)e->n_errors) : STR_EMPTY;
        row[7] = report_clean(&arena, results_subset_words(&arena, e));
        row[8] = tags_text(&arena, &e->tags);
    }
    if (n > 0) {
        table_put(buf, &table, options);
    }
    arena_finish(&arena);
}
