// SPDX-License-Identifier: MIT
// A diff for people at a terminal: what changed, the table of paired differences, what was left
// out, costs, flips. Writes to a Buf; prints nothing.
#include "results/report_diff.h"
#include "results/report_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define MANY_SLICES  40 // of a metric; the others are only counted
#define DETAIL_LINES 12 // of a text that changed, when not all of them are wanted

static void put_title(Buf *buf, const DiffLook *look, const char *title)
{
    buf_printf(buf, "\n%s%s%s\n", look->color ? "\033[1m" : "", title,
               look->color ? "\033[0m" : "");
}

static ReportOptions table_look(const DiffLook *look)
{
    return (ReportOptions){.color = look->color, .width = look->width};
}

// ---- The two sides ------------------------------------------------------------------------------

/** The models of the selected runs, each once. */
static Str models_text(Arena *arena, const Side *side)
{
    Str text = STR_EMPTY;
    for (size_t i = 0; i < side->n_runs; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = str_eq(side->runs[i].model, side->runs[j].model);
        }
        if (!seen) {
            text = str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(text), i > 0 ? ", " : "",
                              STR_ARG(side->runs[i].model));
        }
    }
    return report_clean(arena, text);
}

static void side_row(Table *table, const char *word, const Side *side)
{
    Arena *arena = table->arena;
    const ExperimentInfo *experiment = &side->experiment;
    Str *row = table_row(table);
    int64_t n_done = 0;
    int64_t n_planned = 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        n_done += side->runs[i].n_done;
        n_planned += side->runs[i].n_planned;
    }
    Str rest;
    Str head;
    row[0] = str_from_c(word);
    row[1] = report_clean(arena, experiment->name);
    row[2] = report_clean(arena, experiment->short_id);
    row[3] = report_clean(arena, experiment->started);
    row[4] = str_eq(experiment->state, STR("finished")) ? STR_EMPTY
                                                        : report_clean(arena, experiment->state);
    row[5] = str_printf(arena, "%lld/%lld", (long long)n_done, (long long)n_planned);
    row[6] = report_clean(arena, results_subset_words(arena, experiment));
    row[7] = models_text(arena, side);
    row[8] = str_cut(side->selector.text, STR(":"), &head, &rest) ? report_clean(arena, rest)
                                                                  : STR_EMPTY;
}

