// SPDX-License-Identifier: MIT
// Tables and transcripts for people. Everything that may come from a model, a dataset or a file is
// made harmless for a terminal on its way in. Writes to a Buf; prints nothing.
#include "results/results.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define MANY_PARTS    12 // more are shown in columns, not one a line
#define MANY_SLICES   40 // of a metric; the others are only counted
#define CELL_MIN      8  // columns to which a wide cell may be cut
#define TABLE_MAX_COL 12

// ---- Harmless text ------------------------------------------------------------------------------

/** Code points that act on a terminal, or hide or reorder what is seen. */
static bool is_dangerous(uint32_t c)
{
    static const struct {
        uint32_t from;
        uint32_t to;
    } ranges[] = {
        {0x0000, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad},   {0x061c, 0x061c},
        {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (c >= ranges[i].from && c <= ranges[i].to) {
            return true;
        }
    }
    return false;
}

static void put_escape(Buf *buf, uint32_t c)
{
    switch (c) {
    case '\n':
        buf_c(buf, "\\n");
        break;
    case '\r':
        buf_c(buf, "\\r");
        break;
    case '\t':
        buf_c(buf, "\\t");
        break;
    default:
        buf_printf(buf, c < 0x80 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        break;
    }
}

void report_text(Buf *buf, Str text, bool multiline)
{
    size_t clean_from = 0;
    for (size_t at = 0; at < text.len;) {
        size_t from = at;
        uint32_t c = utf8_next(text, &at);
        bool invalid = c == 0xfffd && at - from == 1;
        bool kept = multiline && (c == '\n' || c == '\t');
        if (!invalid && (kept || !is_dangerous(c))) {
            continue;
        }
        buf_append(buf, text.data + clean_from, from - clean_from);
        clean_from = at;
        bool line_end = multiline && c == '\r' && at < text.len && text.data[at] == '\n';
        if (invalid) {
            buf_printf(buf, "\\x%02x", (unsigned)(unsigned char)text.data[from]);
        } else if (!line_end) {
            put_escape(buf, c);
        }
    }
    buf_append(buf, text.data + clean_from, text.len - clean_from);
}

/** One line of harmless text in an arena. */
static Str clean(Arena *arena, Str text)
{
    Buf buf = {0};
    report_text(&buf, text, false);
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

// ---- Numbers ------------------------------------------------------------------------------------

static Str number_text(Arena *arena, double d)
{
    if (isnan(d)) {
        return STR("-");
    }
    return fabs(d) < 10 ? str_printf(arena, "%.3f", d) : str_printf(arena, "%.4g", d);
}

static Str interval_text(Arena *arena, const MetricRow *metric)
{
    if (isnan(metric->low)) {
        return STR("-");
    }
    Str low = number_text(arena, metric->low);
    Str high = number_text(arena, metric->high);
    return str_printf(arena, "[" STR_FMT ", " STR_FMT "]", STR_ARG(low), STR_ARG(high));
}

// ---- Tables -------------------------------------------------------------------------------------

typedef struct Column {
    const char *title;
    bool right;  // aligned
    bool shrink; // may be cut when the table is too wide
} Column;

/** Rows of cells under titled columns; empty columns are left out. */
typedef struct Table {
    Arena *arena;
    const Column *columns;
    size_t n_columns;
    Str (*rows)[TABLE_MAX_COL];
    size_t n_rows;
    size_t cap;
} Table;

static Str *table_row(Table *table)
{
    if (table->n_rows == table->cap) {
        table->cap = table->cap == 0 ? 16 : table->cap * 2;
        Str(*grown)[TABLE_MAX_COL] = arena_alloc(table->arena, table->cap, sizeof(*grown));
        if (table->n_rows > 0) {
            memcpy(grown, table->rows, table->n_rows * sizeof(*grown));
        }
        table->rows = grown;
    }
    Str *row = table->rows[table->n_rows++];
    for (size_t i = 0; i < TABLE_MAX_COL; i++) {
        row[i] = STR_EMPTY;
    }
    return row;
}

/** Widths of the columns, 0 for those left out, cut to fit into the terminal where that is
 * possible. */
static void table_widths(const Table *table, int terminal, size_t widths[TABLE_MAX_COL])
{
    size_t total = 0;
    for (size_t c = 0; c < table->n_columns; c++) {
        widths[c] = 0;
        for (size_t r = 0; r < table->n_rows; r++) {
            size_t n = utf8_columns(table->rows[r][c]);
            widths[c] = n > widths[c] ? n : widths[c];
        }
        if (widths[c] > 0) {
            size_t title = utf8_columns(str_from_c(table->columns[c].title));
            widths[c] = title > widths[c] ? title : widths[c];
            total += widths[c] + 2;
        }
    }
    while (terminal > 0 && total > (size_t)terminal + 2) {
        size_t widest = table->n_columns;
        for (size_t c = 0; c < table->n_columns; c++) {
            if (table->columns[c].shrink && widths[c] > CELL_MIN &&
                (widest == table->n_columns || widths[c] > widths[widest])) {
                widest = c;
            }
        }
        if (widest == table->n_columns) {
            return;
        }
        widths[widest]--;
        total--;
    }
}

static void put_spaces(Buf *buf, size_t n)
{
    while (n-- > 0) {
        buf_char(buf, ' ');
    }
}

static void put_cells(Buf *buf, const Table *table, const Str *cells, const size_t *widths)
{
    size_t pending = 0; // spaces that only matter when something follows
    for (size_t c = 0; c < table->n_columns; c++) {
        if (widths[c] == 0) {
            continue;
        }
        Str cell = cells[c];
        size_t n = utf8_columns(cell);
        bool cut = n > widths[c];
        if (cut) {
            cell = utf8_cut_columns(cell, widths[c] - 2);
            n = utf8_columns(cell) + 2;
        }
        size_t padding = widths[c] - n;
        if (cell.len > 0) {
            put_spaces(buf, pending + (table->columns[c].right ? padding : 0));
            buf_str(buf, cell);
            buf_c(buf, cut ? ".." : "");
            pending = (table->columns[c].right ? 0 : padding) + 2;
        } else {
            pending += widths[c] + 2;
        }
    }
    buf_char(buf, '\n');
}

static void table_put(Buf *buf, const Table *table, const ReportOptions *options)
{
    size_t widths[TABLE_MAX_COL];
    Str titles[TABLE_MAX_COL];
    table_widths(table, options->width, widths);
    for (size_t c = 0; c < table->n_columns; c++) {
        titles[c] = str_from_c(table->columns[c].title);
    }
    buf_c(buf, options->color ? "\033[1m" : "");
    put_cells(buf, table, titles, widths);
    buf_c(buf, options->color ? "\033[0m" : "");
    for (size_t r = 0; r < table->n_rows; r++) {
        put_cells(buf, table, table->rows[r], widths);
    }
}

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
    row[RUN_METRIC] = is_slice ? str_concat(arena, STR("  "), clean(arena, metric->slice))
                               : clean(arena, metric->name);
    row[RUN_VALUE] = number_text(arena, metric->value);
    row[RUN_ERROR] = number_text(arena, metric->stderr_);
    row[RUN_INTERVAL] = interval_text(arena, metric);
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
        if (i < run->n_metrics) {
            metric_cells(arena, row, &run->metrics[i]);
        }
        if (i == 0) {
            row[RUN_EVAL] = clean(arena, run->eval);
            row[RUN_PART] = clean(arena, run->part);
            row[RUN_VARIANT] = clean(arena, run->variant);
            row[RUN_MODEL] = clean(arena, run->model);
            row[RUN_TROUBLE] = trouble_text(arena, run->n_errors, run->n_unscored, n_left(run));
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
    int64_t n_unscored;
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
            group.n_unscored += runs[i].n_unscored;
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
            row[RUN_EVAL] = clean(arena, run->eval);
            row[RUN_VARIANT] = clean(arena, run->variant);
            row[RUN_MODEL] = clean(arena, run->model);
            row[RUN_TROUBLE] =
                trouble_text(arena, group->n_errors, group->n_unscored, group->n_left);
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
                Str eval = clean(arena, runs[i].eval);
                Str name = clean(arena, metric->name);
                Str why = clean(arena, metric->why);
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
            size_t name = utf8_columns(clean(arena, runs[i].part));
            size_t value = number_text(arena, runs[i].metrics[0].value).len;
            name_width = name > name_width ? name : name_width;
            value_width = value > value_width ? value : value_width;
        }
    }
    size_t width = options->width > 0 ? (size_t)options->width : 100;
    size_t per_line = width / (name_width + value_width + 4);
    per_line = per_line > 0 ? per_line : 1;
    Str eval = clean(arena, runs[at].eval);
    Str metric = runs[at].n_metrics > 0 ? clean(arena, runs[at].metrics[0].name) : STR_EMPTY;
    Str variant = clean(arena, runs[at].variant);
    Str model = clean(arena, runs[at].model);
    buf_printf(buf, "\n" STR_FMT ", " STR_FMT " by part (" STR_FMT "%s" STR_FMT "):\n",
               STR_ARG(eval), STR_ARG(metric), STR_ARG(variant), variant.len > 0 ? ", " : "",
               STR_ARG(model));
    size_t column = 0;
    for (size_t i = at; i < n_runs; i++) {
        if (!same_group(&runs[i], &runs[at])) {
            continue;
        }
        Str part = clean(arena, runs[i].part);
        Str value = runs[i].n_metrics > 0 ? number_text(arena, runs[i].metrics[0].value) : STR("-");
        put_spaces(buf, 2);
        buf_str(buf, part);
        size_t used = utf8_columns(part) + value.len;
        put_spaces(buf, name_width + value_width + 1 - used); // the values' ends are aligned
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
        {"errors", .right = true}, {"tags", .shrink = true},
    };
    Arena arena = {0};
    Table table = {
        .arena = &arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < n; i++) {
        const ExperimentInfo *e = &experiments[i];
        Str *row = table_row(&table);
        row[0] = clean(&arena, e->name);
        row[1] = clean(&arena, e->short_id);
        row[2] = clean(&arena, e->started);
        row[3] = clean(&arena, e->state);
        row[4] = str_printf(&arena, "%lld", (long long)e->n_runs);
        row[5] = str_printf(&arena, "%lld/%lld", (long long)e->n_done, (long long)e->n_planned);
        row[6] = e->n_errors > 0 ? str_printf(&arena, "%lld", (long long)e->n_errors) : STR_EMPTY;
        row[7] = tags_text(&arena, &e->tags);
    }
    if (n > 0) {
        table_put(buf, &table, options);
    }
    arena_finish(&arena);
}
