// SPDX-License-Identifier: MIT
// muster show: an experiment's table, or its attempts with prompt, reply, scores and why.
#include "cli/cli.h"

#include <math.h>

#include "run/run.h"

typedef struct ShowOptions {
    bool failed;
    Str sample;
    Str eval;
    Str part;
    Str variant;
    Str model;
    int64_t limit;
    bool samples;
    bool digest;
} ShowOptions;

#define O ShowOptions
static const Option options[] = {
    // flag_only: the model or limit that muster.yaml gives to run must not hide what is shown here
    {"failed", 0, OPT_FLAG_AT(O, failed),
     .help = "attempts that failed, were wrong or could not be scored", .flag_only = true},
    {"sample", 's', OPT_STR_AT(O, sample), .arg = "ID", .help = "the attempts of one sample",
     .flag_only = true},
    {"samples", 0, OPT_FLAG_AT(O, samples), .help = "all attempts", .flag_only = true},
    {"eval", 0, OPT_STR_AT(O, eval), .arg = "EVAL", .help = "only this eval", .flag_only = true},
    {"part", 0, OPT_STR_AT(O, part), .arg = "PART", .help = "only this part", .flag_only = true},
    {"variant", 0, OPT_STR_AT(O, variant), .arg = "V", .help = "only this variant",
     .flag_only = true},
    {"model", 'm', OPT_STR_AT(O, model), .arg = "MODEL", .help = "only this model",
     .flag_only = true},
    {"limit", 'n', OPT_INT_AT(O, limit), .arg = "N", .help = "at most N attempts (default 20)",
     .min = 1, .max = INT64_MAX, .flag_only = true},
    {"digest", 0, OPT_FLAG_AT(O, digest),
     .help = "only the SHA-256 of all results: equal runs have equal digests", .flag_only = true},
};
#undef O

/** One of the options that say which runs are shown. */
typedef struct Narrowing {
    Str wanted; // "" any
    const char *what;
    size_t offset; // of the Str in a RunInfo
} Narrowing;
#define N_NARROWINGS 4

static void narrowings_of(const ShowOptions *opts, Narrowing out[N_NARROWINGS])
{
    out[0] = (Narrowing){opts->eval, "eval", offsetof(RunInfo, eval)};
    out[1] = (Narrowing){opts->part, "part", offsetof(RunInfo, part)};
    out[2] = (Narrowing){opts->variant, "variant", offsetof(RunInfo, variant)};
    out[3] = (Narrowing){opts->model, "model", offsetof(RunInfo, model)};
}

static Str run_member(const RunInfo *run, const Narrowing *choice)
{
    return *(const Str *)((const char *)run + choice->offset);
}

static bool is_chosen(const RunInfo *run, const Narrowing by[N_NARROWINGS])
{
    for (size_t i = 0; i < N_NARROWINGS; i++) {
        if (by[i].wanted.len > 0 && !str_eq(run_member(run, &by[i]), by[i].wanted)) {
            return false;
        }
    }
    return true;
}

/** Say which of the names no run answers to. */
static bool nothing_chosen(Cli *cli, const ExperimentInfo *info, const RunInfo *runs, size_t n,
                           const Narrowing by[N_NARROWINGS], Err *err)
{
    Str *there = ARENA_ARRAY(&cli->arena, Str, n);
    for (size_t i = 0; i < N_NARROWINGS; i++) {
        bool met = by[i].wanted.len == 0;
        for (size_t r = 0; r < n; r++) {
            there[r] = run_member(&runs[r], &by[i]);
            met = met || str_eq(there[r], by[i].wanted);
        }
        if (!met) {
            size_t near = str_nearest(by[i].wanted, there, n);
            near = near != STR_NONE && there[near].len == 0 ? STR_NONE : near;
            return ERR_SET(err, ERR_NOT_FOUND,
                           "experiment '" STR_FMT "' has no %s '" STR_FMT "'%s" STR_FMT "%s",
                           STR_ARG(info->name), by[i].what, STR_ARG(by[i].wanted),
                           near == STR_NONE ? "" : "; did you mean '",
                           STR_ARG(near == STR_NONE ? STR_EMPTY : there[near]),
                           near == STR_NONE ? "" : "'?");
        }
    }
    return ERR_SET(err, ERR_NOT_FOUND, "experiment '" STR_FMT "' has no run that is all of this",
                   STR_ARG(info->name));
}

