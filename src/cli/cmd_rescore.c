// SPDX-License-Identifier: MIT
// muster rescore: graders as they are now on the replies of a stored experiment.
#include "cli/cli.h"

#include <math.h>
#include <string.h>

#include "run/run.h"

typedef struct RescoreOptions {
    Str grader;
    Str name;
} RescoreOptions;

#define O RescoreOptions
static const Option options[] = {
    {"grader", 0, OPT_STR_AT(O, grader), .arg = "G",
     .help = "apply only this grader and those that are combined with it; the others' scores stay"},
    {"name", 0, OPT_STR_AT(O, name), .arg = "NAME",
     .help = "name of the new experiment (default: EXPERIMENT-rescored-1, -2, ...)"},
};
#undef O

/** What is scored anew, and its evals as they are now. */
typedef struct Rescoring {
    ExperimentInfo from;
    RunInfo *runs;
    size_t n_runs;
    const Eval **evals;
    size_t n_evals;
    CrossMetric *cross;
    size_t n_cross;
} Rescoring;

#define RUNS_SHOWN_MAX 24 // of one eval

static bool has_eval(const Rescoring *rescoring, Str name)
{
    for (size_t i = 0; i < rescoring->n_evals; i++) {
        if (str_eq(rescoring->evals[i]->name, name)) {
            return true;
        }
    }
    return false;
}

/** The eval that a run was of: the file that the experiment says, where it is there, else by name.
 */
static bool eval_load(Cli *cli, Rescoring *rescoring, Str name, Err *err)
{
    const Value *files = value_get_c(&rescoring->from.provenance, "evals");
    const Value *file = value_get(files, name);
    bool is_file = file != NULL && file->kind == VALUE_STR && file_exists(file->as.str);
    Str word = is_file ? file->as.str : name;
    Faults faults;
    faults_init(&faults, &cli->arena);
    const Eval *eval = NULL;
    bool ok = registry_eval(cli->registry, word, &faults, &eval, err);
    if (cli_faults(cli, &faults) && !ok) {
        *err = (Err)ERR_INIT;
        ERR_SET(err, ERR_CONFIG, STR_FMT ": %zu error%s (above)", STR_ARG(word), faults.n_errors,
                PLURAL(faults.n_errors));
    }
    if (!ok) {
        return false;
    }
    if (!str_eq(eval->name, name)) {
        return ERR_SET(err, ERR_USAGE, STR_FMT " is eval '" STR_FMT "' now, not '" STR_FMT "'",
                       STR_ARG(word), STR_ARG(eval->name), STR_ARG(name));
    }
    rescoring->evals[rescoring->n_evals++] = eval;
    return true;
}

static bool rescoring_load(Cli *cli, Results *results, Str name, Rescoring *out, Err *err)
{
    if (!results_experiment(results, &cli->arena, name, &out->from, err)) {
        return false;
    }
    if (str_eq(out->from.state, STR("running"))) {
        return ERR_SET(err, ERR_USAGE, "experiment '" STR_FMT "' is running", STR_ARG(name));
    }
    if (!results_runs(results, &cli->arena, out->from.id, &out->runs, &out->n_runs, err) ||
        !results_cross_metrics(results, &cli->arena, out->from.id, &out->cross, &out->n_cross,
                               err)) {
        return false;
    }
    out->evals = ARENA_ARRAY(&cli->arena, const Eval *, out->n_runs + 1);
    for (size_t i = 0; i < out->n_runs; i++) {
        if (!has_eval(out, out->runs[i].eval) && !eval_load(cli, out, out->runs[i].eval, err)) {
            return false;
        }
    }
    return true;
}

// ---- What came out ----------------------------------------------------------------------------

static const MetricRow *metric_find(const RunInfo *run, Str name)
{
    for (size_t i = 0; i < run->n_metrics; i++) {
        if (run->metrics[i].slice.len == 0 && str_eq(run->metrics[i].name, name)) {
            return &run->metrics[i];
        }
    }
    return NULL;
}

static const RunInfo *run_find(const RunInfo *runs, size_t n, const RunInfo *like)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(runs[i].eval, like->eval) && str_eq(runs[i].part, like->part) &&
            str_eq(runs[i].variant, like->variant) && str_eq(runs[i].model, like->model)) {
            return &runs[i];
        }
    }
    return NULL;
}

static void put_value(Buf *buf, const MetricRow *metric)
{
    if (metric == NULL || isnan(metric->value)) {
        buf_printf(buf, "%9s", "-");
    } else {
        buf_printf(buf, "%9.4f", metric->value);
    }
}

static void put_line(Buf *buf, Str what, const MetricRow *before, const MetricRow *now)
{
    Buf words = {0};
    report_text(&words, what, false);
    buf_printf(buf, "%-48s ", words.data);
    buf_clear(&words);
    report_text(&words, now->name, false);
    buf_printf(buf, "%-24s", words.data);
    put_value(buf, before);
    put_value(buf, now);
    if (before != NULL && !isnan(before->value) && !isnan(now->value)) {
        buf_printf(buf, "%+9.4f", now->value - before->value);
    }
    buf_char(buf, '\n');
    buf_finish(&words);
}

