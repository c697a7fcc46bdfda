// SPDX-License-Identifier: MIT
// Inside the HTML reports: text made harmless, numbers, plots, the page around them, transcripts.
#pragma once

#include "results/html.h"

// ---- Text and numbers (html_text.c) -------------------------------------------------------------

/** Markup of our own, as it is. */
#define html_raw buf_c
/** Any text as HTML, for elements and for quoted attributes: report_text, then entities. */
void html_text(Buf *buf, Str text);
/** As html_text, line feeds and tabs kept. */
void html_lines(Buf *buf, Str text);
/** A value as JSON that may stand inside a script element: no '<' in it. */
void html_json(Buf *buf, const Value *value);
/** "<TAG>text</TAG>", with a class unless NULL. */
void html_element(Buf *buf, const char *tag, const char *class_name, Str text);

/** A metric's value: three digits behind the point where it is small; an en dash for NaN. */
void html_number(Buf *buf, double d);
/** With its sign, also for zero and above. */
void html_signed(Buf *buf, double d);
/** "[0.154, 0.289]", or an en dash. */
void html_interval(Buf *buf, double low, double high);
/** Digits in groups of three from 10000 on. */
void html_count(Buf *buf, int64_t n);
void html_seconds(Buf *buf, double seconds);
void html_cost(Buf *buf, double usd);
void html_p(Buf *buf, double p);
/** "sha256-..." of a text, as a Content-Security-Policy names it. */
void html_csp_hash(Buf *buf, Str text);

/** A cell, its number aligned right. */
#define HTML_CELL(buf, call)                                                                       \
    do {                                                                                           \
        html_raw((buf), "<td class=\"r\">");                                                       \
        call;                                                                                      \
        html_raw((buf), "</td>");                                                                  \
    } while (0)

// ---- Plots (html_plot.c) ------------------------------------------------------------------------

/** A linear scale with round ticks. */
typedef struct HtmlScale {
    double low; // ends, both ticks
    double high;
    double step;
} HtmlScale;

/** Numbers that a scale has to hold. */
typedef struct HtmlRange {
    double low;
    double high;
    bool any;
} HtmlRange;

void html_range_add(HtmlRange *range, double d); // NaN and infinities are passed over
/** Round numbers around the range; whole: [0, 1] for what lies in it. */
HtmlScale html_scale(const HtmlRange *range, bool whole);
/** Symmetric around 0, for differences. */
HtmlScale html_scale_around_zero(const HtmlRange *range);
/** The axis that stands above the plots of a column. */
void html_axis(Buf *buf, const HtmlScale *scale, bool with_signs);
typedef struct HtmlWhisker {
    double value; // NaN: nothing is drawn
    double low;
    double high;
    double shade;     // half width of a band around 0; NaN: none
    const char *tone; // class of the dot: "", "good", "bad"
} HtmlWhisker;
/** A dot with its interval. */
void html_whisker(Buf *buf, const HtmlScale *scale, const HtmlWhisker *whisker);
/** A plot of points from left to right. */
void html_series_plot(Buf *buf, const TrendSeries *series);

// ---- The page (html_page.c) ---------------------------------------------------------------------

/** Everything before the content: policy, style, title. */
void html_page_begin(Buf *buf, Str title, const char *kind);
/** Data, script and the end. data NULL: a page without transcripts, and without a script. */
bool html_page_end(Buf *buf, const Buf *data, const HtmlOptions *options, Err *err);
/** A heading with an anchor for the links at the top. */
void html_section(Buf *buf, const char *id, const char *title);
/** Opens a table that scrolls sideways by itself where the page is too narrow. */
void html_table_begin(Buf *buf, const char *class_name, const char *label_prefix, Str label);
void html_table_end(Buf *buf);
/** A row of column titles from "a|b|>c": '>' aligns right, '=' is a plot. */
void html_table_head(Buf *buf, const char *columns);
/** A map as rows of a table: nested maps by dotted names, lists of texts joined by spaces. */
void html_map_rows(Buf *buf, const Value *map, Str prefix);
/** The browser's place; filled by the script. what: "attempts" or "flips". */
void html_browser(Buf *buf, const char *what);

/** State, start and id of an experiment. */
void html_experiment_line(Buf *buf, const ExperimentInfo *experiment);
/** A map as a table of two columns; nothing for an empty one. */
void html_provenance_table(Buf *buf, const char *label, Str of, const Value *map);

/** Which of the names that tell runs apart differ, so that a column is worth its place. */
typedef struct HtmlNames {
    bool part;
    bool variant;
    bool model;
} HtmlNames;

// ---- Scores and cost (html_scores.c) ------------------------------------------------------------

void html_scores(Buf *buf, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                 size_t n_cross);
/** Seconds of a run's attempts, sorted. */
typedef struct HtmlLatency {
    int64_t run_id;
    const double *seconds;
    size_t n;
} HtmlLatency;
void html_costs(Buf *buf, const RunInfo *runs, size_t n_runs, const HtmlLatency *latencies,
                size_t n_latencies);

// ---- Transcripts (html_data.c) ------------------------------------------------------------------

typedef struct TranscriptRun {
    const RunInfo *info;
    int side;       // 0, or 1: the candidate
    Value prompt;   // of its first attempt here, whose beginning others share; null before
    Value settings; // text: of the first call here; null before
} TranscriptRun;

/** Attempts on their way into the page: JSON of each, and the runs that they name by number. */
typedef struct Transcripts {
    Arena arena;
    Buf attempts; // items with commas between
    TranscriptRun *runs;
    size_t n_runs;
    size_t n;
    bool with_inputs; // also those that stand in their prompt
} Transcripts;

/** For attempts of one side, or of two: then the second has side 1. */
void transcripts_init(Transcripts *transcripts, const RunInfo *runs, size_t n_runs,
                      const RunInfo *others, size_t n_others, size_t limit_bytes);
void transcripts_finish(Transcripts *transcripts);
/**
 * Add an attempt of one of the runs; texts past 20 kB are cut in the middle and say so.
 * returns its number in the page. */
size_t transcripts_put(Transcripts *transcripts, const AttemptInfo *attempt, int side);
/** "runs":[...],"attempts":[...] */
void transcripts_write(Buf *buf, const Transcripts *transcripts);

// ---- Flips (html_flips.c) -----------------------------------------------------------------------

/** Which flips the page has room for: the first worse ones, the first better ones. */
typedef struct FlipChoice {
    size_t all_worse; // of all flips; the better ones follow them
    size_t n_worse;
    size_t n_better;
} FlipChoice;

/** Half of the room for each direction, and what one leaves over for the other. */
FlipChoice flips_choose(const DiffReport *diff, int64_t samples);
/** The chosen flips with both sides' attempts, as the page's data. */
bool flips_read(Results *results, const DiffReport *diff, const FlipChoice *choice, Buf *json,
                Err *err);
/** The section: how many there are, how many are here, the browser's place. */
void html_flips(Buf *buf, const DiffReport *diff, const FlipChoice *choice);
