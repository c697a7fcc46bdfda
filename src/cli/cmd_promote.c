// SPDX-License-Identifier: MIT
// muster promote: let a baseline point to an experiment, if the policy passes against where it
// points now. What is forced is kept as forced, with who did it.
#include "cli/policy.h"

#include <pwd.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef struct PromoteOptions {
    Str policy;
    bool force;
    bool first;
} PromoteOptions;

#define O PromoteOptions
static const Option options[] = {
    {"policy", 'p', OPT_STR_AT(O, policy), .arg = "FILE|NAME",
     .help = "a gate's file, a gate of the registry, or an eval's file with a gate of its own"},
    {"first", 0, OPT_FLAG_AT(O, first), .flag_only = true,
     .help = "make a baseline that does not exist yet: what compares with it is left out"},
    {"force", 0, OPT_FLAG_AT(O, force), .flag_only = true,
     .help = "promote although the policy fails, or without one; kept in the baseline's history"},
};
#undef O

/** A promotion on its way. */
typedef struct Promote {
    Cli *cli;
    const PromoteOptions *opts;
    Selector candidate;
    Selector baseline; // "@NAME"
    ExperimentInfo experiment;
    Str name;
    BaselineInfo now; // experiment_id 0: there is no such baseline
    bool already;     // it points there: nothing to judge or to move
    bool judged;      // gate is there
    GateReport gate;
} Promote;

/** user@host. */
static Str who_am_i(Arena *arena)
{
    char buffer[1024];
    struct passwd entry;
    struct passwd *found = NULL;
    struct utsname host;
    const char *node = uname(&host) == 0 ? host.nodename : "?";
    if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL) {
        return str_printf(arena, "%s@%s", found->pw_name, node);
    }
    return str_printf(arena, "%ld@%s", (long)geteuid(), node);
}

/** What is asked for: the experiment, and where the baseline points now. */
static bool promote_read(Promote *promote, Results *results, const Str *args, Err *err)
{
    Arena *arena = &promote->cli->arena;
    Selector *candidate = &promote->candidate;
    promote->name =
        str_starts_with(args[1], STR("@")) ? str_slice(args[1], 1, args[1].len) : args[1];
    if (!baseline_name_check(promote->name, err) ||
        !selector_parse(arena, args[0], candidate, err) ||
        !selector_parse(arena, str_concat(arena, STR("@"), promote->name), &promote->baseline,
                        err)) {
        return false;
    }
    if (candidate->eval.len + candidate->part.len + candidate->variant.len + candidate->model.len >
        0) {
        return ERR_SET(err, ERR_USAGE,
                       "promote: a baseline points to a whole experiment; leave out what comes "
                       "after the name in '" STR_FMT "'",
                       STR_ARG(args[0]));
    }
    if (!results_experiment(results, arena, candidate->experiment, &promote->experiment, err)) {
        return false;
    }
    if (str_eq(promote->experiment.state, STR("running"))) {
        return ERR_SET(err, ERR_USAGE, "promote: experiment '" STR_FMT "' is still running",
                       STR_ARG(promote->experiment.name));
    }
    Err none = ERR_INIT;
    if (!results_baseline(results, arena, promote->name, &promote->now, &none)) {
        promote->now = (BaselineInfo){0};
        if (none.code != ERR_NOT_FOUND) {
            *err = none;
            return false;
        }
    }
    if (promote->opts->first && promote->now.experiment_id != 0) {
        return ERR_SET(err, ERR_EXISTS,
                       "promote: baseline '" STR_FMT "' is there already (it is '" STR_FMT
                       "'); without --first it is compared with that",
                       STR_ARG(promote->name), STR_ARG(promote->now.experiment));
    }
    promote->already = !promote->opts->force && promote->now.experiment_id != 0 &&
                       promote->now.experiment_id == promote->experiment.id;
    return true;
}

/** The verdict; without a policy there is none, which only --force allows. */
static bool promote_judge(Promote *promote, Results *results, GatePolicy *policy, Err *err)
{
    Cli *cli = promote->cli;
    if (!cli_policy(cli, results, promote->opts->policy, &promote->candidate, policy, err)) {
        bool none = err->code == ERR_USAGE && promote->opts->policy.len == 0;
        if (!none || !promote->opts->force) {
            return false;
        }
        *err = (Err)ERR_INIT;
        return true;
    }
    promote->judged = true;
    return gate_compute(results, &cli->arena, policy, &promote->candidate, &promote->baseline,
                        promote->opts->first, &promote->gate, err);
}

/** Why the promotion is refused; "" if it is not. */
static Str reason_to_refuse(Promote *promote)
{
    if (promote->opts->force) {
        return STR_EMPTY;
    }
    if (promote->now.experiment_id == 0 && !promote->opts->first) {
        return str_printf(&promote->cli->arena,
                          "there is no baseline '" STR_FMT "' yet; --first makes it",
                          STR_ARG(promote->name));
    }
    return promote->gate.ok ? STR_EMPTY : STR("the policy does not pass");
}