/** Keep the runs that the options choose. fails ERR_NOT_FOUND when these are none. */
static bool runs_choose(Cli *cli, const ExperimentInfo *info, const ShowOptions *opts,
                        RunInfo *runs, size_t *n, Err *err)
{
    Narrowing by[N_NARROWINGS];
    narrowings_of(opts, by);
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        kept += is_chosen(&runs[i], by);
    }
    if (kept == 0 && *n > 0) {
        return nothing_chosen(cli, info, runs, *n, by, err);
    }
    kept = 0;
    for (size_t i = 0; i < *n; i++) {
        if (is_chosen(&runs[i], by)) {
            runs[kept++] = runs[i];
        }
    }
    *n = kept;
    return true;
}

/** The same for values over several runs; a value over all parts says nothing about one of them. */
static size_t cross_choose(const ShowOptions *opts, CrossMetric *cross, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool other = (opts->eval.len > 0 && !str_eq(opts->eval, cross[i].eval)) ||
                     (opts->variant.len > 0 && !str_eq(opts->variant, cross[i].variant)) ||
                     (opts->model.len > 0 && !str_eq(opts->model, cross[i].model));
        if (opts->part.len == 0 && !other) {
            cross[kept++] = cross[i];
        }
    }
    return kept;
}

static Value experiment_value(Cli *cli, const ExperimentInfo *info, const RunInfo *runs,
                              size_t n_runs, const CrossMetric *cross, size_t n_cross)
{
    MapBuilder map;
    map_builder_init(&map, &cli->arena);
    map_builder_put(&map, STR("experiment"), report_experiment_value(&cli->arena, info));
    map_builder_put(&map, STR("runs"), report_runs_value(&cli->arena, runs, n_runs));
    map_builder_put(&map, STR("metrics"), report_cross_value(&cli->arena, cross, n_cross));
    if (info->stats.kind == VALUE_MAP) {
        map_builder_put(&map, STR("engine"), info->stats);
    }
    return map_builder_done(&map);
}

/** What the engines did in the last process that worked on it. */
static void show_engines(Cli *cli, const ExperimentInfo *info)
{
    size_t n = info->stats.kind == VALUE_MAP && !cli->global.quiet ? info->stats.as.map.n : 0;
    fflush(stdout);
    if (!cli->global.quiet &&
        str_eq(value_get_str(&info->spec, "precision", STR_EMPTY), STR("fast"))) {
        fprintf(stderr, "%s\n", CLI_FAST_WORDS);
    }
    for (size_t i = 0; i < n; i++) {
        const ValuePair *of = &info->stats.as.map.pairs[i];
        Str words = run_model_stats_words(&cli->arena, &of->value);
        if (words.len > 0) {
            fprintf(stderr, STR_FMT ": " STR_FMT "\n", STR_ARG(of->key), STR_ARG(words));
        }
    }
}

/** What the runs that are shown have used, all calls and roles together. */
static void show_usage(const Cli *cli, const RunInfo *runs, size_t n)
{
    Usage sum = {0};
    double cost_usd = 0;
    for (size_t i = 0; i < n; i++) {
        sum.input += runs[i].usage.input;
        sum.output += runs[i].usage.output;
        cost_usd += runs[i].cost_usd;
    }
    if (cli->global.quiet || sum.input + sum.output == 0) {
        return;
    }
    fprintf(stderr, "%lld tokens in, %lld tokens out", (long long)sum.input, (long long)sum.output);
    if (!isfinite(cost_usd)) {
        fprintf(stderr, ", cost unknown");
    } else if (cost_usd > 0) {
        fprintf(stderr, cost_usd < 0.01 ? ", $%.6f" : ", $%.4f", cost_usd);
    }
    fprintf(stderr, "\n");
}

