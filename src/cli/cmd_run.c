// SPDX-License-Identifier: MIT
// muster run: evals x models to an experiment in the store, then the table of scores.
#include "cli/cli.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/failed_in.h"
#include "cli/recorded.h"
#include "run/run.h"

typedef struct RunCommandOptions {
    StrList models;
    StrList samples;
    Str failed_in;
    Str limit;
    int64_t limit_total;
    int64_t epochs;
    int64_t seed;
    Str variant;
    Str name;
    StrList tags;
    StrList roles;
    Str shard;
    bool resume;
    double fail_on_error;
    bool pull;
    bool chat;
    int64_t events;
    int64_t max_connections;
    int64_t max_retries;
    int64_t timeout;
    Str base_url;
    Str device;
    Str tp;
    Str gpus;
    Str precision;
    bool fast;
    int64_t threads;
    uint64_t kv_memory;
} RunCommandOptions;

#define O RunCommandOptions
static const Option options[] = {
    {"model", 'm', OPT_LIST_AT(O, models), .arg = "MODEL",
     .help = "provider/name: local/NAME, local/FILE.gguf, openai/NAME, replay/FILE, "
             "replay/EXPERIMENT, echo; may be "
             "repeated"},
    {"sample", 's', OPT_LIST_AT(O, samples), .arg = "ID",
     .help = "only samples with this id; ID may hold * and ?; may be repeated: any of them",
     .flag_only = true},
    {"failed-in", 0, OPT_STR_AT(O, failed_in), .arg = "EXPERIMENT",
     .help = "only samples that failed, were wrong or could not be scored in this experiment",
     .flag_only = true},
    {"limit", 'n', OPT_STR_AT(O, limit), .arg = "N|A-B",
     .help = "samples of each part: the first N, or A to B (of those that --sample and "
             "--failed-in leave)"},
    {"limit-total", 0, OPT_INT_AT(O, limit_total), .arg = "N",
     .help = "samples over all parts of an eval", .min = 1, .max = INT64_MAX},
    {"epochs", 0, OPT_INT_AT(O, epochs), .arg = "N",
     .help = "times each sample is run (default: the eval's)", .min = 1, .max = 100000},
    {"seed", 0, OPT_INT_AT(O, seed), .arg = "S",
     .help = "what all randomness is derived from (default 0)"},
    {"variant", 0, OPT_STR_AT(O, variant), .arg = "V", .help = "only this variant of the eval"},
    {"name", 0, OPT_STR_AT(O, name), .arg = "NAME",
     .help = "name of the experiment (default: made up)"},
    {"tag", 0, OPT_LIST_AT(O, tags), .arg = "K=V",
     .help = "a tag on the experiment; may be repeated"},
    {"role", 0, OPT_LIST_AT(O, roles), .arg = "R=MODEL",
     .help = "the model that plays role R (judge ...), whatever the evals say; may be repeated"},
    {"shard", 0, OPT_STR_AT(O, shard), .arg = "K/N",
     .help = "run the K-th of N parts of the samples (K from 1); auto reads a Slurm array's "
             "variables, auto/N also the index of a Kubernetes Job (see: muster merge)"},
    {"resume", 0, OPT_FLAG_AT(O, resume),
     .help =
         "go on with the experiment --name, or the newest unfinished one with the same settings"},
    {"fail-on-error", 0, OPT_REAL_AT(O, fail_on_error), .arg = "RATE",
     .help = "share of attempts that may fail before the exit code is 3 (default 0)"},
    {"pull", 0, OPT_FLAG_AT(O, pull), .help = "fetch datasets and models that are not here"},
    {"chat", 0, OPT_FLAG_AT(O, chat),
     .help = "send prompts as one user message, through the chat template"},
    {"events", 0, OPT_INT_AT(O, events), .arg = "FD",
     .help = "write a JSON line to this descriptor for each attempt once it is committed", .min = 1,
     .max = 1023},
    {"max-connections", 0, OPT_INT_AT(O, max_connections), .arg = "N",
     .help = "requests in flight at an endpoint (default 16)", .min = 1, .max = 1024},
    {"max-retries", 0, OPT_INT_AT(O, max_retries), .arg = "N",
     .help = "tries of a request (default 5)", .min = 1, .max = 100},
    {"timeout", 0, OPT_INT_AT(O, timeout), .arg = "SECONDS",
     .help = "of one try of a request (default 600)", .min = 1, .max = 86400},
    {"base-url", 0, OPT_STR_AT(O, base_url), .arg = "URL",
     .help = "of an OpenAI-compatible endpoint"},
    DEVICE_OPTION_ROW(O),
    TP_OPTION_ROW(O),
    GPUS_OPTION_ROW(O),
    {"precision", 0, OPT_STR_AT(O, precision), .arg = "P",
     .help = "f32: float32 throughout, slower, for reference", .one_of = "default|f32"},
    FAST_OPTION_ROW(O),
    {"threads", 't', OPT_INT_AT(O, threads), .arg = "N",
     .help = "threads of the local engine (default: all usable)", .min = 1, .max = 1024},
    {"kv-memory", 0, OPT_SIZE_AT(O, kv_memory), .arg = "SIZE",
     .help = "memory for keys and values, e.g. 2G"},
};
#undef O

