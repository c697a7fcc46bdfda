// SPDX-License-Identifier: MIT
// Reports as one HTML file each: nothing is fetched, nothing is sent, no framework. Tables and
// plots are static HTML and SVG that need no script; transcripts lie in the file as JSON and are
// browsed with ours. Everything that came from models and datasets is data, never markup.
#pragma once

#include "results/compare.h"
#include "results/trend.h"

#define HTML_SAMPLES 2000 // attempts, or flips, with transcripts when nobody says otherwise
#define HTML_ALL     INT64_MAX

typedef struct HtmlOptions {
    int64_t samples;  // transcripts at most, failing ones first; 0: none; HTML_ALL: every one
    Str program;      // "muster 0.1.0", for the last line
    const Side *only; // report_html: the runs of this side; NULL: all
} HtmlOptions;

/**
 * One experiment: what ran, scores with intervals, cost, latency, transcripts.
 * in     options NULL: HTML_SAMPLES, no program.
 * fails  ERR_NOT_FOUND, ERR_STORE; ERR_LIMIT when the page does not fit
 * into buf's ceiling. */
bool report_html(Buf *buf, Results *results, int64_t experiment_id, const HtmlOptions *options,
                 Err *err);
/** A diff: what changed, paired differences, cost, flips with both replies. fails as report_html.
 */
bool report_html_diff(Buf *buf, Results *results, const DiffReport *diff,
                      const HtmlOptions *options, Err *err);

/** A trend, each series as a plot and a table. fails  ERR_LIMIT. */
bool report_html_trend(Buf *buf, const Trend *trend, const HtmlOptions *options, Err *err);
