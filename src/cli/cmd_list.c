// SPDX-License-Identifier: MIT
// muster list: what there is, by kind.
#include "cli/cli.h"

typedef struct ListOptions {
    ChooseOptions choose;
    Str since;
    int64_t limit;
} ListOptions;

static const Option options[] = {
    {"limit", 'n', OPT_INT_AT(ListOptions, limit), .arg = "N",
     .help = "only the newest N experiments (or moves of a baseline)", .min = 1, .max = INT64_MAX,
     .flag_only = true},
    CHOOSE_OPTION_ROWS(ListOptions, choose),
    {"since", 0, OPT_STR_AT(ListOptions, since), .arg = "DATE", .flag_only = true,
     .help = "experiments started since 2026-11-25, 2026-11-25T17:46 (UTC), or 7d, 12h ago"},
};

static void entries_print(const Cli *cli, const RegistryEntry *entries, size_t n)
{
    size_t wide = 4;
    for (size_t i = 0; i < n; i++) {
        wide = entries[i].name.len > wide ? entries[i].name.len : wide;
    }
    const char *dim = cli->color_out ? "\033[2m" : "";
    const char *off = cli->color_out ? "\033[0m" : "";
    for (size_t i = 0; i < n; i++) {
        printf("%-*.*s  " STR_FMT, (int)wide, STR_ARG(entries[i].name),
               STR_ARG(entries[i].description));
        if (entries[i].detail.len > 0) {
            printf("  %s(" STR_FMT ")%s", dim, STR_ARG(entries[i].detail), off);
        }
        printf("\n");
    }
}

static Value entries_value(Arena *arena, const RegistryEntry *entries, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("name"), value_str(entries[i].name));
        map_builder_put(&map, STR("description"), value_str(entries[i].description));
        map_builder_put(&map, STR("file"), value_str(entries[i].file));
        map_builder_put(&map, STR("detail"), value_str(entries[i].detail));
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}

static int list_registry(Cli *cli, RegistryKind kind)
{
    Err err = ERR_INIT;
    RegistryEntry *entries = NULL;
    size_t n = 0;
    if (!cli_registry(cli, &err) || !registry_list(cli->registry, kind, &entries, &n, &err)) {
        return cli_fail(cli, &err);
    }
    if (cli->global.json) {
        Value value = entries_value(&cli->arena, entries, n);
        cli_print_json(&value);
    } else {
        entries_print(cli, entries, n);
    }
    return EXIT_OK;
}

static int list_samplers(Cli *cli)
{
    size_t n = 0;
    RegistryEntry entries[16] = {0};
    for (; sampler_table[n] != NULL && n < 16; n++) {
        entries[n].name = str_from_c(sampler_table[n]->provider);
        entries[n].description = str_from_c(sampler_table[n]->help);
    }
    if (cli->global.json) {
        Value value = entries_value(&cli->arena, entries, n);
        cli_print_json(&value);
    } else {
        entries_print(cli, entries, n);
    }
    return EXIT_OK;
}

/** Open the store for a list; without one the list is empty, said in words: NULL then. */
static bool list_open(Cli *cli, const char *what, Results **out, Err *err)
{
    *out = NULL;
    if (results_open(cli_store_path(cli), out, err)) {
        return true;
    }
    if (err->code != ERR_NOT_FOUND) {
        return false;
    }
    *err = (Err)ERR_INIT;
    if (cli->global.json) {
        Value none = value_list(NULL, 0);
        cli_print_json(&none);
    } else {
        fprintf(stderr, "no %s yet (no store at " STR_FMT ")\n", what,
                STR_ARG(cli_store_path(cli)));
    }
    return true;
}

static void experiments_print(Cli *cli, const ExperimentInfo *experiments, size_t n)
{
    if (cli->global.json) {
        Value *items = ARENA_ARRAY(&cli->arena, Value, n + 1);
        for (size_t i = 0; i < n; i++) {
            items[i] = report_experiment_value(&cli->arena, &experiments[i]);
        }
        Value value = value_list(items, n);
        cli_print_json(&value);
        return;
    }
    Buf buf = {0};
    ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
    report_experiments(&buf, experiments, n, &look);
    cli_print(&buf);
    buf_finish(&buf);
    if (n == 0 && !cli->global.quiet) {
        fprintf(stderr, "no experiment is like that\n");
    }
}