// ---- From options to a RunConfig --------------------------------------------------------------

static bool parse_range(Str text, int64_t *from, int64_t *to, Err *err)
{
    Str left;
    Str right;
    bool is_range = str_cut(text, STR("-"), &left, &right);
    int64_t a = 1;
    int64_t b = 0;
    bool ok = is_range ? str_to_i64(left, &a) && str_to_i64(right, &b) : str_to_i64(text, &b);
    if (!ok || a < 1 || b < a) {
        return ERR_SET(err, ERR_USAGE,
                       "--limit: '" STR_FMT "' is neither N nor A-B with 1 <= A <= B",
                       STR_ARG(text));
    }
    *from = is_range ? a : 0;
    *to = b;
    return true;
}

static bool parse_tags(Arena *arena, const StrList *list, Value *out, Err *err)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < list->n; i++) {
        Str key;
        Str value;
        if (!str_cut(list->items[i], STR("="), &key, &value) || key.len == 0) {
            return ERR_SET(err, ERR_USAGE, "--tag: '" STR_FMT "' is not K=V",
                           STR_ARG(list->items[i]));
        }
        map_builder_put(&map, key, value_str(value));
    }
    *out = map_builder_done(&map);
    return true;
}

typedef struct TargetList {
    RunTarget items[256];
    size_t n;
} TargetList;

static bool target_add(Cli *cli, TargetList *list, Str name, Str part, Err *err)
{
    if (list->n == 256) {
        return ERR_SET(err, ERR_USAGE, "more than 256 evals in one run");
    }
    Faults faults;
    faults_init(&faults, &cli->arena);
    const Eval *eval = NULL;
    bool ok = registry_eval(cli->registry, name, &faults, &eval, err);
    if (cli_faults(cli, &faults) && !ok) {
        *err = (Err)ERR_INIT;
        ERR_SET(err, ERR_CONFIG, STR_FMT ": %zu error%s (above)", STR_ARG(name), faults.n_errors,
                PLURAL(faults.n_errors));
    }
    if (ok) {
        list->items[list->n++] = (RunTarget){.eval = eval, .part = part, .word = name};
    }
    return ok;
}

/** NAME, NAME/PART, a glob on names, or a file. */
static bool target_parse(Cli *cli, TargetList *list, Str word, Err *err)
{
    if (str_ends_with(word, STR(".yaml")) || str_ends_with(word, STR(".yml"))) {
        return target_add(cli, list, word, STR_EMPTY, err);
    }
    Str name = word;
    Str part = STR_EMPTY;
    str_cut(word, STR("/"), &name, &part);
    if (str_find(name, STR("*"), 0) == STR_NONE && str_find(name, STR("?"), 0) == STR_NONE) {
        return target_add(cli, list, name, part, err);
    }
    RegistryEntry *entries = NULL;
    size_t n = 0;
    if (!registry_list(cli->registry, REGISTRY_EVALS, &entries, &n, err)) {
        return false;
    }
    size_t before = list->n;
    for (size_t i = 0; i < n; i++) {
        if (glob_match(name, entries[i].name) &&
            !target_add(cli, list, entries[i].name, part, err)) {
            return false;
        }
    }
    return list->n > before ||
           ERR_SET(err, ERR_NOT_FOUND, "no eval matches '" STR_FMT "' (see: muster list evals)",
                   STR_ARG(name));
}

