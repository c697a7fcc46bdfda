// SPDX-License-Identifier: MIT
// Dots and whiskers as inline SVG. Colours and strokes come from the page's style by class; no
// style attributes, which its policy forbids. What a plot shows stands as text beside it, so plots
// are hidden from screen readers.
#include "results/html_internal.h"

#include <math.h>
#include <stdio.h>

#define PLOT_MARGIN 4.0 // percent: a dot at an end is whole
#define ROW_HEIGHT  30  // of a table's row: the grid goes through
#define TICKS_MAX   12

void html_range_add(HtmlRange *range, double d)
{
    if (isfinite(d)) {
        range->low = range->any ? fmin(range->low, d) : d;
        range->high = range->any ? fmax(range->high, d) : d;
        range->any = true;
    }
}

/** The round step (1, 2 or 5 times a power of ten) that cuts a span into about n. */
static double round_step(double span, double n)
{
    double rough = span / n;
    double power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

HtmlScale html_scale(const HtmlRange *range, bool whole)
{
    if (!range->any || (whole && range->low >= 0 && range->high <= 1)) {
        return (HtmlScale){.low = 0, .high = 1, .step = 0.25};
    }
    double span = range->high - range->low;
    if (!(span > 1e-12 * fmax(fabs(range->low), fabs(range->high)))) {
        span = fmax(fabs(range->high) * 0.1, 1e-6); // one value
    }
    double step = round_step(span, 3);
    HtmlScale scale = {.low = floor(range->low / step) * step,
                       .high = ceil(range->high / step) * step,
                       .step = step};
    if (!(scale.high > scale.low)) { // one value, on a tick
        scale.high = scale.low + step;
    }
    return scale;
}

HtmlScale html_scale_around_zero(const HtmlRange *range)
{
    double most = range->any ? fmax(fabs(range->low), fabs(range->high)) : 0;
    if (!(most > 0)) {
        most = 0.1;
    }
    double step = round_step(most, 2);
    double end = ceil(most / step) * step;
    return (HtmlScale){.low = -end, .high = end, .step = step};
}

/** Where a number stands, in percent of the plot's width: it may be as wide as there is room. */
static double x_of(const HtmlScale *scale, double d)
{
    double share = (d - scale->low) / (scale->high - scale->low);
    return PLOT_MARGIN + fmin(fmax(share, 0), 1) * (100 - 2 * PLOT_MARGIN);
}

static int n_ticks(const HtmlScale *scale)
{
    double n = round((scale->high - scale->low) / scale->step) + 1;
    return n >= 2 && n <= TICKS_MAX ? (int)n : 2;
}

static double tick_at(const HtmlScale *scale, int i)
{
    int n = n_ticks(scale);
    double d = scale->low + (scale->high - scale->low) * i / (n - 1);
    return fabs(d) < scale->step * 1e-9 ? 0 : d;
}

static double tick_step(const HtmlScale *scale)
{
    return (scale->high - scale->low) / (n_ticks(scale) - 1);
}

/** A tick's number with as many decimals as the step between them needs. */
static void put_tick(Buf *buf, double step, double d, bool with_sign)
{
    int decimals = (int)fmin(fmax(0, -floor(log10(step) + 1e-9)), 12);
    double scaled = step * pow(10, decimals);
    decimals += fabs(scaled - round(scaled)) > 1e-6; // 0.25
    const char *sign = d < 0 ? "\u2212" : with_sign && d > 0 ? "+" : "";
    if (fabs(d) >= 1e6) {
        buf_printf(buf, "%s%.3g", sign, fabs(d));
    } else {
        buf_printf(buf, "%s%.*f", sign, decimals, fabs(d));
    }
}

static void put_vertical(Buf *buf, const char *class_name, double x, int from, int to)
{
    buf_printf(buf, "<line");
    if (class_name != NULL) {
        buf_printf(buf, " class=\"%s\"", class_name);
    }
    buf_printf(buf, " x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%d\" y2=\"%d\"/>", x, x, from, to);
}

static void put_svg(Buf *buf, const char *class_name, int height)
{
    buf_printf(buf, "<svg class=\"%s\" height=\"%d\" aria-hidden=\"true\" focusable=\"false\">",
               class_name, height);
}

void html_axis(Buf *buf, const HtmlScale *scale, bool with_signs)
{
    put_svg(buf, "axis", 18);
    int n = n_ticks(scale);
    double step = tick_step(scale);
    int every = n > 3 && n % 2 == 1 ? 2 : 1; // both ends and the middle have a number
    for (int i = 0; i < n; i++) {
        double x = x_of(scale, tick_at(scale, i));
        put_vertical(buf, "grid", x, 14, 18);
        if (i % every == 0) {
            buf_printf(buf, "<text x=\"%.2f%%\" y=\"11\" text-anchor=\"middle\">", x);
            put_tick(buf, step * every, tick_at(scale, i), with_signs);
            buf_c(buf, "</text>");
        }
    }
    buf_c(buf, "</svg>");
}

void html_whisker(Buf *buf, const HtmlScale *scale, const HtmlWhisker *whisker)
{
    const int middle = ROW_HEIGHT / 2;
    put_svg(buf, "row", ROW_HEIGHT);
    if (isfinite(whisker->shade)) {
        double from = x_of(scale, -whisker->shade);
        buf_printf(buf, "<rect class=\"shade\" x=\"%.2f%%\" width=\"%.2f%%\" height=\"%d\"/>", from,
                   x_of(scale, whisker->shade) - from, ROW_HEIGHT);
    }
    for (int i = 0; i < n_ticks(scale); i++) {
        put_vertical(buf, "grid", x_of(scale, tick_at(scale, i)), 0, ROW_HEIGHT);
    }
    if (scale->low < 0 && scale->high > 0) {
        put_vertical(buf, "zero", x_of(scale, 0), 0, ROW_HEIGHT);
    }
    if (isfinite(whisker->value)) {
        buf_printf(buf, "<g class=\"mark %s\">", whisker->tone);
        if (!isnan(whisker->low) && !isnan(whisker->high)) {
            double from = x_of(scale, whisker->low);
            double to = x_of(scale, whisker->high);
            buf_printf(buf, "<line x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%d\" y2=\"%d\"/>", from, to,
                       middle, middle);
            put_vertical(buf, NULL, from, middle - 4, middle + 4);
            put_vertical(buf, NULL, to, middle - 4, middle + 4);
        }
        buf_printf(buf, "<circle cx=\"%.2f%%\" cy=\"%d\" r=\"4\"/></g>",
                   x_of(scale, whisker->value), middle);
    }
    buf_c(buf, "</svg>");
}

// ---- Series -------------------------------------------------------------------------------------

#define SERIES_WIDTH  960.0
#define SERIES_HEIGHT 260.0
#define SERIES_LEFT   56.0
#define SERIES_BOTTOM 28.0
#define SERIES_TOP    12.0

typedef struct SeriesFrame {
    const TrendSeries *series;
    HtmlScale scale;
} SeriesFrame;

static double series_x(const SeriesFrame *frame, size_t i)
{
    double room = SERIES_WIDTH - SERIES_LEFT - 24;
    size_t n = frame->series->n;
    return SERIES_LEFT + (n > 1 ? room * (double)i / (double)(n - 1) : room / 2);
}

static double series_y(const SeriesFrame *frame, double d)
{
    double share = (d - frame->scale.low) / (frame->scale.high - frame->scale.low);
    return SERIES_HEIGHT - SERIES_BOTTOM -
           fmin(fmax(share, 0), 1) * (SERIES_HEIGHT - SERIES_BOTTOM - SERIES_TOP);
}

static void put_series_axes(Buf *buf, const SeriesFrame *frame)
{
    for (int i = 0; i < n_ticks(&frame->scale); i++) {
        double y = series_y(frame, tick_at(&frame->scale, i));
        buf_printf(buf, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>", SERIES_LEFT - 8, y,
                   SERIES_WIDTH);
        buf_printf(buf, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">", SERIES_LEFT - 12,
                   y + 4);
        put_tick(buf, tick_step(&frame->scale), tick_at(&frame->scale, i), false);
        buf_c(buf, "</text>");
    }
    size_t every = frame->series->n / 16 + 1;
    for (size_t i = 0; i < frame->series->n; i += every) {
        buf_printf(buf, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%zu</text>",
                   series_x(frame, i), SERIES_HEIGHT - 6, i + 1);
    }
}

static void put_point(Buf *buf, const SeriesFrame *frame, size_t i)
{
    const TrendPoint *point = &frame->series->points[i];
    const MetricRow *metric = &point->metric;
    if (!isfinite(metric->value)) {
        return;
    }
    double x = series_x(frame, i);
    double y = series_y(frame, metric->value);
    buf_c(buf, "<g class=\"mark\"><title>");
    html_text(buf, point->experiment);
    buf_c(buf, ": ");
    html_number(buf, metric->value);
    buf_c(buf, "</title>");
    if (!isnan(metric->low) && !isnan(metric->high)) {
        double low = series_y(frame, metric->low);
        double high = series_y(frame, metric->high);
        buf_printf(buf, "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\"/>", x, low, high,
                   x - 4, low, x - 4, high);
    }
    if (point->n_baselines > 0) {
        buf_printf(buf, "<path class=\"diamond\" d=\"M%.1f %.1fl7 7l-7 7l-7 -7z\"/>", x, y - 7);
    } else {
        buf_printf(buf, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", x, y);
    }
    buf_c(buf, "</g>");
}

void html_series_plot(Buf *buf, const TrendSeries *series)
{
    HtmlRange range = {0};
    for (size_t i = 0; i < series->n; i++) {
        html_range_add(&range, series->points[i].metric.value);
        html_range_add(&range, series->points[i].metric.low);
        html_range_add(&range, series->points[i].metric.high);
    }
    SeriesFrame frame = {.series = series, .scale = html_scale(&range, false)};
    buf_printf(buf,
               "<svg class=\"series\" viewBox=\"0 0 %.0f %.0f\" aria-hidden=\"true\" "
               "focusable=\"false\">",
               SERIES_WIDTH, SERIES_HEIGHT);
    put_series_axes(buf, &frame);
    buf_c(buf, "<path class=\"line\" d=\"");
    bool pen_down = false;
    for (size_t i = 0; i < series->n; i++) {
        bool there = isfinite(series->points[i].metric.value);
        if (there) {
            buf_printf(buf, "%c%.1f %.1f", pen_down ? 'L' : 'M', series_x(&frame, i),
                       series_y(&frame, series->points[i].metric.value));
        }
        pen_down = there;
    }
    buf_c(buf, "\"/>");
    for (size_t i = 0; i < series->n; i++) {
        put_point(buf, &frame, i);
    }
    buf_c(buf, "</svg>");
}
