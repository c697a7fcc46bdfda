// SPDX-License-Identifier: MIT
// The policy that judges an experiment: from the registry, from a file, from the evals themselves.
#include "cli/policy.h"

static bool policy_of_file(Cli *cli, Str word, GatePolicy *out, Err *err)
{
    Faults faults;
    faults_init(&faults, &cli->arena);
    Value map;
    Str eval;
    Str file;
    if (!cli_registry(cli, err)) {
        return false;
    }
    bool ok = registry_gate(cli->registry, word, &faults, &map, &eval, &file, err);
    if (cli_faults(cli, &faults) && !ok) {
        *err = (Err)ERR_INIT;
        return ERR_SET(err, ERR_CONFIG, "policy " STR_FMT ": %zu error%s (above)", STR_ARG(word),
                       faults.n_errors, PLURAL(faults.n_errors));
    }
    if (!ok || !gate_policy_from_value(&cli->arena, &map, eval, out, err)) {
        return false;
    }
    out->file = file;
    return true;
}

bool cli_policy(Cli *cli, Results *results, Str word, const Selector *candidate, GatePolicy *out,
                Err *err)
{
    if (word.len > 0) {
        return policy_of_file(cli, word, out, err);
    }
    Side side;
    return side_open(results, &cli->arena, candidate, &side, err) &&
           gate_policy_of_runs(&cli->arena, &side, out, err);
}