/** "mmlu/anatomy terse on local/x". */
static Str run_words(Arena *arena, Str eval, Str part, Str variant, Str model)
{
    return str_printf(arena, STR_FMT "%s" STR_FMT "%s" STR_FMT " on " STR_FMT, STR_ARG(eval),
                      part.len > 0 ? "/" : "", STR_ARG(part), variant.len > 0 ? " " : "",
                      STR_ARG(variant), STR_ARG(model));
}

static size_t count_runs(const RunInfo *runs, size_t n, Str eval)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += str_eq(runs[i].eval, eval);
    }
    return count;
}

/** The headline metric of a run before and now, and every other one that is another now. */
static void put_run(Buf *buf, Arena *arena, const Rescoring *old, const RunInfo *run)
{
    const RunInfo *then = run_find(old->runs, old->n_runs, run);
    Str words = run_words(arena, run->eval, run->part, run->variant, run->model);
    for (size_t i = 0; i < run->n_metrics; i++) {
        const MetricRow *now = &run->metrics[i];
        const MetricRow *before = then != NULL ? metric_find(then, now->name) : NULL;
        bool same = before != NULL &&
                    (before->value == now->value || (isnan(before->value) && isnan(now->value)));
        if (now->slice.len == 0 && (i == 0 || !same)) {
            put_line(buf, words, before, now);
        }
    }
}

/** The headline metrics over parts. */
static void put_cross(Buf *buf, Arena *arena, const Rescoring *old, const CrossMetric *cross,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool first = true;
        for (size_t j = 0; j < i && first; j++) {
            first = !str_eq(cross[j].eval, cross[i].eval) ||
                    !str_eq(cross[j].variant, cross[i].variant) ||
                    !str_eq(cross[j].model, cross[i].model);
        }
        const MetricRow *before = NULL;
        for (size_t j = 0; j < old->n_cross && before == NULL; j++) {
            const CrossMetric *then = &old->cross[j];
            bool same = str_eq(then->eval, cross[i].eval) && str_eq(then->model, cross[i].model) &&
                        str_eq(then->variant, cross[i].variant) &&
                        str_eq(then->over, cross[i].over) &&
                        str_eq(then->average, cross[i].average) && then->metric.slice.len == 0 &&
                        str_eq(then->metric.name, cross[i].metric.name);
            before = same ? &then->metric : NULL;
        }
        if (first) {
            Str words = run_words(arena, cross[i].eval, STR("*"), cross[i].variant, cross[i].model);
            put_line(buf, words, before, &cross[i].metric);
        }
    }
}

/** Before and after, side by side; of evals with many parts only what is over all of them. */
static void put_table(Buf *buf, Arena *arena, const Rescoring *old, const RunInfo *runs,
                      size_t n_runs, const CrossMetric *cross, size_t n_cross)
{
    buf_printf(buf, "%-48s %-24s%9s%9s%9s\n", "run", "metric", "before", "now", "change");
    for (size_t i = 0; i < n_runs; i++) {
        if (count_runs(runs, n_runs, runs[i].eval) <= RUNS_SHOWN_MAX) {
            put_run(buf, arena, old, &runs[i]);
        }
    }
    put_cross(buf, arena, old, cross, n_cross);
}

static Value outcome_value(Arena *arena, const RescoreOutcome *outcome)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("attempts"), value_int(outcome->n_attempts));
    map_builder_put(&map, STR("scored"), value_int(outcome->n_scored));
    map_builder_put(&map, STR("kept_errors"), value_int(outcome->n_kept));
    map_builder_put(&map, STR("new_errors"), value_int(outcome->n_new_errors));
    map_builder_put(&map, STR("need_model"), value_int(outcome->n_need_model));
    map_builder_put(&map, STR("changed_samples"), value_int(outcome->n_changed));
    map_builder_put(&map, STR("gone_samples"), value_int(outcome->n_gone));
    map_builder_put(&map, STR("seconds"), value_real(outcome->seconds));
    return map_builder_done(&map);
}

