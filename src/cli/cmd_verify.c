// SPDX-License-Identifier: MIT
// muster verify: run some attempts of an experiment again and say whether every bit agrees.
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/run.h"
#include "text/text.h"

typedef struct VerifyOptions {
    int64_t samples;
    int64_t seed;
    int64_t threads;
    uint64_t kv_memory;
    Str device;
    Str tp;
} VerifyOptions;

#define O VerifyOptions
static const Option options[] = {
    {"samples", 'n', OPT_INT_AT(O, samples), .arg = "N",
     .help = "attempts to run again, chosen at random (default 20)", .min = 1, .max = 1000000},
    {"seed", 0, OPT_INT_AT(O, seed), .arg = "S", .help = "of their choice (default 0)",
     .flag_only = true},
    {"threads", 't', OPT_INT_AT(O, threads), .arg = "N",
     .help = "threads of the local engine (default: all usable)", .min = 1, .max = 1024},
    {"kv-memory", 0, OPT_SIZE_AT(O, kv_memory), .arg = "SIZE",
     .help = "memory for keys and values, e.g. 2G"},
    DEVICE_OPTION_ROW(O),
    TP_OPTION_ROW(O),
};
#undef O

// ---- What the experiment was of ---------------------------------------------------------------

/** Only what is computed here can be computed again. */
static bool provider_check(Str model, const char *as, Err *err)
{
    Str provider = model;
    Str name;
    str_cut(model, STR("/"), &provider, &name);
    if (str_eq(provider, STR("local")) || str_eq(provider, STR("echo")) ||
        str_eq(provider, STR("none"))) {
        return true;
    }
    return ERR_SET(err, ERR_USAGE, "verify runs local models again; %s" STR_FMT "%s", as,
                   STR_ARG(model),
                   str_eq(provider, STR("replay"))
                       ? " only repeats what was recorded"
                       : " is an endpoint, and what it answered can not be computed here");
}

static bool models_find(Cli *cli, const RunInfo *runs, size_t n_runs, VerifyConfig *config,
                        Err *err)
{
    const Model **models = ARENA_ARRAY(&cli->arena, const Model *, n_runs + 1);
    for (size_t i = 0; i < n_runs; i++) {
        bool known = str_eq(runs[i].model, STR("none"));
        for (size_t k = 0; k < i && !known; k++) {
            known = str_eq(runs[k].model, runs[i].model);
        }
        if (known) {
            continue;
        }
        if (!provider_check(runs[i].model, "", err) ||
            !cli_model(cli, runs[i].model, &models[config->n_models], err)) {
            return false;
        }
        config->n_models++;
    }
    config->models = models;
    return true;
}

/** The roles as they were played: provenance has a list of {eval, role, model}. */
static bool roles_find(Cli *cli, const ExperimentInfo *of, VerifyConfig *config, Err *err)
{
    const Value *list = value_get_c(&of->provenance, "roles");
    size_t n = list != NULL && list->kind == VALUE_LIST ? list->as.list.n : 0;
    RunRole *roles = ARENA_ARRAY(&cli->arena, RunRole, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *item = &list->as.list.items[i];
        Str name = value_get_str(item, "role", STR_EMPTY);
        Str model = value_get_str(item, "model", STR_EMPTY);
        bool known = false;
        for (size_t k = 0; k < config->n_roles; k++) {
            known = known || str_eq(roles[k].name, name);
        }
        if (known) {
            continue;
        }
        if (!provider_check(model, "a role's model, ", err) ||
            !cli_model(cli, model, &roles[config->n_roles].model, err)) {
            return false;
        }
        roles[config->n_roles++].name = name;
    }
    config->roles = roles;
    return true;
}

static bool eval_find(Cli *cli, const ExperimentInfo *of, Str name, const Eval **out, Err *err)
{
    const Value *files = value_get_c(&of->provenance, "evals");
    const Value *file = value_get(files, name);
    Str word = file != NULL && file->kind == VALUE_STR ? file->as.str : name;
    Faults faults;
    faults_init(&faults, &cli->arena);
    bool ok = registry_eval(cli->registry, word, &faults, out, err);
    if (cli_faults(cli, &faults) && !ok) {
        *err = (Err)ERR_INIT;
        ERR_SET(err, ERR_CONFIG, STR_FMT ": %zu error%s (above)", STR_ARG(word), faults.n_errors,
                PLURAL(faults.n_errors));
    }
    return ok;
}

/** One target for each part that was run. */
static bool targets_find(Cli *cli, const ExperimentInfo *of, const RunInfo *runs, size_t n_runs,
                         VerifyConfig *config, Err *err)
{
    RunTarget *targets = ARENA_ARRAY(&cli->arena, RunTarget, n_runs + 1);
    for (size_t i = 0; i < n_runs; i++) {
        const Eval *eval = NULL;
        bool known = false;
        for (size_t k = 0; k < config->n_targets && !known; k++) {
            bool same = str_eq(targets[k].eval->name, runs[i].eval);
            eval = same ? targets[k].eval : eval;
            known = same && str_eq(targets[k].part, runs[i].part);
        }
        if (known) {
            continue;
        }
        if (eval == NULL && !eval_find(cli, of, runs[i].eval, &eval, err)) {
            return false;
        }
        targets[config->n_targets++] =
            (RunTarget){.eval = eval, .part = runs[i].part, .word = runs[i].eval};
    }
    config->targets = targets;
    return true;
}

