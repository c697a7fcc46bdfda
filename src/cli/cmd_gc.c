// SPDX-License-Identifier: MIT
// muster gc: remove experiments. Without --yes it only says which, and how much that is.
#include "results/gc.h"

#include "cli/cli.h"

#include <unistd.h>

typedef struct GcOptions {
    ChooseOptions choose;
    int64_t keep;
    Str older_than;
    bool yes;
    bool dry_run;
} GcOptions;

#define O GcOptions
static const Option options[] = {
    {"keep", 0, OPT_INT_AT(O, keep), .arg = "N", .flag_only = true,
     .help = "the newest N of those that are chosen stay", .min = 1, .max = INT64_MAX},
    {"older-than", 0, OPT_STR_AT(O, older_than), .arg = "AGE", .flag_only = true,
     .help = "only those started longer ago than 90d, 12h, 2w, or before 2026-11-25"},
    CHOOSE_OPTION_ROWS(O, choose),
    {"yes", 'y', OPT_FLAG_AT(O, yes), .flag_only = true, .help = "remove them"},
    {"dry-run", 0, OPT_FLAG_AT(O, dry_run), .flag_only = true,
     .help = "only say what would go, which is what happens without --yes too"},
};
#undef O

static bool query_make(const GcOptions *opts, const Str *args, size_t n_args, GcQuery *out,
                       Err *err)
{
    *out = (GcQuery){
        .among = cli_choose(&opts->choose), .keep = opts->keep, .names = args, .n_names = n_args};
    bool chosen = opts->keep > 0 || opts->older_than.len > 0 || opts->choose.tags.n > 0 ||
                  opts->choose.eval.len > 0 || opts->choose.model.len > 0 ||
                  opts->choose.state.len > 0;
    if (opts->yes && opts->dry_run) {
        return ERR_SET(err, ERR_USAGE, "gc: --yes or --dry-run, not both");
    }
    if (chosen && n_args > 0) {
        return ERR_SET(err, ERR_USAGE, "gc: experiments by name or by options, not both");
    }
    if (!chosen && n_args == 0) {
        return ERR_SET(err, ERR_USAGE,
                       "gc: say which experiments: names, --keep N, --older-than AGE, --tag K=V, "
                       "--eval, --model, --state");
    }
    return opts->older_than.len == 0 ||
           cli_moment("--older-than", opts->older_than, &out->before_ms, err);
}

/** What `-m replay/EXPERIMENT` left beside the store. */
static void remove_replies(Cli *cli, const GcPlan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        if (plan->items[i].stays.len == 0) {
            Str name = str_printf(&cli->arena, "replay-" STR_FMT ".jsonl",
                                  STR_ARG(plan->items[i].experiment.short_id));
            unlink(
                str_to_c(&cli->arena, path_join(&cli->arena, path_dir(cli_store_path(cli)), name)));
        }
    }
}

static void say_done(const Cli *cli, const GcDone *done)
{
    if (cli->global.json) {
        return;
    }
    printf("removed %zu experiment%s; the store had %.1f MB, now %.1f MB\n", done->n_removed,
           PLURAL(done->n_removed), (double)done->file_bytes_before / 1e6,
           (double)done->file_bytes_after / 1e6);
    if (done->n_stayed > 0) {
        fprintf(stderr, "%zu stayed: promoted, started or removed meanwhile\n", done->n_stayed);
    }
    if (done->why_not.len > 0) {
        fprintf(stderr, "the file was not made smaller: " STR_FMT "\n", STR_ARG(done->why_not));
    }
}

static void plan_print(Cli *cli, const GcPlan *plan, const GcDone *done)
{
    if (cli->global.json) {
        Value value = report_gc_value(&cli->arena, plan, done);
        cli_print_json(&value);
        return;
    }
    Buf buf = {0};
    ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
    report_gc(&buf, plan, &look);
    cli_print(&buf);
    buf_finish(&buf);
}

static int cmd_gc_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const GcOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    GcQuery query;
    GcPlan plan;
    GcDone done;
    bool ok = query_make(opts, args, n_args, &query, &err) && cli_results(cli, &results, &err) &&
              gc_plan(results, &cli->arena, &query, &plan, &err);
    results_close(results); // a reader would keep the file from getting smaller
    if (!ok) {
        return cli_fail(cli, &err);
    }
    if (!opts->yes || plan.n_go == 0) {
        plan_print(cli, &plan, NULL);
        if (!cli->global.json && !cli->global.quiet && plan.n_go > 0) {
            fflush(stdout);
            fprintf(stderr, "nothing was removed; --yes removes them\n");
        }
        return EXIT_OK;
    }
    ok = gc_remove(cli_store_path(cli), &cli->arena, &plan, &done, &err);
    remove_replies(cli, &plan);
    if (ok && (cli->global.json || !cli->global.quiet)) {
        plan_print(cli, &plan, &done);
    }
    if (ok || done.n_removed > 0) {
        say_done(cli, &done);
    }
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_gc = {
    .name = "gc",
    .args = "[EXPERIMENT...]",
    .summary = "remove experiments; without --yes it only says which",
    .details = "Names, or options that all have to hold: `muster gc --keep 50 --older-than 90d` "
               "removes what is older than 90 days\nand not among the newest 50. What a baseline "
               "points to and what is running stays.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(GcOptions),
    .max_args = 1000,
    .run = cmd_gc_run,
};