/** A model that the registry has files for. */
static bool pull_model(Cli *cli, Str spec, const PullProgress *progress, Err *err)
{
    Str provider;
    Str name;
    return !str_cut(spec, STR("/"), &provider, &name) || !str_eq(provider, STR("local")) ||
           str_ends_with(name, STR(".gguf")) || registry_pull(cli->registry, name, progress, err);
}

/** The models that play an eval's roles and those that --role names. */
static bool pull_roles(Cli *cli, const RunCommandOptions *opts, const TargetList *targets,
                       const PullProgress *progress, Err *err)
{
    for (size_t i = 0; i < opts->roles.n; i++) {
        Str role;
        Str spec;
        if (str_cut(opts->roles.items[i], STR("="), &role, &spec) &&
            !pull_model(cli, spec, progress, err)) {
            return false;
        }
    }
    for (size_t t = 0; t < targets->n; t++) {
        const Value *roles = &targets->items[t].eval->roles;
        size_t n = roles->kind == VALUE_MAP ? roles->as.map.n : 0;
        for (size_t i = 0; i < n; i++) {
            const Value *spec = &roles->as.map.pairs[i].value;
            if (spec->kind == VALUE_STR && !pull_model(cli, spec->as.str, progress, err)) {
                return false;
            }
        }
    }
    return true;
}

/** --pull: what the targets and local models need and is not here. */
static bool pull_needed(Cli *cli, const RunCommandOptions *opts, const TargetList *targets,
                        Err *err)
{
    ProgressLine line = {.cli = cli};
    PullProgress progress = cli_pull_progress(&line);
    bool ok = true;
    for (size_t i = 0; i < targets->n && ok; i++) {
        Str dataset = targets->items[i].eval->dataset_use;
        ok = dataset.len == 0 || registry_pull(cli->registry, dataset, &progress, err);
    }
    for (size_t i = 0; i < opts->models.n && ok; i++) {
        ok = pull_model(cli, opts->models.items[i], &progress, err);
    }
    ok = ok && pull_roles(cli, opts, targets, &progress, err);
    progress_line_clear(&line);
    return ok;
}

/** The checks that need the data, before the first call: the first rows of each part. */
static bool check_rows(Cli *cli, const TargetList *targets, Err *err)
{
    Faults faults;
    faults_init(&faults, &cli->arena);
    for (size_t i = 0; i < targets->n; i++) {
        if (!registry_check_rows(cli->registry, targets->items[i].eval, 100, &faults, err)) {
            return false;
        }
    }
    return !cli_faults(cli, &faults) || ERR_SET(err, ERR_CONFIG, "the evals above can not run");
}

// ---- Progress ---------------------------------------------------------------------------------

static void on_progress(void *ctx, const RunProgress *progress)
{
    progress_line_show(ctx, progress);
}

static void on_note(void *ctx, bool warning, Str line)
{
    ProgressLine *progress = ctx;
    progress_line_clear(progress);
    if (!progress->cli->global.quiet || warning) {
        fprintf(stderr, "%s" STR_FMT "\n", warning ? "warning: " : "", STR_ARG(line));
    }
}

// ---- What came out ----------------------------------------------------------------------------

/** Models run one after the other: means weigh as much as their samples are many. */
static void device_stats_add(DeviceStats *sum, const DeviceStats *of)
{
    if (of->n_samples == 0) {
        return;
    }
    DeviceStats both = *of;
    if (sum->n_samples > 0) {
        double n = (double)sum->n_samples;
        double m = (double)of->n_samples;
        both = (DeviceStats){
            .n_samples = sum->n_samples + of->n_samples,
            .busy_mean = (sum->busy_mean * n + of->busy_mean * m) / (n + m),
            .busy_max = fmax(sum->busy_max, of->busy_max),
            .busy_least = fmin(sum->busy_least, of->busy_least),
            .n_devices = sum->n_devices > of->n_devices ? sum->n_devices : of->n_devices,
            .memory_peak_bytes = sum->memory_peak_bytes > of->memory_peak_bytes
                                     ? sum->memory_peak_bytes
                                     : of->memory_peak_bytes,
            .memory_bytes =
                sum->memory_bytes > of->memory_bytes ? sum->memory_bytes : of->memory_bytes,
            .power_mean_w = (sum->power_mean_w * n + of->power_mean_w * m) / (n + m),
            .power_max_w = fmax(sum->power_max_w, of->power_max_w),
            .temperature_max_c = fmax(sum->temperature_max_c, of->temperature_max_c),
            .energy_j = sum->energy_j + of->energy_j,
        };
    }
    *sum = both;
}

