// SPDX-License-Identifier: MIT
// muster doctor: what this machine offers and where things are, for bug reports and first looks.
#include "cli/cli.h"

#include <unistd.h>

typedef struct Finding {
    const char *what;
    bool good;
    Str says;
} Finding;

static Finding find_store(Cli *cli)
{
    Results *results = NULL;
    Err err = ERR_INIT;
    Str path = cli_store_path(cli);
    if (results_open(path, &results, &err)) {
        results_close(results);
        return (Finding){"store", true, path};
    }
    bool absent = err.code == ERR_NOT_FOUND;
    return (Finding){"store", absent,
                     absent ? str_printf(&cli->arena, STR_FMT " (not there yet)", STR_ARG(path))
                            : str_copy(&cli->arena, str_from_c(err.message))};
}

static Finding find_registry(Cli *cli, RegistryKind kind, const char *what)
{
    Err err = ERR_INIT;
    RegistryEntry *entries = NULL;
    size_t n = 0;
    if (!cli_registry(cli, &err) || !registry_list(cli->registry, kind, &entries, &n, &err)) {
        return (Finding){what, false, str_copy(&cli->arena, str_from_c(err.message))};
    }
    size_t pulled = 0;
    for (size_t i = 0; i < n; i++) {
        pulled += str_eq(entries[i].detail, STR("pulled")) ? 1 : 0;
    }
    bool counts = kind == REGISTRY_DATASETS || kind == REGISTRY_MODELS;
    return (Finding){what, n > 0,
                     counts ? str_printf(&cli->arena, "%zu, %zu pulled", n, pulled)
                            : str_printf(&cli->arena, "%zu", n)};
}

static Str memory_text(Cli *cli)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    return str_printf(&cli->arena, "%.1f GiB",
                      (double)pages * (double)page / (1024.0 * 1024 * 1024));
}

static int cmd_doctor_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)options_struct;
    (void)args;
    (void)n_args;
    Finding findings[] = {
        {"version", true, cli_version()},
        {"cpus", true, str_printf(&cli->arena, "%d usable", threads_usable_cpus())},
        {"memory", true, memory_text(cli)},
        find_registry(cli, REGISTRY_EVALS, "evals"),
        find_registry(cli, REGISTRY_DATASETS, "datasets"),
        find_registry(cli, REGISTRY_MODELS, "models"),
        find_store(cli),
        {"mirror", true, env_get("MUSTER_MIRROR", STR("none (MUSTER_MIRROR is not set)"))},
        {"api key", true,
         env_get("OPENAI_API_KEY", STR_EMPTY).len > 0 ? STR("OPENAI_API_KEY is set")
                                                      : STR("OPENAI_API_KEY is not set")},
    };
    size_t n = sizeof(findings) / sizeof(findings[0]);
    bool good = true;
    MapBuilder map;
    map_builder_init(&map, &cli->arena);
    for (size_t i = 0; i < n; i++) {
        good = good && findings[i].good;
        map_builder_put(&map, str_from_c(findings[i].what), value_str(findings[i].says));
        if (!cli->global.json) {
            printf("%s %-9s " STR_FMT "\n", findings[i].good ? "ok " : "BAD", findings[i].what,
                   STR_ARG(findings[i].says));
        }
    }
    if (cli->global.json) {
        Value value = map_builder_done(&map);
        cli_print_json(&value);
    }
    return good ? EXIT_OK : EXIT_ENVIRONMENT;
}

const Command cmd_doctor = {
    .name = "doctor",
    .args = "",
    .summary = "say what this machine offers and where things are",
    .run = cmd_doctor_run,
};
