// SPDX-License-Identifier: MIT
// A diff as a page: what changed first, then paired differences drawn around zero, what they cost,
// and the samples that turned with both replies. Decides nothing: the numbers are compare.h's.
#include "results/html_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define SLICE_ROWS_MAX 400 // of a pairing

// ---- What changed -------------------------------------------------------------------------------

/** A unified diff, its lines told apart by their first character and a class. */
static void put_text_diff(Buf *buf, Str text)
{
    html_raw(buf, "<pre>");
    Str line;
    bool more = true;
    while (more) {
        more = str_cut(text, STR("\n"), &line, &text);
        const char *tone = str_starts_with(line, STR("+"))   ? "add"
                           : str_starts_with(line, STR("-")) ? "del"
                                                             : NULL;
        if (tone != NULL) {
            html_element(buf, "span", tone, line);
        } else {
            html_text(buf, line);
        }
        html_raw(buf, more ? "\n" : "");
    }
    html_raw(buf, "</pre>\n");
}

static void put_changes(Buf *buf, const DiffReport *diff)
{
    html_section(buf, "changes", "What changed");
    if (diff->n_changes == 0) {
        html_raw(buf, "<p>Nothing that is known to decide answers: the same evals, data, prompts, "
                      "models and settings.</p>\n");
        return;
    }
    html_table_begin(buf, "plain", "what changed", STR_EMPTY);
    html_table_head(buf, "what|eval|base|candidate");
    html_raw(buf, "<tbody>\n");
    for (size_t i = 0; i < diff->n_changes; i++) {
        const Change *change = &diff->changes[i];
        html_raw(buf, "<tr>");
        html_element(buf, "th", NULL, str_from_c(change->what));
        html_element(buf, "td", "name", change->eval);
        html_element(buf, "td", "name", change->from);
        html_element(buf, "td", "name", change->to);
        html_raw(buf, "</tr>\n");
    }
    html_raw(buf, "</tbody>\n");
    html_table_end(buf);
    for (size_t i = 0; i < diff->n_changes; i++) {
        const Change *change = &diff->changes[i];
        if (change->detail.len > 0) {
            html_raw(buf, "<details><summary>");
            html_text(buf, change->eval);
            buf_printf(buf, "%s%s, line by line</summary>\n", change->eval.len > 0 ? ": " : "",
                       change->what);
            put_text_diff(buf, change->detail);
            html_raw(buf, "</details>\n");
        }
    }
}

// ---- Comparisons --------------------------------------------------------------------------------

/** The table of a pairing under way. */
typedef struct DiffTable {
    Buf *buf;
    const DiffReport *diff;
    HtmlScale unit[2]; // of differences of all metrics in 0..1, so that plots compare; of slices
    bool slices;
} DiffTable;

static bool is_unit(const Comparison *row)
{
    return row->pairs->range_low == 0 && row->pairs->range_high == 1;
}

static void range_add_row(HtmlRange *range, const Comparison *row)
{
    html_range_add(range, row->difference.interval.value);
    html_range_add(range, row->difference.interval.low);
    html_range_add(range, row->difference.interval.high);
}

/** A scale for intervals, with the detectable effect in view unless it dwarfs them. */
static HtmlScale scale_of(const HtmlRange *intervals, double effect)
{
    HtmlRange range = *intervals;
    double most = fmax(fabs(range.low), fabs(range.high));
    if (isfinite(effect) && range.any) {
        html_range_add(&range, fmin(effect, 1.5 * most));
    }
    return html_scale_around_zero(&range);
}

static HtmlScale unit_scale(const DiffReport *diff, bool slices)
{
    HtmlRange range = {0};
    double effect = 0;
    for (size_t i = 0; i < diff->n_rows; i++) {
        if (is_unit(&diff->rows[i]) && (diff->rows[i].pairs->slice.len > 0) == slices) {
            range_add_row(&range, &diff->rows[i]);
            effect = isfinite(diff->rows[i].effect) ? fmax(effect, diff->rows[i].effect) : effect;
        }
    }
    return scale_of(&range, effect);
}