static void put_sides(Buf *buf, Arena *arena, const DiffReport *diff, const DiffLook *look)
{
    static const Column columns[] = {
        {.title = ""},
        {"experiment", .shrink = true},
        {.title = "id"},
        {.title = "started"},
        {.title = "state"},
        {"done", .right = true},
        {"only", .shrink = true},
        {"model", .shrink = true},
        {"selected", .shrink = true},
    };
    Table table = {
        .arena = arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    ReportOptions options = table_look(look);
    side_row(&table, "base", &diff->base);
    side_row(&table, "candidate", &diff->candidate);
    table_put(buf, &table, &options);
}

// ---- What changed -------------------------------------------------------------------------------

static void put_detail_line(Buf *buf, Str line, const DiffLook *look)
{
    char mark = line.len > 0 ? line.data[0] : ' ';
    const char *color = mark == '-' ? "\033[31m" : mark == '+' ? "\033[32m" : "\033[2m";
    buf_printf(buf, "      %s", look->color ? color : "");
    report_text(buf, line, true);
    buf_c(buf, look->color ? "\033[0m\n" : "\n");
}

static void put_detail(Buf *buf, Str detail, const DiffLook *look)
{
    Str rest = detail;
    size_t n = 0;
    while (rest.len > 0 && (look->details || n < DETAIL_LINES)) {
        Str line;
        str_cut(rest, STR("\n"), &line, &rest);
        put_detail_line(buf, line, look);
        n += 1;
    }
    size_t n_more = 0;
    for (size_t i = 0; i < rest.len; i++) {
        n_more += rest.data[i] == '\n';
    }
    if (n_more > 0) {
        buf_printf(buf, "      (%zu more line%s: --details)\n", n_more, n_more == 1 ? "" : "s");
    }
}

/** Whether the diff is about one eval, which then need not be named again and again. */
static bool is_one_eval(const DiffReport *diff)
{
    for (size_t i = 1; i < diff->n_pairings; i++) {
        if (!str_eq(diff->pairings[i].eval, diff->pairings[0].eval)) {
            return false;
        }
    }
    return true;
}

static void put_changes(Buf *buf, Arena *arena, const DiffReport *diff, const DiffLook *look)
{
    put_title(buf, look, "what changed");
    if (diff->n_changes == 0) {
        buf_c(buf, "  nothing that is recorded: the same model, prompt, graders, data, settings\n");
    }
    for (size_t i = 0; i < diff->n_changes; i++) {
        const Change *change = &diff->changes[i];
        Str from = report_clean(arena, change->from);
        Str to = report_clean(arena, change->to);
        Str eval = report_clean(arena, change->eval);
        buf_printf(buf, "  %-12s  " STR_FMT " \u2192 " STR_FMT, change->what, STR_ARG(from),
                   STR_ARG(to));
        if (eval.len > 0 && !is_one_eval(diff)) {
            buf_printf(buf, "  (" STR_FMT ")", STR_ARG(eval));
        }
        buf_char(buf, '\n');
        put_detail(buf, change->detail, look);
    }
}

// ---- The table ----------------------------------------------------------------------------------

enum {
    DIFF_EVAL,
    DIFF_METRIC,
    DIFF_BASE,
    DIFF_CANDIDATE,
    DIFF_DIFFERENCE,
    DIFF_INTERVAL,
    DIFF_N,
    DIFF_TURNED,
    DIFF_P,
    DIFF_HOLM,
    DIFF_EFFECT,
    DIFF_VERDICT,
    DIFF_N_COLUMNS
};
_Static_assert(DIFF_N_COLUMNS <= TABLE_MAX_COL, "a row has room for every column");

static const Column diff_columns[DIFF_N_COLUMNS] = {
    [DIFF_EVAL] = {"eval", .shrink = true},
    [DIFF_METRIC] = {"metric", .shrink = true},
    [DIFF_BASE] = {"base", .right = true},
    [DIFF_CANDIDATE] = {"candidate", .right = true},
    [DIFF_DIFFERENCE] = {"difference", .right = true},
    [DIFF_INTERVAL] = {"95 % interval", .right = true},
    [DIFF_N] = {"pairs", .right = true},
    [DIFF_TURNED] = {"better/worse", .right = true},
    [DIFF_P] = {"p", .right = true},
    [DIFF_HOLM] = {"p (Holm)", .right = true},
    [DIFF_EFFECT] = {"detects", .right = true},
    [DIFF_VERDICT] = {"verdict"},
};

static void comparison_cells(Arena *arena, const Comparison *row, bool several, Str *cells)
{
    const MetricPairs *metric = row->pairs;
    int decimals = diff_decimals(row);
    Str name = report_clean(arena, metric->slice.len > 0 ? metric->slice : metric->metric);
    const char *over = metric->slice.len == 0 && metric->average.len > 0 ? ", mean of parts" : "";
    cells[DIFF_METRIC] = str_printf(arena, "%s" STR_FMT "%s%s", metric->slice.len > 0 ? "  " : "",
                                    STR_ARG(name), over, metric->lower_is_better ? " \u2193" : "");
    cells[DIFF_BASE] = diff_number(arena, row->base_value, decimals, false);
    cells[DIFF_CANDIDATE] = diff_number(arena, row->candidate_value, decimals, false);
    cells[DIFF_DIFFERENCE] = diff_number(arena, row->difference.interval.value, decimals, true);
    cells[DIFF_INTERVAL] = diff_interval(arena, row);
    cells[DIFF_N] = str_printf(arena, "%zu", row->n_paired);
    if (metric->paired) {
        cells[DIFF_TURNED] = str_printf(arena, "%zu/%zu", row->n_better, row->n_worse);
    }
    cells[DIFF_P] = diff_p(arena, row->p);
    cells[DIFF_HOLM] = several ? diff_p(arena, row->p_holm) : STR_EMPTY;
    cells[DIFF_EFFECT] =
        isfinite(row->effect) ? diff_number(arena, row->effect, decimals, false) : STR("-");
    cells[DIFF_VERDICT] = str_from_c(row->verdict);
}

static Str pairing_cell(Arena *arena, const DiffReport *diff, const Pairing *pairing)
{
    Str words = diff_pairing_words(arena, diff, pairing);
    return report_clean(arena, words.len == 0 ? pairing->eval
                                              : str_printf(arena, STR_FMT " " STR_FMT,
                                                           STR_ARG(pairing->eval), STR_ARG(words)));
}

static void table_fill(Table *table, const DiffReport *diff)
{
    const Pairing *pairing = NULL;
    size_t n_slices = 0;
    size_t n_hidden = 0;
    for (size_t i = 0; i < diff->n_rows; i++) {
        const Comparison *comparison = &diff->rows[i];
        n_slices = comparison->pairs->slice.len > 0 ? n_slices + 1 : 0;
        if (n_slices > MANY_SLICES) {
            n_hidden++;
            continue;
        }
        Str *cells = table_row(table);
        comparison_cells(table->arena, comparison, diff->n_rows > 1, cells);
        if (comparison->pairing != pairing) {
            pairing = comparison->pairing;
            cells[DIFF_EVAL] = pairing_cell(table->arena, diff, pairing);
        }
    }
    if (n_hidden > 0) {
        table_row(table)[DIFF_METRIC] =
            str_printf(table->arena, "  (%zu more slices: --json)", n_hidden);
    }
}

/** How wide a table is without cutting anything. */
static size_t table_needs(const Table *table)
{
    size_t total = 0;
    for (size_t c = 0; c < table->n_columns; c++) {
        size_t width = 0;
        for (size_t r = 0; r < table->n_rows; r++) {
            size_t n = utf8_columns(table->rows[r][c]);
            width = n > width ? n : width;
        }
        size_t title = utf8_columns(str_from_c(table->columns[c].title));
        total += width == 0 ? 0 : (title > width ? title : width) + 2;
    }
    return total > 2 ? total - 2 : 0;
}

/** Only some columns of a table. */
static Table table_part(const Table *table, const int *wanted, size_t n)
{
    Column *columns = ARENA_ARRAY(table->arena, Column, n);
    Table part = {.arena = table->arena, .columns = columns, .n_columns = n};
    for (size_t c = 0; c < n; c++) {
        columns[c] = table->columns[wanted[c]];
    }
    for (size_t r = 0; r < table->n_rows; r++) {
        Str *row = table_row(&part);
        for (size_t c = 0; c < n; c++) {
            row[c] = table->rows[r][wanted[c]];
        }
    }
    return part;
}

/** Put lines, with a verdict at their end in its color. */
static void put_verdicts(Buf *buf, Str lines, const DiffLook *look)
{
    static const struct {
        Str word;
        const char *color;
    } verdicts[] = {
        {STR_INIT("  better"), "\033[32m"},
        {STR_INIT("  worse"), "\033[31m"},
        {STR_INIT("  too few to tell"), "\033[33m"},
        {STR_INIT("  not comparable"), "\033[33m"},
    };
    Str rest = lines;
    Str line;
    while (rest.len > 0) {
        str_cut(rest, STR("\n"), &line, &rest);
        const char *color = NULL;
        size_t word = 0;
        for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]) && look->color; i++) {
            if (str_ends_with(line, verdicts[i].word)) {
                color = verdicts[i].color;
                word = verdicts[i].word.len;
            }
        }
        buf_str(buf, str_slice(line, 0, line.len - word));
        if (color != NULL) {
            buf_c(buf, color);
            buf_str(buf, str_slice(line, line.len - word, line.len));
            buf_c(buf, "\033[0m");
        }
        buf_char(buf, '\n');
    }
}