/** Of all models together. */
static RunModelStats stats_sum(const RunOutcome *outcome)
{
    RunModelStats total = {.seconds = outcome->seconds};
    SamplerStats *sum = &total.stats;
    for (size_t m = 0; m < outcome->n_models; m++) {
        const SamplerStats *s = &outcome->models[m].stats;
        total.load_seconds += outcome->models[m].load_seconds;
        total.render_seconds += outcome->models[m].render_seconds;
        sum->prefill_tokens_total += s->prefill_tokens_total;
        sum->prefill_tokens_needed += s->prefill_tokens_needed;
        sum->prefill_tokens_computed += s->prefill_tokens_computed;
        sum->decode_tokens += s->decode_tokens;
        sum->plan_seconds += s->plan_seconds;
        sum->prefill_seconds += s->prefill_seconds;
        sum->decode_seconds += s->decode_seconds;
        sum->first_token_seconds = fmax(sum->first_token_seconds, s->first_token_seconds);
        sum->kv_peak_bytes =
            s->kv_peak_bytes > sum->kv_peak_bytes ? s->kv_peak_bytes : sum->kv_peak_bytes;
        sum->kv_pool_bytes =
            s->kv_pool_bytes > sum->kv_pool_bytes ? s->kv_pool_bytes : sum->kv_pool_bytes;
        device_stats_add(&sum->device, &s->device);
        sum->plan_devices =
            s->plan_devices > sum->plan_devices ? s->plan_devices : sum->plan_devices;
        if (s->devices_lost > sum->devices_lost) {
            sum->devices_lost = s->devices_lost;
            memcpy(sum->device_lost_why, s->device_lost_why, sizeof(sum->device_lost_why));
        }
        sum->plan_pieces += s->plan_pieces;
        sum->plan_doubled += s->plan_doubled;
        sum->plan_kv_bytes =
            s->plan_kv_bytes > sum->plan_kv_bytes ? s->plan_kv_bytes : sum->plan_kv_bytes;
    }
    return total;
}

/** What the engine did, for each model that has one. */
static void engine_lines(Arena *arena, const RunOutcome *outcome)
{
    for (size_t m = 0; m < outcome->n_models; m++) {
        Value stats = run_model_stats_value(arena, &outcome->models[m]);
        Str words = run_model_stats_words(arena, &stats);
        if (words.len > 0) {
            fprintf(stderr, STR_FMT ": " STR_FMT "\n", STR_ARG(outcome->models[m].model),
                    STR_ARG(words));
        }
    }
}

static Value role_stats_value(Arena *arena, const RunOutcome *outcome)
{
    Value *items = ARENA_ARRAY(arena, Value, outcome->n_roles + 1);
    for (size_t i = 0; i < outcome->n_roles; i++) {
        const RunRoleStats *role = &outcome->roles[i];
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("role"), value_str(role->role));
        map_builder_put(&map, STR("model"), value_str(role->model));
        map_builder_put(&map, STR("calls"), value_int(role->n_calls));
        map_builder_put(&map, STR("input_tokens"), value_int(role->usage.input));
        map_builder_put(&map, STR("output_tokens"), value_int(role->usage.output));
        map_builder_put(&map, STR("seconds"), value_real(role->seconds));
        map_builder_put(&map, STR("cost_usd"),
                        isnan(role->cost_usd) ? value_null() : value_real(role->cost_usd));
        items[i] = map_builder_done(&map);
    }
    return value_list(items, outcome->n_roles);
}

/** What the roles were asked, one line each. */
static void role_lines(const RunOutcome *outcome)
{
    for (size_t i = 0; i < outcome->n_roles; i++) {
        const RunRoleStats *role = &outcome->roles[i];
        fprintf(stderr,
                "role " STR_FMT " (" STR_FMT "): %lld call%s, %lld tokens in, %lld tokens out",
                STR_ARG(role->role), STR_ARG(role->model), (long long)role->n_calls,
                PLURAL(role->n_calls), (long long)role->usage.input, (long long)role->usage.output);
        if (role->cost_usd > 0) {
            fprintf(stderr, ", $%.4f", role->cost_usd);
        }
        fprintf(stderr, "\n");
    }
}

