// SPDX-License-Identifier: MIT
// A diff as Markdown: a comment on a pull request, a step summary. Whatever came from models, data
// or files is made to mean nothing to Markdown and to GitHub here, in report_markdown and
// put_fenced.
#include "results/report_diff.h"
#include "results/report_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define DETAIL_LINES 60    // of a text that changed
#define ROWS_MAX     200   // of the table
#define BYTES_MAX    60000 // a comment on GitHub holds 65,536

/** Lines between fences that are longer than any run of backticks in them. */
static void put_fenced(Buf *buf, Str text)
{
    size_t fence = 3;
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        run = text.data[i] == '`' ? run + 1 : 0;
        fence = run >= fence ? run + 1 : fence;
    }
    Buf marks = {0};
    for (size_t i = 0; i < fence; i++) {
        buf_char(&marks, '`');
    }
    buf_str(buf, buf_view(&marks));
    buf_c(buf, "diff\n");
    Str rest = text;
    Str line;
    for (size_t n = 0; rest.len > 0; n++) {
        str_cut(rest, STR("\n"), &line, &rest);
        if (n == DETAIL_LINES) {
            buf_c(buf, " (and more)\n");
            break;
        }
        report_text(buf, line, true);
        buf_char(buf, '\n');
    }
    buf_str(buf, buf_view(&marks));
    buf_c(buf, "\n");
    buf_finish(&marks);
}

static void put_name(Buf *buf, Arena *arena, const DiffReport *diff, const Pairing *pairing)
{
    report_markdown(buf, arena, pairing->eval);
    Str words = diff_pairing_words(arena, diff, pairing);
    if (words.len > 0) {
        buf_char(buf, ' ');
        report_markdown(buf, arena, words);
    }
}

/** The experiment's name, and what was selected in it. */
static void put_side(Buf *buf, Arena *arena, const Side *side)
{
    Str head;
    Str rest;
    report_markdown(buf, arena, side->experiment.name);
    if (str_cut(side->selector.text, STR(":"), &head, &rest)) {
        buf_c(buf, ", ");
        report_markdown(buf, arena, rest);
    }
}

static void put_heading(Buf *buf, Arena *arena, const DiffReport *diff)
{
    const Side *sides[] = {&diff->base, &diff->candidate};
    buf_c(buf, "### ");
    put_side(buf, arena, &diff->candidate);
    buf_c(buf, " against ");
    put_side(buf, arena, &diff->base);
    buf_c(buf, "\n\n");
    for (size_t s = 0; s < 2; s++) {
        const ExperimentInfo *experiment = &sides[s]->experiment;
        if (!str_eq(experiment->state, STR("finished"))) {
            buf_printf(buf, "**The %s is not finished (", s == 0 ? "base" : "candidate");
            report_markdown(buf, arena, experiment->state);
            buf_c(buf, ").**\n\n");
        }
    }
}

static void put_changes(Buf *buf, Arena *arena, const DiffReport *diff)
{
    if (diff->n_changes == 0) {
        buf_c(buf, "Nothing that is recorded changed.\n\n");
        return;
    }
    buf_c(buf, "**What changed**\n\n");
    for (size_t i = 0; i < diff->n_changes; i++) {
        const Change *change = &diff->changes[i];
        buf_printf(buf, "- %s: ", change->what);
        report_markdown(buf, arena, change->from);
        buf_c(buf, " \u2192 ");
        report_markdown(buf, arena, change->to);
        if (change->eval.len > 0) {
            buf_c(buf, " (");
            report_markdown(buf, arena, change->eval);
            buf_char(buf, ')');
        }
        buf_char(buf, '\n');
    }
    for (size_t i = 0; i < diff->n_changes && buf->len < BYTES_MAX / 2; i++) {
        const Change *change = &diff->changes[i];
        if (change->detail.len > 0) {
            buf_printf(buf, "\n<details><summary>%s", change->what);
            if (change->eval.len > 0) {
                buf_c(buf, " of ");
                report_markdown(buf, arena, change->eval);
            }
            buf_c(buf, "</summary>\n\n");
            put_fenced(buf, change->detail);
            buf_c(buf, "\n</details>\n");
        }
    }
    buf_char(buf, '\n');
}

/** Verdicts that somebody should look at stand out. */
static void put_verdict(Buf *buf, const Comparison *row)
{
    bool loud = strcmp(row->verdict, "better") == 0 || strcmp(row->verdict, "worse") == 0;
    buf_printf(buf, loud ? "**%s**" : "%s", row->verdict);
}

static void put_row(Buf *buf, Arena *arena, const DiffReport *diff, const Comparison *row)
{
    const MetricPairs *metric = row->pairs;
    int decimals = diff_decimals(row);
    Str cells[] = {
        diff_number(arena, row->base_value, decimals, false),
        diff_number(arena, row->candidate_value, decimals, false),
        diff_number(arena, row->difference.interval.value, decimals, true),
        diff_interval(arena, row),
        str_printf(arena, "%zu", row->n_paired),
        metric->paired ? str_printf(arena, "%zu/%zu", row->n_better, row->n_worse) : STR_EMPTY,
        diff_p(arena, row->p),
        diff_p(arena, row->p_holm),
        isfinite(row->effect) ? diff_number(arena, row->effect, decimals, false) : STR("-"),
    };
    buf_c(buf, "| ");
    put_name(buf, arena, diff, row->pairing);
    buf_c(buf, " | ");
    report_markdown(buf, arena, metric->metric);
    buf_c(buf, metric->average.len > 0 ? ", mean of parts" : "");
    if (metric->slice.len > 0) {
        buf_char(buf, ' ');
        report_markdown(buf, arena, metric->slice);
    }
    buf_c(buf, metric->lower_is_better ? " \u2193 |" : " |");
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        buf_printf(buf, " " STR_FMT " |", STR_ARG(cells[i]));
    }
    buf_char(buf, ' ');
    put_verdict(buf, row);
    buf_c(buf, " |\n");
}