static void put_table(Buf *buf, const Table *table, const DiffLook *look)
{
    Buf lines = {0};
    ReportOptions options = table_look(look);
    table_put(&lines, table, &options);
    put_verdicts(buf, buf_view(&lines), look);
    buf_finish(&lines);
}

/** One table, or where that is too wide the answers and then how sure they are. */
static void put_rows(Buf *buf, Arena *arena, const DiffReport *diff, const DiffLook *look)
{
    static const int answers[] = {DIFF_EVAL,       DIFF_METRIC,   DIFF_BASE,   DIFF_CANDIDATE,
                                  DIFF_DIFFERENCE, DIFF_INTERVAL, DIFF_VERDICT};
    static const int sureness[] = {DIFF_EVAL, DIFF_METRIC, DIFF_N,     DIFF_TURNED,
                                   DIFF_P,    DIFF_HOLM,   DIFF_EFFECT};
    Table table = {.arena = arena, .columns = diff_columns, .n_columns = DIFF_N_COLUMNS};
    table_fill(&table, diff);
    buf_char(buf, '\n');
    if (look->width == 0 || table_needs(&table) <= (size_t)look->width) {
        put_table(buf, &table, look);
        return;
    }
    Table part = table_part(&table, answers, sizeof(answers) / sizeof(answers[0]));
    put_table(buf, &part, look);
    buf_char(buf, '\n');
    part = table_part(&table, sureness, sizeof(sureness) / sizeof(sureness[0]));
    put_table(buf, &part, look);
}

