// SPDX-License-Identifier: MIT
// The tables of scores and of what they cost. One table an eval, one group of lines a metric, all
// of a group drawn on one scale; slices and the parts of a large eval are folded away.
#include "results/html_internal.h"

#include <math.h>
#include <string.h>

#define MANY_PARTS     12  // of an eval: more are folded
#define SLICE_ROWS_MAX 400 // of a metric
#define MANY_RUNS      24  // in the table of cost: more are folded

/** A line of a table of scores. */
typedef struct ScoreLine {
    Str part;
    Str variant;
    Str model;
    bool across; // over parts or variants
    const MetricRow *metric;
    int64_t n_errors;
    int64_t n_left;
} ScoreLine;

typedef struct ScoreLines {
    Arena *arena;
    ScoreLine *items;
    size_t n;
    size_t cap;
} ScoreLines;

/** An experiment, and the eval whose table is made. */
typedef struct ScorePage {
    Buf *buf;
    const RunInfo *runs;
    size_t n_runs;
    const CrossMetric *cross;
    size_t n_cross;
    Str eval;
    size_t n_parts;
    HtmlNames names;
    int n_labels;
    bool trouble; // something is incomplete: worth a column
} ScorePage;

static void line_put(ScoreLines *lines, const ScoreLine *line)
{
    if (lines->n == lines->cap) {
        lines->cap = lines->cap == 0 ? 16 : lines->cap * 2;
        ScoreLine *grown = ARENA_ARRAY(lines->arena, ScoreLine, lines->cap);
        if (lines->n > 0) {
            memcpy(grown, lines->items, lines->n * sizeof(*grown));
        }
        lines->items = grown;
    }
    lines->items[lines->n++] = *line;
}

static ScoreLine line_of_run(const RunInfo *run, const MetricRow *metric)
{
    int64_t left = run->n_planned - run->n_done - run->n_errors;
    return (ScoreLine){.part = run->part,
                       .variant = run->variant,
                       .model = run->model,
                       .metric = metric,
                       .n_errors = metric->slice.len == 0 ? run->n_errors : 0,
                       .n_left = metric->slice.len == 0 && left > 0 ? left : 0};
}

/** What is missing in the runs that a metric is across. */
static void add_trouble(const ScorePage *page, const CrossMetric *cross, ScoreLine *line)
{
    for (size_t i = 0; i < page->n_runs; i++) {
        const RunInfo *run = &page->runs[i];
        if (str_eq(run->eval, cross->eval) && str_eq(run->model, cross->model) &&
            (cross->over.len > 0 || str_eq(run->variant, cross->variant))) {
            int64_t left = run->n_planned - run->n_done - run->n_errors;
            line->n_errors += run->n_errors;
            line->n_left += left > 0 ? left : 0;
        }
    }
}

static ScoreLine line_of_cross(const ScorePage *page, Arena *arena, const CrossMetric *cross)
{
    bool by_parts = str_eq(cross->average, STR("parts"));
    Str part = STR_EMPTY;
    if (page->n_parts > 1) {
        part = by_parts ? str_printf(arena, "mean of %lld parts", (long long)cross->n_runs)
                        : str_printf(arena, "all %zu parts", page->n_parts);
    }
    ScoreLine line = {.part = part,
                      .variant = cross->over.len > 0 ? STR("all variants") : cross->variant,
                      .model = cross->model,
                      .across = true,
                      .metric = &cross->metric};
    if (cross->metric.slice.len == 0) {
        add_trouble(page, cross, &line);
    }
    return line;
}

/** The lines of one metric: across parts and variants first, then the runs. */
static void lines_gather(const ScorePage *page, Str metric, bool slices, ScoreLines *lines)
{
    for (size_t i = 0; i < page->n_cross; i++) {
        const CrossMetric *cross = &page->cross[i];
        if (str_eq(cross->eval, page->eval) && str_eq(cross->metric.name, metric) &&
            (cross->metric.slice.len > 0) == slices) {
            ScoreLine line = line_of_cross(page, lines->arena, cross);
            line_put(lines, &line);
        }
    }
    if (slices && page->n_parts > 1) {
        return; // slices are shown where the parts are taken together
    }
    for (size_t i = 0; i < page->n_runs; i++) {
        const RunInfo *run = &page->runs[i];
        for (size_t j = 0; str_eq(run->eval, page->eval) && j < run->n_metrics; j++) {
            const MetricRow *row = &run->metrics[j];
            if (str_eq(row->name, metric) && (row->slice.len > 0) == slices) {
                ScoreLine line = line_of_run(run, row);
                line_put(lines, &line);
            }
        }
    }
}