static bool config_make(Cli *cli, Results *results, Str name, VerifyConfig *config, Err *err)
{
    ExperimentInfo *of = ARENA_NEW(&cli->arena, ExperimentInfo);
    RunInfo *runs = NULL;
    if (!results_experiment(results, &cli->arena, name, of, err)) {
        return false;
    }
    if (str_eq(of->state, STR("running"))) {
        return ERR_SET(err, ERR_USAGE, "experiment '" STR_FMT "' is running", STR_ARG(name));
    }
    if (!results_runs(results, &cli->arena, of->id, &runs, &config->n_runs, err)) {
        return false;
    }
    config->results = results;
    config->registry = cli->registry;
    config->script = cli->script;
    config->of = of;
    config->runs = runs;
    return models_find(cli, runs, config->n_runs, config, err) &&
           roles_find(cli, of, config, err) &&
           targets_find(cli, of, runs, config->n_runs, config, err);
}

// ---- The new run's store ----------------------------------------------------------------------

static bool scratch_make(Cli *cli, Str *out_folder, Err *err)
{
    Str folder =
        path_join(&cli->arena, env_get("TMPDIR", STR("/tmp")), STR("muster-verify-XXXXXX"));
    char *name = str_to_c(&cli->arena, folder);
    if (mkdtemp(name) == NULL) {
        return ERR_SET(err, ERR_IO, "no temporary folder %s", name);
    }
    *out_folder = str_from_c(name);
    return true;
}

static void scratch_remove(Cli *cli, Str folder)
{
    Str *names = NULL;
    size_t n = 0;
    Err ignored = ERR_INIT;
    if (folder.len > 0 && file_list(&cli->arena, folder, &names, &n, &ignored)) {
        for (size_t i = 0; i < n; i++) {
            unlink(str_to_c(&cli->arena, path_join(&cli->arena, folder, path_base(names[i]))));
        }
        rmdir(str_to_c(&cli->arena, folder));
    }
}

// ---- What came out ----------------------------------------------------------------------------

static Value difference_value(Arena *arena, const VerifyDifference *d)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), value_str(d->eval));
    map_builder_put(&map, STR("part"), value_str(d->part));
    map_builder_put(&map, STR("variant"), value_str(d->variant));
    map_builder_put(&map, STR("model"), value_str(d->model));
    map_builder_put(&map, STR("id"), value_str(d->sample_id));
    map_builder_put(&map, STR("epoch"), value_int(d->epoch));
    map_builder_put(&map, STR("what"), value_str(str_from_c(d->what)));
    map_builder_put(&map, STR("allowed"), value_bool(d->allowed));
    map_builder_put(&map, STR("then"), value_str(d->then));
    map_builder_put(&map, STR("now"), value_str(d->now));
    return map_builder_done(&map);
}

static void print_json(Cli *cli, const VerifyConfig *config, const VerifyOutcome *out)
{
    Arena *arena = &cli->arena;
    Value *items = ARENA_ARRAY(arena, Value, out->n_differences + 1);
    for (size_t i = 0; i < out->n_differences; i++) {
        items[i] = difference_value(arena, &out->differences[i]);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("experiment"), value_str(config->of->name));
    map_builder_put(&map, STR("attempts"), value_int(out->n_attempts));
    map_builder_put(&map, STR("verified"), value_int(out->n_chosen));
    map_builder_put(&map, STR("agree"), value_int(out->n_agree));
    map_builder_put(&map, STR("fast"), value_bool(out->fast));
    map_builder_put(&map, STR("allowed"), value_int(out->n_allowed));
    map_builder_put(&map, STR("gone"), value_int(out->n_gone));
    map_builder_put(&map, STR("model_changed"), value_bool(out->model_changed));
    map_builder_put(&map, STR("eval_changed"), value_bool(out->eval_changed));
    map_builder_put(&map, STR("data_changed"), value_bool(out->data_changed));
    map_builder_put(&map, STR("differences"), value_list(items, out->n_differences));
    Value value = map_builder_done(&map);
    cli_print_json(&value);
}

static void put_short(Buf *buf, const char *word, Str text)
{
    Str start = str_slice(text, 0, text.len < 300 ? text.len : 300);
    buf_printf(buf, "  %s ", word);
    report_text(buf, start, false);
    buf_printf(buf, "%s\n", start.len < text.len ? " ..." : "");
}

static bool is_verified(const VerifyOutcome *out)
{
    return out->n_agree + out->n_allowed == out->n_chosen;
}

