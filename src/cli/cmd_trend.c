// SPDX-License-Identifier: MIT
// muster trend: a metric of one eval over the experiments that ran it.
#include "cli/cli.h"

#include "results/html.h"

#include <string.h>

#define DEFAULT_LIMIT 50

typedef struct TrendOptions {
    Str metric;
    Str model;
    Str variant;
    StrList tags;
    Str since;
    int64_t limit;
    Str html;
} TrendOptions;

#define O TrendOptions
static const Option options[] = {
    {"metric", 0, OPT_STR_AT(O, metric), .arg = "M", .flag_only = true,
     .help = "grader.metric, a metric or a grader (default: the eval's first)"},
    {"model", 'm', OPT_STR_AT(O, model), .arg = "GLOB", .flag_only = true,
     .help = "only such models"},
    {"variant", 0, OPT_STR_AT(O, variant), .arg = "GLOB", .flag_only = true,
     .help = "only such variants"},
    {"tag", 0, OPT_LIST_AT(O, tags), .arg = "K=V", .flag_only = true,
     .help = "only experiments with this tag; V may hold * and ?; may be repeated: all of them"},
    {"since", 0, OPT_STR_AT(O, since), .arg = "DATE", .flag_only = true,
     .help = "only experiments started since 2026-11-25, 2026-11-25T17:46 (UTC), or 7d, 12h ago"},
    {"limit", 'n', OPT_INT_AT(O, limit), .arg = "N", .flag_only = true,
     .help = "the newest N experiments (default 50)", .min = 1, .max = INT64_MAX},
    {"html", 0, OPT_STR_AT(O, html), .arg = "FILE", .flag_only = true,
     .help = "write a page with plots, which needs no network"},
};
#undef O

/** Whether the terminal's locale is not one of UTF-8, by the variables that decide it. */
static bool locale_is_ascii(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Str value = env_get(names[i], STR_EMPTY);
        if (value.len > 0) {
            return strcasestr(value.data, "utf-8") == NULL &&
                   strcasestr(value.data, "utf8") == NULL;
        }
    }
    return true;
}

static void trend_print(Cli *cli, const Trend *trend)
{
    if (cli->global.json) {
        Value value = report_trend_value(&cli->arena, trend);
        cli_print_json(&value);
        return;
    }
    Buf buf = {0};
    ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
    report_trend(&buf, trend, locale_is_ascii(), &look);
    cli_print(&buf);
    buf_finish(&buf);
}

/** The page, where one is asked for. */
static bool trend_write_html(const Trend *trend, Str path, Err *err)
{
    if (path.len == 0) {
        return true;
    }
    Buf buf = {0};
    Arena scratch = {0};
    HtmlOptions page = {.program = str_concat(&scratch, STR("muster "), cli_version())};
    bool ok =
        report_html_trend(&buf, trend, &page, err) &&
        (file_write_atomic(path, buf_view(&buf), err) || ERR_WRAP(err, "can not write the page"));
    buf_finish(&buf);
    arena_finish(&scratch);
    return ok;
}

static int cmd_trend_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    const TrendOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    Trend trend;
    TrendQuery query = {
        .eval = args[0],
        .metric = opts->metric,
        .model = opts->model,
        .variant = opts->variant,
        .among = {.tags = opts->tags.items,
                  .n_tags = opts->tags.n,
                  .limit = opts->limit > 0 ? opts->limit : DEFAULT_LIMIT},
    };
    bool ok =
        (opts->since.len == 0 || cli_moment("--since", opts->since, &query.among.since_ms, &err)) &&
        cli_results(cli, &results, &err) &&
        trend_compute(results, &cli->arena, &query, &trend, &err) &&
        trend_write_html(&trend, opts->html, &err);
    if (ok) {
        trend_print(cli, &trend);
    }
    results_close(results);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_trend = {
    .name = "trend",
    .args = "EVAL",
    .summary = "a metric of one eval over time, with what changed and where baselines are",
    .details =
        "EVAL is NAME or NAME/PART. One line of points for each variant and model; a value is "
        "of all parts together.\nWhether two points differ says: muster diff.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(TrendOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_trend_run,
};