static void put_rows(Buf *buf, Arena *arena, const DiffReport *diff)
{
    buf_c(buf, "| eval | metric | base | candidate | difference | 95 % interval | pairs | "
               "better/worse | p | p (Holm) | detects | verdict |\n"
               "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n");
    size_t n = 0;
    while (n < diff->n_rows && n < ROWS_MAX && buf->len < BYTES_MAX) {
        put_row(buf, arena, diff, &diff->rows[n++]);
    }
    if (n < diff->n_rows) {
        buf_printf(buf, "\n%zu more rows: see the terminal or `--json`.\n", diff->n_rows - n);
    }
}

static void put_left_out(Buf *buf, Arena *arena, const DiffReport *diff)
{
    bool any = false;
    for (size_t i = 0; i < diff->n_rows && buf->len < BYTES_MAX; i++) {
        const Comparison *row = &diff->rows[i];
        Str text = row->pairs->slice.len > 0 ? STR_EMPTY : diff_left_out(arena, row);
        if (text.len > 0) {
            buf_c(buf, any ? "" : "\n");
            any = true;
            buf_c(buf, "- left out of ");
            put_name(buf, arena, diff, row->pairing);
            buf_c(buf, ", ");
            report_markdown(buf, arena, row->pairs->metric);
            buf_printf(buf, ": " STR_FMT "\n", STR_ARG(text));
        }
    }
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const Pairing *pairing = &diff->pairings[i];
        if (!pairing_is_whole(pairing)) {
            buf_c(buf, any ? "" : "\n");
            any = true;
            buf_printf(buf,
                       "- only in the %s: ", pairing->base_model.len > 0 ? "base" : "candidate");
            put_name(buf, arena, diff, pairing);
            buf_char(buf, '\n');
        }
    }
}

static void put_costs(Buf *buf, Arena *arena, const DiffReport *diff)
{
    bool any = false;
    for (size_t i = 0; i < diff->n_pairings && buf->len < BYTES_MAX; i++) {
        CostLine lines[COST_LINES];
        size_t n = pairing_is_whole(&diff->pairings[i]) ? diff_costs(&diff->costs[i], lines) : 0;
        for (size_t k = 0; k < n; k++) {
            buf_c(buf, any ? "" : "\n| cost | | base \u2192 candidate |\n|---|---|--:|\n");
            any = true;
            buf_c(buf, "| ");
            if (k == 0) {
                put_name(buf, arena, diff, &diff->pairings[i]);
            }
            Str words = diff_cost_words(arena, &lines[k]);
            buf_printf(buf, " | %s | " STR_FMT " |\n", lines[k].what, STR_ARG(words));
        }
    }
}

static void put_flips(Buf *buf, Arena *arena, const DiffReport *diff, int64_t n_flips)
{
    Str words = diff_flips_words(arena, diff);
    buf_printf(buf, "\nFlips: " STR_FMT " of %zu pairs.\n", STR_ARG(words),
               diff_headline_pairs(diff));
    size_t n = (size_t)n_flips < diff->n_flips ? (size_t)n_flips : diff->n_flips;
    if (n == 0) {
        return;
    }
    buf_c(buf, "\n<details><summary>Flips</summary>\n\n"
               "| turned | eval | sample | base | candidate |\n|---|---|---|--:|--:|\n");
    for (size_t i = 0; i < n && buf->len < BYTES_MAX; i++) {
        const Flip *flip = &diff->flips[i];
        buf_printf(buf, "| %s | ", flip->better ? "better" : "worse");
        put_name(buf, arena, diff, flip->pairing);
        buf_c(buf, " | ");
        if (flip->part.len > 0) {
            report_markdown(buf, arena, flip->part);
            buf_char(buf, '/');
        }
        report_markdown(buf, arena, flip->sample_id);
        Str base = diff_number(arena, flip->base, 3, false);
        Str candidate = diff_number(arena, flip->candidate, 3, false);
        buf_printf(buf, " | " STR_FMT " | " STR_FMT " |\n", STR_ARG(base), STR_ARG(candidate));
    }
    buf_c(buf, "\n</details>\n");
}

void report_diff_markdown(Buf *buf, const DiffReport *diff, int64_t n_flips)
{
    Arena arena = {0};
    put_heading(buf, &arena, diff);
    put_changes(buf, &arena, diff);
    put_rows(buf, &arena, diff);
    put_left_out(buf, &arena, diff);
    put_costs(buf, &arena, diff);
    put_flips(buf, &arena, diff, n_flips);
    arena_finish(&arena);
}