static void print_json(Cli *cli, const RunOutcome *outcome, const ExperimentInfo *experiment,
                       const RunInfo *runs, size_t n_runs, const CrossMetric *cross, size_t n_cross)
{
    Arena *arena = &cli->arena;
    RunModelStats total = stats_sum(outcome);
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("experiment"), report_experiment_value(arena, experiment));
    map_builder_put(&map, STR("engine"), run_model_stats_value(arena, &total));
    if (outcome->n_roles > 0) {
        map_builder_put(&map, STR("roles"), role_stats_value(arena, outcome));
    }
    map_builder_put(&map, STR("runs"), report_runs_value(arena, runs, n_runs));
    map_builder_put(&map, STR("metrics"), report_cross_value(arena, cross, n_cross));
    Value value = map_builder_done(&map);
    cli_print_json(&value);
}

static bool print_outcome(Cli *cli, const RunOutcome *outcome, size_t *out_failed, Err *err)
{
    Results *results = NULL;
    ExperimentInfo experiment;
    RunInfo *runs = NULL;
    CrossMetric *cross = NULL;
    size_t n_runs = 0;
    size_t n_cross = 0;
    bool ok =
        cli_results(cli, &results, err) &&
        results_experiment(results, &cli->arena, outcome->short_id, &experiment, err) &&
        results_runs(results, &cli->arena, outcome->experiment_id, &runs, &n_runs, err) &&
        results_cross_metrics(results, &cli->arena, outcome->experiment_id, &cross, &n_cross, err);
    if (ok && cli->global.json) {
        print_json(cli, outcome, &experiment, runs, n_runs, cross, n_cross);
    } else if (ok) {
        Buf buf = {0};
        ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
        report_runs(&buf, runs, n_runs, cross, n_cross, &look);
        cli_print(&buf);
        buf_finish(&buf);
    }
    *out_failed = 0;
    if (ok) {
        fflush(stdout);
        *out_failed = cli_metrics_failed(cli, runs, n_runs, cross, n_cross);
    }
    results_close(results);
    return ok;
}

/** The words after the table: what it is called, what to type next. */
static void print_epilogue(Cli *cli, const RunOutcome *outcome, bool fast)
{
    if (cli->global.quiet) {
        return;
    }
    fflush(stdout);
    engine_lines(&cli->arena, outcome);
    role_lines(outcome);
    fprintf(stderr, "experiment " STR_FMT " (" STR_FMT "): %lld of %lld attempts",
            STR_ARG(outcome->name), STR_ARG(outcome->short_id), (long long)outcome->done,
            (long long)outcome->planned);
    if (outcome->errors > 0) {
        fprintf(stderr, ", %lld error%s", (long long)outcome->errors, PLURAL(outcome->errors));
    }
    if (outcome->skipped > 0) {
        fprintf(stderr, ", %lld done before", (long long)outcome->skipped);
    }
    fprintf(stderr, ", %.1f s%s\n", outcome->seconds, fast ? "; " CLI_FAST_WORDS : "");
    if (outcome->first_error.len > 0) {
        fprintf(stderr, "first error: sample " STR_FMT "\n", STR_ARG(outcome->first_error));
    }
    if (outcome->done + outcome->errors < outcome->planned) {
        fprintf(stderr, "to go on: run the same command with --resume --name " STR_FMT "\n",
                STR_ARG(outcome->name));
    } else {
        fprintf(stderr, "look closer: muster show " STR_FMT "%s\n", STR_ARG(outcome->name),
                outcome->errors > 0 ? " --failed" : "");
    }
}

static int outcome_code(const RunOutcome *outcome, size_t n_metrics_failed,
                        const RunCommandOptions *opts)
{
    if (outcome->interrupted) {
        return cli_last_signal == SIGTERM ? EXIT_TERMINATED : EXIT_INTERRUPTED;
    }
    double rate = outcome->planned > 0 ? (double)outcome->errors / (double)outcome->planned : 0;
    return rate > opts->fail_on_error || n_metrics_failed > 0 ? EXIT_ATTEMPTS : EXIT_OK;
}