/** Of a fast run no bits are promised. */
static void put_fast(Buf *buf, const VerifyOutcome *out)
{
    buf_printf(buf,
               "%s: the run is fast, and bits are not promised. Of %lld attempts run again %lld "
               "agree bit for bit",
               is_verified(out) ? "verified" : "NOT verified", (long long)out->n_chosen,
               (long long)out->n_agree);
    if (out->n_allowed > 0) {
        buf_printf(buf, ", %lld differ as they may (log-probabilities by at most %g nat + %g %%)",
                   (long long)out->n_allowed, VERIFY_FAST_NAT, VERIFY_FAST_SHARE * 100);
    }
    int64_t more = out->n_chosen - out->n_agree - out->n_allowed;
    if (more > 0) {
        buf_printf(buf, ", %lld by more", (long long)more);
    }
    buf_char(buf, '\n');
}

static void print_text(const VerifyOutcome *out)
{
    Buf buf = {0};
    for (size_t i = 0; i < out->n_differences; i++) {
        const VerifyDifference *d = &out->differences[i];
        buf_printf(&buf, STR_FMT "%s" STR_FMT "%s" STR_FMT " on " STR_FMT ", sample ",
                   STR_ARG(d->eval), d->part.len > 0 ? "/" : "", STR_ARG(d->part),
                   d->variant.len > 0 ? " " : "", STR_ARG(d->variant), STR_ARG(d->model));
        report_text(&buf, d->sample_id, false);
        buf_printf(&buf, " epoch %lld: the %s differ%s%s\n", (long long)d->epoch, d->what,
                   d->what[strlen(d->what) - 1] == 's' ? "" : "s", d->allowed ? ", as may be" : "");
        put_short(&buf, "then:", d->then);
        put_short(&buf, "now: ", d->now);
    }
    if (out->fast) {
        put_fast(&buf, out);
    } else if (out->n_agree == out->n_chosen) {
        buf_printf(&buf,
                   "verified: %lld of %lld attempts run again, replies, log-probabilities and "
                   "scores agree bit for bit\n",
                   (long long)out->n_chosen, (long long)out->n_attempts);
    } else {
        buf_printf(&buf, "NOT verified: %lld of the %lld attempts run again agree\n",
                   (long long)out->n_agree, (long long)out->n_chosen);
    }
    cli_print(&buf);
    buf_finish(&buf);
}

static void print_warnings(const VerifyOutcome *out)
{
    const struct {
        bool is;
        const char *what;
    } changes[] = {{out->model_changed, "the model's file"},
                   {out->eval_changed, "the eval, its templates or its Lua"},
                   {out->data_changed, "the data"}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        if (changes[i].is) {
            fprintf(stderr, "warning: %s changed since the experiment\n", changes[i].what);
        }
    }
    if (out->n_gone > 0 && !out->interrupted) {
        fprintf(stderr, "warning: %lld attempt%s of samples that are gone\n",
                (long long)out->n_gone, PLURAL(out->n_gone));
    }
}

static void on_progress(void *ctx, const RunProgress *progress)
{
    progress_line_show(ctx, progress);
}

static int cmd_verify_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const VerifyOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    VerifyOutcome outcome = {0};
    ProgressLine line = {.cli = cli, .last_plain_ns = clock_ns()};
    VerifyConfig config = {.n_samples = opts->samples > 0 ? opts->samples : 20,
                           .seed = (uint64_t)opts->seed,
                           .sampler = {.threads = (int)opts->threads,
                                       .kv_bytes = opts->kv_memory,
                                       .device = opts->device,
                                       .tp = option_tp(opts->tp)},
                           .stop = &cli_signals,
                           .on_progress = on_progress,
                           .ctx = &line};
    Str folder = STR_EMPTY;
    bool ok = cli_results(cli, &results, &err) && cli_registry(cli, &err) &&
              config_make(cli, results, n_args > 0 ? args[0] : STR("latest"), &config, &err) &&
              scratch_make(cli, &folder, &err);
    if (ok) {
        config.scratch_store_path = path_join(&cli->arena, folder, STR("again.db"));
        cli_catch_signals();
        ok = run_verify(&config, &cli->arena, &outcome, &err);
        progress_line_clear(&line);
    }
    scratch_remove(cli, folder);
    results_close(results);
    if (!ok) {
        return cli_fail(cli, &err);
    }
    if (outcome.interrupted) {
        return cli_last_signal == SIGTERM ? EXIT_TERMINATED : EXIT_INTERRUPTED;
    }
    if (cli->global.json) {
        print_json(cli, &config, &outcome);
    } else {
        print_text(&outcome);
    }
    fflush(stdout);
    print_warnings(&outcome);
    return is_verified(&outcome) ? EXIT_OK : EXIT_GATE;
}

const Command cmd_verify = {
    .name = "verify",
    .args = "[EXPERIMENT]",
    .summary = "run some stored attempts again and say whether every bit agrees",
    .details =
        "Replies, log-probabilities and scores of a local model depend on nothing but the model,\n"
        "the eval and the seed; this is the proof. Nothing is added to the store. Exit code 0 "
        "when\n"
        "all agree, 1 when not. Experiments with endpoints are refused. Other devices give other "
        "bits:\nwithout --device it is the kind of device that the experiment ran on. Of a run "
        "with "
        "--fast no bits\nare promised: log-probabilities of choices have to be near, replies may "
        "part.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(VerifyOptions),
    .max_args = 1,
    .run = cmd_verify_run,
};