// ---- Lines --------------------------------------------------------------------------------------

static void put_trouble(Buf *buf, const ScoreLine *line)
{
    const struct {
        int64_t n;
        const char *one;
        const char *many;
    } kinds[] = {
        {line->n_errors, "error", "errors"},
        {line->metric->n_unscored, "unscored", "unscored"},
        {line->n_left, "to do", "to do"},
    };
    bool any = false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].n > 0) {
            html_raw(buf, any ? ", " : "");
            html_count(buf, kinds[i].n);
            buf_printf(buf, " %s", kinds[i].n == 1 ? kinds[i].one : kinds[i].many);
            any = true;
        }
    }
}

/** Cells of the names that tell lines apart; the first one heads the row. */
static void put_labels(Buf *buf, const HtmlNames *names, Str first, Str part, Str variant,
                       Str model)
{
    const struct {
        bool shown;
        Str text;
    } cells[] = {{first.len > 0, first},
                 {names->part, part},
                 {names->variant, variant},
                 {names->model, model}};
    bool headed = false;
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        if (cells[i].shown) {
            html_raw(buf, headed ? "<td class=\"name\">" : "<th scope=\"row\" class=\"name\">");
            html_text(buf, cells[i].text);
            html_raw(buf, headed ? "</td>" : "</th>");
            headed = true;
        }
    }
}

static void put_line(const ScorePage *page, const ScoreLine *line, Str slice,
                     const HtmlScale *scale)
{
    Buf *buf = page->buf;
    const MetricRow *metric = line->metric;
    html_raw(buf, line->across ? "<tr class=\"across\">" : "<tr>");
    put_labels(buf, &page->names, slice, line->part, line->variant, line->model);
    HTML_CELL(buf, html_number(buf, metric->value));
    html_raw(buf, "<td class=\"plot\">");
    HtmlWhisker whisker = {metric->value, metric->low, metric->high, (double)NAN, ""};
    html_whisker(buf, scale, &whisker);
    if (metric->why.len > 0) {
        html_raw(buf, "</td><td class=\"why\">");
        html_text(buf, metric->why);
    } else {
        html_raw(buf, "</td><td class=\"interval\">");
        html_interval(buf, metric->low, metric->high);
        if (!str_eq(metric->method, STR("none"))) {
            html_raw(buf, " ");
            html_element(buf, "small", NULL, metric->method);
        }
    }
    html_raw(buf, "</td>");
    HTML_CELL(buf, html_count(buf, metric->n));
    if (page->trouble) {
        html_raw(buf, "<td class=\"trouble\">");
        put_trouble(buf, line);
        html_raw(buf, "</td>");
    }
    html_raw(buf, "</tr>\n");
}

static HtmlScale lines_scale(const ScoreLines *lines, const ScoreLines *slices)
{
    HtmlRange range = {0};
    const ScoreLines *both[] = {lines, slices};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < both[k]->n; i++) {
            const MetricRow *metric = both[k]->items[i].metric;
            html_range_add(&range, metric->value);
            html_range_add(&range, metric->low);
            html_range_add(&range, metric->high);
        }
    }
    return html_scale(&range, true);
}

static void put_head(const ScorePage *page, const char *first)
{
    Buf columns = {0};
    buf_printf(&columns, "%s%s%s%s>value|=plot|95 %% interval|>n%s", first,
               page->names.part ? "part|" : "", page->names.variant ? "variant|" : "",
               page->names.model ? "model|" : "", page->trouble ? "|incomplete" : "");
    html_table_head(page->buf, columns.data);
    buf_finish(&columns);
}

/** The line above a metric's: its name, and the axis of its plots. */
static void put_metric_head(const ScorePage *page, Str metric, bool lower_is_better, bool in_slices,
                            const HtmlScale *scale)
{
    Buf *buf = page->buf;
    buf_printf(buf, "<tbody><tr class=\"metric\"><th scope=\"rowgroup\" colspan=\"%d\">",
               page->n_labels + 1 + in_slices);
    html_text(buf, metric);
    html_raw(buf, lower_is_better ? " <small>lower is better</small>" : "");
    html_raw(buf, "</th><td class=\"plot\">");
    html_axis(buf, scale, false);
    buf_printf(buf, "</td><td colspan=\"%d\"></td></tr>\n", 2 + page->trouble);
}

