// SPDX-License-Identifier: MIT
// A trend as a page: each series as a plot from the oldest experiment to the newest, and as a table
// that says what changed on the way.
#include "results/html_internal.h"

#include <math.h>

static void put_point(Buf *buf, const TrendPoint *point, size_t number)
{
    const MetricRow *metric = &point->metric;
    buf_printf(buf, "<tr><td class=\"r\">%zu</td><th scope=\"row\" class=\"name\">", number);
    html_text(buf, point->experiment);
    html_raw(buf, " <small><code>");
    html_text(buf, point->short_id);
    html_raw(buf, "</code></small></th>");
    html_element(buf, "td", "interval", point->started);
    html_raw(buf, "<td><code>");
    html_text(buf, point->git);
    html_raw(buf, "</code></td>");
    HTML_CELL(buf, html_number(buf, metric->value));
    html_raw(buf, "<td class=\"interval\">");
    html_interval(buf, metric->low, metric->high);
    html_raw(buf, "</td>");
    HTML_CELL(buf, html_count(buf, metric->n));
    html_raw(buf, "<td>");
    for (size_t i = 0; i < point->n_baselines; i++) {
        html_raw(buf, "<span class=\"chip\">\u25c6 ");
        html_text(buf, point->baselines[i]);
        html_raw(buf, "</span> ");
    }
    html_raw(buf, "</td><td>");
    html_text(buf, point->changed);
    if (point->n_done < point->n_planned) {
        html_raw(buf, point->changed.len > 0 ? "; " : "");
        html_raw(buf, "<span class=\"bad\">");
        html_count(buf, point->n_done);
        html_raw(buf, " of ");
        html_count(buf, point->n_planned);
        html_raw(buf, " done</span>");
    }
    html_raw(buf, "</td></tr>\n");
}

static void put_series(Buf *buf, const TrendSeries *series)
{
    html_raw(buf, "<section><h2>");
    html_text(buf, series->variant);
    html_raw(buf, series->variant.len > 0 ? " on " : "");
    html_text(buf, series->model);
    html_raw(buf, " <small>");
    html_text(buf, series->metric);
    html_raw(buf, series->lower_is_better ? ", lower is better</small></h2>\n" : "</small></h2>\n");
    if (series->n > 1) {
        html_series_plot(buf, series);
    }
    html_table_begin(buf, "plain", "values of ", series->model);
    html_table_head(buf, ">#|experiment|started|commit|>value|95 % interval|>n|baselines|changed");
    html_raw(buf, "<tbody>\n");
    for (size_t i = 0; i < series->n; i++) {
        put_point(buf, &series->points[i], i + 1);
    }
    html_raw(buf, "</tbody>\n");
    html_table_end(buf);
    html_raw(buf, "</section>\n");
}

bool report_html_trend(Buf *buf, const Trend *trend, const HtmlOptions *options, Err *err)
{
    static const HtmlOptions usual = {.samples = HTML_SAMPLES};
    Buf title = {0};
    buf_str(&title, trend->eval);
    buf_c(&title, trend->part.len > 0 ? "/" : "");
    buf_str(&title, trend->part);
    html_page_begin(buf, buf_view(&title), "trend");
    html_raw(buf, "<header><p class=\"kind\">muster \u00b7 trend</p>\n");
    html_element(buf, "h1", NULL, buf_view(&title));
    html_raw(buf, "<p class=\"sub\">From the oldest experiment to the newest. The line through a "
                  "point is its 95\u00a0% interval; \u25c6 is a baseline. Whether two points "
                  "differ says <code>muster diff</code>.</p></header>\n<main>\n");
    for (size_t i = 0; i < trend->n; i++) {
        put_series(buf, &trend->series[i]);
    }
    html_raw(buf, "</main>\n");
    buf_finish(&title);
    return html_page_end(buf, NULL, options != NULL ? options : &usual, err);
}
