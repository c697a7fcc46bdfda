// SPDX-License-Identifier: MIT
// Progress for people, on stderr: a line that redraws itself on a terminal, a plain line every ten
// seconds elsewhere.
#include "cli/cli.h"

#include <math.h>

#include "run/run.h"

#define PLAIN_EVERY_NS 10000000000ll
#define BAR_CELLS      24

static void format_seconds(double seconds, char *out, size_t size)
{
    long s = lround(seconds);
    if (s >= 3600) {
        snprintf(out, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        snprintf(out, size, "%ldm%02lds", s / 60, s % 60);
    } else {
        snprintf(out, size, "%lds", s);
    }
}

static void format_bytes(double bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void format_bar(double share, char *out)
{
    int full = (int)(share * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++) {
        out[i] = i < full ? '#' : '.';
    }
    out[BAR_CELLS] = '\0';
}

/** Whether a line is due: always on a terminal (the caller already paces), else every ten seconds.
 */
static bool line_due(ProgressLine *line)
{
    if (line->cli->global.quiet) {
        return false;
    }
    if (line->cli->tty_err) {
        return true;
    }
    int64_t now = clock_ns();
    if (line->last_plain_ns != 0 && now - line->last_plain_ns < PLAIN_EVERY_NS) {
        return false;
    }
    line->last_plain_ns = now;
    return true;
}

static void line_put(ProgressLine *line, const char *text)
{
    if (!line->cli->tty_err) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    fprintf(stderr, "\r\033[K%.*s", (int)line->cli->width - 1, text);
    fflush(stderr);
    line->shown = true;
}

void progress_line_show(ProgressLine *line, const RunProgress *progress)
{
    if (!line_due(line)) {
        return;
    }
    char text[512];
    double share = progress->planned > 0 ? (double)progress->done / (double)progress->planned : 0;
    char bar[BAR_CELLS + 1];
    format_bar(share, bar);
    int n = snprintf(text, sizeof(text), "%s [%s] %lld/%lld", progress->phase, bar,
                     (long long)progress->done, (long long)progress->planned);
    if (!isnan(progress->score)) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  score %.3f", progress->score);
    }
    if (progress->tokens_per_s > 0) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  %.0f tok/s", progress->tokens_per_s);
    }
    if (progress->errors > 0) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  %lld error%s",
                      (long long)progress->errors, PLURAL(progress->errors));
    }
    if (progress->seconds_left >= 0 && progress->done < progress->planned) {
        char left[32];
        format_seconds(progress->seconds_left, left, sizeof(left));
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  %s left", left);
    }
    snprintf(text + n, sizeof(text) - (size_t)n, "  %.*s", STR_ARG(progress->model));
    line_put(line, text);
}

void progress_line_bytes(ProgressLine *line, Str what, uint64_t done, uint64_t total)
{
    if (!line_due(line)) {
        return;
    }
    char text[512];
    char have[32];
    format_bytes((double)done, have, sizeof(have));
    if (total > 0) {
        char all[32];
        char bar[BAR_CELLS + 1];
        format_bytes((double)total, all, sizeof(all));
        format_bar((double)done / (double)total, bar);
        snprintf(text, sizeof(text), "%.*s [%s] %s of %s", STR_ARG(what), bar, have, all);
    } else {
        snprintf(text, sizeof(text), "%.*s %s", STR_ARG(what), have);
    }
    line_put(line, text);
}

void progress_line_clear(ProgressLine *line)
{
    if (line->shown) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        line->shown = false;
    }
}

// ---- Downloads --------------------------------------------------------------------------------

static void on_pull_note(void *ctx, Str line)
{
    ProgressLine *progress = ctx;
    progress_line_clear(progress);
    if (!progress->cli->global.quiet) {
        fprintf(stderr, STR_FMT "\n", STR_ARG(line));
    }
}

static void on_pull_progress(void *ctx, Str file, uint64_t done, uint64_t total)
{
    progress_line_bytes(ctx, file, done, total);
}

PullProgress cli_pull_progress(ProgressLine *line)
{
    return (PullProgress){.on_progress = on_pull_progress, .on_note = on_pull_note, .ctx = line};
}