// ---- Under the table ----------------------------------------------------------------------------

static void put_line(Buf *buf, Arena *arena, const char *what, Str name, Str text)
{
    Str clean = report_clean(arena, text);
    buf_printf(buf, "%s" STR_FMT ": " STR_FMT "\n", what, STR_ARG(name), STR_ARG(clean));
}

static void put_left_out(Buf *buf, Arena *arena, const DiffReport *diff)
{
    bool any = false;
    for (size_t from = 0; from < diff->n_rows;) {
        const Pairing *pairing = diff->rows[from].pairing;
        size_t to = from;
        while (to < diff->n_rows && diff->rows[to].pairing == pairing) {
            to++;
        }
        bool same;
        Str text = diff_left_out_of(arena, diff, from, to, &same);
        Str name = pairing_cell(arena, diff, pairing);
        for (size_t i = from; i < to && (text.len > 0 || !same); i++) {
            if (diff->rows[i].pairs->slice.len > 0) {
                continue;
            }
            text = diff_left_out(arena, &diff->rows[i]);
            Str metric = report_clean(arena, diff->rows[i].pairs->metric);
            buf_c(buf, any || text.len == 0 ? "" : "\n");
            any |= text.len > 0;
            if (text.len > 0) {
                put_line(
                    buf, arena, "left out of ",
                    same ? name
                         : str_printf(arena, STR_FMT ", " STR_FMT, STR_ARG(name), STR_ARG(metric)),
                    text);
            }
            if (same) {
                break;
            }
        }
        from = to;
    }
}

/** Runs that only one side has. */
static void put_alone(Buf *buf, Arena *arena, const DiffReport *diff)
{
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const Pairing *pairing = &diff->pairings[i];
        if (!pairing_is_whole(pairing)) {
            Str name = pairing_cell(arena, diff, pairing);
            bool in_base = pairing->base_model.len > 0;
            buf_printf(buf, "\nonly in the %s: " STR_FMT "\n", in_base ? "base" : "candidate",
                       STR_ARG(name));
        }
    }
}

