// SPDX-License-Identifier: MIT
// muster check: every fault of registry files and evals, with its place, before it costs a run.
#include "cli/cli.h"

#include "text/text.h"

typedef struct CheckOptions {
    bool no_data;
} CheckOptions;

static const Option options[] = {
    {"no-data", 0, OPT_FLAG_AT(CheckOptions, no_data),
     .help = "do not render the rows of the dataset"},
};

/** Check one eval by name or file, and its rows where the data is here. */
static bool check_eval(Cli *cli, Str name, bool rows, Faults *faults, Err *err)
{
    const Eval *eval = NULL;
    if (!registry_eval(cli->registry, name, faults, &eval, err)) {
        return err->code == ERR_CONFIG; // its faults are listed
    }
    registry_check_roles(cli->registry, eval, faults);
    if (!rows || registry_check_rows(cli->registry, eval, 0, faults, err)) {
        return true;
    }
    if (err->code == ERR_NOT_FOUND) {
        faults_add(faults, eval->file, 0, 0, true, "no-data", "rows not checked: %s", err->message);
        *err = (Err)ERR_INIT;
        return true;
    }
    return false;
}

static bool check_path(Cli *cli, Str path, bool rows, Faults *faults, size_t *n_files, Err *err);

/** Everything of a folder that is ours: its YAML, then the Lua whose examples no eval has run. */
static bool check_folder(Cli *cli, Str folder, bool rows, Faults *faults, size_t *n_files, Err *err)
{
    Str *found = NULL;
    size_t n = 0;
    if (!file_glob(&cli->arena, folder, STR("**/*.yaml"), &found, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        Str path = path_join(&cli->arena, folder, found[i]);
        if (!check_path(cli, path, rows, faults, n_files, err)) {
            return false;
        }
        *err = (Err)ERR_INIT; // its faults are listed
    }
    if (!file_glob(&cli->arena, folder, STR("**/*.lua"), &found, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        Str path = path_join(&cli->arena, folder, found[i]);
        if (!registry_examples_run(cli->registry, path) && cli_is_unit(path) &&
            !check_path(cli, path, rows, faults, n_files, err)) {
            return false;
        }
    }
    return true;
}

static bool check_path(Cli *cli, Str path, bool rows, Faults *faults, size_t *n_files, Err *err)
{
    if (file_is_dir(path)) {
        return check_folder(cli, path, rows, faults, n_files, err);
    }
    (*n_files)++;
    if (str_ends_with(path, STR(".lua"))) {
        size_t n_examples;
        return cli_check_lua(cli, path, faults, &n_examples, err);
    }
    bool is_file = str_ends_with(path, STR(".yaml")) || str_ends_with(path, STR(".yml"));
    if (!is_file || registry_is_eval_file(cli->registry, path)) {
        return check_eval(cli, path, rows, faults, err);
    }
    return registry_check_file(cli->registry, path, faults, err) || err->code == ERR_CONFIG;
}

static int cmd_check_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const CheckOptions *opts = options_struct;
    Err err = ERR_INIT;
    Faults faults;
    faults_init(&faults, &cli->arena);
    size_t n_files = 0;
    if (!cli_registry(cli, &err)) {
        return cli_fail(cli, &err);
    }
    Str folders[32];
    if (n_args == 0) {
        n_args = cli_registry_paths(cli, false, folders, 32);
        n_args = n_args > 0 ? n_args : cli_registry_paths(cli, true, folders, 32);
        args = folders;
    }
    for (size_t i = 0; i < n_args; i++) {
        if (!check_path(cli, args[i], !opts->no_data, &faults, &n_files, &err)) {
            return cli_fail(cli, &err);
        }
        err = (Err)ERR_INIT;
    }
    if (cli->global.json) {
        Value value = faults_to_value(&cli->arena, &faults);
        cli_print_json(&value);
    } else {
        cli_faults(cli, &faults);
        if (!cli->global.quiet) {
            fprintf(stderr, "%zu file%s: %zu error%s, %zu warning%s\n", n_files, PLURAL(n_files),
                    faults.n_errors, PLURAL(faults.n_errors), faults.n - faults.n_errors,
                    PLURAL(faults.n - faults.n_errors));
        }
    }
    return faults.n_errors > 0 ? EXIT_USAGE : EXIT_OK;
}

const Command cmd_check = {
    .name = "check",
    .args = "[PATH...]",
    .summary = "check evals, datasets, models and gates without running anything",
    .details =
        "PATH is a YAML file, a folder, the name of an eval, or a Lua file (its examples are "
        "run, as those of\nall solvers, graders and metrics of a folder); default: all of the "
        "registry. Exits 2 when there are\nerrors; warnings exit 0. --json prints a list of {file, "
        "line, col, "
        "end_col, "
        "severity, code, message, hint}.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(CheckOptions),
    .max_args = 1000,
    .run = cmd_check_run,
};