static bool show_table(Cli *cli, Results *results, const ExperimentInfo *info,
                       const ShowOptions *opts, Err *err)
{
    RunInfo *runs = NULL;
    CrossMetric *cross = NULL;
    size_t n_runs = 0;
    size_t n_cross = 0;
    if (!results_runs(results, &cli->arena, info->id, &runs, &n_runs, err) ||
        !runs_choose(cli, info, opts, runs, &n_runs, err) ||
        !results_cross_metrics(results, &cli->arena, info->id, &cross, &n_cross, err)) {
        return false;
    }
    n_cross = cross_choose(opts, cross, n_cross);
    if (cli->global.json) {
        Value value = experiment_value(cli, info, runs, n_runs, cross, n_cross);
        cli_print_json(&value);
        return true;
    }
    Buf buf = {0};
    ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
    report_experiments(&buf, info, 1, &look);
    buf_char(&buf, '\n');
    report_runs(&buf, runs, n_runs, cross, n_cross, &look);
    cli_print(&buf);
    buf_finish(&buf);
    show_engines(cli, info);
    show_usage(cli, runs, n_runs);
    return true;
}

typedef struct Visit {
    Cli *cli;
    size_t n;
} Visit;

static bool visit(void *ctx, const AttemptInfo *attempt)
{
    Visit *v = ctx;
    v->n++;
    if (v->cli->global.json) { // one object a line
        Arena arena = {0};
        Value value = report_attempt_value(&arena, attempt);
        cli_print_json(&value);
        arena_finish(&arena);
        return true;
    }
    Buf buf = {0};
    ReportOptions look = {.color = v->cli->color_out, .width = (int)v->cli->width};
    report_attempt(&buf, attempt, &look);
    buf_char(&buf, '\n');
    cli_print(&buf);
    buf_finish(&buf);
    return true;
}

static bool show_attempts(Cli *cli, Results *results, const ExperimentInfo *info,
                          const ShowOptions *opts, Err *err)
{
    AttemptFilter filter = {
        .sample_id = opts->sample,
        .eval = opts->eval,
        .part = opts->part,
        .variant = opts->variant,
        .model = opts->model,
        .failed_only = opts->failed,
        .limit = opts->limit > 0 ? opts->limit : 20,
        .with_calls = opts->sample.len > 0,
    };
    Visit v = {.cli = cli};
    if (!results_attempts(results, info->id, &filter, visit, &v, err)) {
        return false;
    }
    if (v.n == 0 && opts->sample.len > 0) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "experiment '" STR_FMT "' has no attempt of sample '" STR_FMT "'",
                       STR_ARG(info->name), STR_ARG(opts->sample));
    }
    if (v.n == 0) { // nothing to show, or nothing that is called so?
        RunInfo *runs = NULL;
        size_t n_runs = 0;
        if (!results_runs(results, &cli->arena, info->id, &runs, &n_runs, err) ||
            !runs_choose(cli, info, opts, runs, &n_runs, err)) {
            return false;
        }
    }
    if (!cli->global.json && !cli->global.quiet) {
        fflush(stdout);
        fprintf(stderr, "%zu attempt%s%s\n", v.n, PLURAL(v.n),
                v.n == (size_t)filter.limit ? " (more with --limit N)" : "");
    }
    return true;
}

static bool show_digest(Results *results, const ExperimentInfo *info, Err *err)
{
    Hash digest;
    char hex[HASH_HEX_LEN + 1];
    if (!results_digest(results, info->id, &digest, err)) {
        return false;
    }
    hash_hex(&digest, hex);
    printf("%s\n", hex);
    return true;
}

static int cmd_show_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const ShowOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    ExperimentInfo info;
    bool attempts = opts->failed || opts->samples || opts->sample.len > 0;
    bool ok =
        cli_results(cli, &results, &err) &&
        results_experiment(results, &cli->arena, n_args > 0 ? args[0] : STR("latest"), &info, &err);
    if (ok && opts->digest) {
        ok = show_digest(results, &info, &err);
    } else if (ok) {
        ok = attempts ? show_attempts(cli, results, &info, opts, &err)
                      : show_table(cli, results, &info, opts, &err);
    }
    results_close(results);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_show = {
    .name = "show",
    .args = "[EXPERIMENT]",
    .summary = "show an experiment: its scores, or single attempts with prompt, reply and why",
    .details = "EXPERIMENT is a name, a short id, latest (the default), latest~1 or @BASELINE.\n"
               "--eval, --part, --variant and --model narrow the scores as well as the attempts.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(ShowOptions),
    .max_args = 1,
    .run = cmd_show_run,
};