/** --events: a descriptor that is open and not needed otherwise. Checked before anything is opened.
 */
static bool events_check(const Cli *cli, int64_t fd, Err *err)
{
    if (fd == 0) {
        return true;
    }
    if (fcntl((int)fd, F_GETFD) < 0) {
        return ERR_SET(err, ERR_USAGE, "--events: descriptor %lld is not open", (long long)fd);
    }
    if (fd == STDOUT_FILENO && cli->global.json) {
        return ERR_SET(err, ERR_USAGE, "--events 1 and --json would mix on stdout");
    }
    return true;
}

static bool config_make(Cli *cli, const RunCommandOptions *opts, RunConfig *config, Err *err)
{
    config->samples = opts->samples.items;
    config->n_samples = opts->samples.n;
    config->limit_total = opts->limit_total;
    config->epochs = opts->epochs;
    config->seed = (uint64_t)opts->seed;
    config->variant = opts->variant;
    config->name = opts->name;
    config->resume = opts->resume;
    config->store_path = cli_store_path(cli);
    config->events_fd = opts->events > 0 ? (int)opts->events : -1;
    config->stop = &cli_signals;
    config->sampler = (SamplerSettings){
        .max_connections = (int)opts->max_connections,
        .device = opts->device,
        .tp = option_tp(opts->tp),
        .gpus = option_gpus(opts->gpus),
        .threads = (int)opts->threads,
        .precision_f32 = str_eq(opts->precision, STR("f32")),
        .fast = opts->fast,
        .kv_bytes = opts->kv_memory,
        .force_chat = opts->chat,
        .base_url = opts->base_url,
        .timeout_ms = (int)opts->timeout * 1000,
        .max_tries = (int)opts->max_retries,
    };
    return option_fast_check(opts->fast, opts->precision, err) &&
           (opts->limit.len == 0 ||
            parse_range(opts->limit, &config->limit_from, &config->limit_to, err)) &&
           (opts->shard.len == 0 ||
            run_shard_parse(&cli->arena, opts->shard, &config->shard, err)) &&
           parse_tags(&cli->arena, &opts->tags, &config->tags, err);
}

static bool roles_find(Cli *cli, const RunCommandOptions *opts, RunConfig *config, Err *err)
{
    RunRole *roles = ARENA_ARRAY(&cli->arena, RunRole, opts->roles.n + 1);
    for (size_t i = 0; i < opts->roles.n; i++) {
        Str spec;
        if (!str_cut(opts->roles.items[i], STR("="), &roles[i].name, &spec) ||
            roles[i].name.len == 0 || spec.len == 0) {
            return ERR_SET(err, ERR_USAGE, "--role: '" STR_FMT "' is not R=MODEL",
                           STR_ARG(opts->roles.items[i]));
        }
        if (!cli_model(cli, spec, &roles[i].model, err)) {
            return ERR_WRAP(err, "--role " STR_FMT, STR_ARG(roles[i].name));
        }
    }
    config->roles = roles;
    config->n_roles = opts->roles.n;
    return true;
}

/** None is fine for evals whose solvers ask no model: the run says so before its first call. */
static bool models_find(Cli *cli, const RunCommandOptions *opts, RunConfig *config, Err *err)
{
    const Model **models = ARENA_ARRAY(&cli->arena, const Model *, opts->models.n);
    for (size_t i = 0; i < opts->models.n; i++) {
        if (!cli_model(cli, opts->models.items[i], &models[i], err)) {
            return false;
        }
    }
    config->models = models;
    config->n_models = opts->models.n;
    return true;
}

/** --failed-in: the ids are those of now, or recorded by what is to go on, and become part of the
 * settings. */
static bool failed_find(Cli *cli, const RunCommandOptions *opts, bool recorded, RunConfig *config,
                        Err *err)
{
    if (opts->failed_in.len == 0) {
        return true;
    }
    FailedIn found;
    config->among = NULL;
    config->n_among = 0;
    if (!failed_in_find(cli, opts->failed_in, config, recorded, &found, err)) {
        return false;
    }
    config->among = found.parts;
    config->n_among = found.n;
    config->resume_only = found.recorded;
    Value provenance = cli_provenance(cli);
    MapBuilder map;
    map_builder_init(&map, &cli->arena);
    for (size_t i = 0; i < provenance.as.map.n; i++) {
        map_builder_put(&map, provenance.as.map.pairs[i].key, provenance.as.map.pairs[i].value);
    }
    map_builder_put(&map, STR("failed_in"), found.origin);
    config->provenance = map_builder_done(&map);
    return true;
}