static HtmlScale row_scale(const Comparison *row)
{
    HtmlRange range = {0};
    range_add_row(&range, row);
    return scale_of(&range, row->effect);
}

typedef struct VerdictLook {
    const char *verdict;
    const char *sign;
    const char *tone;
} VerdictLook;

static const VerdictLook *look_of(const char *verdict)
{
    static const VerdictLook looks[] = {
        {"better", "\u25b2", "good"},
        {"worse", "\u25bc", "bad"},
        {"no difference shown", "=", "plainly"},
        {"too few to tell", "?", "plainly"},
        {"not comparable", "\u2260", "plainly"},
    };
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (strcmp(looks[i].verdict, verdict) == 0) {
            return &looks[i];
        }
    }
    return &looks[4];
}

static size_t n_unpaired(const Comparison *row, int side)
{
    size_t n = 0;
    for (int state = SAMPLE_SCORED + 1; state < SAMPLE_STATE_COUNT; state++) {
        n += row->n_states[side][state];
    }
    return n;
}

/** "candidate: 2 missing, 1 error" */
static void put_unpaired(Buf *buf, const Comparison *row)
{
    static const char *const words[SAMPLE_STATE_COUNT] = {
        [SAMPLE_MISSING] = "missing",
        [SAMPLE_ERRORED] = "in error",
        [SAMPLE_UNSCORED] = "unscored",
        [SAMPLE_CHANGED] = "changed",
    };
    bool any = false;
    for (int side = 0; side < 2; side++) {
        const char *comma = "";
        if (n_unpaired(row, side) > 0) {
            buf_printf(buf, "%s%s: ", any ? "; " : "", side == 0 ? "base" : "candidate");
            any = true;
        }
        for (int state = SAMPLE_SCORED + 1; state < SAMPLE_STATE_COUNT; state++) {
            if (row->n_states[side][state] > 0) {
                html_raw(buf, comma);
                html_count(buf, (int64_t)row->n_states[side][state]);
                buf_printf(buf, " %s", words[state]);
                comma = ", ";
            }
        }
    }
    if (row->pairs->n_missing_planned > 0) {
        html_raw(buf, any ? "; " : "");
        html_count(buf, row->pairs->n_missing_planned);
        html_raw(buf, " never ran");
    }
}

static void put_difference(Buf *buf, const Comparison *row, const HtmlScale *scale,
                           const char *tone)
{
    const Interval *difference = &row->difference.interval;
    HTML_CELL(buf, html_number(buf, row->base_value));
    HTML_CELL(buf, html_number(buf, row->candidate_value));
    HTML_CELL(buf, html_signed(buf, difference->value));
    HtmlWhisker whisker = {difference->value, difference->low, difference->high, row->effect, tone};
    html_raw(buf, "<td class=\"plot\">");
    html_whisker(buf, scale, &whisker);
    buf_printf(buf, "</td><td class=\"interval\" title=\"%s\">", row->method);
    html_interval(buf, difference->low, difference->high);
    html_raw(buf, "</td>");
}

static void put_row(const DiffTable *table, const Comparison *row, const HtmlScale *scale)
{
    Buf *buf = table->buf;
    const VerdictLook *look = look_of(row->verdict);
    html_raw(buf, "<tr><th scope=\"row\" class=\"name\">");
    html_text(buf, row->pairs->metric);
    if (table->slices) {
        html_raw(buf, " ");
        html_text(buf, row->pairs->slice);
    }
    if (row->pairs->average.len > 0) {
        html_raw(buf, " <small>mean of parts</small>");
    }
    html_raw(buf, row->pairs->lower_is_better ? " <small>lower is better</small></th>" : "</th>");
    buf_printf(buf, "<td class=\"verdict %s\">%s ", look->tone, look->sign);
    html_text(buf, str_from_c(row->verdict));
    html_raw(buf, "</td>");
    put_difference(buf, row, scale, look->tone);
    html_raw(buf, "<td class=\"r\">");
    html_p(buf, row->p);
    html_raw(buf, " <small>(");
    html_p(buf, row->p_holm);
    html_raw(buf, ")</small></td>");
    HTML_CELL(buf, html_number(buf, isfinite(row->effect) ? row->effect : (double)NAN));
    HTML_CELL(buf, html_count(buf, (int64_t)row->n_worse));
    HTML_CELL(buf, html_count(buf, (int64_t)row->n_better));
    HTML_CELL(buf, html_count(buf, (int64_t)row->n_paired));
    html_raw(buf, "</tr>\n");
}

