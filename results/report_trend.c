// SPDX-License-Identifier: MIT
// A trend for people: a sparkline for the eye, a table for the numbers, and the same as JSON.
#include "results/trend.h"

#include "results/report_internal.h"

#include <math.h>

static const char *const BLOCKS[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                     "\u2585", "\u2586", "\u2587", "\u2588"};
static const char *const LETTERS[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
#define N_LEVELS (sizeof(BLOCKS) / sizeof(BLOCKS[0]))

// ---- The line -----------------------------------------------------------------------------------

/** The least and greatest value; false when there is none. */
static bool range_of(const TrendPoint *points, size_t n, double *low, double *high)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        double value = points[i].metric.value;
        if (!isfinite(value)) {
            continue;
        }
        *low = !any || value < *low ? value : *low;
        *high = !any || value > *high ? value : *high;
        any = true;
    }
    return any;
}

/** Which of the levels stands for a value: equal values are all in the middle. */
static size_t level_of(double value, double low, double high)
{
    if (!(high > low)) {
        return N_LEVELS / 2;
    }
    double share = (value - low) / (high - low) * (double)N_LEVELS;
    return share >= (double)N_LEVELS ? N_LEVELS - 1 : (size_t)share;
}

static void sparkline(Buf *buf, const TrendPoint *points, size_t n, bool ascii, double low,
                      double high)
{
    for (size_t i = 0; i < n; i++) {
        double value = points[i].metric.value;
        size_t level = isfinite(value) ? level_of(value, low, high) : 0;
        buf_c(buf, !isfinite(value) ? " " : ascii ? LETTERS[level] : BLOCKS[level]);
    }
}

/** A mark under each point that a baseline names. */
static void marks(Buf *buf, const TrendPoint *points, size_t n)
{
    size_t pending = 0;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (points[i].n_baselines == 0) {
            pending++;
            continue;
        }
        report_spaces(buf, pending);
        buf_char(buf, '^');
        pending = 0;
        any = true;
    }
    buf_c(buf, any ? "  baseline\n" : "");
}

// ---- The table ----------------------------------------------------------------------------------

static void note_add(Buf *buf, Str words)
{
    buf_c(buf, buf->len > 0 ? "; " : "");
    buf_str(buf, words);
}