static bool promote_write(Promote *promote, Err *err)
{
    Cli *cli = promote->cli;
    Store *store = NULL;
    StoreOptions where = {.path = cli_store_path(cli)};
    Promotion promotion = {
        .baseline = promote->name,
        .experiment_id = promote->experiment.id,
        .replaces = promote->now.experiment_id,
        .who = who_am_i(&cli->arena),
        .forced = promote->opts->force && !(promote->judged && promote->gate.ok),
        .detail = promote->judged ? report_gate_value(&cli->arena, &promote->gate) : value_null(),
    };
    bool ok = store_open(&where, &store, err) && store_promote(store, &promotion, err);
    store_close(store);
    return ok;
}

static void promote_print_json(const Promote *promote, Str refused)
{
    Arena *arena = &promote->cli->arena;
    bool passed = promote->judged && promote->gate.ok;
    bool had = promote->now.experiment_id != 0;
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("promoted"), value_bool(refused.len == 0 && !promote->already));
    map_builder_put(&map, STR("refused"), refused.len > 0 ? value_str(refused) : value_null());
    map_builder_put(&map, STR("forced"),
                    value_bool(refused.len == 0 && !passed && !promote->already));
    map_builder_put(&map, STR("baseline"), value_str(promote->name));
    map_builder_put(&map, STR("experiment"), value_str(promote->experiment.name));
    map_builder_put(&map, STR("replaces"), had ? value_str(promote->now.experiment) : value_null());
    map_builder_put(&map, STR("gate"),
                    promote->judged ? report_gate_value(arena, &promote->gate) : value_null());
    Value value = map_builder_done(&map);
    cli_print_json(&value);
}

static void promote_print(const Promote *promote, Str refused)
{
    const Cli *cli = promote->cli;
    if (cli->global.json) {
        promote_print_json(promote, refused);
        return;
    }
    Buf buf = {0};
    if (promote->judged) {
        ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
        report_gate(&buf, &promote->gate, &look);
    }
    if (refused.len > 0) {
        buf_printf(&buf, "refused: " STR_FMT "\n", STR_ARG(refused));
    } else {
        buf_printf(&buf, "baseline " STR_FMT " is now " STR_FMT, STR_ARG(promote->name),
                   STR_ARG(promote->experiment.name));
        if (promote->now.experiment_id != 0) {
            buf_printf(&buf, ", was " STR_FMT, STR_ARG(promote->now.experiment));
        }
        bool passed = promote->judged && promote->gate.ok;
        buf_c(&buf, passed            ? "\n"
                    : promote->judged ? "; forced against the policy\n"
                                      : "; forced without a policy\n");
    }
    cli_print(&buf);
    buf_finish(&buf);
}

/** A pipeline that runs twice moves a baseline once. */
static void promote_print_already(Promote *promote)
{
    Buf buf = {0};
    if (promote->cli->global.json) {
        promote_print_json(promote, STR_EMPTY);
        return;
    }
    buf_printf(&buf, "baseline " STR_FMT " is " STR_FMT " already\n", STR_ARG(promote->name),
               STR_ARG(promote->experiment.name));
    cli_print(&buf);
    buf_finish(&buf);
}

static int cmd_promote_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    Err err = ERR_INIT;
    Results *results = NULL;
    GatePolicy policy;
    Promote promote = {.cli = cli, .opts = options_struct};
    bool ok = cli_results(cli, &results, &err) && promote_read(&promote, results, args, &err);
    ok = ok && (promote.already || promote_judge(&promote, results, &policy, &err));
    results_close(results);
    if (!ok) {
        return cli_fail(cli, &err);
    }
    if (promote.already) {
        promote_print_already(&promote);
        return EXIT_OK;
    }
    Str refused = reason_to_refuse(&promote);
    if (refused.len == 0 && !promote_write(&promote, &err)) {
        return cli_fail(cli, &err);
    }
    promote_print(&promote, refused);
    return refused.len == 0 ? EXIT_OK : EXIT_GATE;
}

const Command cmd_promote = {
    .name = "promote",
    .args = "EXPERIMENT BASELINE [--policy FILE|NAME]",
    .summary =
        "let a baseline point to an experiment, if the policy passes against where it points",
    .details =
        "EXPERIMENT is a name, a short id, latest, latest~1 or @BASELINE. Elsewhere @BASELINE "
        "names the baseline's experiment.\nWithout --policy the gates count that the evals "
        "had themselves when they ran. Exit codes: 0 promoted, 1 refused,\n2 no policy or "
        "wrong usage, 5 the store. docs/baselines.md tells more.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(PromoteOptions),
    .min_args = 2,
    .max_args = 2,
    .run = cmd_promote_run,
};