static void put_slices(const ScorePage *page, Str metric, const ScoreLines *slices,
                       const HtmlScale *scale)
{
    Buf *buf = page->buf;
    Arena arena = {0};
    bool *done = ARENA_ARRAY(&arena, bool, slices->n);
    html_raw(buf, "<details><summary>");
    html_text(buf, metric);
    buf_printf(buf, " by slice (%zu lines)</summary>\n", slices->n);
    html_table_begin(buf, "scores", "slices of ", metric);
    put_head(page, "slice|");
    put_metric_head(page, metric, slices->items[0].metric->lower_is_better, true, scale);
    size_t n_shown = 0;
    for (size_t i = 0; i < slices->n && n_shown < SLICE_ROWS_MAX; i++) {
        Str slice = slices->items[i].metric->slice;
        for (size_t j = i; !done[i] && j < slices->n; j++) {
            const ScoreLine *line = &slices->items[j];
            if (j == i || (!done[j] && str_eq(line->metric->slice, slice))) {
                put_line(page, line, slice, scale);
                n_shown++;
                done[j] = j > i;
            }
        }
    }
    html_raw(buf, "</tbody>\n");
    html_table_end(buf);
    if (n_shown < slices->n) {
        buf_printf(buf, "<p class=\"note\">%zu more lines: <code>muster show --json</code></p>\n",
                   slices->n - n_shown);
    }
    html_raw(buf, "</details>\n");
    arena_finish(&arena);
}

/** Lines of a metric, folded or not: parts fold when there are many. */
static void put_lines(const ScorePage *page, const ScoreLines *lines, bool parts_only,
                      const HtmlScale *scale)
{
    bool many = page->n_parts > MANY_PARTS;
    for (size_t i = 0; i < lines->n; i++) {
        if (!many || parts_only == !lines->items[i].across) {
            put_line(page, &lines->items[i], STR_EMPTY, scale);
        }
    }
}

// ---- Evals --------------------------------------------------------------------------------------

/** Whether the metric stands in the list already; else it is put there. */
static bool metric_is_new(Str *metrics, size_t *n, Str name)
{
    for (size_t i = 0; i < *n; i++) {
        if (str_eq(metrics[i], name)) {
            return false;
        }
    }
    metrics[(*n)++] = name;
    return true;
}

/** The names of an eval's metrics, in the order of its runs, then those across them. */
static size_t metric_names(const ScorePage *page, Arena *arena, Str **out)
{
    size_t most = page->n_cross;
    for (size_t i = 0; i < page->n_runs; i++) {
        most += page->runs[i].n_metrics;
    }
    Str *metrics = ARENA_ARRAY(arena, Str, most + 1);
    size_t n = 0;
    for (size_t i = 0; i < page->n_runs; i++) {
        const RunInfo *run = &page->runs[i];
        for (size_t j = 0; str_eq(run->eval, page->eval) && j < run->n_metrics; j++) {
            if (run->metrics[j].slice.len == 0) {
                metric_is_new(metrics, &n, run->metrics[j].name);
            }
        }
    }
    for (size_t i = 0; i < page->n_cross; i++) {
        if (str_eq(page->cross[i].eval, page->eval)) {
            metric_is_new(metrics, &n, page->cross[i].metric.name);
        }
    }
    *out = metrics;
    return n;
}

/** A metric's lines and slices on their common scale. */
typedef struct MetricPart {
    Str name;
    ScoreLines lines;
    ScoreLines slices;
    HtmlScale scale;
} MetricPart;

static void put_folded_parts(const ScorePage *page, const MetricPart *metrics, size_t n)
{
    Buf *buf = page->buf;
    buf_printf(buf, "<details><summary>%zu parts</summary>\n", page->n_parts);
    html_table_begin(buf, "scores", "parts of ", page->eval);
    put_head(page, "");
    for (size_t i = 0; i < n; i++) {
        if (metrics[i].lines.n > 0) {
            put_metric_head(page, metrics[i].name,
                            metrics[i].lines.items[0].metric->lower_is_better, false,
                            &metrics[i].scale);
            put_lines(page, &metrics[i].lines, true, &metrics[i].scale);
            html_raw(buf, "</tbody>\n");
        }
    }
    html_table_end(buf);
    html_raw(buf, "</details>\n");
}