static Str notes_of(Arena *arena, const TrendPoint *point)
{
    Buf buf = {0};
    for (size_t i = 0; i < point->n_baselines; i++) {
        note_add(&buf,
                 str_concat(arena, STR("baseline "), report_clean(arena, point->baselines[i])));
    }
    if (point->changed.len > 0) {
        note_add(&buf, str_concat(arena, STR("changed: "), point->changed));
    }
    if (point->n_done < point->n_planned) {
        note_add(&buf, str_printf(arena, "incomplete: %lld of %lld", (long long)point->n_done,
                                  (long long)point->n_planned));
    }
    if (point->metric.n_unscored > 0) {
        note_add(&buf, str_printf(arena, "%lld unscored", (long long)point->metric.n_unscored));
    }
    if (isnan(point->metric.value) && point->metric.why.len > 0) {
        note_add(&buf, report_clean(arena, point->metric.why));
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static void table_of(Buf *buf, const TrendSeries *series, const ReportOptions *options)
{
    static const Column columns[] = {
        {"experiment", .shrink = true}, {.title = "id"},
        {.title = "started"},           {.title = "commit"},
        {"value", .right = true},       {"change", .right = true},
        {.title = "95 % interval"},     {"n", .right = true},
        {"", .shrink = true},
    };
    Arena arena = {0};
    Table table = {
        .arena = &arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < series->n; i++) {
        const TrendPoint *point = &series->points[i];
        double change =
            i > 0 ? point->metric.value - series->points[i - 1].metric.value : (double)NAN;
        Str *row = table_row(&table);
        row[0] = report_clean(&arena, point->experiment);
        row[1] = report_clean(&arena, point->short_id);
        row[2] = str_slice(point->started, 0, 16);
        row[3] = report_clean(&arena, point->git);
        row[4] = report_number(&arena, point->metric.value);
        row[5] = isnan(change)           ? STR_EMPTY
                 : fabs(change) < 0.0005 ? STR("0.000") // nothing has no sign
                                         : str_printf(&arena, "%+.3f", change);
        row[6] = report_interval(&arena, &point->metric);
        row[7] = str_printf(&arena, "%lld", (long long)point->metric.n);
        row[8] = notes_of(&arena, point);
    }
    table_put(buf, &table, options);
    arena_finish(&arena);
}

static void series_title(Buf *buf, const Trend *trend, const TrendSeries *series,
                         const ReportOptions *options)
{
    Arena arena = {0};
    buf_c(buf, options->color ? "\033[1m" : "");
    buf_str(buf, report_clean(&arena, trend->eval));
    if (trend->part.len > 0) {
        buf_char(buf, '/');
        buf_str(buf, report_clean(&arena, trend->part));
    }
    if (series->variant.len > 0) {
        buf_char(buf, ' ');
        buf_str(buf, report_clean(&arena, series->variant));
    }
    buf_c(buf, " on ");
    buf_str(buf, report_clean(&arena, series->model));
    buf_c(buf, ": ");
    buf_str(buf, report_clean(&arena, series->metric));
    buf_c(buf, series->lower_is_better ? " (lower is better)" : "");
    buf_c(buf, options->color ? "\033[0m\n" : "\n");
    arena_finish(&arena);
}

void report_trend(Buf *buf, const Trend *trend, bool ascii, const ReportOptions *options)
{
    for (size_t i = 0; i < trend->n; i++) {
        const TrendSeries *series = &trend->series[i];
        double low = 0;
        double high = 0;
        buf_c(buf, i > 0 ? "\n" : "");
        series_title(buf, trend, series, options);
        size_t room = options->width > 24 ? (size_t)options->width - 24 : 60; // for the range
        size_t from = series->n > room ? series->n - room : 0;
        if (range_of(series->points + from, series->n - from, &low, &high)) {
            Arena arena = {0};
            Str bottom = report_number(&arena, low);
            Str top = report_number(&arena, high);
            sparkline(buf, series->points + from, series->n - from, ascii, low, high);
            buf_printf(buf, "  " STR_FMT " to " STR_FMT "\n", STR_ARG(bottom), STR_ARG(top));
            marks(buf, series->points + from, series->n - from);
            arena_finish(&arena);
        }
        table_of(buf, series, options);
    }
}

// ---- JSON ---------------------------------------------------------------------------------------

static Value number(double d)
{
    return isfinite(d) ? value_real(d) : value_null();
}

static Value point_value(Arena *arena, const TrendPoint *point)
{
    Value *names = ARENA_ARRAY(arena, Value, point->n_baselines);
    for (size_t i = 0; i < point->n_baselines; i++) {
        names[i] = value_str(point->baselines[i]);
    }
    Value *interval = ARENA_ARRAY(arena, Value, 2);
    interval[0] = number(point->metric.low);
    interval[1] = number(point->metric.high);
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("experiment"), value_str(point->experiment));
    map_builder_put(&map, STR("id"), value_str(point->short_id));
    map_builder_put(&map, STR("started"), value_str(point->started));
    map_builder_put(&map, STR("git_commit"),
                    point->git.len > 0 ? value_str(point->git) : value_null());
    map_builder_put(&map, STR("value"), number(point->metric.value));
    map_builder_put(&map, STR("stderr"), number(point->metric.stderr_));
    map_builder_put(&map, STR("interval"), value_list(interval, 2));
    map_builder_put(&map, STR("n"), value_int(point->metric.n));
    map_builder_put(&map, STR("unscored"), value_int(point->metric.n_unscored));
    map_builder_put(&map, STR("planned"), value_int(point->n_planned));
    map_builder_put(&map, STR("done"), value_int(point->n_done));
    map_builder_put(&map, STR("baselines"), value_list(names, point->n_baselines));
    map_builder_put(&map, STR("changed"), value_str(point->changed));
    return map_builder_done(&map);
}

Value report_trend_value(Arena *arena, const Trend *trend)
{
    Value *series = ARENA_ARRAY(arena, Value, trend->n);
    for (size_t i = 0; i < trend->n; i++) {
        const TrendSeries *one = &trend->series[i];
        Value *points = ARENA_ARRAY(arena, Value, one->n);
        for (size_t j = 0; j < one->n; j++) {
            points[j] = point_value(arena, &one->points[j]);
        }
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("variant"), value_str(one->variant));
        map_builder_put(&map, STR("model"), value_str(one->model));
        map_builder_put(&map, STR("metric"), value_str(one->metric));
        map_builder_put(&map, STR("lower_is_better"), value_bool(one->lower_is_better));
        map_builder_put(&map, STR("points"), value_list(points, one->n));
        series[i] = map_builder_done(&map);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), value_str(trend->eval));
    map_builder_put(&map, STR("part"), value_str(trend->part));
    map_builder_put(&map, STR("series"), value_list(series, trend->n));
    return map_builder_done(&map);
}