static bool print_outcome(Cli *cli, Results *results, const Rescoring *old,
                          const RescoreOutcome *outcome, size_t *out_failed, Err *err)
{
    ExperimentInfo info;
    RunInfo *runs = NULL;
    size_t n_runs = 0;
    CrossMetric *cross = NULL;
    size_t n_cross = 0;
    Arena *arena = &cli->arena;
    if (!results_experiment(results, arena, outcome->short_id, &info, err) ||
        !results_runs(results, arena, info.id, &runs, &n_runs, err) ||
        !results_cross_metrics(results, arena, info.id, &cross, &n_cross, err)) {
        return false;
    }
    if (cli->global.json) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("experiment"), report_experiment_value(arena, &info));
        map_builder_put(&map, STR("from"), report_experiment_value(arena, &old->from));
        map_builder_put(&map, STR("rescored"), outcome_value(arena, outcome));
        map_builder_put(&map, STR("runs"), report_runs_value(arena, runs, n_runs));
        map_builder_put(&map, STR("metrics"), report_cross_value(arena, cross, n_cross));
        map_builder_put(&map, STR("before"), report_runs_value(arena, old->runs, old->n_runs));
        Value value = map_builder_done(&map);
        cli_print_json(&value);
    } else {
        Buf buf = {0};
        put_table(&buf, arena, old, runs, n_runs, cross, n_cross);
        cli_print(&buf);
        buf_finish(&buf);
    }
    fflush(stdout);
    *out_failed = cli_metrics_failed(cli, runs, n_runs, cross, n_cross);
    return true;
}

/** The words after the table. */
static void print_epilogue(const Cli *cli, const Rescoring *old, const RescoreOutcome *outcome)
{
    int64_t n_left_out = outcome->n_changed + outcome->n_gone;
    fflush(stdout);
    if (n_left_out > 0) {
        fprintf(stderr, "warning: %lld attempt%s left out: %lld of samples whose content changed",
                (long long)n_left_out, PLURAL(n_left_out), (long long)outcome->n_changed);
        if (outcome->first_changed.len > 0) {
            fprintf(stderr, " (first: " STR_FMT ")", STR_ARG(outcome->first_changed));
        }
        fprintf(stderr, ", %lld of samples that are gone\n", (long long)outcome->n_gone);
    }
    if (outcome->n_new_errors > 0) {
        fprintf(stderr, "%lld attempt%s could not be graded", (long long)outcome->n_new_errors,
                PLURAL(outcome->n_new_errors));
        if (outcome->n_need_model > 0) {
            fprintf(stderr, ", %lld of them for want of a judge's reply",
                    (long long)outcome->n_need_model);
        }
        fprintf(stderr, "; first: sample " STR_FMT "\n", STR_ARG(outcome->first_error));
    }
    if (cli->global.quiet) {
        return;
    }
    fprintf(stderr, "experiment " STR_FMT " (" STR_FMT "): %lld of %lld attempts scored",
            STR_ARG(outcome->name), STR_ARG(outcome->short_id), (long long)outcome->n_scored,
            (long long)outcome->n_attempts);
    if (outcome->n_kept > 0) {
        fprintf(stderr, ", %lld stay errors", (long long)outcome->n_kept);
    }
    fprintf(stderr, ", %.1f s\nwhat changed: muster diff " STR_FMT " " STR_FMT "\n",
            outcome->seconds, STR_ARG(old->from.name), STR_ARG(outcome->name));
}

static void on_progress(void *ctx, const RunProgress *progress)
{
    progress_line_show(ctx, progress);
}

static int cmd_rescore_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    const RescoreOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    Rescoring rescoring = {0};
    RescoreOutcome outcome = {0};
    size_t n_failed = 0; // metrics
    bool ok = cli_results(cli, &results, &err) && cli_registry(cli, &err) &&
              rescoring_load(cli, results, args[0], &rescoring, &err);
    if (ok) {
        ProgressLine line = {.cli = cli, .last_plain_ns = clock_ns()};
        RescoreConfig config = {
            .registry = cli->registry,
            .script = cli->script,
            .results = results,
            .from = &rescoring.from,
            .runs = rescoring.runs,
            .n_runs = rescoring.n_runs,
            .evals = rescoring.evals,
            .n_evals = rescoring.n_evals,
            .grader = opts->grader,
            .name = opts->name,
            .store_path = cli_store_path(cli),
            .provenance = cli_provenance(cli),
            .stop = &cli_signals,
            .on_progress = on_progress,
            .ctx = &line,
        };
        cli_catch_signals();
        ok = run_rescore(&config, &cli->arena, &outcome, &err);
        progress_line_clear(&line);
    }
    if (ok) {
        ok = print_outcome(cli, results, &rescoring, &outcome, &n_failed, &err);
    }
    results_close(results);
    if (!ok) {
        return cli_fail(cli, &err);
    }
    print_epilogue(cli, &rescoring, &outcome);
    if (outcome.interrupted) {
        return cli_last_signal == SIGTERM ? EXIT_TERMINATED : EXIT_INTERRUPTED;
    }
    return outcome.n_new_errors > 0 || n_failed > 0 ? EXIT_ATTEMPTS : EXIT_OK;
}

const Command cmd_rescore = {
    .name = "rescore",
    .args = "EXPERIMENT",
    .summary = "apply graders as they are now to stored replies; no model is asked",
    .details =
        "Makes a new experiment of the same replies and leaves the old one as it is, so that diff\n"
        "shows what the graders changed. A judge's stored reply is used again where its request "
        "is\n"
        "the same; where it is not, the attempt is an error and the exit code 3.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(RescoreOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_rescore_run,
};