static bool run_prepare(Cli *cli, const RunCommandOptions *opts, const Str *args, size_t n_args,
                        TargetList *targets, RunConfig *config, Err *err)
{
    if (!(opts->fail_on_error >= 0 && opts->fail_on_error <= 1)) {
        return ERR_SET(err, ERR_USAGE, "--fail-on-error: %g is not a share between 0 and 1",
                       opts->fail_on_error);
    }
    if (!events_check(cli, opts->events, err) || !config_make(cli, opts, config, err) ||
        !cli_registry(cli, err)) {
        return false;
    }
    for (size_t i = 0; i < n_args; i++) {
        if (!target_parse(cli, targets, args[i], err)) {
            return false;
        }
    }
    if (opts->pull && !pull_needed(cli, opts, targets, err)) {
        return false;
    }
    if (!models_find(cli, opts, config, err) || !roles_find(cli, opts, config, err) ||
        !cli_recorded_check(cli, targets->items, targets->n, opts->variant, (uint64_t)opts->seed,
                            err) ||
        !check_rows(cli, targets, err)) {
        return false;
    }
    config->registry = cli->registry;
    config->script = cli->script;
    config->targets = targets->items;
    config->n_targets = targets->n;
    config->provenance = cli_provenance(cli);
    return failed_find(cli, opts, opts->resume, config, err);
}

/** What --failed-in recorded is good only for going on: else the samples are those of now. */
static bool run_or_start(Cli *cli, const RunCommandOptions *opts, RunConfig *config,
                         RunOutcome *outcome, Err *err)
{
    bool ok = run_experiment(config, &cli->arena, outcome, err);
    if (ok || !config->resume_only || err->code != ERR_NOT_FOUND || outcome->name.len > 0) {
        return ok;
    }
    *err = (Err)ERR_INIT;
    if (!cli->global.quiet) {
        fprintf(stderr, "nothing to go on with: looking again for what failed\n");
    }
    return failed_find(cli, opts, false, config, err) &&
           run_experiment(config, &cli->arena, outcome, err);
}

static int cmd_run_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const RunCommandOptions *opts = options_struct;
    Err err = ERR_INIT;
    RunConfig config = {0};
    TargetList *targets = ARENA_NEW(&cli->arena, TargetList);
    if (!run_prepare(cli, opts, args, n_args, targets, &config, &err)) {
        return cli_fail(cli, &err);
    }
    ProgressLine line = {.cli = cli, .last_plain_ns = clock_ns()};
    config.on_progress = on_progress;
    config.on_note = on_note;
    config.ctx = &line;
    cli_catch_signals();
    RunOutcome outcome;
    bool ok = run_or_start(cli, opts, &config, &outcome, &err);
    progress_line_clear(&line);
    size_t n_metrics_failed = 0;
    if (outcome.name.len > 0) {
        Err show_err = ERR_INIT;
        if (!print_outcome(cli, &outcome, &n_metrics_failed, &show_err) && ok) {
            return cli_fail(cli, &show_err);
        }
        print_epilogue(cli, &outcome, opts->fast);
    }
    return ok ? outcome_code(&outcome, n_metrics_failed, opts) : cli_fail(cli, &err);
}

const Command cmd_run = {
    .name = "run",
    .args = "EVAL... -m MODEL...",
    .summary = "run evals on models and store what happened as an experiment",
    .details =
        "EVAL is a name (see: muster list evals), NAME/PART, a glob on names, or a YAML file.\n"
        "Everything is committed as it happens: a run that is stopped or killed goes on with "
        "--resume.\n"
        "ID is a sample's id as muster show has it. EXPERIMENT is a name, a short id, latest, "
        "latest~1 or\n@BASELINE; the ids that failed there are looked up once and kept with the "
        "new experiment.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(RunCommandOptions),
    .min_args = 1,
    .max_args = 1000,
    .run = cmd_run_run,
};
