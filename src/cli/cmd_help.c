// SPDX-License-Identifier: MIT
// muster help, completion, version.
#include "cli/cli.h"

#include "text/text.h"

typedef struct HelpOptions {
    bool markdown;
    bool units;
    bool schema;
} HelpOptions;

static const Option help_options[] = {
    {"markdown", 0, OPT_FLAG_AT(HelpOptions, markdown), .help = "everything, as docs/cli.md"},
    {"units", 0, OPT_FLAG_AT(HelpOptions, units),
     .help = "all solvers and graders, as docs/lua.md ends with"},
    {"schema", 0, OPT_FLAG_AT(HelpOptions, schema),
     .help = "the eval format as a JSON schema for editors, as docs/eval.schema.json"},
};

static bool print_schema(Cli *cli, Err *err)
{
    Value schema;
    if (!cli_registry(cli, err) || !registry_eval_schema(cli->script, &cli->arena, &schema, err)) {
        return false;
    }
    Buf buf = {0};
    json_write(&buf, &schema, JSON_PRETTY);
    buf_char(&buf, '\n');
    cli_print(&buf);
    buf_finish(&buf);
    return true;
}

static int cmd_help_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const HelpOptions *opts = options_struct;
    if (opts->markdown) {
        help_markdown(stdout);
        return EXIT_OK;
    }
    if (opts->units) {
        Err err = ERR_INIT;
        return help_units(cli, stdout, &err) ? EXIT_OK : cli_fail(cli, &err);
    }
    if (opts->schema) {
        Err err = ERR_INIT;
        return print_schema(cli, &err) ? EXIT_OK : cli_fail(cli, &err);
    }
    for (size_t c = 0; n_args > 0 && command_table[c] != NULL; c++) {
        if (str_eq_c(args[0], command_table[c]->name)) {
            help_print(stdout, command_table[c]);
            return EXIT_OK;
        }
    }
    if (n_args > 0) {
        Err err = ERR_INIT;
        ERR_SET(&err, ERR_USAGE, "no command '" STR_FMT "' (see: muster help)", STR_ARG(args[0]));
        return cli_fail(cli, &err);
    }
    help_print(stdout, NULL);
    return EXIT_OK;
}

const Command cmd_help = {
    .name = "help",
    .args = "[COMMAND]",
    .summary = "show help",
    .options = help_options,
    .n_options = sizeof(help_options) / sizeof(help_options[0]),
    .options_size = sizeof(HelpOptions),
    .max_args = 1,
    .run = cmd_help_run,
};

static int cmd_completion_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)options_struct;
    Str shell = n_args > 0 ? args[0] : STR("bash");
    if (!str_eq(shell, STR("bash")) && !str_eq(shell, STR("zsh")) && !str_eq(shell, STR("fish"))) {
        Err err = ERR_INIT;
        ERR_SET(&err, ERR_USAGE, "completion: '" STR_FMT "' is not one of bash, zsh, fish",
                STR_ARG(shell));
        return cli_fail(cli, &err);
    }
    completion_print(stdout, shell);
    return EXIT_OK;
}

const Command cmd_completion = {
    .name = "completion",
    .args = "bash|zsh|fish",
    .summary = "print shell completion",
    .max_args = 1,
    .run = cmd_completion_run,
};

static int cmd_version_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)options_struct;
    (void)args;
    (void)n_args;
    if (cli->global.json) {
        ValuePair pair = value_pair(STR("version"), value_str(cli_version()));
        Value value = value_map(&pair, 1);
        cli_print_json(&value);
    } else {
        printf("muster " STR_FMT "\n", STR_ARG(cli_version()));
    }
    return EXIT_OK;
}

const Command cmd_version = {
    .name = "version",
    .args = "",
    .summary = "print the version (also: muster --version)",
    .run = cmd_version_run,
};