/** A line with the axis of the plots below it. */
static void put_axis_row(const DiffTable *table, const HtmlScale *scale)
{
    html_raw(table->buf, "<tr class=\"metric\"><td colspan=\"5\"></td><td class=\"plot\">");
    html_axis(table->buf, scale, true);
    html_raw(table->buf, "</td><td colspan=\"6\"></td></tr>\n");
}

/** The rows of a pairing, of all samples or of slices: those in 0..1 on the common scale first. */
static void put_rows(const DiffTable *table, const Pairing *pairing)
{
    const DiffReport *diff = table->diff;
    size_t n = 0;
    for (int unit = 1; unit >= 0; unit--) {
        bool axis = false;
        for (size_t i = 0; i < diff->n_rows && n < SLICE_ROWS_MAX; i++) {
            const Comparison *row = &diff->rows[i];
            if (row->pairing != pairing || (row->pairs->slice.len > 0) != table->slices ||
                is_unit(row) != (unit == 1)) {
                continue;
            }
            HtmlScale scale = unit == 1 ? table->unit[table->slices] : row_scale(row);
            if (unit == 0 || !axis) {
                put_axis_row(table, &scale);
                axis = true;
            }
            put_row(table, row, &scale);
            n++;
        }
    }
}

#define DIFF_COLUMNS                                                                               \
    "metric|verdict|>base|>candidate|>difference|=plot|95 % interval|>p (Holm)|>detectable|"       \
    ">worse|>better|>pairs"

static void put_table(DiffTable *table, const Pairing *pairing)
{
    html_table_begin(table->buf, "scores diffs", table->slices ? "slices of " : "differences in ",
                     pairing->eval);
    html_table_head(table->buf, DIFF_COLUMNS);
    html_raw(table->buf, "<tbody>\n");
    put_rows(table, pairing);
    html_raw(table->buf, "</tbody>\n");
    html_table_end(table->buf);
}

static void put_side_name(Buf *buf, Str variant, Str model)
{
    html_text(buf, variant);
    html_raw(buf, variant.len > 0 ? " on " : "");
    html_text(buf, model);
}

/** Under the table: samples that have no value on both sides, once where metrics agree. */
static void put_not_paired(const DiffTable *table, const Pairing *pairing)
{
    Buf said = {0};
    for (size_t i = 0; i < table->diff->n_rows; i++) {
        const Comparison *row = &table->diff->rows[i];
        if (row->pairing != pairing || row->pairs->slice.len > 0) {
            continue;
        }
        Buf text = {0};
        put_unpaired(&text, row);
        if (text.len > 0 && !str_eq(buf_view(&text), buf_view(&said))) {
            html_raw(table->buf, "<p class=\"note\"><span class=\"bad\">! Not paired</span>, ");
            html_text(table->buf, row->pairs->metric);
            html_raw(table->buf, ": ");
            buf_str(table->buf, buf_view(&text));
            html_raw(table->buf, ".</p>\n");
        }
        buf_clear(&said);
        buf_str(&said, buf_view(&text));
        buf_finish(&text);
    }
    buf_finish(&said);
}

static void put_pairing_title(Buf *buf, const Pairing *pairing)
{
    html_raw(buf, "<h3>");
    html_text(buf, pairing->eval);
    html_raw(buf, " <small>");
    put_side_name(buf, pairing->base_variant, pairing->base_model);
    if (!str_eq(pairing->base_variant, pairing->candidate_variant) ||
        !str_eq(pairing->base_model, pairing->candidate_model)) {
        html_raw(buf, " \u2192 ");
        put_side_name(buf, pairing->candidate_variant, pairing->candidate_model);
    }
    html_raw(buf, "</small></h3>\n");
}