static void put_eval(ScorePage *page, const RunInfo *first)
{
    Buf *buf = page->buf;
    Arena arena = {0};
    Str *names;
    size_t n = metric_names(page, &arena, &names);
    MetricPart *metrics = ARENA_ARRAY(&arena, MetricPart, n);
    html_raw(buf, "<section><h3>");
    html_text(buf, page->eval);
    buf_printf(buf, " <small>version %lld</small></h3>\n", (long long)first->spec.eval_version);
    html_table_begin(buf, "scores", "scores of ", page->eval);
    put_head(page, "");
    for (size_t i = 0; i < n; i++) {
        MetricPart *metric = &metrics[i];
        *metric = (MetricPart){.name = names[i], .lines.arena = &arena, .slices.arena = &arena};
        lines_gather(page, names[i], false, &metric->lines);
        lines_gather(page, names[i], true, &metric->slices);
        metric->scale = lines_scale(&metric->lines, &metric->slices);
        if (metric->lines.n > 0) {
            put_metric_head(page, names[i], metric->lines.items[0].metric->lower_is_better, false,
                            &metric->scale);
            put_lines(page, &metric->lines, false, &metric->scale);
            html_raw(buf, "</tbody>\n");
        }
    }
    html_table_end(buf);
    if (page->n_parts > MANY_PARTS) {
        put_folded_parts(page, metrics, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (metrics[i].slices.n > 0) {
            put_slices(page, names[i], &metrics[i].slices, &metrics[i].scale);
        }
    }
    html_raw(buf, "</section>\n");
    arena_finish(&arena);
}

static bool run_is_first(const RunInfo *runs, size_t at, Str (*name)(const RunInfo *), bool in_eval)
{
    for (size_t i = 0; i < at; i++) {
        if (str_eq(name(&runs[i]), name(&runs[at])) &&
            (!in_eval || str_eq(runs[i].eval, runs[at].eval))) {
            return false;
        }
    }
    return true;
}

static Str name_eval(const RunInfo *run)
{
    return run->eval;
}

static Str name_part(const RunInfo *run)
{
    return run->part;
}

static Str name_model(const RunInfo *run)
{
    return run->model;
}

/** What tells the runs of an eval apart ("" all evals), and how many parts it has. */
static HtmlNames names_of(const RunInfo *runs, size_t n_runs, Str eval, size_t *out_n_parts)
{
    HtmlNames names = {0};
    size_t n_parts = 0;
    size_t n_models = 0;
    for (size_t i = 0; i < n_runs; i++) {
        n_models += run_is_first(runs, i, name_model, false);
        if (eval.len == 0 || str_eq(runs[i].eval, eval)) {
            n_parts += run_is_first(runs, i, name_part, true);
            names.part |= runs[i].part.len > 0;
            names.variant |= runs[i].variant.len > 0;
        }
    }
    names.model = n_models > 1 || (eval.len > 0 && !names.part && !names.variant);
    *out_n_parts = n_parts;
    return names;
}

/** Whether a run of the eval, or a metric, has less than was planned. */
static bool has_trouble(const ScorePage *page)
{
    for (size_t i = 0; i < page->n_runs; i++) {
        const RunInfo *run = &page->runs[i];
        if (!str_eq(run->eval, page->eval)) {
            continue;
        }
        if (run->n_errors > 0 || run->n_unscored > 0 || run->n_done < run->n_planned) {
            return true;
        }
        for (size_t j = 0; j < run->n_metrics; j++) {
            if (run->metrics[j].n_unscored > 0) {
                return true;
            }
        }
    }
    return false;
}

void html_scores(Buf *buf, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                 size_t n_cross)
{
    ScorePage page = {
        .buf = buf, .runs = runs, .n_runs = n_runs, .cross = cross, .n_cross = n_cross};
    for (size_t i = 0; i < n_runs; i++) {
        if (run_is_first(runs, i, name_eval, false)) {
            page.eval = runs[i].eval;
            page.names = names_of(runs, n_runs, page.eval, &page.n_parts);
            page.trouble = has_trouble(&page);
            page.n_labels = page.names.part + page.names.variant + page.names.model;
            put_eval(&page, &runs[i]);
        }
    }
}

// ---- Cost and latency ---------------------------------------------------------------------------

static const HtmlLatency *latency_of(const HtmlLatency *latencies, size_t n, int64_t run_id)
{
    for (size_t i = 0; i < n; i++) {
        if (latencies[i].run_id == run_id) {
            return &latencies[i];
        }
    }
    return NULL;
}

/** The columns of a table of cost; some are there only where something is in them. */
typedef struct CostTable {
    Buf *buf;
    HtmlNames names;
    bool cached;
    bool reasoning;
} CostTable;

static void put_cost_cells(const CostTable *table, const RunInfo *run, const HtmlLatency *latency)
{
    Buf *buf = table->buf;
    HTML_CELL(buf, html_count(buf, run->n_done));
    HTML_CELL(buf, html_count(buf, run->n_errors));
    HTML_CELL(buf, html_count(buf, run->n_unscored));
    HTML_CELL(buf, html_count(buf, run->usage.input));
    if (table->cached) {
        HTML_CELL(buf, html_count(buf, run->usage.cached));
    }
    HTML_CELL(buf, html_count(buf, run->usage.output));
    if (table->reasoning) {
        HTML_CELL(buf, html_count(buf, run->usage.reasoning));
    }
    const double points[] = {0.5, 0.95};
    for (size_t i = 0; i < 2; i++) {
        bool any = latency != NULL && latency->n > 0;
        HTML_CELL(buf,
                  html_seconds(buf, any ? stats_quantile(latency->seconds, latency->n, points[i])
                                        : (double)NAN));
    }
    HTML_CELL(buf, html_cost(buf, run->cost_usd));
    html_raw(buf, "</tr>\n");
}

static RunInfo totals_of(const RunInfo *runs, size_t n_runs)
{
    RunInfo total = {0};
    for (size_t i = 0; i < n_runs; i++) {
        total.n_done += runs[i].n_done;
        total.n_errors += runs[i].n_errors;
        total.n_unscored += runs[i].n_unscored;
        total.usage.input += runs[i].usage.input;
        total.usage.cached += runs[i].usage.cached;
        total.usage.output += runs[i].usage.output;
        total.usage.reasoning += runs[i].usage.reasoning;
        total.cost_usd += runs[i].cost_usd;
    }
    return total;
}

static void put_runs(const CostTable *table, const RunInfo *runs, size_t n_runs,
                     const HtmlLatency *latencies, size_t n_latencies)
{
    for (size_t i = 0; i < n_runs; i++) {
        html_raw(table->buf, "<tr>");
        put_labels(table->buf, &table->names, runs[i].eval, runs[i].part, runs[i].variant,
                   runs[i].model);
        put_cost_cells(table, &runs[i], latency_of(latencies, n_latencies, runs[i].id));
    }
}

static void put_cost_head(const CostTable *table, const char *label)
{
    html_table_begin(table->buf, "costs", label, STR_EMPTY);
    Buf columns = {0};
    buf_printf(
        &columns,
        "eval|%s%s%s>done|>errors|>unscored|>tokens in|%s>tokens out|%s>latency p50|>p95|>cost",
        table->names.part ? "part|" : "", table->names.variant ? "variant|" : "",
        table->names.model ? "model|" : "", table->cached ? ">of these cached|" : "",
        table->reasoning ? ">of these reasoning|" : "");
    html_table_head(table->buf, columns.data);
    buf_finish(&columns);
    html_raw(table->buf, "<tbody>\n");
}

static void put_cost_end(const CostTable *table)
{
    html_raw(table->buf, "</tbody>\n");
    html_table_end(table->buf);
}

void html_costs(Buf *buf, const RunInfo *runs, size_t n_runs, const HtmlLatency *latencies,
                size_t n_latencies)
{
    size_t n_parts;
    RunInfo total = totals_of(runs, n_runs);
    CostTable table = {.buf = buf,
                       .names = names_of(runs, n_runs, STR_EMPTY, &n_parts),
                       .cached = total.usage.cached > 0,
                       .reasoning = total.usage.reasoning > 0};
    int n_labels = 1 + table.names.part + table.names.variant + table.names.model;
    bool folded = n_runs > MANY_RUNS;
    put_cost_head(&table, "cost and latency");
    if (!folded) {
        put_runs(&table, runs, n_runs, latencies, n_latencies);
    }
    if (n_runs != 1) {
        buf_printf(buf, "<tr class=\"across\"><th scope=\"row\" colspan=\"%d\">%zu runs</th>",
                   n_labels, n_runs);
        put_cost_cells(&table, &total, NULL);
    }
    put_cost_end(&table);
    if (folded) {
        buf_printf(buf, "<details><summary>%zu runs</summary>\n", n_runs);
        put_cost_head(&table, "cost and latency by run");
        put_runs(&table, runs, n_runs, latencies, n_latencies);
        put_cost_end(&table);
        html_raw(buf, "</details>\n");
    }
    html_raw(buf, "<p class=\"note\">Latency is of an attempt: the time of its calls, from sending "
                  "to the reply. With the built-in engine that includes the wait for a place in "
                  "the batch.</p>\n");
}