/** Metrics that failed, and why. */
static void put_failed(Buf *buf, Arena *arena, const DiffReport *diff)
{
    for (size_t i = 0; i < diff->n_rows; i++) {
        const MetricPairs *metric = diff->rows[i].pairs;
        Str why =
            metric->candidate_row.why.len > 0 ? metric->candidate_row.why : metric->base_row.why;
        if (why.len > 0 && metric->slice.len == 0) {
            buf_char(buf, '\n');
            put_line(buf, arena, "", report_clean(arena, metric->metric), why);
        }
    }
}

static void put_costs(Buf *buf, Arena *arena, const DiffReport *diff, const DiffLook *look)
{
    static const Column columns[] = {{.title = "  costs"}, {.title = ""}, {.title = ""}};
    Table table = {
        .arena = arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < diff->n_pairings; i++) {
        CostLine lines[COST_LINES];
        size_t n = pairing_is_whole(&diff->pairings[i]) ? diff_costs(&diff->costs[i], lines) : 0;
        for (size_t k = 0; k < n; k++) {
            Str *row = table_row(&table);
            row[0] =
                k > 0 ? STR_EMPTY
                      : str_concat(arena, STR("  "), pairing_cell(arena, diff, &diff->pairings[i]));
            row[1] = str_from_c(lines[k].what);
            row[2] = diff_cost_words(arena, &lines[k]);
        }
    }
    if (table.n_rows > 0) {
        put_title(buf, look, "cost (totals of each side, seconds of one attempt)");
        ReportOptions options = table_look(look);
        Buf lines = {0};
        table_put(&lines, &table, &options);
        size_t title = str_find(buf_view(&lines), STR("\n"), 0);
        buf_str(buf, str_slice(buf_view(&lines), title + 1, lines.len)); // without the titles
        buf_finish(&lines);
    }
}

static void put_flips(Buf *buf, Arena *arena, const DiffReport *diff, const DiffLook *look)
{
    static const Column columns[] = {
        {.title = ""},
        {"eval", .shrink = true},
        {"sample", .shrink = true},
        {"metric", .shrink = true},
        {"base", .right = true},
        {"candidate", .right = true},
    };
    Str words = diff_flips_words(arena, diff);
    put_title(buf, look, "flips");
    buf_printf(buf, "  " STR_FMT " of %zu pairs%s\n", STR_ARG(words), diff_headline_pairs(diff),
               diff->n_flips > 0 && look->flips == 0 ? " (--flips lists them)" : "");
    size_t n = (size_t)look->flips < diff->n_flips ? (size_t)look->flips : diff->n_flips;
    if (n == 0) {
        return;
    }
    Table table = {
        .arena = arena, .columns = columns, .n_columns = sizeof(columns) / sizeof(columns[0])};
    for (size_t i = 0; i < n; i++) {
        const Flip *flip = &diff->flips[i];
        Str *row = table_row(&table);
        Str id = flip->part.len == 0 ? flip->sample_id
                                     : str_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(flip->part),
                                                  STR_ARG(flip->sample_id));
        row[0] = flip->better ? STR("better") : STR("worse");
        row[1] = pairing_cell(arena, diff, flip->pairing);
        row[2] = report_clean(arena, id);
        row[3] = report_clean(arena, flip->metric);
        row[4] = diff_number(arena, flip->base, 3, false);
        row[5] = diff_number(arena, flip->candidate, 3, false);
    }
    ReportOptions options = table_look(look);
    table_put(buf, &table, &options);
    if (n < diff->n_flips) {
        buf_printf(buf, "(%zu more: --limit N)\n", diff->n_flips - n);
    }
    buf_c(buf, "both replies side by side: --sample ID\n");
}

void report_diff(Buf *buf, const DiffReport *diff, const DiffLook *look)
{
    Arena arena = {0};
    put_sides(buf, &arena, diff, look);
    put_changes(buf, &arena, diff, look);
    put_rows(buf, &arena, diff, look);
    put_left_out(buf, &arena, diff);
    put_alone(buf, &arena, diff);
    put_failed(buf, &arena, diff);
    put_costs(buf, &arena, diff, look);
    put_flips(buf, &arena, diff, look);
    arena_finish(&arena);
}