static void put_pairing(DiffTable *table, const Pairing *pairing)
{
    Buf *buf = table->buf;
    const DiffReport *diff = table->diff;
    size_t n_rows = 0;
    size_t n_slices = 0;
    for (size_t i = 0; i < diff->n_rows; i++) {
        const Comparison *row = &diff->rows[i];
        if (row->pairing == pairing) {
            n_rows += row->pairs->slice.len == 0;
            n_slices += row->pairs->slice.len > 0;
        }
    }
    put_pairing_title(buf, pairing);
    if (!pairing_is_whole(pairing)) {
        bool base = pairing->n_parts > 0 && pairing->base[0] != NULL;
        buf_printf(buf, "<p class=\"bad\">\u2260 only the %s has it: not comparable.</p>\n",
                   base ? "base" : "candidate");
        return;
    }
    if (n_rows > 0) {
        table->slices = false;
        put_table(table, pairing);
        put_not_paired(table, pairing);
    }
    if (n_slices > 0) {
        buf_printf(buf, "<details><summary>By slice (%zu lines)</summary>\n", n_slices);
        table->slices = true;
        put_table(table, pairing);
        if (n_slices > SLICE_ROWS_MAX) {
            buf_printf(buf, "<p class=\"note\">%zu more: <code>muster diff --json</code></p>\n",
                       n_slices - SLICE_ROWS_MAX);
        }
        html_raw(buf, "</details>\n");
    }
}

static void put_comparisons(Buf *buf, const DiffReport *diff)
{
    DiffTable table = {
        .buf = buf, .diff = diff, .unit = {unit_scale(diff, false), unit_scale(diff, true)}};
    html_section(buf, "differences", "Differences");
    html_raw(buf, "<p class=\"note\">Candidate minus base, over the samples that both have. The "
                  "line is the 95\u00a0% interval; the shaded band is what could hide: the "
                  "smallest difference that this many samples would show in 8 of 10 cases "
                  "(detectable).</p>\n");
    for (size_t i = 0; i < diff->n_pairings; i++) {
        put_pairing(&table, &diff->pairings[i]);
    }
}

// ---- Cost ---------------------------------------------------------------------------------------

static void put_cost_row(Buf *buf, const char *name, int64_t n, const Usage *usage, double p50,
                         double p95, double cost)
{
    html_element(buf, "td", NULL, str_from_c(name));
    HTML_CELL(buf, html_count(buf, n));
    HTML_CELL(buf, html_count(buf, usage->input));
    HTML_CELL(buf, html_count(buf, usage->output));
    HTML_CELL(buf, html_seconds(buf, p50));
    HTML_CELL(buf, html_seconds(buf, p95));
    HTML_CELL(buf, html_cost(buf, cost));
    html_raw(buf, "</tr>\n");
}

/** By how many percent a number grew; a dash where that says nothing. */
static void put_growth(Buf *buf, double from, double to)
{
    html_raw(buf, "<td class=\"r\">");
    if (isfinite(from) && isfinite(to) && from > 0) {
        double percent = 100 * (to / from - 1);
        const char *sign = percent <= -0.5 ? "\u2212" : percent >= 0.5 ? "+" : "";
        buf_printf(buf, "%s%.0f\u00a0%%", sign, fabs(percent));
    } else {
        html_raw(buf, "\u2013");
    }
    html_raw(buf, "</td>");
}

