// SPDX-License-Identifier: MIT
// muster diff: what changed between two sides, and what that did to every metric.
#include "cli/cli.h"
#include "cli/html_file.h"

#include "results/compare.h"

#define FLIPS_SHOWN 20

typedef struct DiffOpts {
    Str metric;
    bool flips;
    Str sample;
    int64_t limit;
    bool details;
    bool markdown;
    Str html;
    Str samples;
} DiffOpts;

#define O DiffOpts
static const Option options[] = {
    {"metric", 0, OPT_STR_AT(O, metric), .arg = "METRIC",
     .help = "only this metric: GRADER.METRIC, or one of the two", .flag_only = true},
    {"flips", 0, OPT_FLAG_AT(O, flips), .help = "list the samples that turned, worse ones first",
     .flag_only = true},
    {"sample", 's', OPT_STR_AT(O, sample), .arg = "ID",
     .help = "both replies to one sample side by side", .flag_only = true},
    {"limit", 'n', OPT_INT_AT(O, limit), .arg = "N", .help = "at most N flips (default 20)",
     .min = 1, .max = INT64_MAX, .flag_only = true},
    {"details", 0, OPT_FLAG_AT(O, details),
     .help = "all lines of the texts that changed, not the first dozen", .flag_only = true},
    {"markdown", 0, OPT_FLAG_AT(O, markdown), .help = "as Markdown, for a pull request",
     .flag_only = true},
    {"html", 0, OPT_STR_AT(O, html), .arg = "FILE", .flag_only = true,
     .help = "also as one HTML file with plots and flips; - is stdout, and nothing else"},
    {"samples", 0, OPT_STR_AT(O, samples), .arg = "N|all", .flag_only = true,
     .help = "flips with both replies in the HTML file (default 2000)"},
};
#undef O

/** One candidate against the base. */
typedef struct OneDiff {
    Cli *cli;
    Results *results;
    const DiffOpts *opts;
    DiffReport report;
} OneDiff;

static int64_t flips_shown(const DiffOpts *opts)
{
    return !opts->flips ? 0 : opts->limit > 0 ? opts->limit : FLIPS_SHOWN;
}

static bool print_samples(OneDiff *one, Value *out_value, Err *err)
{
    Cli *cli = one->cli;
    DiffSample *samples;
    size_t n;
    if (!diff_sample(one->results, &cli->arena, &one->report, one->opts->sample, &samples, &n,
                     err)) {
        return false;
    }
    Value *values = ARENA_ARRAY(&cli->arena, Value, n);
    Buf buf = {0};
    ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
    for (size_t i = 0; i < n; i++) {
        if (cli->global.json) {
            values[i] = report_diff_sample_value(&cli->arena, &samples[i]);
        } else {
            buf_c(&buf, i > 0 ? "\n" : "");
            report_diff_sample(&buf, &samples[i], &look);
        }
    }
    *out_value = value_list(values, n);
    cli_print(&buf);
    buf_finish(&buf);
    return true;
}

static void print_report(const OneDiff *one, Value *out_value)
{
    Cli *cli = one->cli;
    Buf buf = {0};
    if (cli->global.json) {
        *out_value = report_diff_value(&cli->arena, &one->report);
    } else if (one->opts->markdown) {
        report_diff_markdown(&buf, &one->report, flips_shown(one->opts));
    } else {
        DiffLook look = {.color = cli->color_out,
                         .width = (int)cli->width,
                         .flips = flips_shown(one->opts),
                         .details = one->opts->details};
        report_diff(&buf, &one->report, &look);
    }
    cli_print(&buf);
    buf_finish(&buf);
}

static bool write_html(const OneDiff *one, Err *err)
{
    HtmlOptions how;
    Buf page = cli_html_buf();
    bool ok = cli_html_options(one->cli, one->opts->samples, &how, err) &&
              report_html_diff(&page, one->results, &one->report, &how, err) &&
              cli_html_write(one->cli, one->opts->html, &page, err);
    buf_finish(&page);
    return ok;
}

static bool diff_one(OneDiff *one, Str base, Str candidate, Value *out_value, Err *err)
{
    Cli *cli = one->cli;
    Selector selectors[2];
    DiffOptions options_diff = {.metric = one->opts->metric, .same_allowed = true};
    if (!selector_parse(&cli->arena, base, &selectors[0], err) ||
        !selector_parse(&cli->arena, candidate, &selectors[1], err) ||
        !diff_compute(one->results, &cli->arena, &selectors[0], &selectors[1], &options_diff,
                      &one->report, err)) {
        return false;
    }
    if (one->opts->sample.len > 0) {
        return print_samples(one, out_value, err);
    }
    if (!str_eq(one->opts->html, STR("-"))) {
        print_report(one, out_value);
    }
    return one->opts->html.len == 0 || write_html(one, err);
}

/** Options that do not go together. */
static bool options_fit(const DiffOpts *opts, size_t n_candidates, bool json, Err *err)
{
    if (opts->markdown && opts->sample.len > 0) {
        return ERR_SET(err, ERR_USAGE, "--markdown: one sample is shown on a terminal only");
    }
    if (opts->html.len > 0 && opts->sample.len > 0) {
        return ERR_SET(err, ERR_USAGE, "--html: one sample is shown on a terminal only");
    }
    if (opts->html.len > 0 && n_candidates > 1) {
        return ERR_SET(err, ERR_USAGE, "--html: one file holds one candidate, not %zu",
                       n_candidates);
    }
    if (str_eq(opts->html, STR("-")) && (json || opts->markdown)) {
        return ERR_SET(err, ERR_USAGE, "--html -: stdout is for one report only");
    }
    return true;
}

static int cmd_diff_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const DiffOpts *opts = options_struct;
    Err err = ERR_INIT;
    OneDiff one = {.cli = cli, .opts = opts};
    Value *values = ARENA_ARRAY(&cli->arena, Value, n_args);
    bool ok = options_fit(opts, n_args - 1, cli->global.json, &err) &&
              cli_results(cli, &one.results, &err);
    for (size_t i = 1; ok && i < n_args; i++) {
        if (i > 1 && !cli->global.json) {
            printf("\n");
        }
        ok = diff_one(&one, args[0], args[i], &values[i - 1], &err);
    }
    if (ok && cli->global.json) {
        MapBuilder map;
        map_builder_init(&map, &cli->arena);
        map_builder_put(&map, opts->sample.len > 0 ? STR("samples") : STR("diffs"),
                        value_list(values, n_args - 1));
        Value value = map_builder_done(&map);
        cli_print_json(&value);
    }
    results_close(one.results);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_diff = {
    .name = "diff",
    .args = "BASE CANDIDATE...",
    .summary = "compare experiments sample by sample: what changed, and what that did",
    .details =
        "BASE and CANDIDATE are EXPERIMENT[:eval=..,part=..,variant=..,model=..]; EXPERIMENT is a\n"
        "name, a short id, latest, latest~1 or @BASELINE. Runs pair by eval, part and variant;\n"
        "variants of different names where they are named: latest:variant=a latest:variant=b.\n"
        "Exits 0 whatever it finds: `muster gate` is for exit codes.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(DiffOpts),
    .min_args = 2,
    .max_args = 1000,
    .run = cmd_diff_run,
};