static int list_experiments(Cli *cli, const ListOptions *opts)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    ExperimentInfo *experiments = NULL;
    size_t n = 0;
    ExperimentFilter filter = cli_choose(&opts->choose);
    filter.limit = opts->limit;
    if ((opts->since.len > 0 && !cli_moment("--since", opts->since, &filter.since_ms, &err)) ||
        !list_open(cli, "experiments", &results, &err)) {
        return cli_fail(cli, &err);
    }
    bool ok = results == NULL ||
              results_experiments_where(results, &cli->arena, &filter, &experiments, &n, &err);
    if (ok && results != NULL) {
        experiments_print(cli, experiments, n);
    }
    results_close(results);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

/** Where baselines point; of one of them (name is not empty) every move. */
static bool baselines_read(Cli *cli, Results *results, Str name, BaselineInfo **out, size_t *out_n,
                           Err *err)
{
    if (name.len == 0) {
        return results_baselines(results, &cli->arena, out, out_n, err);
    }
    BaselineInfo now;
    return results_baseline_history(results, &cli->arena, name, out, out_n, err) &&
           (*out_n > 0 || results_baseline(results, &cli->arena, name, &now, err));
}

static int list_baselines(Cli *cli, const ListOptions *opts, Str name)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    BaselineInfo *baselines = NULL;
    size_t n = 0;
    if (!list_open(cli, "baselines", &results, &err)) {
        return cli_fail(cli, &err);
    }
    bool ok = results == NULL || baselines_read(cli, results, name, &baselines, &n, &err);
    size_t from = opts->limit > 0 && (size_t)opts->limit < n ? n - (size_t)opts->limit : 0;
    if (ok && results != NULL && cli->global.json) {
        Value value = report_baselines_value(&cli->arena, baselines + from, n - from);
        cli_print_json(&value);
    } else if (ok && results != NULL) {
        Buf buf = {0};
        ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
        report_baselines(&buf, baselines + from, n - from, &look);
        cli_print(&buf);
        buf_finish(&buf);
        if (n == 0 && !cli->global.quiet) {
            fprintf(stderr, "no baselines yet; muster promote EXPERIMENT NAME --first makes one\n");
        }
    }
    results_close(results);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

static int cmd_list_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    Err err = ERR_INIT;
    if (str_eq(args[0], STR("baselines"))) {
        return list_baselines(cli, options_struct, n_args > 1 ? args[1] : STR_EMPTY);
    }
    if (n_args > 1) {
        ERR_SET(&err, ERR_USAGE, "list " STR_FMT ": unexpected argument '" STR_FMT "'",
                STR_ARG(args[0]), STR_ARG(args[1]));
        return cli_fail(cli, &err);
    }
    static const struct {
        const char *word;
        RegistryKind kind;
    } kinds[] = {
        {"evals", REGISTRY_EVALS},     {"datasets", REGISTRY_DATASETS}, {"models", REGISTRY_MODELS},
        {"solvers", REGISTRY_SOLVERS}, {"graders", REGISTRY_GRADERS},   {"gates", REGISTRY_GATES},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (str_eq_c(args[0], kinds[i].word)) {
            return list_registry(cli, kinds[i].kind);
        }
    }
    if (str_eq(args[0], STR("samplers"))) {
        return list_samplers(cli);
    }
    if (str_eq(args[0], STR("experiments"))) {
        return list_experiments(cli, options_struct);
    }
    ERR_SET(&err, ERR_USAGE,
            "list: '" STR_FMT
            "' is not one of evals, datasets, models, samplers, solvers, graders, "
            "gates, experiments, baselines",
            STR_ARG(args[0]));
    return cli_fail(cli, &err);
}

const Command cmd_list = {
    .name = "list",
    .args = "evals|datasets|models|samplers|solvers|graders|gates|experiments|baselines [NAME]",
    .summary = "list what there is",
    .details = "baselines NAME shows every move of that baseline, oldest first.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(ListOptions),
    .min_args = 1,
    .max_args = 2,
    .run = cmd_list_run,
};