static void put_costs(Buf *buf, const DiffReport *diff)
{
    html_section(buf, "cost", "Cost and latency");
    html_table_begin(buf, "costs", "cost and latency of both sides", STR_EMPTY);
    html_table_head(buf, "eval|side|>attempts|>tokens in|>tokens out|>latency p50|>p95|>cost");
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const CostDelta *cost = &diff->costs[i];
        html_raw(buf, "<tbody><tr><th scope=\"rowgroup\" rowspan=\"3\" class=\"name\">");
        html_text(buf, diff->pairings[i].eval);
        html_raw(buf, " <small>");
        html_text(buf, diff->pairings[i].candidate_variant);
        html_raw(buf, "</small></th>");
        put_cost_row(buf, "base", cost->base_attempts, &cost->base_usage, cost->base_seconds_p50,
                     cost->base_seconds_p95, cost->base_cost_usd);
        html_raw(buf, "<tr>");
        put_cost_row(buf, "candidate", cost->candidate_attempts, &cost->candidate_usage,
                     cost->candidate_seconds_p50, cost->candidate_seconds_p95,
                     cost->candidate_cost_usd);
        html_raw(buf, "<tr class=\"across\"><td>change</td>");
        put_growth(buf, (double)cost->base_attempts, (double)cost->candidate_attempts);
        put_growth(buf, (double)cost->base_usage.input, (double)cost->candidate_usage.input);
        put_growth(buf, (double)cost->base_usage.output, (double)cost->candidate_usage.output);
        put_growth(buf, cost->base_seconds_p50, cost->candidate_seconds_p50);
        put_growth(buf, cost->base_seconds_p95, cost->candidate_seconds_p95);
        put_growth(buf, cost->base_cost_usd, cost->candidate_cost_usd);
        html_raw(buf, "</tr></tbody>\n");
    }
    html_table_end(buf);
}

// ---- The page -----------------------------------------------------------------------------------

static void put_side(Buf *buf, const char *name, const Side *side)
{
    buf_printf(buf, "<div><dt>%s</dt><dd><strong>", name);
    html_text(buf, side->selector.text);
    html_raw(buf, "</strong>");
    if (!str_eq(side->selector.text, side->experiment.name)) {
        html_raw(buf, " <small>of</small> ");
        html_text(buf, side->experiment.name);
    }
    html_experiment_line(buf, &side->experiment);
    html_raw(buf, "</dd></div>\n");
}

static void put_head(Buf *buf, const DiffReport *diff)
{
    html_raw(buf, "<header><p class=\"kind\">muster \u00b7 diff</p>\n<h1>");
    html_text(buf, diff->base.selector.text);
    html_raw(buf, " \u2192 ");
    html_text(buf, diff->candidate.selector.text);
    html_raw(buf, "</h1>\n<dl class=\"facts\">\n");
    put_side(buf, "Base", &diff->base);
    put_side(buf, "Candidate", &diff->candidate);
    html_raw(buf, "</dl>\n<nav aria-label=\"Sections\"><a href=\"#changes\">What changed</a> <a "
                  "href=\"#differences\">Differences</a> <a href=\"#cost\">Cost and latency</a> "
                  "<a href=\"#flips\">Flips</a></nav></header>\n");
}

bool report_html_diff(Buf *buf, Results *results, const DiffReport *diff,
                      const HtmlOptions *options, Err *err)
{
    static const HtmlOptions usual = {.samples = HTML_SAMPLES};
    options = options != NULL ? options : &usual;
    FlipChoice choice = flips_choose(diff, options->samples);
    Buf json = {.limit_bytes = buf->limit_bytes};
    bool ok = flips_read(results, diff, &choice, &json, err);
    if (ok) {
        Buf title = {0};
        buf_str(&title, diff->base.selector.text);
        buf_c(&title, " \u2192 ");
        buf_str(&title, diff->candidate.selector.text);
        html_page_begin(buf, buf_view(&title), "diff");
        buf_finish(&title);
        put_head(buf, diff);
        html_raw(buf, "<main>\n");
        put_changes(buf, diff);
        put_comparisons(buf, diff);
        put_costs(buf, diff);
        html_flips(buf, diff, &choice);
        html_raw(buf, "</main>\n");
        ok = html_page_end(buf, &json, options, err);
    }
    buf_finish(&json);
    return ok;
}
